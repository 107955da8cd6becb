package process_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"lapis/worker"
	"lapis/worker/process"
)

// readied is a place where one process is forked ahead, and its id.
func readied(t *testing.T, script string, change ...func(*worker.Spec)) (*place, int) {
	t.Helper()
	p := newPlace(t, nil)
	p.start(t, script, change...)
	spares := process.Spares(p.runtime)
	if len(spares) != 1 {
		t.Fatalf("forked ahead: %v", spares)
	}
	return p, spares[0]
}

// until waits for something that happens soon.
func until(t *testing.T, happened func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !happened(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal("it does not happen")
		}
	}
}

const plainScript = "def init(): pass\ndef run(d): return d\n"

func TestForkedAheadBecomesTheNextInstance(t *testing.T) {
	p, spare := readied(t, plainScript)
	i := p.start(t, plainScript)
	if process.PID(i) != spare {
		t.Errorf("the instance is %d, forked ahead was %d", process.PID(i), spare)
	}
	if got := string(score(t, i, post("x")).Body); got != `"x"` {
		t.Errorf("got %s", got)
	}
	next := process.Spares(p.runtime)
	if len(next) != 1 || next[0] == spare {
		t.Errorf("after it, forked ahead: %v", next)
	}
	if err := i.Stop(t.Context()); err != nil || alive(spare) {
		t.Errorf("stopped: %v, alive %v", err, alive(spare))
	}
}

func TestForkedAheadHoldsNoIdentityAndNoSecret(t *testing.T) {
	p, spare := readied(t, plainScript, func(s *worker.Spec) { s.Env = append(s.Env, "MINE=canary-0815") })
	for _, file := range []string{"environ", "cmdline"} {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", spare, file))
		if err != nil || len(data) == 0 || strings.Contains(string(data), "canary") {
			t.Errorf("%s: %v\n%s", file, err, data)
		}
	}
	at, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", spare))
	if home, _ := os.Readlink(fmt.Sprintf("/proc/%d/cwd", process.Zygotes(p.runtime)[0])); err != nil || at != home {
		t.Errorf("it is in %s, its zygote in %s (%v)", at, home, err)
	}
	until(t, func() bool { // and not that of its zygote
		var sockets []string
		open, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", spare))
		for _, fd := range open {
			if to, _ := os.Readlink(fd); strings.HasPrefix(to, "socket:") {
				sockets = append(sockets, filepath.Base(fd))
			}
		}
		slices.Sort(sockets)
		return slices.Equal(sockets, []string{"3", "4"})
	})
}

func TestForkedAheadEndsWithItsZygote(t *testing.T) {
	p, spare := readied(t, plainScript)
	pid := process.Zygotes(p.runtime)[0]
	_ = syscall.Kill(pid, syscall.SIGKILL)
	until(t, func() bool { return !alive(spare) && !slices.Contains(process.Zygotes(p.runtime), pid) })
	if got := string(score(t, p.start(t, plainScript), post("x")).Body); got != `"x"` {
		t.Errorf("the next instance says %s", got)
	}
}

func TestForkedAheadEndsWithTheRuntime(t *testing.T) {
	p, spare := readied(t, plainScript, func(s *worker.Spec) { s.Limits.Memory = 300 << 20 })
	dirs := process.SpareDirs(p.runtime)
	if err := p.runtime.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if alive(spare) {
		t.Error("it is still there")
	}
	for _, dir := range dirs {
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%s is left", dir)
		}
	}
}

func TestKilledAheadHarmsNobody(t *testing.T) {
	p, _ := readied(t, plainScript)
	running := p.start(t, plainScript)
	spare := process.Spares(p.runtime)[0]
	_ = syscall.Kill(spare, syscall.SIGKILL)
	i := p.start(t, plainScript) // whether its end was heard of or not
	if process.PID(i) == spare || !process.Forked(i) {
		t.Errorf("the instance is %d, killed was %d", process.PID(i), spare)
	}
	for _, one := range []worker.Instance{running, i} {
		if got := string(score(t, one, post("x")).Body); got != `"x"` {
			t.Errorf("got %s", got)
		}
	}
	if next := process.Spares(p.runtime); len(next) != 1 || next[0] == spare {
		t.Errorf("after it, forked ahead: %v", next)
	}
}

// One that is forked ahead does not keep a zygote from its end.
func TestIdleZygoteEndsWithWhatItForkedAhead(t *testing.T) {
	p := newPlace(t, nil)
	r, err := process.New(process.Config{Dir: t.TempDir(), ZygoteIdle: 500 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close(t.Context())
	p.runtime = r
	i := p.start(t, plainScript)
	spares := process.Spares(r)
	if len(spares) != 1 {
		t.Fatalf("forked ahead: %v", spares)
	}
	until(t, func() bool { return len(process.Zygotes(r)) == 0 && !alive(spares[0]) })
	if err := i.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestForkedAheadGetsTheLimitsOfItsInstance(t *testing.T) {
	limited := func(memory int64) func(*worker.Spec) {
		return func(s *worker.Spec) { s.Limits = worker.Limits{Memory: memory, Processes: 50} }
	}
	p, spare := readied(t, plainScript, limited(300<<20))
	if how := p.runtime.Mechanisms().Memory; !strings.HasPrefix(how, "cgroup") {
		t.Skipf("no cgroup can be used here: %s", how)
	}
	i := p.start(t, plainScript, limited(200<<20))
	if process.PID(i) != spare {
		t.Errorf("the instance is %d, forked ahead was %d", process.PID(i), spare)
	}
	checked := 0
	for _, dir := range process.GroupDirs(i) {
		members, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		if err != nil || strings.TrimSpace(string(members)) != fmt.Sprint(spare) {
			t.Errorf("%s has %q (%v)", dir, members, err)
		}
		for _, file := range []string{"memory.max", "memory.limit_in_bytes"} {
			if text, err := os.ReadFile(filepath.Join(dir, file)); err == nil {
				checked++
				if got := strings.TrimSpace(string(text)); got != fmt.Sprint(200<<20) {
					t.Errorf("%s holds %s", file, got)
				}
			}
		}
	}
	if checked != 1 {
		t.Errorf("%d limits of memory", checked)
	}
	process.Spares(p.runtime)
	if i := p.start(t, plainScript); !process.Forked(i) || len(process.GroupDirs(i)) != 0 {
		t.Errorf("one without limits: forked %v, in %v", process.Forked(i), process.GroupDirs(i))
	}
}

// What waits costs a machine little: its pages are its zygote's, but for those
// that it has written to.
func TestForkedAheadCostsLittleAtRest(t *testing.T) {
	_, spare := readied(t, plainScript)
	if held := rollup(t, spare, "Private_Dirty:"); held == 0 || held > 6<<10 {
		t.Errorf("it has %d kB of its own", held)
	}
}
