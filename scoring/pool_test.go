package scoring

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"lapis/fault"
	"lapis/worker"
)

func TestPoolAnswers(t *testing.T) {
	p := started(t, echo, func(c *PoolConfig) { c.Instances = 2 })
	if p.Ready() != 2 {
		t.Errorf("%d are ready", p.Ready())
	}
	scored(t, p, "a", `"a"`)
	for _, m := range p.State().Members {
		if m.Phase != Ready || m.Restarts != 0 {
			t.Errorf("got %+v", m)
		}
	}
}

func TestStartFailsAtOnceWithTheScriptsOwnError(t *testing.T) {
	p := poolOf(t, t.TempDir(), "def init(): raise PermissionError('AuthorizationPermissionMismatch: no role')\ndef run(d): pass\n",
		func(c *PoolConfig) { c.Instances = 3 })
	began := time.Now()
	err := p.Start(t.Context())
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
	var exit *worker.ExitError
	if !errors.As(err, &exit) || exit.Code != worker.CodeInitFailed || !strings.Contains(exit.Message, "AuthorizationPermissionMismatch") {
		t.Errorf("got %v", err)
	}
	if log := p.Log().Tail(0); !strings.Contains(log, "in init") || strings.Contains(log, "canary-4711") {
		t.Errorf("the log:\n%s", log)
	}
	if _, err := p.Score(t.Context(), request("")); !errors.Is(err, errSealed) {
		t.Errorf("a failed pool answered %v", err)
	}
}

