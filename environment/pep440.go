package environment

import (
	"cmp"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// version is a Python version identifier (PEP 440) without its local part.
type version struct {
	epoch   int
	release []int
	pre     int // phase*1e9 + number: a < b < rc < none; see preOf
	post    int // -1: none
	dev     int // math.MaxInt: none
}

var versionPattern = regexp.MustCompile(`^v?(?:(\d{1,9})!)?(\d{1,9}(?:\.\d{1,9})*)` +
	`(?:[-_.]?(alpha|a|beta|b|preview|pre|c|rc)[-_.]?(\d{0,9}))?` +
	`(?:(-\d{1,9})|(?:[-_.]?(post|rev|r)[-_.]?(\d{0,9})))?` +
	`(?:[-_.]?(dev)[-_.]?(\d{0,9}))?(?:\+([a-z0-9]+(?:[-_.][a-z0-9]+)*))?$`)

const noPre = 3_000_000_000

// parseVersion reads a version identifier.
func parseVersion(text string) (version, error) {
	m := versionPattern.FindStringSubmatch(strings.ToLower(strings.TrimSpace(text)))
	if m == nil {
		return version{}, fmt.Errorf("%q is not a version", text)
	}
	v := version{epoch: number(m[1]), pre: noPre, post: -1, dev: math.MaxInt}
	for part := range strings.SplitSeq(m[2], ".") {
		v.release = append(v.release, number(part))
	}
	switch {
	case m[5] != "":
		v.post = number(m[5][1:])
	case m[6] != "":
		v.post = number(m[7])
	}
	if m[8] != "" {
		v.dev = number(m[9])
	}
	switch {
	case m[3] != "":
		v.pre = preOf(m[3], number(m[4]))
	case v.post < 0 && m[8] != "":
		v.pre = -1 // a bare dev release comes before every alpha
	}
	return v, nil
}

func preOf(phase string, n int) int {
	switch phase[0] {
	case 'a':
		return n
	case 'b':
		return 1_000_000_000 + n
	}
	return 2_000_000_000 + n
}

// number reads digits that the pattern has bounded; none is 0.
func number(digits string) int {
	n, _ := strconv.Atoi(digits)
	return n
}

// compare orders versions as PEP 440 does; missing release parts count as 0.
func (v version) compare(w version) int {
	if c := cmp.Compare(v.epoch, w.epoch); c != 0 {
		return c
	}
	for i := range max(len(v.release), len(w.release)) {
		if c := cmp.Compare(v.part(i), w.part(i)); c != 0 {
			return c
		}
	}
	return cmp.Or(cmp.Compare(v.pre, w.pre), cmp.Compare(v.post, w.post), cmp.Compare(v.dev, w.dev))
}

func (v version) part(i int) int {
	if i < len(v.release) {
		return v.release[i]
	}
	return 0
}

// hasPrefix reports whether v begins with the release parts of p, as `==1.2.*` asks.
func (v version) hasPrefix(p version) bool {
	if v.epoch != p.epoch {
		return false
	}
	for i := range p.release {
		if v.part(i) != p.release[i] {
			return false
		}
	}
	return true
}

// clause is one comparison of a specifier, such as `>=1.2`.
type clause struct {
	op   string // == != <= >= < > ~= ===
	text string // the version as written
	v    version
	star bool // the version ended in .*
}

func (c clause) String() string { return c.op + c.text }

func parseClause(op, text string) (clause, error) {
	c := clause{op: op, text: text}
	if op == "===" {
		return c, nil
	}
	bare, star := strings.CutSuffix(text, ".*")
	if star && op != "==" && op != "!=" {
		return c, fmt.Errorf("%s%s: a version with .* goes with == or != only", op, text)
	}
	v, err := parseVersion(bare)
	if err != nil {
		return c, err
	}
	if op == "~=" && len(v.release) < 2 {
		return c, fmt.Errorf("~=%s needs at least two parts, such as ~=%s.0", text, text)
	}
	c.v, c.star = v, star
	return c, nil
}

// allows reports whether the clause holds for v. The finer rules of PEP 440 for
// pre-releases at an excluded bound are followed; local versions are not looked at.
func (c clause) allows(v version, raw string) bool {
	switch c.op {
	case "===":
		return strings.EqualFold(c.text, raw)
	case "==":
		return c.equal(v)
	case "!=":
		return !c.equal(v)
	case "<=":
		return v.compare(c.v) <= 0
	case ">=":
		return v.compare(c.v) >= 0
	case "<":
		preOfBound := v.pre != noPre && c.v.pre == noPre && slices.Equal(trimZeros(v.release), trimZeros(c.v.release))
		return v.compare(c.v) < 0 && !preOfBound
	case ">":
		postOfBound := v.post >= 0 && c.v.post < 0 && slices.Equal(trimZeros(v.release), trimZeros(c.v.release))
		return v.compare(c.v) > 0 && !postOfBound
	}
	prefix := version{epoch: c.v.epoch, release: c.v.release[:len(c.v.release)-1]} // ~=
	return v.compare(c.v) >= 0 && v.hasPrefix(prefix)
}

func (c clause) equal(v version) bool {
	if c.star {
		return v.hasPrefix(c.v)
	}
	return v.compare(c.v) == 0
}

func trimZeros(release []int) []int {
	for len(release) > 0 && release[len(release)-1] == 0 {
		release = release[:len(release)-1]
	}
	return release
}

// specifier is a list of clauses that must all hold. The empty one allows all.
type specifier []clause

// String writes the specifier in the form that pip reads.
func (s specifier) String() string {
	parts := make([]string, len(s))
	for i, c := range s {
		parts[i] = c.String()
	}
	return strings.Join(parts, ",")
}

// allows reports whether the version satisfies every clause. A text that is no
// version satisfies only the empty specifier and `===`.
func (s specifier) allows(raw string) bool {
	v, err := parseVersion(raw)
	if err != nil {
		return !slices.ContainsFunc(s, func(c clause) bool { return c.op != "===" || !c.allows(v, raw) })
	}
	return s.allowsVersion(v, raw)
}

func (s specifier) allowsVersion(v version, raw string) bool {
	return !slices.ContainsFunc(s, func(c clause) bool { return !c.allows(v, raw) })
}

// operators, longest first, so that a scan takes === before ==.
func operators() []string { return []string{"===", "==", "!=", "<=", ">=", "~=", "<", ">"} }

// parseSpecifier reads a PEP 440 specifier set: comma-separated clauses.
func parseSpecifier(text string) (specifier, error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return nil, nil
	}
	var s specifier
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		i := slices.IndexFunc(operators(), func(op string) bool { return strings.HasPrefix(part, op) })
		if i < 0 {
			return nil, fmt.Errorf("%q does not begin with a comparison such as == or >=", part)
		}
		op := operators()[i]
		c, err := parseClause(op, strings.TrimSpace(part[len(op):]))
		if err != nil {
			return nil, err
		}
		s = append(s, c)
	}
	return s, nil
}
