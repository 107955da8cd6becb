package process_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"lapis/worker"
	"lapis/worker/process"
)

// log is a console that a test can read while it is written.
type log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// interpreter finds the real Python behind python3 on PATH.
func interpreter(t testing.TB) string {
	t.Helper()
	path, err := foundPython()
	if err != nil {
		t.Skipf("needs python3 on PATH: %v", err)
	}
	return path
}

var foundPython = sync.OnceValues(func() (string, error) {
	out, err := exec.Command("python3", "-c", "import sys; print(sys.executable)").Output()
	return strings.TrimSpace(string(out)), err
})

func newRuntime(t testing.TB) *process.Runtime {
	t.Helper()
	r, err := process.New(process.Config{Dir: t.TempDir(), Grace: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	if forking() {
		warm(t, r, interpreter(t))
	}
	return r
}

// specOf writes the script into an app root of its own.
func specOf(t testing.TB, script string) (worker.Spec, *log) {
	t.Helper()
	dir, console := t.TempDir(), &log{}
	write(t, filepath.Join(dir, "score.py"), script)
	trust := ""
	if forking() {
		trust = "test"
	}
	return worker.Spec{
		Name: "e/blue/0", Trust: trust, Python: interpreter(t), Dir: dir, Script: "score.py", Log: console,
		Env: []string{"PATH=/usr/bin:/bin", "AML_APP_ROOT=" + dir, "AZUREML_ENTRY_SCRIPT=score.py", "MSI_SECRET=canary-4711"},
	}, console
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// start starts an instance and waits until it is ready.
func start(t testing.TB, spec worker.Spec) worker.Instance {
	t.Helper()
	r := newRuntime(t)
	if forking() && spec.Python != interpreter(t) {
		warm(t, r, spec.Python)
	}
	i, err := r.Start(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	if process.Forked(i) != forking() {
		t.Errorf("forked is %v", process.Forked(i))
	}
	select {
	case <-i.Ready():
	case <-i.Done():
		t.Fatalf("the instance ended: %v\n%s", i.Err(), spec.Log)
	case <-time.After(20 * time.Second):
		t.Fatal("not ready in 20 s")
	}
	return i
}

// says waits until the console has all the texts, which comes by another way
// than answers do.
func says(t testing.TB, console *log, texts ...string) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	deadline := time.Now().Add(5 * time.Second)
	for _, text := range texts {
		for ; !strings.Contains(console.String(), text); <-tick.C {
			if time.Now().After(deadline) {
				t.Errorf("the log lacks %q:\n%s", text, console)
				return
			}
		}
	}
}

func post(body string) *worker.Request {
	return &worker.Request{ID: "id-1", Method: "POST", Path: "/score", Header: http.Header{"Content-Type": {"application/json"}}, Body: []byte(body)}
}

func score(t testing.TB, i worker.Instance, req *worker.Request) *worker.Response {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	resp, err := i.Score(ctx, req)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

const articleLike = `
import json, logging, os

def init():
    global weights
    weights = [1.5] * 10
    logging.info("Blob contains: %s", "Hello world!")
    logging.getLogger("azure.core").info("noise of a library")
    print("Init", "complete")
    os.write(1, b"raw output\n")

def run(raw_data):
    data = json.loads(raw_data)["data"]
    return [sum(w * x for w, x in zip(weights, row)) for row in data]
`

func TestArticleLikeScriptPredicts(t *testing.T) {
	spec, console := specOf(t, articleLike)
	i := start(t, spec)
	resp := score(t, i, post(`{"data": [[1,2,3,4,5,6,7,8,9,10],[10,9,8,7,6,5,4,3,2,1]]}`))
	if resp.Status != 200 || string(resp.Body) != "[82.5, 82.5]" {
		t.Errorf("got %d %s", resp.Status, resp.Body)
	}
	if resp.RunTime <= 0 || resp.Header.Get("x-ms-run-fn-exec-ms") == "" {
		t.Errorf("no time of run(): %v %v", resp.RunTime, resp.Header)
	}
	for name, want := range map[string]string{
		"Content-Type": "application/json", "x-request-id": "id-1", "x-ms-request-id": "id-1", "x-ms-client-request-id": "",
		"x-ms-server-version": "azmlinfsrv/1.5.1", "x-ms-run-function-failed": "False",
	} {
		if got := resp.Header.Get(name); got != want {
			t.Errorf("%s is %q, not %q", name, got, want)
		}
	}
	if err := i.Stop(t.Context()); err != nil || i.Err() != nil {
		t.Errorf("stopping: %v, %v", err, i.Err())
	}
	text := console.String()
	for _, want := range []string{
		"I [", "] root - Blob contains: Hello world!\n", "] azmlinfsrv.print - Init complete\n", "raw output\n", "azmlinfsrv - POST /score 200 ",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the log lacks %q:\n%s", want, text)
		}
	}
	for _, unwanted := range []string{"noise", "canary-4711"} {
		if strings.Contains(text, unwanted) {
			t.Errorf("the log has %q:\n%s", unwanted, text)
		}
	}
}

func TestBrokenScriptSaysWhy(t *testing.T) {
	cases := []struct {
		name, script      string
		stage, code, kind string
		message, trace    string
	}{
		{"syntax error", "def init(:\n", "import", worker.CodeImportError, "SyntaxError", "score.py cannot be imported: SyntaxError", "score.py\", line 1"},
		{"missing module", "import nowhere_to_be_found\n", "import", worker.CodeImportError, "ModuleNotFoundError", "Add the package that provides nowhere_to_be_found", "line 1, in <module>"},
		{"raises on import", "1/0\n", "import", worker.CodeImportError, "ZeroDivisionError", "division by zero", "line 1"},
		{"exit on import", "import sys; sys.exit(0)\n", "import", worker.CodeImportError, "SystemExit", "sys.exit() while it was imported", "line 1"},
		{"no run", "def init(): pass\n", "import", worker.CodeFunctionNotFound, "", "does not define run()", ""},
		{"no init", "def run(data): pass\n", "import", worker.CodeFunctionNotFound, "", "does not define init()", ""},
		{"run without data", "def init(): pass\ndef run(request_headers): pass\n", "import", worker.CodeImportError, "", "no parameter for the input data", ""},
		{"run with kwargs", "def init(): pass\ndef run(**data): pass\n", "import", worker.CodeImportError, "", "**kwargs", ""},
		{"init raises", "def init():\n    open('/nowhere/model.pkl')\ndef run(d): pass\n", "init", worker.CodeInitFailed, "FileNotFoundError", "init() raised FileNotFoundError", "line 2, in init"},
		{"exit in init", "import sys\ndef init(): sys.exit(5)\ndef run(d): pass\n", "init", worker.CodeInitFailed, "SystemExit", "sys.exit(5)", "in init"},
		{"init dies", "import os\ndef init():\n    print('last words', flush=True)\n    os._exit(7)\ndef run(d): pass\n", "init", worker.CodeInitFailed, "", "exit status 7", "last words"},
		{"import is killed", "import os\nos.kill(os.getpid(), 9)\n", "import", worker.CodeImportError, "", "memory runs out", ""},
	}
	r := newRuntime(t)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			spec, console := specOf(t, c.script)
			i, err := r.Start(t.Context(), spec)
			if err != nil {
				t.Fatal(err)
			}
			<-i.Done()
			select {
			case <-i.Ready():
				t.Fatal("became ready")
			default:
			}
			var exit *worker.ExitError
			if !errors.As(i.Err(), &exit) {
				t.Fatalf("ended with %v", i.Err())
			}
			if exit.Stage != c.stage || exit.Code != c.code || exit.Type != c.kind || !strings.Contains(exit.Message, c.message) || exit.Status == "" {
				t.Errorf("got %+v", exit)
			}
			if !strings.Contains(exit.Traceback, c.trace) || strings.Contains(exit.Traceback, "lapis_worker") {
				t.Errorf("the traceback is\n%s", exit.Traceback)
			}
			if !strings.Contains(console.String(), c.message) || !strings.Contains(console.String(), c.trace) {
				t.Errorf("the log lacks %q or %q:\n%s", c.message, c.trace, console)
			}
		})
	}
}

