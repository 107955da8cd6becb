package scoring

import (
	"container/list"
	"errors"
	"slices"
	"sync"
	"time"
)

var (
	errSealed   = errors.New("the pool is closed")
	errTooMany  = errors.New("too many pending requests")
	errNotReady = errors.New("no instance is ready")
)

// gate is the queue before the seats: first come, first served.
type gate struct {
	mu      sync.Mutex
	seats   []*seat    // that are not retired
	turn    int        // which of equally loaded seats comes next
	waiting *list.List // of *ticket
	pending int        // requests between enter and leave
	entered uint64     // since the beginning
	refused uint64     // because too many were pending
	sealed  bool
	drained chan struct{} // closed when sealed; made by seal
	closing bool
}

// ticket is a place in the queue.
type ticket struct {
	size    int
	arrived chan *seat // with room for one
}

func newGate() *gate {
	return &gate{waiting: list.New(), drained: make(chan struct{})}
}

// enter counts a request, unless limit of them are pending.
func (g *gate) enter(limit int) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.sealed:
		return errSealed
	case g.pending >= limit:
		g.refused++
		return errTooMany
	}
	g.entered++
	g.pending++
	return nil
}

// leave ends what enter began.
func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pending--
	g.sealIfDrained()
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
func (g *gate) take(size int, first bool) (*seat, *list.Element) {
	now := time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	if s := g.best(size, now); s != nil && (first || g.waiting.Len() == 0) {
		s.hold(size, now)
		return s, nil
	}
	t := &ticket{size: size, arrived: make(chan *seat, 1)}
	if first {
		return nil, g.waiting.PushFront(t)
	}
	return nil, g.waiting.PushBack(t)
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

// giveUp takes a place in the queue back; a seat that has already come goes
// to the next.
func (g *gate) giveUp(place *list.Element) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waiting.Remove(place)
	t := place.Value.(*ticket)
	select {
	case s := <-t.arrived:
		g.free(s, t.size, 0, time.Now())
	default:
		g.callNext(time.Now()) // it may have held up smaller ones
	}
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

// free takes a request out of a seat. The caller holds mu.
func (g *gate) free(s *seat, size int, busy time.Duration, now time.Time) {
	s.drop(size, busy, now)
	if !s.retired {
		g.callNext(now)
	} else if s.load == 0 {
		close(s.empty)
	}
}

// callNext gives seats to those who are first in the queue. The caller holds mu.
func (g *gate) callNext(now time.Time) {
	for first := g.waiting.Front(); first != nil; first = g.waiting.Front() {
		t := first.Value.(*ticket)
		s := g.best(t.size, now)
		if s == nil {
			return
		}
		g.waiting.Remove(first)
		s.hold(t.size, now)
		t.arrived <- s
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
func (g *gate) look(s *seat) (load int, since time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return s.load, s.since
}

// state fills in what the gate knows of a pool's state.
func (g *gate) state() State {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := State{Ready: len(g.seats), Pending: g.pending, Queued: g.waiting.Len(), Requests: g.entered, Throttled: g.refused}
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
