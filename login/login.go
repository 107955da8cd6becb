// Package login is the face of the token issuer: what clients reach as
// login.microsoftonline.com.
//
// It owns the OAuth 2.0 token endpoint for client credentials in its v2.0 and
// v1.0 forms, the OpenID discovery documents, the published keys and instance
// discovery. It promises that secrets and tokens never appear in a log or an
// error, and that every error has Entra's code and form.
package login

import (
	"crypto/rand"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"lapis/fault"
	"lapis/identity"
	"lapis/token"
)

// Config says what the face works with.
type Config struct {
	Directory *identity.Directory
	Issuer    *token.Issuer
	// Audience reports whether the platform serves a resource, given as a client
	// asks for it: https://storage.azure.com/ with or without its last slash, or
	// the GUID of the resource's application. nil: none.
	Audience func(resource string) bool
	// Authority reports whether a host, with its port, is an authority of this
	// platform besides the public cloud's. nil: none but the one that is asked.
	Authority func(host string) bool
	Now       func() time.Time // nil: time.Now
	Rand      io.Reader        // of trace ids, safe for use by several callers; nil: crypto/rand
	Log       *slog.Logger     // nil: none
}

// face answers requests.
type face struct {
	Config
	mux *http.ServeMux
}

// handler answers one request or returns why not; draw writes the error.
type handler func(http.ResponseWriter, *http.Request) error

// routes is the table. All are anonymous: a token request carries its own
// credential, and the rest is public. {tenant} is the tenant's id, "common" or
// "organizations" where a document is asked for, or "adfs", by which older
// clients reach a server that is in no public cloud.
func (f *face) routes() map[string]handler {
	return map[string]handler{
		"GET /{tenant}/.well-known/openid-configuration":      f.openIDv1,
		"GET /{tenant}/v2.0/.well-known/openid-configuration": f.openIDv2,
		"GET /{tenant}/discovery/keys":                        f.keys,
		"GET /{tenant}/discovery/v2.0/keys":                   f.keys,
		"GET /common/discovery/instance":                      f.instance,
		"/{tenant}/oauth2/token":                              f.tokenV1,
		"/{tenant}/oauth2/v2.0/token":                         f.tokenV2,
		"/{tenant}/oauth2/authorize":                          f.authorize,
		"/{tenant}/oauth2/v2.0/authorize":                     f.authorize,
		"/":                                                   f.unknown,
	}
}

// Operations lists the patterns of the route table, sorted; one without a
// method takes all of them.
func Operations() []string { return slices.Sorted(maps.Keys(new(face).routes())) }

// New makes the face.
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
	if cfg.Audience == nil {
		cfg.Audience = func(string) bool { return false }
	}
	if cfg.Authority == nil {
		cfg.Authority = func(string) bool { return false }
	}
	f := &face{Config: cfg, mux: http.NewServeMux()}
	for pattern, h := range f.routes() {
		f.mux.HandleFunc(pattern, f.serve(h))
	}
	return f.mux
}

// serve wraps a handler with what every answer has.
func (f *face) serve(h handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		began := f.Now()
		trace := f.newID()
		correlation := trace
		if id, err := uuid.Parse(r.Header.Get("client-request-id")); err == nil {
			correlation = id.String()
		}
		header := w.Header()
		header.Set("Content-Type", "application/json; charset=utf-8")
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("x-ms-request-id", trace)
		if strings.EqualFold(r.Header.Get("return-client-request-id"), "true") {
			header.Set("client-request-id", correlation)
		}
		status := http.StatusOK
		err := h(w, r)
		if err != nil {
			status = f.draw(w, r, err, trace, correlation)
		}
		args := []any{"method", r.Method, "path", r.URL.Path, "status", status, "correlation", correlation, "took", f.Now().Sub(began)}
		switch {
		case status >= 500:
			f.Log.Error("login request failed", append(args, "err", err)...)
		case err != nil:
			f.Log.Warn("login request refused", append(args, "code", fault.From(err).Code)...)
		default:
			f.Log.Info("login request answered", args...)
		}
	}
}

// newID draws a trace id. They only help to find a log line, so a failing
// source of randomness is no reason to fail a request.
func (f *face) newID() string {
	id, err := uuid.NewRandomFromReader(f.Rand)
	if err != nil {
		return uuid.Nil.String()
	}
	return id.String()
}

func (f *face) unknown(_ http.ResponseWriter, r *http.Request) error {
	return fault.E(fault.NotFound, "AADSTS90023", "There is nothing at %s %.200q. The authority's endpoints are in /{tenant}/v2.0/.well-known/openid-configuration.", r.Method, r.URL.Path)
}

// authorize is where a browser would sign a user in. There are no users'
// passwords here, so no response type is supported.
func (f *face) authorize(_ http.ResponseWriter, r *http.Request) error {
	if _, err := f.tenant(r.PathValue("tenant")); err != nil {
		return err
	}
	return fault.E(fault.Invalid, "AADSTS70005", "Signing in through a browser is not supported. Use an application with a client secret: az login --service-principal.")
}

// tenant resolves the first segment of a path. multi means common or organizations.
func (f *face) tenant(segment string) (multi bool, err error) {
	switch strings.ToLower(segment) {
	case f.Issuer.Tenant(), "adfs":
		return false, nil
	case "common", "organizations":
		return true, nil
	}
	return false, fault.E(fault.Invalid, "AADSTS90002", "Tenant %.100q not found. This platform has the one tenant %s.", segment, f.Issuer.Tenant()).At("tenant")
}
