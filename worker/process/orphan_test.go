package process_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lapis/worker"
	"lapis/worker/process"
)

// parentVariable makes the test binary a lapis that starts one instance and
// waits to be killed; its value is the folder to use.
const parentVariable = "LAPIS_TEST_PARENT"

func TestMain(m *testing.M) {
	if dir := os.Getenv(parentVariable); dir != "" {
		if err := beParent(dir); err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func beParent(dir string) error {
	r, err := process.New(process.Config{Dir: filepath.Join(dir, "run")})
	if err != nil {
		return err
	}
	spec := worker.Spec{Name: "orphan", Python: os.Getenv("LAPIS_TEST_PYTHON"), Dir: filepath.Join(dir, "code"), Script: "score.py", Log: os.Stdout}
	if forking() {
		spec.Trust, spec.Log = "test", nil // the first one shows what to import
	}
	i, err := r.Start(context.Background(), spec)
	if err != nil {
		return err
	}
	<-i.Ready()
	if forking() {
		process.Zygotes(r)
		spec.Log = os.Stdout
		if i, err = r.Start(context.Background(), spec); err != nil {
			return err
		}
		<-i.Ready()
		if !process.Forked(i) {
			return errors.New("not forked")
		}
	}
	fmt.Println("ready")
	select {}
}

func TestNoWorkerOutlivesAKilledLapis(t *testing.T) {
	python, dir := interpreter(t), t.TempDir()
	write(t, filepath.Join(dir, "code", "score.py"), `
import os, subprocess, sys
def init():
    away = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    print("pids", os.getpid(), away.pid)
def run(d): pass
`)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), parentVariable+"="+dir, "LAPIS_TEST_PYTHON="+python)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	var worker, away int
	ready := false // the console comes by another way, and may be later
	for lines := bufio.NewScanner(out); (!ready || away == 0) && lines.Scan(); {
		ready = ready || lines.Text() == "ready"
		if _, list, ok := strings.Cut(lines.Text(), "pids "); ok {
			if _, err := fmt.Sscanf(list, "%d %d", &worker, &away); err != nil {
				t.Fatal(err)
			}
		}
	}
	if !alive(worker) || !alive(away) {
		t.Fatalf("%d or %d does not run", worker, away)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	for deadline := time.Now().Add(5 * time.Second); alive(worker); {
		if time.Now().After(deadline) {
			t.Fatal("the worker outlives lapis")
		}
	}
	r, err := process.New(process.Config{Dir: filepath.Join(dir, "run")})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close(t.Context())
	for deadline := time.Now().Add(5 * time.Second); alive(away); {
		if time.Now().After(deadline) {
			t.Fatal("what the script had started outlives the next start")
		}
	}
	if left, _ := os.ReadDir(filepath.Join(dir, "run", "live")); len(left) != 0 {
		t.Errorf("marks are left: %v", left)
	}
}
