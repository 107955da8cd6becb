package scoring

import (
	"context"
	"fmt"
	"net/http"
	"sync"

	"lapis/worker"
)

// What may wait for a shadow before copies are dropped.
const (
	maxShadowQueue = 100
	maxShadowBytes = 64 << 20 // of their bodies
)

// MaxMirror is the largest percentage of an endpoint's requests that can be
// copied to a deployment, as of the managed service.
const MaxMirror = 50

// shadow is the deployment that gets copies of live requests. Its answers are
// thrown away, and whatever it does, the live ones do not wait for it.
type shadow struct {
	name    string
	percent int
	queue   *shadowQueue
}

// shadowQueue holds the copies before a shadow. It lives as long as its pool
// is one, through changes of the table. As many are in the pool at a time as
// it has instances, so that copies leave the pool's own queue to people who
// try the deployment by its name.
type shadowQueue struct {
	pool *Pool

	mu      sync.Mutex
	waiting []*worker.Request
	bytes   int
	running int
	ended   bool
	state   MirrorState // its counters
}

// MirrorState tells how the copies of a host's requests fare.
type MirrorState struct {
	Deployment string
	Percent    int
	Pending    int    // waiting or running now
	Answered   uint64 // with status 200
	Failed     uint64 // with another, or none
	Dropped    uint64 // never sent, because too many were pending or the mirroring ended
}

// Mirror returns the state of a host's mirroring, and false if it has none.
func (f *Front) Mirror(host string) (MirrorState, bool) {
	t := f.find(host)
	if t == nil || t.shadow == nil {
		return MirrorState{}, false
	}
	q := t.shadow.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	state := q.state
	state.Deployment, state.Percent, state.Pending = t.shadow.name, t.shadow.percent, len(q.waiting)+q.running
	return state, true
}

// shadowOf checks an endpoint's mirroring; its result has no queue yet.
func shadowOf(endpoint Endpoint) (*shadow, error) {
	var found *shadow
	for name, percent := range endpoint.Mirror {
		switch {
		case percent == 0:
			continue
		case percent < 0 || percent > MaxMirror:
			return nil, fmt.Errorf("%d %% of the traffic is mirrored to deployment %s, not 0 to %d", percent, name, MaxMirror)
		case endpoint.Deployments[name] == nil:
			return nil, fmt.Errorf("the mirroring names deployment %s, which there is not", name)
		case endpoint.Traffic[name] > 0:
			return nil, fmt.Errorf("deployment %s has live and mirrored traffic", name)
		case found != nil:
			return nil, fmt.Errorf("traffic is mirrored to two deployments, %s and %s", found.name, name)
		}
		found = &shadow{name: name, percent: percent}
	}
	return found, nil
}

// takeOver gives a new target's shadow its queue: the one of the target
// before, if that had the same pool behind it, else a new one.
func (t *target) takeOver(before *target) {
	var old *shadowQueue
	if before != nil && before.shadow != nil {
		old = before.shadow.queue
	}
	if t != nil && t.shadow != nil {
		pool := t.Deployments[t.shadow.name]
		if old != nil && old.pool == pool {
			t.shadow.queue = old
			return
		}
		t.shadow.queue = &shadowQueue{pool: pool}
	}
	if old != nil {
		old.end()
	}
}

// mirror copies a live request, which no header led to its deployment, to the
// shadow, as often as its percentage says. It never waits.
func (f *Front) mirror(t *target, header http.Header, request *worker.Request) {
	if t.shadow == nil || header.Get(headerDeployment) != "" || f.random()(100) >= t.shadow.percent {
		return
	}
	copied := *request
	copied.Header = request.Header.Clone()
	t.shadow.queue.add(&copied)
}

// add queues a copy, or drops it.
func (q *shadowQueue) add(request *worker.Request) {
	instances := max(1, q.pool.size())
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ended || len(q.waiting) >= maxShadowQueue || q.bytes+len(request.Body) > maxShadowBytes {
		q.state.Dropped++
		return
	}
	q.waiting = append(q.waiting, request)
	q.bytes += len(request.Body)
	if q.running < instances {
		q.running++
		go q.work()
	}
}

// end drops what waits and takes no more.
func (q *shadowQueue) end() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.ended = true
	q.state.Dropped += uint64(len(q.waiting))
	q.waiting, q.bytes = nil, 0
}

// work sends copies until none waits. Each ends at the pool's request timeout.
func (q *shadowQueue) work() {
	for {
		q.mu.Lock()
		if len(q.waiting) == 0 {
			q.running--
			q.mu.Unlock()
			return
		}
		request := q.waiting[0]
		q.waiting[0] = nil
		q.waiting = q.waiting[1:]
		q.bytes -= len(request.Body)
		q.mu.Unlock()

		result, err := q.pool.Score(context.Background(), request)
		q.mu.Lock()
		if err != nil || result.Status != http.StatusOK {
			q.state.Failed++
		} else {
			q.state.Answered++
		}
		q.mu.Unlock()
	}
}