func TestMissingScriptAndInterpreterAreNamed(t *testing.T) {
	r := newRuntime(t)
	spec, _ := specOf(t, "")
	spec.Script = "missing.py"
	i, err := r.Start(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	<-i.Done()
	if err := i.Err(); err == nil || !strings.Contains(err.Error(), "no scoring script missing.py in the code folder, which has: score.py") {
		t.Errorf("got %v", err)
	}
	for name, change := range map[string]func(*worker.Spec){
		"cannot be started":            func(s *worker.Spec) { s.Python = "/nowhere/python3" },
		"is not inside the code":       func(s *worker.Spec) { s.Script = "../score.py" },
		"need absolute paths":          func(s *worker.Spec) { s.Dir = "code" },
		"interpreter and the folder":   func(s *worker.Spec) { s.Python = "python3" },
		"interpreter /bin/../nowhere/": func(s *worker.Spec) { s.Python = "/bin/../nowhere/" },
	} {
		spec, _ := specOf(t, "")
		change(&spec)
		if _, err := r.Start(t.Context(), spec); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("got %v, not %q", err, name)
		}
	}
}

func TestSlowInitIsEndedAndShown(t *testing.T) {
	t.Parallel()
	spec, console := specOf(t, "import time\ndef init():\n    time.sleep(600)\ndef run(d): pass\n")
	spec.InitTimeout = 4 * time.Second
	i, err := newRuntime(t).Start(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	<-i.Done()
	var exit *worker.ExitError
	if !errors.As(i.Err(), &exit) || exit.Stage != "init" || exit.Code != worker.CodeInitFailed {
		t.Errorf("got %v", i.Err())
	}
	if !strings.Contains(console.String(), "time.sleep(600)") {
		t.Errorf("the log does not show where init() was:\n%s", console)
	}
}

func TestRunContract(t *testing.T) {
	spec, console := specOf(t, `
import json
def init(): pass
def run(data, request_headers=None):
    if data == "raise": raise ValueError("details for the log only")
    if data == "none": return None
    if data == "set": return {1}
    if data == "bytes": return b"x"
    if data == "nan": return float("nan")
    if data == "header": return request_headers["X-Test"]
    if data == "response": return Response()
    return {"got": data}
class Response:
    status_code = 503
    headers = {"Content-Type": "text/plain", "X-Mine": "yes", "Content-Length": "99"}
    def get_data(self): return b"busy"
`)
	i := start(t, spec)
	const raised = `{"message": "An unexpected error occurred in scoring script. Check the logs for more info."}`
	const internal = `{"message": "An unexpected internal error occurred. Check the logs for more info."}`
	for _, c := range []struct {
		in     string
		status int
		out    string
		failed string
	}{
		{"none", 200, "{}", "False"},
		{"nan", 200, "NaN", "False"},
		{"", 200, `{"got": ""}`, "False"},
		{"häagen ☃", 200, `{"got": "h\u00e4agen \u2603"}`, "False"},
		{"header", 200, `"a,b"`, "False"},
		{"raise", 500, raised, "True"},
		{"set", 500, internal, "False"},
		{"bytes", 500, internal, "False"},
		{"response", 503, "busy", "True"},
	} {
		req := post(c.in)
		req.Header.Set("X-Test", "a")
		req.Header.Add("X-Test", "b")
		resp := score(t, i, req)
		if resp.Status != c.status || string(resp.Body) != c.out || resp.Header.Get("x-ms-run-function-failed") != c.failed {
			t.Errorf("run(%q) gave %d %s %v", c.in, resp.Status, resp.Body, resp.Header)
		}
		if resp.Header.Get("Content-Length") != "" {
			t.Error("the script's own length went through")
		}
	}
	if resp := score(t, i, post("\xff")); resp.Status != 400 || !strings.Contains(string(resp.Body), "UTF-8") {
		t.Errorf("not UTF-8 gave %d %s", resp.Status, resp.Body)
	}
	says(t, console, "details for the log only")
	if text := console.String(); strings.Contains(text, "lapis_worker") {
		t.Errorf("the log:\n%s", text)
	}
}

func TestSchemaDecoratedRunGetsItsParametersByName(t *testing.T) {
	spec, _ := specOf(t, `
from inference_schema.schema_util import mark
def init(): pass
@mark
def run(rows, factor=2, request_headers=None): return [row * factor for row in rows]
`)
	write(t, filepath.Join(spec.Dir, "inference_schema", "__init__.py"), "")
	write(t, filepath.Join(spec.Dir, "inference_schema", "schema_util.py"), `
def mark(f): f.marked = True; return f
def is_schema_decorated(f): return getattr(f, "marked", False)
`)
	i := start(t, spec)
	for _, c := range []struct {
		body, kind string
		status     int
		want       string
	}{
		{`{"rows": [1, 2]}`, "application/json; charset=utf-8", 200, "[2, 4]"},
		{`{"rows": [1], "factor": 3, "more": 1}`, "application/json", 200, "[3]"},
		{`{"factor": 3}`, "application/json", 400, "A value is not provided for the 'rows' parameter."},
		{`[1]`, "application/json", 400, "should be a JSON dictionary"},
		{`{`, "application/json", 400, "could not be decoded as JSON"},
		{`{"rows": [1]}`, "text/plain", 415, "Expects Content-Type to be application/json"},
	} {
		req := post(c.body)
		req.Header.Set("Content-Type", c.kind)
		resp := score(t, i, req)
		if resp.Status != c.status || !strings.Contains(string(resp.Body), c.want) {
			t.Errorf("%s as %s gave %d %s", c.body, c.kind, resp.Status, resp.Body)
		}
	}
	get := &worker.Request{Method: "GET", Path: "/score", RawQuery: "rows=[5]"}
	if resp := score(t, i, get); string(resp.Body) != "[10]" {
		t.Errorf("GET gave %d %s", resp.Status, resp.Body)
	}
}

func TestOtherRoutes(t *testing.T) {
	spec, console := specOf(t, "def init(): pass\ndef run(d): return d\n")
	i := start(t, spec)
	for _, c := range []struct {
		method, path, query string
		status              int
		body                string
	}{
		{"GET", "/", "", 200, "Healthy"},
		{"OPTIONS", "/score", "", 200, ""},
		{"GET", "/score", "a=1&b=[1,2]&c=x&d=null&e=y&e=2", 200, `"{\"a\": 1, \"b\": [1, 2], \"c\": \"x\", \"d\": null, \"e\": [\"y\", 2]}"`},
		{"GET", "/score", "a=%zz", 200, `%zz`},
		{"OPTIONS", "/", "", 200, ""},
		{"HEAD", "/score", "", 405, "Method not allowed"},
		{"GET", "/swagger.json", "", 200, `"swagger":"2.0"`},
		{"GET", "/swagger.json", "version=3", 200, `"openapi":"3.0.3"`},
		{"GET", "/swagger.json", "version=9", 404, `Swagger version [9] is not valid`},
		{"PUT", "/score", "", 405, `"message"`},
		{"GET", "/other", "", 404, `"message"`},
	} {
		resp := score(t, i, &worker.Request{ID: "1", Method: c.method, Path: c.path, RawQuery: c.query, Header: http.Header{}})
		if resp.Status != c.status || !strings.Contains(string(resp.Body), c.body) {
			t.Errorf("%s %s?%s: %d %s", c.method, c.path, c.query, resp.Status, resp.Body)
		}
	}
	form := post("data")
	form.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if resp := score(t, i, form); string(resp.Body) != `""` || !strings.Contains(console.String(), "Send application/json") {
		t.Errorf("a form gave %s", resp.Body)
	}
	long := post("")
	long.Header.Set("x-ms-client-request-id", strings.Repeat("x", 101))
	if resp := score(t, i, long); resp.Status != 431 {
		t.Errorf("a long id gave %d", resp.Status)
	}
	write(t, filepath.Join(spec.Dir, "swagger.json"), `{"mine": true}`)
	if resp := score(t, i, &worker.Request{Method: "GET", Path: "/swagger.json"}); string(resp.Body) != `{"mine": true}` {
		t.Errorf("own swagger.json: %s", resp.Body)
	}
}

func TestLargeBodiesGoThrough(t *testing.T) {
	spec, _ := specOf(t, "def init(): pass\ndef run(d): return d\n")
	i := start(t, spec)
	big := strings.Repeat("x", 5<<20)
	if resp := score(t, i, post(big)); resp.Status != 200 || len(resp.Body) != len(big)+2 {
		t.Errorf("got %d, %d bytes", resp.Status, len(resp.Body))
	}
}

func TestCrashInRunEndsTheInstance(t *testing.T) {
	for name, line := range map[string]string{"exit": "sys.exit(1)", "crash": "os.abort()", "kill": "os._exit(9)"} {
		t.Run(name, func(t *testing.T) {
			spec, console := specOf(t, "import os, sys\ndef init(): pass\ndef run(d): "+line+"\n")
			i := start(t, spec)
			if _, err := i.Score(t.Context(), post("")); !errors.Is(err, worker.ErrExited) {
				t.Errorf("got %v", err)
			}
			<-i.Done()
			var exit *worker.ExitError
			if !errors.As(i.Err(), &exit) || exit.Stage != "run" || exit.Code != worker.CodeExited {
				t.Errorf("ended with %v", i.Err())
			}
			if !strings.Contains(console.String(), "The instance ended") {
				t.Errorf("the log:\n%s", console)
			}
		})
	}
}

func TestProbeAnswersWhileRunIsBusy(t *testing.T) {
	spec, _ := specOf(t, "import time\ndef init(): pass\ndef run(d): time.sleep(600)\n")
	i := start(t, spec)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	scored := make(chan error)
	go func() { _, err := i.Score(ctx, post("")); scored <- err }()
	began := time.Now()
	for range 20 {
		probe, done := context.WithTimeout(t.Context(), 5*time.Second)
		if err := i.Probe(probe); err != nil {
			t.Error(err)
		}
		done()
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("20 probes took %v", took)
	}
	if err := <-scored; !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the request ended with %v", err)
	}
}

