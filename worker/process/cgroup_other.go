//go:build unix && !linux

package process

import (
	"errors"

	"lapis/worker"
)

// MachineMemory is how much memory this machine has; 0, as that is not known here.
func MachineMemory() int64 { return 0 }

// groups are Linux's; nothing holds limits here.
type groups struct{}

type group struct{}

func openGroups(string) *groups { return &groups{} }

func (*groups) mechanisms() Mechanisms {
	const why = "none: limits need Linux"
	return Mechanisms{CPU: why, Memory: why, Processes: why}
}

func (*groups) close()                                     {}
func (*groups) make(string, worker.Limits) (*group, error) { return &group{}, nil }
func (*group) files() []string                             { return nil }
func (*group) join(int) error                              { return nil }
func (*group) holdsMemory() bool                           { return false }
func (*group) holdsProcesses() bool                        { return false }
func (*group) processes() []int                            { return nil }
func (*group) killed() string                              { return "0" }
func (*group) news() []string                              { return nil }
func (*group) close()                                      {}
func usageOf(int, []int) (worker.Usage, error)             { return worker.Usage{}, errors.ErrUnsupported }
