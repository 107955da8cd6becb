package environment

import (
	"context"
	"fmt"
	"io"
	"sync"
)

// flight is one build in progress, shared by all who asked for it.
type flight struct {
	cancel context.CancelCauseFunc

	mu      sync.Mutex
	waiters int
	lines   []string
	done    bool
	result  Built
	err     error
	changed chan struct{} // closed and replaced at every change
}

func newFlight(cancel context.CancelCauseFunc) *flight {
	return &flight{cancel: cancel, changed: make(chan struct{})}
}

func (f *flight) update(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *flight) emit(line string) { f.update(func() { f.lines = append(f.lines, line) }) }

func (f *flight) finish(b Built, err error) {
	f.update(func() { f.done, f.result, f.err = true, b, err })
}

// wait copies lines to log until the build is done or ctx ends. It is the
// asker's own goroutine that writes, so a slow log holds up nobody else. When
// the last asker leaves, the build is cancelled.
func (f *flight) wait(ctx context.Context, log io.Writer, from int) (Built, error) {
	for {
		f.mu.Lock()
		lines, done, changed := f.lines[from:], f.done, f.changed
		f.mu.Unlock()
		for _, line := range lines {
			_, _ = fmt.Fprintln(log, line)
		}
		from += len(lines)
		if done {
			return f.result, f.err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return Built{}, context.Cause(ctx)
		}
	}
}

// flights keeps at most one flight per hash.
type flights struct {
	mu  sync.Mutex
	all map[string]*flight
	wg  sync.WaitGroup
}

// do joins the build of the hash or starts it.
func (fs *flights) do(ctx context.Context, hash string, log io.Writer, build func(context.Context, func(string)) (Built, error)) (Built, error) {
	fs.mu.Lock()
	f, running := fs.all[hash]
	from := 0
	if running {
		f.mu.Lock()
		f.waiters++
		from = len(f.lines)
		f.mu.Unlock()
	} else {
		own, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
		f = newFlight(cancel)
		f.waiters = 1
		if fs.all == nil {
			fs.all = map[string]*flight{}
		}
		fs.all[hash] = f
		fs.wg.Go(func() {
			b, err := build(own, f.emit)
			fs.mu.Lock()
			if fs.all[hash] == f {
				delete(fs.all, hash)
			}
			fs.mu.Unlock()
			f.finish(b, err)
			cancel(nil)
		})
	}
	fs.mu.Unlock()
	if running {
		_, _ = fmt.Fprintln(log, "The same environment is being built already: its progress follows.")
	}
	defer fs.leave(hash, f, ctx)
	return f.wait(ctx, log, from)
}

// leave counts one asker out. A build that nobody waits for is cancelled, and
// its place is freed at once, so that the next asker starts afresh.
func (fs *flights) leave(hash string, f *flight, ctx context.Context) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.waiters--
	if f.waiters == 0 && !f.done {
		f.cancel(context.Cause(ctx))
		if fs.all[hash] == f {
			delete(fs.all, hash)
		}
	}
}
