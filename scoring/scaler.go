package scoring

import (
	"sync"
	"time"
)

// Scaler looks after all pools that have a [Scaling] and instances: one
// goroutine, which ends when there is none left. A pool that is scaled to zero
// is not among them. The zero value is ready.
type Scaler struct {
	mu      sync.Mutex
	pools   map[*Pool]*watched
	running bool
	sooner  chan struct{} // has one element when a pool has come
	closed  bool
	acts    sync.WaitGroup
}

// watched is a pool under the scaler's eyes.
type watched struct {
	due      time.Time
	past     lull
	acting   bool
	failures int
}

// watch begins to look after a pool.
func (s *Scaler) watch(p *Pool) {
	scaling := p.Scaling()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.pools[p] != nil || p.isClosed() {
		return
	}
	if s.pools == nil {
		s.pools, s.sooner = map[*Pool]*watched{}, make(chan struct{}, 1)
	}
	p.gate.meter()
	s.pools[p] = &watched{due: aligned(time.Now(), scaling.Poll)}
	if !s.running {
		s.running = true
		s.acts.Go(s.loop)
		return
	}
	s.hurry()
}

// forget ends what watch began.
func (s *Scaler) forget(p *Pool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.pools, p)
	s.hurry()
}

func (s *Scaler) hurry() {
	select {
	case s.sooner <- struct{}{}:
	default:
	}
}

// Close ends the goroutine. No pool is scaled afterwards.
func (s *Scaler) Close() {
	s.mu.Lock()
	s.closed = true
	clear(s.pools)
	s.hurry()
	s.mu.Unlock()
	s.acts.Wait()
}

// aligned is the next moment at which pools of the same interval are looked at
// together, so that a thousand of them wake the machine once.
func aligned(now time.Time, poll time.Duration) time.Time { return now.Truncate(poll).Add(poll) }

func (s *Scaler) loop() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		wait, ok := s.round(time.Now())
		if !ok {
			return
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-s.sooner:
		}
	}
}

// round looks at the pools that are due, and says when to come again; false
// when there are no pools.
func (s *Scaler) round(now time.Time) (time.Duration, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.pools) == 0 {
		s.running = false
		return 0, false
	}
	var first time.Time
	for p, w := range s.pools {
		if !now.Before(w.due) && !w.acting {
			s.look(p, w, now)
		}
		if !w.acting && (first.IsZero() || w.due.Before(first)) {
			first = w.due
		}
	}
	if first.IsZero() { // all are being scaled; each says when it is done
		return time.Minute, true
	}
	return max(first.Sub(now), 0), true
}

// look decides on one pool. The caller holds mu.
func (s *Scaler) look(p *Pool, w *watched, now time.Time) {
	scaling := p.Scaling()
	d := p.gate.demand(now)
	d.instances = p.size()
	var n int
	n, w.past = scaling.decide(now, d, w.past)
	w.due = aligned(now.Add(scaling.next(d)-scaling.Poll), scaling.Poll)
	if n == d.instances {
		return
	}
	w.acting = true
	s.acts.Go(func() { s.act(p, w, d.instances, n) })
}

// act brings a pool to a size. After a failure it is left alone for a while.
func (s *Scaler) act(p *Pool, w *watched, from, to int) {
	var err error
	if to == 0 {
		p.sleep() // if a request has come meanwhile, it stays awake
	} else {
		err = p.move(from, to)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	w.acting = false
	w.failures++
	if err == nil {
		w.failures = 0
	} else {
		w.due = time.Now().Add(max(p.Scaling().Poll, backoff(w.failures-1, p.cfg.Jitter())))
	}
	s.hurry()
}
