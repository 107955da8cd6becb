package tour

import "syscall"

// apart puts the platform into a process group of its own, so that an
// interrupt from the keyboard reaches the tour first, which then stops it.
func apart() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }
