package telemetry

import (
	"context"
	"strconv"
	"strings"
	"sync"

	"lapis/worker"
)

// Meters know the instances that run, to ask them what they use when somebody
// looks.
type Meters struct {
	mu      sync.Mutex
	running map[string][]worker.Instance // by name, the latest last
}

// Runtime notes what a runtime starts. Its instances are those of next.
func (m *Meters) Runtime(next worker.Runtime) worker.Runtime { return meteredRuntime{m, next} }

type meteredRuntime struct {
	meters *Meters
	next   worker.Runtime
}

// Start is the runtime's own.
func (r meteredRuntime) Start(ctx context.Context, spec worker.Spec) (worker.Instance, error) {
	started, err := r.next.Start(ctx, spec)
	if err != nil {
		return nil, err
	}
	if _, ok := started.(worker.Metered); ok {
		r.meters.add(spec.Name, started)
	}
	return started, nil
}

func (m *Meters) add(name string, started worker.Instance) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.running == nil {
		m.running = map[string][]worker.Instance{}
	}
	m.running[name] = append(m.running[name], started)
	go func() {
		<-started.Done()
		m.remove(name, started)
	}()
}

func (m *Meters) remove(name string, ended worker.Instance) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var left []worker.Instance
	for _, other := range m.running[name] {
		if other != ended {
			left = append(left, other)
		}
	}
	if m.running[name] = left; left == nil {
		delete(m.running, name)
	}
}

// Instances returns what instances use now, by the names of their deployments:
// what comes before the last slash of theirs. While a deployment changes, two
// may have one name; it is the later one that is shown.
func (m *Meters) Instances() map[string][]Instance {
	m.mu.Lock()
	latest := make(map[string]worker.Instance, len(m.running))
	for name, list := range m.running {
		latest[name] = list[len(list)-1]
	}
	m.mu.Unlock()
	found := map[string][]Instance{}
	for name, one := range latest {
		cut := strings.LastIndexByte(name, '/')
		index, err := strconv.Atoi(name[cut+1:])
		usage, notKnown := one.(worker.Metered).Usage()
		if cut < 0 || err != nil || notKnown != nil {
			continue
		}
		found[name[:cut]] = append(found[name[:cut]], Instance{
			Index: index, CPU: usage.CPU, Memory: usage.Memory, Processes: usage.Processes,
		})
	}
	return found
}
