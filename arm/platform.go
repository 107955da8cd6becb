package arm

import (
	"net/http"
	"strconv"
	"strings"

	"lapis/armid"
	"lapis/fault"
	"lapis/rbac"
)

// platformRoutes are the rows that Azure does not have, and the metadata that
// clouds are discovered by.
func (f *Face) platformRoutes() []Route {
	return []Route{
		{Method: http.MethodGet, Path: "/metadata/endpoints", Handle: f.metadata},
		{Method: http.MethodGet, Path: "/providers/Lapis.Platform/status", Action: Authenticated, Handle: f.status},
		{Method: http.MethodGet, Path: "/providers/Lapis.Platform/explain", Action: Authenticated, Handle: f.explain},
	}
}

func (f *Face) status(r *Request) (Answer, error) {
	return Answer{Body: f.Status(r.Context())}, nil
}

// explanation is the answer of explain.
type explanation struct {
	Allowed    bool         `json:"allowed"`
	Principal  string       `json:"principal"`
	Action     string       `json:"action"`
	Data       bool         `json:"dataAction"`
	Scope      string       `json:"scope"`
	Assignment *assignment  `json:"assignment"`
	Considered []considered `json:"considered"`
	Remedies   []remedy     `json:"remedies"`
}

type assignment struct {
	ID    string `json:"id"`
	Role  string `json:"role"`
	Scope string `json:"scope"`
}

type considered struct {
	assignment
	Why    string `json:"why"`
	Detail string `json:"detail"`
}

type remedy struct {
	Role    string `json:"role"`
	Scope   string `json:"scope"`
	Command string `json:"command,omitempty"`
}

// explain says why an action is allowed or not. Whoever asks about another
// principal needs to be allowed to read role assignments at the scope.
func (f *Face) explain(r *Request) (Answer, error) {
	scope, err := armid.Parse(param(r, "scope"))
	if err != nil {
		return Answer{}, fault.E(fault.Invalid, "InvalidScope", "%s.", err.Error()).At("scope")
	}
	q := rbac.Query{PrincipalID: strings.ToLower(param(r, "principal")), Action: param(r, "action"), Scope: scope}
	if q.PrincipalID == "" || q.Action == "" {
		return Answer{}, fault.E(fault.Invalid, "MissingParameter", "explain needs principal (an object id), action and scope.")
	}
	if text := param(r, "data"); text != "" {
		if q.Data, err = strconv.ParseBool(text); err != nil {
			return Answer{}, fault.E(fault.Invalid, "InvalidParameter", "data is true or false, not '%s'.", text).At("data")
		}
	}
	if !strings.EqualFold(q.PrincipalID, r.Caller.ObjectID) {
		err := f.Roles.Require(r.Context(), rbac.Query{PrincipalID: r.Caller.ObjectID, Action: rbac.ReadAssignments, Scope: scope})
		if err != nil {
			return Answer{}, err
		}
	}
	return Answer{Body: explanationOf(f.Roles.Explain(q))}, nil
}

func explanationOf(e rbac.Explanation) explanation {
	out := explanation{
		Allowed: e.Decision.Allowed, Principal: e.Query.PrincipalID, Action: e.Query.Action, Data: e.Query.Data,
		Scope: e.Query.Scope.String(), Considered: []considered{}, Remedies: []remedy{},
	}
	if a := e.Decision.Assignment; a != nil {
		out.Assignment = &assignment{ID: a.ID(), Role: e.Decision.Role.Name, Scope: a.Scope.String()}
	}
	for _, look := range e.Looked {
		a := look.Assignment
		out.Considered = append(out.Considered, considered{
			assignment: assignment{ID: a.ID(), Role: look.RoleName, Scope: a.Scope.String()},
			Why:        string(look.Reason), Detail: look.Detail,
		})
	}
	if e.Decision.Allowed {
		return out
	}
	for i, role := range e.WouldDo {
		m := remedy{Role: role.Name, Scope: e.Advice.Scope.String()}
		if i == 0 {
			m.Command = e.Advice.Remedy
		}
		out.Remedies = append(out.Remedies, m)
	}
	return out
}

// cloud is one entry of the metadata document.
type cloud struct {
	Name                     string            `json:"name"`
	Portal                   string            `json:"portal"`
	Authentication           cloudLogin        `json:"authentication"`
	GraphAudience            string            `json:"graphAudience"`
	MicrosoftGraphResourceID string            `json:"microsoftGraphResourceId"`
	ResourceManager          string            `json:"resourceManager"`
	Suffixes                 map[string]string `json:"suffixes"`
}

type cloudLogin struct {
	LoginEndpoint    string   `json:"loginEndpoint"`
	Audiences        []string `json:"audiences"`
	Tenant           string   `json:"tenant"`
	IdentityProvider string   `json:"identityProvider"`
}

// metadata describes the cloud under the host it is asked by. Clients of the
// old version want an object without a list, those of 2019 a list.
func (f *Face) metadata(r *Request) (Answer, error) {
	port := ""
	if i := strings.LastIndexByte(r.Host, ':'); i > 0 {
		port = r.Host[i:]
	}
	manager := "https://" + r.Host
	c := cloud{
		Name: "LapisCloud", Portal: "https://portal.azure." + f.Suffix + port, ResourceManager: manager,
		GraphAudience: "https://graph." + f.Suffix + port + "/", MicrosoftGraphResourceID: "https://graph." + f.Suffix + port + "/",
		Authentication: cloudLogin{
			LoginEndpoint: "https://login." + f.Suffix + port, Audiences: []string{manager, "https://management.azure.com/"},
			Tenant: "common", IdentityProvider: "AAD",
		},
		Suffixes: map[string]string{
			"storage": "core." + f.Suffix + port, "acrLoginServer": "azurecr." + f.Suffix + port, "keyVaultDns": "vault." + f.Suffix + port,
		},
	}
	switch version := param(r, "api-version"); version {
	case "2015-01-01":
		return Answer{Body: map[string]any{
			"galleryEndpoint": "", "graphEndpoint": c.GraphAudience, "portalEndpoint": c.Portal,
			"authentication": map[string]any{"loginEndpoint": c.Authentication.LoginEndpoint, "audiences": c.Authentication.Audiences},
		}}, nil
	case "2018-05-01", "2019-05-01", "2020-06-01":
		return Answer{Body: []cloud{c}}, nil
	case "":
		return Answer{}, required(version)
	default:
		return Answer{Body: c}, nil
	}
}
