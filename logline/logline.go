// Package logline writes the lines of a busy log together, and a line that
// comes alone at once: a write for each line of a log can cost as much as what
// it tells of.
package logline

import (
	"io"
	"sync"
	"time"
)

const (
	// delay is how long after the first of them busy lines are written.
	delay = 10 * time.Millisecond
	// room is for how many bytes that wait; with more, all are written at once.
	room = 256 << 10
)

// Writer hands on what is written to it within some ten milliseconds, in order
// and in whole writes. It may be used by several goroutines.
type Writer struct {
	to io.Writer

	writing sync.Mutex // held while to is written; before mu

	mu      sync.Mutex
	late    []byte // waits
	spare   []byte // late was, to be used again
	timer   *time.Timer
	waits   bool      // the timer runs
	written time.Time // when to was last written
}

// NewWriter returns a writer before another one.
func NewWriter(to io.Writer) *Writer { return &Writer{to: to} }

// Write takes a line or several. It never fails: whoever logs cannot help a
// full disk.
func (w *Writer) Write(p []byte) (int, error) {
	if w.Add(p) {
		w.Flush()
	}
	return len(p), nil
}

// Add takes lines without writing them, and reports whether it is time to
// Flush: for who must not hold its own lock meanwhile.
func (w *Writer) Add(p []byte) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.late == nil {
		w.late, w.spare = w.spare, nil
	}
	w.late = append(w.late, p...)
	switch {
	case len(w.late) > room:
		return true
	case w.waits:
		return false
	case time.Since(w.written) > delay:
		return true
	case w.timer == nil:
		w.timer = time.AfterFunc(delay, w.Flush)
	default:
		w.timer.Reset(delay)
	}
	w.waits = true
	return false
}

// Flush writes what waits.
func (w *Writer) Flush() {
	w.writing.Lock()
	defer w.writing.Unlock()
	w.mu.Lock()
	text := w.late
	w.late, w.waits, w.written = nil, false, time.Now()
	w.mu.Unlock()
	if len(text) == 0 {
		return
	}
	_, _ = w.to.Write(text)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.spare == nil && cap(text) <= 64<<10 {
		w.spare = text[:0]
	}
}
