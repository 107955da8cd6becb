package environment

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"cuelabs.dev/go/oci/ociregistry/ocimem"

	"lapis/fault"
)

// needIndex skips a test where no package index answers.
func needIndex(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("builds from the package index: not in short mode")
	}
	c := readPipConfig("", os.Environ())
	if out, err := exec.Command("python3", "-m", "pip", "config", "list").Output(); err == nil {
		c = readPipConfig(string(out), os.Environ())
	}
	if !anyReachable(t.Context(), c.indexes(nil), os.Environ(), c["proxy"]) {
		t.Skip("no package index answers: builds are not tested")
	}
}

// sharedTools lets the builders of the tests fetch the installer once.
func sharedTools(t *testing.T, dir string) {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		return
	}
	tools := filepath.Join(cache, "lapis-test-tools")
	if err := os.MkdirAll(tools, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(tools, filepath.Join(dir, "tools")); err != nil {
		t.Fatal(err)
	}
}

func newBuilder(t *testing.T, change func(*Config)) *Builder {
	t.Helper()
	cfg := Config{Dir: filepath.Join(t.TempDir(), "environments")}
	sharedTools(t, cfg.Dir)
	if change != nil {
		change(&cfg)
	}
	b, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	b.interpreters, b.asked = machinePythons(), candidates(b.environ())
	return b
}

// machinePythons asks the machine once for all tests.
var machinePythons = sync.OnceValue(func() []Interpreter {
	return findInterpreters(context.Background(), candidates(os.Environ()), os.Environ())
})

// safeLog collects lines from several goroutines and lets a test wait for one.
type safeLog struct {
	mu      sync.Mutex
	buf     bytes.Buffer
	changed chan struct{}
}

func (l *safeLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.changed != nil {
		close(l.changed)
		l.changed = nil
	}
	return l.buf.Write(p)
}

func (l *safeLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// await waits until the log holds the text.
func (l *safeLog) await(t *testing.T, text string) {
	t.Helper()
	limit := time.After(time.Minute)
	for {
		l.mu.Lock()
		if strings.Contains(l.buf.String(), text) {
			l.mu.Unlock()
			return
		}
		if l.changed == nil {
			l.changed = make(chan struct{})
		}
		changed := l.changed
		l.mu.Unlock()
		select {
		case <-changed:
		case <-limit:
			t.Fatalf("the log never says %q:\n%s", text, l.String())
		}
	}
}

// leftovers lists what is in the builder's folder besides tools.
func leftovers(t *testing.T, b *Builder) []string {
	t.Helper()
	var names []string
	for _, dir := range []string{"tmp", "envs", "images"} {
		entries, err := os.ReadDir(b.shelf.path(dir))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			names = append(names, dir+"/"+e.Name())
		}
	}
	return names
}

func conda(lines ...string) Spec {
	return Spec{Image: "img", Conda: []byte("dependencies:\n" + strings.Join(lines, "\n") + "\n")}
}

