package clients

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// findPython returns an interpreter that the pinned packages run on. Tests skip
// where there is none.
func findPython(t *testing.T) string {
	t.Helper()
	const check = "import sys, venv; assert (3, 11) <= sys.version_info < (3, 14); print(sys.executable)"
	for _, name := range []string{"python3.11", "python3.12", "python3.13", "python3"} {
		if out, err := exec.CommandContext(t.Context(), name, "-c", check).Output(); err == nil {
			return string(bytes.TrimSpace(out))
		}
	}
	t.Skip("there is no python3 of version 3.11 to 3.13")
	return ""
}

// environment returns the interpreter of a virtual environment with the
// packages of a requirement file. It is made where the cache has none of that
// file and interpreter; the test skips where no package index answers.
func environment(t *testing.T, base, requirements string) string {
	t.Helper()
	file := absolute(t, "python", requirements)
	wanted, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	version, err := exec.CommandContext(t.Context(), base, "-VV").Output()
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(bytes.Join([][]byte{wanted, version, []byte(base)}, []byte{0}))
	folder := cacheFolder(t)
	kept := filepath.Join(folder, "python-"+hex.EncodeToString(sum[:8]))
	if _, err := os.Stat(kept); err == nil {
		return filepath.Join(kept, "bin", "python")
	}
	made, err := os.MkdirTemp(folder, "making-*")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(made)
	if out, err := install(t, base, made, file); err != nil {
		t.Skipf("the packages of %s cannot be installed (no package index?): %v\n%s", requirements, err, tail(out, 2000))
	}
	if err := os.Rename(made, kept); err != nil { // another run may have been quicker
		if _, missing := os.Stat(kept); missing != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(kept, "bin", "python")
}

// install makes a virtual environment, by uv where the machine has it. It may
// be moved afterwards as long as only its bin/python is called.
func install(t *testing.T, base, folder, requirements string) ([]byte, error) {
	python := filepath.Join(folder, "bin", "python")
	steps := [][]string{
		{base, "-m", "venv", "--clear", folder},
		{python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "1", "-r", requirements},
	}
	if uv, err := exec.LookPath("uv"); err == nil {
		steps = [][]string{
			{uv, "venv", "--quiet", "--clear", "--python", base, folder},
			{uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", python, "-r", requirements},
		}
	}
	for _, args := range steps {
		t.Log(strings.Join(args, " "))
		if out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput(); err != nil {
			return out, err
		}
	}
	return nil, nil
}

// needIndex skips a test that installs packages where no package index answers:
// the clients may be cached when the environment of a scoring script is not.
// It asks as pip does, with the user's own configuration.
func needIndex(t *testing.T, python string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	probe := exec.CommandContext(ctx, python, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-cache-dir",
		"--retries", "0", "--timeout", "15", "--no-deps", "--dest", t.TempDir(), smallPackage)
	if out, err := probe.CombinedOutput(); err != nil {
		t.Skipf("no package index is reached, so no environment of a scoring script can be built: pip cannot download %s (%v):\n%s",
			smallPackage, err, tail(out, 1000))
	}
}

// smallPackage has some 6 kB.
const smallPackage = "iniconfig==2.1.0"

func cacheFolder(t *testing.T) string {
	t.Helper()
	folder := os.Getenv("LAPIS_TEST_CACHE")
	if folder == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			t.Fatal(err)
		}
		folder = filepath.Join(cache, "lapis-test")
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	return folder
}
