package operation

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"lapis/fault"
	"lapis/store"
)

// keep is how long a finished operation can still be asked for.
const keep = 24 * time.Hour

var table = store.Table[Operation]{Name: "operation"}

// Config is what a runner needs. Kinds must be complete before Resume.
type Config struct {
	Store store.Store
	Kinds map[string]Kind
	Now   func() time.Time
	Rand  io.Reader
	Log   *slog.Logger
}

// Runner runs operations, one goroutine each.
type Runner struct {
	Config
	ctx  context.Context
	stop context.CancelCauseFunc
	wg   sync.WaitGroup

	mu      sync.Mutex
	running map[string]*running // by operation id
}

type running struct {
	target   string
	cancel   context.CancelCauseFunc
	done     chan struct{}
	progress string
}

// New returns a runner that runs nothing until Launch or Resume.
func New(cfg Config) *Runner {
	ctx, stop := context.WithCancelCause(context.Background())
	return &Runner{Config: cfg, ctx: ctx, stop: stop, running: map[string]*running{}}
}

// Create records an operation in the caller's transaction. After the
// transaction has committed, the caller launches it; if the platform stops in
// between, Resume does.
func (r *Runner) Create(tx store.Tx, op Operation) (Operation, error) {
	var id [16]byte
	if _, err := io.ReadFull(r.Rand, id[:]); err != nil {
		return Operation{}, err
	}
	if _, ok := r.Kinds[op.Kind]; !ok {
		return Operation{}, fmt.Errorf("no operation of kind %q", op.Kind)
	}
	h := hex.EncodeToString(id[:])
	op.ID = h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
	op.Status, op.Start = NotStarted, r.Now().UTC()
	_, err := table.Put(tx, op.ID, op, store.Absent)
	return op, err
}

// Launch begins a created operation.
func (r *Runner) Launch(op Operation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.running[op.ID] != nil || r.ctx.Err() != nil {
		return
	}
	ctx, cancel := context.WithCancelCause(r.ctx)
	run := &running{target: op.Target, cancel: cancel, done: make(chan struct{})}
	r.running[op.ID] = run
	r.wg.Go(func() {
		defer cancel(nil)
		r.run(ctx, op)
		r.mu.Lock()
		delete(r.running, op.ID)
		r.mu.Unlock()
		close(run.done)
	})
}

// Resume launches every operation that a former run left open, and drops those
// that ended long ago.
func (r *Runner) Resume(ctx context.Context) error {
	var open []Operation
	err := r.Store.Update(ctx, func(tx store.Tx) error {
		open = nil
		entries, err := table.List(tx, "", "", 0)
		if err != nil {
			return err
		}
		for _, e := range entries {
			switch {
			case !e.Value.Status.Done():
				open = append(open, e.Value)
			case r.Now().Sub(e.Value.End) > keep:
				if err := table.Delete(tx, e.Key, store.Any); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, op := range open {
		r.Log.Info("operation goes on after a restart", "kind", op.Kind, "target", op.Target, "operation", op.ID)
		r.Launch(op)
	}
	return nil
}

// Get returns an operation as it stands.
func (r *Runner) Get(ctx context.Context, id string) (Operation, error) {
	var op Operation
	err := r.Store.View(ctx, func(tx store.Reader) error {
		e, err := table.Get(tx, id)
		op = e.Value
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return op, fault.E(fault.NotFound, "NotFound", "There is no operation %q; finished ones are kept for %s.", id, keep)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if run := r.running[id]; run != nil && !op.Status.Done() {
		op.Status, op.Progress = Running, run.progress
	}
	return op, err
}

// Cancel ends every operation that works on target and waits until they have
// ended, but for the one named except.
func (r *Runner) Cancel(ctx context.Context, target, except string) error {
	r.mu.Lock()
	var waiting []chan struct{}
	for id, run := range r.running {
		if run.target == target && id != except {
			run.cancel(ErrCanceled)
			waiting = append(waiting, run.done)
		}
	}
	r.mu.Unlock()
	for _, done := range waiting {
		select {
		case <-done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// Close interrupts what runs, and waits for it. Open operations stay open.
func (r *Runner) Close() {
	r.mu.Lock()
	r.stop(errStopping)
	r.mu.Unlock()
	r.wg.Wait()
}

func (r *Runner) report(id, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if run := r.running[id]; run != nil {
		run.progress = text
	}
}

// run executes an operation and writes its end.
func (r *Runner) run(ctx context.Context, op Operation) {
	kind := r.Kinds[op.Kind]
	if kind.Run == nil {
		r.Log.Error("operation has no handler", "kind", op.Kind, "operation", op.ID)
		return
	}
	err := r.call(ctx, kind, op)
	if errors.Is(context.Cause(ctx), errStopping) && err != nil {
		return // it stays open; the next start runs it again
	}
	op.Status = Succeeded
	if err != nil {
		op.Status, op.Error = Failed, FailureOf(err)
		if errors.Is(context.Cause(ctx), ErrCanceled) {
			op.Status = Canceled
			err = fault.E(fault.Conflict, "OperationCanceled", "The operation was cancelled because %s is being deleted.", op.Target)
			op.Error = FailureOf(err)
		}
		r.Log.Warn("operation did not succeed", "kind", op.Kind, "target", op.Target, "operation", op.ID, "error", err)
	}
	op.End = r.Now().UTC()
	r.finish(ctx, kind, op, err)
}

// finish writes the end of an operation. A store that cannot write, such as one
// on a full disk, is asked again until the platform stops; the next start then
// runs the operation anew.
func (r *Runner) finish(ctx context.Context, kind Kind, op Operation, err error) {
	for wait := time.Second; ; wait = min(2*wait, time.Minute) {
		end := r.Store.Update(context.WithoutCancel(ctx), func(tx store.Tx) error {
			if kind.Finish != nil {
				if err := kind.Finish(tx, op, err); err != nil {
					return err
				}
			}
			_, err := table.Put(tx, op.ID, op, store.Any)
			return err
		})
		if end == nil {
			return
		}
		r.Log.Error("the end of an operation could not be written", "kind", op.Kind, "operation", op.ID, "error", end, "next", wait)
		select {
		case <-r.ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// call runs a kind's work. A panic fails the one operation: it would else end
// the platform, and again at every start that resumes the operation.
func (r *Runner) call(ctx context.Context, kind Kind, op Operation) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			r.Log.Error("operation panicked", "kind", op.Kind, "operation", op.ID, "cause", cause, "stack", string(debug.Stack()))
			err = fault.Wrap(fmt.Errorf("panic: %v", cause), "running the operation")
		}
	}()
	return kind.Run(ctx, &Run{Operation: op, runner: r})
}

// Wait returns when an operation has ended: nil, or why it failed.
func (r *Runner) Wait(ctx context.Context, id string) error {
	r.mu.Lock()
	run := r.running[id]
	r.mu.Unlock()
	if run != nil {
		select {
		case <-run.done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	op, err := r.Get(ctx, id)
	if err != nil {
		return err
	}
	if f := op.Error.Fault(); f != nil {
		return f
	}
	if !op.Status.Done() {
		return fmt.Errorf("operation %s was interrupted: %w", id, errStopping)
	}
	return nil
}
