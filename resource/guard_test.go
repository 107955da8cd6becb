package resource_test

import (
	"context"
	"errors"
	"testing"

	"lapis/fault"
	"lapis/operation"
	"lapis/resource"
	"lapis/store"
)

const hookedType = "Lapis.Test/hooked"

// What changes while a change is being prepared is seen when it is written.
func TestWhatHappensDuringAChangeIsSeenAtItsEnd(t *testing.T) {
	w := newWorld(t)
	meanwhile := func() error { return nil }
	w.tree.Register(resource.Type{Name: hookedType, APIVersions: []string{"2020-01-01"}, Prepare: func(context.Context, *resource.Draft) error { return meanwhile() }})
	one := w.group.Provider(hookedType, "one")
	w.must(w.put(one, `{"properties":{"n":1}}`))
	meanwhile = func() error {
		return w.tree.Modify(t.Context(), one, func(r *resource.Resource) error { r.Kind = "changed"; return nil })
	}
	if _, err := w.put(one, `{"properties":{"n":2}}`); !fault.HasCode(err, "AnotherOperationInProgress") {
		t.Errorf("over another change: %v", err)
	}
	if r, err := w.tree.Get(t.Context(), one); err != nil || r.Kind != "changed" || string(r.Properties) != `{"n":1}` {
		t.Errorf("afterwards: %+v %v", r, err)
	}
	meanwhile = func() error {
		return w.tree.Modify(t.Context(), w.group, func(r *resource.Resource) error { r.State = resource.Deleting; return nil })
	}
	two := w.group.Provider(hookedType, "two")
	if _, err := w.put(two, `{}`); !fault.HasCode(err, "ResourceGroupBeingDeleted") {
		t.Errorf("into a group whose deletion began meanwhile: %v", err)
	}
	if _, err := w.tree.Get(t.Context(), two); !fault.Is(err, fault.NotFound) {
		t.Errorf("it was made: %v", err)
	}
}

func TestNothingIsMadeInWhatIsBeingDeleted(t *testing.T) {
	w := newWorld(t)
	w.tree.Register(resource.Type{Name: slowType + "/parts", APIVersions: []string{"2020-01-01"}})
	slow := w.group.Provider(slowType, "one")
	w.end <- nil
	made := w.must(w.put(slow, `{}`))
	if err := w.tree.Operations.Wait(t.Context(), made.Operation.ID); err != nil {
		t.Fatal(err)
	}
	op, err := w.tree.Delete(t.Context(), slow, resource.Caller{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.put(slow.Child("parts", "late"), `{}`); !fault.Is(err, fault.Conflict) {
		t.Errorf("a part of what is being deleted: %v", err)
	}
	w.end <- nil
	if err := w.tree.Operations.Wait(t.Context(), op.ID); err != nil {
		t.Fatal(err)
	}
}

// An operation writes its end only while it owns the state, and a deletion that
// failed leaves the resource there to be deleted again.
func TestEndsAreWrittenByTheirOwnOperation(t *testing.T) {
	w := newWorld(t)
	thing := w.group.Provider(thingType, "one")
	w.must(w.put(thing, `{"location":"here"}`))
	own := operation.Operation{ID: "own", Target: thing.Key()}
	if err := w.tree.Modify(t.Context(), thing, func(r *resource.Resource) error { r.State, r.Operation = resource.Updating, own.ID; return nil }); err != nil {
		t.Fatal(err)
	}
	end := func(finish func(store.Tx, operation.Operation, error) error, op operation.Operation, outcome error) resource.Resource {
		t.Helper()
		if err := w.store.Update(t.Context(), func(tx store.Tx) error { return finish(tx, op, outcome) }); err != nil {
			t.Fatal(err)
		}
		r, err := w.tree.Get(t.Context(), thing)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	why := fault.E(fault.Invalid, "Why", "because")
	if r := end(resource.Finish, operation.Operation{ID: "earlier", Target: thing.Key()}, errors.New("late")); r.State != resource.Updating || r.Failure != nil {
		t.Errorf("an earlier operation ended the state of a later one: %+v", r)
	}
	if r := end(resource.FinishDelete, own, why); r.State != resource.Failed || r.Failure == nil || r.Failure.Code != "Why" {
		t.Errorf("a failed deletion: %+v", r)
	}
}
