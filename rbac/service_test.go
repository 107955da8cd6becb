package rbac_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lapis/armid"
	"lapis/fault"
	"lapis/rbac"
	"lapis/store"
	"lapis/store/memory"
	"lapis/store/sqlite"
)

const (
	alice = "a11ce000-0000-4000-8000-000000000001"
	bob   = "b0b00000-0000-4000-8000-000000000002"
	team  = "7ea30000-0000-4000-8000-000000000003"
	ghost = "60057000-0000-4000-8000-000000000004"
	one   = "11111111-1111-4111-8111-111111111111"
	two   = "22222222-2222-4222-8222-222222222222"
	read  = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read"
)

var (
	sub     = armid.Subscription("5b000000-0000-4000-8000-00000000000a")
	group   = armid.ResourceGroup("5b000000-0000-4000-8000-00000000000a", "rg1")
	account = group.Provider("Microsoft.Storage/storageAccounts", "data1")
	blob    = account.Child("blobServices", "default").Child("containers", "c").Child("blobs", "hello.txt")
)

func directory(id string) (string, bool) {
	kind, ok := map[string]string{alice: rbac.ServicePrincipal, bob: rbac.User, team: rbac.Group}[id]
	return kind, ok
}

func open(t *testing.T, st store.Store) *rbac.Service {
	t.Helper()
	s, err := rbac.Open(t.Context(), rbac.Config{
		Store: st, PrincipalExists: directory,
		Now:      func() time.Time { return time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC) },
		GroupsOf: func(string) []string { return []string{team} },
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func request(name, role, principal string, scope armid.ID) rbac.AssignRequest {
	return rbac.AssignRequest{Scope: scope, Name: name, RoleDefinitionID: rbac.RoleDefinitionID(scope, role), PrincipalID: principal, By: bob}
}

func mustAssign(t *testing.T, s *rbac.Service, req rbac.AssignRequest) rbac.Assignment {
	t.Helper()
	a, _, err := s.Assign(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func wantCode(t *testing.T, err error, kind fault.Kind, code string) {
	t.Helper()
	if !fault.HasCode(err, code) || !fault.Is(err, kind) {
		t.Errorf("got error %v, want kind %d code %s", err, kind, code)
	}
}

func TestChangeActsAtTheNextRequest(t *testing.T) {
	s := open(t, memory.New())
	q := rbac.Query{PrincipalID: alice, Action: read, Data: true, Scope: blob}
	for range 3 {
		wantCode(t, s.Require(t.Context(), q), fault.Denied, "AuthorizationFailed")
		a := mustAssign(t, s, request(one, rbac.BlobDataReader, alice, account))
		if err := s.Require(t.Context(), q); err != nil {
			t.Fatal(err)
		}
		if _, found, err := s.Unassign(t.Context(), a.Scope, a.Name); err != nil || !found {
			t.Fatal(found, err)
		}
	}
	wantCode(t, s.Require(t.Context(), q), fault.Denied, "AuthorizationFailed")
}

func TestReaderCannotWrite(t *testing.T) {
	s := open(t, memory.New())
	mustAssign(t, s, request(one, rbac.BlobDataReader, alice, account))
	write := strings.TrimSuffix(read, "read") + "write"
	for _, q := range []rbac.Query{
		{PrincipalID: alice, Action: write, Data: true, Scope: blob},
		{PrincipalID: alice, Action: read, Data: false, Scope: blob},
		{PrincipalID: bob, Action: read, Data: true, Scope: blob},
		{PrincipalID: alice, Action: read, Data: true, Scope: group},
		{PrincipalID: alice, Action: read, Data: true, Scope: group.Provider("Microsoft.Storage/storageAccounts", "data10")},
	} {
		wantCode(t, s.Require(t.Context(), q), fault.Denied, "AuthorizationFailed")
	}
}

func TestDenialNamesWhatMendsIt(t *testing.T) {
	var heard []fault.Denial
	s, err := rbac.Open(t.Context(), rbac.Config{
		Store: memory.New(), PrincipalExists: directory, OnDenied: func(d fault.Denial) { heard = append(heard, d) },
	})
	if err != nil {
		t.Fatal(err)
	}
	err = s.Require(t.Context(), rbac.Query{PrincipalID: alice, Action: read, Data: true, Scope: blob})
	want := fault.Denial{
		Principal: alice, Action: read, Scope: blob.String(), Role: "Storage Blob Data Reader", RoleScope: account.String(),
		Remedy: "az role assignment create --assignee-object-id " + alice + ` --assignee-principal-type ServicePrincipal --role "Storage Blob Data Reader" --scope ` + account.String(),
	}
	var f *fault.Error
	if !errors.As(err, &f) || f.Denial == nil {
		t.Fatalf("no denial in %v", err)
	}
	if diff := cmp.Diff(want, *f.Denial); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]fault.Denial{want}, heard); diff != "" {
		t.Error(diff)
	}
	for _, part := range []string{alice, read, blob.String()} {
		if !strings.Contains(f.Message, "'"+part+"'") {
			t.Errorf("the message does not name %s: %s", part, f.Message)
		}
	}
}

func TestLinkedDenialNamesBothActions(t *testing.T) {
	s := open(t, memory.New())
	identity := group.Provider("Microsoft.ManagedIdentity/userAssignedIdentities", "id1")
	assign := rbac.Query{PrincipalID: alice, Action: "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action", Scope: identity}
	q := rbac.Query{PrincipalID: alice, Action: "Microsoft.MachineLearningServices/workspaces/onlineEndpoints/write", Scope: group}
	err := s.RequireLinked(t.Context(), q, assign)
	wantCode(t, err, fault.Denied, "LinkedAuthorizationFailed")
	if d := fault.From(err).Denial; d.Role != "Managed Identity Operator" || d.RoleScope != identity.String() {
		t.Errorf("advice is %+v", d)
	}
	mustAssign(t, s, request(one, rbac.IdentityOperator, alice, identity))
	if err := s.RequireLinked(t.Context(), q, assign); err != nil {
		t.Error(err)
	}
}

func TestAssignRules(t *testing.T) {
	base := request(one, rbac.Reader, alice, group)
	with := func(change func(*rbac.AssignRequest)) rbac.AssignRequest {
		req := base
		change(&req)
		return req
	}
	cases := []struct {
		name string
		req  rbac.AssignRequest
		kind fault.Kind
		code string // "" means 200, nothing made
	}{
		{"identical repeat", base, 0, ""},
		{"identical in other case", request(one, strings.ToUpper(rbac.Reader), strings.ToUpper(alice), armid.MustParse(strings.ToUpper(group.String()))), 0, ""},
		{"same triple, other name", with(func(r *rbac.AssignRequest) { r.Name = two }), fault.Conflict, "RoleAssignmentExists"},
		{"same name, other principal", with(func(r *rbac.AssignRequest) { r.PrincipalID = bob }), fault.Invalid, "RoleAssignmentUpdateNotPermitted"},
		{"same name, other role", request(one, rbac.Owner, alice, group), fault.Invalid, "RoleAssignmentUpdateNotPermitted"},
		{"same name, other scope", request(one, rbac.Reader, alice, account), fault.Invalid, "RoleAssignmentUpdateNotPermitted"},
		{"name is no guid", with(func(r *rbac.AssignRequest) { r.Name = "mine" }), fault.Invalid, "InvalidRoleAssignmentId"},
		{"principal is no guid", with(func(r *rbac.AssignRequest) { r.PrincipalID = "alice" }), fault.Invalid, "InvalidPrincipalId"},
		{"unknown principal", with(func(r *rbac.AssignRequest) { r.PrincipalID = ghost }), fault.Invalid, "PrincipalNotFound"},
		{"wrong principal type", with(func(r *rbac.AssignRequest) { r.PrincipalType = "User" }), fault.Invalid, "UnmatchedPrincipalType"},
		{"odd principal type", with(func(r *rbac.AssignRequest) { r.PrincipalType = "Robot" }), fault.Invalid, "InvalidPrincipalType"},
		{"no such role", request(one, ghost, alice, group), fault.NotFound, "RoleDefinitionDoesNotExist"},
		{"role id of another type", with(func(r *rbac.AssignRequest) { r.RoleDefinitionID = account.String() }), fault.Invalid, "InvalidRoleDefinitionId"},
		{"role by name", with(func(r *rbac.AssignRequest) { r.RoleDefinitionID = "Reader" }), fault.Invalid, "InvalidRoleDefinitionId"},
		{"condition", with(func(r *rbac.AssignRequest) { r.Condition = "@Resource[a] StringEquals 'b'" }), fault.Invalid, "RoleAssignmentConditionNotSupported"},
		{"condition version alone", with(func(r *rbac.AssignRequest) { r.ConditionVersion = "2.0" }), fault.Invalid, "RoleAssignmentConditionNotSupported"},
		{"canDelegate", with(func(r *rbac.AssignRequest) { r.CanDelegate = true }), fault.Invalid, "CanDelegateNotSupported"},
		{"delegated identity", with(func(r *rbac.AssignRequest) { r.DelegatedIdentity = "/x" }), fault.Invalid, "DelegatedManagedIdentityNotSupported"},
		{"long description", with(func(r *rbac.AssignRequest) { r.Description = strings.Repeat("x", 2049) }), fault.Invalid, "InvalidRoleAssignmentDescription"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := open(t, memory.New())
			first := mustAssign(t, s, base)
			a, created, err := s.Assign(t.Context(), c.req)
			if c.code != "" {
				wantCode(t, err, c.kind, c.code)
			} else if err != nil || created || !cmp.Equal(a, first, cmp.Comparer(armid.ID.Equal)) {
				t.Errorf("got %+v, created %v, %v", a, created, err)
			}
			all := s.Assignments(armid.Root, rbac.Filter{})
			if len(all) != 1 || !cmp.Equal(all[0], first, cmp.Comparer(armid.ID.Equal)) {
				t.Errorf("the assignments are now %+v", all)
			}
		})
	}
}

func TestUnknownPrincipalIsTakenWithItsType(t *testing.T) {
	s := open(t, memory.New())
	req := request(one, rbac.Reader, ghost, group)
	req.PrincipalType = "serviceprincipal"
	if a := mustAssign(t, s, req); a.PrincipalType != rbac.ServicePrincipal {
		t.Errorf("type is %q", a.PrincipalType)
	}
	if a := mustAssign(t, s, request(two, rbac.Reader, bob, group)); a.PrincipalType != rbac.User {
		t.Errorf("the directory says User, the assignment %q", a.PrincipalType)
	}
}

func TestDescriptionCanBeChanged(t *testing.T) {
	s := open(t, memory.New())
	req := request(one, rbac.Reader, alice, group)
	mustAssign(t, s, req)
	req.Description, req.By = "for the nightly run", alice
	a, created, err := s.Assign(t.Context(), req)
	if err != nil || created || a.Description != req.Description || a.UpdatedBy != alice || a.CreatedBy != bob {
		t.Errorf("got %+v, created %v, %v", a, created, err)
	}
	if got, err := s.Get(group, one); err != nil || got.Description != req.Description {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestUnassignIsExactAboutScope(t *testing.T) {
	s := open(t, memory.New())
	mustAssign(t, s, request(one, rbac.Reader, alice, group))
	for _, c := range []struct {
		scope armid.ID
		name  string
	}{{account, one}, {sub, one}, {group, two}, {group, "nonsense"}} {
		if _, found, err := s.Unassign(t.Context(), c.scope, c.name); found || err != nil {
			t.Errorf("%s at %s: found %v, %v", c.name, c.scope, found, err)
		}
	}
	if _, err := s.Get(account, one); !fault.HasCode(err, "RoleAssignmentNotFound") {
		t.Errorf("got %v", err)
	}
	if _, found, err := s.Unassign(t.Context(), group, strings.ToUpper(one)); !found || err != nil {
		t.Error(found, err)
	}
	mustAssign(t, s, request(two, rbac.Reader, alice, group)) // the triple is free again
}

func TestLastAdminStays(t *testing.T) {
	s := open(t, memory.New())
	mustAssign(t, s, request(one, rbac.Owner, bob, sub))
	_, _, err := s.Unassign(t.Context(), sub, one)
	wantCode(t, err, fault.Precondition, "CannotDeleteLastRbacAdminAssignment")

	// An admin below, or one who is gone, does not count; one above does.
	mustAssign(t, s, request("33333333-3333-4333-8333-333333333333", rbac.Owner, alice, group))
	_, _, err = s.Unassign(t.Context(), sub, one)
	wantCode(t, err, fault.Precondition, "CannotDeleteLastRbacAdminAssignment")
	if _, found, err := s.Unassign(t.Context(), group, "33333333-3333-4333-8333-333333333333"); !found || err != nil {
		t.Error("an admin of a group must be removable:", err)
	}
	mustAssign(t, s, request(two, rbac.UserAccessAdministrator, alice, armid.Root))
	if _, found, err := s.Unassign(t.Context(), sub, one); !found || err != nil {
		t.Error(found, err)
	}
	_, _, err = s.Unassign(t.Context(), armid.Root, two)
	wantCode(t, err, fault.Precondition, "CannotDeleteLastRbacAdminAssignment")

	mustAssign(t, s, request(one, rbac.Owner, bob, armid.Root))
	if err := s.RemovePrincipal(t.Context(), bob); err != nil {
		t.Fatal(err)
	}
	_, _, err = s.Unassign(t.Context(), armid.Root, two)
	wantCode(t, err, fault.Precondition, "CannotDeleteLastRbacAdminAssignment")
	if _, found, err := s.Unassign(t.Context(), armid.Root, one); !found || err != nil {
		t.Error("the assignment of somebody who is gone must be removable:", err)
	}
}

func TestRemovedPrincipalKeepsItsAssignmentsWithoutEffect(t *testing.T) {
	st := memory.New()
	s := open(t, st)
	mustAssign(t, s, request(one, rbac.BlobDataReader, alice, account))
	if err := s.RemovePrincipal(t.Context(), strings.ToUpper(alice)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		q := rbac.Query{PrincipalID: alice, Action: read, Data: true, Scope: blob}
		wantCode(t, s.Require(t.Context(), q), fault.Denied, "AuthorizationFailed")
		if e := s.Explain(q); len(e.Looked) != 1 || e.Looked[0].Reason != rbac.ReasonGone {
			t.Errorf("explained as %+v", e.Looked)
		}
		if n := len(s.Assignments(account, rbac.Filter{})); n != 1 {
			t.Errorf("%d assignments are listed", n)
		}
		req := request(two, rbac.BlobDataOwner, alice, account)
		req.PrincipalType = rbac.ServicePrincipal
		_, _, err := s.Assign(t.Context(), req)
		wantCode(t, err, fault.Invalid, "PrincipalNotFound")
		s = open(t, st) // and after a restart
	}
}

func TestRestartFindsEverything(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lapis.db")
	st, err := sqlite.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, st)
	mustAssign(t, s, request(one, rbac.BlobDataReader, alice, account))
	mustAssign(t, s, request(two, rbac.Owner, bob, sub))
	if _, _, err := s.PutRole(t.Context(), customRole("33333333-3333-4333-8333-333333333333", "Blob Lister")); err != nil {
		t.Fatal(err)
	}
	want, roles := s.Assignments(armid.Root, rbac.Filter{}), s.Roles(sub, rbac.RoleFilter{Type: rbac.Custom})
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	if st, err = sqlite.Open(path); err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	s = open(t, st)
	if diff := cmp.Diff(want, s.Assignments(armid.Root, rbac.Filter{}), cmp.Comparer(armid.ID.Equal)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(roles, s.Roles(sub, rbac.RoleFilter{Type: rbac.Custom})); diff != "" || len(roles) != 1 {
		t.Error(len(roles), diff)
	}
	if err := s.Require(t.Context(), rbac.Query{PrincipalID: alice, Action: read, Data: true, Scope: blob}); err != nil {
		t.Error(err)
	}
}

func TestSystemAssignTakesWhatIsThere(t *testing.T) {
	s := open(t, memory.New())
	a, err := s.SystemAssign(t.Context(), account, rbac.BlobDataReader, alice, "", "by the service")
	if err != nil {
		t.Fatal(err)
	}
	again, err := s.SystemAssign(t.Context(), account, rbac.BlobDataReader, alice, "", "by the service")
	if err != nil || again.Name != a.Name {
		t.Errorf("got %+v, %v", again, err)
	}
	if _, err := s.SystemAssign(t.Context(), account, rbac.BlobDataReader, ghost, "", ""); !fault.HasCode(err, "PrincipalNotFound") {
		t.Errorf("got %v", err)
	}
}

func TestSimultaneousAssignmentsMakeOne(t *testing.T) {
	s := open(t, memory.New())
	var wg sync.WaitGroup
	var mu sync.Mutex
	outcomes := map[string]int{}
	for range 40 {
		wg.Go(func() {
			_, created, err := s.Assign(context.Background(), request("", rbac.Reader, alice, group))
			mu.Lock()
			defer mu.Unlock()
			switch {
			case created:
				outcomes["created"]++
			case fault.HasCode(err, "RoleAssignmentExists"):
				outcomes["exists"]++
			default:
				outcomes["other"]++
			}
		})
	}
	wg.Wait()
	if diff := cmp.Diff(map[string]int{"created": 1, "exists": 39}, outcomes); diff != "" {
		t.Error(diff)
	}
}

// lossy commits and then reports a failure, as a store does whose caller went
// away during the commit.
type lossy struct {
	store.Store
	lose bool
}

func (l *lossy) Update(ctx context.Context, fn func(store.Tx) error) error {
	err := l.Store.Update(ctx, fn)
	if err == nil && l.lose {
		return errors.New("the answer was lost")
	}
	return err
}

func TestLostCommitIsNotForgotten(t *testing.T) {
	st := &lossy{Store: memory.New()}
	s := open(t, st)
	a := mustAssign(t, s, request(one, rbac.BlobDataReader, alice, account))
	st.lose = true
	_, _, err := s.Unassign(t.Context(), a.Scope, a.Name)
	wantCode(t, err, fault.Internal, "InternalServerError")
	q := rbac.Query{PrincipalID: alice, Action: read, Data: true, Scope: blob}
	wantCode(t, s.Require(t.Context(), q), fault.Denied, "AuthorizationFailed")
}

func TestListsFollowScopeAndFilter(t *testing.T) {
	s := open(t, memory.New())
	mustAssign(t, s, request("00000000-0000-4000-8000-000000000000", rbac.Owner, bob, armid.Root))
	mustAssign(t, s, request("10000000-0000-4000-8000-000000000000", rbac.Reader, alice, sub))
	mustAssign(t, s, request("20000000-0000-4000-8000-000000000000", rbac.Reader, team, group))
	mustAssign(t, s, request("30000000-0000-4000-8000-000000000000", rbac.BlobDataReader, alice, account))
	mustAssign(t, s, request("40000000-0000-4000-8000-000000000000", rbac.Reader, alice, armid.ResourceGroup(sub.SubscriptionID(), "rg10")))
	cases := []struct {
		scope  armid.ID
		filter string
		want   string // first digits
	}{
		{group, "", "0123"},
		{group, "atScope()", "012"},
		{sub, "", "01234"},
		{armid.Root, "", "01234"},
		{armid.Root, "atScope()", "0"},
		{account, "atScope()", "0123"},
		{group, "principalId eq '" + alice + "'", "13"},
		{group, "atScope() and principalId eq '" + strings.ToUpper(alice) + "'", "1"},
		{group, "assignedTo('" + alice + "')", "123"},
		{group, "atScope() and assignedTo('" + alice + "')", "12"},
		{group, "assignedTo('" + alice + "') and principalId eq '" + team + "'", "2"},
		{group, "assignedTo('" + alice + "') and principalId eq '" + bob + "'", ""},
		{group, "principalId eq '" + ghost + "'", ""},
	}
	for _, c := range cases {
		f, err := rbac.ParseFilter(c.filter)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, a := range s.Assignments(c.scope, f) {
			got += a.Name[:1]
		}
		if got != c.want {
			t.Errorf("%s with %q: got %s, want %s", c.scope, c.filter, got, c.want)
		}
	}
}
