package environment

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"lapis/fault"
)

// job is one build at work.
type job struct {
	b       *Builder
	plan    plan
	in      Interpreter
	work    string // temporary folder
	env     string // the virtual environment inside it
	environ []string
	pip     pipConfig
	out     *output
	report  Report
	offline bool // no index answers: only local sources are tried
}

// quiet is how long a tool may be silent before we say that it still runs.
const quiet = 5 * time.Second

// run makes the environment in j.env and fills the report in.
func (j *job) run(ctx context.Context, host hostPackages) error {
	j.out.say("Environment for Python %s (%s), %d packages.", j.in.Version, j.in.Path, len(j.plan.items))
	if !j.report.Python.Exact {
		note := fmt.Sprintf("The conda file asks for python%s; the nearest that this machine has is %s.", j.plan.wanted, j.in.Version)
		j.report.Notes = append(j.report.Notes, note)
		j.out.say("%s", note)
	}
	for _, s := range j.plan.skipped {
		j.out.say("Left out: %s (%s).", s.Name, s.Why)
	}
	if j.b.cfg.Mode == ModeHost {
		return j.fromHost(ctx, host)
	}
	j.configure(ctx)
	if err := j.install(ctx); err != nil {
		return err
	}
	installed, err := listInstalled(ctx, pythonOf(j.env), j.environ)
	if err != nil {
		return fault.E(fault.Conflict, Code, "the new environment does not run: %v", err)
	}
	j.report.Installed = installed
	return j.finish()
}

// configure reads the user's pip configuration and prepares to hide its secrets.
func (j *job) configure(ctx context.Context) {
	listing := ""
	if len(j.plan.items) > 0 { // else nothing is asked of an index
		listing = j.pipListing(ctx)
	}
	j.pip = readPipConfig(listing, j.environ)
	var pairs []string
	for _, secret := range j.pip.secrets(j.environ, j.plan.lines()) {
		pairs = append(pairs, secret, "***")
	}
	j.out.mu.Lock()
	defer j.out.mu.Unlock()
	j.out.strike = strings.NewReplacer(pairs...)
}

// pipListing asks the first interpreter that has pip what its files configure.
func (j *job) pipListing(ctx context.Context) string {
	for _, in := range j.pipHosts() {
		ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
		cmd := exec.CommandContext(ctx, in.Path, "-m", "pip", "config", "list")
		cmd.Env, cmd.Dir = pythonEnviron(j.environ), j.work
		inGroup(cmd)
		out, err := cmd.Output()
		cancel()
		if err == nil {
			return string(out)
		}
	}
	return ""
}

// pipHosts orders the interpreters by how likely their pip is the user's: the
// default, the one chosen, the rest.
func (j *job) pipHosts() []Interpreter {
	all, _ := j.b.Interpreters(context.Background()) // known by now
	list := append([]Interpreter{}, all...)
	slices.SortStableFunc(list, func(a, b Interpreter) int {
		weigh := func(in Interpreter) int { return -2*btoi(in.Default) - btoi(in.Path == j.in.Path) }
		return weigh(a) - weigh(b)
	})
	return list
}

// install puts the packages in, by uv or by venv and pip.
func (j *job) install(ctx context.Context) error {
	if len(j.plan.items) == 0 {
		j.report.Tool = "venv" // nothing to install, so no installer is looked for
		return j.command(ctx, j.environ, j.in.Path, "-m", "venv", "--without-pip", j.env)
	}
	indexes := j.pip.indexes(j.plan.options)
	if len(indexes) > 0 && !anyReachable(ctx, indexes, j.environ, j.pip["proxy"]) {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		j.offline = true
		j.out.say("No package index answers (%s): local sources only.", strings.Join(indexes, ", "))
	}
	t, err := j.tool(ctx)
	if err != nil {
		return err
	}
	j.report.Tool = t.label
	lines, install := j.plan.lines(), j.byPip
	if t.uv != "" {
		lines = j.plan.linesForUV()
		install = func(ctx context.Context, requirements string) error { return j.byUV(ctx, t, requirements) }
	}
	requirements := filepath.Join(j.work, "requirements.txt")
	if err := os.WriteFile(requirements, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		return storageFault(err)
	}
	defer os.Remove(requirements) // it may hold credentials
	return install(ctx, requirements)
}

func (j *job) byUV(ctx context.Context, t tool, requirements string) error {
	env := j.pip.uvEnviron(j.environ, j.plan.options)
	env = with(env, "PYC_INVALIDATION_MODE", "UNCHECKED_HASH") // times do not survive an image
	if j.offline {
		env = with(env, "UV_OFFLINE", "1")
	}
	args := append([]string{t.uv}, t.config(j.environ)...)
	create := append(slices.Clone(args), "venv", "--quiet", "--no-project", "--relocatable", "--python", j.in.Path, j.env)
	j.out.say("Step 1 of 2: virtual environment, by %s.", t.label)
	if err := j.command(ctx, env, create...); err != nil {
		return err
	}
	j.out.say("Step 2 of 2: resolve, download and install.")
	add := append(args, "pip", "install", "--python", pythonOf(j.env), "--requirements", requirements, "--compile-bytecode")
	return j.command(ctx, env, append(add, j.pip.binaryFlags()...)...)
}

// binaryFlags carries pip's choice between wheels and sources over to uv.
func (c pipConfig) binaryFlags() []string {
	var flags []string
	for _, name := range []string{"only-binary", "no-binary"} {
		for word := range strings.FieldsFuncSeq(c[name], func(r rune) bool { return r == ',' || r == ' ' }) {
			flags = append(flags, "--"+name, word)
		}
	}
	return flags
}

