package rbac

import (
	"regexp"
	"strings"
	"testing"
)

func TestPatternMatches(t *testing.T) {
	cases := []struct {
		pattern, action string
		want            bool
	}{
		{"*", "Microsoft.Storage/storageAccounts/read", true},
		{"*/read", "Microsoft.Storage/storageAccounts/read", true},
		{"*/read", "Microsoft.Storage/storageAccounts/write", false},
		{"*/read", "Microsoft.Storage/storageAccounts/spread", false},
		{"Microsoft.Storage/storageAccounts/*", "microsoft.storage/STORAGEACCOUNTS/listKeys/action", true},
		{"Microsoft.Storage/storageAccounts/*", "Microsoft.Storage/storageAccountsX/read", false},
		{"Microsoft.Storage/storageAccounts/*", "Microsoft.Storage/storageAccounts", false},
		{"Microsoft.Authorization/*/Write", "Microsoft.Authorization/roleAssignments/write", true},
		{"Microsoft.Authorization/*/Write", "Microsoft.Authorization/a/b/write", true},
		{"Microsoft.Storage/storageAccounts/listkeys/action", "Microsoft.Storage/storageAccounts/listKeys/action", true},
		{"Microsoft.Storage/storageAccounts/read", "Microsoft.Storage/storageAccounts/readX", false},
		{"Microsoft.Storage/storageAccounts/read", "Microsoft.Storage/storageAccounts/rea", false},

		// A star between slashes may stand for no segment at all.
		{"Microsoft.ManagedIdentity/userAssignedIdentities/*/assign/action", "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action", true},
		{"a/*/b", "a/b", true},
		{"a/*/b", "a//b", true},
		{"a/*/b", "a/x/b", true},
		{"a/*/b", "ab", false},
		{"a/*/*/b", "a/b", true},
		{"a/*/*/b", "a/x/y/b", true},
		{"a/*b", "a/b", true},
		{"a/*/b", "a/xb", false},
		{"a*/b", "a/b", true},

		{"a*b*c", "abc", true},
		{"a*b*c", "axbxbxc", true},
		{"a*b*c", "acb", false},
		{"a**c", "abc", true},
		{"ab*ba", "aba", false},
		{"", "", true},
		{"", "a", false},
		{"K/read", "\u212a/read", false}, // the Kelvin sign folds to k in Unicode only
	}
	for _, c := range cases {
		p := compilePattern(c.pattern)
		if got := p.match(c.action); got != c.want {
			t.Errorf("%q matches %q: got %v", c.pattern, c.action, got)
		}
	}
}

// slowMatch is the meaning of a pattern, written with a regular expression.
func slowMatch(pattern, action string) bool {
	return slowExpr(pattern).MatchString(lowerSlow(action))
}

func slowExpr(pattern string) *regexp.Regexp {
	var expr strings.Builder
	expr.WriteString(`(?s)\A`)
	low := lowerSlow(pattern)
	for i := 0; i < len(low); i++ {
		rest := low[i:]
		run := len(rest) - len(strings.TrimLeft(rest, "*"))
		switch {
		case run > 0:
			expr.WriteString(`.*`)
			i += run - 1
		case rest[0] == '/' && optionalSegment(rest) > 0:
			expr.WriteString(`(?:/.*)?`)
			i += optionalSegment(rest) - 1
		default:
			expr.WriteString(regexp.QuoteMeta(rest[:1]))
		}
	}
	expr.WriteString(`\z`)
	return regexp.MustCompile(expr.String())
}

// optionalSegment returns the length of "/*" at the start of s if a slash
// follows the stars, else 0.
func optionalSegment(s string) int {
	stars := len(s[1:]) - len(strings.TrimLeft(s[1:], "*"))
	if stars == 0 || !strings.HasPrefix(s[1+stars:], "/") {
		return 0
	}
	return 1 + stars
}

func lowerSlow(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 32
		}
		return r
	}, s)
}

func FuzzPatternAgreesWithRegexp(f *testing.F) {
	for _, r := range BuiltInRoles() {
		for _, p := range r.Permissions {
			for _, text := range append(p.Actions, p.NotActions...) {
				f.Add(text, strings.ReplaceAll(text, "*", "x/y"))
				f.Add(text, strings.ReplaceAll(text, "/*/", "/"))
			}
		}
	}
	for _, s := range [][2]string{{"a/*/*/b", "a/b"}, {"*a*", "bab"}, {"/*/", "/"}, {"**", ""}, {"a*a", "a"}, {"*/*", "/"}, {"A/*/**/b*", "a/b"}} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, pattern, action string) {
		if !plain(pattern) || !plain(action) || len(pattern) > 200 || len(action) > 500 {
			t.Skip() // patterns are checked to be ASCII before they get here; see validAction
		}
		p := compilePattern(pattern)
		if got, want := p.match(action), slowMatch(pattern, action); got != want {
			t.Errorf("%q matches %q: got %v, the regular expression says %v", pattern, action, got, want)
		}
	})
}

func plain(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r >= 0x80 }) < 0
}
