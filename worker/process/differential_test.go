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
	"regexp"
	"slices"
	"strconv"
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
	dir := filepath.Join(cache, "lapis-test", "azmlinfsrv-1_5_1-pandas")
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
		"azureml-inference-server-http==1.5.1", "numpy", "pandas").CombinedOutput(); err != nil {
		t.Skipf("Azure's server cannot be installed: %v %s", err, out)
	}
	if err := os.WriteFile(done, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	return python
}

// azureServer runs Azure's server with a script, and returns its address.
func azureServer(t *testing.T, spec worker.Spec) (address string, console *log) {
	t.Helper()
	address, console, started := azureStart(t, spec)
	if !started {
		t.Fatalf("Azure's server does not answer:\n%s", console)
	}
	return address, console
}

// azureStart runs Azure's server, and tells whether it has come to answer or has ended.
func azureStart(t *testing.T, spec worker.Spec) (address string, console *log, started bool) {
	t.Helper()
	python, dir := spec.Python, spec.Dir
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address = listener.Addr().String()
	listener.Close()
	_, port, _ := net.SplitHostPort(address)
	cmd := exec.Command(python, "-c", "from azureml_inference_server_http.amlserver import run; run()",
		"--entry_script", filepath.Join(dir, spec.Script), "--port", port)
	cmd.Dir = dir
	cmd.Env = append(slices.Clone(spec.Env), "HOME="+dir, "PYTHONUNBUFFERED=1")
	console = &log{}
	cmd.Stdout, cmd.Stderr = console, console
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-ended
	})
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); <-tick.C {
		if resp, err := http.Get("http://" + address + "/"); err == nil {
			resp.Body.Close()
			return address, console, true
		}
		select {
		case <-ended:
			return address, console, false
		default:
		}
	}
	t.Fatalf("Azure's server neither answers nor ends:\n%s", console)
	return "", nil, false
}

// spec writes a row's script and files, for either server.
func (c differential) spec(t *testing.T, python string) (worker.Spec, *log) {
	t.Helper()
	spec, console := specOf(t, c.script)
	spec.Python = python
	for file, text := range c.files {
		write(t, filepath.Join(spec.Dir, file), text)
	}
	for _, entry := range c.env {
		spec.Env = append(spec.Env, strings.ReplaceAll(entry, "{dir}", spec.Dir))
	}
	return spec, console
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
			h.Add(name, strings.TrimSpace(e.headers[n+1])) // as a server reads it
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
		return seen{Body: "no answer"}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		body = append(body, " and no more"...)
	}
	return look(e, resp.StatusCode, resp.Header, body)
}

func ours(t *testing.T, i worker.Instance, address string, e exchange) seen {
	t.Helper()
	u, err := url.ParseRequestURI(e.target)
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
	if errors.Is(err, worker.ErrExited) {
		return seen{Body: "no answer"}
	}
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
			body = append(body, " and no more"...)
			break
		}
		body = append(body, piece...)
	}
	if e.method == http.MethodHead {
		body = nil // which net/http does not send
	}
	if length := resp.Header.Get("Content-Length"); resp.Stream != nil && length != strconv.Itoa(len(body)) && length != "" {
		body = append(body, " and no more"...) // net/http breaks the connection off
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
			spec, console := c.spec(t, python)
			address, reference := azureServer(t, spec)
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
			if c.log {
				compareLogs(t, kept[name+"/log"], reference, console)
			}
			if t.Failed() {
				t.Logf("our console:\n%s\nAzure's:\n%s", console, reference)
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
		if !names[name] && !(strings.HasSuffix(name, "/log") && differentialTable()[strings.TrimSuffix(name, "/log")].log) {
			t.Errorf("a difference is kept for %s, which is not in the table", name)
		}
	}
	if count < 150 {
		t.Error(fmt.Sprint("only ", count, " requests"))
	}
}

