package environment

import (
	"fmt"
	"regexp"
	"strings"
)

// Requirement is one entry of the conda file's pip list that names a package.
type Requirement struct {
	Name   string // as PyPI normalises it
	Extras string // with brackets, "" for none
	URL    string // set for `name @ url` and for a bare URL
	Spec   string // PEP 440 specifier, "" for any version
	Marker string // PEP 508 marker without its semicolon
	Line   int    // in the conda file

	spec specifier
}

// String writes the requirement in the form that pip reads.
func (r Requirement) String() string {
	s := r.Name + r.Extras
	switch {
	case r.URL != "" && r.Name == "":
		s = r.URL
	case r.URL != "":
		s += " @ " + r.URL
	default:
		s += r.Spec
	}
	if r.Marker != "" {
		s += " ; " + r.Marker
	}
	return s
}

// Option is one option of the conda file's pip list.
type Option struct {
	Name  string // long form, such as --extra-index-url
	Value string // "" for a switch; may hold credentials
}

// String writes the option as a line of a requirements file.
func (o Option) String() string { return strings.TrimSpace(o.Name + " " + o.Value) }

var (
	requirementHead = regexp.MustCompile(`^([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(\[[A-Za-z0-9._,\s-]*\])?\s*(.*)$`)
	nameSeparators  = regexp.MustCompile(`[-_.]+`)
	remoteURL       = regexp.MustCompile(`^(?:(?:git|hg|svn|bzr)\+)?(?:https?|ssh)://[^\s]+$`)
	comment         = regexp.MustCompile(`(^|\s+)#.*$`)
)

// normalName gives a package name in PyPI's one form (PEP 503).
func normalName(name string) string {
	return nameSeparators.ReplaceAllString(strings.ToLower(name), "-")
}

// optionKind says what is done with an option of the pip list.
type optionKind int

const (
	optionRefused optionKind = iota
	optionURL                // takes a remote URL
	optionValue              // takes a word
	optionSwitch             // takes nothing
)

// pipOption looks an option up: its long form, what it takes, and why it is
// refused when it is.
func pipOption(name string) (long string, kind optionKind, why string) {
	switch name {
	case "-i", "--index-url", "--pypi-url":
		return "--index-url", optionURL, ""
	case "--extra-index-url":
		return name, optionURL, ""
	case "-f", "--find-links":
		return "--find-links", optionURL, ""
	case "--trusted-host", "--no-binary", "--only-binary":
		return name, optionValue, ""
	case "--no-index", "--pre", "--prefer-binary":
		return name, optionSwitch, ""
	case "-r", "--requirement", "-c", "--constraint":
		return name, optionRefused, "a deployment carries the conda file only: list the packages in it"
	case "-e", "--editable":
		return name, optionRefused, "an editable package lies on the machine of the one who wrote the file: put its code beside the scoring script"
	}
	return name, optionRefused, "only options that say where packages come from are understood"
}

// parsePipLine reads one entry of the pip list: options, or a requirement.
func parsePipLine(text string) (*Requirement, []Option, error) {
	text = strings.TrimSpace(comment.ReplaceAllString(text, ""))
	if text == "" {
		return nil, nil, nil
	}
	if strings.ContainsAny(text, "\n\r\x00") {
		return nil, nil, fmt.Errorf("an entry must be one line")
	}
	if strings.HasPrefix(text, "-") {
		options, err := parseOptions(strings.Fields(text))
		return nil, options, err
	}
	r, err := parseRequirement(text)
	if err != nil {
		return nil, nil, err
	}
	return &r, nil, nil
}

func parseOptions(words []string) ([]Option, error) {
	var options []Option
	for len(words) > 0 {
		name, value, joined := strings.Cut(words[0], "=")
		words = words[1:]
		long, kind, why := pipOption(name)
		if kind == optionRefused {
			return nil, fmt.Errorf("option %s is not taken: %s", long, why)
		}
		if kind == optionSwitch {
			if joined {
				return nil, fmt.Errorf("option %s takes no value", long)
			}
			options = append(options, Option{Name: long})
			continue
		}
		if !joined {
			if len(words) == 0 {
				return nil, fmt.Errorf("option %s needs a value", long)
			}
			value, words = words[0], words[1:]
		}
		if kind == optionURL && !remoteURL.MatchString(value) {
			return nil, fmt.Errorf("option %s needs an http or https URL", long)
		}
		if value == "" || strings.HasPrefix(value, "-") {
			return nil, fmt.Errorf("option %s needs a value", long)
		}
		options = append(options, Option{Name: long, Value: value})
	}
	return options, nil
}

// parseRequirement reads a PEP 508 requirement, or a bare remote URL.
func parseRequirement(text string) (Requirement, error) {
	var r Requirement
	if remoteURL.MatchString(text) {
		r.URL = text
		return r, nil
	}
	if strings.HasPrefix(text, ".") || strings.HasPrefix(text, "/") || strings.Contains(strings.ToLower(text), "file:") {
		return r, fmt.Errorf("%s names a local path: a deployment carries the conda file only", redact(text))
	}
	m := requirementHead.FindStringSubmatch(text)
	if m == nil {
		return r, fmt.Errorf("%q is not a requirement such as name==1.2.3", redact(text))
	}
	r.Name = normalName(m[1])
	if extras := strings.Trim(m[2], "[] "); extras != "" {
		r.Extras = "[" + strings.Join(strings.Fields(strings.ReplaceAll(extras, ",", " ")), ",") + "]"
	}
	rest := m[3]
	if url, isURL := strings.CutPrefix(rest, "@"); isURL {
		url, marker, _ := strings.Cut(strings.TrimSpace(url), " ;")
		r.URL, r.Marker = strings.TrimSpace(url), strings.TrimSpace(marker)
		if !remoteURL.MatchString(r.URL) {
			return r, fmt.Errorf("%s @ needs an http, https or version control URL", r.Name)
		}
		return r, nil
	}
	rest, marker, _ := strings.Cut(rest, ";")
	r.Marker = strings.TrimSpace(marker)
	rest = strings.TrimSpace(rest)
	if inner, found := strings.CutPrefix(rest, "("); found && strings.HasSuffix(inner, ")") {
		rest = strings.TrimSuffix(inner, ")")
	}
	spec, err := parseSpecifier(rest)
	if err != nil {
		if strings.HasPrefix(rest, "=") && !strings.HasPrefix(rest, "==") {
			return r, fmt.Errorf("pip needs == where conda has =: write %s=%s", r.Name, rest)
		}
		return r, fmt.Errorf("%q: %s", redact(text), redact(err.Error()))
	}
	r.spec, r.Spec = spec, spec.String()
	return r, nil
}
