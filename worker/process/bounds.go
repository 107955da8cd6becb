package process

import (
	"fmt"
	"sync"
	"syscall"
	"time"

	"lapis/worker"
)

// Mechanisms say how the limits of instances are held on this machine: by
// "cgroup v1" or "cgroup v2", "watched" (looked at every second, and ended
// when it is too much), or "none: " and why.
type Mechanisms struct {
	CPU       string `json:"cpu"`
	Memory    string `json:"memory"`
	Processes string `json:"processes"`
}

// Mechanisms of this runtime, which do not change while it lives.
func (r *Runtime) Mechanisms() Mechanisms { return r.groups.mechanisms() }

// watchEvery is how often instances are looked at.
const watchEvery = time.Second

// watcher looks at all instances that have limits, every second.
type watcher struct {
	stop chan struct{}
	over sync.WaitGroup
}

func (r *Runtime) watchInstances() *watcher {
	w := &watcher{stop: make(chan struct{})}
	w.over.Go(func() {
		ticker := time.NewTicker(watchEvery)
		defer ticker.Stop()
		for {
			select {
			case <-w.stop:
				return
			case <-ticker.C:
			}
			r.mu.Lock()
			live := make([]*instance, 0, len(r.live))
			for i := range r.live {
				live = append(live, i)
			}
			r.mu.Unlock()
			for _, i := range live {
				i.look()
			}
		}
	})
	return w
}

func (w *watcher) close() {
	close(w.stop)
	w.over.Wait()
}

// look holds the limits that the kernel does not hold, and tells of those that it does.
func (i *instance) look() {
	limits := i.spec.Limits
	if limits == (worker.Limits{}) {
		return
	}
	for _, text := range i.group.news() {
		i.console.say("E", "lapis", "%s", text)
	}
	memory, processes := limits.Memory > 0 && !i.group.holdsMemory(), limits.Processes > 0 && !i.group.holdsProcesses()
	if !memory && !processes {
		return
	}
	usage, err := i.Usage()
	if err != nil {
		return
	}
	switch {
	case memory && usage.Memory > limits.Memory:
		i.exceed(worker.CodeOutOfMemory, "MemoryError", outOfMemory(limits.Memory))
	case processes && usage.Processes > limits.Processes:
		i.exceed(worker.CodeTooManyProcesses, "", fmt.Sprintf("The script had %d processes, more than its limit of %d.", usage.Processes, limits.Processes))
	}
}

// exceed ends an instance that uses too much.
func (i *instance) exceed(code, kind, message string) {
	i.mu.Lock()
	stage := i.stage
	i.mu.Unlock()
	i.fail(&worker.ExitError{Stage: stage, Code: code, Type: kind, Message: message, Traceback: i.console.tail()})
	i.signal(syscall.SIGKILL)
}

// noteMemory finds out whether an instance that was killed had run out of memory.
func (i *instance) noteMemory(how ending) {
	if how.signal != syscall.SIGKILL || i.group.killed() == "0" {
		return
	}
	i.mu.Lock()
	stage, stopping := i.stage, i.stopping
	i.mu.Unlock()
	if !stopping {
		i.fail(&worker.ExitError{Stage: stage, Code: worker.CodeOutOfMemory, Type: "MemoryError",
			Message: outOfMemory(i.spec.Limits.Memory), Traceback: i.console.tail()})
	}
}

func outOfMemory(limit int64) string {
	return fmt.Sprintf("The script needed more memory than its instance type has (%s), and was ended. Choose a larger instance type, or load less.", size(limit))
}

// size words a number of bytes for people.
func size(bytes int64) string {
	if bytes >= 1<<30 {
		return fmt.Sprintf("%.4g GiB", float64(bytes)/(1<<30))
	}
	return fmt.Sprintf("%.4g MiB", float64(bytes)/(1<<20))
}

var _ worker.Metered = (*instance)(nil)

// Usage tells what the instance uses with all its processes. Without a cgroup
// those are not counted that have left their parents.
func (i *instance) Usage() (worker.Usage, error) {
	i.mu.Lock()
	reaped := i.reaped
	i.mu.Unlock()
	if reaped {
		return worker.Usage{}, worker.ErrExited
	}
	return usageOf(i.process.pid(), i.group.processes())
}
