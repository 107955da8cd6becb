package gateway

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"path"
	"strings"
	"sync"
	"testing"
	"time"
)

// syncBuffer is a log that a test can read while it is written.
type syncBuffer struct {
	mu    sync.Mutex
	b     bytes.Buffer
	wrote chan bool // gets a value after writing, if it has none
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case s.wrote <- true:
	default:
	}
	return s.b.Write(p)
}

// expect waits until the log holds a text.
func (s *syncBuffer) expect(t *testing.T, text string) {
	t.Helper()
	for !strings.Contains(s.String(), text) {
		select {
		case <-s.wrote:
		case <-time.After(5 * time.Second):
			t.Fatalf("log lacks %q: %s", text, s)
		}
	}
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// running is a gateway under test.
type running struct {
	*Gateway
	addr   string
	log    *syncBuffer
	served chan error // Serve's result
	cancel context.CancelFunc
}

// echo answers for every name in hosts, and says what it saw.
func echo(hosts ...string) func(string) (http.Handler, bool) {
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "%s %s%s %s %d bytes", r.Method, r.Host, r.URL.RequestURI(), r.Proto, len(body))
	})
	return func(host string) (http.Handler, bool) {
		for _, known := range hosts {
			if host == known {
				return h, true
			}
		}
		return nil, false
	}
}

// onEachServer runs a test with net/http's server behind the TLS, and with http1's.
func onEachServer(t *testing.T, test func(t *testing.T)) {
	t.Run("stock", test)
	t.Run(quickly, test)
}

const quickly = "quick"

func start(t *testing.T, cfg Config) *running {
	t.Helper()
	if path.Base(t.Name()) == quickly {
		cfg.Quick = func(string) bool { return true }
	}
	if cfg.CA == nil {
		cfg.CA = newCA(t)
	}
	if cfg.Face == nil {
		cfg.Face = echo("management.azure.com", "acct.blob.core.windows.net", "arm.lapis.localhost", "localhost")
	}
	r := &running{log: &syncBuffer{wrote: make(chan bool, 1)}, served: make(chan error, 1)}
	cfg.Log = slog.New(slog.NewTextHandler(r.log, nil))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.Gateway, r.addr = New(cfg), l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	go func() { r.served <- r.Serve(ctx, l) }()
	t.Cleanup(cancel)
	return r
}

// client is an ordinary HTTP client with the gateway as its proxy.
func (r *running) client(t *testing.T) *http.Client {
	t.Helper()
	tr := &http.Transport{
		Proxy:             http.ProxyURL(&url.URL{Scheme: "http", Host: r.addr}),
		TLSClientConfig:   &tls.Config{RootCAs: pool(r.ca)},
		ForceAttemptHTTP2: true,
	}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 10 * time.Second}
}

// direct opens TLS to the port itself.
func (r *running) direct(t *testing.T, name string, protos ...string) *tls.Conn {
	t.Helper()
	c, err := tls.Dial("tcp", r.addr, &tls.Config{ServerName: name, RootCAs: pool(r.ca), NextProtos: protos})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// raw sends text to the port and reads one answer.
func (r *running) raw(t *testing.T, text string) *http.Response {
	t.Helper()
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return ask(t, c, text)
}

func ask(t *testing.T, c net.Conn, text string) *http.Response {
	t.Helper()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	method, _, _ := strings.Cut(text, " ")
	resp, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return resp
}

func body(t *testing.T, resp *http.Response) string {
	t.Helper()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return string(data)
}

func get(t *testing.T, c *http.Client, target string) string {
	t.Helper()
	resp, err := c.Get(target)
	if err != nil {
		t.Fatal(err)
	}
	return body(t, resp)
}

func TestAzureNamesAreAnsweredThroughTheProxy(t *testing.T) {
	onEachServer(t, func(t *testing.T) {
		r := start(t, Config{Egress: EgressDeny})
		c := r.client(t)
		for _, want := range []string{
			"GET management.azure.com/subscriptions?api-version=2022-12-01 HTTP/2.0 0 bytes",
			"GET acct.blob.core.windows.net/c/b HTTP/2.0 0 bytes",
			"GET arm.lapis.localhost/ HTTP/2.0 0 bytes",
		} {
			path := strings.Fields(want)[1]
			if got := get(t, c, "https://"+path); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		}
		large := bytes.NewReader(make([]byte, 5<<20))
		resp, err := c.Post("https://acct.blob.core.windows.net/c/large", "", large)
		if err != nil {
			t.Fatal(err)
		}
		if got := body(t, resp); !strings.HasSuffix(got, "5242880 bytes") {
			t.Errorf("upload: %q", got)
		}
	})
}

func TestConnectionsAreKeptForManyRequests(t *testing.T) {
	onEachServer(t, func(t *testing.T) {
		r := start(t, Config{})
		var dialled int
		tr := &http.Transport{
			Proxy:           http.ProxyURL(&url.URL{Scheme: "http", Host: r.addr}),
			TLSClientConfig: &tls.Config{RootCAs: pool(r.ca)}, // HTTP/1.1
			DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				dialled++
				return (&net.Dialer{}).DialContext(ctx, network, addr)
			},
		}
		defer tr.CloseIdleConnections()
		for i := range 500 {
			path := fmt.Sprintf("management.azure.com/%d", i)
			if got := get(t, &http.Client{Transport: tr}, "https://"+path); got != "GET "+path+" HTTP/1.1 0 bytes" {
				t.Fatalf("answer %d: %q", i, got)
			}
		}
		if dialled != 1 {
			t.Errorf("%d connections for 500 requests", dialled)
		}
	})
}

func TestOwnNamesAreAnsweredDirectly(t *testing.T) {
	onEachServer(t, func(t *testing.T) {
		r := start(t, Config{})
		for _, c := range []struct{ sni, host, want string }{
			{"arm.lapis.localhost", "arm.lapis.localhost:4433", "GET arm.lapis.localhost:4433/ HTTP/1.1 0 bytes"},
			{"management.azure.com", "Management.Azure.com", "GET Management.Azure.com/ HTTP/1.1 0 bytes"}, // DNS points here
			{"127.0.0.1", "127.0.0.1:1", "GET 127.0.0.1:1/ HTTP/1.1 0 bytes"},                              // sends no SNI
			{"localhost", "localhost:1", "GET localhost:1/ HTTP/1.1 0 bytes"},
		} {
			resp := ask(t, r.direct(t, c.sni), "GET / HTTP/1.1\r\nHost: "+c.host+"\r\n\r\n")
			if got := body(t, resp); got != c.want {
				t.Errorf("%s: %q", c.sni, got)
			}
		}
	})
}

func TestHostMustBeTheNameOfTheConnection(t *testing.T) {
	onEachServer(t, func(t *testing.T) {
		r := start(t, Config{})
		for _, c := range []struct {
			sni, host string
			status    int
			code      string
		}{
			{"management.azure.com", "acct.blob.core.windows.net", 421, "HostMismatch"},
			{"management.azure.com", "127.0.0.1", 421, "HostMismatch"},
			{"127.0.0.1", "management.azure.com", 421, "HostMismatch"},
			{"localhost", "10.0.0.1", 421, "HostMismatch"},
			{"management.azure.com", "management.azure.com.evil.org", 421, "HostMismatch"},
			{"management.azure.com", "a@management.azure.com", 400, "InvalidTarget"},
			{"management.azure.com", "management.azure.com:99999", 400, "InvalidTarget"},
			{"vault.azure.net", "vault.azure.net", 403, "NameNotServed"},
		} {
			resp := ask(t, r.direct(t, c.sni), "GET / HTTP/1.1\r\nHost: "+c.host+"\r\n\r\n")
			code := resp.Header.Get("x-lapis-refused")
			if code == "" && resp.StatusCode == http.StatusBadRequest {
				code = c.code // net/http refuses some by itself
			}
			if resp.StatusCode != c.status || code != c.code {
				t.Errorf("%s for %s: %s %q", c.host, c.sni, resp.Status, code)
			}
		}
		r.log.expect(t, "code=HostMismatch")
	})
}

func TestHandshakeMustBeForTheNameOfConnect(t *testing.T) {
	r := start(t, Config{})
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if resp := ask(t, c, "CONNECT management.azure.com:443 HTTP/1.1\r\nHost: management.azure.com:443\r\n\r\n"); resp.StatusCode != 200 {
		t.Fatal(resp.Status)
	}
	err = tls.Client(c, &tls.Config{ServerName: "acct.blob.core.windows.net", RootCAs: pool(r.ca)}).Handshake()
	if err == nil {
		t.Error("handshake for another name")
	}
	r.log.expect(t, "CONNECT asked for management.azure.com")
}

