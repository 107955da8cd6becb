package rbac

import (
	"maps"
	"slices"
	"strings"

	"lapis/armid"
)

// Query asks whether a principal may do an action at a scope.
type Query struct {
	PrincipalID string   // object id
	Groups      []string // object ids of the groups that hold the principal, transitively
	Action      string   // such as Microsoft.Storage/storageAccounts/read; never a pattern
	Data        bool     // the action is a data action
	Scope       armid.ID // what the action is done to
	Plane       string   // who asks, for [Config.OnDecided]; it decides nothing
}

// Decision answers a query. Its pointers lead into the snapshot: read only.
type Decision struct {
	Allowed    bool
	Assignment *Assignment // the one that allows it
	Role       *Role       // its role
}

// Snapshot is every role and assignment at one moment. It never changes, so
// any number of goroutines may ask it.
type Snapshot struct {
	roles    map[string]*role // by id, lower case
	builtins []*role          // in the order of the table
	customs  []*role          // by name
	shards   [shardCount]map[string]*holder
	count    int
}

// shardCount splits the index by principal, so that one change copies one part.
const shardCount = 256

// holder is what one principal has.
type holder struct {
	grants []grant
	gone   bool // the principal was removed: its grants are listed and give nothing
}

// grant is an assignment with its role, or nil where the role is unknown.
type grant struct {
	mark       mark // of the assignment's scope
	assignment *Assignment
	role       *role
}

// active reports whether the grant can give anything.
func (g *grant) active() bool { return g.role != nil && g.assignment.Condition == "" }

// NewSnapshot builds a snapshot of the built-in roles, custom roles and
// assignments. Principals in gone hold their assignments without effect.
func NewSnapshot(custom []Role, assignments []Assignment, gone []string) *Snapshot {
	s := &Snapshot{roles: map[string]*role{}}
	builtins := BuiltInRoles()
	for i := range builtins {
		r := compileRole(&builtins[i])
		s.builtins = append(s.builtins, r)
		s.roles[r.def.ID] = r
	}
	for _, def := range custom {
		r := compileRole(&def)
		s.customs = append(s.customs, r)
		s.roles[strings.ToLower(def.ID)] = r
	}
	slices.SortFunc(s.customs, func(a, b *role) int { return strings.Compare(a.def.Name, b.def.Name) })
	for i := range assignments {
		h := s.own(lowerASCII(assignments[i].PrincipalID))
		h.grants = append(h.grants, s.bind(&assignments[i]))
		s.count++
	}
	for _, principal := range gone {
		s.own(lowerASCII(principal)).gone = true
	}
	return s
}

// own returns the principal's holder while the snapshot is being built.
func (s *Snapshot) own(principal string) *holder {
	shard := &s.shards[shardOf(principal)]
	if *shard == nil {
		*shard = map[string]*holder{}
	}
	h := (*shard)[principal]
	if h == nil {
		h = &holder{}
		(*shard)[principal] = h
	}
	return h
}

func (s *Snapshot) bind(a *Assignment) grant {
	return grant{mark: markOf(a.Scope), assignment: a, role: s.roles[strings.ToLower(a.RoleID)]}
}

// with returns a snapshot in which change has been applied to a copy of the
// principal's holder. It shares everything else with s.
func (s *Snapshot) with(principal string, change func(*holder)) *Snapshot {
	next := *s
	i := shardOf(principal)
	shard := maps.Clone(s.shards[i])
	if shard == nil {
		shard = map[string]*holder{}
	}
	h := &holder{}
	if old := shard[principal]; old != nil {
		h.grants, h.gone = slices.Clone(old.grants), old.gone
		next.count -= len(old.grants)
	}
	change(h)
	next.count += len(h.grants)
	shard[principal] = h
	if len(h.grants) == 0 && !h.gone {
		delete(shard, principal)
	}
	next.shards[i] = shard
	return &next
}

// withAssignment adds an assignment, or replaces the one of the same name.
func (s *Snapshot) withAssignment(a Assignment) *Snapshot {
	return s.with(lowerASCII(a.PrincipalID), func(h *holder) {
		h.grants = slices.DeleteFunc(h.grants, func(g grant) bool { return g.assignment.Name == a.Name })
		h.grants = append(h.grants, s.bind(&a))
	})
}

// without removes an assignment.
func (s *Snapshot) without(a Assignment) *Snapshot {
	return s.with(lowerASCII(a.PrincipalID), func(h *holder) {
		h.grants = slices.DeleteFunc(h.grants, func(g grant) bool { return g.assignment.Name == a.Name })
	})
}

// withGone makes a principal's assignments give nothing.
func (s *Snapshot) withGone(principal string) *Snapshot {
	return s.with(principal, func(h *holder) { h.gone = true })
}

// holder returns what a principal has, or nil.
func (s *Snapshot) holder(principal string) *holder {
	principal = lowerASCII(principal)
	return s.shards[shardOf(principal)][principal]
}

// Len returns the number of assignments.
func (s *Snapshot) Len() int { return s.count }

// Decide answers the query. It is pure and allocates nothing.
func (s *Snapshot) Decide(q Query) Decision {
	if q.Action == "" {
		return Decision{}
	}
	var t trail
	t.set(q.Scope)
	if d := s.holder(q.PrincipalID).decide(&q, &t); d.Allowed {
		return d
	}
	for _, group := range q.Groups {
		if d := s.holder(group).decide(&q, &t); d.Allowed {
			return d
		}
	}
	return Decision{}
}

func (h *holder) decide(q *Query, t *trail) Decision {
	if h == nil || h.gone {
		return Decision{}
	}
	for i := range h.grants {
		g := &h.grants[i]
		if t.mayHold(g.mark) && g.active() && g.assignment.Scope.Contains(q.Scope) && g.role.allows(q.Action, q.Data) {
			return Decision{Allowed: true, Assignment: g.assignment, Role: g.role.def}
		}
	}
	return Decision{}
}

// all yields every grant and whether its principal is gone, in no order.
func (s *Snapshot) all(yield func(g *grant, gone bool) bool) {
	for _, shard := range s.shards {
		for _, h := range shard {
			for i := range h.grants {
				if !yield(&h.grants[i], h.gone) {
					return
				}
			}
		}
	}
}

// shardOf spreads principals over the shards (FNV-1a of the last bytes, which
// differ most in a GUID).
func shardOf(principal string) int {
	h := uint32(2166136261)
	for i := max(0, len(principal)-8); i < len(principal); i++ {
		h = (h ^ uint32(principal[i])) * 16777619
	}
	return int(h % shardCount)
}
