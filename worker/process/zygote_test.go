package process_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"lapis/worker"
	"lapis/worker/process"
)

// forkedVariable has the tests of this package run with instances that are forked.
const forkedVariable = "LAPIS_TEST_FORKED"

// forking reports whether instances are to be forked.
func forking() bool { return os.Getenv(forkedVariable) != "" }

// warm has a runtime fork what starts next.
func warm(t testing.TB, r *process.Runtime, python string) {
	t.Helper()
	spec, console := specOf(t, "def init(): pass\ndef run(d): return d\n")
	spec.Trust, spec.Python = "test", python
	i, err := r.Start(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	awaitReady(t, i, console)
	if err := i.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(process.Zygotes(r)) == 0 {
		t.Fatal("nothing to fork from after the first start")
	}
}

func awaitReady(t testing.TB, i worker.Instance, console *log) {
	t.Helper()
	select {
	case <-i.Ready():
	case <-i.Done():
		t.Fatalf("the instance ended: %v\n%s", i.Err(), console)
	}
}

// TestForkedInstancesKeepThePromises runs the other tests once more.
func TestForkedInstancesKeepThePromises(t *testing.T) {
	if forking() || testing.Short() {
		t.Skip("one run is enough")
	}
	defer os.RemoveAll(answersDir())
	cmd := exec.Command(os.Args[0], "-test.count=1", "-test.timeout=9m", // those left out make both sorts of instances themselves
		"-test.skip=^(Fuzz|Test(Forked|Killed|Module|Unfit|Variables|Zygote|WhatWas|NoTrust|Idle|EveryInterpreterForks|Groups|Malformed|Counters|Controllers))")
	if testing.Verbose() {
		cmd.Args = append(cmd.Args, "-test.v")
	}
	cmd.Env = append(os.Environ(), forkedVariable+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil || testing.Verbose() {
		t.Logf("%s", out)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// place is an interpreter with packages of its own, a runtime, and what that logs.
type place struct {
	runtime *process.Runtime
	python  string
	log     *log
}

// newPlace makes a virtual environment with one package for each entry of packages.
func newPlace(t *testing.T, packages map[string]string) *place {
	t.Helper()
	dir, said := t.TempDir(), &log{}
	if out, err := exec.Command(interpreter(t), "-m", "venv", "--without-pip", dir).CombinedOutput(); err != nil {
		t.Skipf("needs venv: %v %s", err, out)
	}
	sites, _ := filepath.Glob(filepath.Join(dir, "lib", "python3.*", "site-packages"))
	for name, source := range packages {
		write(t, filepath.Join(sites[0], name, "__init__.py"), source)
	}
	r, err := process.New(process.Config{Dir: t.TempDir(), Grace: time.Second, Logger: slog.New(slog.NewTextHandler(said, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close(context.Background()) })
	return &place{runtime: r, python: filepath.Join(dir, "bin", "python"), log: said}
}

// start starts a script and waits until it is ready and a zygote stands, if one can.
func (p *place) start(t *testing.T, script string, change ...func(*worker.Spec)) worker.Instance {
	t.Helper()
	spec, console := specOf(t, script)
	spec.Trust, spec.Python = "test", p.python
	for _, c := range change {
		c(&spec)
	}
	i, err := p.runtime.Start(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	awaitReady(t, i, console)
	process.Zygotes(p.runtime)
	return i
}

// says asks a script and returns its answer.
func ask(t *testing.T, i worker.Instance) string {
	t.Helper()
	return string(score(t, i, post("")).Body)
}

func TestForkedInstancesHaveThePackagesAndNoCommonRandomness(t *testing.T) {
	p := newPlace(t, map[string]string{"early": "import os, random, ssl, uuid, multiprocessing, tempfile\npid = os.getpid()\nssl.RAND_bytes(8); uuid.uuid1(); random.random()\n"})
	const script = `
import os, random, secrets, ssl, uuid, multiprocessing
import early
def init(): pass
def run(d):
    return [os.getppid() == early.pid, random.random(), ssl.RAND_bytes(8).hex(), uuid.uuid1().hex, str(uuid.uuid4()), secrets.token_hex(8),
            bytes(multiprocessing.current_process().authkey).hex()]
`
	if i := p.start(t, script); process.Forked(i) || !strings.HasPrefix(ask(t, i), "[false") {
		t.Error("the first instance shares a beginning with nobody")
	}
	seen := map[any]bool{}
	for range 3 {
		i := p.start(t, script)
		var got []any
		if err := json.Unmarshal([]byte(ask(t, i)), &got); err != nil {
			t.Fatal(err)
		}
		if !process.Forked(i) || got[0] != true {
			t.Errorf("the package was imported by the instance: %v", got)
		}
		for _, value := range got[1:] {
			if seen[value] {
				t.Errorf("%v came twice", value)
			}
			seen[value] = true
		}
	}
}

func TestForkedInstanceSeesWhatAFreshOneSees(t *testing.T) {
	p := newPlace(t, map[string]string{"used": "import needed\nname = 'environment'\n", "needed": "", "other": ""})
	p.start(t, "import used, other\ndef init(): pass\ndef run(d): pass\n")
	const script = `
import os, sys, gc, signal
import used
def init(): pass
def run(d):
    return [sorted(m for m in sys.modules if m in ("used", "needed", "other")), used.__spec__.loader.__class__.__name__, sys.argv, sys.path,
            sorted(os.environ), [(fd, os.readlink("/proc/self/fd/" + fd).split(":")[0].replace("/dev/pts", "/dev/null")) for fd in sorted(os.listdir("/proc/self/fd"))
            if os.path.exists("/proc/self/fd/" + fd)], os.getcwd(), os.getpgrp() == os.getpid(), gc.isenabled(), __name__, sys.executable,
            str(signal.getsignal(signal.SIGCHLD)), sys.flags.dev_mode, sys.dont_write_bytecode, getattr(sys, "orig_argv", [])[2:4], os.umask(0o22)]
`
	spec, _ := specOf(t, script)
	same := func(s *worker.Spec) { s.Dir, s.Env = spec.Dir, append(spec.Env, "MINE=1") }
	fresh := p.start(t, script, same, func(s *worker.Spec) { s.Trust = "" })
	forked := p.start(t, script, same)
	if process.Forked(fresh) || !process.Forked(forked) {
		t.Fatal("not one of each")
	}
	if one, other := ask(t, fresh), ask(t, forked); one != other {
		t.Errorf("fresh  %s\nforked %s", one, other)
	}
}

func TestModuleOfTheScriptsOwnInFrontIsTaken(t *testing.T) {
	p := newPlace(t, map[string]string{"used": "name = 'environment'\n", "late": "name = 'environment'\n"})
	p.start(t, "import used, late\ndef init(): pass\ndef run(d): pass\n")
	dir := t.TempDir() // outside of the code folder, where nobody looks beforehand
	write(t, filepath.Join(dir, "used.py"), "name = 'own'\n")
	for name, beside := range map[string]bool{"elsewhere": false, "in the code folder": true} {
		i := p.start(t, `
import os, sys
sys.path.insert(0, os.environ["FRONT"])
def init():
    import used
    global name
    name = used.name
def run(d):
    import late
    return [name, late.name]
`, func(s *worker.Spec) {
			front := dir
			if beside {
				front = filepath.Join(s.Dir, "front")
				write(t, filepath.Join(front, "used.py"), "name = 'own'\n")
			}
			s.Env = append(s.Env, "FRONT="+front)
		})
		if got := ask(t, i); beside && got != `["own", "environment"]` {
			t.Errorf("%s: got %s", name, got)
		}
	}
}

// Libraries bound by cffi, as those of cryptography, lie among the modules,
// say that they are some, and are none.
func TestWhatOnlySaysThatItIsAModuleHarmsNobody(t *testing.T) {
	p := newPlace(t, map[string]string{"bound": `
import os, sys, types
class Lib:
    __class__ = property(lambda self: types.ModuleType)
lib = sys.modules["bound.lib"] = Lib()
pid = os.getpid()
`})
	const script = "import os, bound\ndef init(): pass\ndef run(d): return [isinstance(bound.lib, type(os)), bound.pid == os.getppid()]\n"
	if got := ask(t, p.start(t, script)); got != "[true, false]" {
		t.Errorf("the first instance: %s", got)
	}
	if got := ask(t, p.start(t, script)); got != "[true, true]" {
		t.Errorf("a forked instance: %s", got)
	}
}

func TestUnfitPackageIsLeftToTheInstances(t *testing.T) {
	p := newPlace(t, map[string]string{
		"threads": "import os, threading\npid = os.getpid()\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n",
		"broken":  "import os\nif 'INSTANCE' not in os.environ: raise OSError('only in an instance')\n",
		"fine":    "import os\npid = os.getpid()\n",
	})
	const script = "import os, threads, broken, fine\ndef init(): pass\ndef run(d): return [threads.pid == os.getpid(), fine.pid == os.getppid()]\n"
	instance := func(s *worker.Spec) { s.Env = append(s.Env, "INSTANCE=1") }
	p.start(t, script, instance)
	i := p.start(t, strings.Replace(script, "broken, ", "", 1))
	if got := ask(t, i); !process.Forked(i) || got != "[true, true]" {
		t.Errorf("forked is %v, and got %s", process.Forked(i), got)
	}
	if text := p.log.String(); strings.Count(text, "it starts threads") != 1 || !strings.Contains(text, "package=threads") {
		t.Errorf("the log:\n%s", text)
	}
}

func TestVariablesThatMatterEarlyAreHonoured(t *testing.T) {
	p := newPlace(t, map[string]string{"reader": "import os\nmode = os.environ.get('READER_MODE', 'none')\n"})
	const script = "import reader, sys, time\ndef init(): pass\ndef run(d): return [reader.mode, sys.flags.hash_randomization, time.tzname[0]]\n"
	p.start(t, script)
	for _, c := range []struct {
		name, variable, want, why string
		forked                    bool
	}{
		{"nothing", "X=1", `["none", 1, "UTC"]`, "", true},
		{"read by a package when it is imported", "READER_MODE=mine", `["mine", 1, "UTC"]`, "reads the variable READER_MODE", false},
		{"code before the script", "PYTHONPATH=/nowhere", `["none", 1, "UTC"]`, "variable PYTHONPATH is set", false},
		{"a home with packages", "HOME=/nowhere", `["none", 1, "UTC"]`, "HOME is set without PYTHONNOUSERSITE", false},
		{"of the interpreter", "PYTHONHASHSEED=0", `["none", 0, "UTC"]`, "", true},
		{"of the time", "TZ=XYZ-3", `["none", 1, "XYZ"]`, "", true},
	} {
		set := func(s *worker.Spec) { s.Env = append(s.Env, c.variable) }
		p.start(t, script, set)
		i := p.start(t, script, set)
		if got := ask(t, i); got != c.want || process.Forked(i) != c.forked || !strings.Contains(p.log.String(), c.why) {
			t.Errorf("%s: forked %v, got %s, and the log\n%s", c.name, process.Forked(i), got, p.log)
		}
	}
}

func TestZygoteHoldsNoSecret(t *testing.T) {
	p := newPlace(t, nil)
	const script = "import os\ndef init(): pass\ndef run(d): return os.environ['MSI_SECRET']\n"
	p.start(t, script)
	i := p.start(t, script)
	if got := ask(t, i); got != `"canary-4711"` || !process.Forked(i) {
		t.Errorf("got %s", got)
	}
	for _, file := range []string{"environ", "cmdline"} {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", process.Zygotes(p.runtime)[0], file))
		if err != nil || strings.Contains(string(data), "canary") {
			t.Errorf("%s: %v\n%s", file, err, data)
		}
	}
}

func TestZygoteThatDiesIsReplaced(t *testing.T) {
	p := newPlace(t, nil)
	const script = "import os, subprocess, sys\ndef init():\n    global c\n    c = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\ndef run(d): return c.pid\n"
	p.start(t, script)
	i := p.start(t, script)
	child, err := strconv.Atoi(ask(t, i))
	if err != nil {
		t.Fatal(err)
	}
	old := process.Zygotes(p.runtime)[0]
	_ = syscall.Kill(old, syscall.SIGKILL)
	<-i.Done()
	var exit *worker.ExitError
	if !errors.As(i.Err(), &exit) || alive(process.PID(i)) || alive(child) {
		t.Errorf("ended with %v; %v %v", i.Err(), alive(process.PID(i)), alive(child))
	}
	if i = p.start(t, script); !process.Forked(i) || slices.Contains(process.Zygotes(p.runtime), old) {
		t.Error("the next instance is not forked from another")
	}
}

func TestWhatWasLearnedOutlivesARestart(t *testing.T) {
	p := newPlace(t, map[string]string{"early": "import os\npid = os.getpid()\n"})
	const script = "import os, early\ndef init(): pass\ndef run(d): return early.pid == os.getpid()\n"
	dir := t.TempDir()
	t.Run("of a script without packages", func(t *testing.T) {
		dir := t.TempDir()
		for _, want := range []bool{false, true} {
			r, err := process.New(process.Config{Dir: dir})
			if err != nil {
				t.Fatal(err)
			}
			p.runtime = r
			if i := p.start(t, "def init(): pass\ndef run(d): pass\n"); process.Forked(i) != want {
				t.Errorf("forked is %v", !want)
			}
			if err := r.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	})
	for _, want := range []string{"true", "false"} {
		r, err := process.New(process.Config{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		p.runtime = r
		if got := ask(t, p.start(t, script)); got != want {
			t.Errorf("got %s", got)
		}
		if err := r.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNoTrustMeansAFreshProcess(t *testing.T) {
	p := newPlace(t, nil)
	const script = "def init(): pass\ndef run(d): pass\n"
	p.start(t, script)
	for _, trust := range []string{"", "another"} {
		if i := p.start(t, script, func(s *worker.Spec) { s.Trust = trust }); process.Forked(i) {
			t.Errorf("an instance of trust %q was forked", trust)
		}
	}
}

func TestIdleZygoteEnds(t *testing.T) {
	p := newPlace(t, nil)
	r, err := process.New(process.Config{Dir: t.TempDir(), ZygoteIdle: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close(t.Context())
	p.runtime = r
	i := p.start(t, "def init(): pass\ndef run(d): pass\n")
	for deadline := time.Now().Add(5 * time.Second); len(process.Zygotes(r)) > 0; {
		if time.Now().After(deadline) {
			t.Fatal("it is still there")
		}
	}
	if err := i.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestEveryInterpreterForks(t *testing.T) {
	found, _ := filepath.Glob(filepath.Join(os.Getenv("HOME"), ".pyenv", "versions", "3.*", "bin", "python"))
	for _, python := range found {
		if strings.Contains(python, "/3.6.") || strings.Contains(python, "/3.7.") {
			continue
		}
		t.Run(filepath.Base(filepath.Dir(filepath.Dir(python))), func(t *testing.T) {
			t.Parallel()
			r := newRuntime(t)
			warm(t, r, python)
			p := &place{runtime: r, python: python}
			if i := p.start(t, articleLike); !process.Forked(i) {
				t.Error("not forked")
			}
		})
	}
}
