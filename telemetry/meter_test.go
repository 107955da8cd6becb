package telemetry

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"lapis/worker"
)

// starts is a runtime whose instances only use things.
type starts struct{ cpu time.Duration }

type user struct {
	worker.Instance
	cpu  time.Duration
	done chan struct{}
}

func (s *starts) Start(context.Context, worker.Spec) (worker.Instance, error) {
	s.cpu += time.Second
	return &user{cpu: s.cpu, done: make(chan struct{})}, nil
}

func (u *user) Done() <-chan struct{} { return u.done }

func (u *user) Usage() (worker.Usage, error) {
	return worker.Usage{CPU: u.cpu, Memory: 5 << 20, Processes: 2}, nil
}

func TestMetersShowTheLatestInstanceOfAName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		meters := &Meters{}
		runtime := meters.Runtime(&starts{})
		start := func(name string) *user {
			started, err := runtime.Start(t.Context(), worker.Spec{Name: name})
			if err != nil {
				t.Fatal(err)
			}
			return started.(*user)
		}
		shows := func(want map[string][]Instance) {
			t.Helper()
			synctest.Wait()
			if diff := cmp.Diff(want, meters.Instances()); diff != "" {
				t.Error(diff)
			}
		}
		old := start("e/blue/0")
		next := start("e/blue/0") // of the revision that takes its place
		nameless := start("nameless")
		shows(map[string][]Instance{"e/blue": {{Index: 0, CPU: 2 * time.Second, Memory: 5 << 20, Processes: 2}}})
		close(next.done) // it failed: the old one stays
		shows(map[string][]Instance{"e/blue": {{Index: 0, CPU: time.Second, Memory: 5 << 20, Processes: 2}}})
		close(old.done)
		close(nameless.done)
		shows(map[string][]Instance{})
	})
}
