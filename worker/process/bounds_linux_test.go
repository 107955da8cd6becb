package process_test

import (
	"errors"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"lapis/worker"
	"lapis/worker/process"
)

// held runs a test with limits held by cgroups, where they can be used, and by watching.
func held(t *testing.T, controller func(process.Mechanisms) string, test func(t *testing.T, r *process.Runtime, watched bool)) {
	t.Run("cgroup", func(t *testing.T) {
		r := newRuntime(t)
		if how := controller(r.Mechanisms()); !strings.HasPrefix(how, "cgroup") {
			t.Skipf("no cgroup can be used here: %s", how)
		}
		test(t, r, false)
	})
	t.Run("watched", func(t *testing.T) {
		r := newRuntime(t)
		process.Ungroup(r)
		if how := r.Mechanisms().Memory; how != "watched" {
			t.Fatalf("%q", how)
		}
		test(t, r, true)
	})
}

func startIn(t testing.TB, r *process.Runtime, spec worker.Spec, console *log) worker.Instance {
	t.Helper()
	i, err := r.Start(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	if process.Forked(i) != forking() {
		t.Errorf("forked is %v", process.Forked(i))
	}
	awaitReady(t, i, console)
	return i
}

// endsWith waits for the end of an instance and gives its cause.
func endsWith(t testing.TB, i worker.Instance) *worker.ExitError {
	t.Helper()
	select {
	case <-i.Done():
	case <-time.After(30 * time.Second):
		t.Fatal("it does not end")
	}
	var exit *worker.ExitError
	if !errors.As(i.Err(), &exit) {
		t.Fatalf("ended with %v", i.Err())
	}
	return exit
}

func TestInstanceThatEatsMemoryIsEndedAndNamed(t *testing.T) {
	held(t, func(m process.Mechanisms) string { return m.Memory }, func(t *testing.T, r *process.Runtime, _ bool) {
		spec, console := specOf(t, "import time\ndef init(): pass\ndef run(d):\n    kept = []\n    while len(kept) < 600:\n        kept.append(bytearray(b'x') * (2 << 20)); time.sleep(0.01)\n    time.sleep(600)\n")
		spec.Limits.Memory = 200 << 20
		i := startIn(t, r, spec, console)
		neighbour, quiet := specOf(t, "def init(): pass\ndef run(d): return d\n")
		other := startIn(t, r, neighbour, quiet)
		groups := process.GroupDirs(i)
		if _, err := i.Score(t.Context(), post("")); !errors.Is(err, worker.ErrExited) {
			t.Errorf("the request ended with %v", err)
		}
		exit := endsWith(t, i)
		if exit.Code != worker.CodeOutOfMemory || exit.Stage != worker.StageRun || !strings.Contains(exit.Message, "200 MiB") {
			t.Errorf("ended with %+v", exit)
		}
		if text := console.String(); !strings.Contains(text, "more memory than its instance type has (200 MiB)") {
			t.Errorf("the log:\n%s", text)
		}
		for _, dir := range groups {
			if _, err := os.Stat(dir); err == nil {
				t.Errorf("%s is left", dir)
			}
		}
		if got := string(score(t, other, post("x")).Body); got != `"x"` {
			t.Errorf("the neighbour says %s", got)
		}
	})
}

func TestInstanceThatForksWithoutEndIsContained(t *testing.T) {
	held(t, func(m process.Mechanisms) string { return m.Processes }, func(t *testing.T, r *process.Runtime, watched bool) {
		spec, console := specOf(t, `
import os, signal, time
def init(): pass
def run(d):
    pids = []
    try:
        while len(pids) < 150:
            pid = os.fork()
            if pid == 0:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                time.sleep(600)
                os._exit(0)
            pids.append(pid)
    except BlockingIOError:
        return pids
    time.sleep(600)
`)
		spec.Limits.Processes = 40
		i := startIn(t, r, spec, console)
		if watched {
			if _, err := i.Score(t.Context(), post("")); !errors.Is(err, worker.ErrExited) {
				t.Errorf("the request ended with %v", err)
			}
			if exit := endsWith(t, i); exit.Code != worker.CodeTooManyProcesses || !strings.Contains(exit.Message, "limit of 40") {
				t.Errorf("ended with %+v", exit)
			}
			return
		}
		answer := string(score(t, i, post("")).Body)
		says(t, console, "could not start another process or thread: its instance may have 40")
		usage, err := i.(worker.Metered).Usage()
		if err != nil || usage.Processes < 30 || usage.Processes > 40 || usage.Memory == 0 {
			t.Errorf("usage is %+v, %v", usage, err)
		}
		if err := i.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		for text := range strings.SplitSeq(strings.Trim(answer, "[]"), ", ") {
			if pid, err := strconv.Atoi(text); err != nil || alive(pid) {
				t.Errorf("%s is left: %v", text, err)
			}
		}
	})
}

func TestProcessorsAreLimited(t *testing.T) {
	r := newRuntime(t)
	if how := r.Mechanisms().CPU; !strings.HasPrefix(how, "cgroup") {
		t.Skipf("no cgroup can be used here: %s", how)
	}
	spec, console := specOf(t, `
import time
def init(): pass
def run(d):
    began, spent = time.monotonic(), time.process_time()
    while time.monotonic() - began < 1.5: pass
    return (time.process_time() - spent) / (time.monotonic() - began)
`)
	spec.Limits.CPU = 0.2
	share, err := strconv.ParseFloat(string(score(t, startIn(t, r, spec, console), post("")).Body), 64)
	if err != nil || share > 0.35 {
		t.Errorf("with 0.2 processors it had %v (%v)", share, err)
	}
}

func TestUsageIsOfAllProcesses(t *testing.T) {
	spec, _ := specOf(t, `
import subprocess, sys, time
def init(): pass
def run(d):
    child = subprocess.Popen([sys.executable, "-c", "kept = bytearray(b'x') * (64 << 20); print(flush=True); import time; time.sleep(600)"], stdout=subprocess.PIPE)
    child.stdout.readline()
    until = time.process_time() + 0.2
    while time.process_time() < until: pass
`)
	i := start(t, spec)
	before, err := i.(worker.Metered).Usage()
	if err != nil || before.Processes != 1 {
		t.Errorf("usage is %+v, %v", before, err)
	}
	score(t, i, post(""))
	after, err := i.(worker.Metered).Usage()
	if err != nil || after.Processes != 2 || after.Memory < before.Memory+60<<20 || after.CPU < before.CPU+150*time.Millisecond {
		t.Errorf("usage was %+v and is %+v, %v", before, after, err)
	}
	if err := i.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := i.(worker.Metered).Usage(); !errors.Is(err, worker.ErrExited) {
		t.Errorf("usage after the end: %v", err)
	}
}

// sink counts what it is given and keeps nothing.
type sink struct{ bytes, longest atomic.Int64 }

func (s *sink) Write(p []byte) (int, error) {
	s.bytes.Add(int64(len(p)))
	if n := int64(len(p)); n > s.longest.Load() {
		s.longest.Store(n)
	}
	return len(p), nil
}

func TestOutputWithoutEndIsCutAndDoesNotHoldUpTheEnd(t *testing.T) {
	spec, _ := specOf(t, "import os\ndef init(): pass\ndef run(d):\n    while True: os.write(1, b'x' * 50000)\n")
	out := &sink{}
	spec.Log = out
	i := start(t, spec)
	go func() { _, _ = i.Score(t.Context(), post("")) }()
	for out.bytes.Load() < 20<<20 {
		runtime.Gosched()
	}
	if err := i.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if longest := out.longest.Load(); longest > 70<<10 {
		t.Errorf("a line of %d bytes", longest)
	}
}

func TestInstanceThatClosesItsSocketsEnds(t *testing.T) {
	for name, line := range map[string]string{"requests": "os.close(3)", "control": "os.close(4)", "all": "os.closerange(0, 100)"} {
		t.Run(name, func(t *testing.T) {
			spec, _ := specOf(t, "import os\ndef init(): pass\ndef run(d):\n    "+line+"\n    return 1\n")
			i := start(t, spec)
			_, err := i.Score(t.Context(), post(""))
			if name == "control" {
				if err := i.Stop(t.Context()); err != nil {
					t.Error(err)
				}
				return
			}
			if !errors.Is(err, worker.ErrExited) {
				t.Errorf("the request ended with %v", err)
			}
			if exit := endsWith(t, i); exit.Code != worker.CodeExited {
				t.Errorf("ended with %+v", exit)
			}
		})
	}
}

func TestNothingLeaksWithInstances(t *testing.T) {
	r := newRuntime(t)
	spec, console := specOf(t, "import os\ndef init(): pass\ndef run(d):\n    if d: os._exit(1)\n")
	once := func(how string) {
		i := startIn(t, r, spec, console)
		_, _ = i.Score(t.Context(), post(how))
		if err := i.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	count := func() (int, int) {
		files, _ := os.ReadDir("/proc/self/fd")
		return len(files), runtime.NumGoroutine()
	}
	once("")
	files, goroutines := count()
	for range 10 {
		once("")
		once("die")
	}
	for deadline := time.Now().Add(5 * time.Second); ; runtime.Gosched() {
		filesNow, goroutinesNow := count()
		if filesNow <= files && goroutinesNow <= goroutines {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d files and %d goroutines became %d and %d", files, goroutines, filesNow, goroutinesNow)
		}
	}
}

func TestGroupsOfAKilledRuntimeAreRemoved(t *testing.T) {
	dir := t.TempDir()
	first, err := process.New(process.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if how := first.Mechanisms().Memory; !strings.HasPrefix(how, "cgroup") {
		t.Skipf("no cgroup can be used here: %s", how)
	}
	spec, console := specOf(t, "def init(): pass\ndef run(d): pass\n")
	spec.Limits, spec.Trust = worker.Limits{Memory: 1 << 30}, ""
	i, err := first.Start(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	awaitReady(t, i, console)
	groups := process.GroupDirs(i)
	second, err := process.New(process.Config{Dir: dir}) // as after kill -9: the first one's instances are leftovers
	if err != nil {
		t.Fatal(err)
	}
	<-i.Done()
	for _, group := range groups {
		if _, err := os.Stat(group); err == nil {
			t.Errorf("%s is left", group)
		}
	}
	_ = first.Close(t.Context())
	_ = second.Close(t.Context())
}
