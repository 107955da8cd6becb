package rbac

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/google/uuid"

	"lapis/armid"
	"lapis/fault"
	"lapis/store"
)

// Limits of an assignment's texts, in bytes.
const maxDescription = 2 << 10

// AssignRequest asks for an assignment.
type AssignRequest struct {
	Scope            armid.ID
	Name             string // GUID; "" has one made
	RoleDefinitionID string // ARM id of the role at any scope, or its GUID
	PrincipalID      string
	PrincipalType    string // "" asks the directory, which must then know the principal
	Description      string
	By               string // object id of the caller

	// What we do not do; each is refused when it is set.
	Condition         string
	ConditionVersion  string
	CanDelegate       bool
	DelegatedIdentity string // delegatedManagedIdentityResourceId
}

// Assign makes an assignment, or updates the description of the one of that
// name. created tells which. A repeat changes nothing and is no error.
//
// Faults, with Azure's codes: InvalidRoleAssignmentId, InvalidPrincipalId,
// InvalidPrincipalType, PrincipalNotFound, UnmatchedPrincipalType,
// InvalidRoleDefinitionId (Invalid); RoleDefinitionDoesNotExist (NotFound);
// RoleAssignmentExists (Conflict); RoleAssignmentUpdateNotPermitted (Invalid).
func (s *Service) Assign(ctx context.Context, req AssignRequest) (a Assignment, created bool, err error) {
	wanted, err := s.check(req)
	if err != nil {
		return Assignment{}, false, err
	}
	err = s.update(ctx, func(tx store.Tx) (err error) {
		a, created, err = s.put(tx, wanted)
		return err
	}, func(snap *Snapshot) *Snapshot {
		if created {
			s.places.Load().add(&a)
		}
		return snap.withAssignment(a)
	})
	if err != nil {
		return Assignment{}, false, err
	}
	return a, created, nil
}

// SystemAssign makes an assignment on the platform's own account, under the
// rules of [Service.Assign]. An assignment of the same role that is there
// already will do, whatever its name.
func (s *Service) SystemAssign(ctx context.Context, scope armid.ID, roleID, principalID, principalType, description string) (Assignment, error) {
	a, _, err := s.Assign(ctx, AssignRequest{
		Scope: scope, RoleDefinitionID: roleID, PrincipalID: principalID, PrincipalType: principalType, Description: description,
	})
	if !fault.HasCode(err, "RoleAssignmentExists") {
		return a, err
	}
	at := s.Snapshot().find(principalID, roleID, scope)
	if at == nil {
		return Assignment{}, err
	}
	return *at, nil
}

// check turns a request into an assignment, and refuses what needs no look at the store.
func (s *Service) check(req AssignRequest) (Assignment, error) {
	if err := refuseUnsupported(req); err != nil {
		return Assignment{}, err
	}
	if req.Name == "" {
		id, err := uuid.NewRandomFromReader(s.cfg.Rand)
		if err != nil {
			return Assignment{}, fault.Wrap(err, "naming a role assignment")
		}
		req.Name = id.String()
	}
	if !isGUID(req.Name) {
		return Assignment{}, fault.E(fault.Invalid, "InvalidRoleAssignmentId",
			"The role assignment ID '%s' is not valid. The role assignment ID must be a GUID.", req.Name).At("roleAssignmentName")
	}
	if len(req.Description) > maxDescription {
		return Assignment{}, fault.E(fault.Invalid, "InvalidRoleAssignmentDescription",
			"The description has %d bytes; a role assignment's may have %d.", len(req.Description), maxDescription).At("properties.description")
	}
	kind, err := s.checkPrincipal(req)
	if err != nil {
		return Assignment{}, err
	}
	roleID, err := s.checkRole(req)
	if err != nil {
		return Assignment{}, err
	}
	now := s.cfg.Now().UTC()
	return Assignment{
		Name: strings.ToLower(req.Name), Scope: req.Scope, RoleID: roleID,
		PrincipalID: strings.ToLower(req.PrincipalID), PrincipalType: kind, Description: req.Description,
		CreatedOn: now, CreatedBy: req.By, UpdatedOn: now, UpdatedBy: req.By,
	}, nil
}

func refuseUnsupported(req AssignRequest) error {
	switch {
	case req.Condition != "" || req.ConditionVersion != "":
		return fault.E(fault.Invalid, "RoleAssignmentConditionNotSupported",
			"This platform does not evaluate conditions, and an assignment whose condition is not evaluated would grant too much. "+
				"Leave out condition and conditionVersion, and assign the role at a narrower scope instead.").At("properties.condition")
	case req.CanDelegate:
		return fault.E(fault.Invalid, "CanDelegateNotSupported",
			"This platform does not support canDelegate. Leave it out.").At("properties.canDelegate")
	case req.DelegatedIdentity != "":
		return fault.E(fault.Invalid, "DelegatedManagedIdentityNotSupported",
			"This platform has one tenant, so delegatedManagedIdentityResourceId cannot be used. Leave it out.").
			At("properties.delegatedManagedIdentityResourceId")
	}
	return nil
}

