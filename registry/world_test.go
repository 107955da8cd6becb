package registry

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"cuelabs.dev/go/oci/ociregistry"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"lapis/armid"
	"lapis/content"
	contentmemory "lapis/content/memory"
	"lapis/fault"
	"lapis/secret"
	"lapis/store"
	"lapis/store/memory"
)

const (
	alpha = "alpha.azurecr.io"
	beta  = "beta.azurecr.io"
)

// world is a registry face over TLS, with a platform around it that is a few maps.
type world struct {
	t       testing.TB
	svc     *Service
	store   store.Store
	content content.Store
	log     *bytes.Buffer
	http    *http.Client // reaches every *.azurecr.io
	master  []byte
	url     string
	now     func() time.Time

	mu     sync.Mutex
	roles  map[string][]string // principal to scope actions
	denied []string            // actions that were refused, not those only asked about
	ahead  time.Duration       // what the service's clock is ahead
}

func newWorld(t testing.TB) *world { return newWorldOn(t, memory.New(), contentmemory.New()) }

func newWorldOn(t testing.TB, records store.Store, pieces content.Store) *world {
	w := &world{t: t, store: records, content: pieces, log: &bytes.Buffer{}, master: make([]byte, secret.KeySize), roles: map[string][]string{}}
	t.Cleanup(func() { w.store.Close(); w.content.Close() })
	w.now = func() time.Time { w.mu.Lock(); defer w.mu.Unlock(); return time.Now().Add(w.ahead) }
	w.start()
	return w
}

// start runs the service on the world's stores, as a restart does.
func (w *world) start() {
	sealer, err := secret.NewSealer(w.master, rand.Reader)
	w.ok(err)
	w.svc, err = New(context.Background(), Config{
		Store: w.store, Content: w.content, Sealer: sealer, Now: w.now,
		Log: slog.New(slog.NewTextHandler(&syncWriter{w: w.log}, nil)),
	})
	w.ok(err)
	srv := httptest.NewTLSServer(w.svc.Handler(w.access()))
	w.t.Cleanup(srv.Close)
	w.url = srv.URL
	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate())
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "example.com"},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, srv.Listener.Addr().String())
		},
		ExpectContinueTimeout: time.Second,
	}
	w.t.Cleanup(transport.CloseIdleConnections)
	w.http = &http.Client{Transport: transport}
}

type syncWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (s *syncWriter) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(p)
}

func (w *world) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func registryID(name string) armid.ID {
	return armid.ResourceGroup("11111111-1111-1111-1111-111111111111", "rg1").Provider("Microsoft.ContainerRegistry/registries", name)
}

func (w *world) access() Access {
	return Access{
		Registries: func(_ context.Context, host string) (Registry, error) {
			name, ok := strings.CutSuffix(host, ".azurecr.io")
			if !ok || name != "alpha" && name != "beta" {
				return Registry{}, fault.E(fault.NotFound, "ResourceNotFound", "There is no registry %s.", host)
			}
			return Registry{Name: name, ID: registryID(name), LoginServer: host, Tenant: "tenant-1"}, nil
		},
		Verify: func(_ context.Context, raw string) (string, error) {
			principal, ok := strings.CutPrefix(raw, "aad:")
			if !ok {
				return "", fault.E(fault.Unauthenticated, "InvalidAuthenticationToken", "The token does not verify.")
			}
			return principal, nil
		},
		Authenticate: func(_ context.Context, id, secret string) (string, error) {
			if id != "sp-client" || secret != "s3cr3t-canary" {
				return "", fault.E(fault.Unauthenticated, "invalid_client", "The client secret is wrong.")
			}
			return "sp", nil
		},
		Authorize: func(ctx context.Context, principal, action string, data bool, scope armid.ID) error {
			err := w.authorize(ctx, principal, action, data, scope)
			if err != nil {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.denied = append(w.denied, action)
			}
			return err
		},
		Permitted: func(ctx context.Context, principal, action string, scope armid.ID) bool {
			return w.authorize(ctx, principal, action, false, scope) == nil
		},
	}
}

func (w *world) authorize(_ context.Context, principal, action string, data bool, scope armid.ID) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if data {
		return fault.E(fault.Invalid, "Test", "registry actions are not data actions")
	}
	for _, have := range w.roles[principal] {
		if actionFor(have) == action {
			return nil
		}
	}
	role := map[string]string{actionFor(pull): "AcrPull", actionFor(push): "AcrPush", actionFor(remove): "AcrDelete"}[action]
	e := fault.E(fault.Denied, "AuthorizationFailed", "Principal %s may not %s at %s.", principal, action, scope)
	e.Denial = &fault.Denial{Principal: principal, Action: action, Scope: scope.String(), Role: role, RoleScope: scope.String(),
		Remedy: "az role assignment create --role " + role + " --assignee " + principal + " --scope " + scope.String()}
	return e
}

// assign replaces what the principal may do.
func (w *world) assign(principal string, actions ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.roles[principal] = actions
}

