//go:build unix

package environment

import (
	"os/exec"
	"syscall"
	"time"
)

// inGroup puts the command into a process group of its own and makes the end of
// its context kill the whole group: build scripts start children.
func inGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 3 * time.Second
}
