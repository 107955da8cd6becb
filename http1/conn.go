package http1

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"
)

// The states of a connection.
const (
	idle   = iota // no request has begun
	busy          // from a request's first byte to its answer's last
	closed        // by Shutdown, while idle
)

// conn is one connection, served by one goroutine.
type conn struct {
	server *Server
	peer   net.Conn
	remote string
	ctx    context.Context
	gone   context.CancelFunc // the client has left
	state  atomic.Int32

	source    source
	in        *bufio.Reader // of source
	out       *bufio.Writer
	idleUntil time.Time
	watch     watch
}

// serve answers requests one after the other.
func (c *conn) serve() {
	for c.await() {
		r, err := c.read()
		if err != nil {
			c.refuse(err)
			return
		}
		if !c.answer(r) {
			return
		}
		c.state.Store(idle) // before closing is looked at; Shutdown does it the other way round
		if c.server.closing.Load() {
			return
		}
	}
}

// await waits for the first byte of a request.
func (c *conn) await() bool {
	c.source.deadline = c.patience(time.Now())
	if _, err := c.in.Peek(1); err != nil {
		return false
	}
	return c.state.CompareAndSwap(idle, busy)
}

// patience is until when a request may begin. It is not another moment for
// each request, so that the deadline need not be set each time.
func (c *conn) patience(now time.Time) time.Time {
	if c.idleUntil.IsZero() { // who connects has something to say
		c.idleUntil = now
		return now.Add(cmp.Or(c.server.HeaderTimeout, headerTimeout))
	}
	if limit := cmp.Or(c.server.IdleTimeout, idleTimeout); c.idleUntil.Sub(now) < limit-limit/8 {
		c.idleUntil = now.Add(limit)
	}
	return c.idleUntil
}

// closeIfIdle ends a connection without a request.
func (c *conn) closeIfIdle() {
	if c.state.CompareAndSwap(idle, closed) {
		_ = c.peer.Close()
	}
}

// refused is a request that gets no further than its head.
type refused struct {
	status int
	why    string
}

func (r *refused) Error() string { return r.why }

// read takes the head of the request that has begun.
func (c *conn) read() (*http.Request, error) {
	if buffered, _ := c.in.Peek(c.in.Buffered()); !bytes.Contains(buffered, []byte("\r\n\r\n")) {
		c.source.deadline = time.Now().Add(cmp.Or(c.server.HeaderTimeout, headerTimeout))
	}
	c.source.limit(cmp.Or(c.server.MaxHeader, maxHeader))
	r, err := http.ReadRequest(c.in)
	broken := c.source.unlimit()    // what ReadRequest says of it may be that half a line is malformed
	c.source.deadline = time.Time{} // of the body; the handler knows better
	switch {
	case errors.Is(broken, errTooLarge):
		return nil, &refused{http.StatusRequestHeaderFieldsTooLarge, "the request's header is too large"}
	case err != nil && broken != nil:
		return nil, broken
	case err != nil:
		return nil, err
	case r.Host == "" && r.ProtoAtLeast(1, 1):
		return nil, &refused{http.StatusBadRequest, "the request has no Host"}
	}
	b := &body{ReadCloser: r.Body, conn: c}
	switch expected := r.Header.Get("Expect"); {
	case strings.EqualFold(expected, "100-continue"):
		b.expected = r.ProtoAtLeast(1, 1) && r.ContentLength != 0
	case expected != "":
		return nil, &refused{http.StatusExpectationFailed, "the request expects " + expected}
	}
	if r.Body == http.NoBody {
		b.ended.Store(true)
	} else {
		r.Body = b
	}
	r.RemoteAddr = c.remote
	r = r.WithContext(c.ctx)
	c.watch.body = b
	return r, nil
}

