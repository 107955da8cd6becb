// Package clients runs clients of Azure that others have written, unmodified,
// against the program: what they accept is the platform's contract.
//
// The tests need python3 and a package index. The clients' virtual environments
// are made once, and kept in the user's cache folder or that of LAPIS_TEST_CACHE.
package clients

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// platform is a running program, reached only by what `lapis env` prints.
type platform struct {
	program string
	data    string
}

// start builds the program and runs it on a fresh data folder until the test
// ends, with more flags of `lapis up`.
func start(t *testing.T, flags ...string) *platform {
	t.Helper()
	p := &platform{program: filepath.Join(t.TempDir(), "lapis"), data: filepath.Join(t.TempDir(), "data")}
	build := exec.CommandContext(t.Context(), "go", "build", "-o", p.program, "lapis/cmd/lapis")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, out)
	}
	var log bytes.Buffer // read only after the program has ended
	up := exec.Command(p.program, append([]string{"up", "--data", p.data}, flags...)...)
	up.Stderr = &log
	stdout, err := up.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := up.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stdout)
	ready := lines.Scan()
	t.Cleanup(func() {
		_ = up.Process.Signal(syscall.SIGTERM)
		_, _ = io.Copy(io.Discard, stdout)
		if err := up.Wait(); err != nil {
			t.Errorf("lapis up ended with %v", err)
		}
		if t.Failed() {
			t.Logf("the end of the program's log:\n%s", tail(log.Bytes(), 20_000))
		}
	})
	if !ready || !strings.HasPrefix(lines.Text(), "lapis is ready at ") {
		t.Fatalf("lapis up said %q", lines.Text())
	}
	return p
}

// shell makes a command that runs in a shell with the variables of `lapis env`.
// script goes between those and the command.
func (p *platform) shell(ctx context.Context, script string, command ...string) *exec.Cmd {
	script = `eval "$("$0" env --data "$1")" || exit; shift; ` + script + ` exec "$@"`
	cmd := exec.CommandContext(ctx, "/bin/sh", append([]string{"-c", script, p.program, p.data}, command...)...)
	cmd.WaitDelay = 10 * time.Second
	cmd.Env = clean()
	return cmd
}

// clean is the environment without what leads to the developer's own Azure, or
// another platform.
func clean() []string {
	var env []string
	for _, entry := range os.Environ() {
		if name, _, _ := strings.Cut(entry, "="); !strings.HasPrefix(name, "AZURE_") && !strings.HasPrefix(name, "ARM_") && name != "LAPIS_DATA" && name != "LAPIS_BINARY" {
			env = append(env, entry)
		}
	}
	return env
}

// flowTime bounds one script. Most of it is for building the environment.
const flowTime = 5 * time.Minute

// pollTime is what no step may come near: the pause of a client that was not
// told how soon to ask again.
const pollTime = 25 * time.Second

// step is a line that a script writes for us.
type step struct {
	times
	Name      string          `json:"step"`
	Condition string          `json:"condition"`
	Seen      json.RawMessage `json:"seen"`
}

// run runs a script of the folder python in the folder of the example, and
// returns its steps.
func (p *platform) run(t *testing.T, python, setup, script string, args ...string) []step {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), flowTime)
	defer cancel()
	cmd := p.shell(ctx, setup, append([]string{python, absolute(t, "python", script)}, args...)...)
	cmd.Dir = absolute(t, "..", "..", "examples", "managed-identity")
	cmd.Env = append(cmd.Env, "PYTHONDONTWRITEBYTECODE=1")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var steps []step
	total := 0.0
	for line := range bytes.Lines(stdout.Bytes()) {
		var s step
		if json.Unmarshal(afterDots(line), &s) != nil {
			continue
		}
		switch {
		case s.Condition != "":
			t.Logf("%s: %s", s.Condition, s.Seen)
		case s.Name != "":
			t.Logf("%8.3f s  %s", s.Seconds, s.Name)
			total += s.Seconds
			steps = append(steps, s)
		}
		slow := s.Name == "import" || strings.HasPrefix(s.Name, "online_deployments.begin_create_or_update")
		if !slow && s.Seconds > pollTime.Seconds() {
			t.Errorf("%s took %.1f s", s.Name, s.Seconds)
		}
	}
	t.Logf("%8.3f s  in all steps", total)
	if err != nil {
		t.Errorf("%s %q: %v\n%s\n%s", script, args, err, tail(stdout.Bytes(), 4000), tail(stderr.Bytes(), 8000))
	}
	return steps
}

// afterDots takes off what azure-ai-ml prints while it waits.
func afterDots(line []byte) []byte { return bytes.TrimLeft(line, ".") }

func tail(text []byte, n int) []byte { return text[max(0, len(text)-n):] }

