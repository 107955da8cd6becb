package rbac

import "strings"

// pattern is a compiled action pattern such as Microsoft.Storage/*/read.
//
// Matching ignores ASCII case. "*" stands for any text, slashes included, and
// "/*/" also for a single "/": Azure grants userAssignedIdentities/assign/action
// through userAssignedIdentities/*/assign/action (the role Managed Identity
// Operator), and workspaces/write through workspaces/*/write (which is why
// AzureML Data Scientist takes it away again).
type pattern struct {
	text   string   // as written
	prefix string   // lower-case text before the first star; all of it when there is none
	middle []string // lower-case texts between stars
	suffix string   // lower-case text after the last star
	star   bool
}

func compilePattern(text string) pattern {
	parts := strings.Split(lowerASCII(text), "*")
	p := pattern{text: text, prefix: parts[0]}
	if len(parts) == 1 {
		return p
	}
	p.star = true
	p.suffix = parts[len(parts)-1]
	for _, part := range parts[1 : len(parts)-1] {
		if part != "" { // "**" is "*"
			p.middle = append(p.middle, part)
		}
	}
	return p
}

func compilePatterns(texts []string) []pattern {
	compiled := make([]pattern, 0, len(texts))
	for _, text := range texts {
		compiled = append(compiled, compilePattern(text))
	}
	return compiled
}

// match reports whether the pattern covers the action.
func (p *pattern) match(action string) bool {
	if !p.star {
		return len(action) == len(p.prefix) && hasFoldPrefix(action, p.prefix)
	}
	if !hasFoldPrefix(action, p.prefix) {
		return false
	}
	// Each part is taken as far left as it goes, which leaves the most room for
	// the rest. Two parts may share the slash where they meet.
	end, last := len(p.prefix), p.prefix
	for _, part := range p.middle {
		at := indexFold(action, part, end-shared(last, part))
		if at < 0 {
			return false
		}
		end, last = at+len(part), part
	}
	start := len(action) - len(p.suffix)
	return start >= end-shared(last, p.suffix) && start >= 0 && hasFoldPrefix(action[start:], p.suffix)
}

// shared returns how many bytes the parts around a star may have in common:
// the slash of "/*/".
func shared(before, after string) int {
	if strings.HasSuffix(before, "/") && strings.HasPrefix(after, "/") {
		return 1
	}
	return 0
}

// matchAny reports whether one of the patterns covers the action.
func matchAny(patterns []pattern, action string) bool {
	return firstMatch(patterns, action) >= 0
}

// firstMatch returns the index of the first pattern that covers the action, or -1.
func firstMatch(patterns []pattern, action string) int {
	for i := range patterns {
		if patterns[i].match(action) {
			return i
		}
	}
	return -1
}

// hasFoldPrefix reports whether s begins with lower, which is in lower case.
func hasFoldPrefix(s, lower string) bool {
	if len(s) < len(lower) {
		return false
	}
	for i := range len(lower) {
		if c := s[i]; c != lower[i] && (c < 'A' || c > 'Z' || c+('a'-'A') != lower[i]) {
			return false
		}
	}
	return true
}

// indexFold returns where lower begins in s at or after from, or -1.
func indexFold(s, lower string, from int) int {
	for i := max(from, 0); i+len(lower) <= len(s); i++ {
		if hasFoldPrefix(s[i:], lower) {
			return i
		}
	}
	return -1
}

// lowerASCII lower-cases A to Z only. It returns s itself where it has none of them.
func lowerASCII(s string) string {
	i := 0
	for i < len(s) && (s[i] < 'A' || s[i] > 'Z') {
		i++
	}
	if i == len(s) {
		return s
	}
	b := []byte(s)
	for ; i < len(b); i++ {
		if b[i] >= 'A' && b[i] <= 'Z' {
			b[i] += 'a' - 'A'
		}
	}
	return string(b)
}
