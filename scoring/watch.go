package scoring

import (
	"context"
	"fmt"
	"sync"
	"time"

	"lapis/worker"
)

// watch looks after the requests in one seat: it recalls what lies ready
// behind one that takes long, and replaces an instance whose script does not
// come back. It is one timer, which runs only while there are requests and is
// not set anew for each.
type watch struct {
	mu    sync.Mutex
	timer *time.Timer
	armed bool
	far   bool     // the timer is set for later than stallAfter
	ids   []string // of the requests in the seat, the first first
}

// limits tell requests that their time is over. Those that begin within a
// moment of one another have a channel and a timer together: theirs comes late
// by up to that moment, and never early.
type limits struct {
	after time.Duration

	mu    sync.Mutex
	over  chan struct{} // of the requests that begin now
	until time.Time     // that they do
}

// moment is how long requests begin together: a five-hundredth of their time.
func (l *limits) moment() time.Duration { return min(l.after/500, 100*time.Millisecond) }

// begin returns a channel that is closed when the time of a request that
// begins now is over.
func (l *limits) begin(now time.Time) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !now.Before(l.until) {
		over := make(chan struct{})
		time.AfterFunc(l.after+l.moment(), func() { close(over) })
		l.over, l.until = over, now.Add(l.moment())
	}
	return l.over
}

// begin notes a request that is put into the seat.
func (p *Pool) begin(s *seat, id string) {
	w := &s.watch
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ids = append(w.ids, id)
	switch {
	case w.timer == nil:
		w.timer = time.AfterFunc(stallAfter, func() { p.look(s) })
	case !w.armed || w.far:
		w.timer.Reset(stallAfter)
	}
	w.armed, w.far = true, false
}

// finish notes that a request has left the seat.
func (w *watch) finish(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for n, other := range w.ids {
		if other == id {
			w.ids = append(w.ids[:n], w.ids[n+1:]...)
			return
		}
	}
}

// look is what the timer does.
func (p *Pool) look(s *seat) {
	load, since, flowing := p.gate.look(s)
	busy := time.Since(since)
	w := &s.watch
	w.mu.Lock()
	id := ""
	if len(w.ids) > 0 {
		id = w.ids[0]
	}
	late := load > 0 && !flowing && busy >= p.cfg.RequestTimeout
	if w.armed = load > 0 && !late; w.armed {
		next := stallAfter - busy
		if w.far = next <= 0; w.far {
			next = p.cfg.RequestTimeout - busy
		}
		if flowing { // whoever reads the answer looks at the time
			next = max(next, stallAfter)
		}
		if load > 1 {
			next = min(max(next, stallAfter), 10*stallAfter)
		}
		w.timer.Reset(next)
	}
	w.mu.Unlock()
	switch {
	case late:
		p.replace(s, fmt.Sprintf("it has not answered request %s in %v", id, p.cfg.RequestTimeout))
	case load > 1 && busy >= stallAfter:
		s.instance.Recall()
	}
}

// replace takes a seat away for good and ends its instance; the member starts
// the next. The deployment's console gets why.
func (p *Pool) replace(s *seat, why string) {
	p.gate.retire(s)
	s.once.Do(func() {
		when := p.cfg.Now().UTC().Format("2006-01-02 15:04:05,000")
		line := p.cfg.Log.Writer()
		fmt.Fprintf(line, "%s W lapis - Instance %d is replaced: %s\n", when, s.index, why)
		go kill(s.instance)
	})
}

// kill ends an instance without a grace.
func kill(instance worker.Instance) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = instance.Stop(ctx)
}
