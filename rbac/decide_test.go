package rbac

import (
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"lapis/armid"
)

// decide is the rule of the decision written for being obviously right: it
// walks everything, with regular expressions and plain strings.
func (s *slow) decide(roles []Role, assignments []Assignment, gone []string, q Query) bool {
	if q.Action == "" {
		return false
	}
	for _, who := range append([]string{q.PrincipalID}, q.Groups...) {
		if anyEqual(gone, who) {
			continue
		}
		for _, a := range assignments {
			if a.Condition != "" || !strings.EqualFold(a.PrincipalID, who) || !above(a.Scope.String(), q.Scope.String()) {
				continue
			}
			for _, r := range roles {
				if strings.EqualFold(r.ID, a.RoleID) && s.role(r, q.Action, q.Data) {
					return true
				}
			}
		}
	}
	return false
}

// slow remembers what the regular expressions said; the tests ask the same often.
type slow struct {
	exprs   map[string]*regexp.Regexp
	answers map[[2]string]bool
}

func newSlow() *slow { return &slow{map[string]*regexp.Regexp{}, map[[2]string]bool{}} }

func (s *slow) match(pattern, action string) bool {
	key := [2]string{pattern, lowerSlow(action)}
	got, ok := s.answers[key]
	if !ok {
		if s.exprs[pattern] == nil {
			s.exprs[pattern] = slowExpr(pattern)
		}
		got = s.exprs[pattern].MatchString(key[1])
		s.answers[key] = got
	}
	return got
}

func (s *slow) matchAny(patterns []string, action string) bool {
	for _, p := range patterns {
		if s.match(p, action) {
			return true
		}
	}
	return false
}

func (s *slow) role(r Role, action string, data bool) bool {
	for _, p := range r.Permissions {
		allow, except := p.Actions, p.NotActions
		if data {
			allow, except = p.DataActions, p.NotDataActions
		}
		if s.matchAny(allow, action) && !s.matchAny(except, action) {
			return true
		}
	}
	return false
}

func anyEqual(list []string, s string) bool {
	for _, e := range list {
		if strings.EqualFold(e, s) {
			return true
		}
	}
	return false
}

// above compares scopes as text, with a slash at each end to keep rg1 from rg10.
func above(outer, inner string) bool {
	return strings.HasPrefix(strings.ToLower(inner)+"/", strings.ToLower(strings.TrimSuffix(outer, "/"))+"/")
}

// world is a small universe with many near misses.
type world struct {
	rng     *rand.Rand
	scopes  []armid.ID
	actions []string
	custom  []Role
}

func newWorld(seed uint64) *world {
	w := &world{rng: rand.New(rand.NewPCG(seed, 1))}
	w.scopes = append(w.scopes, armid.Root)
	for _, sub := range []string{"s1", "s10"} {
		w.scopes = append(w.scopes, armid.Subscription(sub))
		for _, rg := range []string{"rg1", "rg10", "RG1"} {
			g := armid.ResourceGroup(sub, rg)
			acct := g.Provider("Microsoft.Storage/storageAccounts", "acct")
			box := acct.Child("blobServices", "default").Child("containers", "c1")
			w.scopes = append(w.scopes, g, acct, g.Provider("microsoft.storage/storageaccounts", "acct1"), box, box.Child("blobs", "x"),
				acct.Provider("Microsoft.Authorization/roleAssignments", "n"),
				g.Provider("Microsoft.MachineLearningServices/workspaces", "w").Child("onlineEndpoints", "e"))
		}
	}
	for _, r := range BuiltInRoles() {
		for _, p := range r.Permissions {
			for _, list := range [][]string{p.Actions, p.NotActions, p.DataActions, p.NotDataActions} {
				for _, text := range list {
					w.actions = append(w.actions, strings.ReplaceAll(text, "*", "x"), strings.ReplaceAll(text, "/*/", "/"))
				}
			}
		}
	}
	for i := range 12 {
		w.custom = append(w.custom, Role{
			ID: guid(1000 + i), Name: fmt.Sprint("custom ", i), Type: Custom, AssignableScopes: []string{"/subscriptions/s1"},
			Permissions: []Permission{w.permission(), w.permission()},
		})
	}
	return w
}

