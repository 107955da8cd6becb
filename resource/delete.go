package resource

import (
	"context"
	"strings"

	"lapis/armid"
	"lapis/fault"
	"lapis/operation"
	"lapis/store"
)

// Delete removes a resource and what lies below it. It returns the operation
// that does so, nil when it is done; a resource that is not there is NotFound.
func (t *Tree) Delete(ctx context.Context, id armid.ID, caller Caller) (*operation.Operation, error) {
	typ, err := t.TypeOf(id)
	if err != nil {
		return nil, err
	}
	if typ.ReadOnly {
		return nil, fault.E(fault.NotAllowed, "MethodNotAllowed", "Resources of the type '%s' are not deleted by clients.", typ.Name)
	}
	unlock, err := t.locks.lock(ctx, id.Key())
	if err != nil {
		return nil, err
	}
	defer unlock()
	r, err := t.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	if typ.Virtual != nil {
		if err := typ.Virtual.Delete(ctx, id); err != nil {
			return nil, err
		}
		return nil, t.forget(ctx, id)
	}
	if typ.Remove != nil {
		if err := typ.Remove(ctx, r); err != nil {
			return nil, err
		}
	}
	if typ.DeleteOperation != "" {
		return t.beginDelete(ctx, typ, r, caller)
	}
	if _, err := t.DeleteBelow(ctx, id, caller); err != nil {
		return nil, err
	}
	if err := t.forget(ctx, id); err != nil {
		return nil, err
	}
	return nil, t.Drop(ctx, id)
}

func (t *Tree) forget(ctx context.Context, id armid.ID) error {
	if t.Forget == nil {
		return nil
	}
	return t.Forget(ctx, id)
}

// DeleteKind is the kind of operation that deletes a resource: run takes apart
// what it holds, then the record goes with what others keep about it.
func (t *Tree) DeleteKind(run func(context.Context, *operation.Run) error) operation.Kind {
	return operation.Kind{
		Run: func(ctx context.Context, r *operation.Run) error {
			if err := run(ctx, r); err != nil {
				return err
			}
			id, err := armid.Parse(r.Target)
			if err != nil {
				return err
			}
			return t.forget(ctx, id)
		},
		Finish: FinishDelete,
	}
}

// beginDelete marks the resource and starts the operation that ends it. A
// deletion that already runs is joined.
func (t *Tree) beginDelete(ctx context.Context, typ *Type, r Resource, caller Caller) (*operation.Operation, error) {
	if r.State == Deleting {
		op, err := t.Operations.Get(ctx, r.Operation)
		return &op, err
	}
	var op operation.Operation
	err := t.Store.Update(ctx, func(tx store.Tx) (err error) {
		op, err = t.Operations.Create(tx, operation.Operation{
			Kind: typ.DeleteOperation, Target: r.ID.Key(), Caller: caller.ObjectID,
		})
		if err != nil {
			return err
		}
		return Modify(tx, r.ID, func(r *Resource) error {
			r.State, r.Operation = Deleting, op.ID
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	t.Operations.Launch(op)
	return &op, nil
}

// DeleteBelow deletes what lies below a resource, waits until it is gone, and
// returns the ids of what went.
func (t *Tree) DeleteBelow(ctx context.Context, id armid.ID, caller Caller) ([]armid.ID, error) {
	var gone []armid.ID
	for _, child := range t.Types() {
		if child.Virtual != nil || child.ReadOnly || !child.lies(id.Type()) {
			continue
		}
		found, err := t.List(ctx, child.Name, id)
		if err != nil {
			return gone, err
		}
		for _, r := range found {
			op, err := t.Delete(ctx, r.ID, caller)
			if err == nil && op != nil {
				err = t.Operations.Wait(ctx, op.ID)
			}
			if err != nil && !fault.Is(err, fault.NotFound) {
				return gone, err
			}
			gone = append(gone, r.ID)
		}
	}
	return gone, nil
}

// lies reports whether resources of the type lie directly below those of
// another. One whose parent is only made of it lies below the parent's parent.
func (t *Type) lies(below string) bool {
	parent := t.ParentType()
	if t.FreeParent {
		parent = Type{Name: parent}.ParentType()
	}
	return parent != "" && strings.EqualFold(parent, below)
}