func TestStuckScriptIsKilledAfterTheGrace(t *testing.T) {
	spec, _ := specOf(t, `
import signal, subprocess, sys
def init():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    print("child", child.pid)
def run(d): pass
`)
	i := start(t, spec)
	began := time.Now()
	if err := i.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < 900*time.Millisecond || took > 8*time.Second {
		t.Errorf("stopping took %v with a grace of 1 s", took)
	}
	var child int
	text := spec.Log.(*log).String()
	if _, err := fmt.Sscanf(text[strings.Index(text, "child"):], "child %d", &child); err != nil {
		t.Fatal(err)
	}
	if alive(child) {
		t.Errorf("process %d, started by the script in a session of its own, is alive", child)
	}
}

// alive reports whether a process runs; a zombie does not.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

func TestLoggingFileOfTheUserIsHonoured(t *testing.T) {
	spec, console := specOf(t, "import logging\ndef init(): logging.info('shown'); logging.getLogger('quiet').info('hidden')\ndef run(d): pass\n")
	write(t, filepath.Join(spec.Dir, "logging.json"), `{"version": 1, "disable_existing_loggers": false,
		"formatters": {"f": {"format": "MINE %(message)s"}},
		"handlers": {"h": {"class": "logging.StreamHandler", "formatter": "f", "stream": "ext://sys.stdout"}},
		"root": {"level": "INFO", "handlers": ["h"]}, "loggers": {"quiet": {"level": "ERROR"}}}`)
	_ = start(t, spec).Stop(t.Context())
	if text := console.String(); !strings.Contains(text, "MINE shown\n") || strings.Contains(text, "hidden") {
		t.Errorf("the log:\n%s", text)
	}
	spec, console = specOf(t, "import logging\ndef init(): logging.info('shown')\ndef run(d): pass\n")
	write(t, filepath.Join(spec.Dir, "logging.json"), `{`)
	_ = start(t, spec).Stop(t.Context())
	if text := console.String(); !strings.Contains(text, "root - shown\n") || !strings.Contains(text, "not a valid logging configuration") {
		t.Errorf("the log:\n%s", text)
	}
}