func (j *job) byPip(ctx context.Context, requirements string) error {
	env := j.pip.pipEnviron(j.environ)
	if j.offline {
		if len(j.pip.findLinks()) == 0 {
			return unreachable(j.pip.indexes(j.plan.options), nil)
		}
		env = with(env, "PIP_NO_INDEX", "1")
	}
	j.out.say("Step 1 of 3: virtual environment, by venv.")
	venv := []string{j.in.Path, "-m", "venv", j.env}
	pip := []string{pythonOf(j.env), "-m", "pip"}
	if outer := j.outerPip(ctx); outer != "" { // far quicker, and leaves no pip inside
		venv = []string{j.in.Path, "-m", "venv", "--without-pip", j.env}
		pip = []string{outer, "-m", "pip", "--python", pythonOf(j.env)}
	}
	if err := j.command(ctx, env, venv...); err != nil {
		return err
	}
	j.out.say("Step 2 of 3: resolve, download and install, by pip.")
	if err := j.command(ctx, env, append(pip, "install", "--no-compile", "-r", requirements)...); err != nil {
		return err
	}
	j.out.say("Step 3 of 3: byte code.")
	compile := exec.CommandContext(ctx, pythonOf(j.env), "-m", "compileall", "-q", "-j", "0", "--invalidation-mode", "unchecked-hash",
		filepath.Join(j.env, "lib"))
	compile.Env, compile.Dir = env, j.work
	inGroup(compile)
	_ = compile.Run() // some packages carry files that are no Python of this version
	return context.Cause(ctx)
}

// outerPip finds an interpreter whose pip can install into another environment
// (pip 22.3 or newer), "" for none.
func (j *job) outerPip(ctx context.Context) string {
	oldest, _ := parseVersion("22.3")
	for _, in := range j.pipHosts() {
		if in.Venv {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
		cmd := exec.CommandContext(ctx, in.Path, "-m", "pip", "--version")
		cmd.Env, cmd.Dir = pythonEnviron(j.environ), j.work
		inGroup(cmd)
		out, err := cmd.Output()
		cancel()
		words := strings.Fields(string(out))
		if err != nil || len(words) < 2 {
			continue
		}
		if v, err := parseVersion(words[1]); err == nil && v.compare(oldest) >= 0 {
			return in.Path
		}
	}
	return ""
}

// command runs a tool, its output going line by line to the log. The arguments
// hold no credentials.
func (j *job) command(ctx context.Context, env []string, argv ...string) error {
	err := j.execute(ctx, env, argv...)
	lines := j.out.flush()
	if err == nil {
		return nil
	}
	if len(lines) == 0 {
		lines = []string{err.Error()}
	}
	return toolFailed(ctx, lines, j.pip.indexes(j.plan.options), j.offline)
}

func (j *job) execute(ctx context.Context, env []string, argv ...string) error {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env, cmd.Dir = env, j.work
	cmd.Stdout, cmd.Stderr = j.out, j.out
	inGroup(cmd)
	dieWithUs(cmd.SysProcAttr)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { j.heartbeat(ended) })
	err := cmd.Wait()
	close(ended)
	wg.Wait()
	return err
}

// heartbeat says that a silent tool still runs.
func (j *job) heartbeat(ended <-chan struct{}) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			return
		case <-tick.C:
			if j.out.quietFor() >= quiet {
				j.out.say("... still working.")
			}
		}
	}
}

// lister prints every distribution that an interpreter can import.
const lister = `import importlib.metadata as m, json, re
found = {}
for d in m.distributions():
    try:
        name = d.metadata["Name"]
        if name:
            found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), d.version or "")
    except Exception:
        pass
print("\n" + json.dumps(sorted(found.items())))`

// listInstalled returns the distributions of an interpreter, by name.
func listInstalled(ctx context.Context, python string, environ []string) ([]Installed, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, python, "-E", "-c", "import sys; sys.path[:1] = []\n"+lister)
	cmd.Env, cmd.Dir = pythonEnviron(environ), "/"
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	inGroup(cmd)
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, useful(strings.Split(stderr.String(), "\n")))
	}
	var rows [][2]string
	if err := json.Unmarshal(lastLine(stdout.Bytes()), &rows); err != nil {
		return nil, fmt.Errorf("list what is installed: %w", err)
	}
	installed := make([]Installed, len(rows))
	for i, row := range rows {
		installed[i] = Installed{Name: row[0], Version: row[1]}
	}
	return installed, nil
}

var shebang = regexp.MustCompile(`^#!([^\r\n]*)\r?\n`)

// finish makes the environment independent of the place where it was built.
func (j *job) finish() error {
	entries, err := os.ReadDir(filepath.Join(j.env, "bin"))
	if err != nil {
		return storageFault(err)
	}
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		if err := relocate(filepath.Join(j.env, "bin", e.Name()), j.env); err != nil {
			return storageFault(err)
		}
	}
	return nil
}

// relocate rewrites the first line of a script that names the interpreter by
// its path in env: it becomes a shell line that finds the interpreter beside
// the script, and that Python reads as a text.
func relocate(path, env string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	m := shebang.FindSubmatch(data)
	if m == nil || !strings.HasPrefix(string(m[1]), filepath.Join(env, "bin", "python")) {
		return nil
	}
	head := "#!/bin/sh\n'''exec' \"$(dirname -- \"$(realpath -- \"$0\")\")\"/'python' \"$0\" \"$@\"\n' '''\n"
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	return os.WriteFile(path, append([]byte(head), data[len(m[0]):]...), info.Mode().Perm())
}
