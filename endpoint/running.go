package endpoint

import (
	"cmp"
	"slices"

	"lapis/worker"
)

// Running is a deployment that has instances, or is about to.
type Running struct {
	Endpoint, Deployment string
	Wanted, Ready        int
	Limits               worker.Limits // of each instance
}

// Running lists the deployments that have instances, by their names, and counts
// those that answer but are at zero.
func (s *Service) Running() (running []Running, atZero int) {
	s.mu.Lock()
	var all []*revision
	for _, deployments := range s.live {
		for _, r := range deployments {
			all = append(all, r)
		}
	}
	s.mu.Unlock()
	for _, r := range all {
		state := r.pool.State()
		if state.Instances == 0 && !state.Starting {
			atZero++
			continue
		}
		one := Running{Endpoint: r.id.Parent().Name(), Deployment: r.id.Name(), Wanted: state.Instances, Ready: state.Ready}
		if p := r.plan.Load(); p != nil {
			one.Limits, _ = p.spec.limits(s.MachineMemory)
		}
		running = append(running, one)
	}
	slices.SortFunc(running, func(a, b Running) int {
		return cmp.Or(cmp.Compare(a.Endpoint, b.Endpoint), cmp.Compare(a.Deployment, b.Deployment))
	})
	return running, atZero
}
