package graph

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"lapis/fault"
)

// metadata begins every @odata.context.
const metadata = "https://graph.microsoft.com/v1.0/$metadata#"

// servicePrincipal is an application or a managed identity on the wire.
type servicePrincipal struct {
	ODataType            string   `json:"@odata.type,omitempty"`
	Context              string   `json:"@odata.context,omitempty"`
	ID                   string   `json:"id"`
	AppID                string   `json:"appId"`
	DisplayName          string   `json:"displayName"`
	AppDisplayName       string   `json:"appDisplayName"`
	ServicePrincipalType string   `json:"servicePrincipalType"`
	ServicePrincipalName []string `json:"servicePrincipalNames"`
	AlternativeNames     []string `json:"alternativeNames"`
	AccountEnabled       bool     `json:"accountEnabled"`
	AppOwner             string   `json:"appOwnerOrganizationId"`
	CreatedDateTime      string   `json:"createdDateTime,omitempty"`
	Tags                 []string `json:"tags"`
}

// user is a person on the wire.
type user struct {
	ODataType         string   `json:"@odata.type,omitempty"`
	Context           string   `json:"@odata.context,omitempty"`
	ID                string   `json:"id"`
	DisplayName       string   `json:"displayName"`
	UserPrincipalName string   `json:"userPrincipalName"`
	Mail              *string  `json:"mail"`
	BusinessPhones    []string `json:"businessPhones"`
}

// page is a list on the wire.
type page struct {
	Context  string `json:"@odata.context"`
	NextLink string `json:"@odata.nextLink,omitempty"`
	Value    []any  `json:"value"`
}

// collection is one of the lists the face has.
type collection struct {
	name string
	has  func(p *Principal) bool
	// poly objects say their type, as Graph does where a list mixes types.
	poly bool
}

func users() collection {
	return collection{name: "users", has: func(p *Principal) bool { return p.Kind == User }}
}

func servicePrincipals() collection {
	return collection{name: "servicePrincipals", has: func(p *Principal) bool { return p.Kind != User }}
}

func directoryObjects() collection {
	return collection{name: "directoryObjects", has: func(*Principal) bool { return true }, poly: true}
}

// object returns the object's body. context is set for an answer of one object.
func (f *face) object(p *Principal, poly bool, context string) any {
	if p.Kind == User {
		u := user{Context: context, ID: p.ObjectID, DisplayName: p.DisplayName, UserPrincipalName: p.userPrincipalName(f.Tenant.Domain), BusinessPhones: []string{}}
		if poly {
			u.ODataType = "#microsoft.graph.user"
		}
		return u
	}
	sp := servicePrincipal{
		Context: context, ID: p.ObjectID, AppID: p.AppID, DisplayName: p.DisplayName, AppDisplayName: p.DisplayName,
		ServicePrincipalType: p.Kind, ServicePrincipalName: p.servicePrincipalNames(), AlternativeNames: []string{},
		AccountEnabled: true, AppOwner: f.Tenant.ID, Tags: []string{},
	}
	if poly {
		sp.ODataType = "#microsoft.graph.servicePrincipal"
	}
	if p.ResourceID != "" {
		explicit := "False"
		if p.UserAssigned {
			explicit = "True"
		}
		sp.AlternativeNames = []string{"isExplicit=" + explicit, p.ResourceID}
	}
	if !p.CreatedAt.IsZero() {
		sp.CreatedDateTime = p.CreatedAt.UTC().Format(time.RFC3339)
	}
	return sp
}

func (p *Principal) servicePrincipalNames() []string {
	names := []string{}
	if p.AppID != "" {
		names = append(names, p.AppID)
	}
	return append(names, p.Names...)
}

func (p *Principal) userPrincipalName(domain string) string {
	if len(p.Names) > 0 {
		return p.Names[0]
	}
	return strings.ToLower(strings.ReplaceAll(p.DisplayName, " ", ".")) + "@" + domain
}

// find returns the principal with that object id among those of the collection.
func (f *face) find(in collection, id string) (*Principal, bool) {
	all := f.Principals()
	i := slices.IndexFunc(all, func(p Principal) bool { return strings.EqualFold(p.ObjectID, id) && in.has(&p) })
	if i < 0 {
		return nil, false
	}
	return &all[i], true
}

// one serves an object by its id.
func (f *face) one(in collection) func(http.ResponseWriter, *call) error {
	return func(w http.ResponseWriter, c *call) error {
		if err := checkQuery(c.URL, "$select"); err != nil {
			return err
		}
		p, ok := f.find(in, c.id)
		if !ok {
			return fault.E(fault.NotFound, "Request_ResourceNotFound",
				"Resource '%s' does not exist or one of its queried reference-property objects are not present.", c.id)
		}
		return write(w, http.StatusOK, f.object(p, in.poly, metadata+in.name+"/$entity"))
	}
}

// list serves those of a collection that pass $filter, $top at a time.
func (f *face) list(in collection) func(http.ResponseWriter, *call) error {
	return func(w http.ResponseWriter, c *call) error {
		if err := checkQuery(c.URL, "$select", "$filter", "$top", "$skiptoken"); err != nil {
			return err
		}
		q := c.URL.Query()
		match, err := parseFilter(q.Get("$filter"), f.Tenant.Domain)
		if err != nil {
			return err
		}
		top, err := number(q, "$top", 100, 1, 999)
		if err != nil {
			return err
		}
		skip, err := number(q, "$skiptoken", 0, 0, 1<<30)
		if err != nil {
			return err
		}
		answer := page{Context: metadata + in.name, Value: []any{}}
		seen := 0
		for _, p := range f.Principals() {
			if !in.has(&p) || !match(&p) {
				continue
			}
			if seen++; seen <= skip {
				continue
			}
			if len(answer.Value) == top {
				q.Set("$skiptoken", strconv.Itoa(skip+top))
				answer.NextLink = (&url.URL{Scheme: "https", Host: c.Host, Path: c.URL.Path, RawQuery: q.Encode()}).String()
				break
			}
			answer.Value = append(answer.Value, f.object(&p, in.poly, ""))
		}
		return write(w, http.StatusOK, answer)
	}
}