func TestScriptSeesItsOwnModulesAndEnvironmentOnly(t *testing.T) {
	t.Setenv("LAPIS_TEST_OUTER", "leaks")
	spec, _ := specOf(t, "")
	write(t, filepath.Join(spec.Dir, "code", "score.py"), `
import os, sys
import beside, inroot, serve, frames
def init(): pass
def run(d): return [os.getcwd(), sys.argv, "LAPIS_TEST_OUTER" in os.environ, beside.name, inroot.name, serve.name, [p for p in sys.path if "python/lapis" in p]]
`)
	write(t, filepath.Join(spec.Dir, "code", "beside.py"), "name = 'beside'")
	write(t, filepath.Join(spec.Dir, "inroot.py"), "name = 'inroot'")
	write(t, filepath.Join(spec.Dir, "serve.py"), "name = 'mine'")
	write(t, filepath.Join(spec.Dir, "frames.py"), "")
	spec.Script = "code/score.py"
	resp := score(t, start(t, spec), post(""))
	want := fmt.Sprintf(`["%s", ["%s/code/score.py"], false, "beside", "inroot", "mine", []]`, spec.Dir, spec.Dir)
	if string(resp.Body) != want {
		t.Errorf("got  %s\nwant %s", resp.Body, want)
	}
}

