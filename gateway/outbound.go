package gateway

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"syscall"
	"time"
)

// outbound is the way to names that pass out, directly or through the proxy
// that the user already has.
type outbound struct {
	upstream func(*url.URL) (*url.URL, error)
	direct   dialFunc
	toProxy  dialFunc

	// For plain HTTP; their pools are shared by all clients.
	transport      *http.Transport
	proxyTransport *http.Transport
}

type dialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

// UpstreamFromEnvironment gives the proxies of HTTP_PROXY, HTTPS_PROXY and
// NO_PROXY as the process was started with them.
func UpstreamFromEnvironment() func(*url.URL) (*url.URL, error) {
	return func(u *url.URL) (*url.URL, error) { return http.ProxyFromEnvironment(&http.Request{URL: u}) }
}

// newOutbound takes own to tell the platform's own port, which must not be its
// own upstream.
func newOutbound(upstream func(*url.URL) (*url.URL, error), dial dialFunc, own func(host, port string) bool) *outbound {
	o := &outbound{direct: dial, toProxy: dial}
	o.upstream = func(u *url.URL) (*url.URL, error) {
		if upstream == nil {
			return nil, nil
		}
		proxy, err := upstream(u)
		if err != nil || proxy == nil || own(proxy.Hostname(), proxyPort(proxy)) {
			return nil, err
		}
		return proxy, nil
	}
	if dial == nil {
		o.direct = (&net.Dialer{Timeout: dialTimeout, ControlContext: guardDial}).DialContext
		o.toProxy = (&net.Dialer{Timeout: dialTimeout}).DialContext // the user's own proxy may well be local
	}
	o.transport = transport(nil, o.direct)
	o.proxyTransport = transport(func(r *http.Request) (*url.URL, error) { return o.upstream(r.URL) }, o.toProxy)
	return o
}

func transport(proxy func(*http.Request) (*url.URL, error), dial dialFunc) *http.Transport {
	return &http.Transport{
		Proxy:               proxy,
		DialContext:         dial,
		DisableCompression:  true, // bodies pass as they are
		MaxIdleConns:        100,
		MaxIdleConnsPerHost: 8,
		IdleConnTimeout:     90 * time.Second,
	}
}

// guardDial sees the address after the name was resolved, so that no name
// leads to this machine.
func guardDial(_ context.Context, _, address string, _ syscall.RawConn) error {
	addr, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	if guardedAddress(addr.Addr()) {
		return fmt.Errorf("it resolves to %s, where the proxy does not lead", addr.Addr())
	}
	return nil
}

// tunnel opens a connection to host:port.
func (o *outbound) tunnel(ctx context.Context, target string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	proxy, err := o.upstream(&url.URL{Scheme: "https", Host: target})
	if err != nil {
		return nil, fmt.Errorf("the proxy settings are wrong: %w", err)
	}
	if proxy == nil {
		return o.direct(ctx, "tcp", target)
	}
	c, err := o.throughProxy(ctx, proxy, target)
	if err != nil {
		return nil, fmt.Errorf("through the proxy %s: %w", proxy.Host, err) // never proxy itself: it may hold a password
	}
	return c, nil
}

func (o *outbound) throughProxy(ctx context.Context, proxy *url.URL, target string) (net.Conn, error) {
	if proxy.Scheme != "http" && proxy.Scheme != "https" {
		return nil, fmt.Errorf("a proxy of kind %q is not supported, only http and https", proxy.Scheme)
	}
	c, err := o.toProxy(ctx, "tcp", net.JoinHostPort(proxy.Hostname(), proxyPort(proxy)))
	if err != nil {
		return nil, err
	}
	if proxy.Scheme == "https" {
		c = tls.Client(c, &tls.Config{ServerName: proxy.Hostname(), MinVersion: tls.VersionTLS12})
	}
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	tunnel, err := askConnect(c, proxy, target)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return tunnel, nil
}

// askConnect sends CONNECT to a proxy and reads its answer.
func askConnect(c net.Conn, proxy *url.URL, target string) (net.Conn, error) {
	request := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: target}, Host: target, Header: http.Header{}}
	if user := proxy.User; user != nil {
		password, _ := user.Password()
		credentials := base64.StdEncoding.EncodeToString([]byte(user.Username() + ":" + password))
		request.Header.Set("Proxy-Authorization", "Basic "+credentials)
	}
	if err := request.Write(c); err != nil {
		return nil, err
	}
	in := bufio.NewReader(io.LimitReader(c, maxHeader))
	answer, err := http.ReadResponse(in, request)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("it answered %s", clip(answer.Status))
	}
	early, _ := in.Peek(in.Buffered())
	return &earlyConn{Conn: c, early: early}, nil
}

// earlyConn gives first what the target sent together with the proxy's answer.
type earlyConn struct {
	net.Conn
	early []byte
}

func (c *earlyConn) Read(p []byte) (int, error) {
	if len(c.early) > 0 {
		n := copy(p, c.early)
		c.early = c.early[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}

func (c *earlyConn) CloseWrite() error { return closeWrite(c.Conn) }

func closeWrite(c net.Conn) error {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// forward sends a plain HTTP request on and copies the answer. An error means
// that nothing was written yet.
func (o *outbound) forward(w http.ResponseWriter, r *http.Request) (failure error) {
	proxy, err := o.upstream(r.URL)
	if err != nil {
		return fmt.Errorf("the proxy settings are wrong: %w", err)
	}
	way := o.transport
	if proxy != nil {
		way = o.proxyTransport
	}
	(&httputil.ReverseProxy{
		Rewrite:       func(p *httputil.ProxyRequest) { p.Out.Host = r.URL.Host },
		Transport:     way,
		FlushInterval: -1,
		ErrorLog:      log.New(io.Discard, "", 0),
		ErrorHandler:  func(_ http.ResponseWriter, _ *http.Request, err error) { failure = err },
	}).ServeHTTP(w, r)
	return failure
}

func (o *outbound) close() {
	o.transport.CloseIdleConnections()
	o.proxyTransport.CloseIdleConnections()
}

// splice copies between two connections until both directions have ended, one
// has failed, or ctx ends; then it closes both.
func splice(ctx context.Context, near *conn, far net.Conn) {
	stop := context.AfterFunc(ctx, func() { _ = errors.Join(near.Close(), far.Close()) })
	defer stop()
	ended := make(chan struct{})
	copyTo := func(to, from net.Conn) {
		if _, err := io.Copy(to, from); err != nil {
			_ = errors.Join(near.Close(), far.Close()) // wakes the other direction
			return
		}
		_ = closeWrite(to)
	}
	go func() {
		defer close(ended)
		copyTo(far, near)
	}()
	copyTo(near, far)
	<-ended
	_ = errors.Join(near.Close(), far.Close())
}

func proxyPort(proxy *url.URL) string {
	if port := proxy.Port(); port != "" {
		return port
	}
	if proxy.Scheme == "https" {
		return "443"
	}
	return "80"
}
