package scoring

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"lapis/fault"
)

// warm has the script run often enough that its pool knows it to be fast.
func warm(t *testing.T, p *Pool) {
	t.Helper()
	until(t, "all seats are deep", func() bool {
		for range 20 {
			if _, err := p.Score(t.Context(), request("fast")); err != nil {
				t.Fatal(err)
			}
		}
		p.gate.mu.Lock()
		defer p.gate.mu.Unlock()
		for _, s := range p.gate.seats {
			if depth(s.average) < 4 {
				return false
			}
		}
		return len(p.gate.seats) > 0
	})
}

const moody = `
import os, time
def init(): pass
def run(d):
    if d == "wait":
        print("waits")
        os.read(os.open("valve", os.O_RDONLY), 1)
    if d == "crash": os._exit(9)
    if d == "stuck":
        print("stuck")
        while True: time.sleep(0.01)
    return d
`

func TestSlowRequestDoesNotHoldUpThoseBehindIt(t *testing.T) {
	dir := t.TempDir()
	v := newValve(t, dir)
	p := poolOf(t, dir, moody, func(c *PoolConfig) { c.Instances, c.MaxConcurrent = 2, 64 })
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	warm(t, p)
	stop := load(t, 8, func(ctx context.Context) error { _, err := p.Score(ctx, request("fast")); return err })
	slow := make(chan error)
	go func() { _, err := p.Score(t.Context(), request("wait")); slow <- err }()
	until(t, "the script waits", func() bool { return strings.Contains(p.Log().Tail(0), "waits") })
	stop() // returns when all 8 have had their answers, which one instance gives
	for range 20 {
		scored(t, p, "fast", `"fast"`)
	}
	v.open(t)
	if err := <-slow; err != nil {
		t.Error(err)
	}
}

func TestCrashCostsOnlyTheRequestThatCausedIt(t *testing.T) {
	p := started(t, moody, func(c *PoolConfig) { c.MaxConcurrent = 64 })
	warm(t, p)
	stop := load(t, 8, func(ctx context.Context) error { _, err := p.Score(ctx, request("fast")); return err })
	for n := range 3 {
		if _, err := p.Score(t.Context(), request("crash")); !fault.HasCode(err, codeModelError) {
			t.Errorf("the crash gave %v", err)
		}
		until(t, "it is ready again", func() bool { s := p.State(); return s.Ready == 1 && s.Members[0].Restarts == n+1 })
	}
	stop()
}

func TestStuckRunCostsOnlyItsInstance(t *testing.T) {
	p := started(t, moody, func(c *PoolConfig) {
		c.Instances, c.MaxConcurrent, c.RequestTimeout = 2, 64, 2*time.Second
	})
	warm(t, p)
	stop := load(t, 8, func(ctx context.Context) error { _, err := p.Score(ctx, request("fast")); return err })
	if _, err := p.Score(t.Context(), request("stuck")); !fault.Is(err, fault.Timeout) {
		t.Errorf("got %v", err)
	}
	until(t, "both are ready again", func() bool { s := p.State(); return s.Ready == 2 && s.Members[0].Restarts+s.Members[1].Restarts == 1 })
	stop()
}

func TestRequestBehindASlowOneIsNotRunAfterItsClientHasGone(t *testing.T) {
	dir := t.TempDir()
	v := newValve(t, dir)
	p := poolOf(t, dir, strings.ReplaceAll(moody, "    return d", "    open('seen', 'a').write(d + ' ')\n    return d"), func(c *PoolConfig) { c.MaxConcurrent = 64 })
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	warm(t, p)
	slow := make(chan error)
	go func() { _, err := p.Score(t.Context(), request("wait")); slow <- err }()
	until(t, "one is pending", func() bool { return p.State().Pending == 1 })
	ctx, leave := context.WithCancel(t.Context())
	gone := make(chan error)
	for range 4 {
		go func() { _, err := p.Score(ctx, request("gone")); gone <- err }()
	}
	until(t, "what lay ready has been given back", func() bool {
		p.gate.mu.Lock()
		defer p.gate.mu.Unlock()
		return len(p.gate.waiting) == 4 && p.gate.seats[0].load == 1
	})
	leave()
	for range 4 {
		if err := <-gone; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	}
	v.open(t)
	if err := <-slow; err != nil {
		t.Error(err)
	}
	scored(t, p, "after", `"after"`)
	if seen, err := os.ReadFile(dir + "/seen"); err != nil || strings.Contains(string(seen), "gone") {
		t.Error(fmt.Sprintf("%.100s", seen), err)
	}
}
