package http1

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	unknown = -1
	// holdUpTo is how much of an answer without a length waits for its end,
	// which may give it one.
	holdUpTo = 2 << 10
	// readUpTo is how much of a body that the handler has left is read for the
	// sake of the connection, as by net/http.
	readUpTo = 256 << 10
)

// answer is the http.ResponseWriter of one request.
type answer struct {
	conn    *conn
	request *http.Request
	body    *body
	header  http.Header

	status  int
	held    []byte // while the head is not written
	begun   bool   // the head is written
	length  int64  // that the head tells, or unknown
	sent    int64
	chunked bool
	bare    bool // nothing may follow the head
	last    bool // of the connection
}

// Header returns what the head will have.
func (a *answer) Header() http.Header { return a.header }

// WriteHeader sets the status. Informational ones are not sent.
func (a *answer) WriteHeader(status int) {
	if a.status != 0 || status < 200 {
		return
	}
	a.status = status
	if text := a.header["Content-Length"]; len(text) > 0 {
		length, err := strconv.ParseInt(text[0], 10, 64)
		if err != nil || length < 0 {
			delete(a.header, "Content-Length")
			return
		}
		a.length = length
	}
}

// Write sends a part of the body; it may be held back until Flush.
func (a *answer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	if !a.begun && a.length == unknown && len(a.held)+len(p) <= holdUpTo {
		a.held = append(a.held, p...)
		return len(p), nil
	}
	if err := a.begin(p); err != nil {
		return 0, err
	}
	return a.send(p)
}

// begin writes the head and what was held; next is what follows that.
func (a *answer) begin(next []byte) error {
	if a.begun {
		return nil
	}
	a.begun = true
	a.readOn()
	a.sniff(next)
	a.head()
	held := a.held
	a.held = nil
	_, err := a.send(held)
	return err
}

// sniff tells what an answer is whose handler has not said it, as net/http does.
func (a *answer) sniff(next []byte) {
	if len(a.held) > 0 {
		next = a.held
	}
	if _, told := a.header["Content-Type"]; told || len(next) == 0 || a.header["Content-Encoding"] != nil {
		return
	}
	a.header["Content-Type"] = []string{http.DetectContentType(next)}
}

// send writes a part of the body after the head.
func (a *answer) send(p []byte) (int, error) {
	if a.bare || len(p) == 0 {
		return len(p), nil
	}
	if a.length != unknown && a.sent+int64(len(p)) > a.length {
		return 0, http.ErrContentLength
	}
	a.sent += int64(len(p))
	if !a.chunked {
		return a.conn.out.Write(p)
	}
	fmt.Fprintf(a.conn.out, "%x\r\n", len(p))
	n, err := a.conn.out.Write(p)
	_, endErr := a.conn.out.WriteString("\r\n")
	return n, errors.Join(err, endErr)
}

// readOn reads the rest of a request's body, so that the next request can be
// found; a long rest, or one that has not come, ends the connection instead.
func (a *answer) readOn() {
	switch {
	case a.body.ended.Load() || a.last:
		return
	case a.body.expected: // and it was not asked to send; now it is too late for that
		a.body.expected, a.last = false, true
		return
	}
	a.conn.source.deadline = time.Now().Add(time.Second)
	_, err := io.CopyN(io.Discard, a.body, readUpTo)
	a.conn.source.deadline = time.Time{}
	a.last = !errors.Is(err, io.EOF)
}

// head writes the head. The order of its fields is not fixed.
func (a *answer) head() {
	out := a.conn.out
	a.bare = a.request.Method == http.MethodHead || a.status == http.StatusNoContent || a.status == http.StatusNotModified
	a.last = a.last || a.request.Close || a.conn.server.closing.Load() || hasClose(a.header["Connection"])
	if a.status == http.StatusOK {
		_, _ = out.WriteString("HTTP/1.1 200 OK\r\n")
	} else {
		_, _ = fmt.Fprintf(out, "HTTP/1.1 %03d %s\r\n", a.status, http.StatusText(a.status))
	}
	for name, values := range a.header {
		if !validName(name) || name == "Connection" || name == "Transfer-Encoding" || name == "Content-Length" {
			continue
		}
		for _, value := range values {
			field(out, name, value)
		}
	}
	if a.header["Date"] == nil {
		var date [len(http.TimeFormat)]byte
		field(out, "Date", string(time.Now().UTC().AppendFormat(date[:0], http.TimeFormat)))
	}
	a.frame()
	if a.last {
		_, _ = out.WriteString("Connection: close\r\n")
	}
	_, _ = out.WriteString("\r\n")
}

// frame writes the fields that tell the end of the body.
func (a *answer) frame() {
	switch {
	case a.status == http.StatusNoContent || a.status == http.StatusNotModified:
	case a.length != unknown:
		field(a.conn.out, "Content-Length", strconv.FormatInt(a.length, 10))
	case a.bare:
	case a.request.ProtoAtLeast(1, 1):
		a.chunked = true
		field(a.conn.out, "Transfer-Encoding", "chunked")
	default:
		a.last = true // the end of the connection is that of the body
	}
}

// finish brings the answer to its end, and reports whether all of it was
// written as announced.
func (a *answer) finish() bool {
	a.WriteHeader(http.StatusOK)
	if !a.begun && a.length == unknown && (a.request.Method != http.MethodHead || len(a.held) > 0) {
		a.length = int64(len(a.held))
	}
	if a.begin(nil) != nil {
		return false
	}
	if a.chunked {
		_, _ = a.conn.out.WriteString("0\r\n\r\n")
	}
	if a.conn.out.Flush() != nil {
		return false
	}
	return a.bare || a.length == unknown || a.sent == a.length
}

// FlushError sends what was written so far.
func (a *answer) FlushError() error {
	a.WriteHeader(http.StatusOK)
	if err := a.begin(nil); err != nil {
		return err
	}
	return a.conn.out.Flush()
}

// Flush is FlushError for who does not care.
func (a *answer) Flush() { _ = a.FlushError() }

// SetReadDeadline bounds the reads of the request's body that follow.
func (a *answer) SetReadDeadline(t time.Time) error {
	a.conn.source.deadline = t
	return nil
}

// SetWriteDeadline bounds the writes of the answer, also one under way.
func (a *answer) SetWriteDeadline(t time.Time) error { return a.conn.peer.SetWriteDeadline(t) }

var lineEnds = strings.NewReplacer("\r", " ", "\n", " ")

func field(out io.StringWriter, name, value string) {
	if strings.ContainsAny(value, "\r\n") {
		value = lineEnds.Replace(value)
	}
	_, _ = out.WriteString(name)
	_, _ = out.WriteString(": ")
	_, _ = out.WriteString(value)
	_, _ = out.WriteString("\r\n")
}

// validName reports whether a name can be that of a field (RFC 9110, 5.1).
func validName(name string) bool {
	for _, c := range []byte(name) {
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		if !letter && (c < '0' || c > '9') && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c)) {
			return false
		}
	}
	return name != ""
}

func hasClose(values []string) bool {
	for _, value := range values {
		for option := range strings.SplitSeq(value, ",") {
			if strings.EqualFold(strings.TrimSpace(option), "close") {
				return true
			}
		}
	}
	return false
}
