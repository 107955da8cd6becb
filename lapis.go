// Package lapis wires the platform: every other package is given what it needs
// here and nowhere else.
//
// [New] opens a data folder, making tenant, subscription, owner and a default
// workspace in an empty one. The [Server] is an http.Handler that answers each
// host name with its face, so a Go test can embed it; [Server.Run] serves it
// behind the gateway until its context ends.
package lapis

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"lapis/arm"
	"lapis/blob"
	"lapis/client"
	"lapis/content"
	"lapis/endpoint"
	"lapis/environment"
	"lapis/gateway"
	"lapis/identity"
	"lapis/msi"
	"lapis/operation"
	"lapis/page"
	"lapis/rbac"
	"lapis/registry"
	"lapis/resource"
	"lapis/scoring"
	"lapis/secret"
	"lapis/storageaccount"
	"lapis/store"
	"lapis/telemetry"
	"lapis/template/deployment"
	"lapis/token"
	"lapis/worker/process"
	"lapis/workspace"
)

// How instances are made; see Config.Isolation.
const (
	isolationShared = "shared"
	isolationFresh  = "fresh"
)

// Config says how the platform runs. Only DataDir must be set.
type Config struct {
	DataDir     string // made with mode 0700 when it is not there
	Listen      string // host:port; "": the port of the last run, else a free one of 127.0.0.1
	Location    string // the one region; "": local
	Suffix      string // parent of the platform's own names; "": lapis.localhost
	EgressDeny  bool   // refuse names that are not Azure's, instead of passing them on
	HostPackage bool   // make environments of what the machine's Python has, without a package index
	ExactPython bool   // fail where the machine lacks the interpreter an environment asks for
	IMDS        bool   // open the form of the instance metadata service, which has no secret, for scripts
	Resettable  bool   // let an owner delete everything that the first start did not make, for tests
	RouteInTurn bool   // split and mirror traffic exactly, in turn, instead of by chance
	Isolation   string // how instances are made: shared (or ""), forked from processes that have imported packages; fresh, from nothing
	AccessLog   string // which requests to endpoints have a line in the log: all (or ""), failures, none
	Now         func() time.Time
	Rand        io.Reader
	Log         *slog.Logger
}

func (c *Config) setDefaults() error {
	if c.DataDir == "" {
		return errors.New("lapis: Config.DataDir is not set")
	}
	if !slices.Contains([]string{"", telemetry.LinesAll, telemetry.LinesFailures, telemetry.LinesNone}, c.AccessLog) {
		return fmt.Errorf("lapis: Config.AccessLog is %q, not all, failures or none", c.AccessLog)
	}
	if !slices.Contains([]string{"", isolationShared, isolationFresh}, c.Isolation) {
		return fmt.Errorf("lapis: Config.Isolation is %q, not shared or fresh", c.Isolation)
	}
	dir, err := filepath.Abs(c.DataDir)
	c.DataDir = dir
	if c.Location == "" {
		c.Location = "local"
	}
	if c.Suffix == "" {
		c.Suffix = "lapis.localhost"
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return err
}

// Server is a platform on its data folder.
type Server struct {
	cfg      Config
	lock     *os.File
	listener net.Listener
	ca       *gateway.CA
	store    store.Store
	content  content.Store
	sealer   *secret.Sealer
	home     home
	info     client.Info

	directory  *identity.Directory
	issuer     *token.Issuer
	roles      *rbac.Service
	operations *operation.Runner
	tree       *resource.Tree
	accounts   *storageaccount.Service
	blobs      *blob.Service
	registries *registry.Service
	workspaces *workspace.Service
	endpoints  *endpoint.Service
	templates  *deployment.Service
	builder    *environment.Builder
	runtime    *process.Runtime
	tokens     *msi.Server
	front      *scoring.Front
	arm        *arm.Face
	metrics    *telemetry.Metrics
	tracing    *telemetry.Tracing // nil: off
	meters     telemetry.Meters
	refusals   page.Refusals
	faces      faces
	gate       *gateway.Gateway

	resetting sync.Mutex // one reset at a time

	closers []func() // in the order of opening; closed from the last
}

// New opens the data folder and binds the port. The server answers once it Runs.
func New(cfg Config) (_ *Server, err error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	ctx := context.Background()
	for _, step := range []func(context.Context) error{
		s.openTelemetry, s.openFolder, s.openStores, s.openIdentity, s.openListener, s.openServices, s.openFaces, s.bootstrap,
	} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// ServeHTTP answers a request by the face of its host.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if face, ok := s.faces.of(host); ok {
		face.ServeHTTP(w, r)
		return
	}
	http.Error(w, fmt.Sprintf("lapis serves nothing at the host name %q", host), http.StatusMisdirectedRequest)
}

