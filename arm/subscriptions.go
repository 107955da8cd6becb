package arm

import (
	"net/http"
	"slices"
	"sort"
	"strings"

	"lapis/armid"
	"lapis/fault"
	"lapis/resource"
)

// subscriptionRoutes are the rows of tenant, subscription and providers.
func (f *Face) subscriptionRoutes() []Route {
	const sub = "/subscriptions/{subscription}"
	const read = "Microsoft.Resources/subscriptions/read"
	return []Route{
		{Method: http.MethodGet, Path: "/tenants", Action: Authenticated, Version: required, Handle: f.tenants},
		{Method: http.MethodGet, Path: "/subscriptions", Action: Authenticated, Version: required, Handle: f.subscriptions},
		{Method: http.MethodGet, Path: sub, Action: read, Version: required, Handle: f.subscription},
		{Method: http.MethodGet, Path: sub + "/locations", Scope: sub, Action: read, Version: required, Handle: f.locations},
		{Method: http.MethodGet, Path: sub + "/providers", Scope: sub, Action: "Microsoft.Resources/subscriptions/providers/read", Version: required, Handle: f.providers},
		{Method: http.MethodGet, Path: sub + "/providers/{namespace}", Scope: sub, Action: "Microsoft.Resources/subscriptions/providers/read", Version: required, Handle: f.provider},
		{Method: http.MethodPost, Path: sub + "/providers/{namespace}/register", Scope: sub, Action: "Microsoft.Resources/subscriptions/providers/write", Version: required, Handle: f.provider},
		{Method: http.MethodGet, Path: sub + "/resources", Scope: sub, Action: "Microsoft.Resources/subscriptions/resources/read", Version: required, Handle: f.resources},
		{Method: http.MethodGet, Path: sub + "/resourceGroups/{resourceGroup}/resources", Scope: sub + "/resourceGroups/{resourceGroup}", Action: "Microsoft.Resources/subscriptions/resourceGroups/resources/read", Version: required, Handle: f.resources},
	}
}

func (f *Face) tenants(*Request) (Answer, error) {
	return Answer{Body: listBody{Value: []any{map[string]any{
		"id": "/tenants/" + f.Tenant, "tenantId": f.Tenant, "displayName": "Lapis", "tenantCategory": "Home",
		"defaultDomain": "lapis.localhost", "domains": []string{"lapis.localhost"}, "countryCode": "",
	}}}}, nil
}

func (f *Face) subscriptions(r *Request) (Answer, error) {
	return Answer{Body: listBody{Value: []any{f.subscriptionBody()}}}, nil
}

func (f *Face) subscription(r *Request) (Answer, error) {
	if !strings.EqualFold(r.Vars["subscription"], f.Subscription) {
		return Answer{}, fault.E(fault.NotFound, "SubscriptionNotFound", "The subscription '%s' could not be found.", r.Vars["subscription"])
	}
	return Answer{Body: f.subscriptionBody()}, nil
}

func (f *Face) subscriptionBody() any {
	return map[string]any{
		"id": "/subscriptions/" + f.Subscription, "subscriptionId": f.Subscription, "tenantId": f.Tenant,
		"displayName": "Lapis", "state": "Enabled", "authorizationSource": "RoleBased", "managedByTenants": []any{},
		"subscriptionPolicies": map[string]any{"locationPlacementId": "Internal_2014-09-01", "quotaId": "Internal_2014-09-01", "spendingLimit": "Off"},
	}
}

func (f *Face) locations(*Request) (Answer, error) {
	return Answer{Body: listBody{Value: []any{map[string]any{
		"id":   "/subscriptions/" + f.Subscription + "/locations/" + f.Location,
		"name": f.Location, "displayName": f.Location, "regionalDisplayName": f.Location, "type": "Region",
	}}}}, nil
}

type providerBody struct {
	ID                string         `json:"id"`
	Namespace         string         `json:"namespace"`
	RegistrationState string         `json:"registrationState"`
	ResourceTypes     []providerType `json:"resourceTypes"`
}

type providerType struct {
	ResourceType string   `json:"resourceType"`
	Locations    []string `json:"locations"`
	APIVersions  []string `json:"apiVersions"` // newest first
	Capabilities string   `json:"capabilities"`
}

