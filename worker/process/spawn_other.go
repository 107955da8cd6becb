//go:build unix && !linux

package process

import "syscall"

// Without parent-death signals a worker ends when its control socket closes.

func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// reap waits for the process and ends the rest of its group.
func (i *instance) reap() error {
	err := i.cmd.Wait()
	i.mu.Lock()
	defer i.mu.Unlock()
	i.reaped = true
	signalGroup(i.cmd.Process.Pid, syscall.SIGKILL)
	return err
}

func killMarked(string) int { return 0 }
