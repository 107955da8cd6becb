package process

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// attributes puts a process into a group of its own and ends it with us.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// awaitExit returns when the process has ended, and leaves it to be reaped:
// until then neither its id nor its group's can belong to anyone else.
func awaitExit(pid int) {
	for {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_PID, pid, &info, unix.WEXITED|unix.WNOWAIT, nil)
		if err != unix.EINTR {
			return
		}
	}
}

// killMarked kills every process whose environment holds the mark, until none
// is left or three rounds are over, and returns how many it has killed.
func killMarked(mark string) int {
	entry := []byte(markVariable + "=" + mark)
	killed := 0
	for range 3 {
		found := 0
		for _, pid := range processes() {
			if hasEntry(pid, entry) && syscall.Kill(pid, syscall.SIGKILL) == nil {
				found++
			}
		}
		if found == 0 {
			break
		}
		killed = max(killed, found)
	}
	return killed
}

func processes() []int {
	names, _ := filepath.Glob("/proc/[0-9]*")
	pids := make([]int, 0, len(names))
	for _, name := range names {
		if pid, err := strconv.Atoi(filepath.Base(name)); err == nil && pid != os.Getpid() {
			pids = append(pids, pid)
		}
	}
	return pids
}

// hasEntry reports whether the environment that a process was started with
// has the entry. A process that we may not read is none of ours.
func hasEntry(pid int, entry []byte) bool {
	environ, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	if err != nil {
		return false
	}
	for have := range bytes.SplitSeq(environ, []byte{0}) {
		if bytes.Equal(have, entry) {
			return true
		}
	}
	return false
}
