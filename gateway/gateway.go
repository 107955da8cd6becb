package gateway

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"sync"
	"time"
)

const (
	headerTimeout = 10 * time.Second // first byte, TLS handshake, request header
	idleTimeout   = 2 * time.Minute
	maxHeader     = 64 << 10
	maxStreams    = 250              // of a connection of HTTP/2
	pingTimeout   = 30 * time.Second // before such a connection is asked whether anybody is there, and for the answer
	dialTimeout   = 30 * time.Second
)

// Config says what a Gateway is made of.
type Config struct {
	// Face gives the handler that answers a host name (lower-case, no port).
	// "localhost" is asked for TLS without a server name.
	Face func(host string) (http.Handler, bool)
	// Quick tells hosts whose requests are many, small and answered soon: over
	// HTTP/1 they are served by package http1. nil means none.
	Quick func(host string) bool
	// AzureName tells names that never pass out, even if no face answers them.
	// nil means [DefaultAzureName].
	AzureName func(host string) bool
	CA        *CA
	Egress    Egress
	// EgressRemote lets clients on other machines pass through as well. Without
	// it a gateway that listens on a network is no open proxy.
	EgressRemote bool
	// Upstream gives the proxy, if any, through which a URL that passes out is
	// reached; see [UpstreamFromEnvironment]. nil means none.
	Upstream func(*url.URL) (*url.URL, error)
	// Dial opens connections that pass out and those to upstream proxies. nil
	// means a dialer that refuses this machine and metadata addresses, whatever
	// a name resolves to.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Plain answers paths that are asked for in plain HTTP at the gateway's own
	// address, by clients of this machine and not by names of others.
	Plain map[string]http.Handler
	Log   *slog.Logger // nil: none
}

// Gateway serves the port. Make it with [New].
type Gateway struct {
	rules
	quick        func(host string) bool
	ca           *CA
	egressRemote bool
	log          *slog.Logger
	out          *outbound
	plain        map[string]http.Handler

	mu    sync.Mutex
	doors map[*door]bool
	ended bool
}

// New returns a gateway that serves nothing yet.
func New(cfg Config) *Gateway {
	g := &Gateway{
		rules:        rules{cfg.Face, cfg.AzureName, cfg.Egress},
		quick:        cfg.Quick,
		ca:           cfg.CA,
		egressRemote: cfg.EgressRemote,
		log:          cfg.Log,
		plain:        cfg.Plain,
		doors:        map[*door]bool{},
	}
	if g.face == nil {
		g.face = func(string) (http.Handler, bool) { return nil, false }
	}
	if g.quick == nil {
		g.quick = func(string) bool { return false }
	}
	if g.azure == nil {
		g.azure = DefaultAzureName
	}
	if g.log == nil {
		g.log = slog.New(slog.DiscardHandler)
	}
	g.out = newOutbound(cfg.Upstream, cfg.Dial, g.isOwnAddress)
	return g
}

// Serve answers the connections of a listener until Shutdown, or until ctx
// ends, which breaks off what is running. It closes the listener, and returns
// when nothing of it runs any more: nil in both cases. It may be called for
// several listeners.
func (g *Gateway) Serve(ctx context.Context, l net.Listener) error {
	d := newDoor(ctx, g, l)
	g.mu.Lock()
	if g.ended {
		g.mu.Unlock()
		return errors.Join(http.ErrServerClosed, l.Close())
	}
	g.doors[d] = true
	g.mu.Unlock()
	err := d.serve()
	g.mu.Lock()
	delete(g.doors, d)
	g.mu.Unlock()
	return err
}

// Shutdown takes no new connections, waits for running requests, then closes
// tunnels, and returns when nothing of them runs any more. When ctx ends first,
// it breaks off what is left and returns ctx's error.
func (g *Gateway) Shutdown(ctx context.Context) error {
	g.mu.Lock()
	g.ended = true
	var doors []*door
	for d := range g.doors {
		doors = append(doors, d)
	}
	g.mu.Unlock()
	errs := make([]error, len(doors))
	var wg sync.WaitGroup
	for i, d := range doors {
		wg.Go(func() {
			errs[i] = d.shutdown(ctx)
			<-d.ended
		})
	}
	wg.Wait()
	g.out.close()
	return errors.Join(errs...)
}

// isOwnAddress tells the address of a listener of ours: the user's proxy
// variables name it when the platform is started from its own shell.
func (g *Gateway) isOwnAddress(host, port string) bool {
	ip, err := netip.ParseAddr(host)
	if err != nil && host != "localhost" {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for d := range g.doors {
		addr, err := netip.ParseAddrPort(d.listener.Addr().String())
		if err != nil || strconv.Itoa(int(addr.Port())) != port {
			continue
		}
		own := addr.Addr().Unmap()
		here := host == "localhost" || ip.IsLoopback()
		if own == ip || (here && (own.IsLoopback() || own.IsUnspecified())) {
			return true
		}
	}
	return false
}

// refused writes the one log line of a request or connection that got no further.
func (g *Gateway) refused(host, remote string, why *refusal) {
	g.log.Warn("gateway refused", "host", clip(host), "remote", remote, "code", why.code, "reason", why.message)
}
