// Package http1 serves HTTP/1.1 where requests are many, small and answered
// soon.
//
// The server of net/http has a second goroutine look after each request's
// connection, in case the client leaves, and sets three deadlines a request.
// For one that is answered in a hundred microseconds this is a fifth of what
// it costs. Here a connection has one goroutine, a client is watched for
// leaving once its request has lasted for [watchAfter], and a deadline is set
// only before something is read that has not come yet.
//
// Heads and bodies of requests are parsed by net/http, and handlers are
// http.Handlers; a writer has what [http.ResponseController] asks for, but for
// Hijack and full duplex. Two things differ: a request's context ends with its
// connection, not with the handler, and what requests must not look like
// (several lengths, several hosts) is for whoever accepts the connections to
// refuse.
package http1

import (
	"bufio"
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Server answers the connections that it is given. Its fields are set before
// the first one; the zero value of each but Handler has a meaning.
type Server struct {
	Handler       http.Handler
	HeaderTimeout time.Duration // from the first byte of a head to its last; 0 means 10 s
	IdleTimeout   time.Duration // between requests, within an eighth; 0 means 2 min
	MaxHeader     int           // bytes of a head, about; 0 means 64 KiB
	Log           *slog.Logger  // of handlers that panic; nil means none

	closing atomic.Bool
	mu      sync.Mutex
	conns   map[*conn]struct{}
	none    chan struct{} // made by Shutdown, closed when the last one has ended
}

const (
	headerTimeout = 10 * time.Second
	idleTimeout   = 2 * time.Minute
	maxHeader     = 64 << 10
)

// ServeConn answers requests until the connection ends, and closes it. Every
// request has a context of ctx that also ends with the connection.
func (s *Server) ServeConn(ctx context.Context, peer net.Conn) {
	c := &conn{server: s, peer: peer, source: source{peer: peer}, remote: peer.RemoteAddr().String()}
	if !s.begin(c) {
		_ = peer.Close()
		return
	}
	defer s.end(c)
	c.ctx, c.gone = context.WithCancel(ctx)
	defer c.gone()
	defer peer.Close()
	c.in, c.out = bufio.NewReader(&c.source), bufio.NewWriter(&sink{c})
	c.watch.init(c)
	c.serve()
}

func (s *Server) begin(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing.Load() {
		return false
	}
	if s.conns == nil {
		s.conns = map[*conn]struct{}{}
	}
	s.conns[c] = struct{}{}
	return true
}

func (s *Server) end(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	if len(s.conns) == 0 && s.none != nil {
		close(s.none)
		s.none = nil
	}
}

// Shutdown closes connections without a request at once and the others after
// their answers, and returns when none is left. When ctx ends first, it closes
// those too, and returns ctx's error.
func (s *Server) Shutdown(ctx context.Context) error {
	s.closing.Store(true)
	s.mu.Lock()
	var none chan struct{}
	if len(s.conns) > 0 {
		if s.none == nil {
			s.none = make(chan struct{})
		}
		none = s.none
	}
	for c := range s.conns {
		c.closeIfIdle()
	}
	s.mu.Unlock()
	if none == nil {
		return nil
	}
	select {
	case <-none:
		return nil
	case <-ctx.Done():
		s.Close()
		return ctx.Err()
	}
}

// Close closes all connections, whatever goes on in them. It does not wait.
func (s *Server) Close() {
	s.closing.Store(true)
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		_ = c.peer.Close()
	}
}
