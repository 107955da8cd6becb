package resource

import (
	"context"

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
		return nil, typ.Virtual.Delete(ctx, id)
	}
	if typ.Remove != nil {
		if err := typ.Remove(ctx, r); err != nil {
			return nil, err
		}
	}
	if typ.DeleteOperation != "" {
		return t.beginDelete(ctx, typ, r, caller)
	}
	if err := t.removeChildren(ctx, id, caller); err != nil {
		return nil, err
	}
	return nil, t.Store.Update(ctx, func(tx store.Tx) error { return Delete(tx, id) })
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

// removeChildren deletes what lies below a resource, and waits until it is gone.
func (t *Tree) removeChildren(ctx context.Context, id armid.ID, caller Caller) error {
	for _, child := range t.Children(id.Type()) {
		if child.Virtual != nil || child.ReadOnly {
			continue
		}
		found, err := t.List(ctx, child.Name, id)
		if err != nil {
			return err
		}
		for _, r := range found {
			op, err := t.Delete(ctx, r.ID, caller)
			if err == nil && op != nil {
				err = t.Operations.Wait(ctx, op.ID)
			}
			if err != nil && !fault.Is(err, fault.NotFound) {
				return err
			}
		}
	}
	return nil
}
