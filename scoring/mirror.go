package scoring

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"sync"
	"time"

	"lapis/worker"
)

// What may wait for a shadow before copies are dropped.
const (
	maxShadowQueue = 100
	maxShadowBytes = 64 << 20 // of their bodies
)

// What is kept of answers until they are compared.
const (
	maxCompared = 1 << 20  // of one answer, in bytes
	maxKept     = 16 << 20 // of all that wait
	maxPairs    = 1000     // that wait
)

// MaxMirror is the largest percentage of an endpoint's requests that can be
// copied to a deployment, as of the managed service.
const MaxMirror = 50

// shadow is the deployment that gets copies of live requests. Its answers are
// compared with the live ones and thrown away; whatever it does, those do not
// wait for it.
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
	name string // of its deployment
	now  func() time.Time

	mu        sync.Mutex
	waiting   []*pair
	bytes     int
	running   int
	ended     bool
	state     MirrorState // its counters
	done      []*pair     // answered twice, not compared yet
	comparing bool
	kept      int // bytes of answers
	tally     tally
}

// pair is a request that two deployments answer. The later of both answers
// hands it on to be compared.
type pair struct {
	queue   *shadowQueue
	request *worker.Request // the copy
	live    *answered       // both guarded by the queue
	shadow  *answered
	by      string // the live deployment
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
// before, if that had the same pool behind it, else a new one. A queue that
// ends is kept for its report, as long as its pool is there.
func (t *target) takeOver(before *target, now func() time.Time) {
	var old, past *shadowQueue
	if before != nil {
		past = before.past
		if before.shadow != nil {
			old = before.shadow.queue
		}
	}
	if t != nil && t.shadow != nil {
		pool := t.Deployments[t.shadow.name]
		if old != nil && old.pool == pool {
			t.shadow.queue, t.past = old, past
			return
		}
		t.shadow.queue = &shadowQueue{pool: pool, name: t.shadow.name, now: now, tally: tally{since: now()}}
	}
	if old != nil {
		old.end()
		past = old
	}
	if t != nil && past != nil && t.Deployments[past.name] == past.pool {
		t.past = past
	}
}

// mirror copies a live request, which no header led to its deployment, to the
// shadow, as often as its percentage says. It never waits. The result is nil
// if no copy was sent.
func (f *Front) mirror(t *target, header http.Header, request *worker.Request) *pair {
	if t.shadow == nil || header.Get(headerDeployment) != "" || f.random(t.copies)(100) >= t.shadow.percent {
		return nil
	}
	copied := *request
	copied.Header = http.Header(maps.Collect(request.Visible())).Clone() // it outlives the request
	p := &pair{queue: t.shadow.queue, request: &copied}
	if !p.queue.add(p) {
		return nil
	}
	return p
}

// add queues a copy, or drops it.
func (q *shadowQueue) add(p *pair) bool {
	instances := max(1, q.pool.size())
	size := len(p.request.Body)
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ended || len(q.waiting) >= maxShadowQueue || q.bytes+size > maxShadowBytes {
		q.state.Dropped++
		return false
	}
	q.waiting = append(q.waiting, p)
	q.bytes += size
	if q.running < instances {
		q.running++
		go q.work()
	}
	return true
}

// answeredLive notes what the client gets, by which deployment. It is called
// for every pair, and costs next to nothing.
func (p *pair) answeredLive(a answered, by string) {
	q := p.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	p.by, p.live = by, q.keep(a)
	q.match(p)
}

// follow is answeredLive for an answer that may go on as a stream: it is noted
// once that has ended.
func (p *pair) follow(result *Result, err error, by string) {
	if err != nil || result.Stream == nil {
		p.answeredLive(answerOf(result, err), by)
		return
	}
	result.copyStream(func(a answered) { p.answeredLive(a, by) })
}

// copyStream has done called with the whole answer when its stream is closed.
func (r *Result) copyStream(done func(answered)) {
	a := answerOf(r, nil)
	a.body = bytes.Clone(a.body)
	r.Stream = &copiedStream{Stream: r.Stream, answer: a, done: done}
}

// copiedStream notes what passes, as far as it can be compared.
type copiedStream struct {
	worker.Stream
	answer answered
	over   bool // more has passed than is compared
	done   func(answered)
	once   sync.Once
}

// Next returns the next piece.
func (s *copiedStream) Next(ctx context.Context) ([]byte, error) {
	piece, err := s.Stream.Next(ctx)
	if s.over = s.over || len(s.answer.body)+len(piece) > maxCompared; !s.over {
		s.answer.body = append(s.answer.body, piece...)
	}
	s.answer.whole = errors.Is(err, io.EOF) && !s.over
	return piece, err
}

// Close ends it.
func (s *copiedStream) Close() {
	s.Stream.Close()
	s.once.Do(func() { s.done(s.answer) })
}

// keep bounds what is kept of an answer. The caller holds mu.
func (q *shadowQueue) keep(a answered) *answered {
	if len(a.body) > maxCompared || q.kept+len(a.body) > maxKept {
		a.body, a.whole = nil, false
	}
	q.kept += len(a.body)
	return &a
}

// match hands a pair on that has both answers. The caller holds mu.
func (q *shadowQueue) match(p *pair) {
	switch {
	case p.live == nil || p.shadow == nil:
	case q.ended || len(q.done) >= maxPairs:
		q.kept -= len(p.live.body) + len(p.shadow.body)
		q.tally.notCompared++
	default:
		p.request.Body = nil
		q.done = append(q.done, p)
		if !q.comparing {
			q.comparing = true
			go q.compareDone()
		}
	}
}

// compareDone compares until no pair waits.
func (q *shadowQueue) compareDone() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.done) > 0 {
		p := q.done[0]
		q.done[0] = nil
		q.done = q.done[1:]
		q.mu.Unlock()
		found, ok := compare(*p.live, *p.shadow)
		if found != nil {
			found.Time, found.RequestID, found.LiveDeployment = q.now().UTC(), p.request.ID, p.by
			found.ClientRequestID = p.request.Header.Get(headerClientRequestID)
		}
		q.mu.Lock()
		q.kept -= len(p.live.body) + len(p.shadow.body)
		q.tally.note(*p.live, *p.shadow, found, ok)
	}
	q.done, q.comparing = nil, false
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
		p := q.waiting[0]
		q.waiting[0] = nil
		q.waiting = q.waiting[1:]
		q.bytes -= len(p.request.Body)
		q.mu.Unlock()

		var answer answered
		result, err := q.pool.Score(context.Background(), p.request)
		if err == nil && result.Stream != nil {
			result.copyStream(func(a answered) { answer = a })
			err = result.drain()
		} else {
			answer = answerOf(result, err)
		}
		if err != nil {
			answer = answerOf(nil, err)
		}
		q.mu.Lock()
		if err != nil || result.Status != http.StatusOK {
			q.state.Failed++
		} else {
			q.state.Answered++
		}
		p.shadow = q.keep(answer)
		q.match(p)
		q.mu.Unlock()
	}
}
