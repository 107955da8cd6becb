package process

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// attributes puts a process into a group of its own and ends it with us.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// wait returns when the process is a zombie: until it is reaped, neither its
// id nor its group's can belong to anyone else.
func (p *freshProcess) wait() {
	for {
		var info unix.Siginfo
		if unix.Waitid(unix.P_PID, p.pid(), &info, unix.WEXITED|unix.WNOWAIT, nil) != unix.EINTR {
			return
		}
	}
}

// gone reports whether the process's id may be someone else's by now.
func gone(p proc) bool {
	forked, ok := p.(*forkedProcess)
	return ok && forked.lost
}

// killMarked kills every process whose environment holds the mark, waits
// until they are gone, and returns how many there were. It gives up after two
// seconds, which only a process in the midst of a system call can last.
func killMarked(mark string) int {
	entry := []byte(markVariable + "=" + mark)
	killed := map[int]bool{}
	for deadline := time.Now().Add(2 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		found := 0
		for _, pid := range processes() { // a process that is ending has no environment
			if hasEntry(pid, entry) && syscall.Kill(pid, syscall.SIGKILL) == nil {
				found++
				killed[pid] = true
			}
		}
		if found == 0 && !slices.ContainsFunc(slices.Collect(maps.Keys(killed)), running) {
			break
		}
	}
	return len(killed)
}

// running reports whether a process exists and is no zombie.
func running(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && !bytes.Contains(stat, []byte(") Z ")) && !bytes.Contains(stat, []byte(") X "))
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
