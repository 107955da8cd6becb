package rbac

import (
	"strings"

	"lapis/fault"
)

// Filter narrows a list of assignments; the zero value takes all.
type Filter struct {
	AtScope    bool   // the scope and above, not below
	Principal  string // principalId eq: exactly this object id
	AssignedTo string // assignedTo(): this object id or a group that holds it
}

// RoleFilter narrows a list of roles; the zero value takes all that can be
// assigned at the scope.
type RoleFilter struct {
	Name  string // roleName eq
	Type  string // type eq: BuiltInRole or CustomRole
	Below bool   // atScopeAndBelow(): also what can be assigned only below
}

// principals returns the object ids that pass, or nil for all of them.
func (f Filter) principals(groupsOf func(string) []string) map[string]bool {
	if f.Principal == "" && f.AssignedTo == "" {
		return nil
	}
	direct := map[string]bool{strings.ToLower(f.Principal): true}
	if f.AssignedTo == "" {
		return direct
	}
	held := map[string]bool{strings.ToLower(f.AssignedTo): true}
	if groupsOf != nil {
		for _, group := range groupsOf(f.AssignedTo) {
			held[strings.ToLower(group)] = true
		}
	}
	if f.Principal == "" {
		return held
	}
	if held[strings.ToLower(f.Principal)] {
		return direct
	}
	return map[string]bool{} // both must hold, and nobody is both
}

// ParseFilter reads the $filter of a list of assignments: atScope(),
// assignedTo('id'), principalId eq 'id', joined by "and". The empty text is
// the zero filter. Anything else is an Invalid fault.
func ParseFilter(text string) (Filter, error) {
	var f Filter
	terms, err := parseTerms(text)
	if err != nil {
		return f, err
	}
	for _, t := range terms {
		switch {
		case t.is("call0", "atScope"):
			f.AtScope = true
		case t.is("call1", "assignedTo") && isGUID(t.value) && f.AssignedTo == "":
			f.AssignedTo = t.value
		case t.is("eq", "principalId") && isGUID(t.value) && f.Principal == "":
			f.Principal = t.value
		default:
			return Filter{}, badFilter(text, "atScope(), assignedTo('{object id}') and principalId eq '{object id}'")
		}
	}
	return f, nil
}

// ParseRoleFilter reads the $filter of a list of roles: roleName eq 'name',
// type eq 'BuiltInRole', atScope(), atScopeAndBelow(), joined by "and".
func ParseRoleFilter(text string) (RoleFilter, error) {
	var f RoleFilter
	terms, err := parseTerms(text)
	if err != nil {
		return f, err
	}
	for _, t := range terms {
		switch {
		case t.is("call0", "atScope"):
		case t.is("call0", "atScopeAndBelow"):
			f.Below = true
		case t.is("eq", "roleName") && t.value != "" && f.Name == "":
			f.Name = t.value
		case t.is("eq", "type") && t.value != "" && f.Type == "":
			f.Type = t.value
		default:
			return RoleFilter{}, badFilter(text, "roleName eq '{name}', type eq '{type}', atScope() and atScopeAndBelow()")
		}
	}
	return f, nil
}

func badFilter(text, known string) *fault.Error {
	return fault.E(fault.Invalid, "InvalidFilter",
		"The filter %q is not supported. This list takes %s, each once, joined by 'and'.", text, known).At("$filter")
}

// term is one condition of a filter.
type term struct {
	form  string // call0: name(); call1: name('value'); eq: name eq 'value'
	name  string
	value string
}

func (t term) is(form, name string) bool { return t.form == form && strings.EqualFold(t.name, name) }

// parseTerms reads "term and term ...". Names and "and" go without regard to
// case; in a value, two quotes stand for one.
func parseTerms(text string) ([]term, error) {
	rest := strings.TrimSpace(text)
	if rest == "" {
		return nil, nil
	}
	var terms []term
	for {
		t, after, ok := parseTerm(rest)
		if !ok {
			return nil, badFilter(text, "conditions of the form name(), name('value') and name eq 'value'")
		}
		terms = append(terms, t)
		trimmed := strings.TrimLeft(after, " \t")
		if trimmed == "" {
			return terms, nil
		}
		word, next, spaced := strings.Cut(trimmed, " ")
		if trimmed == after || !spaced || !strings.EqualFold(word, "and") {
			return nil, badFilter(text, "conditions joined by 'and'")
		}
		rest = strings.TrimLeft(next, " \t")
	}
}

func parseTerm(s string) (t term, rest string, ok bool) {
	n := 0
	for n < len(s) && (s[n] >= 'a' && s[n] <= 'z' || s[n] >= 'A' && s[n] <= 'Z' || n > 0 && s[n] >= '0' && s[n] <= '9') {
		n++
	}
	if n == 0 {
		return t, s, false
	}
	t.name, rest = s[:n], s[n:]
	if strings.HasPrefix(rest, "(") {
		rest = strings.TrimLeft(rest[1:], " \t")
		t.form = "call0"
		if strings.HasPrefix(rest, "'") {
			t.form = "call1"
			if t.value, rest, ok = parseQuoted(rest); !ok {
				return t, rest, false
			}
			rest = strings.TrimLeft(rest, " \t")
		}
		rest, ok = strings.CutPrefix(rest, ")")
		return t, rest, ok
	}
	t.form = "eq"
	op, after, spaced := strings.Cut(strings.TrimLeft(rest, " \t"), " ")
	if !spaced || !strings.EqualFold(op, "eq") || rest == "" || rest[0] != ' ' && rest[0] != '\t' {
		return t, rest, false
	}
	t.value, rest, ok = parseQuoted(strings.TrimLeft(after, " \t"))
	return t, rest, ok
}

// parseQuoted reads a value in single quotes.
func parseQuoted(s string) (value, rest string, ok bool) {
	if !strings.HasPrefix(s, "'") {
		return "", s, false
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		if s[i] != '\'' {
			b.WriteByte(s[i])
			continue
		}
		if i+1 < len(s) && s[i+1] == '\'' {
			b.WriteByte('\'')
			i++
			continue
		}
		return b.String(), s[i+1:], true
	}
	return "", s, false
}
