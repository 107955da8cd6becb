package environment

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"lapis/fault"
)

// PyVersion is the version of an interpreter: major, minor, micro.
type PyVersion [3]int

// String writes 3.12.1.
func (v PyVersion) String() string { return fmt.Sprintf("%d.%d.%d", v[0], v[1], v[2]) }

// Minor writes 3.12.
func (v PyVersion) Minor() string { return fmt.Sprintf("%d.%d", v[0], v[1]) }

func (v PyVersion) compare(w PyVersion) int { return slices.Compare(v[:], w[:]) }

// Interpreter is a CPython on this machine.
type Interpreter struct {
	Path     string // absolute; of the base installation, unless Venv
	Version  PyVersion
	Platform string // such as linux-x86_64
	Venv     bool   // Path belongs to a virtual environment (host mode may use it)
	Default  bool   // what `python3` or `python` on PATH means
}

// Policy says what to do when the machine lacks the Python that is asked for.
type Policy int

const (
	PythonNearest Policy = iota // take the nearest minor version, the newer of two, and say so
	PythonExact                 // fail and name those the machine has
)

// The oldest minor version that the tools and the worker run on.
const oldestMinor = 8

// probe asks an interpreter who it is. It has to parse on any Python 3.
const probe = `import sys, os, sysconfig, json
base = getattr(sys, "_base_executable", None) or sys.executable
venv = sys.prefix != sys.base_prefix
print("\n" + json.dumps({"version": list(sys.version_info[:3]), "implementation": sys.implementation.name,
 "executable": sys.executable, "base": base, "venv": venv, "platform": sysconfig.get_platform(),
 "gil": not bool(sysconfig.get_config_var("Py_GIL_DISABLED"))}))`

var pythonName = regexp.MustCompile(`^python(3(\.\d+)?)?$`)

// candidates lists paths that may be interpreters, those that the user's PATH
// means first.
func candidates(environ []string) []string {
	var paths []string
	add := func(dir string) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return
		}
		for _, short := range []string{"python3", "python"} { // what the user means comes first
			paths = append(paths, filepath.Join(dir, short))
		}
		if filepath.Base(dir) == "shims" { // pyenv's: the rest is found under versions
			return
		}
		for _, e := range entries {
			if pythonName.MatchString(e.Name()) {
				paths = append(paths, filepath.Join(dir, e.Name()))
			}
		}
	}
	for _, dir := range filepath.SplitList(variable(environ, "PATH")) {
		if filepath.IsAbs(dir) {
			add(dir)
		}
	}
	pyenv := cmp.Or(variable(environ, "PYENV_ROOT"), filepath.Join(variable(environ, "HOME"), ".pyenv"))
	versions, _ := filepath.Glob(filepath.Join(pyenv, "versions", "*", "bin"))
	for _, dir := range append(versions, "/usr/local/bin", "/usr/bin", "/opt/homebrew/bin") {
		add(dir)
	}
	seen := map[string]bool{}
	return slices.DeleteFunc(paths, func(p string) bool {
		info, err := os.Stat(p)
		again := seen[p] || err != nil || info.IsDir() || info.Mode()&0o111 == 0
		seen[p] = true
		return again
	})
}

// findInterpreters asks every candidate for its version, each file once. Those
// that fail, hang, are no CPython or too old are left out.
func findInterpreters(ctx context.Context, paths, environ []string) []Interpreter {
	found := make([][]Interpreter, len(paths))
	gate := make(chan struct{}, 4)
	var wg sync.WaitGroup
	seen := map[string]bool{}
	for i, path := range paths {
		if real, err := filepath.EvalSymlinks(path); err == nil && !inVenv(path) && real != "" {
			if seen[real] {
				continue
			}
			seen[real] = true
		}
		wg.Go(func() {
			gate <- struct{}{}
			defer func() { <-gate }()
			found[i] = ask(ctx, path, environ)
		})
	}
	wg.Wait()
	var all []Interpreter
	for _, in := range slices.Concat(found...) {
		if !slices.ContainsFunc(all, func(o Interpreter) bool { return o.Path == in.Path }) {
			all = append(all, in)
		}
	}
	for i := range all {
		if !all[i].Venv {
			all[i].Default = true
			break
		}
	}
	return all
}

func inVenv(path string) bool {
	_, err := os.Stat(filepath.Join(filepath.Dir(filepath.Dir(path)), "pyvenv.cfg"))
	return err == nil
}

