package gateway

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// world is an HTTPS and an HTTP server that stand for the internet: dialling
// any public name leads to them.
type world struct {
	secure, plain *httptest.Server
	dialled       atomic.Value // the last address
}

func newWorld(t *testing.T) *world {
	t.Helper()
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		_, _ = fmt.Fprintf(w, "world %s%s %q", r.Host, r.URL.Path, r.Header.Get("Proxy-Authorization"))
	})
	w := &world{secure: httptest.NewUnstartedServer(h), plain: httptest.NewServer(h)}
	w.secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	w.secure.StartTLS()
	t.Cleanup(w.secure.Close)
	t.Cleanup(w.plain.Close)
	return w
}

func (w *world) dial(ctx context.Context, network, address string) (net.Conn, error) {
	w.dialled.Store(address)
	target := w.plain.Listener.Addr().String()
	switch {
	case strings.HasSuffix(address, ":443"):
		target = w.secure.Listener.Addr().String()
	case strings.HasPrefix(address, "nowhere."):
		return nil, errors.New("no such host")
	case strings.HasPrefix(address, "127."):
		target = address // an upstream proxy
	}
	return (&net.Dialer{}).DialContext(ctx, network, target)
}

// clientOf trusts the gateway's authority and the world's server, whose
// certificate is for example.com.
func clientOf(t *testing.T, r *running, w *world) *http.Client {
	t.Helper()
	c := r.client(t)
	c.Transport.(*http.Transport).TLSClientConfig.RootCAs.AddCert(w.secure.Certificate())
	return c
}

func TestOtherNamesPassThrough(t *testing.T) {
	w := newWorld(t)
	r := start(t, Config{Dial: w.dial})
	c := clientOf(t, r, w)
	if got := get(t, c, "https://example.com/simple/"); got != `world example.com/simple/ ""` {
		t.Errorf("https: %q", got)
	}
	if w.dialled.Load() != "example.com:443" {
		t.Errorf("dialled %v", w.dialled.Load())
	}
	// The certificate is the world's own: the gateway does not look inside.
	resp, err := c.Get("https://example.com/")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if got := resp.TLS.PeerCertificates[0]; !got.Equal(w.secure.Certificate()) {
		t.Errorf("certificate of %v", got.Subject)
	}
	req, _ := http.NewRequest("GET", "http://example.com:8080/plain", nil)
	req.Header.Set("Proxy-Authorization", "Basic c2VjcmV0")
	resp, err = c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if got := body(t, resp); got != `world example.com:8080/plain ""` {
		t.Errorf("http: %q", got)
	}
}

func TestUnreachableNameIsABadGateway(t *testing.T) {
	w := newWorld(t)
	r := start(t, Config{Dial: w.dial})
	resp := r.raw(t, "CONNECT nowhere.example:80 HTTP/1.1\r\nHost: nowhere.example:80\r\n\r\n")
	if resp.StatusCode != 502 || !strings.Contains(resp.Status, "no such host") {
		t.Error(resp.Status)
	}
	resp = r.raw(t, "GET http://nowhere.example/ HTTP/1.1\r\nHost: nowhere.example\r\n\r\n")
	if text := body(t, resp); resp.StatusCode != 502 || !strings.Contains(text, "no such host") {
		t.Errorf("%s: %s", resp.Status, text)
	}
}

func TestAzureNamesNeverPass(t *testing.T) {
	w := newWorld(t)
	r := start(t, Config{Dial: w.dial, Face: echo()})
	for _, host := range []string{"management.azure.com", "LOGIN.microsoftonline.com.", "a.blob.core.windows.net", "graph.microsoft.com"} {
		for _, request := range []string{
			"CONNECT " + host + ":443 HTTP/1.1\r\nHost: example.com\r\n\r\n",
			"CONNECT " + host + ":8443 HTTP/1.1\r\nHost: example.com\r\n\r\n",
			"GET http://" + host + "/ HTTP/1.1\r\nHost: example.com\r\n\r\n",
		} {
			if resp := r.raw(t, request); resp.StatusCode != 403 && resp.StatusCode != 400 {
				t.Errorf("%q: %s", request, resp.Status)
			}
		}
	}
	if got := w.dialled.Load(); got != nil {
		t.Errorf("dialled %v", got)
	}
}