func TestRefusalsSayWhy(t *testing.T) {
	r := start(t, Config{Egress: EgressDeny})
	connect := func(target string) string { return "CONNECT " + target + " HTTP/1.1\r\nHost: " + target + "\r\n\r\n" }
	plain := func(target string) string { return "GET " + target + " HTTP/1.1\r\nHost: x\r\n\r\n" }
	for _, c := range []struct {
		request string
		status  int
		code    string
		says    string
	}{
		{connect("other.vault.azure.net:443"), 403, "AzureNameNotServed", "never passes"},
		{connect("pypi.org:443"), 403, "EgressDenied", "--egress allow"},
		{connect("127.0.0.1:22"), 403, "AddressNotAllowed", "NO_PROXY"},
		{connect("[::ffff:127.0.0.1]:22"), 403, "AddressNotAllowed", "NO_PROXY"},
		{connect("localhost:443"), 403, "AddressNotAllowed", "NO_PROXY"},
		{connect("169.254.169.254:80"), 403, "AddressNotAllowed", "metadata"},
		{connect("127.1:80"), 400, "InvalidTarget", "number"},
		{connect("management.azure.com"), 400, "InvalidTarget", "port"},
		{plain("http://management.azure.com/x"), 400, "HttpsRequired", "https://management.azure.com"},
		{plain("http://other.azure.com/x"), 400, "HttpsRequired", "https"},
		{plain("http://pypi.org/simple"), 403, "EgressDenied", "--egress allow"},
		{plain("http://169.254.169.254/metadata/identity"), 403, "AddressNotAllowed", "metadata"},
		{plain("https://management.azure.com/"), 400, "InvalidTarget", "CONNECT"},
		{plain("ftp://example.org/"), 400, "InvalidTarget", "CONNECT"},
	} {
		resp := r.raw(t, c.request)
		var answer struct {
			Error struct{ Code, Message string }
		}
		data := body(t, resp)
		if err := json.Unmarshal([]byte(data), &answer); err != nil {
			t.Errorf("%q: body %q: %v", c.request, data, err)
			continue
		}
		if resp.StatusCode != c.status || answer.Error.Code != c.code || resp.Header.Get("x-lapis-refused") != c.code ||
			!strings.Contains(answer.Error.Message, c.says) {
			t.Errorf("%q: %s %+v", c.request, resp.Status, answer)
		}
		if strings.HasPrefix(c.request, "CONNECT") && !strings.Contains(resp.Status, c.says) {
			t.Errorf("%q: the status line says only %q", c.request, resp.Status)
		}
	}
	if n := strings.Count(r.log.String(), "gateway refused"); n != 14 {
		t.Errorf("%d log lines for 14 refusals:\n%s", n, r.log)
	}
}

func TestClientSeesTheReason(t *testing.T) {
	r := start(t, Config{})
	_, err := r.client(t).Get("https://graph.windows.net/")
	if err == nil || !strings.Contains(err.Error(), "never passes a request for an Azure name out") {
		t.Errorf("error: %v", err)
	}
}