// ask runs one candidate. A virtual environment gives two interpreters: itself
// and the one it was made from.
func ask(ctx context.Context, path string, environ []string) []Interpreter {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "-I", "-c", probe)
	cmd.Env = without(environ, "PYTHONHOME", "PYTHONPATH", "PYTHONSTARTUP")
	inGroup(cmd)
	out, err := cmd.Output()
	if err != nil {
		return nil
	}
	var answer struct {
		Version        PyVersion
		Implementation string
		Executable     string
		Base           string
		Venv           bool
		Platform       string
		GIL            bool
	}
	if json.Unmarshal(lastLine(out), &answer) != nil || answer.Implementation != "cpython" || !answer.GIL {
		return nil
	}
	if answer.Version[0] != 3 || answer.Version[1] < oldestMinor || !filepath.IsAbs(answer.Executable) {
		return nil
	}
	in := Interpreter{Path: answer.Executable, Version: answer.Version, Platform: answer.Platform, Venv: answer.Venv}
	var all []Interpreter
	if answer.Venv {
		all = append(all, in)
		in.Venv, in.Path = false, answer.Base
	}
	if real, err := filepath.EvalSymlinks(in.Path); err == nil {
		in.Path = real
		all = append(all, in)
	}
	return all
}

// lastLine returns the last line of an interpreter's answer: the machine's .pth
// files may print before it.
func lastLine(out []byte) []byte {
	out = bytes.TrimSpace(out)
	return out[bytes.LastIndexByte(out, '\n')+1:]
}

// choose takes the interpreter for a constraint: one that satisfies it, else
// one of a minor version that could, else (PythonNearest) the one whose minor
// version is nearest, the newer of two. Without a constraint it is the default.
func choose(all []Interpreter, want specifier, policy Policy) (Interpreter, error) {
	ranked := rank(all, want)
	if len(ranked) == 0 {
		return Interpreter{}, fault.E(fault.Conflict, Code,
			"no Python 3.%d or newer was found on this machine: install one, or put it on PATH", oldestMinor).At("python")
	}
	best := ranked[0]
	if policy == PythonExact && best.far(fittingMinors(want)) > 0 {
		return Interpreter{}, fault.E(fault.Invalid, Code,
			"the environment asks for python%s, and this machine has %s: install that version, or allow the nearest one with --python nearest",
			want, strings.Join(versionsOf(all), ", ")).At("environment.conda_file")
	}
	return best, nil
}

// rank orders the interpreters by how well they fit, best first. Virtual
// environments are left out: what was made from them would break with them.
func rank(all []Interpreter, want specifier) []Interpreter {
	type ranked struct {
		Interpreter
		fits bool
		far  int
	}
	minors := fittingMinors(want)
	var list []ranked
	for _, in := range all {
		if !in.Venv {
			list = append(list, ranked{in, want.allows(in.Version.String()), in.far(minors)})
		}
	}
	slices.SortStableFunc(list, func(a, b ranked) int {
		c := cmp.Or(cmp.Compare(btoi(!a.fits), btoi(!b.fits)), cmp.Compare(a.far, b.far))
		if c == 0 && len(want) == 0 {
			c = cmp.Compare(btoi(!a.Default), btoi(!b.Default))
		}
		return cmp.Or(c, b.Version.compare(a.Version))
	})
	ordered := make([]Interpreter, len(list))
	for i, r := range list {
		ordered[i] = r.Interpreter
	}
	return ordered
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// fittingMinors lists the minor versions of Python 3 of which some release
// satisfies the constraint.
func fittingMinors(want specifier) []int {
	const horizon = 60 // minor and micro versions that are tried
	var minors []int
	for minor := range horizon {
		for micro := range horizon {
			v := version{release: []int{3, minor, micro}, pre: noPre, post: -1, dev: math.MaxInt}
			if want.allowsVersion(v, "") {
				minors = append(minors, minor)
				break
			}
		}
	}
	return minors
}

// far counts minor versions between the interpreter and the nearest of minors.
// 0 means that its minor version fits.
func (in Interpreter) far(minors []int) int {
	best := math.MaxInt
	for _, minor := range minors {
		best = min(best, max(minor-in.Version[1], in.Version[1]-minor))
	}
	return best
}

// versionsOf lists the versions of the machine for a message, oldest first.
func versionsOf(all []Interpreter) []string {
	versions := make([]PyVersion, 0, len(all))
	for _, in := range all {
		versions = append(versions, in.Version)
	}
	slices.SortFunc(versions, PyVersion.compare)
	var texts []string
	for _, v := range slices.Compact(versions) {
		texts = append(texts, v.String())
	}
	return texts
}
