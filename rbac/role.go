package rbac

import (
	"slices"
	"time"

	"lapis/armid"
)

// Kinds of role, as in the property "type" of a role definition.
const (
	BuiltIn = "BuiltInRole"
	Custom  = "CustomRole"
)

// Role is a role definition.
type Role struct {
	ID               string       `json:"id"` // GUID, lower case
	Name             string       `json:"name"`
	Description      string       `json:"description,omitempty"`
	Type             string       `json:"type"` // BuiltIn or Custom
	AssignableScopes []string     `json:"assignableScopes"`
	Permissions      []Permission `json:"permissions"`

	// Set for custom roles only.
	CreatedOn time.Time `json:"createdOn,omitzero"`
	CreatedBy string    `json:"createdBy,omitempty"`
	UpdatedOn time.Time `json:"updatedOn,omitzero"`
	UpdatedBy string    `json:"updatedBy,omitempty"`
}

// Permission is one block of a role. Blocks are judged one by one: NotActions
// take nothing away from another block.
type Permission struct {
	Actions        []string `json:"actions,omitempty"`
	NotActions     []string `json:"notActions,omitempty"`
	DataActions    []string `json:"dataActions,omitempty"`
	NotDataActions []string `json:"notDataActions,omitempty"`
}

// AssignableAt reports whether the role may be assigned at the scope.
func (r *Role) AssignableAt(scope armid.ID) bool {
	return slices.ContainsFunc(r.AssignableScopes, func(text string) bool {
		id, err := armid.Parse(text)
		return err == nil && id.Contains(scope)
	})
}

// role is a definition made ready for decisions.
type role struct {
	def    *Role
	blocks []block
	weight int // see [Snapshot.Suggest]
}

type block struct {
	control, data granted
}

// granted is what a block gives on one plane: allow without except.
type granted struct{ allow, except []pattern }

func compileRole(def *Role) *role {
	r := &role{def: def}
	for _, p := range def.Permissions {
		r.blocks = append(r.blocks, block{
			control: granted{compilePatterns(p.Actions), compilePatterns(p.NotActions)},
			data:    granted{compilePatterns(p.DataActions), compilePatterns(p.NotDataActions)},
		})
	}
	r.weight = weigh(r)
	return r
}

// plane returns the block's grants on the data plane or the control plane.
func (b *block) plane(data bool) *granted {
	if data {
		return &b.data
	}
	return &b.control
}

// allows reports whether one of the role's blocks grants the action.
func (r *role) allows(action string, data bool) bool {
	for i := range r.blocks {
		g := r.blocks[i].plane(data)
		if matchAny(g.allow, action) && !matchAny(g.except, action) {
			return true
		}
	}
	return false
}

// covers returns the first pattern that would grant the action on the plane
// (ok), and the exclusion that takes it away again, if one does.
func (r *role) covers(action string, data bool) (allow, except string, ok bool) {
	for i := range r.blocks {
		g := r.blocks[i].plane(data)
		at := firstMatch(g.allow, action)
		if at < 0 {
			continue
		}
		allow, except, ok = g.allow[at].text, "", true
		out := firstMatch(g.except, action)
		if out < 0 {
			return allow, "", true
		}
		except = g.except[out].text
	}
	return allow, except, ok
}
