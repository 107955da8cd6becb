package lapis_test

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// venv returns a Python with the packages that a file of requirements pins,
// made once per machine. It skips the test where there is no Python, or no
// package index to take them from.
func venv(t *testing.T, requirements string) string {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: no Python packages")
	}
	base := os.Getenv("LAPIS_TEST_CACHE")
	if base == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			t.Skip("no cache folder: ", err)
		}
		base = filepath.Join(cache, "lapis-test")
	}
	pinned, err := os.ReadFile(requirements)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(base, fmt.Sprintf("venv-%x", sha256.Sum256(pinned))[:21])
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Skip("no cache folder: ", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lock.Close() }()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil { // of two test processes one makes it
		t.Fatal(err)
	}
	python, done := filepath.Join(dir, "venv", "bin", "python"), filepath.Join(dir, "complete")
	if _, err := os.Stat(done); err == nil {
		return python
	}
	if err := os.RemoveAll(filepath.Join(dir, "venv")); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("python3", "-m", "venv", filepath.Join(dir, "venv")).CombinedOutput(); err != nil {
		t.Skipf("no Python with venv: %v %s", err, out)
	}
	install := exec.Command(python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--retries", "1", "--timeout", "20", "-r", requirements)
	if out, err := install.CombinedOutput(); err != nil {
		t.Skipf("cannot install %s; is a package index within reach? %v %s", requirements, err, out)
	}
	if err := os.WriteFile(done, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	return python
}

// The fixtures for the tests of users, by their own tests against the program.
func TestPytestFixtures(t *testing.T) {
	const folder = "clients/python/lapis-pytest"
	python := venv(t, folder+"/tests/requirements.txt")
	program := filepath.Join(t.TempDir(), "lapis")
	if out, err := exec.Command("go", "build", "-o", program, "./cmd/lapis").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	source, err := filepath.Abs(folder + "/src")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(python, "-m", "pytest", "-p", "lapis_pytest.plugin", "-p", "no:cacheprovider", "-q", "-rP", "--basetemp", filepath.Join(t.TempDir(), "pytest"))
	cmd.Dir = folder
	cmd.Env = append(os.Environ(), "LAPIS_BINARY="+program, "PYTHONPATH="+source, "PYTHONDONTWRITEBYTECODE=1", "PYTEST_PLUGINS=lapis_pytest.plugin")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}
