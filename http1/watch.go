package http1

import (
	"sync"
	"time"
)

// watchAfter is how long a request lasts before somebody looks whether its
// client is still there.
const watchAfter = 5 * time.Millisecond

// watch reads ahead while a handler runs, when its request has been read: a
// client that leaves is seen by that alone.
type watch struct {
	conn *conn
	body *body // of the request

	mu      sync.Mutex
	timer   *time.Timer
	on      bool // a handler runs
	reading bool
	idle    sync.Cond // nobody reads
}

func (w *watch) init(c *conn) {
	w.conn = c
	w.idle.L = &w.mu
}

func (w *watch) start() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.on = true
	if w.timer == nil {
		w.timer = time.AfterFunc(watchAfter, w.look)
		return
	}
	w.timer.Reset(watchAfter)
}

// stop ends the watch; what has come is the next to be read.
func (w *watch) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.on {
		return
	}
	w.on = false
	w.timer.Stop()
	source := &w.conn.source
	if w.reading {
		source.set = time.Unix(1, 0)
		_ = w.conn.peer.SetReadDeadline(source.set)
	}
	for w.reading {
		w.idle.Wait()
	}
}

// look is what the timer does.
func (w *watch) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.on || w.reading {
		return
	}
	if !w.body.ended.Load() { // the handler itself reads
		w.timer.Reset(watchAfter)
		return
	}
	source := &w.conn.source
	if len(source.early) > 0 {
		return
	}
	source.set = time.Time{}
	_ = w.conn.peer.SetReadDeadline(source.set)
	w.reading = true
	w.mu.Unlock()
	var early [1]byte
	n, err := w.conn.peer.Read(early[:])
	w.mu.Lock()
	w.reading = false
	if n > 0 {
		source.early = early[:]
	} else if err != nil && w.on { // else it was the deadline of stop
		w.conn.gone()
	}
	w.idle.Broadcast()
}
