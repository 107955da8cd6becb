package rbac

import (
	"strings"
	"testing"

	"lapis/armid"
)

// FuzzTrailHidesNothing: a trail may pass over a scope only if it does not contain the asked one.
func FuzzTrailHidesNothing(f *testing.F) {
	long := "/subscriptions/s/resourceGroups/g/providers/A.B" + strings.Repeat("/t/n", 8)
	for _, pair := range [][2]string{
		{"/", "/subscriptions/s"},
		{"/subscriptions/S", "/subscriptions/s/resourceGroups/RG"},
		{"/subscriptions/s/resourceGroups/rg1", "/subscriptions/s/resourceGroups/rg10"},
		{"/subscriptions/s/resourceGroups/\u212aelvin", "/subscriptions/s/resourceGroups/kelvin"},
		{"/subscriptions/s/resourceGroups/kelvin", "/subscriptions/s/resourceGroups/\u212aelvin"},
		{"/subscriptions/s/resourceGroups/glass", "/subscriptions/s/resourceGroups/gla\u017f\u017f/providers/A.B/t/n"},
		{"/subscriptions/s/resourceGroups/12345678", "/subscriptions/s/resourceGroups/12345678"},
		{"/subscriptions/s/resourceGroups/a@b", "/subscriptions/s/resourceGroups/a`b"},
		{long, long + "/t/n"}, {long + "/t/n", long}, {long, strings.ToUpper(long)},
	} {
		f.Add(pair[0], pair[1])
	}
	f.Fuzz(func(t *testing.T, outer, inner string) {
		a, errA := armid.Parse(outer)
		b, errB := armid.Parse(inner)
		if errA != nil || errB != nil {
			t.Skip()
		}
		var tr trail
		tr.set(b)
		if a.Contains(b) && !tr.mayHold(markOf(a)) {
			t.Errorf("%q contains %q and would be passed over", outer, inner)
		}
		snap := NewSnapshot(nil, []Assignment{{Name: "1", RoleID: Owner, PrincipalID: "p", Scope: a}}, nil)
		if got := snap.Decide(Query{PrincipalID: "p", Action: "A/b/read", Scope: b}).Allowed; got != a.Contains(b) {
			t.Errorf("owner at %q asks at %q: got %v", outer, inner, got)
		}
	})
}

func TestOtherScopesArePassedOver(t *testing.T) {
	var tr trail
	tr.set(armid.MustParse("/subscriptions/s/resourceGroups/rg1/providers/A.B/t/n"))
	for _, outer := range []string{"/subscriptions/s2", "/subscriptions/s/resourceGroups/rg2", "/subscriptions/s/resourceGroups/rg1/providers/A.B/t/n/u/m"} {
		if tr.mayHold(markOf(armid.MustParse(outer))) {
			t.Errorf("%s is not passed over", outer)
		}
	}
}
