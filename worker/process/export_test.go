package process

import "lapis/worker"

// InLine tells tests how many requests an instance has been sent that are not answered.
func InLine(i worker.Instance) int {
	r := &i.(*instance).requests
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.line)
}
