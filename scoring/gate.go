package scoring

import (
	"errors"
	"slices"
	"sync"
	"time"
)

// ErrClosed means that a pool has been closed.
var ErrClosed = errors.New("the pool is closed")

var (
	errSealed   = ErrClosed
	errTooMany  = errors.New("too many pending requests")
	errNotReady = errors.New("no instance is ready")
)

// gate is the queue before the seats: first come, first served.
type gate struct {
	mu       sync.Mutex
	seats    []*seat // that are not retired
	turn     int     // which of equally loaded seats comes next
	waiting  []*ticket
	patience patience
	alarm    time.Time // when the queue's timer comes; zero: it is not set
	timer    *time.Timer
	aborted  bool   // nobody may wait any more
	pending  int    // requests between enter and leave
	entered  uint64 // since the beginning
	refused  uint64 // because too many were pending
	asleep   bool   // there is no instance, and a request is to start one
	sealed   bool
	drained  chan struct{} // closed when sealed; made by seal
	closing  bool

	// of work over time, for those who decide on the number of seats
	metered bool
	work    float64   // requests pending, summed over the nanoseconds
	from    time.Time // when the sum began
	changed time.Time // when pending last changed, or the sum was last looked at
	busy    time.Time // when pending was last seen not to be 0
}

func newGate() *gate { return &gate{drained: make(chan struct{})} }

// enter counts a request, unless limit of them are pending; cold is the limit
// while there is no instance. It reports whether one must be awaited first.
func (g *gate) enter(limit, cold int) (asleep bool, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.asleep {
		limit = cold
	}
	switch {
	case g.sealed:
		return false, errSealed
	case g.pending >= limit:
		g.refused++
		return false, errTooMany
	}
	g.count(1)
	g.entered++
	return g.asleep, nil
}

// leave ends what enter began.
func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.count(-1)
	g.sealIfDrained()
}

// count changes pending. The caller holds mu.
func (g *gate) count(by int) {
	if g.metered {
		g.measure(time.Now())
	}
	g.pending += by
}

// measure sums up to now. The caller holds mu.
func (g *gate) measure(now time.Time) {
	if g.pending > 0 {
		g.work += float64(g.pending) * float64(now.Sub(g.changed))
		g.busy = now
	}
	g.changed = now
}

// meter begins to measure the work.
func (g *gate) meter() {
	now := time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.metered, g.work, g.from, g.changed, g.busy = true, 0, now, now, now
}

// demand is the work since the last call.
func (g *gate) demand(now time.Time) demand {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.measure(now)
	d := demand{work: float64(g.pending)}
	if span := now.Sub(g.from); span > 0 {
		d.work = g.work / float64(span)
	}
	if g.pending == 0 {
		d.idle = now.Sub(g.busy)
	}
	g.work, g.from = 0, now
	return d
}

// rest marks the gate as one without instances, unless a request is pending.
func (g *gate) rest() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.pending > 0 || g.sealed {
		return false
	}
	g.asleep, g.metered = true, false
	return true
}

// resting reports whether there is no instance.
func (g *gate) resting() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.asleep
}

// awaken ends what rest began, and reports whether it had.
func (g *gate) awaken() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	was := g.asleep
	g.asleep = false
	return was
}

// shrink gives back what an empty gate does not need.
func (g *gate) shrink() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.seats) == 0 {
		g.seats = nil
	}
	if len(g.waiting) == 0 {
		g.waiting = nil
		g.wake(time.Time{}, time.Time{})
	}
}

// drain seals the gate once no request is pending, and returns a channel that
// is then closed. Until then requests still enter: who holds an older route
// table must not be turned away.
func (g *gate) drain() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closing = true
	g.sealIfDrained()
	return g.drained
}

// seal lets nobody in any more.
func (g *gate) seal() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.sealed {
		g.sealed = true
		close(g.drained)
	}
}

func (g *gate) sealIfDrained() {
	if g.closing && g.pending == 0 && !g.sealed {
		g.sealed = true
		close(g.drained)
	}
}

// take returns the least loaded seat that has room for a request of so many
// bytes, or a place in the queue. A request that was given back comes first.
// It waits until its time is over at the longest.
func (g *gate) take(size int, over time.Time, first bool) (*seat, *ticket) {
	now := time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	if s := g.best(size, now); s != nil && (first || len(g.waiting) == 0) {
		s.hold(size, now)
		return s, nil
	}
	t := g.patience.ticket(size, now, over)
	g.queue(t, first, now)
	return nil, t
}

// best finds the seat for a request. The caller holds mu.
func (g *gate) best(size int, now time.Time) *seat {
	var found *seat
	for n := range g.seats {
		s := g.seats[(g.turn+n)%len(g.seats)]
		if s.fits(size, now) && (found == nil || s.load < found.load) {
			found = s
			if s.load == 0 {
				break
			}
		}
	}
	g.turn++
	return found
}

// add offers a new seat.
func (g *gate) add(s *seat) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.seats = append(g.seats, s)
	g.callNext(time.Now())
}

// release offers a seat again after a request that its script was busy with for so long.
func (g *gate) release(s *seat, size int, busy time.Duration) {
	now := time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.free(s, size, busy, now)
}

// finish is release, and notes in over that the request has left the seat.
func (g *gate) finish(s *seat, size int, busy time.Duration, over *bool) {
	now := time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	*over = true
	if s.flow != nil && s.flow.over == over {
		s.flow = nil
	}
	g.free(s, size, busy, now)
}

// free takes a request out of a seat. The caller holds mu.
func (g *gate) free(s *seat, size int, busy time.Duration, now time.Time) {
	s.drop(size, busy, now)
	if !s.retired {
		g.callNext(now)
	} else if s.load == 0 {
		close(s.empty)
	}
}

// retire stops offering a seat, and reports whether it was offered. The seat's
// channel empty is closed once no request is in it.
func (g *gate) retire(s *seat) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if s.retired {
		return false
	}
	s.retired = true
	if s.load == 0 {
		close(s.empty)
	}
	g.seats = slices.DeleteFunc(g.seats, func(other *seat) bool { return other == s })
	return true
}

// look returns what the watch of a seat needs to know.
func (g *gate) look(s *seat) (load int, since time.Time, flowing bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return s.load, s.since, s.flow != nil
}

// flows notes that a seat's first request is answered by a stream, unless it
// has left the seat already.
func (g *gate) flows(s *seat, w *flow) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !*w.over {
		s.flow = w
	}
}

// flowed notes that nobody reads a stream any more. The script has the time
// of a request to notice.
func (g *gate) flowed(s *seat, w *flow) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if s.flow == w {
		s.flow, s.since = nil, time.Now()
	}
}

// state fills in what the gate knows of a pool's state.
func (g *gate) state() State {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := State{Ready: len(g.seats), Asleep: g.asleep, Pending: g.pending, Queued: len(g.waiting), Requests: g.entered, Throttled: g.refused}
	for _, seat := range g.seats {
		s.InFlight += seat.load
	}
	return s
}

// counts returns how many seats are ready and how many requests are pending.
func (g *gate) counts() (ready, pending int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.seats), g.pending
}
