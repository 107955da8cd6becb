package scoring

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// wire is a client that writes its own bytes.
type wire struct {
	t *testing.T
	net.Conn
	in *bufio.Reader
}

func dial(t *testing.T, server *httptest.Server) wire {
	t.Helper()
	c, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return wire{t, c, bufio.NewReader(c)}
}

func (w wire) send(format string, args ...any) {
	w.t.Helper()
	if _, err := fmt.Fprintf(w.Conn, format, args...); err != nil {
		w.t.Error(err)
	}
}

// head is a POST /score up to its length.
func (w wire) head(header string) {
	w.send("POST /score HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n%s\r\n\r\n", host, testKey, header)
}

func (w wire) answer() reply {
	w.t.Helper()
	resp, err := http.ReadResponse(w.in, nil)
	if err != nil {
		w.t.Fatalf("no answer: %v", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	if resp.Close {
		resp.Header.Set("Connection", "close")
	}
	return reply{resp.StatusCode, resp.Header, string(body)}
}

// closed fails the test unless the server ends the connection.
func (w wire) closed() {
	w.t.Helper()
	if n, err := w.in.Read(make([]byte, 1)); n > 0 || err == nil || isTimeout(err) {
		w.t.Errorf("the connection is not closed: %d bytes, %v", n, err)
	}
}

func isTimeout(err error) bool {
	ne, ok := err.(net.Error)
	return ok && ne.Timeout()
}

func checkRefused(t *testing.T, got reply, status int, code string) {
	t.Helper()
	var body struct {
		Error struct{ Code, Message string }
	}
	if err := json.Unmarshal([]byte(got.body), &body); err != nil || got.status != status || body.Error.Code != code || body.Error.Message == "" || got.header.Get("Content-Type") != "application/json" {
		t.Errorf("got %v, not %d %s", got, status, code)
	}
}

// drip sends a byte every few milliseconds until the connection ends.
func (w wire) drip() (stop func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				if _, err := w.Write([]byte("x")); err != nil {
					return
				}
			}
		}
	})
	return func() { close(done); wg.Wait() }
}

func TestDrippedBodyHoldsNoSeatAndIsGivenUp(t *testing.T) {
	p := started(t, echo)
	front := &Front{BodyGrace: 300 * time.Millisecond}
	server := serving(t, Endpoint{Deployments: map[string]*Pool{"blue": p}, Traffic: map[string]int{"blue": 100}}, front)
	w := dial(t, server)
	w.head("Content-Length: 1000000")
	stop := w.drip()
	defer stop()
	until(t, "the body is being read", func() bool { return front.bodies.Load() > 0 })
	for range 10 {
		if got := ask(t, server, "POST", "/score", "meanwhile"); got.status != 200 {
			t.Fatalf("meanwhile: %v", got)
		}
		if state := p.State(); state.Pending != 0 {
			t.Fatalf("a body that drips is pending: %+v", state)
		}
	}
	got := w.answer()
	checkRefused(t, got, 408, "RequestBodyTimeout")
	if got.header.Get("Connection") != "close" {
		t.Errorf("got %v", got)
	}
	w.closed()
	until(t, "its memory is free", func() bool { return front.bodies.Load() == 0 })
}

