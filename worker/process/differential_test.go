package process_test

import (
	"bufio"
	"bytes"
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
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

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

// azureHost is a Python that has imported what Azure's server needs, but none
// of its own modules, and forks for each server that a test wants: most of a
// server's start is the import of what it reports to.
type azureHost struct {
	python string
	mu     sync.Mutex
	in     io.Writer
	out    *bufio.Reader
}

const azureHostProgram = `
import json, os, signal, sys
import flask, flask_cors, gunicorn.app.wsgiapp, gunicorn.workers.sync, pydantic, pydantic_settings, numpy, pandas
import inference_schema.schema_util, inference_schema.parameter_types.numpy_parameter_type, inference_schema.parameter_types.pandas_parameter_type
import azure.monitor.opentelemetry.exporter, opentelemetry.sdk.trace.export, opentelemetry.sdk._logs.export
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for line in sys.stdin:
    job = json.loads(line)
    pid = os.fork()
    if pid:
        print(pid, flush=True)
        continue
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setpgid(0, 0)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    log = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1), os.dup2(log, 2)
    os.chdir(job["dir"])
    os.environ.clear()
    os.environ.update(job["env"])
    sys.argv = ["azmlinfsrv"] + job["arguments"]
    code = 1
    try:
        from azureml_inference_server_http.amlserver import run
        run()
    except SystemExit as error:
        code = error.code
    finally:
        sys.stdout.flush()
        os._exit(code if isinstance(code, int) else 1)
`

func newAzureHost(t *testing.T) *azureHost {
	t.Helper()
	python := azurePython(t)
	cmd := exec.Command(python, "-c", azureHostProgram)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		_ = cmd.Wait()
	})
	return &azureHost{python: python, in: in, out: bufio.NewReader(out)}
}

// fork starts a server and returns its process' id.
func (h *azureHost) fork(spec worker.Spec, port, console string) (pid int, err error) {
	env := map[string]string{"HOME": spec.Dir, "PYTHONUNBUFFERED": "1"}
	for _, entry := range spec.Env {
		name, value, _ := strings.Cut(entry, "=")
		env[name] = value
	}
	job, err := json.Marshal(map[string]any{
		"log": console, "dir": spec.Dir, "env": env, "arguments": []string{"--entry_script", filepath.Join(spec.Dir, spec.Script), "--port", port},
	})
	if err != nil {
		return 0, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, err := h.in.Write(append(job, '\n')); err != nil {
		return 0, err
	}
	line, err := h.out.ReadString('\n')
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(line))
}

// written is a file that somebody writes.
type written string

func (w written) String() string {
	data, _ := os.ReadFile(string(w))
	return string(data)
}

// serve runs Azure's server until the test ends, and tells whether it has come
// to answer or has ended.
func (h *azureHost) serve(t *testing.T, spec worker.Spec) (address string, console fmt.Stringer, started bool) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address = listener.Addr().String()
	listener.Close()
	_, port, _ := net.SplitHostPort(address)
	file := written(filepath.Join(t.TempDir(), "azure.log"))
	pid, err := h.fork(spec, port, string(file))
	if err != nil {
		t.Fatal(err)
	}
	gone := func() bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }
	tick := time.NewTicker(10 * time.Millisecond)
	t.Cleanup(func() {
		defer tick.Stop()
		for _ = syscall.Kill(pid, syscall.SIGTERM); !gone(); <-tick.C {
		}
	})
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); <-tick.C {
		if resp, err := http.Get("http://" + address + "/"); err == nil {
			resp.Body.Close()
			return address, file, true
		}
		if gone() {
			return "", file, false
		}
	}
	t.Fatalf("Azure's server neither answers nor ends:\n%s", file)
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

// ourAddress is what our requests name as their host.
const ourAddress = "127.0.0.1:5001"

// seen is what a client can see of an answer.
type seen struct {
	Status int
	Header map[string][]string
	Body   any
}

func look(e exchange, status int, header http.Header, body []byte) seen {
	s := seen{Status: status, Header: map[string][]string{}, Body: readable(string(body))}
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
		values = slices.Sorted(slices.Values(values))
		for n, value := range values {
			values[n] = readable(value)
		}
		s.Header[name] = values
	}
	if strings.HasPrefix(e.target, "/swagger") && status == 200 {
		var value any
		if json.Unmarshal(body, &value) == nil {
			s.Body = withoutDescriptions(value)
		}
	}
	return s
}

// readable is a text that can be written down as JSON and read again.
func readable(text string) string {
	if utf8.ValidString(text) {
		return text
	}
	return strconv.Quote(text)
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
	body = bytes.ReplaceAll(body, []byte(address), []byte(ourAddress))
	return look(e, resp.StatusCode, resp.Header, body)
}

