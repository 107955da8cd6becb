package rbac

import (
	"fmt"

	"lapis/armid"
)

// Reason says what became of one assignment in a decision.
type Reason string

// The reasons.
const (
	ReasonAllows    Reason = "allows"                // grants the action
	ReasonScope     Reason = "other scope"           // the assignment's scope does not contain the asked one
	ReasonLacks     Reason = "role lacks the action" // no pattern of the role covers it
	ReasonExcluded  Reason = "notActions take it away"
	ReasonPlane     Reason = "role has it on the other plane" // actions instead of dataActions, or the reverse
	ReasonNoRole    Reason = "role definition is missing"
	ReasonCondition Reason = "has a condition" // we do not evaluate conditions
	ReasonGone      Reason = "principal was removed"
)

// Explanation is a decision with what led to it.
type Explanation struct {
	Query    Query
	Decision Decision
	Looked   []Look      // every assignment of the principal and of its groups
	Advice   Advice      // what would allow it; also filled when it is allowed
	WouldDo  []RoleMatch // roles that would allow it at Advice.Scope, least privilege first
}

// Look is one assignment that was looked at.
type Look struct {
	Assignment Assignment
	RoleName   string // "" where the definition is missing
	ViaGroup   string // object id of the group that holds it, or ""
	Reason     Reason
	Detail     string // one sentence for a person
}

// Explain decides as [Snapshot.Decide] does and says why.
func (s *Snapshot) Explain(q Query) Explanation {
	e := Explanation{Query: q, Decision: s.Decide(q)}
	e.Looked = s.look(q.PrincipalID, "", q, e.Looked)
	for _, group := range q.Groups {
		e.Looked = s.look(group, group, q, e.Looked)
	}
	e.WouldDo = s.Suggest(q)
	e.Advice = s.Advise(q, "")
	return e
}

func (s *Snapshot) look(holderID, via string, q Query, looks []Look) []Look {
	h := s.holder(holderID)
	if h == nil {
		return looks
	}
	for i := range h.grants {
		g := &h.grants[i]
		l := Look{Assignment: *g.assignment, ViaGroup: via}
		if g.role != nil {
			l.RoleName = g.role.def.Name
		}
		l.Reason, l.Detail = g.judge(q, h.gone)
		looks = append(looks, l)
	}
	return looks
}

// judge says what the grant gives for the query. It agrees with holder.decide.
func (g *grant) judge(q Query, gone bool) (Reason, string) {
	a := g.assignment
	switch {
	case gone:
		return ReasonGone, "The principal was removed; its assignments stay listed and give nothing."
	case g.role == nil:
		return ReasonNoRole, fmt.Sprintf("The role definition %s no longer exists.", a.RoleID)
	case a.Condition != "":
		return ReasonCondition, "The assignment has a condition, which this platform does not evaluate, so it gives nothing."
	case !a.Scope.Contains(q.Scope):
		return ReasonScope, fmt.Sprintf("It holds at %s, which does not contain %s.", a.Scope, q.Scope)
	}
	name := g.role.def.Name
	if g.role.allows(q.Action, q.Data) {
		allow, _, _ := g.role.covers(q.Action, q.Data)
		return ReasonAllows, fmt.Sprintf("%s grants %s through %q.", name, q.Action, allow)
	}
	if allow, except, ok := g.role.covers(q.Action, q.Data); ok {
		return ReasonExcluded, fmt.Sprintf("%s has %q, but takes away %q.", name, allow, except)
	}
	if allow, _, ok := g.role.covers(q.Action, !q.Data); ok {
		if q.Data {
			return ReasonPlane, fmt.Sprintf("%s has %q among its actions, and %s is a data action.", name, allow, q.Action)
		}
		return ReasonPlane, fmt.Sprintf("%s has %q among its dataActions, and %s is a control action.", name, allow, q.Action)
	}
	return ReasonLacks, fmt.Sprintf("No pattern of %s covers %s.", name, q.Action)
}

// Advice is the assignment that would allow a query.
type Advice struct {
	Role   string   // name of the role, "" where none does
	Scope  armid.ID // the narrowest sensible scope for it
	Remedy string   // the az command that makes the assignment, "" where no role does
}