// advance moves the service's clock.
func (w *world) advance(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ahead += d
}

// client is a client of one registry for a principal.
func (w *world) client(host, principal string) ociregistry.Interface {
	w.t.Helper()
	c, err := NewClient(ClientConfig{HTTP: w.http, LoginServer: host, Tenant: "tenant-1",
		Token: func(context.Context) (string, error) { return "aad:" + principal, nil }})
	w.ok(err)
	return c
}

// image is a small image and its parts.
type image struct {
	config, layer, manifest []byte
	desc                    ociregistry.Descriptor
}

func descriptor(mediaType string, data []byte) ociregistry.Descriptor {
	return ociregistry.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
}

func newImage(text string) image {
	img := image{config: []byte(`{"architecture":"amd64","os":"linux","note":"` + text + `"}`), layer: []byte("layer of " + text)}
	img.manifest, _ = json.Marshal(ociregistry.Manifest{
		Versioned: struct {
			SchemaVersion int `json:"schemaVersion"`
		}{2},
		MediaType: ocispec.MediaTypeImageManifest,
		Config:    descriptor(ocispec.MediaTypeImageConfig, img.config),
		Layers:    []ociregistry.Descriptor{descriptor(ocispec.MediaTypeImageLayerGzip, img.layer)},
	})
	img.desc = descriptor(ocispec.MediaTypeImageManifest, img.manifest)
	return img
}

func pushImage(ctx context.Context, r ociregistry.Interface, repo, tag string, img image) error {
	for _, data := range [][]byte{img.config, img.layer} {
		if _, err := r.PushBlob(ctx, repo, descriptor(blobMediaType, data), bytes.NewReader(data)); err != nil {
			return err
		}
	}
	_, err := r.PushManifest(ctx, repo, tag, img.manifest, ocispec.MediaTypeImageManifest)
	return err
}

// pullImage reads a whole image by its tag and compares it.
func pullImage(ctx context.Context, t testing.TB, r ociregistry.Interface, repo, tag string, want image) {
	t.Helper()
	got, err := readAll(r.GetTag(ctx, repo, tag))
	if err != nil {
		t.Fatalf("pulling %s:%s: %v", repo, tag, err)
	}
	if !bytes.Equal(got, want.manifest) {
		t.Fatalf("%s:%s is another manifest: %s", repo, tag, got)
	}
	if got, err = readAll(r.GetManifest(ctx, repo, want.desc.Digest)); err != nil || !bytes.Equal(got, want.manifest) {
		t.Fatalf("%s@%s: %s %v", repo, want.desc.Digest, got, err)
	}
	for _, data := range [][]byte{want.config, want.layer} {
		if got, err = readAll(r.GetBlob(ctx, repo, digest.FromBytes(data))); err != nil || !bytes.Equal(got, data) {
			t.Fatalf("%s@%s: %q %v", repo, digest.FromBytes(data), got, err)
		}
	}
}

func readAll(r ociregistry.BlobReader, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// reply is an answer that was read.
type reply struct {
	status int
	header http.Header
	body   string
}

func (r reply) code() string { return firstError(r.status, []byte(r.body)).Code_ }

func (w *world) do(method, target string, header http.Header, body io.Reader) reply {
	w.t.Helper()
	req, err := http.NewRequest(method, target, body)
	w.ok(err)
	for k, v := range header {
		req.Header[k] = v
	}
	resp, err := w.http.Do(req)
	w.ok(err)
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	w.ok(err)
	return reply{resp.StatusCode, resp.Header, string(data)}
}

func bearer(token string) http.Header {
	return http.Header{"Authorization": {"Bearer " + token}}
}

func (w *world) post(host, path string, form url.Values) reply {
	w.t.Helper()
	return w.do("POST", "https://"+host+path, http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, strings.NewReader(form.Encode()))
}

// refreshToken exchanges the principal's token.
func (w *world) refreshToken(host, principal string) string {
	w.t.Helper()
	r := w.post(host, "/oauth2/exchange", url.Values{"grant_type": {"access_token"}, "service": {host}, "tenant": {"tenant-1"}, "access_token": {"aad:" + principal}})
	return w.field(r, "refresh_token")
}

// accessToken gets a token for the scopes.
func (w *world) accessToken(host, principal string, scope ...string) string {
	w.t.Helper()
	r := w.post(host, "/oauth2/token", url.Values{"grant_type": {"refresh_token"}, "service": {host}, "scope": scope, "refresh_token": {w.refreshToken(host, principal)}})
	return w.field(r, "access_token")
}

func (w *world) field(r reply, name string) string {
	w.t.Helper()
	var out map[string]any
	if err := json.Unmarshal([]byte(r.body), &out); err != nil || r.status != http.StatusOK {
		w.t.Fatalf("status %d, body %s", r.status, r.body)
	}
	text, _ := out[name].(string)
	if text == "" {
		w.t.Fatalf("no %s in %s", name, r.body)
	}
	return text
}