func TestTunnelCarriesBothDirectionsToTheirEnd(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	go func() { // reads to the end, then answers: needs the half-close
		c, err := l.Accept()
		if err != nil {
			return
		}
		data, _ := io.ReadAll(c)
		_, _ = fmt.Fprintf(c, "got %d bytes", len(data))
		_ = c.Close()
	}()
	r := start(t, Config{Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, l.Addr().String())
	}})
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	// The first bytes come in one piece with the request.
	_, _ = io.WriteString(c, "CONNECT git.example:22 HTTP/1.1\r\nHost: git.example:22\r\n\r\nearly")
	_, _ = c.Write(make([]byte, 1<<20))
	_ = c.(*net.TCPConn).CloseWrite()
	in := bufio.NewReader(c)
	resp, err := http.ReadResponse(in, &http.Request{Method: "CONNECT"})
	if err != nil || resp.StatusCode != 200 {
		t.Fatal(resp, err)
	}
	if rest, err := io.ReadAll(in); err != nil || string(rest) != "got 1048581 bytes" {
		t.Errorf("%q, %v", rest, err)
	}
}

func TestShutdownEndsTunnels(t *testing.T) {
	w := newWorld(t)
	r := start(t, Config{Dial: w.dial})
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if resp := ask(t, c, "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n"); resp.StatusCode != 200 {
		t.Fatal(resp.Status)
	}
	if err := r.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-r.served; err != nil {
		t.Error(err)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("tunnel after shutdown: %v", err)
	}
}

// upstream is a proxy that wants a password.
func upstream(t *testing.T, w *world, seen *atomic.Int32) *url.URL {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Proxy-Authorization") != "Basic bWU6cHc=" {
			rw.WriteHeader(http.StatusProxyAuthRequired)
			return
		}
		seen.Add(1)
		if r.Method != http.MethodConnect {
			_, _ = fmt.Fprintf(rw, "upstream %s", r.URL)
			return
		}
		far, err := w.dial(r.Context(), "tcp", r.RequestURI)
		if err != nil {
			rw.WriteHeader(http.StatusBadGateway)
			return
		}
		near, _, err := http.NewResponseController(rw).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.WriteString(near, "HTTP/1.1 200 OK\r\n\r\n")
		go func() { _, _ = io.Copy(far, near); _ = far.Close() }()
		_, _ = io.Copy(near, far)
		_ = near.Close()
	}))
	t.Cleanup(srv.Close)
	u, _ := url.Parse(srv.URL)
	u.User = url.UserPassword("me", "pw")
	return u
}

func TestUsersOwnProxyStaysInForce(t *testing.T) {
	w := newWorld(t)
	var seen atomic.Int32
	proxy := upstream(t, w, &seen)
	var dialled []string
	r := start(t, Config{
		Upstream: func(u *url.URL) (*url.URL, error) {
			if u.Hostname() == "direct.example.com" { // as NO_PROXY would say
				return nil, nil
			}
			return proxy, nil
		},
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			dialled = append(dialled, address)
			return w.dial(ctx, network, address)
		},
	})
	c := clientOf(t, r, w)
	if got := get(t, c, "https://example.com/x"); !strings.HasPrefix(got, "world example.com/x") || seen.Load() != 1 {
		t.Errorf("https: %q, upstream saw %d", got, seen.Load())
	}
	if got := get(t, c, "http://example.com/y"); got != "upstream http://example.com/y" {
		t.Errorf("http: %q", got)
	}
	if got := get(t, c, "http://direct.example.com/z"); !strings.HasPrefix(got, "world direct.example.com/z") || seen.Load() != 2 {
		t.Errorf("exception: %q, upstream saw %d", got, seen.Load())
	}
	if len(dialled) != 3 || dialled[0] != proxy.Host || dialled[1] != proxy.Host || dialled[2] != "direct.example.com:80" {
		t.Errorf("dialled %q", dialled)
	}
}

func TestUpstreamProxyThatRefusesIsNamedWithoutItsPassword(t *testing.T) {
	w := newWorld(t)
	var seen atomic.Int32
	proxy := upstream(t, w, &seen)
	proxy.User = url.UserPassword("me", "wrong-canary")
	r := start(t, Config{Dial: w.dial, Upstream: func(*url.URL) (*url.URL, error) { return proxy, nil }})
	resp := r.raw(t, "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n")
	text := body(t, resp)
	if resp.StatusCode != 502 || !strings.Contains(text, "407") || !strings.Contains(text, proxy.Host) {
		t.Errorf("%s: %s", resp.Status, text)
	}
	if strings.Contains(resp.Status+text+r.log.String(), "canary") {
		t.Error("the proxy's password got out")
	}
}

// The platform started from a shell that already points at it must not be its
// own upstream.
func TestGatewayIsNotItsOwnUpstream(t *testing.T) {
	w := newWorld(t)
	var self atomic.Pointer[url.URL]
	r := start(t, Config{Dial: w.dial, Upstream: func(*url.URL) (*url.URL, error) { return self.Load(), nil }})
	_, port, _ := net.SplitHostPort(r.addr)
	for _, host := range []string{r.addr, "localhost:" + port} {
		self.Store(&url.URL{Scheme: "http", Host: host})
		c := clientOf(t, r, w)
		if got := get(t, c, "https://example.com/"); !strings.HasPrefix(got, "world") {
			t.Errorf("%s: %q", host, got)
		}
	}
}

