package gateway

import (
	"bytes"
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"sync"
	"time"
)

// strict is a connection of HTTP/1 whose requests are held against the one
// form that every recipient reads alike, before the server sees them: what one
// reads as the end of a request and another does not is how requests are
// smuggled (RFC 9112, 11.2). The server itself is lenient: it takes bare line
// feeds, folded headers, and a length beside chunks.
//
// A request of another form is replaced by one that [door.serveSecure] answers
// with the refusal, in its turn; after it the connection ends. Bodies pass
// without a copy.
type strict struct {
	net.Conn       // secured
	accepted *conn // where the refusal is left
	ended    chan struct{}

	store  []byte // of buf, to be used again
	buf    []byte // read and not given on yet
	pass   int    // so many bytes of it may be given on
	left   int64  // and so many after those, whatever they are
	next   part   // what follows then
	looked int    // how far buf was looked at for the end of the part
	heads  int    // requests so far
	err    error  // after which nothing is read

	mu       sync.Mutex
	deadline time.Time // the server's
	hurried  bool      // a head has begun and has a deadline of its own
}

// part is what of a request comes next.
type part int

const (
	partHead part = iota
	partChunk
	partChunkEnd
	partTrailer
	partNothing // the connection's last request was refused
)

const (
	maxFields    = 256     // header lines of a request
	maxChunkLine = 1 << 10 // with its extensions
)

// refusedMethod is the method of the request that stands in for a refused one.
// From a client, it is refused.
const (
	refusedMethod  = "REFUSED"
	refusedRequest = refusedMethod + " / HTTP/1.1\r\nHost: refused\r\nConnection: close\r\n\r\n"
)

var errChunk = errors.New("the chunks of the request's body are malformed")

func newStrict(secured *tls.Conn, accepted *conn) *strict {
	return &strict{Conn: secured, accepted: accepted, ended: make(chan struct{})}
}

// Read gives on what is known to be well formed.
func (s *strict) Read(p []byte) (int, error) {
	for {
		switch {
		case s.pass > 0:
			n := copy(p, s.buf[:s.pass])
			s.pass -= n
			s.drop(n)
			return n, nil
		case s.left > 0 && len(s.buf) > 0:
			n := copy(p[:min(int64(len(p)), s.left)], s.buf)
			s.left -= int64(n)
			s.drop(n)
			return n, nil
		case s.left > 0:
			n, err := s.Conn.Read(p[:min(int64(len(p)), s.left)])
			s.left -= int64(n)
			return n, err
		case s.err != nil:
			return 0, s.err
		case s.advance():
			continue
		}
		if err := s.fill(); err != nil {
			return 0, err
		}
	}
}

// drop forgets what was given on.
func (s *strict) drop(n int) {
	s.buf, s.looked = s.buf[n:], max(0, s.looked-n)
	if len(s.buf) == 0 {
		s.buf = s.store
	}
}

// fill reads more.
func (s *strict) fill() error {
	if cap(s.buf)-len(s.buf) < 1<<10 {
		s.buf = slices.Grow(append([]byte(nil), s.buf...), 4<<10)
		if s.store = s.buf[:0]; cap(s.buf) > 16<<10 {
			s.store = nil // one long head is no reason to keep so much
		}
	}
	n, err := s.Conn.Read(s.buf[len(s.buf):cap(s.buf)])
	s.buf = s.buf[:len(s.buf)+n]
	switch {
	case s.next == partNothing && err != nil && n == 0:
		s.err = err
		close(s.ended)
	case n > 0 && s.next == partHead:
		s.hurry(true)
	}
	if n > 0 {
		return nil
	}
	return err
}

// advance looks whether a part is complete, and says what may pass. It is
// false if more must be read.
func (s *strict) advance() bool {
	if len(s.buf) == 0 {
		return false
	}
	switch s.next {
	case partHead:
		return s.head()
	case partChunk:
		return s.chunk()
	case partChunkEnd:
		return s.chunkEnd()
	case partTrailer:
		return s.trailer()
	}
	s.buf = s.store // of a request after one that was refused
	return false
}

