// Package page is the face for those who would rather look than read: one page
// that shows endpoints and what they serve, who was refused what and how to mend
// it, and how identities reach data.
//
// The page itself is static, has nothing from elsewhere and knows nothing; all
// that it shows it asks for with the token of who looks, under the same roles as
// by any other way. It changes nothing. Everything that it shows is data, never
// markup. Nothing is kept for it but the latest refusals, and nothing is
// gathered while nobody looks.
package page

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"lapis/armid"
	"lapis/endpoint"
	"lapis/fault"
	"lapis/identity"
	"lapis/operation"
	"lapis/rbac"
	"lapis/resource"
	"lapis/telemetry"
)

// Config is what the face needs.
type Config struct {
	Tree       *resource.Tree
	Operations *operation.Runner
	Roles      *rbac.Service
	Directory  *identity.Directory
	Metrics    *telemetry.Metrics
	Refusals   *Refusals
	// Observed is what runs now.
	Observed func() telemetry.State
	// Authenticate verifies a bearer token for Resource Manager or for the page alone.
	Authenticate func(ctx context.Context, raw string) (resource.Caller, error)
	// Authorize asks whether a principal may do something; the fault carries the denial.
	Authorize    func(ctx context.Context, principalID, action string, data bool, scope armid.ID) error
	Tenant       string
	Subscription string
	Version      string
	Now          func() time.Time
	Log          *slog.Logger
}

// Face is the handler. Make it with [New].
type Face struct {
	Config
	rows    map[string]row
	trouble *trouble
}

// New builds the table. The types of endpoints must be registered in the tree before.
func New(cfg Config) *Face {
	f := &Face{Config: cfg, rows: map[string]row{}, trouble: watchTrouble(cfg.Tree, cfg.Now)}
	for _, r := range f.table() {
		f.rows[r.path] = r
	}
	return f
}

// Close ends the watching of resources.
func (f *Face) Close() { f.trouble.close() }

// row is one path of the table. All are asked by GET.
type row struct {
	path string
	// needs are actions that the caller must be allowed, all of them: at the
	// subscription, or at the deployment that the query names.
	needs        []string
	atDeployment bool
	// file is what a row without needs answers: it is static, and anonymous.
	file, kind string
	handle     func(*request) (any, error)
}

// Actions that rows need. What shows several things needs the action of each,
// so that the page opens nothing that its reader could not see elsewhere.
const (
	readMetrics = "Microsoft.Insights/metrics/read"
	getLogs     = "getLogs"
)

func (f *Face) table() []row {
	return []row{
		{path: "/page", file: "page.html", kind: "text/html; charset=utf-8"},
		{path: "/page/page.css", file: "page.css", kind: "text/css; charset=utf-8"},
		{path: "/page/page.js", file: "page.js", kind: "text/javascript; charset=utf-8"},
		{path: "/page/icon.svg", file: "icon.svg", kind: "image/svg+xml"},
		{path: "/page/state", handle: f.state, needs: []string{
			readMetrics, resource.ActionOf(endpoint.TypeName, "read"), resource.ActionOf(endpoint.DeploymentType, "read"), rbac.ReadAssignments,
		}},
		{path: "/page/log", handle: f.tail, atDeployment: true, needs: []string{resource.ActionOf(endpoint.DeploymentType, getLogs+"/action")}},
	}
}

// Operation is one row of the table, for the list of what is served.
type Operation struct {
	Path  string
	Needs []string // none: anonymous
}

// Operations lists the table.
func Operations() []Operation {
	var list []Operation
	for _, r := range new(Face).table() {
		list = append(list, Operation{Path: r.path, Needs: r.needs})
	}
	return list
}

// request is an authorized request to a row.
type request struct {
	*http.Request
	caller resource.Caller
	scope  armid.ID // at which the row's actions were allowed
}

// ServeHTTP answers one request.
func (f *Face) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	guard(w.Header())
	if err := f.serve(w, r); err != nil {
		f.drawError(w, r, err)
	}
}

func (f *Face) serve(w http.ResponseWriter, r *http.Request) error {
	row, ok := f.rows[r.URL.Path]
	switch {
	case !ok:
		return fault.E(fault.NotFound, "NotFound", "Nothing is served at '%s'; the page is at /page.", r.URL.Path)
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		return fault.E(fault.NotAllowed, "MethodNotAllowed", "The method %s is not supported for '%s'; it takes GET.", r.Method, r.URL.Path)
	case row.handle == nil:
		return send(w, r, row)
	}
	req, err := f.admit(row, r)
	if err != nil {
		return err
	}
	answer, err := row.handle(req)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, answer)
}

// admit authenticates the caller and asks for the row's actions.
func (f *Face) admit(row row, r *http.Request) (*request, error) {
	scheme, raw, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "bearer") || raw == "" {
		return nil, fault.E(fault.Unauthenticated, "AuthenticationFailed",
			"Authentication failed. The 'Authorization' header is missing, or is no bearer token.")
	}
	caller, err := f.Authenticate(r.Context(), strings.TrimSpace(raw))
	if err != nil {
		return nil, err
	}
	req := &request{Request: r, caller: caller, scope: armid.Subscription(f.Subscription)}
	if row.atDeployment {
		asked := r.URL.Query().Get("deployment")
		id, err := armid.Parse(asked)
		if err != nil || !id.Is(endpoint.DeploymentType) {
			return nil, fault.E(fault.Invalid, "InvalidParameter", "'%s' is not the id of a deployment.", asked).At("deployment")
		}
		req.scope = id
	}
	for _, action := range row.needs {
		if err := f.Authorize(r.Context(), caller.ObjectID, action, false, req.scope); err != nil {
			return nil, err
		}
	}
	return req, nil
}

// statuses maps the kinds of faults that rows give to statuses; others are 500.
var statuses = map[fault.Kind]int{
	fault.Invalid:         http.StatusBadRequest,
	fault.Unauthenticated: http.StatusUnauthorized,
	fault.Denied:          http.StatusForbidden,
	fault.NotFound:        http.StatusNotFound,
	fault.NotAllowed:      http.StatusMethodNotAllowed,
	fault.Unavailable:     http.StatusServiceUnavailable,
}

// drawError is the only place of this face that writes a status of 400 or more.
func (f *Face) drawError(w http.ResponseWriter, r *http.Request, err error) {
	e := fault.From(err)
	status, known := statuses[e.Kind]
	if !known {
		status = http.StatusInternalServerError
		f.Log.Error("request failed", "method", r.Method, "path", r.URL.Path, "error", e)
	}
	shown := map[string]any{"code": e.Code, "message": e.Message}
	if e.Kind == fault.Unauthenticated {
		w.Header().Set("WWW-Authenticate", `Bearer authorization_uri="https://login.microsoftonline.com/`+f.Tenant+
			`", error="invalid_token", error_description="`+e.Code+`"`)
	}
	if e.Denial != nil {
		w.Header().Set("x-lapis-denied", e.Denial.Header())
		shown["denial"] = e.Denial
	}
	_ = writeJSON(w, status, map[string]any{"error": shown})
}

func writeJSON(w http.ResponseWriter, status int, body any) error {
	data, err := json.Marshal(body) // it escapes what could be markup
	if err != nil {
		return fault.Wrap(err, "writing the answer")
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(data)
	return nil
}
