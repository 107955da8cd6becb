package scoring

import (
	"bytes"
	"io"
	"strings"
	"sync"
	"time"
)

// Bounds of a LogRing.
const (
	DefaultLogLines = 10_000
	maxLogLine      = 64 << 10
	maxLogBytes     = 16 << 20

	// A busy deployment's lines go to the sink together, this long after the
	// first of them. A line that comes alone goes at once.
	sinkDelay = time.Millisecond
	sinkRoom  = 256 << 10 // more than this goes at once
)

// LogRing keeps the last lines of a deployment's console. It outlives the
// pool that writes to it, so that the log of a failed deployment can be read.
type LogRing struct {
	limit int
	sink  io.Writer

	mu    sync.Mutex
	lines []string // from first on, oldest first
	first int
	bytes int

	sinking sync.Mutex // held while the sink is written; before mu
	late    []byte     // lines that wait for the sink
	timer   *time.Timer
	waits   bool      // the timer runs
	sunk    time.Time // when the sink was last written
}

// NewLogRing keeps at most limit lines (0: DefaultLogLines) and 16 MiB. Each
// whole line also goes to sink, if there is one, such as a file: within a
// millisecond or so, and before a writer's Close returns.
func NewLogRing(limit int, sink io.Writer) *LogRing {
	if limit <= 0 {
		limit = DefaultLogLines
	}
	return &LogRing{limit: limit, sink: sink}
}

// Tail returns the last n lines, each with its end; all of them if n is 0 or less.
func (r *LogRing) Tail(n int) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	kept := r.lines[r.first:]
	if n > 0 && n < len(kept) {
		kept = kept[len(kept)-n:]
	}
	var text strings.Builder
	for _, line := range kept {
		text.WriteString(line)
		text.WriteByte('\n')
	}
	return text.String()
}

// shrink forgets the lines, if a sink has them.
func (r *LogRing) shrink() {
	r.flush()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sink == nil || r.waits {
		return
	}
	r.lines, r.first, r.bytes, r.timer = nil, 0, 0, nil
}

// Writer returns a writer for one source of lines. Lines of several writers
// do not mix; a line of more than 64 KiB is cut into several. A last line
// without an end is kept back until its end, or Close.
func (r *LogRing) Writer() io.WriteCloser { return &lineWriter{ring: r} }

func (r *LogRing) add(line []byte) {
	text := string(bytes.TrimRight(line, "\r\n"))
	if r.keep(text) {
		r.flush()
	}
}

// keep adds a line, and reports whether the sink is to be written now.
func (r *LogRing) keep(text string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, text)
	r.bytes += len(text)
	for len(r.lines)-r.first > r.limit || r.bytes > maxLogBytes {
		r.bytes -= len(r.lines[r.first])
		r.lines[r.first] = ""
		r.first++
	}
	if r.first > len(r.lines)/2 {
		r.lines = append(r.lines[:0:0], r.lines[r.first:]...)
		r.first = 0
	}
	if r.sink == nil {
		return false
	}
	r.late = append(append(r.late, text...), '\n')
	switch {
	case len(r.late) > sinkRoom:
		return true
	case r.waits:
		return false
	case time.Since(r.sunk) > sinkDelay:
		return true
	case r.timer == nil:
		r.timer = time.AfterFunc(sinkDelay, r.flush)
	default:
		r.timer.Reset(sinkDelay)
	}
	r.waits = true
	return false
}

// flush writes what waits for the sink.
func (r *LogRing) flush() {
	r.sinking.Lock()
	defer r.sinking.Unlock()
	r.mu.Lock()
	text := r.late
	r.late, r.waits, r.sunk = nil, false, time.Now()
	r.mu.Unlock()
	if len(text) > 0 {
		_, _ = r.sink.Write(text) // a full disk must not stop the script
	}
}

type lineWriter struct {
	ring *LogRing
	mu   sync.Mutex
	part []byte
}

func (w *lineWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	size := len(p)
	for len(p) > 0 {
		line, rest, ended := bytes.Cut(p, []byte{'\n'})
		if room := maxLogLine - len(w.part); len(line) > room {
			line, rest, ended = p[:room], p[room:], true
		}
		w.part = append(w.part, line...)
		if ended {
			w.ring.add(w.part)
			w.part = w.part[:0]
		}
		p = rest
	}
	return size, nil
}

// Close adds a last line that has no end.
func (w *lineWriter) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.part) > 0 {
		w.ring.add(w.part)
		w.part = nil
	}
	w.ring.flush()
	return nil
}