func TestStoppedRuntimeStartsNothing(t *testing.T) {
	r := newRuntime(t)
	spec, _ := specOf(t, "def init(): pass\ndef run(d): pass\n")
	i, err := r.Start(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-i.Done()
	if _, err := r.Start(t.Context(), spec); err == nil {
		t.Error("started after Close")
	}
}

func TestEveryInterpreterServes(t *testing.T) {
	found, _ := filepath.Glob(filepath.Join(os.Getenv("HOME"), ".pyenv", "versions", "3.*", "bin", "python"))
	if len(found) == 0 {
		t.Skip("needs interpreters in ~/.pyenv/versions")
	}
	r := newRuntime(t)
	for _, python := range found {
		t.Run(filepath.Base(filepath.Dir(filepath.Dir(python))), func(t *testing.T) {
			t.Parallel()
			spec, console := specOf(t, articleLike)
			spec.Python = python
			i, err := r.Start(t.Context(), spec)
			if err != nil {
				t.Fatal(err)
			}
			select {
			case <-i.Ready():
			case <-i.Done():
				old := strings.Contains(python, "/3.6.") || strings.Contains(python, "/3.7.")
				if !old || !strings.Contains(i.Err().Error(), "needs Python 3.8") {
					t.Fatalf("%v\n%s", i.Err(), console)
				}
				return
			}
			if resp := score(t, i, post(`{"data": [[1,1,1,1,1,1,1,1,1,1]]}`)); string(resp.Body) != "[15.0]" {
				t.Errorf("got %s", resp.Body)
			}
			says(t, console, "root - Blob contains")
		})
	}
}
