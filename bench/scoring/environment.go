package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// packages are what the article's environment pins, the server that it runs
// in on Azure, and a fast server of the same language to compare with.
var packages = []string{
	"scikit-learn==1.7.0", "numpy==2.3.5", "scipy==1.16.3", "azureml-inference-server-http==1.5.1",
	"starlette==1.10.0", "uvicorn==0.54.0", "uvloop==0.23.0", "httptools==0.9.0",
}

// environment gives an interpreter that has the packages, made once for a
// user; where that cannot be, the one on PATH, with the reason.
func environment(ctx context.Context) (python string, missing error) {
	python, missing = made(ctx)
	if missing == nil {
		return python, nil
	}
	out, err := exec.CommandContext(ctx, "python3", "-c", "import sys; print(sys.executable, end='')").Output()
	if err != nil {
		return "python3", missing
	}
	return string(out), missing
}

func made(ctx context.Context) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "lapis-test", "bench-scoring")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", err
	}
	venv, done := filepath.Join(dir, "venv"), filepath.Join(dir, "complete")
	python, wanted := filepath.Join(venv, "bin", "python"), strings.Join(packages, "\n")
	if has, err := os.ReadFile(done); err == nil && string(has) == wanted {
		return python, nil
	}
	if err := os.RemoveAll(venv); err != nil {
		return "", err
	}
	if out, err := exec.CommandContext(ctx, "python3", "-m", "venv", venv).CombinedOutput(); err != nil {
		return "", fmt.Errorf("no Python with venv: %w %s", err, out)
	}
	args := append([]string{"-m", "pip", "install", "-q", "--disable-pip-version-check", "--retries", "1", "--timeout", "20"}, packages...)
	if out, err := exec.CommandContext(ctx, python, args...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("the packages cannot be installed: %w %s", err, out)
	}
	return python, os.WriteFile(done, []byte(wanted), 0o644)
}