func TestPortDescribesItself(t *testing.T) {
	r := start(t, Config{})
	resp := r.raw(t, "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
	if text := body(t, resp); resp.StatusCode != 200 || !strings.Contains(text, "lapis env") {
		t.Errorf("%s: %q", resp.Status, text)
	}
	if resp := r.raw(t, "POST /subscriptions HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"); resp.StatusCode != 400 {
		t.Error(resp.Status)
	}
}

func TestBadBytesAreRefused(t *testing.T) {
	onEachServer(t, func(t *testing.T) {
		r := start(t, Config{})
		for _, text := range []string{
			"nonsense\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "CONNECT HTTP/1.1\r\n\r\n", "CONNECT / HTTP/1.1\r\nHost: x\r\n\r\n", "CONNECT a@b:1 HTTP/1.1\r\nHost: x\r\n\r\n",
		} {
			if resp := r.raw(t, text); resp.StatusCode < 400 || resp.StatusCode > 499 && resp.StatusCode != 505 {
				t.Errorf("%q: %s", text, resp.Status)
			}
		}
		resp := r.raw(t, "GET / HTTP/1.1\r\nHost: x\r\nX-Long: "+strings.Repeat("a", maxHeader+8<<10)+"\r\n\r\n")
		if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("long header: %s", resp.Status)
		}
		// TLS that is none.
		c, err := net.Dial("tcp", r.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		_, _ = c.Write([]byte{0x16, 3, 1, 0, 5, 1, 2, 3, 4, 5})
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		if _, err := io.ReadAll(c); errors.Is(err, context.DeadlineExceeded) {
			t.Error("broken handshake was not ended")
		}
	})
}

func TestUntrustingClientIsLoggedWithAHint(t *testing.T) {
	r := start(t, Config{})
	tr := &http.Transport{Proxy: http.ProxyURL(&url.URL{Scheme: "http", Host: r.addr}), TLSClientConfig: &tls.Config{RootCAs: pool(newCA(t))}}
	if _, err := (&http.Client{Transport: tr}).Get("https://management.azure.com/"); err == nil {
		t.Fatal("another authority was accepted")
	}
	r.log.expect(t, "host=management.azure.com")
	r.log.expect(t, "lapis env")
}

func TestShutdownLetsRequestsFinish(t *testing.T) {
	onEachServer(t, func(t *testing.T) {
		inside, release := make(chan bool), make(chan bool)
		slow := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			close(inside)
			<-release
			_, _ = io.WriteString(w, "finished")
		})
		r := start(t, Config{Face: func(host string) (http.Handler, bool) { return slow, host == "management.azure.com" }})
		answer := make(chan string)
		go func() {
			resp, err := r.client(t).Get("https://management.azure.com/")
			if err != nil {
				answer <- err.Error()
				return
			}
			answer <- body(t, resp)
		}()
		<-inside
		idle, err := net.Dial("tcp", r.addr) // says nothing
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = idle.Close() }()
		ended := make(chan error)
		go func() { ended <- r.Shutdown(context.Background()) }()
		for { // until no new connection is taken
			c, err := net.Dial("tcp", r.addr)
			if err != nil {
				break
			}
			_ = c.Close()
		}
		close(release)
		if got := <-answer; got != "finished" {
			t.Errorf("answer: %q", got)
		}
		if err := <-ended; err != nil {
			t.Errorf("shutdown: %v", err)
		}
		select {
		case err := <-r.served:
			if err != nil {
				t.Errorf("serve: %v", err)
			}
		case <-time.After(headerTimeout / 2):
			t.Error("a connection that says nothing holds up the end")
		}
		if _, err := idle.Read(make([]byte, 1)); err == nil {
			t.Error("the idle connection is open")
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Serve(t.Context(), l); !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("serve after shutdown: %v", err)
		}
	})
}

func TestShutdownDoesNotWaitForConnectionsWithoutARequest(t *testing.T) {
	onEachServer(t, func(t *testing.T) {
		r := start(t, Config{})
		c := r.direct(t, "management.azure.com", "http/1.1")
		plain, err := net.Dial("tcp", r.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = plain.Close() }()
		_, _ = io.WriteString(plain, "GET / HT") // never goes on
		begun := time.Now()
		if err := r.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if err := <-r.served; err != nil || time.Since(begun) > 2*time.Second {
			t.Errorf("it took %v, %v", time.Since(begun), err)
		}
		for _, c := range []net.Conn{c, plain} {
			if _, err := c.Read(make([]byte, 1)); err == nil {
				t.Error("connection is open")
			}
		}
	})
}

func TestShutdownHasADeadline(t *testing.T) {
	onEachServer(t, func(t *testing.T) {
		inside := make(chan bool)
		stuck := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			close(inside)
			<-r.Context().Done()
		})
		for _, how := range []string{"shutdown", "context"} {
			inside = make(chan bool)
			r := start(t, Config{Face: func(string) (http.Handler, bool) { return stuck, true }})
			client := r.client(t)
			go func() {
				resp, err := client.Get("https://management.azure.com/")
				if err == nil {
					_ = resp.Body.Close()
				}
			}()
			<-inside
			if how == "context" {
				r.cancel()
			} else {
				ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
				if err := r.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("shutdown: %v", err)
				}
				cancel()
			}
			if err := <-r.served; err != nil {
				t.Errorf("%s: %v", how, err)
			}
		}
	})
}
