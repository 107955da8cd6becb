package graph

import (
	"strings"

	"lapis/fault"
)

// matcher reports whether a principal passes a filter.
type matcher func(*Principal) bool

// parseFilter reads a $filter: conditions joined by "and", each of the form
//
//	property eq 'value'
//	startswith(property, 'value')
//	servicePrincipalNames/any(c:c eq 'value')
//
// on id, appId, displayName, servicePrincipalType, userPrincipalName. Two quotes
// in a value stand for one. Values compare without regard to case, as in Graph.
func parseFilter(text, domain string) (matcher, error) {
	all := []matcher{}
	s := &scanner{rest: text}
	if s.end() {
		return func(*Principal) bool { return true }, nil
	}
	for {
		m, ok := s.condition(domain)
		if !ok {
			return nil, fault.E(fault.Invalid, "Request_UnsupportedQuery",
				"Unsupported or invalid query filter clause in %q. Supported: property eq 'value', startswith(property,'value') and "+
					"servicePrincipalNames/any(c:c eq 'value'), joined by 'and'.", text).At("$filter")
		}
		all = append(all, m)
		if s.end() {
			break
		}
		if !s.word("and") {
			return nil, fault.E(fault.Invalid, "Request_UnsupportedQuery", "In the filter %q, conditions can be joined by 'and' only.", text).At("$filter")
		}
	}
	return func(p *Principal) bool {
		for _, m := range all {
			if !m(p) {
				return false
			}
		}
		return true
	}, nil
}

// scanner eats a filter from the left.
type scanner struct{ rest string }

func (s *scanner) end() bool {
	s.rest = strings.TrimLeft(s.rest, " \t")
	return s.rest == ""
}

// name eats letters, digits and slashes.
func (s *scanner) name() string {
	s.end()
	n := 0
	for n < len(s.rest) {
		c := s.rest[n]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '/' {
			break
		}
		n++
	}
	name := s.rest[:n]
	s.rest = s.rest[n:]
	return name
}

// word eats the given name.
func (s *scanner) word(want string) bool { return strings.EqualFold(s.name(), want) }

// sign eats one of ( ) , :
func (s *scanner) sign(want string) bool {
	s.end()
	rest, ok := strings.CutPrefix(s.rest, want)
	s.rest = rest
	return ok
}

// value eats a quoted text.
func (s *scanner) value() (string, bool) {
	s.end()
	if !strings.HasPrefix(s.rest, "'") {
		return "", false
	}
	var b strings.Builder
	for i := 1; i < len(s.rest); i++ {
		if s.rest[i] != '\'' {
			b.WriteByte(s.rest[i])
			continue
		}
		if i+1 == len(s.rest) || s.rest[i+1] != '\'' {
			s.rest = s.rest[i+1:]
			return b.String(), true
		}
		b.WriteByte('\'')
		i++
	}
	return "", false
}

func (s *scanner) condition(domain string) (matcher, bool) {
	name := s.name()
	switch {
	case strings.EqualFold(name, "servicePrincipalNames/any"):
		return s.anyName()
	case strings.EqualFold(name, "startswith"):
		if !s.sign("(") {
			return nil, false
		}
		get, ok := property(s.name(), domain)
		if !ok || !s.sign(",") {
			return nil, false
		}
		want, ok := s.value()
		want = strings.ToLower(want)
		return func(p *Principal) bool { return strings.HasPrefix(strings.ToLower(get(p)), want) }, ok && s.sign(")")
	}
	get, ok := property(name, domain)
	if !ok || !s.word("eq") {
		return nil, false
	}
	want, ok := s.value()
	return func(p *Principal) bool { return strings.EqualFold(get(p), want) }, ok
}

// anyName reads the rest of servicePrincipalNames/any(c:c eq 'value').
func (s *scanner) anyName() (matcher, bool) {
	if !s.sign("(") {
		return nil, false
	}
	variable := s.name()
	if variable == "" || !s.sign(":") || s.name() != variable || !s.word("eq") {
		return nil, false
	}
	want, ok := s.value()
	return func(p *Principal) bool {
		if p.Kind == User {
			return false
		}
		for _, name := range p.servicePrincipalNames() {
			if strings.EqualFold(name, want) {
				return true
			}
		}
		return false
	}, ok && s.sign(")")
}

// property returns what reads a property of a principal.
func property(name, domain string) (func(*Principal) string, bool) {
	switch strings.ToLower(name) {
	case "id":
		return func(p *Principal) string { return p.ObjectID }, true
	case "appid":
		return func(p *Principal) string { return p.AppID }, true
	case "displayname":
		return func(p *Principal) string { return p.DisplayName }, true
	case "serviceprincipaltype":
		return func(p *Principal) string { return p.Kind }, true
	case "userprincipalname":
		return func(p *Principal) string {
			if p.Kind != User {
				return ""
			}
			return p.userPrincipalName(domain)
		}, true
	}
	return nil, false
}