// providerBodies lists the namespaces of the registered types. Everything that
// is served is registered: there is nothing to switch on.
func (f *Face) providerBodies() []providerBody {
	byName := map[string]*providerBody{}
	for _, typ := range f.Tree.Types() {
		namespace, rest, _ := strings.Cut(typ.Name, "/")
		b := byName[namespace]
		if b == nil {
			b = &providerBody{
				ID:        "/subscriptions/" + f.Subscription + "/providers/" + namespace,
				Namespace: namespace, RegistrationState: "Registered",
			}
			byName[namespace] = b
		}
		versions := slices.Clone(typ.APIVersions)
		slices.Reverse(versions)
		b.ResourceTypes = append(b.ResourceTypes, providerType{
			ResourceType: rest, Locations: []string{f.Location}, APIVersions: versions, Capabilities: "None",
		})
	}
	bodies := make([]providerBody, 0, len(byName))
	for _, b := range byName {
		bodies = append(bodies, *b)
	}
	sort.Slice(bodies, func(i, j int) bool { return bodies[i].Namespace < bodies[j].Namespace })
	return bodies
}

func (f *Face) providers(*Request) (Answer, error) {
	return Answer{Body: listBody{Value: f.providerBodies()}}, nil
}

func (f *Face) provider(r *Request) (Answer, error) {
	for _, b := range f.providerBodies() {
		if strings.EqualFold(b.Namespace, r.Vars["namespace"]) {
			return Answer{Body: b}, nil
		}
	}
	return Answer{}, fault.E(fault.NotFound, "InvalidResourceNamespace", "The resource namespace '%s' is invalid.", r.Vars["namespace"])
}

// resources lists every top-level resource in a subscription or group.
func (f *Face) resources(r *Request) (Answer, error) {
	if err := f.checkScope(r, false); err != nil {
		return Answer{}, err
	}
	keep, err := parseResourceFilter(param(r, "$filter"))
	if err != nil {
		return Answer{}, err
	}
	found := []resource.Resource{}
	for _, typ := range f.Tree.Types() {
		if typ.ParentType() != "" || typ.Virtual != nil || typ.Unlisted || typ.Name == resource.GroupType {
			continue
		}
		all, err := f.Tree.List(r.Context(), typ.Name, r.ID)
		if err != nil {
			return Answer{}, err
		}
		for _, res := range all {
			if keep(res.ID, res) {
				found = append(found, res)
			}
		}
	}
	sort.Slice(found, func(i, j int) bool { return found[i].ID.Key() < found[j].ID.Key() })
	answer, err := f.page(r, found)
	if err != nil {
		return answer, err
	}
	list := answer.Body.(listBody)
	shown := list.Value.([]resource.Shown)
	brief := make([]map[string]any, 0, len(shown))
	for _, s := range shown { // a listing of resources shows envelopes, no properties
		brief = append(brief, map[string]any{
			"id": s.ID, "name": s.Name, "type": s.Type, "location": s.Location, "tags": s.Tags, "kind": s.Kind,
			"sku": s.SKU, "identity": s.Identity, "provisioningState": s.Properties["provisioningState"],
		})
	}
	return Answer{Body: listBody{Value: brief, NextLink: list.NextLink}}, nil
}

// parseResourceFilter reads the $filter of a listing: clauses "property eq
// 'value'" joined by "and", for resourceType, resourceGroup, location and name.
func parseResourceFilter(text string) (func(armid.ID, resource.Resource) bool, error) {
	want := map[string]string{}
	for clause := range strings.SplitSeq(text, " and ") {
		clause = strings.Trim(clause, " ()")
		if clause == "" {
			continue
		}
		name, value, ok := strings.Cut(clause, " eq ")
		name, value = strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(value)
		known := slices.Contains([]string{"resourcetype", "resourcegroup", "location", "name"}, name)
		if !ok || !known || len(value) < 2 || value[0] != '\'' || value[len(value)-1] != '\'' {
			return nil, fault.E(fault.Invalid, "InvalidFilterInQueryString",
				"Invalid $filter '%s' specified in the query string: clauses are resourceType, resourceGroup, location or name, 'eq', and a quoted value.", text).At("$filter")
		}
		want[name] = strings.ReplaceAll(value[1:len(value)-1], "''", "'")
	}
	return func(id armid.ID, r resource.Resource) bool {
		have := map[string]string{"resourcetype": id.Type(), "resourcegroup": id.ResourceGroupName(), "location": r.Location, "name": id.Name()}
		for name, value := range want {
			if !strings.EqualFold(have[name], value) {
				return false
			}
		}
		return true
	}, nil
}