// checkPrincipal returns the kind of the principal.
func (s *Service) checkPrincipal(req AssignRequest) (string, error) {
	if !isGUID(req.PrincipalID) {
		return "", fault.E(fault.Invalid, "InvalidPrincipalId",
			"A valid principal ID must be provided for role assignment: '%s' is not an object ID (a GUID).", req.PrincipalID).At("properties.principalId")
	}
	kind, err := canonicalKind(req.PrincipalType)
	if err != nil {
		return "", err
	}
	known, ok := s.kindOf(req.PrincipalID)
	switch {
	case s.Snapshot().isGone(req.PrincipalID), !ok && kind == "":
		return "", fault.E(fault.Invalid, "PrincipalNotFound",
			"Principal %s does not exist in the directory. Check that you have the correct principal ID (the object ID, not the client ID). "+
				"If it was made a moment ago in another directory, set principalType, such as ServicePrincipal, User, or Group.", req.PrincipalID).
			At("properties.principalId")
	case ok && kind != "" && known != "" && !strings.EqualFold(known, kind):
		return "", fault.E(fault.Invalid, "UnmatchedPrincipalType",
			"The PrincipalId '%s' has type '%s', which is different from specified PrincipalType '%s'.", req.PrincipalID, known, kind).
			At("properties.principalType")
	case ok && known != "":
		return known, nil
	case kind != "":
		return kind, nil
	}
	return ServicePrincipal, nil
}

func canonicalKind(kind string) (string, error) {
	if kind == "" {
		return "", nil
	}
	kinds := []string{User, Group, ServicePrincipal, ForeignGroup, Device}
	at := slices.IndexFunc(kinds, func(k string) bool { return strings.EqualFold(k, kind) })
	if at < 0 {
		return "", fault.E(fault.Invalid, "InvalidPrincipalType",
			"The principalType '%s' is not one of %s.", kind, strings.Join(kinds, ", ")).At("properties.principalType")
	}
	return kinds[at], nil
}

// checkRole returns the id of the role, which must exist and be assignable at the scope.
func (s *Service) checkRole(req AssignRequest) (string, error) {
	id, err := ParseRoleDefinitionID(req.RoleDefinitionID)
	if err != nil {
		return "", err
	}
	def, ok := s.Snapshot().Role(id)
	if !ok {
		return "", fault.E(fault.NotFound, "RoleDefinitionDoesNotExist",
			"The specified role definition with ID '%s' does not exist.", id).At("properties.roleDefinitionId")
	}
	if !def.AssignableAt(req.Scope) {
		return "", fault.E(fault.NotFound, "RoleDefinitionDoesNotExist",
			"The role definition '%s' (%s) cannot be assigned at '%s': its assignableScopes are %s.",
			def.Name, id, req.Scope, strings.Join(def.AssignableScopes, ", ")).At("properties.roleDefinitionId")
	}
	return id, nil
}

// ParseRoleDefinitionID reads the ARM id of a role definition at any scope, or
// a bare GUID, and returns the GUID in lower case.
func ParseRoleDefinitionID(s string) (string, error) {
	name := s
	if strings.HasPrefix(s, "/") {
		id, err := armid.Parse(s)
		if err != nil || !id.Is(DefinitionType) {
			return "", invalidRoleID(s)
		}
		name = id.Name()
	}
	if !isGUID(name) {
		return "", invalidRoleID(s)
	}
	return strings.ToLower(name), nil
}

func invalidRoleID(s string) *fault.Error {
	return fault.E(fault.Invalid, "InvalidRoleDefinitionId",
		"The role definition ID '%s' is not valid. Give the ID of a role definition, such as "+
			"/subscriptions/{id}/providers/Microsoft.Authorization/roleDefinitions/{guid}.", s).At("properties.roleDefinitionId")
}

// put applies the rules that need the store.
func (s *Service) put(tx store.Tx, a Assignment) (_ Assignment, created bool, err error) {
	if _, builtIn := s.Snapshot().builtIn(a.RoleID); !builtIn {
		// The snapshot was read before the lock was: the role may be gone by now.
		if _, err := roleRecords().Get(tx, a.RoleID); errors.Is(err, store.ErrNotFound) {
			return a, false, fault.E(fault.NotFound, "RoleDefinitionDoesNotExist",
				"The specified role definition with ID '%s' does not exist.", a.RoleID).At("properties.roleDefinitionId")
		} else if err != nil {
			return a, false, err
		}
	}
	old, err := assignmentRecords().Get(tx, a.Name)
	if err == nil {
		return replace(tx, old, a)
	}
	if !errors.Is(err, store.ErrNotFound) {
		return a, false, err
	}
	key := tripleKey(a.PrincipalID, a.RoleID, a.Scope.Key())
	switch existing, err := tripleRecords().Get(tx, key); {
	case err == nil:
		return a, false, fault.E(fault.Conflict, "RoleAssignmentExists",
			"The role assignment already exists. The ID of the existing role assignment is %s.", existing.Value)
	case !errors.Is(err, store.ErrNotFound):
		return a, false, err
	}
	if _, err := tripleRecords().Put(tx, key, a.Name, store.Absent); err != nil {
		return a, false, err
	}
	_, err = assignmentRecords().Put(tx, a.Name, a, store.Absent)
	return a, true, err
}