func TestUpstreamFromEnvironment(t *testing.T) {
	if _, err := UpstreamFromEnvironment()(&url.URL{Scheme: "https", Host: "example.com:443"}); err != nil {
		t.Error(err)
	}
}

func TestNoNameLeadsToThisMachine(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	out := newOutbound(nil, nil, func(string, string) bool { return false })
	// What a name resolves to is known to the dialer only; "localhost" stands
	// for any such name here, past the check of names.
	for _, target := range []string{"localhost:" + port, "127.0.0.1:" + port, "[::ffff:127.0.0.1]:" + port} {
		c, err := out.tunnel(t.Context(), target)
		if err == nil {
			_ = c.Close()
			t.Errorf("%s was reached", target)
		} else if !strings.Contains(err.Error(), "where the proxy does not lead") {
			t.Errorf("%s: %v", target, err)
		}
	}
}

// remoteListener makes connections look as if they came from another machine.
type remoteListener struct{ net.Listener }

type remoteConn struct{ net.Conn }

func (remoteConn) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 1234} }

func (l remoteListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return remoteConn{c}, nil
}

func TestGatewayOnANetworkIsNoOpenProxy(t *testing.T) {
	w := newWorld(t)
	for _, allowed := range []bool{false, true} {
		r := start(t, Config{Dial: w.dial, EgressRemote: allowed})
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		go func() { _ = r.Serve(t.Context(), remoteListener{l}) }()
		r.addr = l.Addr().String()
		for _, request := range []string{
			"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n", "GET http://example.com/ HTTP/1.1\r\nHost: example.com\r\n\r\n",
		} {
			if resp := r.raw(t, request); (resp.StatusCode == 200) != allowed {
				t.Errorf("allowed %v, %q: %s", allowed, request, resp.Status)
			}
		}
		if got := get(t, r.client(t), "https://management.azure.com/"); !strings.HasPrefix(got, "GET") {
			t.Errorf("a face for a remote client: %q", got)
		}
	}
}

// What is asked in plain HTTP carries tokens that others could read on the way.
func TestPlainPathsAreForThisMachine(t *testing.T) {
	r := start(t, Config{Plain: map[string]http.Handler{"/metrics": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "shown")
	})}})
	const request = "GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
	if resp := r.raw(t, request); resp.StatusCode != 200 || body(t, resp) != "shown" {
		t.Errorf("from here: %s", resp.Status)
	}
	for _, host := range []string{"localhost:80", "[::1]:80", "127.0.0.1:34987", "management.lapis.localhost", "LOCALHOST."} {
		if resp := r.raw(t, strings.Replace(request, "127.0.0.1", host, 1)); resp.StatusCode != 200 || body(t, resp) != "shown" {
			t.Errorf("as %s: %s", host, resp.Status)
		}
	}
	// A name of somebody else's that leads here: their page must not be ours.
	for _, host := range []string{"rebound.example.org", "rebound.example.org:34987", "localhost.example.org", "127.0.0.1.example.org", "notlocalhost", "management.azure.com"} {
		if resp := r.raw(t, strings.Replace(request, "127.0.0.1", host, 1)); resp.StatusCode != 421 || strings.Contains(body(t, resp), "shown") {
			t.Errorf("as %s: %s", host, resp.Status)
		}
	}
	r.log.expect(t, "HostNotAllowed")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = r.Serve(t.Context(), remoteListener{l}) }()
	r.addr = l.Addr().String()
	if resp := r.raw(t, request); resp.StatusCode != 403 || !strings.Contains(body(t, resp), "https") {
		t.Errorf("from another machine: %s", resp.Status)
	}
	r.log.expect(t, "HttpsRequired")
}

func TestFacesLearnThePasswordForTheProxy(t *testing.T) {
	r := start(t, Config{Face: func(string) (http.Handler, bool) {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, ProxyPassword(r)) }), true
	}})
	for _, c := range []struct {
		user *url.Userinfo
		want string
	}{{nil, ""}, {url.User("instance"), ""}, {url.UserPassword("instance", "k1"), "k1"}} {
		client := r.client(t)
		client.Transport.(*http.Transport).Proxy = http.ProxyURL(&url.URL{Scheme: "http", Host: r.addr, User: c.user})
		if got := get(t, client, "https://management.azure.com/"); got != c.want {
			t.Errorf("%v: %q, want %q", c.user, got, c.want)
		}
	}
	if strings.Contains(r.log.String(), "k1") {
		t.Error("the log holds the password")
	}
}