func runPython(t *testing.T, python, code string) string {
	t.Helper()
	out, err := exec.Command(python, "-c", code).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestBuildMakesAnEnvironmentOnce(t *testing.T) {
	needIndex(t)
	b := newBuilder(t, nil)
	spec := conda("- python=3.12", "- pip=25.0", "- iniconfig=2.0.0", "- pip:", "  - six==1.16.0")
	var log safeLog
	built, err := b.Build(t.Context(), spec, &log)
	if err != nil {
		t.Fatalf("%v\n%s", err, log.String())
	}
	if got := runPython(t, built.Python, "import six, iniconfig; print(six.__version__)"); got != "1.16.0" {
		t.Errorf("six %s", got)
	}
	if len(built.Report.Installed) < 2 || built.Report.Skipped[0].Name != "pip" || built.Report.Tool == "" || built.Elapsed <= 0 {
		t.Errorf("report %+v", built.Report)
	}
	if text, err := os.ReadFile(built.LogPath); err != nil || !strings.Contains(string(text), "six") || !strings.Contains(log.String(), "six") {
		t.Errorf("log %q, %v", text, err)
	}
	again := safeLog{}
	second, err := b.Build(t.Context(), spec, &again)
	if err != nil || second.Hash != built.Hash || strings.Contains(again.String(), "Step") {
		t.Errorf("built again: %v\n%s", err, again.String())
	}
	// A new builder over the same folder finds it; moved elsewhere, it still runs.
	reopened, err := New(b.cfg)
	if err != nil {
		t.Fatal(err)
	}
	if found, err := reopened.Build(t.Context(), spec, nil); err != nil || found.Dir != built.Dir {
		t.Errorf("%+v, %v", found, err)
	}
	moved := filepath.Join(t.TempDir(), "moved")
	if err := os.Rename(built.Dir, moved); err != nil {
		t.Fatal(err)
	}
	if got := runPython(t, pythonOf(moved), "import six; print(six.__file__)"); !strings.HasPrefix(got, moved) {
		t.Errorf("imports %s", got)
	}
	if _, ok := reopened.shelf.built(built.Hash); ok {
		t.Error("an environment that does not run counts as built")
	}
}

func TestFailedBuildLeavesNothingAndSaysWhy(t *testing.T) {
	needIndex(t)
	b := newBuilder(t, nil)
	for name, want := range map[string]string{
		"six==99.99":                 "six==99.99",
		"no-such-package-of-lapis-x": "no-such-package-of-lapis-x",
	} {
		var log safeLog
		_, err := b.Build(t.Context(), conda("- pip:", "  - "+name), &log)
		var u *Unreachable
		if !fault.Is(err, fault.Invalid) || !fault.HasCode(err, Code) || !strings.Contains(err.Error(), want) || errors.As(err, &u) {
			t.Errorf("%s: %v\n%s", name, err, log.String())
		}
		if left := leftovers(t, b); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
}

func TestNoIndexIsToldApartFromNoPackage(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close() // nobody listens there now
	b := newBuilder(t, func(c *Config) {
		c.Environ = func() []string {
			return []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "PIP_CONFIG_FILE=" + os.DevNull,
				"PIP_INDEX_URL=http://bob:canary-pw@" + address + "/simple", "UV_CACHE_DIR=" + t.TempDir()}
		}
	})
	var log safeLog
	start := time.Now()
	_, err = b.Build(t.Context(), conda("- pip:", "  - six"), &log)
	var u *Unreachable
	if !errors.As(err, &u) || !fault.Is(err, fault.Unavailable) || !fault.HasCode(err, Code) {
		t.Fatalf("%v\n%s", err, log.String())
	}
	if !strings.Contains(err.Error(), address) || !strings.Contains(err.Error(), "--environment host") {
		t.Errorf("%v", err)
	}
	if strings.Contains(err.Error()+log.String(), "canary") {
		t.Errorf("the password is told: %v\n%s", err, log.String())
	}
	if took := time.Since(start); took > 15*time.Second {
		t.Errorf("took %v", took)
	}
	if left := leftovers(t, b); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// fakeUV puts a uv of ours on PATH: a shell script that reports a version,
// makes a virtual environment, and installs by running body.
func fakeUV(t *testing.T, body string) (environ func() []string, dir string) {
	t.Helper()
	dir = t.TempDir()
	script := "#!/bin/sh\nD=" + dir + "\ncase \"$*\" in\n*--version*) echo 'uv 0.9.0';;\n" +
		"*' venv '*) for last; do :; done; python3 -m venv --without-pip \"$last\";;\n" +
		"*) env > $D/env; echo \"$*\" > $D/args; " + body + ";;\nesac\n"
	if err := os.WriteFile(filepath.Join(dir, "uv"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0") // an index that accepts connections
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return func() []string {
		return []string{"PATH=" + dir + string(os.PathListSeparator) + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "PIP_CONFIG_FILE=" + os.DevNull,
			"PIP_INDEX_URL=http://bob:canary-pw@" + l.Addr().String() + "/simple", "PIP_EXTRA_INDEX_URL=http://token-canary@" + l.Addr().String() + "/extra"}
	}, dir
}

// pipe makes a named pipe. Whoever reads it waits until a writer closes it.
func pipe(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTwoBuildsAtOnceBecomeOne(t *testing.T) {
	gate := pipe(t)
	environ, dir := fakeUV(t, "echo x >> $D/runs; echo installing; cat "+gate+"; echo installed late")
	b := newBuilder(t, func(c *Config) { c.Environ = environ })
	spec := conda("- pip:", "  - six")
	var first, second safeLog
	var wg sync.WaitGroup
	results := make([]Built, 2)
	wg.Go(func() { results[0], _ = b.Build(t.Context(), spec, &first) })
	first.await(t, "installing")
	wg.Go(func() { results[1], _ = b.Build(t.Context(), spec, &second) })
	second.await(t, "being built already")
	if err := os.WriteFile(gate, nil, 0); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	if results[0].Hash == "" || results[0].Hash != results[1].Hash {
		t.Errorf("%+v and %+v\n%s", results[0], results[1], first.String())
	}
	for _, log := range []*safeLog{&first, &second} {
		if !strings.Contains(log.String(), "installed late") {
			t.Errorf("a log misses the end: %s", log.String())
		}
	}
	if runs, _ := os.ReadFile(filepath.Join(dir, "runs")); string(runs) != "x\n" {
		t.Errorf("runs %q", runs)
	}
}

func TestCancelKillsTheWholeGroup(t *testing.T) {
	alive := pipe(t) // held open by the grandchild for as long as it lives
	environ, _ := fakeUV(t, "sleep 300 > "+alive+" & echo installing; wait")
	b := newBuilder(t, func(c *Config) { c.Environ = environ })
	ctx, cancel := context.WithCancel(t.Context())
	var log safeLog
	done := make(chan error, 1)
	go func() {
		_, err := b.Build(ctx, conda("- pip:", "  - six"), &log)
		done <- err
	}()
	reader, err := os.Open(alive) // returns when the grandchild has opened it too
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	log.await(t, "installing")
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	b.Close()
	if _, err := io.Copy(io.Discard, reader); err != nil { // ends with the grandchild
		t.Error(err)
	}
	if left := leftovers(t, b); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestOneAskerLeavingDoesNotCancelTheOther(t *testing.T) {
	gate := pipe(t)
	environ, _ := fakeUV(t, "echo installing; cat "+gate)
	b := newBuilder(t, func(c *Config) { c.Environ = environ })
	spec := conda("- pip:", "  - six")
	ctx, cancel := context.WithCancel(t.Context())
	var first, second safeLog
	left, stays := make(chan error, 1), make(chan error, 1)
	go func() { _, err := b.Build(ctx, spec, &first); left <- err }()
	first.await(t, "installing")
	go func() { _, err := b.Build(t.Context(), spec, &second); stays <- err }()
	second.await(t, "being built already")
	cancel()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if err := os.WriteFile(gate, nil, 0); err != nil {
		t.Fatal(err)
	}
	if err := <-stays; err != nil {
		t.Errorf("%v", err)
	}
}

func TestCredentialsAreNotTold(t *testing.T) {
	environ, dir := fakeUV(t, "echo fetching http://bob:canary-pw@h/simple and canary-pw and token-canary; echo 'error: canary-pw did it'; exit 1")
	b := newBuilder(t, func(c *Config) { c.Environ = environ })
	var log safeLog
	_, err := b.Build(t.Context(), conda("- pip:", "  - --extra-index-url http://eve:third-canary@h.example/simple", "  - six"), &log)
	var f *fault.Error
	if !errors.As(err, &f) || !strings.Contains(err.Error(), "did it") {
		t.Fatal(err)
	}
	told := err.Error() + log.String()
	for _, d := range f.Details {
		told += d.Message
	}
	args, _ := os.ReadFile(filepath.Join(dir, "args"))
	if strings.Contains(told+string(args), "canary") {
		t.Errorf("a password is told: %s\n%s", told, args)
	}
	env, _ := os.ReadFile(filepath.Join(dir, "env"))
	if !strings.Contains(string(env), "UV_INDEX_URL=http://bob:canary-pw@") || !strings.Contains(string(env), "UV_EXTRA_INDEX_URL=http://token-canary@") {
		t.Errorf("uv does not get the configuration:\n%s", env)
	}
}

func TestFullDiskIsToldAsSuch(t *testing.T) {
	environ, _ := fakeUV(t, "echo 'error: failed to write: No space left on device (os error 28)'; exit 2")
	b := newBuilder(t, func(c *Config) { c.Environ = environ })
	_, err := b.Build(t.Context(), conda("- pip:", "  - six"), nil)
	if !fault.Is(err, fault.Conflict) || !strings.Contains(err.Error(), "the disk is full") {
		t.Error(err)
	}
	if left := leftovers(t, b); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestUnfinishedWorkIsClearedAtStart(t *testing.T) {
	b := newBuilder(t, nil)
	if _, err := b.shelf.work(strings.Repeat("a", 64)); err != nil {
		t.Fatal(err)
	}
	if _, err := New(b.cfg); err != nil {
		t.Fatal(err)
	}
	if left := leftovers(t, b); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestPipBuildsWhereThereIsNoUV(t *testing.T) {
	needIndex(t)
	b := newBuilder(t, nil)
	b.pipOnly = true
	var log safeLog
	built, err := b.Build(t.Context(), conda("- pip:", "  - pyflakes==3.2.0"), &log)
	if err != nil {
		t.Fatalf("%v\n%s", err, log.String())
	}
	if got := runPython(t, built.Python, "import pyflakes; print(pyflakes.__version__)"); got != "3.2.0" || built.Report.Tool != "pip" {
		t.Errorf("pyflakes %s by %s", got, built.Report.Tool)
	}
	if out, err := exec.Command(filepath.Join(built.Dir, "bin", "pyflakes"), "--version").CombinedOutput(); err != nil {
		t.Errorf("a script of the environment does not run where it lies: %v: %s", err, out)
	}
	_, err = b.Build(t.Context(), conda("- pip:", "  - pyflakes==99.9"), &log)
	if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "No matching distribution found for pyflakes==99.9") {
		t.Error(err)
	}
}

func TestSampleEnvironmentBuilds(t *testing.T) {
	if os.Getenv("LAPIS_LONG") == "" {
		t.Skip("long: set LAPIS_LONG=1 to build the sample's environment")
	}
	needIndex(t)
	b := newBuilder(t, nil)
	built, err := b.Build(t.Context(), Spec{Image: "img", Conda: sampleConda(t)}, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	const use = "import sklearn.linear_model, numpy, azure.identity, azure.storage.blob, joblib; print(sklearn.__version__)"
	if got := runPython(t, built.Python, use); got != "1.7.0" {
		t.Errorf("sklearn %s", got)
	}
	reg := ocimem.New()
	start := time.Now()
	digest, err := b.Push(t.Context(), reg, "env", "1", built)
	if err != nil {
		t.Fatal(err)
	}
	pushed := time.Since(start)
	other := newBuilder(t, nil)
	start = time.Now()
	got, err := other.Pull(t.Context(), reg, "env", digest)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("build %v, push %v, pull %v, %d packages", built.Elapsed, pushed, time.Since(start), len(built.Report.Installed))
	if got := runPython(t, got.Python, use); got != "1.7.0" {
		t.Errorf("sklearn %s", got)
	}
}
