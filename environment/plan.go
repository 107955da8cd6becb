package environment

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
)

// Spec is an environment definition as a deployment gives it.
type Spec struct {
	Image string // the base image; recorded, and asked for a Python version in its name
	Conda []byte // the conda file, YAML or JSON; empty for none
}

// plan is what a spec means here: one interpreter constraint and requirements
// for the Python package index.
type plan struct {
	image   string
	conda   Conda
	python  specifier // empty: any
	wanted  string    // the python constraint as the user wrote it
	items   []Requirement
	options []Option
	skipped []Skipped
	notes   []string
}

var imagePython = regexp.MustCompile(`(?:^|[^a-z0-9])py(?:thon)?-?3\.?(\d{1,2})(?:[^0-9]|$)`)

// planOf translates a spec. It is pure.
func planOf(spec Spec) (plan, error) {
	p := plan{image: spec.Image}
	if len(spec.Conda) > 0 {
		conda, err := ParseConda(spec.Conda)
		if err != nil {
			return plan{}, err
		}
		p.conda = conda
	} else {
		p.notes = append(p.notes, "There is no conda file: the environment holds no packages, and what the image brings is not there.")
	}
	for _, pkg := range p.conda.Packages {
		p.take(pkg)
	}
	p.items = append(p.items, p.conda.Pip...)
	p.options = p.conda.Options
	if p.wanted == "" {
		p.pythonFromImage()
	}
	return p, nil
}

func (p *plan) take(pkg Package) {
	if pkg.Name == "python" {
		p.python, p.wanted = append(p.python, pkg.versions...), pkg.Versions
		return
	}
	name, why, ok := pypiName(pkg.Name)
	if !ok {
		p.skipped = append(p.skipped, Skipped{Name: pkg.Name, Why: why})
		return
	}
	if pkg.Build != "" {
		p.notes = append(p.notes, fmt.Sprintf("%s: the conda build %q means nothing outside conda and is left out.", pkg.Name, pkg.Build))
	}
	if name != normalName(pkg.Name) {
		p.notes = append(p.notes, fmt.Sprintf("%s is taken as %s.", pkg.Name, name))
	}
	p.items = append(p.items, Requirement{Name: name, Spec: pkg.Versions, spec: pkg.versions, Line: pkg.Line})
}

// pythonFromImage takes the version that names of images carry, such as
// minimal-py312-inference.
func (p *plan) pythonFromImage() {
	m := imagePython.FindStringSubmatch(p.image)
	if m == nil {
		return
	}
	if minor, err := strconv.Atoi(m[1]); err == nil {
		c, _ := parseClause("==", fmt.Sprintf("3.%d.*", minor))
		p.python, p.wanted = specifier{c}, c.String()
	}
}

// lines is the requirements file: options first, as pip reads them.
func (p plan) lines() []string {
	var lines []string
	for _, o := range p.options {
		lines = append(lines, o.String())
	}
	for _, r := range p.items {
		lines = append(lines, r.String())
	}
	return lines
}

// linesForUV leaves out the options that uv does not read in a file; they reach
// it through its environment, and prefer-binary is what it does anyway.
func (p plan) linesForUV() []string {
	q := p
	q.options = slices.DeleteFunc(slices.Clone(p.options), func(o Option) bool {
		return o.Name == "--pre" || o.Name == "--prefer-binary" || o.Name == "--trusted-host"
	})
	return q.lines()
}

// normal gives the parts of the plan in an order that does not depend on how
// the conda file was arranged.
func (p plan) normal() (packages, pip, options []string) {
	for _, pkg := range p.conda.Packages {
		packages = append(packages, pkg.String())
	}
	for _, r := range p.conda.Pip {
		pip = append(pip, r.String())
	}
	slices.SortFunc(packages, cmp.Compare[string])
	slices.SortFunc(pip, cmp.Compare[string])
	for _, o := range p.options { // the order of indexes is meant
		options = append(options, o.String())
	}
	return slices.Compact(packages), slices.Compact(pip), options
}