func guid(n int) string { return fmt.Sprintf("00000000-0000-0000-0000-%012x", n) }

func pick[T any](rng *rand.Rand, list []T) T { return list[rng.IntN(len(list))] }

func (w *world) permission() Permission {
	return Permission{Actions: w.patterns(), NotActions: w.patterns(), DataActions: w.patterns(), NotDataActions: w.patterns()}
}

func (w *world) patterns() []string {
	var out []string
	for range w.rng.IntN(3) {
		parts := strings.Split(pick(w.rng, w.actions), "/")
		for i := range parts {
			if w.rng.IntN(3) == 0 {
				parts[i] = "*"
			}
		}
		out = append(out, strings.Join(parts, "/"))
	}
	return out
}

// twist changes the case of some letters.
func (w *world) twist(s string) string {
	if w.rng.IntN(4) > 0 {
		return s
	}
	b := []byte(s)
	for i := range b {
		if w.rng.IntN(3) == 0 {
			b[i] = strings.ToUpper(string(b[i]))[0]
		}
	}
	return string(b)
}

func (w *world) state() (assignments []Assignment, gone []string) {
	roles := append(BuiltInRoles(), w.custom...)
	for i := range w.rng.IntN(25) {
		a := Assignment{
			Name: guid(i), Scope: pick(w.rng, w.scopes), PrincipalID: w.twist(guid(0xabc0 + w.rng.IntN(4))),
			RoleID: w.twist(pick(w.rng, roles).ID),
		}
		switch w.rng.IntN(20) {
		case 0:
			a.Condition = "true"
		case 1:
			a.RoleID = guid(77777) // a role that is not there
		}
		assignments = append(assignments, a)
	}
	if w.rng.IntN(8) == 0 {
		gone = append(gone, guid(0xabc0+w.rng.IntN(4)))
	}
	return assignments, gone
}

func (w *world) query() Query {
	q := Query{
		PrincipalID: w.twist(guid(0xabc0 + w.rng.IntN(5))), Action: w.twist(pick(w.rng, w.actions)),
		Data: w.rng.IntN(2) == 0, Scope: pick(w.rng, w.scopes),
	}
	for range w.rng.IntN(3) {
		q.Groups = append(q.Groups, guid(0xabc0+w.rng.IntN(5)))
	}
	return q
}

func TestDecisionAgreesWithReference(t *testing.T) {
	// For a long run: LAPIS_RBAC_STATES=50000 asks ten million questions.
	const seed, queries = 20261122, 200
	states := 1000
	if n, err := strconv.Atoi(os.Getenv("LAPIS_RBAC_STATES")); err == nil {
		states = n
	}
	t.Logf("seed %d, %d cases", seed, states*queries)
	w, ref := newWorld(seed), newSlow()
	roles := append(BuiltInRoles(), w.custom...)
	allowed := 0
	for range states {
		assignments, gone := w.state()
		snap := NewSnapshot(w.custom, assignments, gone)
		for range queries {
			q := w.query()
			got, want := snap.Decide(q), ref.decide(roles, assignments, gone, q)
			if got.Allowed != want {
				t.Fatalf("%+v: got %v, the reference says %v\nassignments %+v\ngone %v", q, got.Allowed, want, assignments, gone)
			}
			if !want {
				continue
			}
			allowed++
			if !above(got.Assignment.Scope.String(), q.Scope.String()) || !ref.role(*got.Role, q.Action, q.Data) {
				t.Fatalf("%+v: the named assignment %+v with role %s does not allow it", q, got.Assignment, got.Role.Name)
			}
		}
	}
	if allowed < states*queries/100 {
		t.Errorf("only %d cases were allowed: the test asks the wrong questions", allowed)
	}
}

func TestExplanationAgreesWithDecision(t *testing.T) {
	w := newWorld(7)
	for range 400 {
		assignments, gone := w.state()
		snap := NewSnapshot(w.custom, assignments, gone)
		for range 20 {
			q := w.query()
			e := snap.Explain(q)
			some := false
			for _, l := range e.Looked {
				some = some || l.Reason == ReasonAllows
				if l.Detail == "" {
					t.Fatalf("no detail for %+v", l)
				}
			}
			if some != e.Decision.Allowed {
				t.Fatalf("%+v: decision %v, looks %+v", q, e.Decision.Allowed, e.Looked)
			}
		}
	}
}