func TestStartEndsWithItsContext(t *testing.T) {
	p := poolOf(t, t.TempDir(), "import time\ndef init(): time.sleep(600)\ndef run(d): pass\n")
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := p.Start(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestReleaseFollowsEveryStart(t *testing.T) {
	var taken, released atomic.Int32
	p := poolOf(t, t.TempDir(), "import os\ndef init(): pass\ndef run(d): os._exit(1)\n", func(c *PoolConfig) {
		plain := c.Spec
		c.Spec = func(ctx context.Context, index int) (worker.Spec, func(), error) {
			taken.Add(1)
			spec, _, err := plain(ctx, index)
			return spec, func() { released.Add(1) }, err
		}
	})
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Score(t.Context(), request("")); !fault.HasCode(err, codeModelError) {
		t.Errorf("got %v", err)
	}
	until(t, "the instance is ready again", func() bool { return taken.Load() == 2 && p.Ready() == 1 })
	if released.Load() != 1 {
		t.Errorf("%d releases after one end", released.Load())
	}
	if err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if taken.Load() != released.Load() {
		t.Errorf("%d taken, %d released", taken.Load(), released.Load())
	}
}

func TestCrashIsFollowedByARestart(t *testing.T) {
	var log lockedBuffer
	p := started(t, "import os\ndef init(): print('init runs')\ndef run(d):\n    if d == 'crash': os.abort()\n    return d\n",
		func(c *PoolConfig) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	for range 2 {
		if _, err := p.Score(t.Context(), request("crash")); !fault.HasCode(err, codeModelError) {
			t.Errorf("the crash gave %v", err)
		}
		scored(t, p, "a", `"a"`)
	}
	until(t, "init() has run three times", func() bool { return strings.Count(p.Log().Tail(0), "init runs") == 3 })
	if s := p.State(); s.Members[0].Restarts != 2 || s.Members[0].LastErr == nil {
		t.Errorf("got %+v", s)
	}
	var waits []string
	for _, m := range regexp.MustCompile(`restart_in=(\S+)`).FindAllStringSubmatch(log.String(), -1) {
		waits = append(waits, m[1])
	}
	if len(waits) != 2 || waits[0] != "0s" || waits[1] == "0s" {
		t.Errorf("it waited %q, where the first restart is at once and the next is not", waits)
	}
}

func TestKilledIdleInstanceCostsNoRequest(t *testing.T) {
	p := started(t, "import os\ndef init(): pass\ndef run(d): return os.getpid()\n")
	result, err := p.Score(t.Context(), request(""))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(string(result.Body))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	until(t, "the process has gone", func() bool {
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		return err != nil || strings.Contains(string(stat), ") Z ")
	})
	if _, err := p.Score(t.Context(), request("")); err != nil {
		t.Errorf("the next request gave %v", err)
	}
}

func TestKilledBusyInstanceCostsOnlyItsOwnRequest(t *testing.T) {
	dir := t.TempDir()
	newValve(t, dir)
	p := poolOf(t, dir, strings.ReplaceAll(valveScript, `print("waits")`, `print("waits", os.getpid())`), func(c *PoolConfig) { c.Instances, c.MaxConcurrent = 2, 8 })
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	busy := make(chan error)
	go func() { _, err := p.Score(t.Context(), request("wait")); busy <- err }()
	var pid int
	until(t, "the script runs", func() bool {
		_, after, found := strings.Cut(p.Log().Tail(0), "waits ")
		number, _, ended := strings.Cut(after, "\n")
		pid, _ = strconv.Atoi(number)
		return found && ended
	})
	stop := load(t, 2, func(ctx context.Context) error { _, err := p.Score(ctx, request("x")); return err })
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := <-busy; !fault.HasCode(err, codeModelError) {
		t.Errorf("the request in the killed instance got %v", err)
	}
	until(t, "both are ready again", func() bool { s := p.State(); return s.Ready == 2 && s.Members[0].Restarts+s.Members[1].Restarts == 1 })
	stop()
}

func TestStuckRunTimesOutAndTheNextRequestWorks(t *testing.T) {
	p := started(t, "import time\ndef init(): pass\ndef run(d):\n    while d == 'stuck': time.sleep(0.01)\n    return d\n",
		func(c *PoolConfig) { c.RequestTimeout = 700 * time.Millisecond; c.MaxConcurrent = 2 })
	if _, err := p.Score(t.Context(), request("stuck")); !fault.Is(err, fault.Timeout) {
		t.Errorf("got %v", err)
	}
	until(t, "a new instance answers", func() bool {
		result, err := p.Score(t.Context(), request("a"))
		return err == nil && string(result.Body) == `"a"`
	})
	until(t, "the log shows why", func() bool {
		log := p.Log().Tail(0)
		return strings.Contains(log, "has not answered request id-1 in 700ms") && strings.Contains(log, "time.sleep(0.01)")
	})
}

func TestOverflowIsThrottled(t *testing.T) {
	dir := t.TempDir()
	v := newValve(t, dir)
	p := poolOf(t, dir, valveScript)
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	answers := make(chan error, 2)
	for range 2 {
		go func() { _, err := p.Score(t.Context(), request("wait")); answers <- err }()
	}
	until(t, "two are pending", func() bool { return p.State().Pending == 2 })
	if _, err := p.Score(t.Context(), request("late")); !fault.Is(err, fault.Throttled) {
		t.Errorf("the third gave %v", err)
	}
	v.open(t)
	v.open(t)
	for range 2 {
		if err := <-answers; err != nil {
			t.Error(err)
		}
	}
	scored(t, p, "after", `["wait", "wait", "after"]`)
}

func TestRequestWhoseClientHasGoneIsNotRun(t *testing.T) {
	dir := t.TempDir()
	v := newValve(t, dir)
	p := poolOf(t, dir, valveScript, func(c *PoolConfig) { c.MaxConcurrent = 4 })
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	first, second := make(chan error), make(chan error)
	go func() { _, err := p.Score(t.Context(), request("wait")); first <- err }()
	until(t, "the first is pending", func() bool { return p.State().Pending == 1 })
	ctx, leave := context.WithCancel(t.Context())
	go func() { _, err := p.Score(ctx, request("gone")); second <- err }()
	until(t, "the second is pending", func() bool { return p.State().Pending == 2 })
	leave()
	if err := <-second; !errors.Is(err, context.Canceled) {
		t.Errorf("the one who left got %v", err)
	}
	v.open(t)
	if err := <-first; err != nil {
		t.Error(err)
	}
	scored(t, p, "after", `["wait", "after"]`)
}

func TestClientGoneWhileRunningDoesNotCostTheInstance(t *testing.T) {
	dir := t.TempDir()
	v := newValve(t, dir)
	p := poolOf(t, dir, valveScript)
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, leave := context.WithCancel(t.Context())
	gone := make(chan error)
	go func() { _, err := p.Score(ctx, request("wait")); gone <- err }()
	until(t, "the script runs", func() bool { return strings.Contains(p.Log().Tail(0), "waits") })
	leave()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	v.open(t)
	scored(t, p, "after", `["wait", "after"]`)
}

func TestFrozenInstanceIsReplaced(t *testing.T) {
	p := started(t, "import os\ndef init(): pass\ndef run(d): return os.getpid()\n", func(c *PoolConfig) {
		c.Liveness = Probe{InitialDelay: time.Millisecond, Period: 20 * time.Millisecond, Timeout: 200 * time.Millisecond, FailureThreshold: 2}
	})
	result, err := p.Score(t.Context(), request(""))
	if err != nil {
		t.Fatal(err)
	}
	pid, _ := strconv.Atoi(string(result.Body))
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	until(t, "another process answers", func() bool {
		s := p.State()
		return s.Ready == 1 && s.Members[0].Restarts == 1
	})
	if err := p.State().Members[0].LastErr; err == nil || !strings.Contains(err.Error(), "liveness probe failed 2 times") {
		t.Errorf("the cause is %v", err)
	}
}

func TestRequestFindsNoReadyInstance(t *testing.T) {
	p := started(t, "import os\nif os.path.exists('broken'): raise ValueError('broken by now')\ndef init(): pass\ndef run(d):\n    open('broken', 'w')\n    os._exit(1)\n",
		func(c *PoolConfig) { c.NotReadyWait = 300 * time.Millisecond })
	if _, err := p.Score(t.Context(), request("")); !fault.HasCode(err, codeModelError) {
		t.Errorf("got %v", err)
	}
	until(t, "the restart has failed", func() bool { return p.State().Members[0].Restarts > 0 && p.State().Members[0].Phase == Waiting })
	if _, err := p.Score(t.Context(), request("")); !fault.HasCode(err, codeNotReady) || !strings.Contains(err.Error(), worker.CodeImportError) {
		t.Errorf("got %v", err)
	}
}

func TestScaleUpAndDownLosesNothing(t *testing.T) {
	p := started(t, "import time\ndef init(): pass\ndef run(d):\n    time.sleep(0.002)\n    return d\n", func(c *PoolConfig) { c.MaxConcurrent = 8 })
	stop := load(t, 4, func(ctx context.Context) error { _, err := p.Score(ctx, request("x")); return err })
	for _, n := range []int{3, 1, 2} {
		if err := p.Scale(t.Context(), n); err != nil {
			t.Error(err)
		}
		if got := p.State(); got.Instances != n || got.Ready != n {
			t.Errorf("after Scale(%d): %+v", n, got)
		}
	}
	stop()
}

func TestFailedScaleKeepsTheSize(t *testing.T) {
	dir := t.TempDir()
	p := poolOf(t, dir, "import os\ndef init():\n    if os.path.exists('no-more'): raise MemoryError('no more')\ndef run(d): return d\n")
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "no-more"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var exit *worker.ExitError
	if err := p.Scale(t.Context(), 3); !errors.As(err, &exit) {
		t.Errorf("got %v", err)
	}
	if got := p.State(); got.Instances != 1 || got.Ready != 1 {
		t.Errorf("got %+v", got)
	}
	scored(t, p, "a", `"a"`)
}

func TestCloseFinishesWhatIsPending(t *testing.T) {
	dir := t.TempDir()
	v := newValve(t, dir)
	p := poolOf(t, dir, valveScript)
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	answered, closed := make(chan error), make(chan error)
	go func() { _, err := p.Score(t.Context(), request("wait")); answered <- err }()
	until(t, "it is pending", func() bool { return p.State().Pending == 1 })
	go func() { closed <- p.Close(t.Context()) }()
	v.open(t)
	if err := <-answered; err != nil {
		t.Errorf("the pending request got %v", err)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if _, err := p.Score(t.Context(), request("")); !errors.Is(err, errSealed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestCloseGivesUpWithItsContext(t *testing.T) {
	dir := t.TempDir()
	newValve(t, dir)
	p := poolOf(t, dir, valveScript)
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	answered := make(chan error)
	go func() { _, err := p.Score(t.Context(), request("wait")); answered <- err }()
	until(t, "it is pending", func() bool { return p.State().Pending == 1 })
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := p.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("closing gave %v", err)
	}
	if err := <-answered; !fault.Is(err, fault.ModelFailed) {
		t.Errorf("the request got %v", err)
	}
}

func TestBackoffGrowsToThirtySeconds(t *testing.T) {
	for _, c := range []struct {
		n         int
		low, high time.Duration
	}{
		{0, 50 * time.Millisecond, 100 * time.Millisecond},
		{1, 100 * time.Millisecond, 200 * time.Millisecond},
		{8, 12800 * time.Millisecond, 25600 * time.Millisecond},
		{9, 15 * time.Second, 30 * time.Second},
		{1000, 15 * time.Second, 30 * time.Second},
	} {
		if got := backoff(c.n, 0); got != c.low {
			t.Errorf("backoff(%d, 0) is %v, not %v", c.n, got, c.low)
		}
		if got := backoff(c.n, 0.999999); got <= c.low || got > c.high {
			t.Errorf("backoff(%d, 1) is %v, not up to %v", c.n, got, c.high)
		}
	}
}

// load keeps n clients busy until the returned function is called, which
// fails the test if any request failed, or none was made.
func load(t *testing.T, n int, call func(context.Context) error) (stop func()) {
	t.Helper()
	done := make(chan struct{})
	results := make(chan error, n)
	var count atomic.Int64
	for range n {
		go func() {
			for {
				select {
				case <-done:
					results <- nil
					return
				default:
				}
				count.Add(1)
				if err := call(t.Context()); err != nil {
					results <- err
					return
				}
			}
		}()
	}
	return func() {
		t.Helper()
		close(done)
		for range n {
			if err := <-results; err != nil {
				t.Errorf("a request failed: %v", err)
			}
		}
		if count.Load() == 0 {
			t.Error("no request was made")
		}
	}
}