// refuse answers a head that is none, if somebody is still there.
func (c *conn) refuse(err error) {
	var why *refused
	var timeout net.Error
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.As(err, &timeout):
		return
	case !errors.As(err, &why):
		why = &refused{http.StatusBadRequest, err.Error()}
	}
	status := fmt.Sprintf("%d %s", why.status, http.StatusText(why.status))
	fmt.Fprintf(c.out, "HTTP/1.1 %s\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n%s", status, status)
	if c.out.Flush() == nil {
		c.linger()
	}
}

// answer has a request handled, and reports whether another may follow.
func (c *conn) answer(r *http.Request) (keep bool) {
	a := &answer{conn: c, request: r, body: c.watch.body, header: make(http.Header, 16), length: unknown}
	c.watch.start()
	defer c.watch.stop() // also when the handler panics
	if !c.handle(a) {
		return false
	}
	c.watch.stop() // the next read is ours
	if !a.finish() {
		return false
	}
	if !a.last {
		return true
	}
	if !a.body.ended.Load() || c.in.Buffered() > 0 {
		c.linger()
	}
	return false
}

// handle runs the handler. A panic ends the connection, as with net/http.
func (c *conn) handle(a *answer) (done bool) {
	defer func() {
		if done {
			return
		}
		err := recover()
		if err == nil || err == http.ErrAbortHandler || c.server.Log == nil { //nolint:errorlint // it is a value that was thrown
			return
		}
		c.server.Log.Error("a handler panicked", "method", a.request.Method, "path", a.request.URL.Path, "remote", c.remote,
			"panic", fmt.Sprint(err), slog.String("stack", string(debug.Stack())))
	}()
	c.server.Handler.ServeHTTP(a, a.request)
	return true
}

// linger waits a little for the client to stop sending: a connection that is
// closed with something unread may take the answer with it.
func (c *conn) linger() {
	if half, ok := c.peer.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	_ = c.peer.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
	_, _ = io.Copy(io.Discard, c.peer)
}

// source is what a connection's requests are read from.
type source struct {
	peer     net.Conn
	deadline time.Time // of what is read from now on
	set      time.Time // the deadline that peer has
	early    []byte    // came while nobody waited for it
	limited  bool      // a head is being read
	room     int       // for more of it
	broken   error     // why no more of it came
}

var errTooLarge = errors.New("the header is too large")

// limit bounds what is read until unlimit, which returns why that ended early.
func (s *source) limit(size int) { s.limited, s.room, s.broken = true, size, nil }

func (s *source) unlimit() error {
	s.limited = false
	return s.broken
}

func (s *source) Read(p []byte) (int, error) {
	if len(s.early) > 0 {
		n := copy(p, s.early)
		s.early = s.early[n:]
		return n, nil
	}
	if s.limited && s.room <= 0 {
		s.broken = errTooLarge
		return 0, s.broken
	}
	if !s.deadline.Equal(s.set) {
		s.set = s.deadline
		if err := s.peer.SetReadDeadline(s.deadline); err != nil {
			return 0, err
		}
	}
	n, err := s.peer.Read(p)
	s.room -= n
	s.broken = err
	return n, err
}

// sink is what answers are written to.
type sink struct{ *conn }

func (s *sink) Write(p []byte) (int, error) {
	n, err := s.peer.Write(p)
	if err != nil {
		s.gone()
	}
	return n, err
}

// body is a request's.
type body struct {
	io.ReadCloser
	conn     *conn
	expected bool // the client waits for a word before it sends
	ended    atomic.Bool
}

func (b *body) Read(p []byte) (int, error) {
	if b.expected {
		b.expected = false
		_, _ = b.conn.out.WriteString("HTTP/1.1 100 Continue\r\n\r\n")
		if err := b.conn.out.Flush(); err != nil {
			return 0, err
		}
	}
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		b.ended.Store(true)
	}
	return n, err
}

// Close leaves the rest of the body to the connection, which reads on where
// it is worth that.
func (b *body) Close() error { return nil }
