//go:build unix

package process

import (
	"net"
	"os"
	"runtime"
	"syscall"
)

// markVariable carries an instance's mark to all that it starts.
const markVariable = "LAPIS_INSTANCE"

// spawner starts processes from one OS thread that lives as long as they do.
// A parent-death signal is sent when the *thread* that forked ends, so a
// process must not be started from a thread that Go may retire.
type spawner struct {
	jobs chan func()
}

func newSpawner() *spawner {
	s := &spawner{jobs: make(chan func())}
	go func() {
		runtime.LockOSThread()
		for job := range s.jobs {
			job()
		}
	}()
	return s
}

// do runs f on the thread and returns when it is done.
func (s *spawner) do(f func()) {
	done := make(chan struct{})
	s.jobs <- func() { defer close(done); f() }
	<-done
}

// close ends the thread, and with it whatever it has started.
func (s *spawner) close() { close(s.jobs) }

// socketPair gives our end as a connection and the other as a file to inherit.
func socketPair(name string) (net.Conn, *os.File, error) {
	syscall.ForkLock.RLock()
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(pair[0])
		syscall.CloseOnExec(pair[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), name), os.NewFile(uintptr(pair[1]), name)
	conn, err := net.FileConn(ours)
	ours.Close()
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return conn, theirs, nil
}

// signalGroup sends sig to a process group whose leader has not been reaped.
func signalGroup(leader int, sig syscall.Signal) {
	_ = syscall.Kill(-leader, sig) // ESRCH: nobody is left, which is what we want
}
