package scoring

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lapis/fault"
)

// busy keeps n requests in the pool until stop.
func busy(t *testing.T, p *Pool, n int) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			for ctx.Err() == nil {
				if _, err := p.Score(context.Background(), request("")); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	return func() { cancel(); all.Wait() }
}

func TestPoolFollowsItsLoadUpFastAndDownSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, scaler := &timed{start: 300 * time.Millisecond, run: 50 * time.Millisecond}, &Scaler{}
		p := timedPool(r, scaler, Scaling{Min: 1, Max: 6, Target: 80, Poll: time.Second})
		if err := p.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		size := func(when string, want int) {
			t.Helper()
			synctest.Wait()
			if s := p.State(); s.Ready != want || s.Instances != want {
				t.Errorf("%s: %d of %d ready, not %d", when, s.Ready, s.Instances, want)
			}
		}
		time.Sleep(10 * time.Minute)
		size("without load", 1)
		stop := busy(t, p, 3)
		time.Sleep(2400 * time.Millisecond)
		size("two seconds under three at a time", 4)
		time.Sleep(5 * time.Minute)
		size("five minutes of the same", 4)
		more := busy(t, p, 30)
		time.Sleep(2400 * time.Millisecond)
		size("under more than it may have", 6)
		more()
		time.Sleep((downAfter - 3) * time.Second)
		size("less for a while", 6)
		time.Sleep(6 * time.Second)
		size("less for long", 4)
		stop()
		time.Sleep(3 * downAfter * time.Second)
		size("in the end", 1)
		if got := int(r.live.Load()); got != 1 {
			t.Errorf("%d instances live", got)
		}
		if log := p.Log().Tail(0); !strings.Contains(log, "scaled from 3 to 4 instances") || !strings.Contains(log, "scaled from 2 to 1 instances") {
			t.Errorf("the log:\n%s", log)
		}
		if err := p.Close(t.Context()); err != nil {
			t.Error(err)
		}
		scaler.Close()
	})
}

func TestIdlePoolGoesToZeroAndComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, scaler := &timed{start: 300 * time.Millisecond, run: time.Millisecond}, &Scaler{}
		var told []bool
		p := timedPool(r, scaler, Scaling{Max: 1, Idle: 5 * time.Minute}, func(c *PoolConfig) {
			c.OnSleep = func(asleep bool) { told = append(told, asleep) }
		})
		if err := p.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		before := runtime.NumGoroutine()
		for round := range 3 {
			time.Sleep(4 * time.Minute)
			if _, err := p.Score(t.Context(), request("")); err != nil {
				t.Error(err)
			}
			time.Sleep(299 * time.Second)
			if s := p.State(); s.Ready != 1 || s.Asleep {
				t.Fatalf("round %d, before its time: %+v", round, s)
			}
			time.Sleep(2 * time.Second)
			synctest.Wait()
			if s := p.State(); !s.Asleep || s.Instances != 0 || r.live.Load() != 0 {
				t.Fatalf("round %d, after five minutes: %+v, %d live", round, s, r.live.Load())
			}
			if now := runtime.NumGoroutine(); round > 0 && now >= before {
				t.Errorf("%d goroutines at zero, %d before", now, before)
			}
			// Many come at once: they share one start, and each waits no longer than for it.
			began, starts := time.Now(), r.started.Load()
			var all sync.WaitGroup
			for range 60 {
				all.Go(func() {
					result, err := p.Score(t.Context(), request(""))
					if err != nil || !result.Cold || result.Queued < 300*time.Millisecond {
						t.Errorf("%+v %v", result, err)
					}
				})
			}
			all.Wait()
			if took := time.Since(began); took > 400*time.Millisecond {
				t.Errorf("back from zero in %v", took)
			}
			if got := r.started.Load() - starts; got != 1 {
				t.Errorf("%d instances were started", got)
			}
		}
		if s := p.State(); s.ColdStarts != 3 || s.LastStart != 300*time.Millisecond || s.FailedStarts != 0 {
			t.Errorf("%+v", s)
		}
		if want := []bool{true, false, true, false, true, false}; !slices.Equal(told, want) {
			t.Errorf("told %v", told)
		}
		if err := p.Close(t.Context()); err != nil {
			t.Error(err)
		}
		scaler.Close()
	})
}

func TestFailedStartFromZeroAnswersWhyAndBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, scaler := &timed{start: 10 * time.Millisecond}, &Scaler{}
		p := timedPool(r, scaler, Scaling{Max: 1})
		p.StartAtZero()
		r.broken.Store(true)
		ask := func() error { _, err := p.Score(t.Context(), request("")); return err }
		for range 5 {
			if err := ask(); !fault.HasCode(err, codeNotReady) || !strings.Contains(err.Error(), "UserScriptInitFailed") {
				t.Fatalf("got %v", err)
			}
			starts := r.started.Load()
			if err := ask(); !fault.HasCode(err, codeNotReady) || !strings.Contains(err.Error(), "tried again in") {
				t.Fatalf("at once: %v", err)
			}
			if r.started.Load() != starts {
				t.Fatal("it did not back off")
			}
			time.Sleep(time.Until(p.retryAt))
		}
		if took := time.Until(p.retryAt.Add(backoffFirst)); took > 2*time.Second {
			t.Errorf("after five failures it backs off %v", took)
		}
		r.broken.Store(false)
		if err := ask(); err != nil {
			t.Error(err)
		}
		if s := p.State(); s.FailedStarts != 5 || s.ColdStarts != 1 || s.Pending != 0 {
			t.Errorf("%+v", s)
		}
		if err := p.Close(t.Context()); err != nil {
			t.Error(err)
		}
		scaler.Close()
	})
}

func TestColdStartHasItsOwnWaitAndQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, scaler := &timed{start: 30 * time.Second}, &Scaler{}
		p := timedPool(r, scaler, Scaling{Max: 1}, func(c *PoolConfig) {
			c.RequestTimeout, c.NotReadyWait, c.ColdWait, c.MaxConcurrent = 5*time.Second, time.Second, 20*time.Second, 1
		})
		p.StartAtZero()
		answers := make(chan error, 2*coldQueue)
		began := time.Now()
		for range 2 * coldQueue {
			go func() { _, err := p.Score(t.Context(), request("")); answers <- err }()
		}
		throttled, late := 0, 0
		for range 2 * coldQueue {
			switch err := <-answers; {
			case fault.Is(err, fault.Throttled):
				throttled++
			case fault.HasCode(err, codeNotReady):
				late++
			default:
				t.Errorf("got %v", err)
			}
		}
		if throttled != coldQueue || late != coldQueue || time.Since(began) != 20*time.Second {
			t.Errorf("%d throttled, %d late after %v", throttled, late, time.Since(began))
		}
		// The start went on, and serves whoever comes then.
		time.Sleep(8 * time.Second)
		if _, err := p.Score(t.Context(), request("")); err != nil {
			t.Error(err)
		}
		big := request(strings.Repeat("x", coldBytes/2+1))
		if err := p.Close(t.Context()); err != nil {
			t.Error(err)
		}
		p = timedPool(r, scaler, Scaling{Max: 1})
		p.StartAtZero()
		for range 2 {
			go func() { _, err := p.Score(t.Context(), big); answers <- err }()
		}
		if err := <-answers; !fault.Is(err, fault.Throttled) {
			t.Errorf("too many bytes: %v", err)
		}
		if err := <-answers; err != nil {
			t.Error(err)
		}
		if err := p.Close(t.Context()); err != nil {
			t.Error(err)
		}
		scaler.Close()
	})
}

func TestPoolAtZeroIsClosedWhileARequestWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &timed{start: time.Second}
		p := timedPool(r, &Scaler{}, Scaling{Max: 1})
		p.StartAtZero()
		answer := make(chan error, 1)
		go func() { _, err := p.Score(t.Context(), request("")); answer <- err }()
		synctest.Wait()
		if err := p.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if err := <-answer; err != nil {
			t.Errorf("the one that waited: %v", err)
		}
		if r.live.Load() != 0 {
			t.Error("an instance outlived its pool")
		}
	})
}

func TestChangedScalingActsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, scaler := &timed{}, &Scaler{}
		p := timedPool(r, scaler, Scaling{})
		if err := p.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		set := func(s Scaling, ready int) {
			t.Helper()
			if err := p.SetScaling(t.Context(), s); err != nil {
				t.Fatal(err)
			}
			if got := p.Ready(); got != ready {
				t.Errorf("%+v: %d ready, not %d", s, got, ready)
			}
		}
		set(Scaling{Min: 3, Max: 5}, 3)
		set(Scaling{Min: 0, Max: 2, Idle: time.Minute}, 2)
		time.Sleep(2 * time.Minute)
		set(Scaling{Min: 0, Max: 4, Idle: time.Minute}, 0) // it may stay where it is
		set(Scaling{Min: 2, Max: 4}, 2)
		time.Sleep(time.Hour)
		set(Scaling{}, 2)
		if err := p.Close(t.Context()); err != nil {
			t.Error(err)
		}
		scaler.Close()
	})
}

// A pool at zero costs its settings. Ten thousand of them are looked after by
// nobody.
func TestTenThousandPoolsAtZeroCostLittle(t *testing.T) {
	const count = 10_000
	scaler, pools := &Scaler{}, make([]*Pool, count)
	goroutines, before := runtime.NumGoroutine(), heap()
	for n := range pools {
		pools[n] = timedPool(&timed{}, scaler, Scaling{Max: 1}, func(c *PoolConfig) { c.Name = fmt.Sprint("endpoint-", n, "/blue") })
		pools[n].StartAtZero()
	}
	each := (heap() - before) / count
	t.Logf("%d bytes for a pool at zero", each)
	if each > 3<<10 {
		t.Errorf("a pool at zero holds %d bytes", each)
	}
	if now := runtime.NumGoroutine(); now > goroutines {
		t.Errorf("%d goroutines, %d before", now, goroutines)
	}
	runtime.KeepAlive(pools)
}

// heap is what is in use.
func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