func (s *strict) head() bool {
	size, ok := s.lines(maxHeader)
	switch {
	case !ok:
		return s.refuse(refuseForm("its lines do not end in CR LF"))
	case size == 0 && len(s.buf) > maxHeader:
		return s.refuse(refuseHeader("it has more than 65536 bytes"))
	case size == 0:
		return false
	}
	framing, why := frame(s.buf[:size])
	if why != nil {
		return s.refuse(why)
	}
	s.hurry(false)
	s.heads++
	s.pass, s.left, s.looked = size, framing.length, 0
	if framing.chunked {
		s.next = partChunk
	}
	return true
}

// lines returns the size of the lines up to and with an empty one, 0 if that
// has not come, and whether they end as they should.
func (s *strict) lines(limit int) (size int, ok bool) {
	for s.looked < min(len(s.buf), limit) {
		i := bytes.IndexByte(s.buf[s.looked:], '\n')
		if i < 0 {
			return 0, true
		}
		if i == 0 || s.buf[s.looked+i-1] != '\r' {
			return 0, false
		}
		s.looked += i + 1
		if i == 1 {
			return s.looked, true
		}
	}
	return 0, true
}

// chunk reads a chunk's first line. What its data are, nobody needs to look at.
func (s *strict) chunk() bool {
	end := bytes.IndexByte(s.buf, '\n')
	if end < 0 && len(s.buf) <= maxChunkLine {
		return false
	}
	size, ok := chunkSize(s.buf[:max(end, 0)])
	if end < 0 || end > maxChunkLine || !ok {
		s.err = errChunk
		return true
	}
	s.pass, s.left, s.next = end+1, size, partChunkEnd
	if size == 0 {
		s.next = partTrailer
	}
	return true
}

func (s *strict) chunkEnd() bool {
	if len(s.buf) < 2 {
		return false
	}
	if s.buf[0] != '\r' || s.buf[1] != '\n' {
		s.err = errChunk
		return true
	}
	s.pass, s.next = 2, partChunk
	return true
}

func (s *strict) trailer() bool {
	size, ok := s.lines(maxHeader)
	switch {
	case !ok, size == 0 && len(s.buf) > maxHeader:
		s.err = errChunk
	case size == 0:
		return false
	default:
		s.pass, s.looked, s.next = size, 0, partHead
	}
	return true
}

// refuse puts the request that stands for a refusal in place of the one that
// has begun.
func (s *strict) refuse(why *refusal) bool {
	s.accepted.refused = why
	s.buf, s.looked, s.next = []byte(refusedRequest), 0, partNothing
	s.pass = len(s.buf)
	return true
}

// hurry gives a head that has begun its time, or ends that. The server would
// take the time for a connection without a request.
func (s *strict) hurry(begun bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hurried == begun {
		return
	}
	s.hurried = begun
	limit := s.deadline
	if soon := time.Now().Add(headerTimeout); begun && (limit.IsZero() || limit.After(soon)) {
		limit = soon
	}
	_ = s.Conn.SetReadDeadline(limit)
}

// SetReadDeadline is the server's.
func (s *strict) SetReadDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deadline, s.hurried = t, false
	return s.Conn.SetReadDeadline(t)
}

// SetDeadline is the server's.
func (s *strict) SetDeadline(t time.Time) error {
	return errors.Join(s.SetReadDeadline(t), s.SetWriteDeadline(t))
}

// CloseWrite tells the peer that nothing more comes.
func (s *strict) CloseWrite() error { return closeWrite(s.Conn) }

// linger waits a little for the client to stop sending after a refusal: a
// connection that is closed with something unread may take the answer with it.
func (s *strict) linger() {
	_ = s.CloseWrite()
	timer := time.NewTimer(500 * time.Millisecond)
	defer timer.Stop()
	select {
	case <-s.ended:
	case <-timer.C:
	}
}
