package process_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"lapis/worker"
	"lapis/worker/process"
)

const valveScript = `
import os
def init():
    global seen
    seen = []
def run(data):
    seen.append(data)
    if data in ("wait", "die"):
        print("waits")
        os.read(os.open("valve", os.O_RDONLY), 1)
        if data == "die": os._exit(9)
    return seen if data == "seen" else data
`

// valved starts a valveScript; open lets one of its waits go on.
func valved(t *testing.T) (i worker.Instance, console *log, open func()) {
	return withValve(t, valveScript)
}

// withValve starts a script that waits by reading a byte of the file valve.
func withValve(t *testing.T, script string) (i worker.Instance, console *log, open func()) {
	t.Helper()
	spec, console := specOf(t, script)
	path := filepath.Join(spec.Dir, "valve")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return start(t, spec), console, func() { _, _ = file.Write([]byte{'!'}) }
}

// sent hands over a request and returns when it is in line as the nth.
func sent(t *testing.T, i worker.Instance, body string, nth int) <-chan error {
	t.Helper()
	answer := make(chan error, 1)
	go func() {
		resp, err := i.Score(t.Context(), post(body))
		if err == nil && string(resp.Body) != `"`+body+`"` {
			err = fmt.Errorf("%s got the answer %s", body, resp.Body)
		}
		answer <- err
	}()
	inLine(t, i, nth)
	return answer
}

// inLine waits until so many requests are in line.
func inLine(t *testing.T, i worker.Instance, count int) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(5 * time.Second); process.InLine(i) < count; <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("the line has not come to %d", count)
		}
	}
}

func TestRequestsBehindTheOneThatKillsTheScriptAreNotTaken(t *testing.T) {
	i, console, open := valved(t)
	first := sent(t, i, "die", 1)
	says(t, console, "waits")
	second, third := sent(t, i, "b", 2), sent(t, i, "c", 3)
	open()
	if err := <-first; !errors.Is(err, worker.ErrExited) {
		t.Errorf("the first got %v", err)
	}
	for _, answer := range []<-chan error{second, third} {
		if err := <-answer; !errors.Is(err, worker.ErrNotTaken) {
			t.Errorf("one behind it got %v", err)
		}
	}
}

func TestRecalledRequestsAreGivenBackAndNeverRun(t *testing.T) {
	i, console, open := valved(t)
	first := sent(t, i, "wait", 1)
	says(t, console, "waits")
	second, third := sent(t, i, "b", 2), sent(t, i, "c", 3)
	i.Recall()
	for _, answer := range []<-chan error{second, third} {
		if err := <-answer; !errors.Is(err, worker.ErrGivenBack) {
			t.Errorf("one behind it got %v", err)
		}
	}
	later := sent(t, i, "d", 4)
	open()
	for _, answer := range []<-chan error{first, later} {
		if err := <-answer; err != nil {
			t.Error(err)
		}
	}
	if resp := score(t, i, post("seen")); string(resp.Body) != `["wait", "d", "seen"]` {
		t.Errorf("the script saw %s", resp.Body)
	}
}

func TestManyInFlightGetTheirOwnAnswers(t *testing.T) {
	spec, _ := specOf(t, "def init(): pass\ndef run(d): return d\n")
	i := start(t, spec)
	errs := make(chan error)
	for n := range 64 {
		go func() {
			body := fmt.Sprint(n)
			for range 20 {
				if resp, err := i.Score(t.Context(), post(body)); err != nil || string(resp.Body) != `"`+body+`"` {
					errs <- fmt.Errorf("%s got %v, %w", body, resp, err)
					return
				}
			}
			errs <- nil
		}()
	}
	for range 64 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

func TestDoneIsToldOnceWhateverComes(t *testing.T) {
	i, console, open := valved(t)
	told := make(chan time.Duration, 10)
	done := func(busy time.Duration) { told <- busy }
	for name, req := range map[string]*worker.Request{
		"health": {Method: "GET", Path: "/"}, "unknown": {Method: "GET", Path: "/x"}, "not run": {Method: "HEAD", Path: "/score"},
	} {
		req.Done = done
		score(t, i, req)
		if busy := <-told; busy != 0 {
			t.Errorf("%s: busy for %v", name, busy)
		}
	}
	ctx, leave := context.WithCancel(t.Context())
	req := post("wait")
	req.Done = done
	gone := make(chan error)
	go func() { _, err := i.Score(ctx, req); gone <- err }()
	says(t, console, "waits")
	leave()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	select {
	case <-told:
		t.Error("the script is still busy, but it is told that it has done")
	default:
	}
	open()
	if busy := <-told; busy <= 0 {
		t.Errorf("busy for %v", busy)
	}
}

// TestAnswersAreWrittenAsByJSON holds the short way of writing an answer to
// what json.dumps does, also when a script has changed that.
func TestAnswersAreWrittenAsByJSON(t *testing.T) {
	spec, _ := specOf(t, `
import json
values = [[], {}, "", [1.5, 1e22, 0.1, -0.0, 2**70, True, None, "h\u00e4\u2603\U0001f600\x00\"\\", float("nan"), float("inf")],
    {"a": {1: 2, None: 3, True: 4, 1.5: [[]]}}, {"k" * 100: ["v"] * 1000}, (1, [2, (3,)])]
class Odd: pass
def init():
    global plain
    plain = json.JSONEncoder.default
def run(data):
    if data == "values": return values
    if data == "circle":
        circle = []
        circle.append(circle)
        return circle
    if data == "odd": return [Odd()]
    if data == "set default": json.JSONEncoder.default = lambda self, value: "odd"
    if data == "set dumps": json.dumps = lambda value: "mine"
    if data == "as json": return len(json.dumps(values)), hash(json.dumps(values)) == hash(json._default_encoder.encode(values))
    return [data]
`)
	i := start(t, spec)
	direct := exec.Command(spec.Python, "-c", "import sys; sys.path.insert(0, sys.argv[1]); import score, json; print(json.dumps(score.values), end='')", spec.Dir)
	want, err := direct.Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		in, out string
		status  int
	}{
		{"values", string(want), 200}, {"circle", "internal error", 500}, {"odd", "internal error", 500}, {"values", string(want), 200},
		{"set default", `["set default"]`, 200}, {"odd", `["odd"]`, 200}, {"values", string(want), 200}, {"set dumps", "mine", 200}, {"x", "mine", 200},
	} {
		if resp := score(t, i, post(c.in)); resp.Status != c.status || !strings.Contains(string(resp.Body), c.out) {
			t.Errorf("run(%q) gave %d %s", c.in, resp.Status, resp.Body)
		}
	}
}
