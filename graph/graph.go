// Package graph is the face for graph.microsoft.com: the little of Microsoft
// Graph v1.0 that a role assignment needs, read only.
//
// It turns names and client ids into object ids and back: service principals
// (applications and managed identities), users, objects by id, the caller and
// the tenant. Every request needs a token for Graph that verifies; any
// principal of the tenant may then read, where Azure asks for a directory role
// or a Graph permission as well. Nothing here can be written.
//
// What Graph has and this face has not answers Graph's own error: 501
// notSupported for known collections, 400 BadRequest for unknown segments and
// Request_UnsupportedQuery for query options. $select is taken and everything
// is returned.
package graph

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"

	"lapis/fault"
)

// Kinds of principal.
const (
	User            = "User"
	Application     = "Application"
	ManagedIdentity = "ManagedIdentity"
)

// Principal is what the face shows of somebody in the directory.
type Principal struct {
	ObjectID     string
	AppID        string // client id; "" for users
	DisplayName  string
	Kind         string   // User, Application or ManagedIdentity
	Names        []string // further service principal names or, of a user, the userPrincipalName
	ResourceID   string   // of the resource that carries a managed identity
	UserAssigned bool     // the managed identity is a resource of its own
	CreatedAt    time.Time
}

// Tenant is the organization that the directory belongs to.
type Tenant struct {
	ID          string
	DisplayName string
	Domain      string // verified default domain, such as lapis.onmicrosoft.com
}

// Config is what the face needs. Verify and Principals must be set.
type Config struct {
	// Verify checks a raw access token for https://graph.microsoft.com and
	// returns its principal's object id. Its error is shown only if it is an
	// Unauthenticated fault.
	Verify func(ctx context.Context, raw string) (objectID string, err error)
	// Principals returns everybody, in a stable order.
	Principals func() []Principal
	Tenant     Tenant
	// AuthorizeURL goes into the challenge of a 401; "" has Azure's.
	AuthorizeURL string

	Now  func() time.Time // nil: the clock
	Rand io.Reader        // nil: crypto/rand; names requests
	Log  *slog.Logger     // nil: nothing is logged
}

// maxBody bounds a request's body, in bytes.
const maxBody = 1 << 20

// face is the handler.
type face struct {
	Config
	routes []route
}

// New returns the face.
func New(cfg Config) http.Handler {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.AuthorizeURL == "" {
		cfg.AuthorizeURL = "https://login.microsoftonline.com/common/oauth2/authorize"
	}
	f := &face{Config: cfg}
	f.routes = f.table()
	return f
}

// call is one authenticated request.
type call struct {
	*http.Request
	caller string // object id
	id     string // the {id} of the path
}

// route is one row of the table. Every row needs a verified token; none is anonymous.
type route struct {
	method string
	path   string // segments after /v1.0, lower case
	serve  func(w http.ResponseWriter, c *call) error
}

func (f *face) table() []route {
	return []route{
		{"GET", "me", f.me},
		{"GET", "organization", f.organization},
		{"GET", "users", f.list(users())},
		{"GET", "users/{id}", f.one(users())},
		{"GET", "serviceprincipals", f.list(servicePrincipals())},
		{"GET", "serviceprincipals/{id}", f.one(servicePrincipals())},
		{"GET", "directoryobjects/{id}", f.one(directoryObjects())},
		{"POST", "directoryobjects/getbyids", f.getByIDs},
	}
}

// Operation is a row of the route table, for lists of what is there.
type Operation struct{ Method, Path string }

// Operations lists all operations, in the order of the route table. Each needs
// a token for Graph and no role.
func Operations() []Operation {
	var list []Operation
	for _, r := range new(face).table() {
		list = append(list, Operation{r.method, "/v1.0/" + r.path})
	}
	return list
}

// known are collections that Graph has and this face has not.
const known = " applications groups devices rolemanagement policies domains subscribedskus oauth2permissiongrants "

// ServeHTTP verifies the token, finds the route and draws what comes back.
func (f *face) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	requestID := "00000000-0000-0000-0000-000000000000"
	if id, err := uuid.NewRandomFromReader(f.Rand); err == nil {
		requestID = id.String()
	}
	w.Header().Set("request-id", requestID)
	if id := r.Header.Get("client-request-id"); id != "" && len(id) <= 128 {
		w.Header().Set("client-request-id", id)
	}
	if err := f.serve(w, r); err != nil {
		f.draw(w, r, err)
	}
}

