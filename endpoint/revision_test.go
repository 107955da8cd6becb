package endpoint

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"lapis/fault"
	"lapis/identity"
	"lapis/operation"
	"lapis/resource"
	"lapis/worker"
)

func denialOf(principal, action string) fault.Denial {
	return fault.Denial{Principal: principal, Action: action, Scope: "/s", Role: "Reader of " + action, RoleScope: "/r", Remedy: "az role assignment create for " + action}
}

// running is a revision that runs as a principal, as far as denials know it.
func (w *world) running(principal string) *revision {
	r := &revision{console: consoleOf(w.t)}
	r.plan.Store(&plan{principals: []identity.Principal{{ObjectID: principal}}})
	w.svc.mu.Lock()
	w.svc.known[r] = struct{}{}
	w.svc.mu.Unlock()
	w.t.Cleanup(func() { w.svc.forget(r) })
	return r
}

// A refusal shows in the logs of those whom it concerns, and in no other's.
func TestDenialShowsInTheLogsOfItsIdentityAlone(t *testing.T) {
	w := newWorld(t)
	one, same, other := w.running("one"), w.running("ONE"), w.running("two")
	w.svc.Denied(denialOf("one", "read"))
	w.svc.Denied(denialOf("nobody", "write"))
	for _, r := range []*revision{one, same} {
		text := tail(r.console.path, 0)
		for _, word := range []string{"AuthorizationPermissionMismatch", "one", "read", "Reader of read", "az role assignment create for read"} {
			if !strings.Contains(text, word) {
				t.Errorf("the log does not say %q: %s", word, text)
			}
		}
		if strings.Contains(text, "write") {
			t.Errorf("the log shows what another was refused: %s", text)
		}
	}
	if text := tail(other.console.path, 0); text != "" {
		t.Errorf("the log of another identity shows %s", text)
	}
	if found := w.svc.denials.since("nobody", time.Time{}); found != nil {
		t.Errorf("refusals of principals that run nothing are kept: %v", found)
	}
}

func TestDenialsAreThoseOfTheAttempt(t *testing.T) {
	var d denials
	began := time.Unix(1000, 0)
	d.add(denialOf("p", "before"), began.Add(-time.Second))
	for range 3 {
		d.add(denialOf("p", "during"), began)
	}
	d.add(denialOf("q", "other"), began)
	found := d.since("p", began)
	if len(found) != 1 || found[0].Action != "during" {
		t.Errorf("found %+v", found)
	}
	for i := range 1000 {
		d.add(denialOf("p", fmt.Sprint(i)), began)
	}
	if found := d.since("p", began); len(found) != keepDenials || found[len(found)-1].Action != "999" {
		t.Errorf("%d are kept, want the last %d", len(found), keepDenials)
	}
	d.forget("p")
	if found := d.since("p", time.Time{}); found != nil || d.since("q", began) == nil {
		t.Errorf("after forgetting: %v", found)
	}
}

func TestCrashSaysItsCauseAndWhatWasLacking(t *testing.T) {
	w := newWorld(t)
	r := w.running("one")
	began := time.Now()
	w.svc.denials.add(denialOf("one", "earlier"), began.Add(-time.Minute))
	exit := &worker.ExitError{Code: worker.CodeInitFailed, Type: "HTTPError", Message: "init() raised", Traceback: "line 7"}
	plain := fault.From(w.svc.crashed(r.plan.Load(), exit, began))
	if plain.Code != "ResourceNotReady" || plain.Kind != fault.Invalid || len(plain.Details) != 1 || plain.Details[0].Code != worker.CodeInitFailed ||
		!strings.Contains(plain.Message, "HTTPError: init() raised") || !strings.Contains(plain.Details[0].Message, "line 7") || plain.Denial != nil {
		t.Errorf("a crash: %+v", plain)
	}
	w.svc.Denied(denialOf("one", "now"))
	lacking := fault.From(w.svc.crashed(r.plan.Load(), exit, began))
	if len(lacking.Details) != 2 || lacking.Details[1].Code != "AuthorizationPermissionMismatch" || lacking.Denial == nil || lacking.Denial.Action != "now" ||
		!strings.Contains(lacking.Message, "az role assignment create for now") || strings.Contains(lacking.Message, "earlier") {
		t.Errorf("a crash for want of a role: %+v", lacking)
	}
	if f := fault.From(w.svc.crashed(r.plan.Load(), fmt.Errorf("waiting: %w", context.DeadlineExceeded), began)); f.Code != "ResourceNotReady" {
		t.Errorf("not ready in time: %+v", f)
	}
	if err := errors.New("ours"); !errors.Is(w.svc.crashed(r.plan.Load(), err, began), err) {
		t.Error("another failure is not handed on")
	}
}