// replace updates the description of an assignment; nothing else may change.
func replace(tx store.Tx, old store.Entry[Assignment], a Assignment) (Assignment, bool, error) {
	was := old.Value
	if was.PrincipalID != a.PrincipalID || was.RoleID != a.RoleID || !was.Scope.Equal(a.Scope) {
		return a, false, fault.E(fault.Invalid, "RoleAssignmentUpdateNotPermitted",
			"Tenant ID, application ID, principal ID, and scope are not allowed to be updated. "+
				"The name %s belongs to the assignment of role %s to %s at %s; delete it first, or use another name.",
			was.Name, was.RoleID, was.PrincipalID, was.Scope)
	}
	if was.Description == a.Description {
		return was, false, nil
	}
	was.Description, was.UpdatedOn, was.UpdatedBy = a.Description, a.UpdatedOn, a.UpdatedBy
	_, err := assignmentRecords().Put(tx, was.Name, was, old.Version)
	return was, false, err
}

// Unassign deletes the assignment of that name at that scope. It returns what
// it deleted; false means that there was none, which is no error.
//
// The last assignment that lets somebody change assignments at a subscription
// or at the root stays: CannotDeleteLastRbacAdminAssignment (Precondition).
func (s *Service) Unassign(ctx context.Context, scope armid.ID, name string) (a Assignment, found bool, err error) {
	name = strings.ToLower(name)
	err = s.update(ctx, func(tx store.Tx) error {
		a, found = Assignment{}, false
		e, err := assignmentRecords().Get(tx, name)
		if errors.Is(err, store.ErrNotFound) || err == nil && !e.Value.Scope.Equal(scope) {
			return nil
		}
		if err != nil {
			return err
		}
		a, found = e.Value, true
		if s.Snapshot().lastAdmin(&a) {
			return fault.E(fault.Precondition, "CannotDeleteLastRbacAdminAssignment",
				"Cannot delete the last RBAC admin assignment: without %s nobody could assign roles at %s. Assign Owner to somebody else first.",
				a.Name, a.Scope)
		}
		if err := tripleRecords().Delete(tx, tripleKey(a.PrincipalID, a.RoleID, a.Scope.Key()), store.Any); err != nil {
			return err
		}
		return assignmentRecords().Delete(tx, name, store.Any)
	}, func(snap *Snapshot) *Snapshot {
		if !found {
			return snap
		}
		s.places.Load().remove(&a)
		return snap.without(a)
	})
	if err != nil || !found {
		return Assignment{}, false, err
	}
	return a, true, nil
}

// RemoveScope deletes every assignment at a resource or resource group that
// has been deleted, and below it: who may do what does not outlive what it was
// about, or a new resource of the same name would begin with old grants. It is
// idempotent. Scopes that are never deleted (the root, a subscription) are refused.
func (s *Service) RemoveScope(ctx context.Context, scope armid.ID) error {
	if scope.ResourceGroupName() == "" && !scope.IsResource() {
		return fault.E(fault.Invalid, "InvalidScope", "The assignments at '%s' cannot be removed together.", scope)
	}
	var gone []Assignment
	return s.update(ctx, func(tx store.Tx) error {
		gone = nil
		for g := range s.Snapshot().grantsOf(s.places.Load().below(scope)) {
			a := *g.assignment
			if !scope.Contains(a.Scope) {
				continue
			}
			if err := tripleRecords().Delete(tx, tripleKey(a.PrincipalID, a.RoleID, a.Scope.Key()), store.Any); err != nil {
				return err
			}
			if err := assignmentRecords().Delete(tx, a.Name, store.Any); err != nil {
				return err
			}
			gone = append(gone, a)
		}
		return nil
	}, func(snap *Snapshot) *Snapshot {
		for _, a := range gone {
			s.places.Load().remove(&a)
			snap = snap.without(a)
		}
		return snap
	})
}

// RemovePrincipal makes the assignments of a deleted principal give nothing,
// for ever: object ids are never used again. The assignments stay and are
// listed, as Azure does; Unassign removes them. It is idempotent.
func (s *Service) RemovePrincipal(ctx context.Context, objectID string) error {
	objectID = strings.ToLower(objectID)
	return s.update(ctx, func(tx store.Tx) error {
		_, err := goneRecords().Put(tx, objectID, s.cfg.Now().UTC(), store.Any)
		return err
	}, func(snap *Snapshot) *Snapshot { return snap.withGone(objectID) })
}
