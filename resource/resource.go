// Package resource is the tree of Azure resources: the envelope that all of
// them share, the descriptors that tell them apart, and the rules of create,
// update, delete and list.
//
// A resource type is a [Type] value in the package of its domain; adding one
// touches that package and the wiring. The tree keeps the record; a type's
// functions hold its rules. Properties that no rule knows are kept and given
// back. What a resource must not show (sealed keys) lies in Private.
package resource

import (
	"bytes"
	"encoding/json"
	"strings"
	"time"

	"lapis/armid"
	"lapis/operation"
	"lapis/store"
)

// State is a resource's provisioningState.
type State string

// The states. Those before Succeeded are passing.
const (
	Creating  State = "Creating"
	Updating  State = "Updating"
	Deleting  State = "Deleting"
	Succeeded State = "Succeeded"
	Failed    State = "Failed"
	Canceled  State = "Canceled"
)

// Done reports whether nothing works on the resource.
func (s State) Done() bool { return s == Succeeded || s == Failed || s == Canceled }

// Resource is the record of one resource.
type Resource struct {
	ID         armid.ID           `json:"id"`
	UID        string             `json:"uid"` // of this incarnation: another one after delete and create
	Location   string             `json:"location,omitempty"`
	Kind       string             `json:"kind,omitempty"`
	Tags       map[string]string  `json:"tags,omitempty"`
	SKU        json.RawMessage    `json:"sku,omitempty"`
	Identity   *Identity          `json:"identity,omitempty"`
	Properties json.RawMessage    `json:"properties,omitempty"` // a JSON object, as the caller and the rules made it
	Private    json.RawMessage    `json:"private,omitempty"`    // never shown
	State      State              `json:"state"`
	Failure    *operation.Failure `json:"failure,omitempty"` // why State is Failed
	Operation  string             `json:"operation,omitempty"`
	System     SystemData         `json:"system"`
	Version    store.Version      `json:"-"`
}

// Identity is the managed identity block of a resource.
type Identity struct {
	Type         string                  `json:"type"`
	PrincipalID  string                  `json:"principalId,omitempty"`
	TenantID     string                  `json:"tenantId,omitempty"`
	UserAssigned map[string]UserAssigned `json:"userAssignedIdentities,omitempty"`
}

// UserAssigned is one user-assigned identity of a resource.
type UserAssigned struct {
	PrincipalID string `json:"principalId,omitempty"`
	ClientID    string `json:"clientId,omitempty"`
}

// HasSystem reports whether the identity includes a system-assigned one.
func (i *Identity) HasSystem() bool {
	return i != nil && strings.Contains(strings.ToLower(i.Type), "systemassigned")
}

// HasUser reports whether the identity includes user-assigned ones.
func (i *Identity) HasUser() bool {
	return i != nil && strings.Contains(strings.ToLower(i.Type), "userassigned")
}

// SystemData says who made and changed a resource, and when.
type SystemData struct {
	CreatedBy      string    `json:"createdBy"`
	CreatedByType  string    `json:"createdByType"`
	CreatedAt      time.Time `json:"createdAt"`
	ModifiedBy     string    `json:"lastModifiedBy"`
	ModifiedByType string    `json:"lastModifiedByType"`
	ModifiedAt     time.Time `json:"lastModifiedAt"`
}

// Decode reads the properties into a type's own shape.
func (r Resource) Decode(into any) error {
	if len(r.Properties) == 0 {
		return nil
	}
	return json.Unmarshal(r.Properties, into)
}

// SetProperties lays the fields of known (a struct that encodes to an object)
// over the properties; those that nobody knows stay.
func (r *Resource) SetProperties(known any) error {
	over, err := json.Marshal(known)
	if err != nil {
		return err
	}
	merged := map[string]json.RawMessage{}
	for _, layer := range []json.RawMessage{r.Properties, over} {
		if len(layer) == 0 {
			continue
		}
		if err := json.Unmarshal(layer, &merged); err != nil {
			return err
		}
	}
	r.Properties, err = json.Marshal(merged)
	return err
}

// Caller is who asks for a change.
type Caller struct {
	ObjectID string
	Kind     string // User, Application, ManagedIdentity
}

// mergePatch applies an RFC 7396 merge patch to a JSON object.
func mergePatch(base, patch json.RawMessage) (json.RawMessage, error) {
	var target, change any
	if len(base) > 0 {
		if err := decodeExact(base, &target); err != nil {
			return nil, err
		}
	}
	if err := decodeExact(patch, &change); err != nil {
		return nil, err
	}
	return json.Marshal(merge(target, change))
}

// decodeExact is json.Unmarshal that keeps numbers as they were written:
// properties that nobody knows come back with all their digits.
func decodeExact(data json.RawMessage, into any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	return d.Decode(into)
}

func merge(target, patch any) any {
	change, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	into, ok := target.(map[string]any)
	if !ok {
		into = map[string]any{}
	}
	for key, value := range change {
		if value == nil {
			delete(into, key)
			continue
		}
		into[key] = merge(into[key], value)
	}
	return into
}
