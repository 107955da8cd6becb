package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"lapis/bench/lineage"
)

// usage is the CPU time of a server: of the process that takes the requests,
// and of all that it has started.
type usage struct{ own, children time.Duration }

// cpu reads the scheduler's accounts.
func (p *process) cpu() (usage, error) {
	var u usage
	var err error
	if u.own, err = scheduled(p.cmd.Process.Pid); err != nil {
		return u, err
	}
	started, err := lineage.Descendants(p.cmd.Process.Pid)
	if err != nil {
		return u, err
	}
	for _, pid := range started {
		if spent, err := scheduled(pid); err == nil { // else it has ended
			u.children += spent
		}
	}
	return u, nil
}

// scheduled is the time that the threads of a process have had on a CPU.
func scheduled(pid int) (time.Duration, error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(files) == 0 {
		return 0, errors.Join(err, fmt.Errorf("the accounts of process %d cannot be read", pid))
	}
	var sum time.Duration
	for _, path := range files {
		file, err := os.Open(path)
		if err != nil {
			continue // the thread has ended
		}
		line, err := io.ReadAll(file)
		file.Close()
		if err != nil {
			return 0, err
		}
		first, _, _ := strings.Cut(string(line), " ")
		nanos, err := strconv.ParseInt(first, 10, 64)
		if err != nil {
			return 0, err
		}
		sum += time.Duration(nanos)
	}
	return sum, nil
}

// ticks of the accounts in /proc/stat; the kernel shows them so on every machine.
const ticks = 10 * time.Millisecond

// machine is the time that all CPUs together have been busy, and have been at all.
func machine() (busy, all time.Duration, err error) {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0, err
	}
	line, _, _ := strings.Cut(string(stat), "\n")
	for n, field := range strings.Fields(line)[1:] {
		count, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("/proc/stat: %w", err)
		}
		if n > 7 { // what guests took is in the first two
			break
		}
		all += time.Duration(count) * ticks
		if n != 3 && n != 4 { // idle, and waiting for a disk
			busy += time.Duration(count) * ticks
		}
	}
	return busy, all, nil
}
