package scoring

import (
	"container/list"
	"errors"
	"sync"

	"lapis/worker"
)

var (
	errSealed   = errors.New("the pool is closed")
	errTooMany  = errors.New("too many pending requests")
	errNotReady = errors.New("no instance is ready")
)

// seat is one ready instance as the queue sees it: free, or busy with one request.
type seat struct {
	instance worker.Instance
	index    int

	// guarded by the gate
	busy    bool
	retired bool
	free    chan struct{} // closed once the seat is retired and not busy
}

func newSeat(instance worker.Instance, index int) *seat {
	return &seat{instance: instance, index: index, free: make(chan struct{})}
}

// gate is the queue before the seats: first come, first served.
type gate struct {
	mu      sync.Mutex
	idle    []*seat
	ready   int        // seats that are not retired
	waiting *list.List // of chan *seat with room for one
	pending int        // requests between enter and leave
	sealed  bool
	drained chan struct{} // closed when sealed; made by seal
	closing bool
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
		return errTooMany
	}
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

// take returns a free seat, or a ticket on whose channel one will arrive.
func (g *gate) take() (*seat, *list.Element) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.idle) > 0 {
		s := g.idle[0]
		g.idle = g.idle[1:]
		s.busy = true
		return s, nil
	}
	return nil, g.waiting.PushBack(make(chan *seat, 1))
}

// giveUp takes a ticket back; a seat that has already come goes to the next.
func (g *gate) giveUp(ticket *list.Element) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waiting.Remove(ticket)
	select {
	case s := <-ticket.Value.(chan *seat):
		g.pass(s)
	default:
	}
}

// add offers a new seat.
func (g *gate) add(s *seat) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ready++
	g.pass(s)
}

// release offers a seat again after a request.
func (g *gate) release(s *seat) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pass(s)
}

// pass gives a seat to whoever is first in the queue. The caller holds mu.
func (g *gate) pass(s *seat) {
	s.busy = false
	if s.retired {
		close(s.free)
		return
	}
	if first := g.waiting.Front(); first != nil {
		g.waiting.Remove(first)
		s.busy = true
		first.Value.(chan *seat) <- s
		return
	}
	g.idle = append(g.idle, s)
}

// retire stops offering a seat. The returned channel is closed once no request is in it.
func (g *gate) retire(s *seat) <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if s.retired {
		return s.free
	}
	s.retired = true
	g.ready--
	if !s.busy {
		close(s.free)
	}
	for n, other := range g.idle {
		if other == s {
			g.idle = append(g.idle[:n:n], g.idle[n+1:]...)
			break
		}
	}
	return s.free
}

// counts returns how many seats are ready and how many requests are pending.
func (g *gate) counts() (ready, pending int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.ready, g.pending
}
