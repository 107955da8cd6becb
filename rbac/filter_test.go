package rbac

import (
	"testing"

	"lapis/fault"
)

func TestParseFilter(t *testing.T) {
	id := guid(1)
	good := map[string]Filter{
		"":                            {},
		"  ":                          {},
		"atScope()":                   {AtScope: true},
		" ATSCOPE( ) ":                {AtScope: true},
		"principalId eq '" + id + "'": {Principal: id},
		"assignedTo('" + id + "')":    {AssignedTo: id},
		"atScope() and assignedTo( '" + id + "' )":      {AtScope: true, AssignedTo: id},
		"principalid  EQ  '" + id + "'  AND  atScope()": {AtScope: true, Principal: id},
	}
	for text, want := range good {
		if got, err := ParseFilter(text); err != nil || got != want {
			t.Errorf("%q: got %+v, %v", text, got, err)
		}
	}
	bad := []string{
		"atScope", "atScope() or atScope()", "atScope()and atScope()", "atScope() and", "and atScope()", "principalId eq", "principalId eq x",
		"principalId eq 'x'", "principalId eq '" + id, "principalId ne '" + id + "'", "principalIdeq '" + id + "'", "assignedTo()", "assignedTo('" + id + "'",
		"roleName eq 'Reader'", "principalId eq '" + id + "' and principalId eq '" + guid(2) + "'", "not atScope()", "(atScope())", "atScope() atScope()",
	}
	for _, text := range bad {
		if got, err := ParseFilter(text); !fault.HasCode(err, "InvalidFilter") {
			t.Errorf("%q: got %+v, %v", text, got, err)
		}
	}
}

func TestParseRoleFilter(t *testing.T) {
	good := map[string]RoleFilter{
		"":                                       {},
		"roleName eq 'Storage Blob Data Reader'": {Name: "Storage Blob Data Reader"},
		"roleName eq 'O''Brien''s and eq'":       {Name: "O'Brien's and eq"},
		"type eq 'CustomRole' and atScope()":     {Type: "CustomRole"},
		"atScopeAndBelow()":                      {Below: true},
	}
	for text, want := range good {
		if got, err := ParseRoleFilter(text); err != nil || got != want {
			t.Errorf("%q: got %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"roleName eq ''", "roleName eq 'a' and roleName eq 'b'", "roleName eq 'a'' ", "assignedTo('x')", "roleName eq \"a\""} {
		if got, err := ParseRoleFilter(text); !fault.HasCode(err, "InvalidFilter") {
			t.Errorf("%q: got %+v, %v", text, got, err)
		}
	}
}

func FuzzFilter(f *testing.F) {
	for _, s := range []string{"", "atScope()", "roleName eq 'it''s'", "principalId eq '" + guid(1) + "' and atScope()", "a('", "a eq '", "'", "a() and ", "a\teq '"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := ParseFilter(text); err != nil && !fault.Is(err, fault.Invalid) {
			t.Error(err)
		}
		filter, err := ParseRoleFilter(text)
		if err != nil && !fault.Is(err, fault.Invalid) {
			t.Error(err)
		}
		if err == nil && filter.Name != "" { // what was read can be written and read again
			again, err := ParseRoleFilter("roleName eq " + quote(filter.Name))
			if err != nil || again.Name != filter.Name {
				t.Errorf("%q came back as %q, %v", filter.Name, again.Name, err)
			}
		}
	})
}

func quote(s string) string {
	out := "'"
	for i := range len(s) {
		if s[i] == '\'' {
			out += "'"
		}
		out += s[i : i+1]
	}
	return out + "'"
}
