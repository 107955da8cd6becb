package endpoint

import (
	"context"
	"maps"
	"slices"
	"strings"

	"lapis/armid"
	"lapis/fault"
	"lapis/identity"
	"lapis/resource"
)

var versions = []string{
	"2020-12-01-preview", "2021-03-01-preview", "2021-10-01", "2022-02-01-preview", "2022-05-01", "2022-06-01-preview", "2022-10-01",
	"2022-10-01-preview", "2022-12-01-preview", "2023-02-01-preview", "2023-04-01", "2023-04-01-preview", "2023-06-01-preview",
	"2023-08-01-preview", "2023-10-01", "2024-01-01-preview", "2024-04-01", "2024-04-01-preview", "2024-07-01-preview", "2024-10-01",
	"2024-10-01-preview", "2025-01-01-preview", "2025-04-01", "2025-04-01-preview", "2025-06-01", "2025-07-01-preview", "2025-09-01", "2025-12-01",
}

func (s *Service) endpointType() resource.Type {
	return resource.Type{
		Name: TypeName, APIVersions: versions, Located: true, CheckName: checkName,
		Prepare: s.prepareEndpoint, Linked: linkedIdentities, Show: s.showEndpoint,
		PutOperation: putEndpoint, DeleteOperation: deleteEndpoint,
		Actions: []resource.Action{
			{Name: "listKeys", Run: s.listKeys},
			{Name: "regenerateKeys", Run: s.regenerateKeys},
			{Name: "token", Run: s.token},
		},
	}
}

// linkedIdentities: attaching an identity takes the right to assign it, else
// everybody who may write an endpoint could act as any identity. What is
// attached already is not attached again by a change of something else.
func linkedIdentities(d *resource.Draft) ([]resource.Access, error) {
	if d.Next.Identity == nil {
		return nil, nil
	}
	var attached []string
	if d.Prev != nil && d.Prev.Identity != nil {
		attached = userKeys(d.Prev.Identity)
	}
	var needed []resource.Access
	for _, text := range slices.Sorted(maps.Keys(d.Next.Identity.UserAssigned)) {
		id, err := armid.Parse(text)
		if err != nil || !id.Is("Microsoft.ManagedIdentity/userAssignedIdentities") {
			return nil, fault.E(fault.Invalid, "BadArgument", "'%s' is not the id of a user-assigned identity.", text).At("identity.userAssignedIdentities")
		}
		if slices.Contains(attached, id.Key()) {
			continue
		}
		needed = append(needed, resource.Access{
			Action: "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action", Scope: id,
		})
	}
	return needed, nil
}

func (s *Service) prepareEndpoint(ctx context.Context, d *resource.Draft) error {
	p, err := s.checkEndpoint(ctx, d)
	if err != nil {
		return err
	}
	if err := checkIdentity(d); err != nil {
		return err
	}
	if d.Prev == nil {
		claimed, err := s.names().Claim(ctx, d.Next.ID.Name(), d.Next.ID)
		if err != nil {
			return err
		}
		if !claimed {
			return fault.E(fault.Conflict, "EndpointNameTaken",
				"An endpoint named '%s' exists already in the region '%s'. Names of endpoints are unique there; choose another.", d.Next.ID.Name(), d.Next.Location).At("name")
		}
		if err := s.firstKeys(d.Next, p.Keys); err != nil {
			return err
		}
	}
	if err := s.fillIdentity(ctx, d.Next); err != nil {
		return err
	}
	p.Keys = nil // in Private, if anywhere
	return d.Next.SetProperties(p)
}

// checkEndpoint holds the properties of an endpoint against the rules.
func (s *Service) checkEndpoint(ctx context.Context, d *resource.Draft) (properties, error) {
	var p properties
	if err := d.Next.Decode(&p); err != nil {
		return p, fault.E(fault.Invalid, "InvalidRequestContent", "The properties are not of an endpoint's shape: %s.", err.Error()).At("properties")
	}
	modes := map[string]string{"": modeKey, "key": modeKey, "amltoken": modeAMLToken, "aadtoken": modeAADToken}
	mode, known := modes[strings.ToLower(p.AuthMode)]
	switch {
	case !known:
		return p, fault.E(fault.Invalid, "InvalidAuthMode", "The authMode '%s' is none of Key, AMLToken, AADToken.", p.AuthMode).At("properties.authMode")
	case p.Compute != "":
		return p, fault.E(fault.NotImplemented, "ComputeNotSupported", "Endpoints on a Kubernetes compute are not supported yet; leave 'compute' out.").At("properties.compute")
	case p.PublicNetwork != "" && !switchable(p.PublicNetwork):
		return p, fault.E(fault.Invalid, "BadArgument", "The publicNetworkAccess '%s' is neither Enabled nor Disabled.", p.PublicNetwork).At("properties.publicNetworkAccess")
	case strings.EqualFold(p.PublicNetwork, "disabled"):
		return p, fault.E(fault.NotImplemented, "PrivateEndpointNotSupported", "publicNetworkAccess '%s' is not supported yet; it can be enabled.", p.PublicNetwork).At("properties.publicNetworkAccess")
	}
	p.AuthMode = mode
	if p.PublicNetwork != "" {
		p.PublicNetwork = "Enabled" // in the case that clients take
	}
	deployments, err := s.deploymentsOf(ctx, d)
	if err != nil {
		return p, err
	}
	if p.Traffic, err = checkTraffic(p.Traffic, deployments); err != nil {
		return p, err
	}
	if p.Mirror, err = checkMirror(p.Mirror, p.Traffic, deployments); err != nil {
		return p, err
	}
	if p.Properties == nil {
		p.Properties = map[string]string{}
	}
	return p, nil
}

