package registry

import (
	"context"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// conformanceSuite is the OCI's own suite, as a program.
const conformanceSuite = "github.com/opencontainers/distribution-spec/conformance@v0.0.0-20260831232431-97274622c111"

// TestOCIConformance runs the suite of distribution-spec 1.1 against the face,
// over TLS and with docker's way to a token.
func TestOCIConformance(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs another program")
	}
	dir := t.TempDir()
	build, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	install := exec.CommandContext(build, "go", "install", conformanceSuite)
	install.Dir = dir
	install.Env = append(os.Environ(), "GOBIN="+dir, "GOFLAGS=", "GOWORK=off")
	if out, err := install.CombinedOutput(); err != nil {
		t.Skipf("the OCI conformance suite cannot be had here: %v\n%s", err, out)
	}

	w := newWorld(t)
	w.assign("sp", pull, push, remove)
	access := w.access()
	access.Registries = func(_ context.Context, host string) (Registry, error) {
		return Registry{Name: "alpha", ID: registryID("alpha"), LoginServer: host}, nil
	}
	var failed []string
	face := w.svc.Handler(access)
	srv := httptest.NewTLSServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rec := &statusRecorder{ResponseWriter: rw}
		face.ServeHTTP(rec, r)
		if rec.status >= 500 {
			failed = append(failed, r.Method+" "+r.URL.String())
		}
	}))
	defer srv.Close()
	roots := filepath.Join(dir, "roots.pem")
	w.ok(os.WriteFile(roots, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o600))

	run := exec.CommandContext(t.Context(), filepath.Join(dir, "conformance"))
	run.Dir = dir
	run.Env = append(os.Environ(), "SSL_CERT_FILE="+roots, "NO_PROXY=127.0.0.1", "no_proxy=127.0.0.1",
		"OCI_REGISTRY="+strings.TrimPrefix(srv.URL, "https://"), "OCI_TLS=enabled",
		"OCI_USERNAME=sp-client", "OCI_PASSWORD=s3cr3t-canary",
		"OCI_API_BLOBS_UPLOAD_CANCEL=true", "OCI_API_BLOBS_DIGEST_HEADER=true", "OCI_API_MANIFESTS_DIGEST_HEADER=true",
		"OCI_DATA_SHA512=false", // sha256 only
	)
	out, err := run.CombinedOutput()
	if err != nil {
		t.Errorf("conformance: %v\n%s", err, out)
	}
	if len(failed) > 0 {
		t.Errorf("5xx for: %s", failed)
	}
	t.Logf("%s", out)
}

type statusRecorder struct {
	http.ResponseWriter
	status int
}

func (r *statusRecorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}