// TestSuggestedRoleAllows assigns what a denial advises and asks again.
func TestSuggestedRoleAllows(t *testing.T) {
	w := newWorld(99)
	empty := NewSnapshot(w.custom, nil, nil)
	advised := 0
	for range 3000 {
		q := w.query()
		advice := empty.Advise(q, "")
		if advice.Role == "" {
			continue
		}
		advised++
		a := Assignment{Name: guid(1), Scope: advice.Scope, RoleID: empty.named(advice.Role).ID, PrincipalID: q.PrincipalID}
		if !empty.withAssignment(a).Decide(q).Allowed {
			t.Fatalf("%+v: assigning %+v does not allow it", q, advice)
		}
	}
	if advised < 1000 {
		t.Errorf("only %d of 3000 queries got advice", advised)
	}
}

func TestChangedSnapshotEqualsRebuiltOne(t *testing.T) {
	w := newWorld(5)
	snap := NewSnapshot(w.custom, nil, nil)
	kept := map[string]Assignment{}
	var gone []string
	for i := range 600 {
		switch w.rng.IntN(10) {
		case 0, 1, 2:
			for _, a := range kept {
				snap = snap.without(a)
				delete(kept, a.Name)
				break
			}
		case 3:
			if i%100 == 0 {
				p := guid(0xabc0 + w.rng.IntN(4))
				gone, snap = append(gone, p), snap.withGone(p)
			}
		default:
			a := Assignment{Name: guid(i), Scope: pick(w.rng, w.scopes), PrincipalID: guid(0xabc0 + w.rng.IntN(5)), RoleID: pick(w.rng, BuiltInRoles()).ID}
			kept[a.Name], snap = a, snap.withAssignment(a)
		}
		var list []Assignment
		for _, a := range kept {
			list = append(list, a)
		}
		fresh := NewSnapshot(w.custom, list, gone)
		if snap.Len() != fresh.Len() {
			t.Fatalf("step %d: %d assignments, rebuilt %d", i, snap.Len(), fresh.Len())
		}
		for range 20 {
			if q := w.query(); snap.Decide(q).Allowed != fresh.Decide(q).Allowed {
				t.Fatalf("step %d: %+v differs from a rebuilt snapshot", i, q)
			}
		}
	}
}

func TestNotActionsStayWithinTheirBlock(t *testing.T) {
	role := Role{ID: guid(1), Name: "r", Type: Custom, AssignableScopes: []string{"/"}, Permissions: []Permission{
		{Actions: []string{"A.B/*"}, NotActions: []string{"A.B/t/write"}},
		{Actions: []string{"A.B/t/write"}},
	}}
	narrow := Role{ID: guid(2), Name: "n", Type: Custom, AssignableScopes: []string{"/"}, Permissions: role.Permissions[:1]}
	snap := NewSnapshot([]Role{role, narrow}, []Assignment{
		{Name: "1", RoleID: guid(1), PrincipalID: "two blocks"},
		{Name: "2", RoleID: guid(2), PrincipalID: "one block"},
		{Name: "3", RoleID: guid(2), PrincipalID: "one block and owner"},
		{Name: "4", RoleID: Owner, PrincipalID: "one block and owner"},
	}, nil)
	for who, want := range map[string]bool{"two blocks": true, "one block": false, "one block and owner": true} {
		if got := snap.Decide(Query{PrincipalID: who, Action: "A.B/t/write"}).Allowed; got != want {
			t.Errorf("%s: got %v", who, got)
		}
	}
}

func TestEmptyQueryIsDenied(t *testing.T) {
	snap := NewSnapshot(nil, []Assignment{{Name: "1", RoleID: Owner, PrincipalID: "p"}}, nil)
	for _, q := range []Query{{}, {PrincipalID: "p"}, {Action: "A/b/read"}, {PrincipalID: "p", Action: "A/b/read", Data: true}} {
		if snap.Decide(q).Allowed {
			t.Errorf("%+v is allowed", q)
		}
	}
	if !snap.Decide(Query{PrincipalID: "p", Action: "A/b/read"}).Allowed {
		t.Error("Owner at the root cannot read")
	}
}
