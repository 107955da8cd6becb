package rbac

import (
	"maps"
	"slices"
	"strings"

	"lapis/armid"
	"lapis/fault"
)

// Get returns the assignment of that name at that scope.
func (s *Service) Get(scope armid.ID, name string) (Assignment, error) {
	for g := range s.Snapshot().grantsOf(s.places.Load().above(scope)) {
		if strings.EqualFold(g.assignment.Name, name) && g.assignment.Scope.Equal(scope) {
			return *g.assignment, nil
		}
	}
	return Assignment{}, fault.E(fault.NotFound, "RoleAssignmentNotFound", "The role assignment '%s' is not found.", name)
}

// Assignments returns the assignments that a scope shows: its own, those
// inherited from above and, without Filter.AtScope, those below. Widest scope
// first, then by name.
func (s *Service) Assignments(scope armid.ID, f Filter) []Assignment {
	var holders []string
	var known bool
	if asked := f.principals(s.cfg.GroupsOf); asked != nil {
		holders, known = slices.Collect(maps.Keys(asked)), true
	} else if f.AtScope {
		holders, known = s.places.Load().above(scope)
	}
	found := []Assignment{}
	for g := range s.Snapshot().grantsOf(holders, known) {
		a := g.assignment
		if a.Scope.Contains(scope) || !f.AtScope && scope.Contains(a.Scope) {
			found = append(found, *a)
		}
	}
	slices.SortFunc(found, func(a, b Assignment) int {
		if c := strings.Compare(a.Scope.Key(), b.Scope.Key()); c != 0 {
			return c
		}
		return strings.Compare(a.Name, b.Name)
	})
	return found
}

// Roles returns the roles that can be assigned at the scope: the built-in
// ones in the order of the table, then the custom ones by name. With
// RoleFilter.Below those that can be assigned only below it are there too.
func (s *Service) Roles(scope armid.ID, f RoleFilter) []Role {
	snap := s.Snapshot()
	found := []Role{}
	for _, r := range slices.Concat(snap.builtins, snap.customs) {
		if f.Name != "" && !strings.EqualFold(f.Name, r.def.Name) || f.Type != "" && !strings.EqualFold(f.Type, r.def.Type) {
			continue
		}
		if r.def.AssignableAt(scope) || f.Below && r.def.assignableBelow(scope) {
			found = append(found, *r.def)
		}
	}
	return found
}

// RoleByID returns a role by the ARM id of its definition, or its GUID.
func (s *Service) RoleByID(id string) (Role, error) {
	guid, err := ParseRoleDefinitionID(id)
	if err != nil {
		return Role{}, err
	}
	def, ok := s.Snapshot().Role(guid)
	if !ok {
		return Role{}, fault.E(fault.NotFound, "RoleDefinitionDoesNotExist",
			"The specified role definition with ID '%s' does not exist.", guid)
	}
	return def, nil
}

// assignableBelow reports whether the role can be assigned somewhere below the scope.
func (r *Role) assignableBelow(scope armid.ID) bool {
	return slices.ContainsFunc(r.AssignableScopes, func(text string) bool {
		id, err := armid.Parse(text)
		return err == nil && scope.Contains(id)
	})
}

// Role returns a role by its GUID.
func (s *Snapshot) Role(id string) (Role, bool) {
	r, ok := s.roles[strings.ToLower(id)]
	if !ok {
		return Role{}, false
	}
	return *r.def, true
}

func (s *Snapshot) builtIn(id string) (*role, bool) {
	r, ok := s.roles[id]
	return r, ok && r.def.Type == BuiltIn
}

// find returns a principal's assignment of a role at exactly that scope.
func (s *Snapshot) find(principal, roleID string, scope armid.ID) *Assignment {
	h := s.holder(principal)
	if h == nil {
		return nil
	}
	for i := range h.grants {
		a := h.grants[i].assignment
		if strings.EqualFold(a.RoleID, roleID) && a.Scope.Equal(scope) {
			return a
		}
	}
	return nil
}

func (s *Snapshot) isGone(principal string) bool {
	h := s.holder(principal)
	return h != nil && h.gone
}

// lastAdmin reports whether a lets its principal change assignments at a
// subscription or the root, and no other assignment lets anybody do so there.
func (s *Snapshot) lastAdmin(a *Assignment) bool {
	if !a.Scope.IsRoot() && (a.Scope.IsResource() || a.Scope.ResourceGroupName() != "") || s.isGone(a.PrincipalID) {
		return false
	}
	admin := func(g *grant) bool { return g.active() && g.role.allows(WriteAssignments, false) }
	own := s.bind(a)
	if !admin(&own) {
		return false
	}
	for g, gone := range s.all {
		if !gone && g.assignment.Name != a.Name && g.assignment.Scope.Contains(a.Scope) && admin(g) {
			return false
		}
	}
	return true
}