// checkQuery refuses query options that would change the answer and that we do
// not know, and options given twice.
func checkQuery(u *url.URL, known ...string) error {
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return fault.E(fault.Invalid, "BadRequest", "The query string cannot be read.").At("query")
	}
	for name, values := range q {
		if !strings.HasPrefix(name, "$") {
			continue
		}
		if !slices.Contains(known, name) {
			return fault.E(fault.Invalid, "Request_UnsupportedQuery", "The query option '%s' is not supported here. Supported: %s.", name, strings.Join(known, ", ")).At(name)
		}
		if len(values) > 1 {
			return fault.E(fault.Invalid, "Request_BadRequest", "The query option '%s' is given %d times.", name, len(values)).At(name)
		}
	}
	return nil
}

func number(q url.Values, name string, missing, low, high int) (int, error) {
	text := q.Get(name)
	if text == "" {
		return missing, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < low || n > high {
		return 0, fault.E(fault.Invalid, "Request_BadRequest", "Invalid value '%s' for '%s': give a number from %d to %d.", text, name, low, high).At(name)
	}
	return n, nil
}

// me serves the caller, who must be a user.
func (f *face) me(w http.ResponseWriter, c *call) error {
	if err := checkQuery(c.URL, "$select"); err != nil {
		return err
	}
	p, ok := f.find(users(), c.caller)
	if !ok {
		return fault.E(fault.Invalid, "BadRequest", "/me request is only valid with delegated authentication flow: the caller is no user.")
	}
	return write(w, http.StatusOK, f.object(p, false, metadata+"users/$entity"))
}

// organization serves the tenant.
func (f *face) organization(w http.ResponseWriter, c *call) error {
	if err := checkQuery(c.URL, "$select"); err != nil {
		return err
	}
	type domain struct {
		Name         string `json:"name"`
		Type         string `json:"type"`
		Capabilities string `json:"capabilities"`
		IsDefault    bool   `json:"isDefault"`
		IsInitial    bool   `json:"isInitial"`
	}
	type organization struct {
		ID              string   `json:"id"`
		DisplayName     string   `json:"displayName"`
		TenantType      string   `json:"tenantType"`
		VerifiedDomains []domain `json:"verifiedDomains"`
	}
	o := organization{ID: f.Tenant.ID, DisplayName: f.Tenant.DisplayName, TenantType: "AAD", VerifiedDomains: []domain{}}
	if f.Tenant.Domain != "" {
		o.VerifiedDomains = append(o.VerifiedDomains, domain{Name: f.Tenant.Domain, Type: "Managed", IsDefault: true, IsInitial: true})
	}
	return write(w, http.StatusOK, page{Context: metadata + "organization", Value: []any{o}})
}

// maxIDs is how many objects one getByIds may ask for; Graph's own limit.
const maxIDs = 1000

// idQuery is the body of getByIds.
type idQuery struct {
	IDs   []string `json:"ids"`
	Types []string `json:"types"`
}

// parseIDs reads the body of getByIds. Types that the directory cannot hold are
// taken, as Graph does; they match nothing.
func parseIDs(body []byte) (idQuery, error) {
	var q idQuery
	if err := json.Unmarshal(body, &q); err != nil {
		return q, fault.E(fault.Invalid, "BadRequest", "The body is not valid JSON of the form {\"ids\": [\"...\"], \"types\": [\"...\"]}.")
	}
	if len(q.IDs) == 0 || len(q.IDs) > maxIDs {
		return q, fault.E(fault.Invalid, "Request_BadRequest", "'ids' needs 1 to %d object ids; it has %d.", maxIDs, len(q.IDs)).At("ids")
	}
	for _, id := range q.IDs {
		if _, err := uuid.Parse(id); err != nil || len(id) != 36 {
			return q, fault.E(fault.Invalid, "Request_BadRequest", "Invalid object identifier '%s'.", id).At("ids")
		}
	}
	return q, nil
}

func (q *idQuery) takes(p *Principal) bool {
	if len(q.Types) == 0 {
		return true
	}
	kind := "servicePrincipal"
	if p.Kind == User {
		kind = "user"
	}
	return slices.ContainsFunc(q.Types, func(t string) bool {
		return strings.EqualFold(t, kind) || strings.EqualFold(t, "directoryObject")
	})
}

// getByIDs serves the objects with the given ids; ids that nobody has are left out.
func (f *face) getByIDs(w http.ResponseWriter, c *call) error {
	body, err := io.ReadAll(c.Body)
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return fault.E(fault.TooLarge, "Request_EntityTooLarge", "The body is larger than %d bytes.", maxBody)
	}
	if err != nil {
		return fault.E(fault.Invalid, "BadRequest", "The body could not be read.")
	}
	q, err := parseIDs(body)
	if err != nil {
		return err
	}
	wanted := map[string]bool{}
	for _, id := range q.IDs {
		wanted[strings.ToLower(id)] = true
	}
	answer := page{Context: metadata + "directoryObjects", Value: []any{}}
	for _, p := range f.Principals() {
		if wanted[strings.ToLower(p.ObjectID)] && q.takes(&p) {
			answer.Value = append(answer.Value, f.object(&p, true, ""))
		}
	}
	return write(w, http.StatusOK, answer)
}
