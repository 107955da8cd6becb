package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"lapis/client"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"lapis": main, "az": main})
}

// TestPlatform runs the program as users do: lapis up in one place, az in
// another; see testdata/*.txt.
func TestPlatform(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			e.Setenv("LAPIS_DATA", filepath.Join(e.WorkDir, "data"))
			e.Setenv("HOME", e.WorkDir)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"up": up1, "powercut": powercut, "capture": capture},
	})
}

// up1 starts lapis up, waits until it is ready, and sets the variables of lapis
// env. The process ends with the script.
func up1(ts *testscript.TestScript, _ bool, _ []string) {
	dir := ts.Getenv("LAPIS_DATA")
	program, err := exec.LookPath("lapis")
	ts.Check(err)
	cmd := exec.Command(program, "up", "--data", dir)
	cmd.Env = []string{"HOME=" + ts.Getenv("WORK"), "PATH=" + os.Getenv("PATH")}
	log, err := os.Create(filepath.Join(ts.Getenv("WORK"), "up.log"))
	ts.Check(err)
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	ts.Check(cmd.Start())
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	ts.Defer(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			_ = cmd.Process.Kill()
			<-ended
		}
	})
	wait := exec.Command(program, "status", "--data", dir, "--wait", "20s", "-o", "none")
	wait.Env = cmd.Env
	if out, err := wait.CombinedOutput(); err != nil {
		data, _ := os.ReadFile(log.Name())
		ts.Fatalf("not ready: %v %s\n%s", err, out, data)
	}
	info, err := client.Read(dir)
	ts.Check(err)
	ts.Setenv("SUBSCRIPTION", info.SubscriptionID)
	ts.Setenv("UP_PID", strconv.Itoa(info.PID))
}

// powercut ends the platform as a power cut would.
func powercut(ts *testscript.TestScript, _ bool, _ []string) {
	pid, err := strconv.Atoi(ts.Getenv("UP_PID"))
	ts.Check(err)
	ts.Check(syscall.Kill(pid, syscall.SIGKILL))
	for syscall.Kill(pid, 0) == nil {
		time.Sleep(5 * time.Millisecond)
	}
}

// capture NAME keeps the last stdout in a variable.
func capture(ts *testscript.TestScript, _ bool, args []string) {
	text := ts.ReadFile("stdout")
	for len(text) > 0 && text[len(text)-1] == '\n' {
		text = text[:len(text)-1]
	}
	ts.Setenv(args[0], text)
}