func absolute(t *testing.T, parts ...string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join(parts...))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// TestPythonSDKs runs the article's flows, and what they show where a role is
// missing, with two generations of the SDKs.
func TestPythonSDKs(t *testing.T) {
	if testing.Short() {
		t.Skip("takes minutes")
	}
	base := findPython(t)
	newest, older := environment(t, base, "requirements-newest.txt"), environment(t, base, "requirements-1.28.txt")
	p := start(t)
	t.Run("az", p.tokenCommand)
	taken := map[string][]step{}
	// The first deployment builds the environment that the others find.
	for _, tc := range []struct {
		name, python, setup, script string
		args                        []string
	}{
		{"newest, system-assigned", newest, "", "flow.py", []string{"system", "cli", "ns"}},
		{"1.28, system-assigned", older, "", "flow.py", []string{"system", "environment", "os"}},
		{"newest, user-assigned", newest, "", "flow.py", []string{"user", "default", "nu"}},
		{"1.28, user-assigned", older, "", "flow.py", []string{"user", "cli", "ou"}},
		{"newest, role taken away", newest, "", "conditions.py", []string{"system", "nc"}},
		{"1.28, role taken away", older, "", "conditions.py", []string{"system", "oc"}},
		{"newest, identity without roles", newest, "", "conditions.py", []string{"other", "no"}},
		{"1.28, identity without roles", older, "", "conditions.py", []string{"other", "oo"}},
		{"newest, life", newest, "", "life.py", []string{"nl"}},
		{"1.28, life", older, "", "life.py", []string{"ol"}},
		{"newest, scale", newest, "", "scale.py", []string{"nz"}},
		{"1.28, scale", older, "", "scale.py", []string{"oz"}},
		{"newest, assets", newest, "", "assets.py", []string{"na"}},
		{"1.28, assets", older, "", "assets.py", []string{"oa"}},
		{"newest, credentials", newest, "", "credentials.py", nil},
		{"1.28, credentials", older, "", "credentials.py", nil},
		{"newest, delegation", newest, "", "delegation.py", []string{"n"}},
		{"1.28, delegation", older, "", "delegation.py", []string{"o"}},
		{"newest, own names", newest, ownNames(t), "ownnames.py", []string{"n"}},
		{"1.28, own names", older, ownNames(t), "ownnames.py", []string{"o"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.script == "flow.py" || tc.script == "conditions.py" { // the example's environment has packages
				needIndex(t, base)
			}
			taken[tc.name] = p.run(t, tc.python, tc.setup, tc.script, tc.args...)
		})
	}
	for _, flow := range []string{"system-assigned", "user-assigned"} {
		logTimes(t, flow, taken["newest, "+flow], taken["1.28, "+flow])
	}
}

// TestIdentitiesInScripts runs two generations of azure-identity in scoring
// scripts, in each form of the instance's token endpoint.
func TestIdentitiesInScripts(t *testing.T) {
	if testing.Short() {
		t.Skip("takes minutes")
	}
	base := findPython(t)
	python := environment(t, base, "requirements-newest.txt")
	needIndex(t, base)
	p := start(t, "--imds")
	t.Run("1.27", func(t *testing.T) { p.run(t, python, "", "identities.py", "n", "1.27.0") })
	t.Run("1.23", func(t *testing.T) { p.run(t, python, "", "identities.py", "o", "1.23.1") })
}

// ownNames takes the proxy away and tells where the cloud's metadata is. The
// folder shim stands for a resolver that knows the names below localhost.
func ownNames(t *testing.T) string {
	return `port=${HTTPS_PROXY##*:}; unset HTTPS_PROXY https_proxy; export PYTHONPATH='` + absolute(t, "python", "shim") + `' ` +
		`ARM_CLOUD_METADATA_URL="https://management.lapis.localhost:$port/metadata/endpoints?api-version=2022-09-01";`
}

// tokenCommand holds the program, called as az, to what AzureCliCredential asks
// of it. That credential calls it ten times in a flow.
func (p *platform) tokenCommand(t *testing.T) {
	const bound = 50 * time.Millisecond
	const calls = 15
	cmd := p.shell(t.Context(), `i=0; while [ $i -lt 15 ]; do i=$((i+1)); "$@" || exit; done; :`, "az", "account", "get-access-token",
		"--output", "json", "--resource", "https://management.azure.com")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	decoder := json.NewDecoder(stdout)
	var times []time.Duration
	last := time.Now()
	for range calls {
		var token map[string]any
		if err := decoder.Decode(&token); err != nil {
			t.Fatal(err)
		}
		times = append(times, time.Since(last))
		last = time.Now()
		for _, name := range []string{"accessToken", "expiresOn", "expires_on", "subscription", "tenant", "tokenType"} {
			if token[name] == nil {
				t.Fatalf("%s is missing", name)
			}
		}
		if _, err := time.ParseInLocation("2006-01-02 15:04:05.000000", fmt.Sprint(token["expiresOn"]), time.Local); err != nil {
			t.Error(err)
		}
	}
	_, _ = io.Copy(io.Discard, stdout)
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	slices.Sort(times)
	t.Logf("az account get-access-token: best %s, median %s, worst %s", times[0], times[calls/2], times[calls-1])
	if times[0] > bound {
		t.Errorf("az account get-access-token takes %s, more than %s", times[0], bound)
	}
}
