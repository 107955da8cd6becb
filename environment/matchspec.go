package environment

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Package is one conda dependency.
type Package struct {
	Channel  string // "" when the entry names none
	Name     string // lower case
	Versions string // a PEP 440 specifier, "" for any version
	Build    string // conda's build string, which has no meaning outside conda
	Line     int    // in the conda file

	versions specifier
}

// String writes the package in one fixed form.
func (p Package) String() string {
	s := p.Name + p.Versions
	if p.Channel != "" {
		s = p.Channel + "::" + s
	}
	if p.Build != "" {
		s += "=" + p.Build
	}
	return s
}

var (
	matchName    = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*`)
	matchChannel = regexp.MustCompile(`^[A-Za-z0-9_./:@-]+$`)
	matchBuild   = regexp.MustCompile(`^[A-Za-z0-9_.*+-]+$`)
	matchBracket = regexp.MustCompile(`^\[\s*version\s*=\s*(?:'([^'\]]*)'|"([^"\]]*)")\s*\]$`)
)

// parseMatchSpec reads a conda match specification: `name`, `name=1.2`,
// `name==1.2.3`, `name>=1,<2`, `name 1.2.*`, `name=1.2=build`,
// `channel::name`, `name[version='>=1']`.
func parseMatchSpec(text string) (Package, error) {
	var p Package
	rest := strings.TrimSpace(text)
	if channel, after, found := strings.Cut(rest, "::"); found {
		if !matchChannel.MatchString(channel) {
			return p, fmt.Errorf("%q is not the name of a channel", channel)
		}
		p.Channel, rest = channel, strings.TrimSpace(after)
	}
	name := matchName.FindString(rest)
	if name == "" {
		return p, fmt.Errorf("%q does not begin with the name of a package", text)
	}
	p.Name = strings.ToLower(name)
	rest = strings.TrimSpace(rest[len(name):])
	if strings.HasPrefix(rest, "[") {
		m := matchBracket.FindStringSubmatch(rest)
		if m == nil {
			return p, fmt.Errorf("of the bracket form only [version='...'] is understood, not %s", rest)
		}
		rest = m[1] + m[2]
	}
	versions, build, err := cutBuild(rest)
	if err != nil {
		return p, err
	}
	p.Build = build
	if p.versions, err = condaVersions(versions); err != nil {
		return p, err
	}
	p.Versions = p.versions.String()
	return p, nil
}

// cutBuild parts `=1.2=py_0` and `1.2 py_0` into version and build string.
func cutBuild(rest string) (versions, build string, err error) {
	if strings.ContainsAny(rest, ",<>!~|") {
		return rest, "", nil
	}
	body := strings.TrimLeft(rest, "= ")
	prefix := rest[:len(rest)-len(body)]
	versions, build = body, ""
	if i := strings.IndexAny(body, "= "); i >= 0 {
		versions, build = body[:i], strings.Trim(body[i:], "= ")
	}
	if build != "" && !matchBuild.MatchString(build) {
		return "", "", fmt.Errorf("%q is neither a version nor a build string", rest)
	}
	return prefix + versions, build, nil
}

// condaVersions translates conda's version constraint to PEP 440. One `=` is
// conda's "begins with": `=1.2` becomes `==1.2.*`, and with three parts or more
// it is taken as the exact version that its writer meant.
func condaVersions(text string) (specifier, error) {
	text = strings.TrimSpace(text)
	if text == "" || text == "*" || text == "=*" || text == "==*" {
		return nil, nil
	}
	if strings.Contains(text, "|") {
		return nil, fmt.Errorf("alternatives (%s) have no form in the Python package index: give one range", text)
	}
	var s specifier
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		if part == "*" {
			continue
		}
		c, err := condaClause(part)
		if err != nil {
			return nil, err
		}
		s = append(s, c)
	}
	return s, nil
}

func condaClause(part string) (clause, error) {
	ops := operators()[1:] // conda has no ===
	if i := slices.IndexFunc(ops, func(op string) bool { return strings.HasPrefix(part, op) }); i >= 0 {
		op, v := ops[i], strings.TrimSpace(part[len(ops[i]):])
		if op != "==" && op != "!=" {
			v = strings.TrimSuffix(v, ".*") // conda ignores the star beside an order
		}
		return parseClause(op, v)
	}
	fuzzy := strings.HasPrefix(part, "=")
	v := strings.TrimSpace(strings.TrimPrefix(part, "="))
	if bare, star := strings.CutSuffix(v, "*"); star {
		return parseClause("==", strings.TrimSuffix(bare, ".")+".*")
	}
	parsed, err := parseVersion(v)
	if err != nil {
		return clause{}, err
	}
	plain := parsed.pre == noPre && parsed.post < 0 && !strings.Contains(v, "+")
	if fuzzy && plain && len(parsed.release) < 3 {
		return parseClause("==", v+".*")
	}
	return parseClause("==", v)
}