func ours(t *testing.T, i worker.Instance, e exchange) seen {
	t.Helper()
	u, err := url.ParseRequestURI(e.target)
	if err != nil {
		t.Fatal(err)
	}
	header := e.header(ourAddress)
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
	return look(e, resp.Status, resp.Header.Map(), body)
}

// taken is what Azure's server has answered to a row, and has logged.
type taken struct {
	Answers map[string]seen
	Log     []string
}

// answersDir is where what Azure's server has answered lies for the second run
// of the tests, with forked instances.
func answersDir() string {
	pid := os.Getpid()
	if forking() {
		pid = os.Getppid()
	}
	return filepath.Join(os.TempDir(), fmt.Sprintf("lapis-test-answers-%d", pid))
}

// removeOldAnswers removes what runs have left that ended without a second one.
func removeOldAnswers() {
	left, _ := filepath.Glob(filepath.Join(os.TempDir(), "lapis-test-answers-*"))
	for _, dir := range left {
		pid, err := strconv.Atoi(dir[strings.LastIndexByte(dir, '-')+1:])
		if err == nil && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			os.RemoveAll(dir)
		}
	}
}

// ask has Azure's server answer a row, or finds what it has answered.
func (c differential) ask(t *testing.T, host *azureHost, spec worker.Spec, file string) (taken, string) {
	t.Helper()
	got := taken{Answers: map[string]seen{}}
	if host == nil {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Skip("Azure's server has not been asked: ", err)
		}
		if err := json.Unmarshal(data, &got); err != nil {
			t.Fatal(err)
		}
		return got, ""
	}
	address, console, started := host.serve(t, spec)
	if !started {
		t.Fatalf("Azure's server does not start:\n%s", console)
	}
	for _, e := range c.requests {
		got.Answers[e.name] = theirs(t, address, e.withDefaults())
	}
	if c.log {
		got.Log = logLines(console)
		awaitLog(func() bool { got.Log = logLines(console); return len(got.Log) < len(c.requests) })
	}
	data, err := json.Marshal(got)
	if err == nil {
		err = os.WriteFile(file, data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return got, console.String()
}

func (e exchange) withDefaults() exchange {
	if e.method == "" {
		e.method = http.MethodPost
	}
	if e.target == "" {
		e.target = "/score"
	}
	return e
}

// TestAnswersAreThoseOfAzuresServer sends one table of requests to Azure's own
// inference server and to ours, and compares what a client can see.
func TestAnswersAreThoseOfAzuresServer(t *testing.T) {
	python, kept := azurePython(t), keptDifferences()
	var host *azureHost
	if !forking() {
		host = newAzureHost(t)
		removeOldAnswers()
		if err := os.MkdirAll(answersDir(), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range differentialTable() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			spec, console := c.spec(t, python)
			want, reference := c.ask(t, host, spec, filepath.Join(answersDir(), strings.ReplaceAll(name, " ", "-")+".json"))
			i := start(t, spec)
			for _, e := range c.requests {
				got := ours(t, i, e.withDefaults())
				diff := cmp.Diff(want.Answers[e.name], recorded(t, got))
				reason, known := kept[name+"/"+e.name]
				switch {
				case diff != "" && !known:
					t.Errorf("%s: Azure's (-) and ours (+) differ:\n%s", e.name, diff)
				case diff == "" && known:
					t.Errorf("%s: there is no difference any more (%s)", e.name, reason)
				}
			}
			if c.log {
				compareLogs(t, kept[name+"/log"], want.Log, console)
			}
			if t.Failed() {
				t.Logf("our console:\n%s\nAzure's:\n%s", console, reference)
			}
		})
	}
}

// recorded is what an answer is when it has been written down and read again.
func recorded(t *testing.T, s seen) (again seen) {
	t.Helper()
	data, err := json.Marshal(s)
	if err == nil {
		err = json.Unmarshal(data, &again)
	}
	if err != nil {
		t.Fatal(err)
	}
	return again
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
func logLines(console fmt.Stringer) []string {
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

// awaitLog waits for what comes by another way than answers do.
func awaitLog(missing func() bool) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(2 * time.Second); missing() && time.Now().Before(deadline); <-tick.C {
	}
}

// compareLogs waits until our log is as Azure's, and says how they differ.
func compareLogs(t *testing.T, kept string, want []string, console *log) {
	t.Helper()
	diff := func() string { return cmp.Diff(want, logLines(console)) }
	if kept == "" {
		awaitLog(func() bool { return diff() != "" })
	} else {
		awaitLog(func() bool { return diff() == "" })
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
	if forking() {
		t.Skip("this is the second run, and Azure's server is the same")
	}
	host := newAzureHost(t)
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
			spec, console := c.spec(t, host.python)
			if _, reference, started := host.serve(t, spec); started {
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
