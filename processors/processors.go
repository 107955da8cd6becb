// Package processors leaves one of the machine's processors to the processes
// that the platform runs: a prediction is computed in one of those.
//
// Go starts a thread for every processor that seems idle as soon as something
// is to be done, and on a machine with two the second thread takes the place
// of the script that is about to answer. Requests so short have the threads
// wake one another all the time: docs/decisions/0010.
package processors

import (
	"os"
	"runtime"
)

// LeaveOne has this process run Go code on one processor fewer than it may. It
// does nothing where there is but one, or where the variable GOMAXPROCS says
// what is wanted.
func LeaveOne() {
	if os.Getenv("GOMAXPROCS") != "" {
		return
	}
	runtime.GOMAXPROCS(left(runtime.GOMAXPROCS(0)))
}

// left is how many of so many processors the platform uses.
func left(all int) int { return max(all-1, 1) }