func (f *face) serve(w http.ResponseWriter, r *http.Request) error {
	caller, err := f.authenticate(r)
	if err != nil {
		return err
	}
	version, path, _ := strings.Cut(strings.Trim(r.URL.Path, "/"), "/")
	if !strings.EqualFold(version, "v1.0") {
		return fault.E(fault.Invalid, "BadRequest", "Invalid version: %s. This platform has v1.0.", version)
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	c := &call{Request: r, caller: caller}
	allowed := ""
	for _, row := range f.routes {
		id, ok := matchPath(row.path, path)
		if !ok {
			continue
		}
		if row.method != r.Method {
			allowed = row.method
			continue
		}
		c.id = id
		return row.serve(w, c)
	}
	first, _, _ := strings.Cut(path, "/")
	switch {
	case strings.Contains(known, " "+strings.ToLower(first)+" "), allowed == "GET" && r.Method != http.MethodHead:
		return fault.E(fault.NotImplemented, "notSupported",
			"This platform does not support %s on %s. It reads users, servicePrincipals, directoryObjects, me and organization.", r.Method, first)
	case allowed != "":
		w.Header().Set("Allow", allowed)
		return fault.E(fault.NotAllowed, "Request_BadRequest", "Specified HTTP method is not allowed for the request target.")
	}
	return fault.E(fault.Invalid, "BadRequest", "Resource not found for the segment '%s'.", first)
}

// matchPath reports whether a path has the form of a row's, without regard to
// case, and returns what stands for {id}.
func matchPath(form, path string) (id string, ok bool) {
	want, got := strings.Split(form, "/"), strings.Split(path, "/")
	if len(want) != len(got) {
		return "", false
	}
	for i, segment := range want {
		switch {
		case segment == "{id}" && got[i] != "":
			id = got[i]
		case !strings.EqualFold(segment, got[i]):
			return "", false
		}
	}
	return id, true
}

func (f *face) authenticate(r *http.Request) (string, error) {
	refuse := func(message string) error {
		return fault.E(fault.Unauthenticated, "InvalidAuthenticationToken", "%s", message)
	}
	scheme, raw, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if raw = strings.TrimSpace(raw); raw == "" || !strings.EqualFold(scheme, "Bearer") {
		return "", refuse("Access token is empty.")
	}
	caller, err := f.Verify(r.Context(), raw)
	var known *fault.Error
	switch {
	case err == nil && caller != "":
		return caller, nil
	case errors.As(err, &known) && known.Kind == fault.Unauthenticated:
		return "", refuse(known.Message)
	case known != nil:
		return "", known
	}
	return "", refuse("Access token validation failure.")
}

// draw writes an error in Graph's shape; it is the only place that does.
func (f *face) draw(w http.ResponseWriter, r *http.Request, err error) {
	e := fault.From(err)
	status := statusOf(e.Kind)
	if status >= 500 && e.Kind != fault.NotImplemented {
		f.Log.Error("graph request failed", "method", r.Method, "path", r.URL.Path, "error", err)
	}
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(
			`Bearer realm="", authorization_uri="%s", client_id="00000003-0000-0000-c000-000000000000"`, f.AuthorizeURL))
	}
	var body errorBody
	body.Error.Code, body.Error.Message = e.Code, e.Message
	body.Error.InnerError.Date = f.Now().UTC().Format("2006-01-02T15:04:05")
	body.Error.InnerError.RequestID = w.Header().Get("request-id")
	body.Error.InnerError.ClientRequestID = w.Header().Get("client-request-id")
	if body.Error.InnerError.ClientRequestID == "" {
		body.Error.InnerError.ClientRequestID = body.Error.InnerError.RequestID
	}
	_ = write(w, status, body)
}

// errorBody is Graph's error.
type errorBody struct {
	Error struct {
		Code       string `json:"code"`
		Message    string `json:"message"`
		InnerError struct {
			Date            string `json:"date"`
			RequestID       string `json:"request-id"`
			ClientRequestID string `json:"client-request-id"`
		} `json:"innerError"`
	} `json:"error"`
}

func statusOf(kind fault.Kind) int {
	switch kind {
	case fault.Invalid:
		return http.StatusBadRequest
	case fault.Unauthenticated:
		return http.StatusUnauthorized
	case fault.Denied:
		return http.StatusForbidden
	case fault.NotFound:
		return http.StatusNotFound
	case fault.NotAllowed:
		return http.StatusMethodNotAllowed
	case fault.TooLarge:
		return http.StatusRequestEntityTooLarge
	case fault.Throttled:
		return http.StatusTooManyRequests
	case fault.NotImplemented:
		return http.StatusNotImplemented
	case fault.Unavailable:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// write sends a JSON body. An error means that the client went away.
func write(w http.ResponseWriter, status int, body any) error {
	w.Header().Set("Content-Type", "application/json;odata.metadata=minimal;odata.streaming=true;IEEE754Compatible=false;charset=utf-8")
	w.Header().Set("Cache-Control", "no-cache")
	w.Header().Set("OData-Version", "4.0")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // too late to tell anybody
	return nil
}