// logLines are the lines of a log that are compared: those of a script, which
// have a ~, and those of requests, without what differs from run to run.
func logLines(console *log) []string {
	var lines []string
	stamp := regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} `)
	pid, took := regexp.MustCompile(`\[\d+\]`), regexp.MustCompile(` \d+\.\d{3}ms `)
	for line := range strings.Lines(console.String()) {
		if !strings.Contains(line, "~") && !strings.Contains(line, "azmlinfsrv - POST /score") {
			continue
		}
		line = stamp.ReplaceAllString(line, "TIME ")
		lines = append(lines, took.ReplaceAllString(pid.ReplaceAllString(strings.TrimSpace(line), "[PID]"), " TIME "))
	}
	slices.Sort(lines) // those of the script and of requests come by two ways
	return lines
}

// compareLogs waits until our log has as many lines as Azure's, and compares them.
func compareLogs(t *testing.T, kept string, reference, console *log) {
	t.Helper()
	diff := func() string { return cmp.Diff(logLines(reference), logLines(console)) }
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(2 * time.Second); time.Now().Before(deadline) && diff() != ""; <-tick.C {
	}
	switch d := diff(); {
	case d != "" && kept == "":
		t.Errorf("the logs: Azure's (-) and ours (+) differ:\n%s", d)
	case d == "" && kept != "":
		t.Errorf("there is no difference in the logs any more (%s)", kept)
	}
}

// TestWhatAzuresServerDoesNotStartDoesNotStart compares what ends a server
// before it serves.
func TestWhatAzuresServerDoesNotStartDoesNotStart(t *testing.T) {
	python := azurePython(t)
	const fine = "def init(): pass\ndef run(data): return data\n"
	const schema = "from inference_schema.schema_decorators import input_schema\nfrom inference_schema.parameter_types.standard_py_parameter_type import StandardPythonParameterType\n"
	for name, c := range map[string]struct {
		differential
		says string
	}{
		"config.json is no JSON":        {differential{script: fine, files: map[string]string{"config.json": "{"}}, "config.json is not JSON"},
		"config.json is a list":         {differential{script: fine, files: map[string]string{"config.json": "[]"}}, "config.json is not a JSON object"},
		"a time that is no number":      {differential{script: fine, env: []string{"SCORING_TIMEOUT_MS=long"}}, "SCORING_TIMEOUT_MS must be a whole number"},
		"a name that is no text":        {differential{script: fine, files: map[string]string{"config.json": `{"SERVICE_NAME": 7}`}}, "SERVICE_NAME in"},
		"an origin that is no pattern":  {differential{script: fine, env: []string{"AML_CORS_ORIGINS=https://(x"}}, "which is no origin and no pattern"},
		"no init":                       {differential{script: "def run(data): pass\n"}, "does not define init()"},
		"no run":                        {differential{script: "def init(): pass\n"}, "does not define run()"},
		"arguments of any number":       {differential{script: "def init(): pass\ndef run(*data): pass\n"}, "*args"},
		"an argument by position alone": {differential{script: "def init(): pass\ndef run(data, /): pass\n"}, "positional-only"},
		"no argument":                   {differential{script: "def init(): pass\ndef run(): pass\n"}, "no parameter for the input data"},
		"init raises":                   {differential{script: "def init(): raise OSError('gone')\ndef run(data): pass\n"}, "init() raised OSError: gone"},
		"import exits":                  {differential{script: "import sys\nsys.exit(0)\n"}, "sys.exit() while it was imported"},
		"raw and with a schema": {differential{script: schema + `
from azureml_inference_server_http.api.aml_request import rawhttp
def init(): pass
@rawhttp
@input_schema("x", StandardPythonParameterType(1))
def run(x): pass
`}, "both @rawhttp and @input_schema"},
		"Spark is not there": {differential{script: schema + `
from inference_schema.parameter_types.spark_parameter_type import SparkParameterType
def init(): pass
@input_schema("x", SparkParameterType(None))
def run(x): pass
`}, "cannot be imported"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			spec, console := c.spec(t, python)
			if _, reference, started := azureStart(t, spec); started {
				t.Errorf("Azure's server starts:\n%s", reference)
			}
			i, err := newRuntime(t).Start(t.Context(), spec)
			if err != nil {
				t.Fatal(err)
			}
			select {
			case <-i.Ready():
				t.Error("our instance is ready")
			case <-i.Done():
				if !strings.Contains(i.Err().Error(), c.says) {
					t.Errorf("it says %v, not %q\n%s", i.Err(), c.says, console)
				}
			}
		})
	}
}
