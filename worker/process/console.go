package process

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	maxLine   = 64 << 10 // a longer line is cut into several
	usualLine = 4 << 10
	tailSize  = 8 << 10 // of the console, kept for the cause of an early end
)

// console hands an instance's output on, a whole line at a time, and puts our
// own lines between them.
type console struct {
	pid int
	now func() time.Time

	mu    sync.Mutex
	to    io.Writer
	whole []byte // the line that is written
	last  []byte

	second int64  // of the clock
	drawn  []byte // that second, as lines begin with it
}

func newConsole(to io.Writer, pid int, now func() time.Time) *console {
	if to == nil {
		to = io.Discard
	}
	return &console{to: to, pid: pid, now: now}
}

// copy reads lines until the other end closes. Bytes of a last line without
// an end are not lost. The buffer is small but while a line needs more of it:
// there are as many as instances, and most have nothing to say.
func (c *console) copy(from io.Reader) {
	buffer := make([]byte, 0, usualLine)
	for {
		if len(buffer) == cap(buffer) {
			buffer = slices.Grow(buffer, len(buffer))[:len(buffer):min(2*cap(buffer), maxLine)]
		}
		n, err := from.Read(buffer[len(buffer):cap(buffer)])
		rest := buffer[:len(buffer)+n]
		for {
			line, more, whole := bytes.Cut(rest, []byte{'\n'})
			if !whole && len(rest) < maxLine && (err == nil || len(rest) == 0) {
				break
			}
			c.write(bytes.TrimRight(line, "\r"))
			rest = more
		}
		if cap(buffer) > usualLine && len(rest) < usualLine {
			buffer = make([]byte, 0, usualLine)
		}
		buffer = append(buffer[:0], rest...)
		if err != nil {
			return
		}
	}
}

// write hands on one line. A log that fails must not stop the script.
func (c *console) write(line []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.whole = append(c.whole[:0], line...)
	c.hand()
}

// hand ends the line in whole and hands it on. The caller holds mu.
func (c *console) hand() {
	c.whole = append(c.whole, '\n')
	_, _ = c.to.Write(c.whole)
	c.last = append(c.last, c.whole...)
	if len(c.last) > 2*tailSize {
		c.last = append(c.last[:0], c.last[len(c.last)-tailSize:]...)
	}
}

// say writes a line of our own in the format that the script's lines have.
func (c *console) say(level, logger, format string, args ...any) {
	now := c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.whole = fmt.Appendf(c.prefix(now, level, logger), format, args...)
	c.hand()
}

// prefix begins a line in whole. The caller holds mu.
func (c *console) prefix(now time.Time, level, logger string) []byte {
	if second := now.Unix(); second != c.second || c.drawn == nil {
		c.second, c.drawn = second, now.UTC().AppendFormat(c.drawn[:0], "2006-01-02 15:04:05,")
	}
	ms := now.Nanosecond() / int(time.Millisecond)
	line := append(append(c.whole[:0], c.drawn...), byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10))
	line = append(append(append(line, ' '), level...), " ["...)
	line = append(strconv.AppendInt(line, int64(c.pid), 10), "] "...)
	return append(append(line, logger...), " - "...)
}

// access writes the line of one request, as say would. A size below 0 is not known.
func (c *console) access(now time.Time, method, target string, status int, took time.Duration, size int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	line := append(append(c.prefix(now, "I", "azmlinfsrv"), method...), ' ')
	line = append(append(line, target...), ' ')
	line = append(strconv.AppendInt(line, int64(status), 10), ' ')
	line = append(strconv.AppendFloat(line, milliseconds(took), 'f', 3, 64), "ms "...)
	if size < 0 {
		line = append(line, "N/A"...)
	} else {
		line = strconv.AppendInt(line, int64(size), 10)
	}
	c.whole = line
	c.hand()
}

// tail returns the last lines of the console.
func (c *console) tail() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return string(c.last[max(0, len(c.last)-tailSize):])
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndexByte(text, '\n')+1:]
}
