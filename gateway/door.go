package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"lapis/http1"
	"lapis/socket"
)

// door is what runs for one listener:
//
//	accept → first byte ┬ 0x16: TLS handshake ─────────────→ secure or quick server → face
//	                    └ else: plain server ┬ CONNECT, ours → TLS handshake ↗
//	                                         ├ CONNECT, passes out → tunnel
//	                                         └ GET http://... → forwarded
//
// The plain and the secure server are stock http.Servers over listeners that
// hand on connections; the quick one has HTTP/1 of the hosts that are [Config.Quick].
type door struct {
	gateway       *Gateway
	listener      net.Listener
	ctx           context.Context
	cancel        context.CancelFunc
	plain, secure *http.Server
	quick         *http1.Server
	toPlain       *handover
	toSecure      *handover
	tls           *tls.Config

	mu      sync.Mutex
	conns   map[*conn]bool // all that were accepted and not closed
	closing bool
	work    sync.WaitGroup // goroutines that no http.Server waits for
	stopped chan struct{}  // closed when shutdown has done its work
	ended   chan struct{}  // closed when serve has nothing left running
	once    sync.Once
}

func newDoor(ctx context.Context, g *Gateway, l net.Listener) *door {
	d := &door{
		gateway: g, listener: l,
		toPlain: newHandover(l.Addr()), toSecure: newHandover(l.Addr()),
		conns: map[*conn]bool{}, stopped: make(chan struct{}), ended: make(chan struct{}),
	}
	d.ctx, d.cancel = context.WithCancel(ctx)
	d.plain = d.server(http.HandlerFunc(d.servePlain))
	d.secure = d.server(http.HandlerFunc(d.serveSecure))
	d.quick = &http1.Server{
		Handler: http.HandlerFunc(d.serveSecure), HeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeader: maxHeader, Log: g.log,
	}
	d.tls = &tls.Config{
		MinVersion:         tls.VersionTLS12,
		NextProtos:         []string{"h2", "http/1.1"},
		GetConfigForClient: d.checkHello,
		GetCertificate:     d.certificate,
	}
	return d
}

func (d *door) server(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		HTTP2:             &http.HTTP2Config{SendPingTimeout: pingTimeout, PingTimeout: pingTimeout, MaxConcurrentStreams: maxStreams},
		ErrorLog:          slog.NewLogLogger(d.gateway.log.Handler(), slog.LevelWarn),
		BaseContext:       func(net.Listener) context.Context { return d.ctx },
		ConnContext:       withConn,
		ConnState: func(c net.Conn, state http.ConnState) {
			accepted := underlying(c)
			accepted.fresh.Store(state == http.StateNew)
			if state == http.StateNew && d.isClosing() { // too late for shutdown to find it
				_ = accepted.Close()
			}
		},
	}
}

// serve runs until everything has ended.
func (d *door) serve() error {
	defer close(d.ended)
	defer d.cancel()
	var servers sync.WaitGroup
	servers.Go(func() { _ = d.plain.Serve(d.toPlain) })
	servers.Go(func() { _ = d.secure.Serve(d.toSecure) })
	abort := context.AfterFunc(d.ctx, func() { _ = d.shutdown(d.ctx) })
	defer abort()
	err := d.accept()
	if !d.isClosing() { // the listener failed by itself
		_ = d.shutdown(d.ctx)
	}
	<-d.stopped
	servers.Wait()
	d.work.Wait()
	return err
}

// accept hands out connections until the listener ends.
func (d *door) accept() error {
	pause := 5 * time.Millisecond
	for {
		raw, err := d.listener.Accept()
		if err == nil {
			pause = 5 * time.Millisecond
			c := &conn{Conn: socket.Quick(raw), door: d}
			if !d.begin(c) {
				_ = raw.Close()
				continue
			}
			go func() {
				defer d.work.Done()
				d.sort(c)
			}()
			continue
		}
		if d.isClosing() {
			return nil
		}
		var ne net.Error
		if !errors.As(err, &ne) || errors.Is(err, net.ErrClosed) {
			return err
		}
		d.gateway.log.Error("gateway cannot accept connections, will try again", "error", err)
		select { // out of file descriptors, most often
		case <-time.After(pause):
		case <-d.ctx.Done():
		}
		pause = min(2*pause, time.Second)
	}
}

// sort looks at the first byte: a TLS record of a handshake begins with 0x16,
// which no HTTP method does.
func (d *door) sort(c *conn) {
	first := make([]byte, 1)
	_ = c.SetReadDeadline(time.Now().Add(headerTimeout))
	if _, err := c.Conn.Read(first); err != nil {
		_ = c.Close()
		return
	}
	_ = c.SetReadDeadline(time.Time{})
	c.head = first
	if first[0] == 0x16 {
		d.handshake(c)
		return
	}
	d.toPlain.push(c)
}

