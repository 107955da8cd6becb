package process_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lapis/worker"
)

// azurePython gives an interpreter that has Azure's own inference server, made
// once for a user. It skips the test where there is no package index.
func azurePython(t *testing.T) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Skip("no cache folder: ", err)
	}
	dir := filepath.Join(cache, "lapis-test", "azmlinfsrv-1_5_1")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Skip("no cache folder: ", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		t.Skip("no cache folder: ", err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	venv, done := filepath.Join(dir, "venv"), filepath.Join(dir, "complete")
	python := filepath.Join(venv, "bin", "python")
	if _, err := os.Stat(done); err == nil {
		return python
	}
	os.RemoveAll(venv)
	if out, err := exec.Command("python3", "-m", "venv", venv).CombinedOutput(); err != nil {
		t.Skipf("no Python with venv: %v %s", err, out)
	}
	if out, err := exec.Command(python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--retries", "1", "--timeout", "20",
		"azureml-inference-server-http==1.5.1", "numpy", "scikit-learn").CombinedOutput(); err != nil {
		t.Skipf("Azure's server cannot be installed: %v %s", err, out)
	}
	if err := os.WriteFile(done, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	return python
}

// azureServer runs Azure's server with a script, and returns its address.
func azureServer(t *testing.T, python, dir string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	_, port, _ := net.SplitHostPort(address)
	cmd := exec.Command(python, "-c", "from azureml_inference_server_http.amlserver import run; run()",
		"--entry_script", filepath.Join(dir, "score.py"), "--port", port)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=/usr/bin:/bin", "AML_APP_ROOT=" + dir, "HOME=" + dir}
	console := &log{}
	cmd.Stdout, cmd.Stderr = console, console
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); <-tick.C {
		if resp, err := http.Get("http://" + address + "/"); err == nil {
			resp.Body.Close()
			return address
		}
	}
	t.Fatalf("Azure's server does not answer:\n%s", console)
	return ""
}

// exchange is one request of the table.
type exchange struct {
	name    string
	method  string // POST
	target  string // /score
	body    string
	headers []string // pairs; Content-Type is application/json unless given
}

func (e exchange) header(host string) http.Header {
	h := http.Header{"Content-Type": {"application/json"}, "User-Agent": {"table"}, "Host": {host}, "Accept": {"*/*"}}
	seen := map[string]bool{}
	for n := 0; n < len(e.headers); n += 2 {
		name := http.CanonicalHeaderKey(e.headers[n])
		if !seen[name] {
			h.Del(name)
			seen[name] = true
		}
		if e.headers[n+1] != "" {
			h.Add(name, e.headers[n+1])
		}
	}
	return h
}

// seen is what a client can see of an answer.
type seen struct {
	Status int
	Header map[string][]string
	Body   any
}

func look(e exchange, status int, header http.Header, body []byte) seen {
	s := seen{Status: status, Header: map[string][]string{}, Body: string(body)}
	for name, values := range header {
		switch name {
		case "Date", "Server", "Connection", "Content-Length": // of the connection
			continue
		case "Allow":
			values = strings.Split(values[0], ", ") // in any order
		case "X-Ms-Run-Fn-Exec-Ms":
			values = []string{"a time"}
		case "X-Request-Id", "X-Ms-Request-Id":
			if _, given := e.header("")["X-Request-Id"]; !given && len(values[0]) == 36 {
				values = []string{"a new id"}
			}
		}
		s.Header[name] = slices.Sorted(slices.Values(values))
	}
	if strings.HasPrefix(e.target, "/swagger") && status == 200 {
		var value any
		if json.Unmarshal(body, &value) == nil {
			s.Body = withoutDescriptions(value)
		}
	}
	return s
}

// withoutDescriptions leaves out the texts for people, which are our own.
func withoutDescriptions(value any) any {
	switch value := value.(type) {
	case map[string]any:
		if _, text := value["description"].(string); text {
			delete(value, "description")
		}
		for name, inner := range value {
			value[name] = withoutDescriptions(inner)
		}
	case []any:
		for n, inner := range value {
			value[n] = withoutDescriptions(inner)
		}
	}
	return value
}

func theirs(t *testing.T, address string, e exchange) seen {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), e.method, "http://"+address+e.target, strings.NewReader(e.body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = e.header(address)
	req.Header.Del("Host")
	client := http.Client{Transport: &http.Transport{DisableCompression: true, Proxy: nil},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		t.Fatalf("%s: %v", e.name, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return look(e, resp.StatusCode, resp.Header, body)
}

func ours(t *testing.T, i worker.Instance, address string, e exchange) seen {
	t.Helper()
	u, err := url.Parse(e.target)
	if err != nil {
		t.Fatal(err)
	}
	header := e.header(address)
	id := header.Get("X-Request-Id")
	if id == "" {
		id = "00000000-0000-4000-8000-000000000000" // what the front would have made
	}
	header.Del("X-Request-Id")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	resp, err := i.Score(ctx, &worker.Request{ID: id, Method: e.method, Path: u.Path, RawQuery: u.RawQuery, Header: header, Body: []byte(e.body)})
	if err != nil {
		t.Fatalf("%s: %v", e.name, err)
	}
	body := resp.Body
	for resp.Stream != nil {
		piece, err := resp.Stream.Next(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%s: %v", e.name, err)
		}
		body = append(body, piece...)
	}
	if e.method == http.MethodHead {
		body = nil // which net/http does not send
	}
	return look(e, resp.Status, resp.Header, body)
}

// TestAnswersAreThoseOfAzuresServer sends one table of requests to Azure's own
// inference server and to ours, and compares what a client can see.
func TestAnswersAreThoseOfAzuresServer(t *testing.T) {
	python := azurePython(t)
	kept := keptDifferences()
	for name, c := range differentialTable() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			spec, console := specOf(t, c.script)
			spec.Python = python
			for file, text := range c.files {
				write(t, filepath.Join(spec.Dir, file), text)
			}
			address := azureServer(t, python, spec.Dir)
			i := start(t, spec)
			for _, e := range c.requests {
				if e.method == "" {
					e.method = http.MethodPost
				}
				if e.target == "" {
					e.target = "/score"
				}
				want, got := theirs(t, address, e), ours(t, i, address, e)
				diff := cmp.Diff(want, got)
				reason, known := kept[name+"/"+e.name]
				switch {
				case diff != "" && !known:
					t.Errorf("%s: Azure's (-) and ours (+) differ:\n%s", e.name, diff)
				case diff == "" && known:
					t.Errorf("%s: there is no difference any more (%s)", e.name, reason)
				}
			}
			if t.Failed() {
				t.Logf("our console:\n%s", console)
			}
		})
	}
}

func TestTableIsLargeAndNamesAreUnique(t *testing.T) {
	count, names := 0, map[string]bool{}
	for name, c := range differentialTable() {
		for _, e := range c.requests {
			count++
			if names[name+"/"+e.name] {
				t.Errorf("%s/%s is there twice", name, e.name)
			}
			names[name+"/"+e.name] = true
		}
	}
	for name := range keptDifferences() {
		if !names[name] {
			t.Errorf("a difference is kept for %s, which is not in the table", name)
		}
	}
	if count < 60 {
		t.Error(fmt.Sprint("only ", count, " requests"))
	}
}
