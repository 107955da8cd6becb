package rbac

import (
	"context"
	"errors"
	"slices"
	"strings"

	"lapis/armid"
	"lapis/fault"
	"lapis/store"
)

// Limits of a custom role, in bytes and entries.
const (
	maxRoleName = 512
	maxScopes   = 2000
)

// RoleRequest asks for a custom role.
type RoleRequest struct {
	ID               string // GUID
	Name             string
	Description      string
	Type             string // "" or CustomRole
	AssignableScopes []string
	Permissions      []Permission
	Conditional      bool   // a permission has a condition, which we refuse
	By               string // object id of the caller
}

// PutRole makes or changes a custom role. A change is in force for all its
// assignments when it returns. The caller must hold WriteRoles at every
// assignable scope: check before, this method does not.
//
// Faults: InvalidRoleDefinitionId, InvalidRoleDefinitionName,
// InvalidAssignableScopes, InvalidActionOrNotAction (Invalid);
// RoleDefinitionWithSameNameExists (Conflict).
func (s *Service) PutRole(ctx context.Context, req RoleRequest) (r Role, created bool, err error) {
	wanted, err := s.checkDefinition(req)
	if err != nil {
		return Role{}, false, err
	}
	err = s.update(ctx, func(tx store.Tx) error {
		r, created = wanted, true
		if other := s.Snapshot().named(r.Name); other != nil && other.ID != r.ID {
			return fault.E(fault.Conflict, "RoleDefinitionWithSameNameExists",
				"A role definition with the name '%s' exists already: %s. Choose another name.", other.Name, other.ID)
		}
		old, err := roleRecords().Get(tx, r.ID)
		if err == nil {
			r.CreatedOn, r.CreatedBy, created = old.Value.CreatedOn, old.Value.CreatedBy, false
		} else if !errors.Is(err, store.ErrNotFound) {
			return err
		}
		_, err = roleRecords().Put(tx, r.ID, r, store.Any)
		return err
	}, nil)
	if err != nil {
		return Role{}, false, err
	}
	return r, created, nil
}

func (s *Service) checkDefinition(req RoleRequest) (Role, error) {
	if !isGUID(req.ID) {
		return Role{}, invalidRoleID(req.ID)
	}
	id := strings.ToLower(req.ID)
	if old, ok := s.Snapshot().builtIn(id); ok {
		return Role{}, builtInFixed(old.def.Name)
	}
	if req.Type != "" && !strings.EqualFold(req.Type, Custom) {
		return Role{}, fault.E(fault.Invalid, "InvalidRoleDefinitionType",
			"The type '%s' cannot be made; only %s can.", req.Type, Custom).At("properties.type")
	}
	if strings.TrimSpace(req.Name) == "" || len(req.Name) > maxRoleName {
		return Role{}, fault.E(fault.Invalid, "InvalidRoleDefinitionName",
			"A role needs a roleName of 1 to %d bytes; this one has %d.", maxRoleName, len(req.Name)).At("properties.roleName")
	}
	if err := checkScopes(req); err != nil {
		return Role{}, err
	}
	if err := checkPermissions(req); err != nil {
		return Role{}, err
	}
	now := s.cfg.Now().UTC()
	return Role{
		ID: id, Name: req.Name, Description: req.Description, Type: Custom,
		AssignableScopes: req.AssignableScopes, Permissions: req.Permissions,
		CreatedOn: now, CreatedBy: req.By, UpdatedOn: now, UpdatedBy: req.By,
	}, nil
}

func builtInFixed(name string) *fault.Error {
	return fault.E(fault.Invalid, "RoleDefinitionUpdateNotPermitted",
		"%s is a built-in role, which nobody can change or delete. Make a custom role under a new ID instead.", name)
}

