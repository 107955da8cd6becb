package rbac_test

import (
	"strings"
	"testing"

	"lapis/armid"
	"lapis/fault"
	"lapis/rbac"
	"lapis/store/memory"
)

const custom1 = "c0570000-0000-4000-8000-000000000001"

func customRole(id, name string) rbac.RoleRequest {
	return rbac.RoleRequest{
		ID: id, Name: name, AssignableScopes: []string{sub.String()}, By: bob,
		Permissions: []rbac.Permission{{DataActions: []string{read}}},
	}
}

func TestCustomRoleActsAndChangesAtOnce(t *testing.T) {
	st := memory.New()
	s := open(t, st)
	req := customRole(custom1, "Blob Lister")
	if _, created, err := s.PutRole(t.Context(), req); err != nil || !created {
		t.Fatal(created, err)
	}
	mustAssign(t, s, request(one, custom1, alice, account))
	q := rbac.Query{PrincipalID: alice, Action: read, Data: true, Scope: blob}
	if err := s.Require(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	req.Permissions[0].NotDataActions = []string{"*/READ"}
	r, created, err := s.PutRole(t.Context(), req)
	if err != nil || created || r.CreatedBy != bob {
		t.Fatal(r, created, err)
	}
	wantCode(t, s.Require(t.Context(), q), fault.Denied, "AuthorizationFailed")

	_, _, err = s.DeleteRole(t.Context(), custom1)
	wantCode(t, err, fault.Invalid, "RoleDefinitionHasAssignments")
	if _, _, err := s.Unassign(t.Context(), account, one); err != nil {
		t.Fatal(err)
	}
	if _, found, err := s.DeleteRole(t.Context(), rbac.RoleDefinitionID(sub, strings.ToUpper(custom1))); err != nil || !found {
		t.Fatal(found, err)
	}
	if _, found, err := s.DeleteRole(t.Context(), custom1); err != nil || found {
		t.Fatal(found, err)
	}
	_, err = s.RoleByID(custom1)
	wantCode(t, err, fault.NotFound, "RoleDefinitionDoesNotExist")
	_, _, err = s.Assign(t.Context(), request(one, custom1, alice, account))
	wantCode(t, err, fault.NotFound, "RoleDefinitionDoesNotExist")
}

func TestCustomRoleRules(t *testing.T) {
	cases := []struct {
		name   string
		change func(*rbac.RoleRequest)
		kind   fault.Kind
		code   string
	}{
		{"id is no guid", func(r *rbac.RoleRequest) { r.ID = "mine" }, fault.Invalid, "InvalidRoleDefinitionId"},
		{"built-in id", func(r *rbac.RoleRequest) { r.ID = strings.ToUpper(rbac.Owner) }, fault.Invalid, "RoleDefinitionUpdateNotPermitted"},
		{"built-in type", func(r *rbac.RoleRequest) { r.Type = rbac.BuiltIn }, fault.Invalid, "InvalidRoleDefinitionType"},
		{"no name", func(r *rbac.RoleRequest) { r.Name = " " }, fault.Invalid, "InvalidRoleDefinitionName"},
		{"name of a built-in", func(r *rbac.RoleRequest) { r.Name = "OWNER" }, fault.Conflict, "RoleDefinitionWithSameNameExists"},
		{"no scope", func(r *rbac.RoleRequest) { r.AssignableScopes = nil }, fault.Invalid, "InvalidAssignableScopes"},
		{"root scope", func(r *rbac.RoleRequest) { r.AssignableScopes = []string{"/"} }, fault.Invalid, "InvalidAssignableScopes"},
		{"bad scope", func(r *rbac.RoleRequest) { r.AssignableScopes = []string{"subscriptions/x"} }, fault.Invalid, "InvalidAssignableScopes"},
		{"data action at a management group", func(r *rbac.RoleRequest) {
			r.AssignableScopes = []string{"/providers/Microsoft.Management/managementGroups/m"}
		}, fault.Invalid, "InvalidAssignableScopes"},
		{"no permission", func(r *rbac.RoleRequest) { r.Permissions = nil }, fault.Invalid, "InvalidRoleDefinitionPermissions"},
		{"only exclusions", func(r *rbac.RoleRequest) { r.Permissions = []rbac.Permission{{NotActions: []string{"*"}}} }, fault.Invalid, "InvalidRoleDefinitionPermissions"},
		{"action without a slash", func(r *rbac.RoleRequest) { r.Permissions[0].Actions = []string{"read"} }, fault.Invalid, "InvalidActionOrNotAction"},
		{"action with a space", func(r *rbac.RoleRequest) { r.Permissions[0].Actions = []string{"A.B/c d/read"} }, fault.Invalid, "InvalidActionOrNotAction"},
		{"condition", func(r *rbac.RoleRequest) { r.Conditional = true }, fault.Invalid, "RoleDefinitionConditionNotSupported"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := open(t, memory.New())
			req := customRole(custom1, "Blob Lister")
			c.change(&req)
			_, _, err := s.PutRole(t.Context(), req)
			wantCode(t, err, c.kind, c.code)
			if n := len(s.Roles(sub, rbac.RoleFilter{Type: rbac.Custom})); n != 0 {
				t.Errorf("%d custom roles are there", n)
			}
		})
	}
}

func TestBuiltInRoleCannotBeDeleted(t *testing.T) {
	_, _, err := open(t, memory.New()).DeleteRole(t.Context(), rbac.Reader)
	wantCode(t, err, fault.Invalid, "RoleDefinitionUpdateNotPermitted")
}

func TestCustomRoleStaysWithinItsScopes(t *testing.T) {
	s := open(t, memory.New())
	req := customRole(custom1, "Blob Lister")
	req.AssignableScopes = []string{group.String()}
	if _, _, err := s.PutRole(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	_, _, err := s.Assign(t.Context(), request(one, custom1, alice, sub))
	wantCode(t, err, fault.NotFound, "RoleDefinitionDoesNotExist")
	mustAssign(t, s, request(one, custom1, alice, account))

	count := func(scope armid.ID, filter string) int {
		f, err := rbac.ParseRoleFilter(filter)
		if err != nil {
			t.Fatal(err)
		}
		return len(s.Roles(scope, f))
	}
	builtins := len(rbac.BuiltInRoles())
	for _, c := range []struct {
		scope  armid.ID
		filter string
		want   int
	}{
		{account, "", builtins + 1},
		{sub, "", builtins},
		{sub, "atScopeAndBelow()", builtins + 1},
		{account, "type eq 'CustomRole'", 1},
		{account, "roleName eq 'blob lister'", 1},
		{sub, "roleName eq 'Blob Lister'", 0},
		{armid.Root, "roleName eq 'Storage Blob Data Reader'", 1},
		{account, "atScope() and roleName eq 'AcrPull' and type eq 'BuiltInRole'", 1},
		{account, "roleName eq 'Storage Blob'", 0},
	} {
		if got := count(c.scope, c.filter); got != c.want {
			t.Errorf("%s with %q: %d roles, want %d", c.scope, c.filter, got, c.want)
		}
	}
}
