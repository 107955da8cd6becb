package scoring

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"lapis/fault"
	"lapis/worker"
	"lapis/worker/process"
)

var findPython = sync.OnceValues(func() (string, error) {
	out, err := exec.Command("python3", "-c", "import sys; print(sys.executable)").Output()
	return strings.TrimSpace(string(out)), err
})

// poolOf makes a pool of the script, not started. Its app root is dir.
func poolOf(t testing.TB, dir, script string, change ...func(*PoolConfig)) *Pool {
	t.Helper()
	python, err := findPython()
	if err != nil {
		t.Skipf("needs python3 on PATH: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "score.py"), []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	runtime, err := process.New(process.Config{Dir: t.TempDir(), Grace: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	spec := worker.Spec{Python: python, Dir: dir, Script: "score.py", Env: []string{"PATH=/usr/bin:/bin", "MSI_SECRET=canary-4711"}}
	cfg := PoolConfig{
		Name: "e/blue", Runtime: runtime, RequestTimeout: 20 * time.Second, NotReadyWait: 20 * time.Second,
		Spec: func(context.Context, int) (worker.Spec, func(), error) { return spec, nil, nil },
	}
	for _, f := range change {
		f(&cfg)
	}
	p := NewPool(cfg)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := p.Close(ctx); err != nil {
			t.Error(err)
		}
		if err := runtime.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return p
}

func started(t testing.TB, script string, change ...func(*PoolConfig)) *Pool {
	t.Helper()
	p := poolOf(t, t.TempDir(), script, change...)
	if err := p.Start(t.Context()); err != nil {
		t.Fatalf("%v\n%s", err, p.Log().Tail(0))
	}
	return p
}

func request(body string) *worker.Request {
	return &worker.Request{ID: "id-1", Method: "POST", Path: "/score", Header: http.Header{"Content-Type": {"application/json"}}, Body: []byte(body)}
}

// scored has the pool answer, and fails the test if it does not say want.
func scored(t testing.TB, p *Pool, body, want string) {
	t.Helper()
	result, err := p.Score(t.Context(), request(body))
	if err != nil {
		t.Errorf("score(%q): %v", body, err)
		return
	}
	if got := string(result.Body); got != want {
		t.Errorf("score(%q) gave %s, not %s", body, got, want)
	}
}

// until waits for a condition that other goroutines or processes bring about.
func until(t testing.TB, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(10 * time.Second); !holds(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("in 10 s, it never came that %s", what)
		}
	}
}

// valve blocks scripts that read it: one goes on each time a test opens it.
type valve struct{ file *os.File }

func newValve(t testing.TB, dir string) valve {
	t.Helper()
	path := filepath.Join(dir, "valve")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return valve{file}
}

func (v valve) open(t testing.TB) {
	t.Helper()
	if _, err := v.file.Write([]byte{'!'}); err != nil {
		t.Error(err)
	}
}

// valveScript answers with all inputs so far; "wait" first waits for the valve.
const valveScript = `
import os
def init():
    global seen
    seen = []
def run(data):
    seen.append(data)
    if data == "wait":
        print("waits")
        os.read(os.open(os.path.join(os.getcwd(), "valve"), os.O_RDONLY), 1)
    return seen
`

const echo = "def init(): pass\ndef run(data): return data\n"

const testKey = "the-key"

func onlyTestKey(_ context.Context, bearer string) error {
	if bearer != testKey {
		return fault.E(fault.Unauthenticated, "key_auth_access_denied", "The key is not one of the endpoint's.")
	}
	return nil
}

const host = "e.westeurope.inference.ml.azure.com"

// serving puts pools behind a front and gives a server for it.
func serving(t testing.TB, endpoint Endpoint, front *Front) *httptest.Server {
	t.Helper()
	endpoint.Name = "e"
	if endpoint.Authorize == nil {
		endpoint.Authorize = onlyTestKey
	}
	if err := front.Set(host, endpoint); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(front)
	t.Cleanup(server.Close)
	return server
}

type reply struct {
	status int
	header http.Header
	body   string
}

// ask sends a request with the test's key; headers come as pairs, and an empty value takes one away.
func ask(t testing.TB, server *httptest.Server, method, path, body string, headers ...string) reply {
	t.Helper()
	r, err := try(t.Context(), server, method, path, body, headers...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func try(ctx context.Context, server *httptest.Server, method, path, body string, headers ...string) (reply, error) {
	req, err := http.NewRequestWithContext(ctx, method, server.URL+path, bytes.NewReader([]byte(body)))
	if err != nil {
		return reply{}, err
	}
	req.Host = host
	req.Header.Set("Authorization", "Bearer "+testKey)
	req.Header.Set("Content-Type", "application/json")
	for n := 0; n < len(headers); n += 2 {
		req.Header.Set(headers[n], headers[n+1])
		if headers[n+1] == "" {
			req.Header.Del(headers[n])
		}
		if headers[n] == "Host" {
			req.Host = headers[n+1]
		}
	}
	resp, err := server.Client().Do(req)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, resp.Header, string(data)}, err
}

func (r reply) String() string { return fmt.Sprintf("%d %v %s", r.status, r.header, r.body) }

// lockedBuffer is written and read by several goroutines.
type lockedBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