// switchable reports whether a value is one of Enabled and Disabled.
func switchable(value string) bool {
	return strings.EqualFold(value, "enabled") || strings.EqualFold(value, "disabled")
}

func (s *Service) deploymentsOf(ctx context.Context, d *resource.Draft) ([]string, error) {
	if d.Prev == nil {
		return nil, nil
	}
	found, err := s.Tree.List(ctx, DeploymentType, d.Prev.ID)
	names := make([]string, 0, len(found))
	for _, r := range found {
		names = append(names, r.ID.Name())
	}
	return names, err
}

// checkIdentity completes the identity of a new endpoint, and refuses to change
// that of one that exists. A PUT that echoes what was shown is no change.
func checkIdentity(d *resource.Draft) error {
	next := d.Next.Identity
	if d.Prev == nil {
		if next == nil || next.Type == "" {
			d.Next.Identity = &resource.Identity{Type: "SystemAssigned"}
			return nil
		}
		return checkIdentityType(next)
	}
	prev := d.Prev.Identity
	if next != nil && next != prev {
		if err := checkIdentityType(next); err != nil {
			return err
		}
		if next.HasSystem() != prev.HasSystem() || !slices.Equal(userKeys(next), userKeys(prev)) {
			return fault.E(fault.Invalid, "BadArgument",
				"The identity of the endpoint '%s' cannot be changed after its creation. Delete the endpoint and create it with the other identity.", d.Prev.ID.Name()).At("identity")
		}
	}
	d.Next.Identity = prev
	return nil
}

func checkIdentityType(i *resource.Identity) error {
	kinds := map[string]string{"systemassigned": "SystemAssigned", "userassigned": "UserAssigned"}
	kind, ok := kinds[strings.ToLower(i.Type)]
	if !ok {
		return fault.E(fault.Invalid, "BadArgument", "The identity type '%s' is neither SystemAssigned nor UserAssigned.", i.Type).At("identity.type")
	}
	i.Type = kind
	if kind == "UserAssigned" && len(i.UserAssigned) == 0 {
		return fault.E(fault.Invalid, "BadArgument", "An endpoint with a user-assigned identity must name it in userAssignedIdentities.").At("identity.userAssignedIdentities")
	}
	if kind == "SystemAssigned" && len(i.UserAssigned) > 0 {
		return fault.E(fault.Invalid, "BadArgument", "An endpoint with a system-assigned identity names no user-assigned ones.").At("identity.userAssignedIdentities")
	}
	return nil
}

func userKeys(i *resource.Identity) []string {
	var keys []string
	for id := range i.UserAssigned {
		keys = append(keys, strings.ToLower(strings.TrimRight(id, "/")))
	}
	slices.Sort(keys)
	return keys
}

// fillIdentity makes the system-assigned principal and resolves the others.
func (s *Service) fillIdentity(ctx context.Context, r *resource.Resource) error {
	filled := resource.Identity{Type: r.Identity.Type, TenantID: s.Directory.Tenant()}
	if r.Identity.HasSystem() {
		p, err := s.Directory.EnsureManaged(ctx, identity.SystemAssigned, r.ID.String(), r.ID.Name())
		if err != nil {
			return err
		}
		filled.PrincipalID = p.ObjectID
	}
	for id := range r.Identity.UserAssigned {
		p, ok := s.Directory.ByResource(id)
		if !ok {
			return fault.E(fault.Invalid, "BadArgument", "The user-assigned identity '%s' does not exist.", id).At("identity.userAssignedIdentities")
		}
		if filled.UserAssigned == nil {
			filled.UserAssigned = map[string]resource.UserAssigned{}
			filled.PrincipalID = "00000000-0000-0000-0000-000000000000" // as the real service answers
		}
		filled.UserAssigned[id] = resource.UserAssigned{PrincipalID: p.ObjectID, ClientID: p.ClientID}
	}
	r.Identity = &filled
	return nil
}

func (s *Service) showEndpoint(_ context.Context, r resource.Resource, shown *resource.Shown) error {
	base := "https://" + Host(r.ID.Name(), r.Location)
	shown.Kind = "Managed"
	shown.Properties["scoringUri"] = base + "/score"
	shown.Properties["swaggerUri"] = base + "/swagger.json"
	if shown.Properties["publicNetworkAccess"] == nil {
		shown.Properties["publicNetworkAccess"] = "Enabled"
	}
	inner, _ := shown.Properties["properties"].(map[string]any)
	if inner == nil {
		inner = map[string]any{}
	}
	inner["azureml.onlineendpointid"] = r.ID.String()
	showOperation(r, inner)
	shown.Properties["properties"] = inner
	return nil
}

// operationProperty is where clients that speak REST by hand find the address
// of the last operation; it is no field of the typed model.
const operationProperty = "AzureAsyncOperationUri"

// showOperation puts the address of the resource's last operation where the
// real service does. One that a client sent back is not kept.
func showOperation(r resource.Resource, inner map[string]any) {
	delete(inner, operationProperty)
	if r.Operation != "" {
		inner[operationProperty] = "https://management.azure.com/subscriptions/" + r.ID.SubscriptionID() +
			"/providers/Microsoft.MachineLearningServices/locations/" + r.Location + "/mfeOperationsStatus/" + r.Operation + "?api-version=2022-02-01-preview"
	}
}
