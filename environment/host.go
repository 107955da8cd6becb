package environment

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"lapis/fault"
)

// hostPackages is what one interpreter of the machine can import.
type hostPackages struct {
	paths     []string          // its package folders, in its order
	installed map[string]string // normal name to version
}

// sites prints the package folders of an interpreter.
const sites = `import sys, site, os, json
paths = [p for p in sys.path if os.path.basename(p) in ("site-packages", "dist-packages")]
print("\n" + json.dumps(paths))`

// inspectHost asks an interpreter what it has.
func inspectHost(ctx context.Context, in Interpreter, environ []string) (hostPackages, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, in.Path, "-E", "-c", sites)
	cmd.Env, cmd.Dir = pythonEnviron(environ), "/"
	inGroup(cmd)
	out, err := cmd.Output()
	if err != nil {
		return hostPackages{}, err
	}
	var h hostPackages
	if err := json.Unmarshal(lastLine(out), &h.paths); err != nil {
		return hostPackages{}, err
	}
	list, err := listInstalled(ctx, in.Path, environ)
	if err != nil {
		return hostPackages{}, err
	}
	h.installed = map[string]string{}
	for _, d := range list {
		h.installed[d.Name] = d.Version
	}
	return h, nil
}

// verdict is how well a host fits a plan.
type verdict struct {
	differs []Difference
	missing []string
	notes   []string
}

// compareHost checks every requirement against what is there. It is pure.
func compareHost(p plan, installed map[string]string) verdict {
	var v verdict
	for _, r := range p.items {
		if r.Name == "" {
			v.notes = append(v.notes, "Not checked: "+redact(r.URL)+" names no package.")
			continue
		}
		got, there := installed[r.Name]
		switch {
		case !there && r.Marker != "":
			v.notes = append(v.notes, "Not checked: "+redact(r.String())+" is not installed, and may not be meant for this Python.")
		case !there:
			v.missing = append(v.missing, redact(r.String()))
		case r.URL != "":
			v.differs = append(v.differs, Difference{Name: r.Name, Wanted: redact(r.URL), Got: got})
		case !r.spec.allows(got):
			v.differs = append(v.differs, Difference{Name: r.Name, Wanted: r.Spec, Got: got})
		}
	}
	return v
}

// chooseHost takes the interpreter that has most of what the plan wants: fewest
// packages missing, then fewest that differ, then the best Python version. The
// policy exact, or a named interpreter, narrows the choice first.
func chooseHost(ctx context.Context, p plan, all []Interpreter, policy Policy, named string, environ []string) (Interpreter, hostPackages, error) {
	hosts, err := hostCandidates(all, p, policy, named)
	if err != nil {
		return Interpreter{}, hostPackages{}, err
	}
	type checked struct {
		in Interpreter
		h  hostPackages
		v  verdict
		ok bool
	}
	results := make([]checked, len(hosts))
	gate := make(chan struct{}, 4)
	var wg sync.WaitGroup
	for i, in := range hosts {
		wg.Go(func() {
			gate <- struct{}{}
			defer func() { <-gate }()
			h, err := inspectHost(ctx, in, environ)
			results[i] = checked{in: in, h: h, v: compareHost(p, h.installed), ok: err == nil}
		})
	}
	wg.Wait()
	if err := context.Cause(ctx); err != nil {
		return Interpreter{}, hostPackages{}, err
	}
	results = slices.DeleteFunc(results, func(c checked) bool { return !c.ok })
	if len(results) == 0 {
		return Interpreter{}, hostPackages{}, fault.E(fault.Conflict, Code, "no Python of this machine says what it has installed")
	}
	slices.SortStableFunc(results, func(a, b checked) int { // hosts come in order of their versions
		return cmp.Or(cmp.Compare(len(a.v.missing), len(b.v.missing)), cmp.Compare(len(a.v.differs), len(b.v.differs)))
	})
	return results[0].in, results[0].h, nil
}

func hostCandidates(all []Interpreter, p plan, policy Policy, named string) ([]Interpreter, error) {
	if named != "" {
		i := slices.IndexFunc(all, func(in Interpreter) bool { return in.Path == named || sameFile(in.Path, named) && !in.Venv })
		if i < 0 {
			return nil, fault.E(fault.Invalid, Code, "%s is not one of the Pythons found on this machine", named).At("python")
		}
		return all[i : i+1], nil
	}
	if _, err := choose(all, p.python, policy); err != nil {
		return nil, err
	}
	var venvs []Interpreter // an active virtual environment counts as what the host has
	for _, in := range all {
		if in.Venv {
			venvs = append(venvs, in)
		}
	}
	hosts := append(venvs, rank(all, p.python)...)
	if policy == PythonExact {
		minors := fittingMinors(p.python)
		hosts = slices.DeleteFunc(hosts, func(in Interpreter) bool { return in.far(minors) > 0 })
	}
	return hosts, nil
}

func sameFile(a, b string) bool {
	x, errA := os.Stat(a)
	y, errB := os.Stat(b)
	return errA == nil && errB == nil && os.SameFile(x, y)
}

// fromHost makes an environment that borrows the packages of the interpreter.
func (j *job) fromHost(ctx context.Context, host hostPackages) error {
	v := compareHost(j.plan, host.installed)
	j.report.Tool, j.report.Differs, j.report.Missing = "host", v.differs, v.missing
	j.report.Notes = append(j.report.Notes, v.notes...)
	for _, d := range v.differs {
		j.out.say("Differs: %s %s instead of %s.", d.Name, d.Got, d.Wanted)
	}
	if len(v.missing) > 0 {
		return fault.E(fault.Invalid, Code, "Python %s (%s) of this machine lacks what the conda file asks for: %s",
			j.in.Version, j.in.Path, strings.Join(v.missing, ", ")).At("environment.conda_file")
	}
	j.out.say("Virtual environment over the packages of %s.", j.in.Path)
	if err := j.command(ctx, pythonEnviron(j.environ), j.in.Path, "-m", "venv", "--without-pip", j.env); err != nil {
		return err
	}
	var pth strings.Builder
	for _, path := range host.paths {
		quoted, err := json.Marshal(path) // a JSON text is a Python text
		if err != nil {
			return fault.Wrap(err, "writing an environment")
		}
		fmt.Fprintf(&pth, "import site; site.addsitedir(%s)\n", quoted)
	}
	dir := filepath.Join(j.env, "lib", "python"+j.in.Version.Minor(), "site-packages")
	if err := os.WriteFile(filepath.Join(dir, "_host.pth"), []byte(pth.String()), 0o644); err != nil {
		return storageFault(err)
	}
	installed, err := listInstalled(ctx, pythonOf(j.env), j.environ)
	if err != nil {
		return fault.E(fault.Conflict, Code, "the new environment does not run: %v", err)
	}
	j.report.Installed = installed
	return j.finish()
}