// handshake makes a connection the secure server's. Doing it here, not there,
// gives a log line that names the host.
func (d *door) handshake(c *conn) {
	ctx, cancel := context.WithTimeout(d.ctx, headerTimeout)
	defer cancel()
	secured := tls.Server(c, d.tls)
	if err := secured.HandshakeContext(ctx); err != nil {
		level := slog.LevelWarn
		// The client went away without a word, as some do that only look; or we did.
		if errors.Is(err, io.EOF) || d.ctx.Err() != nil {
			level = slog.LevelDebug
		}
		d.gateway.log.Log(ctx, level, "gateway: TLS handshake failed", "host", clip(c.asked), "remote", c.RemoteAddr().String(),
			"error", err, "hint", "a client that does not know the authority needs the bundle that `lapis env` names")
		_ = c.Close()
		return
	}
	state := secured.ConnectionState()
	if state.NegotiatedProtocol == "h2" {
		d.toSecure.push(secured)
		return
	}
	c.tls, c.strict = &state, newStrict(secured, c)
	if d.gateway.quick(c.asked) {
		d.quick.ServeConn(withConn(d.ctx, c.strict), c.strict)
		return
	}
	d.toSecure.push(c.strict)
}

// begin notes a connection, and work on it that no http.Server waits for; the
// caller ends that with d.work.Done. It says no once the door is closing.
func (d *door) begin(c *conn) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closing {
		return false
	}
	d.conns[c] = true
	d.work.Add(1)
	return true
}

func (d *door) isClosing() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.closing
}

// shutdown ends everything: requests may finish until ctx ends, connections
// without a request and tunnels may not.
func (d *door) shutdown(ctx context.Context) (err error) {
	d.once.Do(func() {
		d.mu.Lock()
		d.closing = true
		d.mu.Unlock()
		_ = d.listener.Close()
		// A server would wait five seconds for the first request of these.
		d.closeConns(func(c *conn) bool { return c.fresh.Load() })
		err = d.secure.Shutdown(ctx)
		err = errors.Join(err, d.plain.Shutdown(ctx), d.quick.Shutdown(ctx))
		if err != nil {
			_ = errors.Join(d.secure.Close(), d.plain.Close())
		}
		d.cancel()
		d.closeConns(func(*conn) bool { return true })
		d.toPlain.Close()
		d.toSecure.Close()
		close(d.stopped)
	})
	<-d.stopped
	return err
}

func (d *door) closeConns(which func(*conn) bool) {
	d.mu.Lock()
	var chosen []*conn
	for c := range d.conns {
		if which(c) {
			chosen = append(chosen, c)
		}
	}
	d.mu.Unlock()
	for _, c := range chosen {
		_ = c.Close()
	}
}

// conn is an accepted connection. The door knows it until it is closed.
type conn struct {
	net.Conn
	door    *door
	head    []byte      // read already, not yet given on
	connect string      // host of the CONNECT request it came through, if any
	asked   string      // host that the TLS handshake is for
	caller  string      // password that came with CONNECT; see ProxyPassword
	fresh   atomic.Bool // a server has it, and has read no request yet

	// of HTTP/1 in TLS
	tls     *tls.ConnectionState
	strict  *strict
	refused *refusal // why its last request gets no further
}

func (c *conn) Read(p []byte) (int, error) {
	if len(c.head) > 0 {
		n := copy(p, c.head)
		c.head = c.head[n:]
		return n, nil
	}
	n, err := c.Conn.Read(p)
	if n > 0 && c.connect != "" {
		ackNow(c.Conn)
	}
	return n, err
}

func (c *conn) Close() error {
	c.door.mu.Lock()
	delete(c.door.conns, c)
	c.door.mu.Unlock()
	return c.Conn.Close()
}

// CloseWrite tells the peer that nothing more comes, if the network can.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

type connKey struct{}

// withConn lets handlers find the connection of a request.
func withConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, underlying(c))
}

// underlying gives the accepted connection below what a server was handed.
func underlying(c net.Conn) *conn {
	if form, ok := c.(*strict); ok {
		c = form.Conn
	}
	if secured, ok := c.(*tls.Conn); ok {
		c = secured.NetConn()
	}
	accepted, _ := c.(*conn)
	return accepted
}

func connOf(r *http.Request) *conn {
	c, _ := r.Context().Value(connKey{}).(*conn)
	return c
}

// handover is a net.Listener whose connections come from elsewhere.
type handover struct {
	addr net.Addr
	ch   chan net.Conn
	done chan struct{}
	once sync.Once
}

func newHandover(addr net.Addr) *handover {
	return &handover{addr: addr, ch: make(chan net.Conn), done: make(chan struct{})}
}

// push gives a connection to the server, or closes it if there is none any more.
func (h *handover) push(c net.Conn) {
	select {
	case h.ch <- c:
	case <-h.done:
		_ = c.Close()
	}
}

func (h *handover) Accept() (net.Conn, error) {
	select {
	case c := <-h.ch:
		return c, nil
	case <-h.done:
		return nil, net.ErrClosed
	}
}

func (h *handover) Close() error {
	h.once.Do(func() { close(h.done) })
	return nil
}

func (h *handover) Addr() net.Addr { return h.addr }