func checkScopes(req RoleRequest) error {
	refuse := func(format string, args ...any) error {
		return fault.E(fault.Invalid, "InvalidAssignableScopes", format, args...).At("properties.assignableScopes")
	}
	if len(req.AssignableScopes) == 0 || len(req.AssignableScopes) > maxScopes {
		return refuse("A role needs 1 to %d assignableScopes; this one has %d.", maxScopes, len(req.AssignableScopes))
	}
	groups := 0
	for _, text := range req.AssignableScopes {
		id, err := armid.Parse(text)
		if err != nil {
			return refuse("The assignable scope is not valid: %v.", err)
		}
		if id.IsRoot() {
			return refuse("The assignable scope '/' is for built-in roles. Name subscriptions, resource groups or resources.")
		}
		if id.Is("Microsoft.Management/managementGroups") {
			groups++
		}
	}
	if groups > 1 {
		return refuse("A custom role can have one management group among its assignableScopes; this one has %d.", groups)
	}
	data := slices.ContainsFunc(req.Permissions, func(p Permission) bool { return len(p.DataActions) > 0 })
	if groups > 0 && data {
		return refuse("A custom role with dataActions cannot be assigned at a management group.")
	}
	return nil
}

func checkPermissions(req RoleRequest) error {
	if req.Conditional {
		return fault.E(fault.Invalid, "RoleDefinitionConditionNotSupported",
			"This platform does not evaluate conditions, and a permission whose condition is not evaluated would grant too much. "+
				"Leave out condition and conditionVersion.").At("properties.permissions")
	}
	granted := 0
	for _, p := range req.Permissions {
		granted += len(p.Actions) + len(p.DataActions)
		for _, text := range slices.Concat(p.Actions, p.NotActions, p.DataActions, p.NotDataActions) {
			if !validAction(text) {
				return fault.E(fault.Invalid, "InvalidActionOrNotAction",
					"'%s' is not an action. Write Provider.Name/type/verb, such as Microsoft.Storage/storageAccounts/read, with * for any text.", text).
					At("properties.permissions")
			}
		}
	}
	if granted == 0 {
		return fault.E(fault.Invalid, "InvalidRoleDefinitionPermissions",
			"A role needs at least one entry in actions or dataActions.").At("properties.permissions")
	}
	return nil
}

// validAction reports whether text has the form of an action pattern.
func validAction(text string) bool {
	if text == "*" {
		return true
	}
	for i := range len(text) {
		c := text[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && strings.IndexByte("*./-_$:", c) < 0 {
			return false
		}
	}
	return len(text) <= 512 && strings.Contains(text, "/") &&
		!strings.Contains(text, "//") && !strings.HasPrefix(text, "/") && !strings.HasSuffix(text, "/")
}

// DeleteRole deletes a custom role that nobody has. It returns what it deleted;
// false means that there was none, which is no error. A role with assignments
// stays: RoleDefinitionHasAssignments (Invalid).
func (s *Service) DeleteRole(ctx context.Context, id string) (r Role, found bool, err error) {
	id, err = ParseRoleDefinitionID(id)
	if err != nil {
		return Role{}, false, err
	}
	if old, ok := s.Snapshot().builtIn(id); ok {
		return Role{}, false, builtInFixed(old.def.Name)
	}
	err = s.update(ctx, func(tx store.Tx) error {
		r, found = Role{}, false
		e, err := roleRecords().Get(tx, id)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		r, found = e.Value, true
		if n := s.Snapshot().holders(id); n > 0 {
			return fault.E(fault.Invalid, "RoleDefinitionHasAssignments",
				"There are %d role assignments that use the role '%s'. Delete them first.", n, r.Name)
		}
		return roleRecords().Delete(tx, id, e.Version)
	}, nil)
	if err != nil || !found {
		return Role{}, false, err
	}
	return r, true, nil
}

// named returns the role of that name, without regard to case, or nil.
func (s *Snapshot) named(name string) *Role {
	for _, r := range slices.Concat(s.builtins, s.customs) {
		if strings.EqualFold(r.def.Name, name) {
			return r.def
		}
	}
	return nil
}

// holders counts the assignments of a role.
func (s *Snapshot) holders(roleID string) int {
	n := 0
	for g := range s.all {
		if strings.EqualFold(g.assignment.RoleID, roleID) {
			n++
		}
	}
	return n
}
