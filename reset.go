package lapis

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"lapis/arm"
	"lapis/armid"
	"lapis/fault"
	"lapis/identity"
	"lapis/rbac"
	"lapis/resource"
)

// resetRoute is the row by which tests get a platform as the first start makes
// it, without a new process. It asks for an action that only roles with * give,
// and the handler for the right to delete role assignments besides.
func (s *Server) resetRoute() arm.Route {
	subscription := armid.Subscription(s.home.Subscription)
	return arm.Route{
		Method: http.MethodPost, Path: "/providers/Lapis.Platform/reset",
		Scope: subscription.String(), Action: "Lapis.Platform/reset/action",
		Handle: func(r *arm.Request) (arm.Answer, error) {
			if !s.cfg.Resettable {
				return arm.Answer{}, fault.E(fault.Denied, "ResetNotAllowed",
					"This platform was not started for tests and keeps what it holds. Start one of its own with `lapis up --resettable --data FOLDER`.")
			}
			if err := s.require(r.Context(), r.Caller.ObjectID, rbac.DropAssignments, false, subscription); err != nil {
				return arm.Answer{}, err
			}
			began := time.Now()
			deleted, err := s.reset(r.Context(), r.Caller)
			return arm.Answer{Body: resetBody{Deleted: deleted, Milliseconds: time.Since(began).Milliseconds()}}, err
		},
	}
}

// resetBody is the answer of a reset: the ids of what it deleted, without the
// parts that went with them.
type resetBody struct {
	Deleted      []string `json:"deleted"`
	Milliseconds int64    `json:"milliseconds"`
}

// reset deletes everything but what the first start makes, by the deletes that
// clients use, and sets that back to how it was made. It is not one
// transaction: whoever changes things meanwhile may find them gone, or not. One
// that fails can be repeated. The owner's secret and the account keys stay.
func (s *Server) reset(ctx context.Context, caller resource.Caller) ([]string, error) {
	s.resetting.Lock()
	defer s.resetting.Unlock()
	owner, ok := s.directory.ByObjectID(s.home.Owner)
	if !ok {
		return nil, fault.E(fault.Conflict, "OwnerMissing", "The platform's owner no longer exists; start it again to get another.")
	}
	if err := s.grantOwner(ctx, owner); err != nil { // before others go: the last administrator is never removed
		return nil, err
	}
	deleted, err := s.resetTree(ctx, caller)
	if err != nil {
		return deleted, err
	}
	if err := s.resetDefaults(ctx, owner); err != nil {
		return deleted, err
	}
	more, err := s.resetAccess(ctx, owner)
	return append(deleted, more...), err
}

// resetTree deletes resources: what lies in the default workspace, then every
// other resource and group.
func (s *Server) resetTree(ctx context.Context, caller resource.Caller) ([]string, error) {
	deleted := []string{}
	keep := map[string]bool{}
	made := s.defaultResources()
	for _, m := range made {
		keep[m.id.Key()] = true
	}
	below, err := s.tree.DeleteBelow(ctx, made[len(made)-1].id, caller)
	for _, id := range below {
		deleted = append(deleted, id.String())
	}
	if err != nil {
		return deleted, err
	}
	for _, typ := range slices.Backward(s.tree.Types()) { // groups were registered first and go last
		if typ.Virtual != nil || typ.ReadOnly || typ.ParentType() != "" {
			continue
		}
		found, err := s.tree.List(ctx, typ.Name, armid.Root)
		if err != nil {
			return deleted, err
		}
		for _, r := range found {
			if keep[r.ID.Key()] {
				continue
			}
			op, err := s.tree.Delete(ctx, r.ID, caller)
			if err == nil && op != nil {
				err = s.operations.Wait(ctx, op.ID)
			}
			if err != nil && !fault.Is(err, fault.NotFound) {
				return deleted, err
			}
			deleted = append(deleted, r.ID.String())
		}
	}
	return deleted, nil
}

// resetDefaults empties the default account and registry, and writes the
// default resources as the first start does where they are no longer so.
func (s *Server) resetDefaults(ctx context.Context, owner identity.Principal) error {
	made := s.defaultResources()
	account, images := made[1].id, made[2].id
	if err := s.blobs.DeleteAccount(ctx, account.Name()); err != nil {
		return err
	}
	if err := s.registries.DeleteRegistry(ctx, images.Name()); err != nil {
		return err
	}
	for _, m := range made {
		if err := s.putDefault(ctx, m, owner); err != nil {
			return err
		}
	}
	return nil
}

// resetAccess removes applications, role assignments and roles of users.
func (s *Server) resetAccess(ctx context.Context, owner identity.Principal) ([]string, error) {
	var deleted []string
	for _, p := range s.directory.List() {
		if p.Kind != identity.Application || p.ObjectID == owner.ObjectID {
			continue
		}
		if err := s.directory.DeleteApplication(ctx, p.ObjectID); err != nil {
			return deleted, err
		}
		deleted = append(deleted, "/applications/"+p.ClientID)
	}
	made := s.defaultResources()
	workspace, _ := s.directory.ByResource(made[len(made)-1].id.String())
	for _, a := range s.roles.Assignments(armid.Root, rbac.Filter{}) {
		if s.fromStart(a, owner.ObjectID, workspace.ObjectID) {
			continue
		}
		if _, _, err := s.roles.Unassign(ctx, a.Scope, a.Name); err != nil {
			return deleted, err
		}
		deleted = append(deleted, a.ID())
	}
	for _, role := range s.roles.Roles(armid.Subscription(s.home.Subscription), rbac.RoleFilter{Type: rbac.Custom, Below: true}) {
		if _, _, err := s.roles.DeleteRole(ctx, role.ID); err != nil {
			return deleted, err
		}
		deleted = append(deleted, "/providers/Microsoft.Authorization/roleDefinitions/"+role.ID)
	}
	return deleted, nil
}

// fromStart reports whether an assignment is one that the first start makes:
// the owner's, and those of the default workspace's identity.
func (s *Server) fromStart(a rbac.Assignment, owner, workspace string) bool {
	var names []string
	made := s.defaultResources()
	switch {
	case strings.EqualFold(a.PrincipalID, owner) && a.Scope.Equal(armid.Subscription(s.home.Subscription)):
		names = []string{"Owner"}
	case strings.EqualFold(a.PrincipalID, workspace) && a.Scope.Equal(made[1].id):
		names = []string{"Storage Blob Data Contributor"}
	case strings.EqualFold(a.PrincipalID, workspace) && a.Scope.Equal(made[2].id):
		names = []string{"AcrPush", "AcrPull"}
	}
	role, err := s.roles.RoleByID(a.RoleID)
	return err == nil && slices.Contains(names, role.Name)
}
