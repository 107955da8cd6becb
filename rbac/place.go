package rbac

import (
	"iter"
	"slices"
	"sync"
	"unicode/utf8"

	"lapis/armid"
)

// places tells who has assignments where, so that the end of a resource and
// the list at a scope look at few of thousands. It may name somebody who no
// longer has one there; who looks asks the snapshot.
type places struct {
	mu     sync.RWMutex
	at     map[string][]string // principals by the key of a scope, one entry for each assignment
	within map[string]int      // assignments at a scope or below it, by its key
	odd    int                 // assignments at scopes that have no key: letters outside ASCII have case rules of their own
}

func newPlaces(assignments []Assignment) *places {
	p := &places{at: map[string][]string{}, within: map[string]int{}}
	for i := range assignments {
		p.add(&assignments[i])
	}
	return p
}

// placeKey is a scope's key, "" if it has none.
func placeKey(scope armid.ID) string {
	key := scope.Key()
	for i := range len(key) {
		if key[i] >= utf8.RuneSelf {
			return ""
		}
	}
	return key
}

func (p *places) add(a *Assignment) {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := placeKey(a.Scope)
	if key == "" {
		p.odd++
		return
	}
	p.at[key] = append(p.at[key], a.PrincipalID)
	p.count(key, 1)
}

func (p *places) remove(a *Assignment) {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := placeKey(a.Scope)
	if key == "" {
		p.odd--
		return
	}
	all := p.at[key]
	i := slices.Index(all, a.PrincipalID)
	if i < 0 {
		return
	}
	last := len(all) - 1
	all[i] = all[last]
	if all[last] = ""; last == 0 {
		delete(p.at, key)
	} else {
		p.at[key] = all[:last]
	}
	p.count(key, -1)
}

// count adds to the numbers of a scope and of all above it but the root.
func (p *places) count(key string, n int) {
	for above := range prefixes(key) {
		if p.within[above] += n; p.within[above] == 0 {
			delete(p.within, above)
		}
	}
}

// prefixes yields the keys of a scope and of all above it but the root.
func prefixes(key string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := 1; i <= len(key) && key != "/"; i++ {
			if (i == len(key) || key[i] == '/') && !yield(key[:i]) {
				return
			}
		}
	}
}

// below returns who has assignments at a scope or below it; false if only a
// look at everybody tells.
func (p *places) below(scope armid.ID) ([]string, bool) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	key := placeKey(scope)
	if p.odd > 0 || key == "" || scope.IsRoot() || p.within[key] != len(p.at[key]) {
		return nil, false
	}
	return distinct(p.at[key]), true
}

// above returns who has assignments at a scope or above it; false if only a
// look at everybody tells.
func (p *places) above(scope armid.ID) ([]string, bool) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	key := placeKey(scope)
	if p.odd > 0 || key == "" {
		return nil, false
	}
	all := slices.Clone(p.at[armid.Root.Key()])
	for above := range prefixes(key) {
		all = append(all, p.at[above]...)
	}
	return distinct(all), true
}

func distinct(names []string) []string {
	names = slices.Clone(names)
	slices.Sort(names)
	return slices.Compact(names)
}

// grantsOf yields the grants of some principals, of everybody if not known.
func (s *Snapshot) grantsOf(principals []string, known bool) func(yield func(*grant, bool) bool) {
	if !known {
		return s.all
	}
	return func(yield func(*grant, bool) bool) {
		for _, principal := range principals {
			h := s.holder(principal)
			if h == nil {
				continue
			}
			for i := range h.grants {
				if !yield(&h.grants[i], h.gone) {
					return
				}
			}
		}
	}
}
