package process

import "lapis/worker"

// InLine tells tests how many requests an instance has been sent that are not answered.
func InLine(i worker.Instance) int {
	r := &i.(*instance).requests
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.line)
}

// Forked tells tests whether an instance came from another process that stood ready.
func Forked(i worker.Instance) bool {
	_, fresh := i.(*instance).process.(*freshProcess)
	return !fresh
}

// Zygotes tells tests the ids of the processes that instances are forked from, once no more is being made.
func Zygotes(r *Runtime) []int {
	n := r.zygotes
	for {
		n.mu.Lock()
		var building chan struct{}
		for _, f := range n.families {
			if f.building != nil {
				building = f.building
			}
		}
		var pids []int
		for z := range n.live {
			pids = append(pids, z.pid())
		}
		n.mu.Unlock()
		if building == nil {
			return pids
		}
		<-building
	}
}

// PID tells tests an instance's process.
func PID(i worker.Instance) int { return i.(*instance).process.pid() }
