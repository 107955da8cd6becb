package page

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"time"

	"lapis/rbac"
)

const (
	keepRefusals = 200
	longestScope = 2 << 10 // bytes; no name that exists is as long
)

// Refusals remember the latest queries that roles refused, each once with how
// often and when: a script that tries again and again is one of them. It is safe
// for use by several goroutines. The zero value is ready.
type Refusals struct {
	mu    sync.Mutex
	known map[refusalKey]*Refusal
}

// Refusal is a query that was refused, at least once.
type Refusal struct {
	Query       rbac.Query
	Times       int
	First, Last time.Time
}

type refusalKey struct {
	principal, action, scope, plane string
	data                            bool
}

// Add notes a refusal.
func (r *Refusals) Add(q rbac.Query, at time.Time) {
	scope := q.Scope.Key()
	if len(scope) > longestScope {
		return
	}
	key := refusalKey{strings.ToLower(q.PrincipalID), strings.ToLower(q.Action), scope, q.Plane, q.Data}
	r.mu.Lock()
	defer r.mu.Unlock()
	if seen := r.known[key]; seen != nil {
		seen.Times++
		seen.Last = at
		return
	}
	if r.known == nil {
		r.known = map[refusalKey]*Refusal{}
	}
	if len(r.known) >= keepRefusals {
		r.dropOldest()
	}
	r.known[key] = &Refusal{Query: q, Times: 1, First: at, Last: at}
}

func (r *Refusals) dropOldest() {
	var oldest refusalKey
	var last time.Time
	for key, one := range r.known {
		if last.IsZero() || one.Last.Before(last) {
			oldest, last = key, one.Last
		}
	}
	delete(r.known, oldest)
}

// Latest returns them, the latest first.
func (r *Refusals) Latest() []Refusal {
	r.mu.Lock()
	list := make([]Refusal, 0, len(r.known))
	for _, one := range r.known {
		list = append(list, *one)
	}
	r.mu.Unlock()
	slices.SortFunc(list, func(a, b Refusal) int {
		return cmp.Or(b.Last.Compare(a.Last), b.First.Compare(a.First), strings.Compare(a.Query.Scope.Key(), b.Query.Scope.Key()))
	})
	return list
}
