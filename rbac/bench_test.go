package rbac

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"lapis/armid"
)

// crowd is 100,000 assignments of 20,000 principals, as a large tenant has them.
func crowd() (*Snapshot, []Assignment, []Query) {
	rng := rand.New(rand.NewPCG(1, 2))
	roles := BuiltInRoles()
	var all []Assignment
	for i := range 100_000 {
		scope := armid.ResourceGroup(fmt.Sprintf("11111111-2222-3333-4444-%012d", rng.IntN(20)), fmt.Sprintf("rg-%d", rng.IntN(500)))
		if rng.IntN(3) > 0 {
			scope = scope.Provider("Microsoft.Storage/storageAccounts", fmt.Sprintf("account%d", rng.IntN(50)))
		}
		all = append(all, Assignment{Name: guid(i), Scope: scope, RoleID: roles[rng.IntN(len(roles))].ID, PrincipalID: principalOf(i % 20_000)})
	}
	var queries []Query
	for i := range 1024 { // one query in two finds its grant
		a := Assignment{Name: guid(200_000 + i), RoleID: BlobDataReader, PrincipalID: principalOf(rng.IntN(20_000)), Scope: all[rng.IntN(len(all))].Scope}
		box := a.Scope.Provider("Microsoft.Storage/storageAccounts", "mine").Child("blobServices", "default").Child("containers", "c")
		queries = append(queries, Query{PrincipalID: a.PrincipalID, Action: blobs + "read", Data: true, Scope: box})
		if i%2 == 0 {
			all = append(all, a)
		}
	}
	return NewSnapshot(nil, all, nil), all, queries
}

func principalOf(i int) string {
	return fmt.Sprintf("%08x-aaaa-bbbb-cccc-%012x", i*2654435761%(1<<32), i)
}

func withGroups(queries []Query, n int) []Query {
	out := make([]Query, len(queries))
	for i, q := range queries {
		out[i] = q
		for j := range n {
			out[i].Groups = append(out[i].Groups, principalOf((i*31+j*977)%20_000))
		}
	}
	return out
}

func BenchmarkDecide(b *testing.B) {
	snap, all, queries := crowd()
	grouped := withGroups(queries, 10)
	run := func(queries []Query) func(*testing.B) {
		return func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				snap.Decide(queries[i%len(queries)])
			}
		}
	}
	b.Run("100k", run(queries))
	b.Run("100k/10groups", run(grouped))
	b.Run("100k/naive-scan", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			scan(snap, all, queries[i%len(queries)])
		}
	})
	b.Run("100k/denial", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			snap.Denial(queries[i%len(queries)], "")
		}
	})
	b.Run("100k/change", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			snap.withAssignment(all[i%len(all)])
		}
	})
	b.Run("100k/rebuild", func(b *testing.B) {
		for b.Loop() {
			NewSnapshot(nil, all, nil)
		}
	})
}

// scan is the decision without an index, over compiled roles.
func scan(snap *Snapshot, all []Assignment, q Query) bool {
	for i := range all {
		a := &all[i]
		if a.PrincipalID == q.PrincipalID && a.Scope.Contains(q.Scope) && snap.roles[a.RoleID].allows(q.Action, q.Data) {
			return true
		}
	}
	return false
}

func TestDecideAllocatesNothing(t *testing.T) {
	snap, _, queries := crowd()
	grouped := withGroups(queries, 3)
	i := 0
	if n := testing.AllocsPerRun(2000, func() {
		snap.Decide(queries[i%len(queries)])
		snap.Decide(grouped[i%len(grouped)])
		i++
	}); n != 0 {
		t.Errorf("%v allocations a decision", n)
	}
}
