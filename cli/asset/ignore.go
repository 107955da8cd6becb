package asset

import (
	"bytes"
	"regexp"
	"strings"
)

// ignore is an ignore file: the last pattern that matches decides.
type ignore []pattern

type pattern struct {
	match *regexp.Regexp
	keep  bool // the pattern begins with !
}

func (i ignore) excludes(name string) bool {
	out := false
	for _, p := range i {
		if p.match.MatchString(name) {
			out = !p.keep
		}
	}
	return out
}

func parseIgnore(data []byte) ignore {
	var patterns ignore
	for _, line := range bytes.Split(data, []byte("\n")) {
		if p, ok := parsePattern(strings.TrimRight(string(line), " \t\r")); ok {
			patterns = append(patterns, p)
		}
	}
	return patterns
}

// parsePattern reads a line of gitignore's grammar. A pattern with a slash
// before its end counts from the folder, another at any depth; a folder takes
// all below it along.
func parsePattern(line string) (pattern, bool) {
	p := pattern{}
	if line == "" || line[0] == '#' {
		return p, false
	}
	if line[0] == '!' {
		p.keep, line = true, line[1:]
	} else if strings.HasPrefix(line, `\#`) || strings.HasPrefix(line, `\!`) {
		line = line[1:]
	}
	folder := strings.HasSuffix(line, "/")
	anchored := strings.HasPrefix(line, "/")
	parts := strings.Split(strings.Trim(line, "/"), "/")
	if len(parts) == 1 && parts[0] == "" {
		return p, false
	}
	var re strings.Builder
	re.WriteString("^")
	if !anchored && len(parts) == 1 && parts[0] != "**" {
		re.WriteString("(?:.*/)?")
	}
	for i, part := range parts {
		last := i == len(parts)-1
		switch {
		case part == "**" && last:
			re.WriteString(".+")
		case part == "**":
			re.WriteString("(?:.*/)?")
			continue
		default:
			re.WriteString(segment(part))
		}
		if !last {
			re.WriteString("/")
		}
	}
	switch {
	case folder:
		re.WriteString("/.*$")
	case parts[len(parts)-1] != "**":
		re.WriteString("(?:/.*)?$")
	default:
		re.WriteString("$")
	}
	compiled, err := regexp.Compile(re.String())
	if err != nil {
		return p, false
	}
	p.match = compiled
	return p, true
}

// segment translates one part of a pattern between slashes.
func segment(part string) string {
	var re strings.Builder
	for i := 0; i < len(part); i++ {
		switch c := part[i]; c {
		case '*':
			re.WriteString("[^/]*")
		case '?':
			re.WriteString("[^/]")
		case '\\':
			if i+1 < len(part) {
				i++
			}
			re.WriteString(regexp.QuoteMeta(part[i : i+1]))
		case '[':
			end := strings.IndexByte(part[i+1:], ']')
			if end < 1 {
				re.WriteString(`\[`)
				continue
			}
			class := part[i+1 : i+1+end]
			if class[0] == '!' || class[0] == '^' {
				class = "^" + class[1:]
			}
			re.WriteString("[" + strings.ReplaceAll(class, `\`, `\\`) + "]")
			i += end + 1
		default:
			re.WriteString(regexp.QuoteMeta(part[i : i+1]))
		}
	}
	return re.String()
}
