package environment

import "strings"

// Report says what an environment was made of and where it is not what the
// definition asked for.
type Report struct {
	Mode      string       `json:"mode"` // build or host
	Tool      string       `json:"tool"` // what installed the packages, such as uv 0.9.1
	Image     string       `json:"image,omitempty"`
	Python    Python       `json:"python"`
	Wanted    []string     `json:"wanted,omitempty"`    // requirements as given to the tool
	Installed []Installed  `json:"installed,omitempty"` // every distribution in the environment
	Skipped   []Skipped    `json:"skipped,omitempty"`   // conda entries that were left out
	Differs   []Difference `json:"differs,omitempty"`   // host mode: another version than wanted
	Missing   []string     `json:"missing,omitempty"`   // host mode: not there at all
	Notes     []string     `json:"notes,omitempty"`     // sentences for the user
}

// Python is the interpreter of an environment.
type Python struct {
	Wanted   string `json:"wanted,omitempty"` // constraint of the definition, "" for none
	Got      string `json:"got"`              // such as 3.12.1
	Base     string `json:"base"`             // path of the interpreter on the machine
	Platform string `json:"platform"`         // such as linux-x86_64
	Exact    bool   `json:"exact"`            // Got satisfies Wanted
}

// Installed is one distribution.
type Installed struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

// Skipped is a conda entry that was left out.
type Skipped struct {
	Name string `json:"name"`
	Why  string `json:"why"`
}

// Difference is a package whose version is not the one that was asked for.
type Difference struct {
	Name   string `json:"name"`
	Wanted string `json:"wanted"`
	Got    string `json:"got"`
}

// Lines draws the report for a terminal or a log, without the list of what was
// installed.
func (r Report) Lines() []string {
	python := "Python " + r.Python.Got + " (" + r.Python.Base + ")"
	if !r.Python.Exact {
		python += " instead of the python" + r.Python.Wanted + " that the conda file asks for"
	}
	lines := []string{python}
	for _, d := range r.Differs {
		lines = append(lines, d.Name+" "+d.Got+" instead of "+d.Wanted)
	}
	if len(r.Missing) > 0 {
		lines = append(lines, "missing: "+strings.Join(r.Missing, ", "))
	}
	for _, s := range r.Skipped {
		lines = append(lines, "left out: "+s.Name+" ("+s.Why+")")
	}
	return append(lines, r.Notes...)
}
