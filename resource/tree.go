package resource

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"lapis/armid"
	"lapis/fault"
	"lapis/operation"
	"lapis/store"
)

// Config is what a tree needs.
type Config struct {
	Store        store.Store
	Operations   *operation.Runner
	Subscription string // the only one there is
	Now          func() time.Time
	Rand         io.Reader
	// Forget drops what others keep about a resource that is being deleted, such
	// as role assignments. It may be called again. Nil: nothing is kept.
	Forget func(ctx context.Context, id armid.ID) error
}

// Tree keeps the resources of every registered type.
type Tree struct {
	Config
	types map[string]*Type // by lower-case name
	names []string         // in the order of registration
	locks keyLocks
}

// GroupType is the name of the resource group type.
const GroupType = "Microsoft.Resources/resourceGroups"

// deploymentType is that of deployments of templates.
const deploymentType = "Microsoft.Resources/deployments"

// NewTree returns a tree that knows no types.
func NewTree(cfg Config) *Tree {
	return &Tree{Config: cfg, types: map[string]*Type{}}
}

// Register adds types; all of them before the first request.
func (t *Tree) Register(types ...Type) {
	for _, typ := range types {
		key := strings.ToLower(typ.Name)
		if t.types[key] != nil {
			panic("resource type registered twice: " + typ.Name)
		}
		t.types[key] = &typ
		t.names = append(t.names, typ.Name)
	}
}

// Types returns the registered types in the order of registration.
func (t *Tree) Types() []*Type {
	types := make([]*Type, 0, len(t.names))
	for _, name := range t.names {
		types = append(types, t.types[strings.ToLower(name)])
	}
	return types
}

// TypeOf returns the descriptor of id's type.
func (t *Tree) TypeOf(id armid.ID) (*Type, error) {
	if typ := t.types[strings.ToLower(id.Type())]; typ != nil {
		return typ, nil
	}
	return nil, fault.E(fault.NotFound, "InvalidResourceType",
		"The resource type '%s' could not be found in the namespace '%s'.", id.Type(), id.Namespace())
}

