// Package lineage finds the processes that a process has started, for the
// benchmarks, which account for a server with all that belongs to it.
package lineage

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
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
		stat, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		after := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		out[pid], _ = strconv.Atoi(string(after[1]))
	}
	return out, nil
}
