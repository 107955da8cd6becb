//go:build unix && !linux

package process

import "syscall"

// Without parent-death signals a worker ends when its control socket closes.

func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// wait returns when the process has ended. Its id is free by then.
func (p *freshProcess) wait() { _ = p.cmd.Wait() }

func gone(proc) bool { return false }

func killMarked(string) int { return 0 }
