package resource

import (
	"context"
	"errors"
	"strings"

	"lapis/armid"
	"lapis/fault"
	"lapis/store"
)

// Names is a set of names that are unique beyond a resource's parent, such as
// those that become host names. A claim outlives its resource only until
// somebody else wants the name.
type Names struct {
	tree  *Tree
	table store.Table[armid.ID]
}

// Names returns the set called space.
func (t *Tree) Names(space string) Names {
	return Names{tree: t, table: store.Table[armid.ID]{Name: "name/" + space}}
}

// Claim takes a name for id and reports whether it has it. Claiming again is harmless.
func (n Names) Claim(ctx context.Context, name string, id armid.ID) (bool, error) {
	holder, err := n.holder(ctx, name)
	if err != nil {
		return false, err
	}
	if holder != nil && !holder.Equal(id) {
		if _, err := n.tree.Get(ctx, *holder); !fault.Is(err, fault.NotFound) {
			return false, err
		}
	}
	claimed := false
	err = n.tree.Store.Update(ctx, func(tx store.Tx) error {
		e, err := n.table.Get(tx, key(name))
		unchanged := err == nil && holder != nil && e.Value.Equal(*holder)
		if err == nil && !unchanged && !e.Value.Equal(id) {
			return nil // somebody else came first
		}
		claimed = true
		_, err = n.table.Put(tx, key(name), id, store.Any)
		return err
	})
	return claimed && err == nil, err
}

// Release gives a name free, if id holds it.
func (n Names) Release(ctx context.Context, name string, id armid.ID) error {
	return n.tree.Store.Update(ctx, func(tx store.Tx) error {
		e, err := n.table.Get(tx, key(name))
		if errors.Is(err, store.ErrNotFound) || err == nil && !e.Value.Equal(id) {
			return nil
		}
		if err != nil {
			return err
		}
		return n.table.Delete(tx, key(name), store.Any)
	})
}

// Watch is [Tree.Watch] for who has which name.
func (n Names) Watch(fn func()) (stop func()) { return n.tree.Store.Watch(n.table.Name, fn) }

// Find returns the resource that has a name; a claim without a resource is NotFound.
func (n Names) Find(ctx context.Context, name string) (Resource, error) {
	holder, err := n.holder(ctx, name)
	if err != nil {
		return Resource{}, err
	}
	if holder == nil {
		return Resource{}, fault.E(fault.NotFound, "ResourceNotFound", "There is no '%s'.", name)
	}
	return n.tree.Get(ctx, *holder)
}

func (n Names) holder(ctx context.Context, name string) (*armid.ID, error) {
	var held *armid.ID
	err := n.tree.Store.View(ctx, func(tx store.Reader) error {
		e, err := n.table.Get(tx, key(name))
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		held = &e.Value
		return err
	})
	return held, err
}

func key(name string) string { return strings.ToLower(name) }
