package environment

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// output takes what a build says: lines of our own and bytes of the tools. Each
// line is cleaned of credentials and colour, stamped with the time since the
// start, and handed on. It is safe for concurrent use.
type output struct {
	now    func() time.Time
	start  time.Time
	strike *strings.Replacer // secret values to blank out

	mu      sync.Mutex
	file    io.Writer // the full log; nil for none
	emit    func(line string)
	partial []byte
	tail    []string // last lines of the running tool, without stamps
	last    time.Time
}

const (
	maxLine = 8 << 10
	maxTail = 60
)

// say writes a line of our own.
func (o *output) say(format string, args ...any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.put(fmt.Sprintf(format, args...), false)
}

// Write takes a tool's output.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.partial = append(o.partial, p...)
	for {
		i := bytes.IndexAny(o.partial, "\r\n")
		if i < 0 && len(o.partial) > maxLine {
			i = maxLine
		}
		if i < 0 {
			return len(p), nil
		}
		o.put(string(o.partial[:i]), true)
		o.partial = o.partial[min(i+1, len(o.partial)):]
	}
}

// flush ends a tool's output and returns its last lines.
func (o *output) flush() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.partial) > 0 {
		o.put(string(o.partial), true)
		o.partial = nil
	}
	tail := o.tail
	o.tail = nil
	return tail
}

func (o *output) put(line string, fromTool bool) {
	line = strings.TrimRight(strings.ToValidUTF8(ansiEscape.ReplaceAllString(line, ""), "?"), " \t")
	if line == "" {
		return
	}
	line = redact(line)
	if o.strike != nil {
		line = o.strike.Replace(line)
	}
	if fromTool {
		o.tail = append(o.tail, line)
		if len(o.tail) > maxTail {
			o.tail = o.tail[1:]
		}
	}
	o.last = o.now()
	stamped := fmt.Sprintf("[%6.1fs] %s", o.last.Sub(o.start).Seconds(), line)
	if o.file != nil {
		_, _ = io.WriteString(o.file, stamped+"\n")
	}
	o.emit(stamped)
}

// quietFor says how long nothing has been written.
func (o *output) quietFor() time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.now().Sub(o.last)
}
