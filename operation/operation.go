// Package operation runs long-running operations that survive a restart.
//
// An operation is a record. It is created in the transaction that accepts the
// work, runs in steps that may be repeated, and ends in the transaction that
// writes its result: "Succeeded" is on disk only after the work is done. A run
// that the platform's end interrupts stays open and is run again at the next
// start, so every step must be idempotent.
//
//	NotStarted ──▶ Running ──▶ Succeeded
//	                  │   └──▶ Failed
//	                  └──────▶ Canceled   (its target is being deleted)
package operation

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"lapis/fault"
	"lapis/store"
)

// Status is the state of an operation, in ARM's words.
type Status string

// The states. The last three are terminal.
const (
	NotStarted Status = "NotStarted"
	Running    Status = "Running"
	Succeeded  Status = "Succeeded"
	Failed     Status = "Failed"
	Canceled   Status = "Canceled"
)

// Done reports whether the state is terminal.
func (s Status) Done() bool { return s == Succeeded || s == Failed || s == Canceled }

// Operation is the record.
type Operation struct {
	ID       string          `json:"id"`
	Kind     string          `json:"kind"`
	Target   string          `json:"target"` // ARM id of the resource it works on
	Caller   string          `json:"caller"` // object id of who asked for it
	Status   Status          `json:"status"`
	Input    json.RawMessage `json:"input,omitempty"`
	Progress string          `json:"progress,omitempty"` // what it is doing now, for people
	Error    *Failure        `json:"error,omitempty"`
	Start    time.Time       `json:"start"`
	End      time.Time       `json:"end,omitzero"`
}

// Failure is a fault in the form in which it is kept.
type Failure struct {
	Kind    fault.Kind    `json:"kind"`
	Code    string        `json:"code"`
	Message string        `json:"message"`
	Target  string        `json:"target,omitempty"`
	Details []*Failure    `json:"details,omitempty"`
	Denial  *fault.Denial `json:"denial,omitempty"`
}

// FailureOf keeps what a client may see of err.
func FailureOf(err error) *Failure {
	if err == nil {
		return nil
	}
	return failure(fault.From(err))
}

func failure(f *fault.Error) *Failure {
	kept := &Failure{Kind: f.Kind, Code: f.Code, Message: f.Message, Target: f.Target, Denial: f.Denial}
	for _, d := range f.Details {
		kept.Details = append(kept.Details, failure(d))
	}
	return kept
}

// Fault gives the failure back as a fault; nil for nil.
func (f *Failure) Fault() *fault.Error {
	if f == nil {
		return nil
	}
	e := &fault.Error{Kind: f.Kind, Code: f.Code, Message: f.Message, Target: f.Target, Denial: f.Denial}
	for _, d := range f.Details {
		e.Details = append(e.Details, d.Fault())
	}
	return e
}

// Kind is how operations of one kind run and end.
type Kind struct {
	// Run does the work. It may be called again for an operation that was
	// interrupted. Its context ends when the operation is cancelled or the platform stops.
	Run func(ctx context.Context, run *Run) error
	// Finish writes the outcome in the transaction that ends the operation:
	// err is what Run returned. It may be nil.
	Finish func(tx store.Tx, op Operation, err error) error
}

// Run is one execution of an operation, as its Kind sees it.
type Run struct {
	Operation
	runner *Runner
}

// Decode reads the operation's input.
func (r *Run) Decode(into any) error { return json.Unmarshal(r.Input, into) }

// Report says what the operation does now; it is shown, not kept over a restart.
func (r *Run) Report(text string) { r.runner.report(r.ID, text) }

// Causes of a run's context ending.
var (
	ErrCanceled = errors.New("the operation was cancelled because its target is being deleted")
	errStopping = errors.New("the platform is stopping")
)
