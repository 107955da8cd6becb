package process

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"lapis/worker"
)

// proc is the process of an instance, however it was made.
type proc interface {
	pid() int

	// wait returns when the process has ended. Until reap, its id and its
	// group's are nobody else's.
	wait()

	// reap frees the id, and says how the process ended.
	reap() ending
}

// birth is what a process needs to become an instance.
type birth struct {
	spec worker.Spec
	*cradle
}

// environ is the instance's whole environment.
func (b birth) environ() []string {
	return append(append([]string{}, b.spec.Env...), "PYTHONUNBUFFERED=1", markVariable+"="+b.mark)
}

// begin makes the process: one that was forked ahead, or a fork where one is
// to be had, else a fresh one.
func (r *Runtime) begin(ctx context.Context, spec worker.Spec) (*cradle, proc, error) {
	z := r.zygotes.take(ctx, spec)
	if z != nil {
		if c, ahead := z.takeSpare(spec); ahead != nil {
			return c, ahead, nil
		}
	}
	if z != nil {
		c, forked, err := r.deliver(spec, func(b birth) (proc, error) { return b.fork(z) })
		if err == nil {
			return c, forked, nil
		}
		r.zygotes.refused(spec, z, err)
	}
	return r.deliver(spec, r.startFresh)
}

// deliver makes a cradle, and an instance's process in it.
func (r *Runtime) deliver(spec worker.Spec, born func(birth) (proc, error)) (*cradle, proc, error) {
	c, err := r.newCradle(spec.Name, spec.Limits)
	if err != nil {
		return nil, nil, err
	}
	process, err := born(birth{spec, c})
	c.handOver()
	if err != nil {
		r.clear(c)
		return nil, nil, err
	}
	return c, process, nil
}

func (b birth) fork(z *zygote) (proc, error) {
	forked, err := z.fork(b.cradle)
	if err != nil {
		return nil, err
	}
	if err := b.tell(); err != nil {
		signalGroup(forked.pid(), syscall.SIGKILL)
		forked.wait()
		forked.reap()
		return nil, err
	}
	return forked, nil
}

func (r *Runtime) startFresh(b birth) (proc, error) {
	fresh := r.command(b)
	var err error
	r.spawn.do(func() { err = fresh.Start() })
	if err != nil {
		return nil, cannotStart(b.spec, err)
	}
	process := &freshProcess{cmd: fresh}
	if err := b.group.join(process.pid()); err != nil { // long before the interpreter has started
		signalGroup(process.pid(), syscall.SIGKILL)
		process.reap()
		return nil, fmt.Errorf("limiting instance %s: %w", b.spec.Name, err)
	}
	return process, nil
}

func (r *Runtime) command(b birth) *exec.Cmd {
	cmd := &exec.Cmd{
		Path:        b.spec.Python,
		Args:        []string{b.spec.Python, r.boot, b.spec.Dir, b.spec.Script},
		Env:         b.environ(),
		Dir:         b.spec.Dir,
		ExtraFiles:  []*os.File{b.ends[0], b.ends[1]}, // fds 3 and 4
		Stdout:      b.ends[2],
		Stderr:      b.ends[2],
		SysProcAttr: attributes(),
	}
	if b.spec.Trust != "" {
		cmd.Args = append(cmd.Args, "--learn")
	}
	return cmd
}

func cannotStart(spec worker.Spec, err error) error {
	message := fmt.Sprintf("The Python interpreter %s cannot be started in %s: %v.", spec.Python, spec.Dir, err)
	return &worker.ExitError{Stage: worker.StageStart, Code: worker.CodeStartFailed, Message: message}
}

// freshProcess is a process that we have started ourselves.
type freshProcess struct{ cmd *exec.Cmd }

func (p *freshProcess) pid() int { return p.cmd.Process.Pid }

// early tells the variables that matter before a script's first line: to the
// interpreter as it starts, or to libraries as they are loaded. Processes with
// different ones cannot have a common beginning. Not all of those that begin
// like this are harmless; see barred.
func early(name string) bool {
	for _, prefix := range []string{
		"PYTHON", "LC_", "MALLOC_", "GLIBC_", "OPENBLAS_", "GOTO_", "OMP_", "GOMP_", "KMP_", "MKL_", "BLIS_", "NUMEXPR_", "OPENSSL_",
	} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	switch name {
	case "PATH", "LANG", "LANGUAGE", "TZ", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR":
		return true
	}
	return false
}

// barred tells the variables that bring code of the user's own into a process
// before the script: nothing of that may run where others begin.
func barred(name, value string) bool {
	if strings.HasPrefix(name, "LD_") {
		return true
	}
	if !strings.HasPrefix(name, "PYTHON") {
		return false
	}
	switch name {
	case "PYTHONNOUSERSITE":
		return value == ""
	case "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED", "PYTHONHASHSEED", "PYTHONUTF8", "PYTHONIOENCODING", "PYTHONOPTIMIZE",
		"PYTHONFAULTHANDLER", "PYTHONMALLOC", "PYTHONSAFEPATH", "PYTHONCOERCECLOCALE", "PYTHONINTMAXSTRDIGITS", "PYTHON_GIL":
		return false
	}
	return true
}

// common gives the variables that a process shares with all whose beginnings
// it may share, sorted by the environment's order, or why it may share none.
func common(env []string) (map[string]string, string) {
	all := lookup(env)
	shared := map[string]string{}
	for name, value := range all {
		if barred(name, value) {
			return nil, "the variable " + name + " is set, which matters before the script's first line"
		}
		if early(name) {
			shared[name] = value
		}
	}
	if _, home := all["HOME"]; home && all["PYTHONNOUSERSITE"] == "" {
		return nil, "HOME is set without PYTHONNOUSERSITE, so that packages may lie in a folder of its own"
	}
	return shared, ""
}

// lookup is an environment by name; of several values the last one counts.
func lookup(env []string) map[string]string {
	all := make(map[string]string, len(env))
	for _, entry := range env {
		if name, value, ok := strings.Cut(entry, "="); ok {
			all[name] = value
		}
	}
	return all
}

// own tells the variables that differ from instance to instance and that
// packages look at without keeping what depends on it.
func own(name string) bool {
	switch name {
	case "HOME", "TMPDIR", "TEMP", "TMP", "PWD", markVariable:
		return true
	}
	return false
}

// zygoteHome is the home of processes that belong to no instance.
func (r *Runtime) zygoteHome() string { return filepath.Join(r.cfg.Dir, "home") }
