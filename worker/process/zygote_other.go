//go:build unix && !linux

package process

import (
	"context"
	"errors"

	"lapis/worker"
)

const canFork = false

// zygote is a process that forks instances, which only Linux has here.
type zygote struct{ gone chan struct{} }

func (r *Runtime) newZygote(context.Context, *family, []string) (*zygote, error) {
	return nil, errors.New("it needs Linux")
}

func (*zygote) fork(*cradle) (proc, error)             { return nil, errors.New("it needs Linux") }
func (*zygote) takeSpare(worker.Spec) (*cradle, proc)  { return nil, nil }
func (*zygote) expect(worker.Limits)                   {}
func (*zygote) retire()                                {}
func (*zygote) kill()                                  {}
func (*zygote) fruitless() bool                        { return true }
func (*zygote) leaving() bool                          { return true }
func (*zygote) pid() int                               { return 0 }
func (*zygote) lacks([]string, map[string]string) bool { return false }
func (*zygote) clash([]string) string                  { return "" }