// Client tells how to reach the platform, with the owner's secret.
func (s *Server) Client() client.Info { return s.info }

// Run serves until ctx ends, then stops in order: no new requests, running ones
// finished, instances stopped, stores closed. ready is called once the platform
// answers.
func (s *Server) Run(ctx context.Context, ready func(client.Info)) error {
	opened := s.front.Opening() // before the first request
	served := make(chan error, 1)
	go func() {
		err := s.gate.Serve(context.WithoutCancel(ctx), s.listener)
		if errors.Is(err, http.ErrServerClosed) { // it was stopped before it had begun
			err = nil
		}
		served <- err
	}()
	if err := s.resume(ctx, opened); err != nil {
		opened(false)
		s.stop(served)
		return err
	}
	if err := client.Write(s.cfg.DataDir, s.info); err != nil {
		s.stop(served)
		return err
	}
	if ready != nil {
		ready(s.info)
	}
	s.cfg.Log.Info("ready", "address", s.info.Proxy, "data", s.cfg.DataDir)
	select {
	case <-ctx.Done():
	case err := <-served:
		served <- err
	}
	return s.stop(served)
}

// stopTime bounds an orderly stop.
const stopTime = 20 * time.Second

func (s *Server) stop(served chan error) error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTime)
	defer cancel()
	s.operations.Close()
	s.endpoints.Quiesce()
	err := s.gate.Shutdown(ctx)
	s.endpoints.Close(ctx)
	err = errors.Join(err, s.runtime.Close(ctx), <-served)
	s.close()
	return err
}

// resume goes on with what the last run left: serving deployments, open
// operations, and bytes that nothing names any more. It tells when all
// endpoints have their addresses.
func (s *Server) resume(ctx context.Context, opened func(complete bool)) error {
	if err := s.endpoints.Resume(ctx); err != nil {
		return err
	}
	opened(true)
	if err := s.operations.Resume(ctx); err != nil {
		return err
	}
	go func() {
		if err := s.blobs.Sweep(ctx); err != nil && ctx.Err() == nil {
			s.cfg.Log.Warn("sweeping blobs", "error", err)
		}
		if _, err := s.registries.Sweep(ctx); err != nil && ctx.Err() == nil {
			s.cfg.Log.Warn("sweeping the registry", "error", err)
		}
		debug.FreeOSMemory() // reading thousands of records leaves more behind than they are
	}()
	return nil
}

// Close frees what New opened, for a server that was never run.
func (s *Server) Close() { s.close() }

func (s *Server) close() {
	for i := len(s.closers) - 1; i >= 0; i-- {
		s.closers[i]()
	}
	s.closers = nil
}

func (s *Server) onClose(fn func()) { s.closers = append(s.closers, fn) }

// httpClient reaches the platform as any client does: through its gateway, by
// Azure's names, trusting its certificates and no others.
func (s *Server) httpClient() *http.Client {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(s.ca.CertPEM())
	proxy := &url.URL{Scheme: "http", Host: s.listener.Addr().String()}
	return &http.Client{Transport: &http.Transport{
		Proxy:               http.ProxyURL(proxy),
		TLSClientConfig:     &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		MaxIdleConnsPerHost: 16,
		IdleConnTimeout:     30 * time.Second,
	}}
}
