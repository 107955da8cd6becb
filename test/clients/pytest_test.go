package clients

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const lapisPytest = "../../clients/python/lapis-pytest"

// TestPytestPackage builds the wheel of lapis-pytest, installs it where nothing
// else is, and runs with azure-ai-ml what its README shows a user, and then the
// package's own tests.
func TestPytestPackage(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	base := findPython(t)
	azure := environment(t, base, "requirements-newest.txt")
	needIndex(t, base)
	python := installWheel(t, base, azure)
	bin := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(bin, "lapis"), "lapis/cmd/lapis")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, out)
	}
	run := func(t *testing.T, folder string, found []string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), python, append([]string{"-m", "pytest", "-p", "no:cacheprovider", "--disable-warnings", "--basetemp", filepath.Join(t.TempDir(), "pytest")}, args...)...)
		cmd.Dir = folder
		cmd.Env = append(clean(), "PYTHONDONTWRITEBYTECODE=1")
		cmd.Env = append(cmd.Env, found...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, tail(out, 12_000))
		}
		return string(out)
	}
	t.Run("README", func(t *testing.T) {
		folder := t.TempDir()
		readme, err := os.ReadFile(filepath.Join(lapisPytest, "README.md"))
		if err != nil {
			t.Fatal(err)
		}
		_, script, _ := strings.Cut(string(readme), "```python\n")
		script, _, found := strings.Cut(script, "\n```")
		if !found {
			t.Fatal("the README shows no Python")
		}
		if err := os.WriteFile(filepath.Join(folder, "test_mine.py"), []byte(script+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		out := run(t, folder, []string{"PATH=" + bin + ":" + os.Getenv("PATH")}, "-v", "--durations=0") // as a user who has it in PATH
		t.Logf("%s", out)
		if !strings.Contains(out, "2 passed") {
			t.Error("not both tests of the README ran")
		}
	})
	t.Run("its own tests", func(t *testing.T) {
		out := run(t, absolute(t, lapisPytest), []string{"LAPIS_BINARY=" + filepath.Join(bin, "lapis")}, "-rPs", "-q")
		for line := range strings.Lines(out) {
			if _, figures, found := strings.Cut(line, "reset after "); found { // azure-ai-ml prints dots before it
				t.Log("reset after ", strings.TrimSpace(figures))
			}
		}
		if strings.Contains(out, "skipped") || !strings.Contains(out, "reset after an endpoint with a running deployment") {
			t.Errorf("tests were skipped:\n%s", tail([]byte(out), 3000))
		}
	})
}

// installWheel builds the wheel and installs it and pytest into an environment
// of their own, which sees azure-ai-ml in another.
func installWheel(t *testing.T, base, azure string) string {
	t.Helper()
	folder, wheels := filepath.Join(t.TempDir(), "venv"), t.TempDir()
	python := filepath.Join(folder, "bin", "python")
	source := filepath.Join(t.TempDir(), "lapis-pytest") // the build leaves files beside what it builds
	if err := os.CopyFS(source, os.DirFS(lapisPytest)); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{base, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", wheels, source},
		{base, "-m", "venv", "--without-pip", folder},
		{base, "-m", "pip", "--python", python, "install", "--quiet", "--find-links", wheels, "lapis-pytest"},
	} {
		cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
		cmd.Env = append(os.Environ(), "PIP_DISABLE_PIP_VERSION_CHECK=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%q: %v\n%s", args, err, tail(out, 3000))
		}
	}
	sites := func(folder string) string {
		found, err := filepath.Glob(filepath.Join(folder, "lib", "python3.*", "site-packages"))
		if err != nil || len(found) != 1 {
			t.Fatalf("site-packages of %s: %v %v", folder, found, err)
		}
		return found[0]
	}
	path := filepath.Join(sites(folder), "azure.pth")
	if err := os.WriteFile(path, []byte(sites(filepath.Dir(filepath.Dir(azure)))+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return python
}
