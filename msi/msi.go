// Package msi serves the managed identity token endpoint of each running
// instance of a scoring script.
//
// It promises that a caller gets tokens only for the identities of the instance
// whose listener it reached and whose secret it knows. Every instance has a
// listener and a secret of its own, so there is nothing in a request from which
// another instance could be chosen. The answers have the shapes that Azure's
// clients read: those of Azure Machine Learning, of App Service, and of the
// instance metadata service (IMDS).
package msi

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"lapis/fault"
	"lapis/identity"
	"lapis/secret"
	"lapis/token"
)

// Forms says which protocols an instance is told of in its environment.
type Forms uint8

// The forms. The first two carry the secret and are always served. IMDS has no
// secret in its protocol: whoever reaches the listener gets tokens. It is
// served only where it is asked for, and fits a listener inside a network
// namespace that nobody else is in.
const (
	AzureML    Forms = 1 << iota // MSI_ENDPOINT, MSI_SECRET
	AppService                   // IDENTITY_ENDPOINT, IDENTITY_HEADER: the SDKs look here first
	IMDS                         // AZURE_POD_IDENTITY_AUTHORITY_HOST
)

// Config says what a Server works with.
type Config struct {
	// Tokens returns a token for a principal; host is the ARM id of the
	// resource that runs the instance. It returns fault.NotFound for a principal
	// that was deleted and fault.Invalid for an audience that it does not serve.
	Tokens func(ctx context.Context, principalObjectID, audience, host string) (token.Token, error)
	// Wrap is put around the token endpoint that listens at an address. nil: nothing.
	Wrap func(address string, next http.Handler) http.Handler
	Now  func() time.Time // nil: time.Now
	Rand io.Reader        // of secrets, safe for use by several callers; nil: crypto/rand
	Log  *slog.Logger     // nil: none
}

// Server makes listeners, one for each instance.
type Server struct {
	cfg    Config
	routes map[string]route // never changed

	mu     sync.Mutex
	open   map[*Listener]bool
	closed bool
}

// New makes a Server.
func New(cfg Config) *Server {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Server{cfg: cfg, routes: routes(), open: map[*Listener]bool{}}
}

// NoDefault says that a request must name one of the identities.
const NoDefault = -1

// Instance is a running scoring script.
type Instance struct {
	ID         string               // for the log
	Identities []identity.Principal // at least one
	Default    int                  // index of the identity for requests that name none, or NoDefault
	Host       string               // ARM id of the endpoint or deployment that runs the instance
	Forms      Forms                // 0: AzureML
	Listener   net.Listener         // nil: a port of 127.0.0.1; else one made inside the instance's network namespace
}

const secretBytes = 32

// Open starts the token endpoint of an instance. It answers when Open returns,
// so that the first line of a script can ask.
func (s *Server) Open(ctx context.Context, in Instance) (*Listener, error) {
	if in.Default < NoDefault || in.Default >= len(in.Identities) || len(in.Identities) == 0 {
		return nil, fault.E(fault.Invalid, "InvalidIdentity", "Instance %q has %d identities; number %d cannot be its default.", in.ID, len(in.Identities), in.Default)
	}
	if in.Forms == 0 {
		in.Forms = AzureML
	}
	drawn := make([]byte, secretBytes)
	if _, err := io.ReadFull(s.cfg.Rand, drawn); err != nil {
		return nil, fmt.Errorf("drawing the secret of a token endpoint: %w", err)
	}
	ln := in.Listener
	if ln == nil {
		var err error
		ln, err = new(net.ListenConfig).Listen(ctx, "tcp4", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("opening a token endpoint: %w", err)
		}
	}
	l := &Listener{
		server: s, in: in, ln: ln, done: make(chan struct{}),
		secret: secret.New(base64.RawURLEncoding.EncodeToString(drawn)),
	}
	var handler http.Handler = l
	if s.cfg.Wrap != nil {
		handler = s.cfg.Wrap(ln.Addr().String(), l)
	}
	l.http = &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelDebug),
	}
	if !s.add(l) {
		_ = ln.Close()
		return nil, fault.E(fault.Unavailable, "ServerStopping", "The token endpoints are shutting down.")
	}
	go l.serve()
	return l, nil
}

func (s *Server) add(l *Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.open[l] = true
	}
	return !s.closed
}

// Close closes all listeners.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	var all []*Listener
	for l := range s.open {
		all = append(all, l)
	}
	s.mu.Unlock()
	for _, l := range all {
		_ = l.Close()
	}
	return nil
}

// Listener is the token endpoint of one instance.
type Listener struct {
	server *Server
	in     Instance
	secret secret.String
	ln     net.Listener
	http   *http.Server
	done   chan struct{}
}

func (l *Listener) serve() {
	defer close(l.done)
	if err := l.http.Serve(l.ln); err != http.ErrServerClosed {
		l.server.cfg.Log.Error("token endpoint stopped", "instance", l.in.ID, "err", err)
	}
}

// Close ends the endpoint; requests under way are cut.
func (l *Listener) Close() error {
	l.server.mu.Lock()
	delete(l.server.open, l)
	l.server.mu.Unlock()
	err := l.http.Close()
	<-l.done
	return err
}

// Addr returns the address that the endpoint listens at.
func (l *Listener) Addr() net.Addr { return l.ln.Addr() }

// Env returns the variables that tell the instance's SDKs of the endpoint, as
// NAME=value. They hold the secret: they are for the instance's process only.
func (l *Listener) Env() []string {
	base := "http://" + l.ln.Addr().String()
	var env []string
	if l.in.Forms&AzureML != 0 {
		env = append(env, "MSI_ENDPOINT="+base+pathAzureML, "MSI_SECRET="+l.secret.Reveal())
	}
	if l.in.Forms&AppService != 0 {
		env = append(env, "IDENTITY_ENDPOINT="+base+pathAppService, "IDENTITY_HEADER="+l.secret.Reveal())
	}
	if l.in.Forms&IMDS != 0 {
		env = append(env, "AZURE_POD_IDENTITY_AUTHORITY_HOST="+base)
	}
	if l.in.Default != NoDefault {
		env = append(env, "DEFAULT_IDENTITY_CLIENT_ID="+l.in.Identities[l.in.Default].ClientID)
	}
	return env
}

// String names the instance and never the secret.
func (l *Listener) String() string { return "token endpoint of " + l.in.ID }

// GoString names the instance and never the secret.
func (l *Listener) GoString() string { return l.String() }
