package scoring

import (
	"context"
	"slices"
	"time"
)

// ticket is a place in the queue before the seats.
type ticket struct {
	size    int
	arrived chan *seat // has room for one; nil says that the wait has ended otherwise
	err     error      // how; guarded by arrived

	// Zero times never come.
	unready time.Time // when it is looked at whether any instance is ready
	late    time.Time // the end of the wait
	over    time.Time // the end of the request's time
}

// patience is how long requests wait in the queue; 0 means forever.
type patience struct {
	unready time.Duration // while no instance is ready
	queued  time.Duration
}

func (p patience) ticket(size int, now, over time.Time) *ticket {
	t := &ticket{size: size, arrived: make(chan *seat, 1), over: over}
	if p.unready > 0 {
		t.unready = now.Add(p.unready)
	}
	if p.queued > 0 {
		t.late = now.Add(p.queued)
	}
	return t
}

// due is when a ticket is to be looked at.
func (t *ticket) due() time.Time {
	return earlier(earlier(t.unready, t.late), t.over)
}

// earlier is the earlier one of two times; a zero one never comes.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// look says why a wait has ended, nil if it goes on.
func (t *ticket) look(now time.Time, ready bool) error {
	come := func(when time.Time) bool { return !when.IsZero() && !when.After(now) }
	switch {
	case come(t.over) && ready, come(t.late):
		return context.DeadlineExceeded
	case come(t.over), come(t.unready) && !ready:
		return errNotReady
	case come(t.unready):
		t.unready = time.Time{}
	}
	return nil
}

// end tells who waits that there is no seat to come.
func (t *ticket) end(err error) {
	t.err = err
	t.arrived <- nil
}

// queue puts a ticket into the queue. One timer serves all of it: what comes
// later is hardly ever due before what is there. The caller holds mu.
func (g *gate) queue(t *ticket, first bool, now time.Time) {
	if g.aborted {
		t.end(errNotReady)
		return
	}
	if first {
		g.waiting = slices.Insert(g.waiting, 0, t)
	} else {
		g.waiting = append(g.waiting, t)
	}
	if due := t.due(); earlier(due, g.alarm) != g.alarm {
		g.wake(due, now)
	}
}

// wake sets the timer; a zero time stops it. The caller holds mu.
func (g *gate) wake(when, now time.Time) {
	g.alarm = when
	switch {
	case when.IsZero() && g.timer == nil:
	case when.IsZero():
		g.timer.Stop()
	case g.timer == nil:
		g.timer = time.AfterFunc(when.Sub(now), g.sweep)
	default:
		g.timer.Reset(when.Sub(now))
	}
}

// sweep is what the timer does: it ends waits that have been too long.
func (g *gate) sweep() {
	now := time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	var next time.Time
	g.waiting = slices.DeleteFunc(g.waiting, func(t *ticket) bool {
		if err := t.look(now, len(g.seats) > 0); err != nil {
			t.end(err)
			return true
		}
		next = earlier(next, t.due())
		return false
	})
	g.wake(next, now)
	g.callNext(now) // one that has ended may have held up smaller ones
}

// abort ends all waits for good: no instance will come any more.
func (g *gate) abort() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.aborted = true
	for _, t := range g.waiting {
		t.end(errNotReady)
	}
	g.waiting = nil
	g.wake(time.Time{}, time.Time{})
}

// giveUp takes a place in the queue back; a seat that has already come goes
// to the next.
func (g *gate) giveUp(t *ticket) {
	now := time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waiting = slices.DeleteFunc(g.waiting, func(other *ticket) bool { return other == t })
	select {
	case s := <-t.arrived:
		if s != nil {
			g.free(s, t.size, 0, now)
		}
	default:
		g.callNext(now) // it may have held up smaller ones
	}
}

// callNext gives seats to those who are first in the queue. The caller holds mu.
func (g *gate) callNext(now time.Time) {
	for len(g.waiting) > 0 {
		t := g.waiting[0]
		s := g.best(t.size, now)
		if s == nil {
			return
		}
		g.waiting[0] = nil
		g.waiting = g.waiting[1:]
		s.hold(t.size, now)
		t.arrived <- s
	}
}
