package scoring

import (
	"bytes"
	"io"
	"strings"
	"sync"

	"lapis/logline"
)

// Bounds of a LogRing.
const (
	DefaultLogLines = 10_000
	maxLogLine      = 64 << 10
	maxLogBytes     = 16 << 20
)

// LogRing keeps the last lines of a deployment's console. It outlives the
// pool that writes to it, so that the log of a failed deployment can be read.
type LogRing struct {
	limit int
	sink  *logline.Writer // nil: there is none

	mu    sync.Mutex
	lines []string // from first on, oldest first
	first int
	bytes int
}

// NewLogRing keeps at most limit lines (0: DefaultLogLines) and 16 MiB. Each
// whole line also goes to sink, if there is one, such as a file: within
// some ten milliseconds, and before a writer's Close returns.
func NewLogRing(limit int, sink io.Writer) *LogRing {
	if limit <= 0 {
		limit = DefaultLogLines
	}
	r := &LogRing{limit: limit}
	if sink != nil {
		r.sink = logline.NewWriter(sink)
	}
	return r
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

// Flush has the sink written what it has not got yet.
func (r *LogRing) Flush() {
	if r.sink != nil {
		r.sink.Flush()
	}
}

// shrink forgets the lines, if a sink has them.
func (r *LogRing) shrink() {
	if r.sink == nil {
		return
	}
	r.Flush()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines, r.first, r.bytes = nil, 0, 0
}

// Writer returns a writer for one source of lines. Lines of several writers
// do not mix; a line of more than 64 KiB is cut into several. A last line
// without an end is kept back until its end, or Close.
func (r *LogRing) Writer() io.WriteCloser { return &lineWriter{ring: r} }

// add keeps a line and hands it to the sink; both in the order of the lines.
func (r *LogRing) add(line []byte) {
	line = bytes.TrimRight(line, "\r\n")
	r.mu.Lock()
	r.keep(string(line))
	due := r.sink != nil && r.sink.Add(append(line, '\n'))
	r.mu.Unlock()
	if due {
		r.sink.Flush()
	}
}

// keep adds a line, and forgets the first ones if there are too many. The
// caller holds mu.
func (r *LogRing) keep(text string) {
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
	w.ring.Flush()
	return nil
}
