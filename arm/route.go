package arm

import (
	"net/http"
	"net/url"
	"strings"

	"lapis/armid"
	"lapis/resource"
)

// Authenticated is the Action of rows that every known caller may use.
const Authenticated = "(any authenticated caller)"

// Route is one row of the table: who may do what where.
type Route struct {
	Method string
	// Path is the pattern: {name} takes one segment, a leading {scope...} any
	// number of them. Literal segments match without regard to case.
	Path string
	// Action is what a role must grant; Authenticated where no role is needed;
	// empty only for rows in anonymous.
	Action string
	// Scope is the pattern of the scope at which Action is asked; empty: Path.
	Scope string
	// Version refuses api-versions the row does not know; nil takes all.
	Version func(version string) error
	Handle  func(*Request) (Answer, error)
}

// anonymous lists the paths that answer without a token.
var anonymous = map[string]bool{
	"/metadata/endpoints": true, // clouds are discovered before anybody has logged in
}

// Request is an authorized request to a row.
type Request struct {
	*http.Request
	Vars       map[string]string
	ID         armid.ID // the scope at which the row's action was allowed
	Caller     resource.Caller
	APIVersion string
	Params     url.Values
}

// Answer is what a row gives back.
type Answer struct {
	Status int // 0 means 200, or 204 without a body
	Header http.Header
	Body   any
	// Handler writes the answer, where it is no JSON.
	Handler http.Handler
}

// matcher is a compiled Path.
type matcher struct {
	route    Route
	scoped   bool // begins with {scope...}
	segments []string
}

func compile(r Route) matcher {
	m := matcher{route: r, segments: split(r.Path)}
	if len(m.segments) > 0 && m.segments[0] == "{scope...}" {
		m.scoped, m.segments = true, m.segments[1:]
	}
	return m
}

// match returns the variables of a path, or false.
func (m matcher) match(path []string) (map[string]string, bool) {
	vars := map[string]string{}
	if m.scoped {
		n := len(path) - len(m.segments)
		if n < 0 {
			return nil, false
		}
		vars["scope..."] = "/" + strings.Join(path[:n], "/")
		path = path[n:]
	}
	if len(path) != len(m.segments) {
		return nil, false
	}
	for i, want := range m.segments {
		switch {
		case want[0] == '{':
			vars[want[1:len(want)-1]] = path[i]
		case !strings.EqualFold(want, path[i]):
			return nil, false
		}
	}
	return vars, true
}

// expand fills a pattern with variables.
func expand(pattern string, vars map[string]string) string {
	segments := split(pattern)
	for i, seg := range segments {
		if seg[0] == '{' {
			segments[i] = strings.Trim(vars[seg[1:len(seg)-1]], "/")
		}
	}
	return "/" + strings.Join(segments, "/")
}

// split cuts a path into its segments; repeated slashes collapse.
func split(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
}
