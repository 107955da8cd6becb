// Package tour runs the published article on managed identities from start to
// end, against a platform of its own: every command as a user would type it,
// what came back, and how long it took. It stops at the first thing that is not
// as the article says.
package tour

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"lapis/client"
)

// Options say how the tour runs.
type Options struct {
	Program  string   // this program
	Up       []string // further arguments of lapis up
	MayHost  bool     // go on with --environment host where no package index can be reached
	Examples fs.FS    // what is deployed; see cli.Hooks
	Keep     bool     // leave the platform running
	Out, Err io.Writer
	Terminal bool // a person watches Out
}

// Run runs the tour.
func Run(ctx context.Context, o Options) error {
	t := &tour{Options: o, vars: map[string]string{}}
	if err := t.open(ctx); err != nil {
		t.close(err)
		return err
	}
	err := t.follow(ctx)
	t.close(err)
	return err
}

type tour struct {
	Options
	dir    string // all that the tour makes
	info   client.Info
	up     *exec.Cmd
	ended  chan error // of up
	env    []string
	vars   map[string]string // variables of the user's shell
	times  []timing
	proof  []string // what is shown again at the end
	total  time.Time
	hosted bool // environments come from the host's Python, for want of an index
}

// timing is how long a step took on each of the two ways, in their order.
type timing struct {
	title string
	took  [2]time.Duration
}

// open starts a platform in a folder of its own.
func (t *tour) open(ctx context.Context) error {
	t.total = time.Now()
	var err error
	if t.dir, err = os.MkdirTemp("", "lapis-tour-"); err != nil {
		return err
	}
	if err := os.CopyFS(filepath.Join(t.dir, "files"), t.Examples); err != nil {
		return fmt.Errorf("the example's files: %w", err)
	}
	return t.start(ctx)
}

