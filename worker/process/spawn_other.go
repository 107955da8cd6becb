//go:build unix && !linux

package process

import "syscall"

// Without parent-death signals a worker ends when its control socket closes.

func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func awaitExit(int) {}

func killMarked(string) int { return 0 }