// The record of a deployment takes a revision only from the operation that owns
// it now, and a revision comes back to life only while the record names it.
func TestRecordTakesTheLatestRevisionOnly(t *testing.T) {
	w := newWorld(t)
	_, blue := w.endpoint("recorded")
	w.modify(blue, func(r *resource.Resource) { r.Operation = "op-2" })
	of := func(operation string) *plan {
		return &plan{placement: placement{Revision: operation, Python: "/p"}, deployment: w.get(blue)}
	}
	if err := w.svc.keep(t.Context(), of("op-1")); !errors.Is(err, operation.ErrCanceled) || len(w.get(blue).Private) != 0 {
		t.Errorf("a superseded one is kept: %v %s", err, w.get(blue).Private)
	}
	before := of("op-2")
	if err := w.svc.keep(t.Context(), before); err != nil {
		t.Fatal(err)
	}
	loaded, err := w.svc.load(t.Context(), w.get(blue))
	if err != nil || loaded.Revision != "op-2" || loaded.Python != "/p" {
		t.Errorf("kept: %+v %v", loaded, err)
	}
}

// A refused revision leaves the one that serves where it is.
func TestRefusedRevisionReplacesNothing(t *testing.T) {
	w := newWorld(t)
	_, blue := w.endpoint("swapped")
	next := newRevision(&plan{deployment: w.get(blue)})
	refusal := errors.New("no")
	refuse := func(context.Context, *plan) error { return refusal }
	if _, err := w.svc.swap(t.Context(), next, refuse); !errors.Is(err, refusal) || len(w.svc.live) != 0 {
		t.Errorf("swapped: %v, %d live", err, len(w.svc.live))
	}
}

func TestWhatACrashLeftBehindIsSwept(t *testing.T) {
	w := newWorld(t)
	id, blue := w.endpoint("swept")
	endpoint := w.get(id)
	made := func(parts ...string) string {
		t.Helper()
		dir := filepath.Join(append([]string{w.svc.Dir}, parts...)...)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	made("0123456789abcdef", "blue", "logs")
	made(endpoint.UID, "blue", "logs")
	made(endpoint.UID, "blue", "now")
	made(endpoint.UID, "blue", "interrupted", "azureml-app")
	w.modify(blue, func(r *resource.Resource) { // its operation goes on by itself
		r.Private, r.Operation, r.State = []byte(`{"revision":"now"}`), "now", resource.Updating
	})
	if err := w.svc.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	names := func(dir string) (found []string) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Error(err)
		}
		for _, e := range entries {
			found = append(found, e.Name())
		}
		return found
	}
	if found := names(w.svc.Dir); !slices.Equal(found, []string{endpoint.UID}) {
		t.Errorf("folders: %v", found)
	}
	if found := names(filepath.Join(w.svc.Dir, endpoint.UID, "blue")); !slices.Equal(found, []string{"logs", "now"}) {
		t.Errorf("revisions: %v", found)
	}
}

// The user's variables win over the platform's, but not over the token
// endpoint's: else an instance could be led to another's.
func TestVariablesOfTheUserComeAfterThePlatforms(t *testing.T) {
	w := newWorld(t)
	id, blue := w.endpoint("varied")
	w.svc.InstanceEnv = []string{"HTTPS_PROXY=platform"}
	r := &plan{endpoint: w.get(id), deployment: w.get(blue), placement: placement{Python: "/env/bin/python", Models: "azureml-models/m/1"}}
	r.spec.Code = &codeConfig{Script: "score.py"}
	r.spec.Variables = map[string]string{"HTTPS_PROXY": "user", "AZUREML_MODEL_DIR": "user"}
	env := w.svc.environ(r, "/home", "/app")
	for _, name := range []string{"HTTPS_PROXY=", "AZUREML_MODEL_DIR="} {
		last := ""
		for _, v := range env {
			if value, ok := strings.CutPrefix(v, name); ok {
				last = value
			}
		}
		if last != "user" {
			t.Errorf("%s%s", name, last)
		}
	}
}
