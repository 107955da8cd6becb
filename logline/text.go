package logline

import (
	"io"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"
)

// TextHandler is slog's handler for text, and draws lines of its form for who
// logs so often that a slog.Record for each is too much: see [TextHandler.Begin].
type TextHandler struct {
	slog.Handler
	to    io.Writer
	lines sync.Pool              // of *Line
	clock atomic.Pointer[second] // the last one that was drawn
}

// second is one of the clock's, drawn.
type second struct {
	unix       int64
	place      *time.Location
	start, end string // what stands before and after the milliseconds
}

// NewTextHandler makes a handler. Many goroutines may write to w at a time.
func NewTextHandler(w io.Writer, level slog.Leveler) *TextHandler {
	return &TextHandler{Handler: slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}), to: w}
}

// Line is a line that is being drawn.
type Line struct {
	text    []byte
	handler *TextHandler
}

// Begin begins a line with its time, level and message. It must come to its
// End. Whether the level is enabled is the caller's to ask.
func (h *TextHandler) Begin(now time.Time, level slog.Level, message string) *Line {
	l, _ := h.lines.Get().(*Line)
	if l == nil {
		l = &Line{handler: h, text: make([]byte, 0, 512)}
	}
	l.text = h.appendTime(append(l.text[:0], "time="...), now)
	l.text = append(append(l.text, " level="...), level.String()...)
	l.Text("msg", message)
	return l
}

// appendTime appends a time with its milliseconds. All lines of a second have
// the rest of it in common.
func (h *TextHandler) appendTime(b []byte, t time.Time) []byte {
	s := h.clock.Load()
	if s == nil || s.unix != t.Unix() || s.place != t.Location() {
		s = &second{unix: t.Unix(), place: t.Location(), start: t.Format("2006-01-02T15:04:05."), end: t.Format("Z07:00")}
		h.clock.Store(s)
	}
	ms := t.Nanosecond() / int(time.Millisecond)
	b = append(append(b, s.start...), byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10))
	return append(b, s.end...)
}

// Text appends a value, in quotes if it needs them.
func (l *Line) Text(key, value string) {
	l.key(key)
	if needsQuotes(value) {
		l.text = strconv.AppendQuote(l.text, value)
		return
	}
	l.text = append(l.text, value...)
}

// Int appends a number.
func (l *Line) Int(key string, value int) {
	l.key(key)
	l.text = strconv.AppendInt(l.text, int64(value), 10)
}

// Duration appends a time span, such as 1.5ms.
func (l *Line) Duration(key string, value time.Duration) {
	l.key(key)
	l.text = append(l.text, value.String()...)
}

// key begins a column. Keys are plain words.
func (l *Line) key(key string) {
	l.text = append(append(append(l.text, ' '), key...), '=')
}

// End writes the line, which is then not to be used any more.
func (l *Line) End() {
	_, _ = l.handler.to.Write(append(l.text, '\n')) // whoever logs cannot help a full disk
	if cap(l.text) <= 8<<10 {
		l.handler.lines.Put(l)
	}
}

// needsQuotes decides as slog's handler does.
func needsQuotes(value string) bool {
	for n := 0; n < len(value); {
		c := value[n]
		if c < utf8.RuneSelf {
			if c <= ' ' || c == '"' || c == '=' {
				return true
			}
			n++
			continue
		}
		r, size := utf8.DecodeRuneInString(value[n:])
		if r == utf8.RuneError || unicode.IsSpace(r) || !unicode.IsPrint(r) {
			return true
		}
		n += size
	}
	return value == ""
}
