// Package dataplane is the face of the blob service: it speaks the REST
// protocol of {account}.blob.core.windows.net.
//
// It owns who the caller is (Shared Key, SAS, bearer token), whether the
// caller may do what the route's row says, and how requests are read and
// answers drawn. Everything about blobs themselves is in package blob.
// No route is anonymous.
package dataplane

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"io"
	"log/slog"
	"net/http"
	"time"

	"lapis/armid"
	"lapis/blob"
)

// Config is what a [Handler] works with.
type Config struct {
	Service  *blob.Service
	Accounts blob.Accounts

	// Verify checks a bearer token for the storage audience and returns the
	// object id of its principal. A fault's message is shown to the caller; the
	// text of any other error is not.
	Verify func(ctx context.Context, raw string) (principalID string, err error)
	// Authorize returns nil, or a fault of kind Denied that carries a Denial.
	Authorize func(ctx context.Context, principalID, action string, data bool, scope armid.ID) error
	// AuthorizationURI is where the challenge sends clients for a token, such
	// as https://login.microsoftonline.com/{tenant}/oauth2/authorize.
	AuthorizationURI string
	// Tenant is the tenant of the principals, for user delegation keys.
	Tenant string

	// PathStyle takes the account from the first segment of the path
	// (https://127.0.0.1:10000/account/container/blob) instead of the host name.
	PathStyle bool
	// Secure reports whether a request came over TLS; nil asks the request itself.
	Secure func(*http.Request) bool

	Now  func() time.Time // nil: time.Now
	Rand io.Reader        // nil: crypto/rand
	Log  *slog.Logger     // nil: none
}

// Handler serves the data plane.
type Handler struct {
	c      Config
	routes []row
}

// New makes a handler.
func New(c Config) *Handler {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Secure == nil {
		c.Secure = func(r *http.Request) bool { return r.TLS != nil }
	}
	return &Handler{c: c, routes: routes()}
}

// ServeHTTP answers one request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	out := &response{ResponseWriter: w}
	q := &request{http: r, id: h.requestID()}
	head := w.Header()
	head.Set("Server", "Windows-Azure-Blob/1.0 (Lapis)")
	head.Set("X-Ms-Request-Id", q.id)
	head.Set("Date", h.c.Now().UTC().Format(http.TimeFormat))
	if err := h.serve(out, q); err != nil {
		h.draw(out, q, err)
		return
	}
	h.c.Log.Info("storage request", append(q.attrs(), "status", out.status, "as", q.caller.kind.String(), "principal", q.caller.principal)...)
}

// serve reads, decides, acts.
func (h *Handler) serve(w *response, q *request) error {
	if err := h.read(w, q); err != nil {
		return err
	}
	row, err := h.route(q)
	if err != nil {
		return err
	}
	q.op = row.op
	if q.caller, err = h.admit(q, row.need); err != nil {
		return err
	}
	if row.handle == nil {
		return missing(q)
	}
	if err := q.refuseUnsupported(); err != nil {
		return err
	}
	return row.handle(h, w, q)
}

// requestID draws an id in the form of a GUID.
func (h *Handler) requestID() string {
	var b [16]byte
	_, _ = io.ReadFull(h.c.Rand, b[:]) // an id of zeros harms nobody
	s := hex.EncodeToString(b[:])
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}

// response notes whether the answer has begun: after that an error can only
// break the connection.
type response struct {
	http.ResponseWriter
	begun  bool
	status int
}

func (r *response) WriteHeader(status int) {
	r.begun, r.status = true, status
	r.ResponseWriter.WriteHeader(status)
}

func (r *response) Write(p []byte) (int, error) {
	r.begun = true
	return r.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController through.
func (r *response) Unwrap() http.ResponseWriter { return r.ResponseWriter }