// Get returns a resource.
func (t *Tree) Get(ctx context.Context, id armid.ID) (Resource, error) {
	typ, err := t.TypeOf(id)
	if err != nil {
		return Resource{}, err
	}
	if typ.Virtual != nil {
		return typ.Virtual.Get(ctx, id)
	}
	var r Resource
	err = t.Store.View(ctx, func(tx store.Reader) error {
		r, err = get(tx, id)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return r, NotFound(id)
	}
	return r, err
}

// List returns the resources of a type below a scope, by id.
func (t *Tree) List(ctx context.Context, typeName string, under armid.ID) ([]Resource, error) {
	typ := t.types[strings.ToLower(typeName)]
	if typ == nil {
		return nil, fmt.Errorf("no resource type %q", typeName)
	}
	if typ.Virtual != nil {
		return typ.Virtual.List(ctx, under)
	}
	return t.list(ctx, typ, under, "", 0)
}

// ListPage is List of at most limit resources, those that follow the one with
// the key after. It reads no others, so that the pages of a long list cost no
// more than its items. Of a virtual type it returns all that follow.
func (t *Tree) ListPage(ctx context.Context, typeName string, under armid.ID, after string, limit int) ([]Resource, error) {
	typ := t.types[strings.ToLower(typeName)]
	if typ != nil && typ.Virtual == nil {
		return t.list(ctx, typ, under, after, limit)
	}
	found, err := t.List(ctx, typeName, under)
	last := slices.IndexFunc(found, func(r Resource) bool { return r.ID.Key() == after })
	return found[last+1:], err
}

func (t *Tree) list(ctx context.Context, typ *Type, under armid.ID, after string, limit int) ([]Resource, error) {
	var found []Resource
	err := t.Store.View(ctx, func(tx store.Reader) error {
		entries, err := tableOf(typ.Name).List(tx, prefix(under), after, limit)
		found = make([]Resource, 0, len(entries))
		for _, e := range entries {
			e.Value.Version = e.Version
			found = append(found, e.Value)
		}
		return err
	})
	return found, err
}

// Watch calls fn after each change of a resource of the type, before the call
// that made the change returns. fn must be quick. The returned function ends it.
func (t *Tree) Watch(typeName string, fn func()) (stop func()) {
	return t.Store.Watch(tableOf(typeName).Name, fn)
}

// Modify changes a resource's record outside a client's PUT, in one
// transaction. change may run more than once.
func (t *Tree) Modify(ctx context.Context, id armid.ID, change func(r *Resource) error) error {
	return t.Store.Update(ctx, func(tx store.Tx) error { return Modify(tx, id, change) })
}

// Modify is [Tree.Modify] within a transaction.
func Modify(tx store.Tx, id armid.ID, change func(r *Resource) error) error {
	r, err := get(tx, id)
	if errors.Is(err, store.ErrNotFound) {
		return NotFound(id)
	}
	if err != nil {
		return err
	}
	if err := change(&r); err != nil {
		return err
	}
	_, err = tableOf(id.Type()).Put(tx, id.Key(), r, r.Version)
	return err
}

// Finish ends the operation that a PUT began: the resource becomes Succeeded or
// Failed. It is the Finish of operation kinds whose outcome is only that.
func Finish(tx store.Tx, op operation.Operation, err error) error {
	id, parseErr := armid.Parse(op.Target)
	if parseErr != nil {
		return parseErr
	}
	modified := Modify(tx, id, func(r *Resource) error {
		if r.Operation != op.ID {
			return nil // a later change owns the state
		}
		r.State, r.Failure = Succeeded, nil
		if err != nil {
			r.State, r.Failure = Failed, operation.FailureOf(err)
		}
		return nil
	})
	if fault.Is(modified, fault.NotFound) {
		return nil
	}
	return modified
}

// FinishDelete ends the operation that a DELETE began: the record goes, or the
// resource stays as Failed.
func FinishDelete(tx store.Tx, op operation.Operation, err error) error {
	if err != nil {
		return Finish(tx, op, err)
	}
	id, parseErr := armid.Parse(op.Target)
	if parseErr != nil {
		return parseErr
	}
	return Delete(tx, id)
}

// Delete removes a record in a transaction.
func Delete(tx store.Tx, id armid.ID) error {
	return tableOf(id.Type()).Delete(tx, id.Key(), store.Any)
}

// NotFound is the fault for a resource that does not exist.
func NotFound(id armid.ID) error {
	switch { // Resource Manager's own types have codes of their own
	case id.Is(GroupType):
		return fault.E(fault.NotFound, "ResourceGroupNotFound", "Resource group '%s' could not be found.", id.Name())
	case id.Is(deploymentType):
		return fault.E(fault.NotFound, "DeploymentNotFound", "Deployment '%s' could not be found.", id.Name())
	}
	names := strings.Join(id.Names(), "/")
	return fault.E(fault.NotFound, "ResourceNotFound",
		"The Resource '%s/%s' under resource group '%s' was not found.", id.Type(), names, id.ResourceGroupName())
}

func get(tx store.Reader, id armid.ID) (Resource, error) {
	e, err := tableOf(id.Type()).Get(tx, id.Key())
	e.Value.Version = e.Version
	return e.Value, err
}

func tableOf(typ string) store.Table[Resource] {
	return store.Table[Resource]{Name: "resource/" + strings.ToLower(typ)}
}

func prefix(under armid.ID) string {
	if under.IsRoot() {
		return "/"
	}
	return under.Key() + "/"
}

// keyLocks serializes changes of one resource.
type keyLocks struct {
	mu   sync.Mutex
	held map[string]chan struct{}
}

func (l *keyLocks) lock(ctx context.Context, key string) (unlock func(), err error) {
	for {
		l.mu.Lock()
		if l.held == nil {
			l.held = map[string]chan struct{}{}
		}
		wait := l.held[key]
		if wait == nil {
			done := make(chan struct{})
			l.held[key] = done
			l.mu.Unlock()
			return func() {
				l.mu.Lock()
				delete(l.held, key)
				l.mu.Unlock()
				close(done)
			}, nil
		}
		l.mu.Unlock()
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// Show renders a resource.
func (t *Tree) Show(ctx context.Context, r Resource) (Shown, error) {
	typ, err := t.TypeOf(r.ID)
	if err != nil {
		return Shown{}, err
	}
	s := Shown{
		ID: r.ID.String(), Name: r.ID.Name(), Type: typ.Name, Location: r.Location, Kind: r.Kind,
		Tags: r.Tags, SKU: r.SKU, Properties: map[string]any{},
	}
	if !typ.Located {
		s.Tags = nil
	} else if s.Tags == nil {
		s.Tags = map[string]string{}
	}
	if r.Version > 0 {
		s.ETag = ETag(r)
	}
	if r.Identity != nil {
		identity := *r.Identity
		s.Identity = &identity
	}
	if !r.System.CreatedAt.IsZero() {
		data := shownSystemData(r.System)
		s.SystemData = &data
	}
	if len(r.Properties) > 0 {
		if err := decodeExact(r.Properties, &s.Properties); err != nil {
			return s, err
		}
	}
	s.Properties["provisioningState"] = string(r.State)
	if typ.Show != nil {
		err = typ.Show(ctx, r, &s)
	}
	return s, err
}

// ETag is the entity tag of a record, in quotes.
func ETag(r Resource) string { return fmt.Sprintf(`"%s-%d"`, r.UID, r.Version) }

// Children returns the types that lie directly below a type.
func (t *Tree) Children(typeName string) []*Type {
	return slices.DeleteFunc(t.Types(), func(c *Type) bool { return !strings.EqualFold(c.ParentType(), typeName) })
}

// Drop removes a record alone, for what deletes its parts by itself.
func (t *Tree) Drop(ctx context.Context, id armid.ID) error {
	return t.Store.Update(ctx, func(tx store.Tx) error { return Delete(tx, id) })
}
