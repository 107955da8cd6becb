package resource

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"strings"

	"lapis/armid"
	"lapis/fault"
	"lapis/operation"
	"lapis/store"
)

// Put is a request to create or update a resource.
type Put struct {
	ID          armid.ID
	Body        json.RawMessage
	Patch       bool // merge the body into what is there, which must exist
	IfMatch     string
	IfNoneMatch string
	Caller      Caller
	// Authorize is asked for what the change needs beyond writing the resource.
	Authorize func(Access) error
}

// Changed is the outcome of a Put.
type Changed struct {
	Resource  Resource
	Created   bool
	Operation *operation.Operation // nil when the change is complete
}

// body is the envelope of a PUT as clients send it. encoding/json matches
// names without regard to case, as Resource Manager does.
type body struct {
	Location   *string           `json:"location"`
	Kind       *string           `json:"kind"`
	Tags       map[string]string `json:"tags"`
	SKU        json.RawMessage   `json:"sku"`
	Identity   *Identity         `json:"identity"`
	Properties json.RawMessage   `json:"properties"`
}

// Put creates or updates a resource under its type's rules.
func (t *Tree) Put(ctx context.Context, put Put) (Changed, error) {
	typ, err := t.TypeOf(put.ID)
	if err != nil {
		return Changed{}, err
	}
	if typ.ReadOnly {
		return Changed{}, fault.E(fault.NotAllowed, "MethodNotAllowed", "Resources of the type '%s' are not written by clients.", typ.Name)
	}
	unlock, err := t.locks.lock(ctx, put.ID.Key())
	if err != nil {
		return Changed{}, err
	}
	defer unlock()
	draft, err := t.draft(ctx, typ, put)
	if err != nil {
		return Changed{}, err
	}
	if err := authorizeLinked(typ, draft, put.Authorize); err != nil {
		return Changed{}, err
	}
	if typ.Prepare != nil {
		if err := typ.Prepare(ctx, draft); err != nil {
			return Changed{}, err
		}
	}
	if typ.Virtual != nil {
		return t.putVirtual(ctx, typ, draft)
	}
	changed, err := t.commit(ctx, typ, draft)
	if err != nil {
		return Changed{}, err
	}
	if typ.Changed != nil {
		typ.Changed(context.WithoutCancel(ctx), changed.Resource)
	}
	if changed.Operation != nil {
		t.Operations.Launch(*changed.Operation)
	}
	return changed, nil
}

// draft parses the body over the state that is there.
func (t *Tree) draft(ctx context.Context, typ *Type, put Put) (*Draft, error) {
	var b body
	if err := json.Unmarshal(put.Body, &b); err != nil {
		return nil, badBody(err)
	}
	if len(b.Properties) > 0 && b.Properties[0] != '{' && string(b.Properties) != "null" {
		return nil, fault.E(fault.Invalid, "InvalidRequestContent", "The 'properties' of the request must be a JSON object.").At("properties")
	}
	d := &Draft{Caller: put.Caller}
	prev, err := t.Get(ctx, put.ID)
	switch {
	case err == nil:
		d.Prev = &prev
	case !fault.Is(err, fault.NotFound):
		return nil, err
	case put.Patch:
		return nil, err
	}
	if err := precondition(put, d.Prev); err != nil {
		return nil, err
	}
	if d.Prev != nil {
		if !d.Prev.State.Done() {
			return nil, busy(*d.Prev)
		}
		next := *d.Prev
		d.Next = &next
		return d, d.over(b, put.Patch)
	}
	if err := t.checkNew(ctx, typ, put.ID); err != nil {
		return nil, err
	}
	d.Next = &Resource{ID: put.ID}
	if err := d.over(b, false); err != nil {
		return nil, err
	}
	if typ.Located && d.Next.Location == "" {
		return nil, fault.E(fault.Invalid, "LocationRequired", "The location property is required for this definition.").At("location")
	}
	return d, nil
}

// over lays a body over the next state: a PUT replaces, a PATCH merges.
func (d *Draft) over(b body, patch bool) error {
	if b.Location != nil && *b.Location != "" {
		location := strings.ToLower(strings.ReplaceAll(*b.Location, " ", ""))
		if d.Prev != nil && d.Prev.Location != "" && d.Prev.Location != location {
			code := "InvalidResourceLocation"
			if d.Prev.ID.Is(GroupType) {
				code = "InvalidResourceGroupLocation"
			}
			return fault.E(fault.Conflict, code,
				"The resource '%s' already exists in location '%s'. A resource with the same name cannot be created in location '%s'.",
				d.Prev.ID.Name(), d.Prev.Location, location).At("location")
		}
		d.Next.Location = location
	}
	if b.Kind != nil {
		d.Next.Kind = *b.Kind
	}
	if b.Tags != nil || !patch {
		d.Next.Tags = b.Tags
	}
	if b.SKU != nil {
		d.Next.SKU = b.SKU
	}
	if b.Identity != nil {
		d.Next.Identity = b.Identity
	}
	if string(b.Properties) == "null" {
		b.Properties = nil
	}
	if !patch {
		d.Next.Properties = b.Properties
		return nil
	}
	if b.Properties == nil {
		return nil
	}
	merged, err := mergePatch(d.Next.Properties, b.Properties)
	if err != nil {
		return badBody(err)
	}
	d.Next.Properties = merged
	return nil
}