// start runs lapis up and waits until it is ready.
func (t *tour) start(ctx context.Context) error {
	log, err := os.OpenFile(t.logFile(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	args := append([]string{"up", "--data", t.dataDir()}, t.Up...)
	t.say("$ lapis %s", strings.Join(args, " "))
	t.up = exec.Command(t.Program, args...) // not bound to ctx: it is stopped in order, by close
	t.up.Stdout, t.up.Stderr = log, log
	t.up.Env = append(os.Environ(), "LAPIS_DATA="+t.dataDir())
	t.up.SysProcAttr = apart()
	start := time.Now()
	if err := t.up.Start(); err != nil {
		return err
	}
	t.ended = make(chan error, 1)
	go func() { t.ended <- t.up.Wait() }()
	if err := t.waitReady(ctx); err != nil {
		return err
	}
	t.env = append(os.Environ(), t.info.Env(os.Getenv)...)
	t.env = append(t.env, "LAPIS_DATA="+t.dataDir())
	t.say("  ready in %s\n", milliseconds(time.Since(start)))
	return nil
}

func (t *tour) dataDir() string { return filepath.Join(t.dir, "data") }
func (t *tour) logFile() string { return filepath.Join(t.dir, "up.log") }

// readyTime bounds the start of the platform.
const readyTime = 60 * time.Second

func (t *tour) waitReady(ctx context.Context) error {
	deadline := time.Now().Add(readyTime)
	for {
		select {
		case err := <-t.ended:
			t.ended <- err
			return fmt.Errorf("lapis up ended (%v); its last words:\n%s", err, t.lastWords())
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(20 * time.Millisecond):
		}
		if _, err := client.Read(t.dataDir()); err == nil {
			status := exec.CommandContext(ctx, t.Program, "status", "--data", t.dataDir(), "-o", "none")
			if status.Run() == nil {
				t.info, err = client.Read(t.dataDir())
				return err
			}
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("lapis up was not ready after %v; its last words:\n%s", readyTime, t.lastWords())
		}
	}
}

// lastWords are the end of the platform's log.
func (t *tour) lastWords() string {
	data, err := os.ReadFile(t.logFile())
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	return strings.Join(lines[max(0, len(lines)-12):], "\n")
}

// stop ends the platform in order.
func (t *tour) stop() {
	if t.up == nil || t.up.Process == nil {
		return
	}
	_ = t.up.Process.Signal(os.Interrupt)
	select {
	case <-t.ended:
	case <-time.After(30 * time.Second):
		_ = t.up.Process.Kill()
		<-t.ended
	}
	t.up = nil
}

// noIndex are the words of a build that found no package index.
const noIndex = "no package index can be reached"

// host starts the platform anew, on the same data, to make environments of what
// this machine's Python has.
func (t *tour) host(ctx context.Context) error {
	t.say("  %s: going on with what this machine's Python has.", noIndex)
	t.say("  The log of the deployment says which versions differ from those asked for.\n")
	t.MayHost = false
	t.stop()
	t.Up = append(t.Up, "--environment", "host")
	t.hosted = true
	return t.start(ctx)
}

// close stops the platform and removes what the tour made, but for --keep.
func (t *tour) close(failed error) {
	if t.Keep && t.info.Proxy != "" {
		t.say("\nThe platform keeps running (process %d); its files are in %s. To go on there:", t.info.PID, t.dir)
		t.say("  eval \"$(%s env --data %s)\"", filepath.Base(t.Program), t.dataDir())
		t.say("To stop it: kill %d", t.info.PID)
		return
	}
	t.stop()
	if failed != nil {
		t.say("\nThe log of the platform is kept: %s", t.logFile())
		_ = os.RemoveAll(t.dataDir())
		return
	}
	_ = os.RemoveAll(t.dir)
}

func (t *tour) say(format string, args ...any) { fmt.Fprintf(t.Out, format+"\n", args...) }

// shell runs a line as a shell would, in the folder of the example's files.
// What the line says on stderr is shown while it runs.
func (t *tour) shell(ctx context.Context, line string) (stdout string, took time.Duration, err error) {
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", line)
	cmd.Dir = filepath.Join(t.dir, "files")
	cmd.Env = t.env
	for name, value := range t.vars {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	var out bytes.Buffer
	follow := &follower{out: t.Out, terminal: t.Terminal}
	cmd.Stdout, cmd.Stderr = &out, follow
	cmd.WaitDelay = 5 * time.Second
	start := time.Now()
	err = cmd.Run()
	took = time.Since(start)
	follow.end()
	if err != nil {
		if ctx.Err() != nil {
			return "", took, context.Cause(ctx)
		}
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%s\nexit code %d: %s", line, exit.ExitCode(), strings.TrimSpace(follow.all.String()))
		}
	}
	return out.String(), took, err
}

// follower shows lines as they come: on a terminal the progress of one
// operation over and over in its line, else each in a line of its own.
type follower struct {
	out      io.Writer
	terminal bool
	all      bytes.Buffer
	rest     []byte
	shown    bool
}

func (f *follower) Write(p []byte) (int, error) {
	f.all.Write(p)
	f.rest = append(f.rest, p...)
	for {
		line, rest, ok := bytes.Cut(f.rest, []byte("\n"))
		if !ok {
			return len(p), nil
		}
		f.rest = rest
		f.show(string(line))
	}
}

func (f *follower) show(line string) {
	if strings.HasPrefix(line, "ERROR") || strings.HasPrefix(line, "Code:") {
		return // said once, in the error that ends the tour
	}
	if !f.terminal {
		fmt.Fprintf(f.out, "  . %s\n", line)
		return
	}
	if r := []rune(line); len(r) > 110 {
		line = string(r[:107]) + "..."
	}
	fmt.Fprintf(f.out, "\r\x1b[2K  . %s", line)
	f.shown = true
}

func (f *follower) end() {
	if f.shown {
		fmt.Fprint(f.out, "\r\x1b[2K")
	}
}

func milliseconds(d time.Duration) string { return fmt.Sprintf("%d ms", d.Milliseconds()) }
