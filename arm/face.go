// Package arm is the face of Azure Resource Manager, management.azure.com.
//
// It holds one table of routes, each with the action it needs, and no rules: a
// row authenticates the caller, asks for its action at its scope, calls one
// method below and writes what comes back. Types of resources add their rows
// by being registered in the resource tree.
package arm

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"lapis/armid"
	"lapis/fault"
	"lapis/operation"
	"lapis/rbac"
	"lapis/resource"
)

// maxBody bounds a request's body: ARM takes 4 MiB.
const maxBody = 4 << 20

// Config is what the face needs.
type Config struct {
	Tree         *resource.Tree
	Operations   *operation.Runner
	Roles        *rbac.Service
	Tenant       string
	Subscription string
	Location     string
	// Authenticate verifies a bearer token for Resource Manager.
	Authenticate func(ctx context.Context, raw string) (resource.Caller, error)
	// Extra rows, such as a provider's checkNameAvailability.
	Extra []Route
	// Status tells people how the platform stands.
	Status func(ctx context.Context) any
	// Suffix is the parent domain of the platform's own names.
	Suffix string
	Now    func() time.Time
	Log    *slog.Logger
}

// Face is the handler.
type Face struct {
	Config
	matchers []matcher
}

// New builds the table. Every type must be registered in the tree before.
func New(cfg Config) *Face {
	f := &Face{Config: cfg}
	for _, r := range f.Routes() {
		f.matchers = append(f.matchers, compile(r))
	}
	return f
}

// Routes returns the whole table.
func (f *Face) Routes() []Route {
	var rows []Route
	rows = append(rows, f.platformRoutes()...)
	rows = append(rows, f.subscriptionRoutes()...)
	rows = append(rows, f.operationRoutes()...)
	rows = append(rows, f.authorizationRoutes()...)
	rows = append(rows, f.Extra...)
	for _, typ := range f.Tree.Types() {
		rows = append(rows, f.typeRoutes(typ)...)
	}
	return rows
}

// ServeHTTP answers one request.
func (f *Face) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	answer, err := f.serve(r)
	if err != nil {
		f.drawError(w, r, err)
		return
	}
	f.write(w, r, answer)
}

func (f *Face) serve(r *http.Request) (Answer, error) {
	path := split(r.URL.Path)
	allowed := ""
	for _, m := range f.matchers {
		vars, ok := m.match(path)
		if !ok {
			continue
		}
		if m.route.Method != r.Method {
			allowed += " " + m.route.Method
			continue
		}
		return f.run(m.route, vars, r)
	}
	if _, err := f.authenticate(r); err != nil {
		return Answer{}, err
	}
	if allowed != "" {
		return Answer{}, fault.E(fault.NotAllowed, "MethodNotAllowed",
			"The method %s is not supported for '%s'; it takes%s.", r.Method, r.URL.Path, allowed)
	}
	return Answer{}, f.unknownPath(r.URL.Path)
}

// run authenticates, authorizes and handles a request that a row has matched.
func (f *Face) run(route Route, vars map[string]string, r *http.Request) (Answer, error) {
	req := &Request{Request: r, Vars: vars, Params: r.URL.Query()}
	req.APIVersion = param(req, "api-version")
	if anonymous[route.Path] {
		return route.Handle(req)
	}
	caller, err := f.authenticate(r)
	if err != nil {
		return Answer{}, err
	}
	req.Caller = caller
	scope := route.Scope
	if scope == "" {
		scope = route.Path
	}
	if route.Action != Authenticated {
		if req.ID, err = armid.Parse(expand(scope, vars)); err != nil {
			return Answer{}, fault.E(fault.Invalid, "InvalidResourceId", "%s.", err.Error())
		}
		err := f.Roles.Require(r.Context(), rbac.Query{PrincipalID: caller.ObjectID, Action: route.Action, Scope: req.ID})
		if err != nil {
			return Answer{}, err
		}
	}
	if route.Version != nil {
		if err := route.Version(req.APIVersion); err != nil {
			return Answer{}, err
		}
	}
	return route.Handle(req)
}

func (f *Face) authenticate(r *http.Request) (resource.Caller, error) {
	header := r.Header.Get("Authorization")
	scheme, raw, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "bearer") || raw == "" {
		return resource.Caller{}, fault.E(fault.Unauthenticated, "AuthenticationFailed",
			"Authentication failed. The 'Authorization' header is missing, or is no bearer token.")
	}
	return f.Authenticate(r.Context(), strings.TrimSpace(raw))
}

// unknownPath tells a type that is not served from an address that is no id.
func (f *Face) unknownPath(path string) error {
	id, err := armid.Parse(path)
	if err != nil || !id.IsResource() {
		return fault.E(fault.NotFound, "NotFound", "Nothing is served at '%s'. docs/coverage.md lists what is.", path)
	}
	for _, typ := range f.Tree.Types() {
		if namespace, _, _ := strings.Cut(typ.Name, "/"); strings.EqualFold(namespace, id.Namespace()) {
			return fault.E(fault.NotFound, "InvalidResourceType",
				"The resource type could not be found in the namespace '%s' for '%s'.", id.Namespace(), path)
		}
	}
	return fault.E(fault.NotFound, "InvalidResourceNamespace", "The resource namespace '%s' is invalid.", id.Namespace())
}

// body reads a request's JSON; nil where there is none.
func body(r *http.Request) (json.RawMessage, error) { return cleanBody(r, nil) }

// bodyOf is body for a resource, whose type may take more than JSON.
func (f *Face) bodyOf(r *Request) (json.RawMessage, error) {
	if typ, err := f.Tree.TypeOf(r.ID); err == nil {
		return cleanBody(r.Request, typ.Clean)
	}
	return body(r.Request)
}

func cleanBody(r *http.Request, clean func([]byte) (json.RawMessage, error)) (json.RawMessage, error) {
	data, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err != nil {
		return nil, fault.E(fault.Invalid, "InvalidRequestContent", "The request's content broke off before its end.")
	}
	if len(data) > maxBody {
		return nil, fault.E(fault.TooLarge, "RequestContentTooLarge", "The request's content is larger than %d bytes.", maxBody)
	}
	if len(strings.TrimSpace(string(data))) == 0 {
		return nil, nil
	}
	if clean != nil {
		data, err = clean(data)
	} else if !json.Valid(data) {
		var probe any
		err = json.Unmarshal(data, &probe)
	}
	if err != nil {
		return nil, fault.E(fault.Invalid, "InvalidRequestContent", "The request content was invalid and could not be deserialized: '%s'.", err)
	}
	return data, nil
}

// param reads a query parameter without regard to the case of its name.
func param(r *Request, name string) string {
	for key, values := range r.Params {
		if strings.EqualFold(key, name) && len(values) > 0 {
			return values[0]
		}
	}
	return ""
}