// checkNew holds a new resource against the tree: its subscription, its name,
// and that what it lies in exists.
func (t *Tree) checkNew(ctx context.Context, typ *Type, id armid.ID) error {
	if !strings.EqualFold(id.SubscriptionID(), t.Subscription) {
		return fault.E(fault.NotFound, "SubscriptionNotFound", "The subscription '%s' could not be found.", id.SubscriptionID())
	}
	if typ.CheckName != nil {
		if err := typ.CheckName(id.Name()); err != nil {
			return err
		}
	}
	if group := id.ResourceGroupName(); group != "" && !id.Is(GroupType) {
		found, err := t.Get(ctx, armid.ResourceGroup(t.Subscription, group))
		if err != nil {
			return err
		}
		if found.State == Deleting {
			return beingDeleted(found.ID)
		}
	}
	if typ.ParentType() == "" {
		return nil
	}
	parentID := id.Parent()
	if typ.FreeParent {
		parentID = parentID.Parent()
	}
	parent, err := t.Get(ctx, parentID)
	if fault.Is(err, fault.NotFound) {
		return fault.E(fault.NotFound, "ParentResourceNotFound",
			"Failed to perform 'write' on resource(s) of type '%s', because the parent resource '%s' could not be found.", typ.Name, parentID)
	}
	if err == nil && parent.State == Deleting {
		return busy(parent)
	}
	return err
}

func beingDeleted(group armid.ID) error {
	return fault.E(fault.Conflict, "ResourceGroupBeingDeleted",
		"The resource group '%s' is in deprovisioning state and cannot perform this operation.", group.Name())
}

// checkGroup holds a new resource against its group once more, in the
// transaction that writes it: the group may have gone since the first look.
func checkGroup(tx store.Tx, id armid.ID) error {
	if id.ResourceGroupName() == "" || id.Is(GroupType) {
		return nil
	}
	groupID := armid.ResourceGroup(id.SubscriptionID(), id.ResourceGroupName())
	group, err := get(tx, groupID)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return NotFound(groupID)
	case err == nil && group.State == Deleting:
		return beingDeleted(groupID)
	}
	return err
}

// commit writes the draft, with the operation that completes it.
func (t *Tree) commit(ctx context.Context, typ *Type, d *Draft) (Changed, error) {
	if err := t.stamp(d); err != nil {
		return Changed{}, err
	}
	changed := Changed{Created: d.Prev == nil}
	match := store.Absent
	if d.Prev != nil {
		match = d.Prev.Version
	}
	err := t.Store.Update(ctx, func(tx store.Tx) error {
		next := *d.Next
		next.State, next.Failure, next.Operation = Succeeded, nil, ""
		if d.Prev == nil {
			if err := checkGroup(tx, next.ID); err != nil {
				return err
			}
		}
		if typ.PutOperation != "" && !d.Immediate {
			op, err := t.Operations.Create(tx, operation.Operation{
				Kind: typ.PutOperation, Target: next.ID.Key(), Caller: d.Caller.ObjectID,
			})
			if err != nil {
				return err
			}
			changed.Operation, next.Operation, next.State = &op, op.ID, Updating
			if d.Prev == nil || d.Prev.State == Failed {
				next.State = Creating
			}
		}
		version, err := tableOf(next.ID.Type()).Put(tx, next.ID.Key(), next, match)
		next.Version = version
		changed.Resource = next
		return err
	})
	if errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrNotFound) {
		return changed, fault.E(fault.Conflict, "AnotherOperationInProgress",
			"Another change of '%s' came first. Read it again and repeat the request.", d.Next.ID)
	}
	return changed, err
}

// stamp sets who and when, and a new resource's UID.
func (t *Tree) stamp(d *Draft) error {
	now := t.Now().UTC()
	n := d.Next
	if d.Prev == nil {
		var uid [16]byte
		if _, err := io.ReadFull(t.Rand, uid[:]); err != nil {
			return err
		}
		n.UID = hex.EncodeToString(uid[:])
		n.System.CreatedAt, n.System.CreatedBy, n.System.CreatedByType = now, d.Caller.ObjectID, d.Caller.Kind
	}
	n.System.ModifiedAt, n.System.ModifiedBy, n.System.ModifiedByType = now, d.Caller.ObjectID, d.Caller.Kind
	return nil
}

func (t *Tree) putVirtual(ctx context.Context, typ *Type, d *Draft) (Changed, error) {
	if err := typ.Virtual.Put(ctx, d); err != nil {
		return Changed{}, err
	}
	r, err := typ.Virtual.Get(ctx, d.Next.ID)
	return Changed{Resource: r, Created: d.Prev == nil}, err
}

func authorizeLinked(typ *Type, d *Draft, authorize func(Access) error) error {
	if typ.Linked == nil || authorize == nil {
		return nil
	}
	needed, err := typ.Linked(d)
	if err != nil {
		return err
	}
	for _, access := range needed {
		if err := authorize(access); err != nil {
			return err
		}
	}
	return nil
}

// precondition applies If-Match and If-None-Match.
func precondition(put Put, prev *Resource) error {
	switch {
	case put.IfNoneMatch == "*" && prev != nil:
		return fault.E(fault.Precondition, "PreconditionFailed", "The resource '%s' exists already.", prev.ID)
	case put.IfMatch != "" && prev == nil:
		return fault.E(fault.Precondition, "PreconditionFailed", "The resource '%s' does not exist.", put.ID)
	case put.IfMatch != "" && put.IfMatch != "*" && put.IfMatch != ETag(*prev):
		return fault.E(fault.Precondition, "PreconditionFailed", "The etag '%s' is not the one of '%s' now.", put.IfMatch, prev.ID)
	}
	return nil
}

func busy(r Resource) error {
	return fault.E(fault.Conflict, "AnotherOperationInProgress",
		"'%s' cannot be changed because it is in the %s provisioning state. Wait until that ends, then repeat the request.", r.ID, r.State)
}
