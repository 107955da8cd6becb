package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

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
	dir := filepath.Join(cache, "lapis-test", "azmlinfsrv-1_5_1")
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
	python := filepath.Join(venv, "bin", "python")
	if _, err := os.Stat(done); err == nil {
		return python, nil
	}
	if err := os.RemoveAll(venv); err != nil {
		return "", err
	}
	if out, err := exec.CommandContext(ctx, "python3", "-m", "venv", venv).CombinedOutput(); err != nil {
		return "", fmt.Errorf("no Python with venv: %w %s", err, out)
	}
	args := []string{"-m", "pip", "install", "-q", "--disable-pip-version-check", "--retries", "1", "--timeout", "20",
		"azureml-inference-server-http==1.5.1", "numpy", "scikit-learn"}
	if out, err := exec.CommandContext(ctx, python, args...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("the packages cannot be installed: %w %s", err, out)
	}
	return python, os.WriteFile(done, nil, 0o644)
}
