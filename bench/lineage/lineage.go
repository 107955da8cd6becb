// Package lineage finds the processes that a process has started, and what CPU
// time one has had, for the benchmarks, which account for a server with all
// that belongs to it.
package lineage

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Descendants lists the processes below one, in no order. It reads /proc.
func Descendants(of int) ([]int, error) {
	parent, err := parents()
	if err != nil {
		return nil, err
	}
	var found []int
	for pid := range parent {
		for up := parent[pid]; up > 0; up = parent[up] {
			if up == of {
				found = append(found, pid)
				break
			}
		}
	}
	return found, nil
}

// parents maps each process to the one that started it.
func parents() (map[int]int, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	out := map[int]int{}
	for _, path := range stats {
		stat, err := fields(path)
		if err != nil {
			continue // it has ended
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		out[pid], _ = strconv.Atoi(stat[1])
	}
	return out, nil
}

// Ticks is the CPU time that a process has had, in hundredths of a second.
func Ticks(of int) (int, error) {
	stat, err := fields(fmt.Sprintf("/proc/%d/stat", of))
	if err != nil {
		return 0, err
	}
	user, err := strconv.Atoi(stat[11])
	if err != nil {
		return 0, err
	}
	system, err := strconv.Atoi(stat[12])
	return user + system, err
}

// fields are those of a process's stat file that follow its name, which may
// have spaces in it: state, parent and so on.
func fields(path string) ([]string, error) {
	stat, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:])), nil
}
