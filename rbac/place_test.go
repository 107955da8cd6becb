package rbac

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"lapis/armid"
	"lapis/store/memory"
)

// What lists and removals look at is compared with a look at everybody, over
// random changes. One scope has a letter with case rules of its own.
func TestPlacesLeaveNobodyOut(t *testing.T) {
	s, err := Open(t.Context(), Config{Store: memory.New()})
	if err != nil {
		t.Fatal(err)
	}
	group := armid.ResourceGroup("s1", "rg1")
	scopes := []armid.ID{armid.Root, armid.Subscription("s1"), group, armid.ResourceGroup("s1", "rg")}
	for n := range 4 {
		ws := group.Provider("Microsoft.MachineLearningServices/workspaces", fmt.Sprint("WS", n))
		scopes = append(scopes, ws, ws.Child("onlineEndpoints", "ep"), ws.Child("onlineEndpoints", "ep").Child("deployments", "blue"), ws.Child("onlineEndpoints", "ep-1"))
	}
	odd := group.Provider("Microsoft.MachineLearningServices/workspaces", "wſ1") // equals WS1 to who folds by Unicode's rules
	chance := rand.New(rand.NewPCG(1, 2))
	pick := func() armid.ID { return scopes[chance.IntN(len(scopes))] }
	for round := range 600 {
		if round == 500 {
			scopes = append(scopes, odd)
		}
		switch scope := pick(); chance.IntN(8) {
		case 0:
			if scope.ResourceGroupName() != "" {
				if err := s.RemoveScope(t.Context(), scope); err != nil {
					t.Fatal(err)
				}
				for g := range s.Snapshot().all {
					if scope.Contains(g.assignment.Scope) {
						t.Fatalf("round %d: %s outlives %s", round, g.assignment.Scope, scope)
					}
				}
			}
		case 1, 2:
			for g := range s.Snapshot().all {
				if _, _, err := s.Unassign(t.Context(), g.assignment.Scope, g.assignment.Name); err != nil {
					t.Fatal(err)
				}
				break
			}
		default:
			_, _, _ = s.Assign(t.Context(), AssignRequest{ // some are there already
				Scope: scope, RoleDefinitionID: BuiltInRoles()[5+chance.IntN(3)].ID, PrincipalType: User,
				PrincipalID: fmt.Sprintf("00000000-0000-4000-8000-%012d", chance.IntN(9)),
			})
		}
		scope := pick()
		want := []string{}
		for g := range s.Snapshot().all {
			if g.assignment.Scope.Contains(scope) {
				want = append(want, g.assignment.Name)
			}
			if got, err := s.Get(g.assignment.Scope, g.assignment.Name); err != nil || got.Name != g.assignment.Name {
				t.Fatalf("round %d: %s is not found at %s", round, g.assignment.Name, g.assignment.Scope)
			}
		}
		got := []string{}
		for _, a := range s.Assignments(scope, Filter{AtScope: true}) {
			got = append(got, a.Name)
		}
		slices.Sort(want)
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Fatalf("round %d: at %s: %v, want %v", round, scope, got, want)
		}
	}
	for g := range s.Snapshot().all {
		if _, _, err := s.Unassign(t.Context(), g.assignment.Scope, g.assignment.Name); err != nil {
			t.Fatal(err)
		}
	}
	if p := s.places.Load(); len(p.at) != 0 || len(p.within) != 0 || p.odd != 0 {
		t.Errorf("left: %v %v %d", p.at, p.within, p.odd)
	}
}

// readers is a service with as many endpoints that may read one account.
func readers(t testing.TB, count int) (*Service, func(n int) armid.ID) {
	t.Helper()
	group := armid.ResourceGroup("s1", "rg1")
	account := group.Provider("Microsoft.Storage/storageAccounts", "one")
	endpoint := func(n int) armid.ID {
		return group.Provider("Microsoft.MachineLearningServices/workspaces", "ws").Child("onlineEndpoints", fmt.Sprint("ep", n))
	}
	var all []Assignment
	for n := range count {
		all = append(all, Assignment{Name: fmt.Sprintf("00000000-0000-4000-8001-%012d", n), Scope: account, RoleID: Owner, PrincipalID: fmt.Sprintf("00000000-0000-4000-8000-%012d", n)})
	}
	s := &Service{cfg: Config{Store: memory.New()}}
	s.places.Store(newPlaces(all))
	s.snapshot.Store(NewSnapshot(nil, all, nil))
	return s, endpoint
}

func TestRemovedResourceLooksAtItsOwnAssignments(t *testing.T) {
	s, endpoint := readers(t, 1000)
	if who, known := s.places.Load().below(endpoint(7)); !known || len(who) != 0 {
		t.Errorf("one that has none: %d, %v", len(who), known)
	}
	a := Assignment{Name: "x", Scope: endpoint(8), RoleID: Owner, PrincipalID: "00000000-0000-4000-8000-000000000003"}
	s.places.Load().add(&a)
	if who, known := s.places.Load().below(endpoint(8)); !known || len(who) != 1 || who[0] != a.PrincipalID {
		t.Errorf("one that has one: %v, %v", who, known)
	}
	if who, known := s.places.Load().above(endpoint(8)); !known || len(who) != 1 {
		t.Errorf("above: %v, %v", who, known)
	}
}

func BenchmarkRemoveScope(b *testing.B) {
	for _, count := range []int{100, 20_000} {
		s, endpoint := readers(b, count)
		b.Run(fmt.Sprintf("among %d", count), func(b *testing.B) {
			for b.Loop() {
				if err := s.RemoveScope(context.Background(), endpoint(7)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
