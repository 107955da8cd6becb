package operation_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"lapis/fault"
	"lapis/operation"
	"lapis/store"
	"lapis/store/memory"
)

// notes is what the operations of the tests write when they end.
var notes = store.Table[string]{Name: "note"}

func runner(st store.Store, kinds map[string]operation.Kind) *operation.Runner {
	return operation.New(operation.Config{Store: st, Kinds: kinds, Now: time.Now, Rand: rand.Reader, Log: slog.New(slog.DiscardHandler)})
}

// begin creates and launches an operation of the kind "work".
func begin(t *testing.T, st store.Store, r *operation.Runner) operation.Operation {
	t.Helper()
	var op operation.Operation
	err := st.Update(t.Context(), func(tx store.Tx) (err error) {
		op, err = r.Create(tx, operation.Operation{Kind: "work", Target: "/subscriptions/s", Caller: "c", Input: []byte(`{"n":1}`)})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	r.Launch(op)
	return op
}

func note(t *testing.T, st store.Store) string {
	t.Helper()
	text := ""
	err := st.View(t.Context(), func(tx store.Reader) error {
		e, err := notes.Get(tx, "end")
		text = e.Value
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func finish(tx store.Tx, op operation.Operation, err error) error {
	text := string(op.Status)
	if err != nil {
		text += " " + fault.From(err).Code
	}
	_, failed := notes.Put(tx, "end", text, store.Any)
	return failed
}

func TestSucceededIsWrittenWithItsResult(t *testing.T) {
	st := memory.New()
	gate, reported := make(chan struct{}), make(chan struct{})
	r := runner(st, map[string]operation.Kind{"work": {Finish: finish, Run: func(_ context.Context, run *operation.Run) error {
		var in struct{ N int }
		if err := run.Decode(&in); err != nil || in.N != 1 {
			t.Errorf("input %+v: %v", in, err)
		}
		run.Report("half of it")
		close(reported)
		<-gate
		return nil
	}}})
	defer r.Close()
	begun := begin(t, st, r)
	<-reported
	if op, err := r.Get(t.Context(), begun.ID); err != nil || op.Progress != "half of it" || op.Status != operation.Running || note(t, st) != "" {
		t.Errorf("while it runs: %+v %v, note %q", op, err, note(t, st))
	}
	close(gate)
	if err := r.Wait(t.Context(), begun.ID); err != nil {
		t.Fatal(err)
	}
	op, err := r.Get(t.Context(), begun.ID)
	if err != nil || op.Status != operation.Succeeded || op.End.IsZero() || note(t, st) != "Succeeded" {
		t.Errorf("%+v %v, note %q", op, err, note(t, st))
	}
}

func TestFailureKeepsTheFaultAndHidesOthers(t *testing.T) {
	denial := &fault.Denial{Principal: "p", Role: "Reader"}
	known := fault.E(fault.Denied, "Outer", "outside").At("x").With(fault.E(fault.Invalid, "Inner", "inside"))
	known.Denial = denial
	for _, c := range []struct {
		name   string
		run    func() error
		code   string
		hidden string
	}{
		{"fault", func() error { return known }, "Outer", ""},
		{"other error", func() error { return errors.New("password is hunter2") }, "InternalServerError", "hunter2"},
		{"panic", func() error { panic("hunter2") }, "InternalServerError", "hunter2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			st := memory.New()
			r := runner(st, map[string]operation.Kind{"work": {Finish: finish, Run: func(context.Context, *operation.Run) error { return c.run() }}})
			defer r.Close()
			id := begin(t, st, r).ID
			err := r.Wait(t.Context(), id)
			if !fault.HasCode(err, c.code) || note(t, st) != "Failed "+c.code {
				t.Errorf("%v, note %q", err, note(t, st))
			}
			op, err := r.Get(t.Context(), id)
			if err != nil || op.Status != operation.Failed {
				t.Errorf("%+v %v", op, err)
			}
			if c.hidden != "" && strings.Contains(op.Error.Message, c.hidden) {
				t.Errorf("the cause shows: %q", op.Error.Message)
			}
			if c.code == "Outer" {
				f := op.Error.Fault()
				if f.Kind != fault.Denied || f.Target != "x" || len(f.Details) != 1 || f.Details[0].Code != "Inner" || *f.Denial != *denial {
					t.Errorf("kept: %+v", f)
				}
			}
		})
	}
}

func TestWhatTheEndInterruptsRunsAgain(t *testing.T) {
	st := memory.New()
	started := make(chan struct{})
	r := runner(st, map[string]operation.Kind{"work": {Finish: finish, Run: func(ctx context.Context, _ *operation.Run) error {
		close(started)
		<-ctx.Done()
		return context.Cause(ctx)
	}}})
	id := begin(t, st, r).ID
	<-started
	waited := make(chan error, 1)
	go func() { waited <- r.Wait(context.Background(), id) }()
	r.Close()
	if err := <-waited; err == nil {
		t.Error("waiting for an interrupted operation must not look like success")
	}
	if op, err := r.Get(t.Context(), id); err != nil || op.Status.Done() || note(t, st) != "" {
		t.Errorf("after the end: %+v %v, note %q", op, err, note(t, st))
	}

	runs := 0
	var log bytes.Buffer
	next := operation.New(operation.Config{Store: st, Now: time.Now, Rand: rand.Reader, Log: slog.New(slog.NewTextHandler(&log, nil)),
		Kinds: map[string]operation.Kind{"work": {Finish: finish, Run: func(context.Context, *operation.Run) error { runs++; return nil }}}})
	if err := next.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := next.Wait(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	next.Close()
	if runs != 1 || note(t, st) != "Succeeded" || !strings.Contains(log.String(), id) {
		t.Errorf("%d runs, note %q, log %s", runs, note(t, st), &log)
	}
	again := runner(st, map[string]operation.Kind{"work": {Run: func(context.Context, *operation.Run) error { runs++; return nil }}})
	defer again.Close()
	if err := again.Resume(t.Context()); err != nil || runs != 1 {
		t.Errorf("a finished operation runs again: %d %v", runs, err)
	}
}

func TestCancelEndsWhatWorksOnATarget(t *testing.T) {
	st := memory.New()
	started := make(chan struct{})
	r := runner(st, map[string]operation.Kind{"work": {Finish: finish, Run: func(ctx context.Context, _ *operation.Run) error {
		close(started)
		<-ctx.Done()
		return context.Cause(ctx)
	}}})
	defer r.Close()
	id := begin(t, st, r).ID
	<-started
	if err := r.Cancel(t.Context(), "/subscriptions/other", ""); err != nil {
		t.Fatal(err)
	}
	if err := r.Cancel(t.Context(), "/subscriptions/s", id); err != nil { // it does not end itself
		t.Fatal(err)
	}
	if op, err := r.Get(t.Context(), id); err != nil || op.Status != operation.Running {
		t.Fatalf("%+v %v", op, err)
	}
	if err := r.Cancel(t.Context(), "/subscriptions/s", ""); err != nil {
		t.Fatal(err)
	}
	op, err := r.Get(t.Context(), id)
	if err != nil || op.Status != operation.Canceled || op.Error.Code != "OperationCanceled" || note(t, st) != "Canceled OperationCanceled" {
		t.Errorf("%+v %v, note %q", op, err, note(t, st))
	}
}

// What cannot be written as ended has not ended: the store is asked again, and
// what is still not written when the platform stops is open for the next start.
func TestAnEndThatIsNotWrittenIsNoEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memory.New()
		failures := 3
		r := runner(st, map[string]operation.Kind{"work": {
			Run: func(context.Context, *operation.Run) error { return nil },
			Finish: func(store.Tx, operation.Operation, error) error {
				if failures--; failures >= 0 {
					return errors.New("disk full")
				}
				return nil
			},
		}})
		id := begin(t, st, r).ID
		if op, err := r.Get(t.Context(), id); err != nil || op.Status.Done() {
			t.Errorf("before it could be written: %+v %v", op, err)
		}
		if err := r.Wait(t.Context(), id); err != nil {
			t.Error(err)
		}
		failures = 1 << 30
		id = begin(t, st, r).ID
		synctest.Wait()
		r.Close()
		if err := r.Wait(t.Context(), id); err == nil {
			t.Error("it looks like success")
		}
		if op, err := r.Get(t.Context(), id); err != nil || op.Status.Done() {
			t.Errorf("after the stop: %+v %v", op, err)
		}
	})
}

func TestFinishedOperationsAreForgottenAfterADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memory.New()
		kinds := map[string]operation.Kind{"work": {Run: func(context.Context, *operation.Run) error { return nil }}}
		r := runner(st, kinds)
		id := begin(t, st, r).ID
		if err := r.Wait(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		r.Close()
		for _, c := range []struct {
			after time.Duration
			known bool
		}{{23 * time.Hour, true}, {2 * time.Hour, false}} {
			time.Sleep(c.after)
			next := runner(st, kinds)
			if err := next.Resume(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, err := next.Get(t.Context(), id); (err == nil) != c.known || err != nil && !fault.Is(err, fault.NotFound) {
				t.Errorf("after %s: %v", c.after, err)
			}
			next.Close()
		}
	})
}

func TestUnknownKindsAreRefusedBeforeAnythingIsWritten(t *testing.T) {
	st := memory.New()
	r := runner(st, nil)
	defer r.Close()
	err := st.Update(t.Context(), func(tx store.Tx) error {
		_, err := r.Create(tx, operation.Operation{Kind: "nothing"})
		return err
	})
	if err == nil {
		t.Error("taken")
	}
}