func TestDrippedStreamOfHTTP2IsGivenUpAlone(t *testing.T) {
	p := started(t, echo)
	front := &Front{BodyGrace: 300 * time.Millisecond}
	endpoint := Endpoint{Name: "e", Authorize: onlyTestKey, Deployments: map[string]*Pool{"blue": p}, Traffic: map[string]int{"blue": 100}}
	if err := front.Set(host, endpoint); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(front)
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	body, in := io.Pipe()
	defer in.Close()
	req, _ := http.NewRequestWithContext(t.Context(), "POST", server.URL+"/score", body)
	req.Host = host
	req.Header.Set("Authorization", "Bearer "+testKey)
	slow := make(chan reply, 1)
	go func() {
		resp, err := server.Client().Do(req)
		if err != nil {
			slow <- reply{body: err.Error()}
			return
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		slow <- reply{resp.StatusCode, resp.Header, string(text)}
	}()
	if _, err := in.Write([]byte("a little")); err != nil {
		t.Fatal(err)
	}
	checkRefused(t, <-slow, 408, "RequestBodyTimeout")
	again, err := server.Client().Do(func() *http.Request {
		r, _ := http.NewRequestWithContext(t.Context(), "POST", server.URL+"/score", strings.NewReader("x"))
		r.Host, r.Header = host, http.Header{"Authorization": {"Bearer " + testKey}}
		return r
	}())
	if err != nil || again.StatusCode != 200 || again.ProtoMajor != 2 {
		t.Errorf("the connection's next request: %v %v", again, err)
	}
}

func TestBodiesShareTheirMemory(t *testing.T) {
	p := started(t, "def init(): pass\ndef run(d): return len(d)\n", func(c *PoolConfig) { c.MaxConcurrent = 9 })
	front := &Front{MaxBodies: 300 << 10}
	server := serving(t, Endpoint{Deployments: map[string]*Pool{"blue": p}, Traffic: map[string]int{"blue": 100}}, front)
	const size = 200 << 10
	first := dial(t, server)
	first.head(fmt.Sprintf("Content-Length: %d", size))
	first.send("%s", strings.Repeat("x", size-1))
	until(t, "most of the first is here", func() bool { return front.bodies.Load() == size })
	got := ask(t, server, "POST", "/score", strings.Repeat("y", size))
	checkRefused(t, got, 503, "ServerBusy")
	if got.header.Get("Retry-After") == "" {
		t.Errorf("got %v", got)
	}
	if got := ask(t, server, "POST", "/score", "small"); got.body != "5" {
		t.Errorf("a small one: %v", got)
	}
	first.send("x")
	if got := first.answer(); got.body != fmt.Sprint(size) {
		t.Errorf("the first: %v", got)
	}
	for _, n := range []int{1, 4095, 4096, 4097, bodyPiece - 1, bodyPiece, bodyPiece + 1, size} {
		body := strings.Repeat("z", n)
		if got := ask(t, server, "POST", "/score", body); got.body != fmt.Sprint(n) {
			t.Errorf("%d bytes: %v", n, got)
		}
		w := dial(t, server)
		w.head("Transfer-Encoding: chunked\r\nTrailer: X-Later")
		w.send("%x\r\n%s\r\n0\r\nX-Later: not for the script\r\n\r\n", n, body)
		if got := w.answer(); got.body != fmt.Sprint(n) {
			t.Errorf("%d bytes in chunks: %v", n, got)
		}
	}
	until(t, "all memory is free", func() bool { return front.bodies.Load() == 0 })
}

func TestTooLargeIsRefusedUnread(t *testing.T) {
	front := &Front{}
	p := started(t, echo)
	server := serving(t, Endpoint{Deployments: map[string]*Pool{"blue": p}, Traffic: map[string]int{"blue": 100}, MaxBody: 1 << 20}, front)
	told := dial(t, server)
	told.head("Expect: 100-continue\r\nContent-Length: 99999999999")
	checkRefused(t, told.answer(), 413, "RequestEntityTooLarge") // and not 100
	told.closed()
	endless := dial(t, server)
	endless.head("Transfer-Encoding: chunked")
	sent := 0
	for range 1000 {
		n, err := fmt.Fprintf(endless.Conn, "10000\r\n%s\r\n", strings.Repeat("x", 1<<16))
		if sent += n; err != nil {
			break
		}
	}
	if sent > 32<<20 { // what lies in the sockets' buffers
		t.Errorf("the front took %d bytes", sent)
	}
	until(t, "its memory is free", func() bool { return front.bodies.Load() == 0 })
}

func TestExpectIsAnsweredOnlyForThoseWhoMay(t *testing.T) {
	p := started(t, echo)
	server := serving(t, Endpoint{Deployments: map[string]*Pool{"blue": p}, Traffic: map[string]int{"blue": 100}}, &Front{})
	w := dial(t, server)
	w.head("Expect: 100-continue\r\nContent-Length: 2")
	if line, err := w.in.ReadString('\n'); err != nil || line != "HTTP/1.1 100 Continue\r\n" {
		t.Fatalf("%q %v", line, err)
	}
	_, _ = w.in.ReadString('\n')
	w.send("hi")
	if got := w.answer(); got.body != `"hi"` {
		t.Errorf("got %v", got)
	}
	stranger := dial(t, server)
	stranger.send("POST /score HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer no\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n", host)
	checkRefused(t, stranger.answer(), 401, "key_auth_access_denied")
}

// What is compressed reaches the script as it is, as it does in Azure's
// server: there is nothing that a small body could swell to.
func TestCompressedBodyIsNotUnpacked(t *testing.T) {
	p := poolOf(t, t.TempDir(), `
from azureml.contrib.services.aml_request import AMLRequest, rawhttp
def init(): pass
@rawhttp
def run(request): return {"size": len(request.get_data()), "encoding": request.headers.get("Content-Encoding")}
`)
	if err := p.Start(t.Context()); err != nil && strings.Contains(err.Error(), "Add flask") {
		t.Skip("needs flask")
	} else if err != nil {
		t.Fatal(err)
	}
	server := serving(t, Endpoint{Deployments: map[string]*Pool{"blue": p}, Traffic: map[string]int{"blue": 100}}, &Front{})
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	zeros := make([]byte, 1<<20)
	for range 100 {
		_, _ = z.Write(zeros)
	}
	_ = z.Close()
	got := ask(t, server, "POST", "/score", bomb.String(), "Content-Encoding", "gzip")
	if want := fmt.Sprintf(`{"size": %d, "encoding": "gzip"}`, bomb.Len()); got.body != want {
		t.Errorf("got %v, not %s", got, want)
	}
}

func TestClientThatDoesNotReadIsGivenUp(t *testing.T) {
	p := started(t, "def init(): pass\ndef run(d): return 'x' * (64 << 20)\n")
	events := make(chan Event, 1)
	front := &Front{BodyGrace: -1050 * time.Second, OnEvent: func(_ context.Context, e Event) { events <- e }} // 64 MiB at the rate are 1024 s
	server := serving(t, Endpoint{Deployments: map[string]*Pool{"blue": p}, Traffic: map[string]int{"blue": 100}}, front)
	w := dial(t, server)
	w.send("GET /score HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n\r\n", host, testKey)
	if e := <-events; e.Status != 200 || e.Reason != "client_gone" || e.Err == nil {
		t.Errorf("the event is %+v", e)
	}
}

// Whoever leaves before its turn is not run, in both versions of HTTP and also
// by closing its half of the connection alone.
func TestClientThatLeavesTheQueueIsNotRun(t *testing.T) {
	dir := t.TempDir()
	v := newValve(t, dir)
	p := poolOf(t, dir, valveScript, func(c *PoolConfig) { c.MaxConcurrent = 8 })
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	events := make(chan Event, 9)
	front := &Front{OnEvent: func(_ context.Context, e Event) { events <- e }}
	endpoint := Endpoint{Deployments: map[string]*Pool{"blue": p}, Traffic: map[string]int{"blue": 100}}
	server := serving(t, endpoint, front)
	h2 := httptest.NewUnstartedServer(front)
	h2.EnableHTTP2 = true
	h2.StartTLS()
	defer h2.Close()

	blocked := dial(t, server)
	blocked.head("Content-Length: 4")
	blocked.send("wait")
	until(t, "one runs", func() bool { return strings.Contains(p.Log().Tail(0), "waits") })
	leaver, half := dial(t, server), dial(t, server)
	for _, w := range []wire{leaver, half} {
		w.head("Content-Length: 4")
		w.send("gone")
	}
	ctx, cancel := context.WithCancel(t.Context())
	stream := make(chan error, 1)
	go func() { _, err := try(ctx, h2, "POST", "/score", "gone"); stream <- err }()
	until(t, "four are pending", func() bool { return p.State().Pending == 4 })
	leaver.Close()
	if err := half.Conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-stream; err == nil {
		t.Error("the stream was answered")
	}
	for range 3 {
		if e := <-events; e.Status != statusClientGone || e.Reason != "client_gone" {
			t.Errorf("the event is %+v", e)
		}
	}
	v.open(t)
	if got := blocked.answer(); got.body != `["wait"]` {
		t.Errorf("got %v", got)
	}
	scored(t, p, "last", `["wait", "last"]`)
}

func TestHalfSentBodyIsNotRun(t *testing.T) {
	p := started(t, "seen = []\ndef init(): pass\ndef run(d):\n    seen.append(d)\n    return seen\n")
	events := make(chan Event, 9)
	front := &Front{OnEvent: func(_ context.Context, e Event) { events <- e }}
	server := serving(t, Endpoint{Deployments: map[string]*Pool{"blue": p}, Traffic: map[string]int{"blue": 100}}, front)
	for _, c := range []struct{ header, body string }{
		{"Content-Length: 10", "half"}, {"Transfer-Encoding: chunked", "4\r\nhalf\r\n"}, {"Transfer-Encoding: chunked", "zz\r\n"},
		{"Transfer-Encoding: chunked", "4\nhalf\n0\n\n"}, {"Transfer-Encoding: chunked", "-4\r\nhalf\r\n"},
	} {
		w := dial(t, server)
		w.head(c.header)
		w.send("%s", c.body)
		if err := w.Conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if e := <-events; e.Status != 400 && e.Status != statusClientGone || e.ModelStatus != 0 {
			t.Errorf("%q: %+v", c.body, e)
		}
	}
	scored(t, p, "whole", `["whole"]`)
	if n := front.bodies.Load(); n != 0 {
		t.Errorf("%d bytes are still taken", n)
	}
}
