package process

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

const (
	maxLine  = 64 << 10 // a longer line is cut into several
	tailSize = 8 << 10  // of the console, kept for the cause of an early end
)

// console hands an instance's output on, a whole line at a time, and puts our
// own lines between them.
type console struct {
	pid int
	now func() time.Time

	mu   sync.Mutex
	to   io.Writer
	last []byte
}

func newConsole(to io.Writer, pid int, now func() time.Time) *console {
	if to == nil {
		to = io.Discard
	}
	return &console{to: to, pid: pid, now: now}
}

// copy reads lines until the other end closes. Bytes of a last line without
// an end are not lost.
func (c *console) copy(from io.Reader) {
	r := bufio.NewReaderSize(from, maxLine)
	for {
		line, err := r.ReadSlice('\n')
		if len(line) > 0 {
			c.write(bytes.TrimRight(line, "\r\n"))
		}
		if err != nil && err != bufio.ErrBufferFull {
			return
		}
	}
}

// write hands on one line. A log that fails must not stop the script.
func (c *console) write(line []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	whole := append(append(make([]byte, 0, len(line)+1), line...), '\n')
	_, _ = c.to.Write(whole)
	c.last = append(c.last, whole...)
	if len(c.last) > 2*tailSize {
		c.last = append(c.last[:0], c.last[len(c.last)-tailSize:]...)
	}
}

// say writes a line of our own in the format that the script's lines have.
func (c *console) say(level, logger, format string, args ...any) {
	when := c.now().UTC().Format("2006-01-02 15:04:05,000")
	text := fmt.Sprintf(format, args...)
	c.write(fmt.Appendf(nil, "%s %s [%d] %s - %s", when, level, c.pid, logger, text))
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
