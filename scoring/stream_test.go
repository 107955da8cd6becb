package scoring

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// streamScript sends pieces, and waits for the valve before each but the first.
const streamScript = `
import os

class Stream:
    headers, is_streamed = {"Content-Type": "text/event-stream"}, True
    def __init__(self, parts, status_code=200): self.parts, self.status_code = parts, status_code
    def get_data(self): return b"".join(self.parts)
    def iter_encoded(self): return self.parts
    def close(self): self.parts.close()

def waits(count, held=True):
    try:
        for n in range(count):
            if n and held:
                print("waits")
                os.read(os.open("valve", os.O_RDONLY), 1)
            yield b"data: %d\n\n" % n
    finally:
        print("closed")

def fails():
    yield b"data: 0\n\n"
    raise ValueError("amid the answer")

def init(): pass

def run(data):
    if data == "three": return Stream(waits(3))
    if data == "bad": return Stream(waits(1), 422)
    if data == "many": return Stream(waits(1000, False))
    if data == "fails": return Stream(fails())
    return data
`

// streamed is a server of the streamScript, its valve, its pool and its events.
func streamed(t *testing.T, change ...func(*PoolConfig)) (*httptest.Server, valve, *Pool, <-chan Event) {
	t.Helper()
	dir := t.TempDir()
	v := newValve(t, dir)
	p := poolOf(t, dir, streamScript, change...)
	if err := p.Start(t.Context()); err != nil {
		t.Fatalf("%v\n%s", err, p.Log().Tail(0))
	}
	events := make(chan Event, 100)
	server := serving(t, Endpoint{Deployments: map[string]*Pool{"blue": p}, Traffic: map[string]int{"blue": 100}}, &Front{OnEvent: func(_ context.Context, e Event) { events <- e }})
	return server, v, p, events
}

// open asks for a stream and returns its answer, of which the head alone has been read.
func open(t *testing.T, ctx context.Context, server *httptest.Server, body string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL+"/score", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	req.Header.Set("Authorization", "Bearer "+testKey)
	resp, err := server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// heard waits until the instance has heard what was said to it.
func heard(t *testing.T, p *Pool) {
	t.Helper()
	p.gate.mu.Lock()
	instance := p.gate.seats[0].instance
	p.gate.mu.Unlock()
	if err := instance.Probe(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestStreamReachesTheClientPieceByPiece(t *testing.T) {
	for name, configure := range map[string]func(*httptest.Server){
		"HTTP/1.1": func(*httptest.Server) {},
		"HTTP/2":   func(s *httptest.Server) { s.EnableHTTP2 = true },
	} {
		t.Run(name, func(t *testing.T) {
			plain, v, p, events := streamed(t)
			server := httptest.NewUnstartedServer(plain.Config.Handler)
			configure(server)
			server.StartTLS()
			t.Cleanup(server.Close)
			resp := open(t, t.Context(), server, "three")
			if resp.Proto != name && !strings.HasPrefix(resp.Proto, name) {
				t.Errorf("spoke %s", resp.Proto)
			}
			if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" || resp.ContentLength != -1 ||
				resp.Header.Get("x-ms-run-fn-exec-ms") == "" || resp.Header.Get(headerModelTime) == "" {
				t.Errorf("got %d %v", resp.StatusCode, resp.Header)
			}
			lines := bufio.NewReader(resp.Body)
			for _, want := range []string{"data: 0\n", "data: 1\n", "data: 2\n"} {
				if want != "data: 0\n" {
					v.open(t)
				}
				line, err := lines.ReadString('\n') // while the script is held before the next
				if err != nil || line != want {
					t.Fatalf("got %q, %v", line, err)
				}
				if s := p.State(); want != "data: 2\n" && s.Pending != 1 {
					t.Errorf("pending are %d", s.Pending)
				}
				_, _ = lines.ReadString('\n')
			}
			if rest, err := io.ReadAll(lines); len(rest) > 0 || err != nil {
				t.Errorf("after the last came %q, %v", rest, err)
			}
			if e := <-events; e.Status != 200 || e.Reason != "" || e.ResponseBytes != 27 || e.Err != nil {
				t.Errorf("the event is %+v", e)
			}
			until(t, "nothing is pending", func() bool { return p.State().Pending == 0 })
		})
	}
}

func TestClientThatLeavesAStreamEndsIt(t *testing.T) {
	server, v, p, events := streamed(t)
	ctx, leave := context.WithCancel(t.Context())
	resp := open(t, ctx, server, "three")
	if _, err := io.ReadFull(resp.Body, make([]byte, 9)); err != nil {
		t.Fatal(err)
	}
	until(t, "the script waits", func() bool { return strings.Contains(p.Log().Tail(0), "waits") })
	leave()
	if e := <-events; e.Reason != "client_gone" || e.Status != 200 {
		t.Errorf("the event is %+v", e)
	}
	heard(t, p)
	v.open(t)
	until(t, "the generator is closed", func() bool { return strings.Contains(p.Log().Tail(0), "closed") })
	scored(t, p, "next", `"next"`)
}

func TestStreamThatFailsIsCutOff(t *testing.T) {
	server, _, p, events := streamed(t)
	resp := open(t, t.Context(), server, "fails")
	if body, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("it looks complete: %q", body)
	}
	if e := <-events; e.Reason != codeModelError || e.Err == nil {
		t.Errorf("the event is %+v", e)
	}
	scored(t, p, "next", `"next"`)
}

func TestStreamOfAnotherStatusIsA424(t *testing.T) {
	server, _, _, events := streamed(t)
	resp := open(t, t.Context(), server, "bad")
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 424 || resp.Header.Get(headerErrorStatus) != "422" || string(body) != "data: 0\n\n" {
		t.Errorf("got %d %v %q, %v", resp.StatusCode, resp.Header, body, err)
	}
	if e := <-events; e.ModelStatus != 422 {
		t.Errorf("the event is %+v", e)
	}
}

func TestStreamThatDoesNotGoOnIsCutOffAndItsInstanceReplaced(t *testing.T) {
	server, _, p, events := streamed(t, func(c *PoolConfig) { c.RequestTimeout = 300 * time.Millisecond })
	resp := open(t, t.Context(), server, "three")
	if body, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("it looks complete: %q", body)
	}
	if e := <-events; e.Reason != codeTimeout {
		t.Errorf("the event is %+v", e)
	}
	until(t, "the instance is replaced", func() bool {
		s := p.State()
		return s.Ready == 1 && s.Members[0].Restarts > 0
	})
	if log := p.Log().Tail(0); !strings.Contains(log, "its answer did not go on for 300ms") {
		t.Errorf("the log:\n%s", log)
	}
}

func TestStreamMayLastLongerThanTheRequestTimeout(t *testing.T) {
	server, v, p, _ := streamed(t, func(c *PoolConfig) { c.RequestTimeout = 2 * time.Second })
	began := time.Now()
	resp := open(t, t.Context(), server, "three")
	lines := bufio.NewReader(resp.Body)
	for n := range 3 {
		if n > 0 {
			held := time.NewTimer(1100 * time.Millisecond)
			<-held.C
			v.open(t)
		}
		if _, err := lines.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		_, _ = lines.ReadString('\n')
	}
	if _, err := io.ReadAll(lines); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took < 2*time.Second {
		t.Errorf("it took %v, which proves nothing", took)
	}
	if s := p.State(); s.Members[0].Restarts > 0 {
		t.Errorf("the instance was replaced: %+v", s.Members)
	}
}

func TestClosedPoolFinishesItsStreams(t *testing.T) {
	server, v, p, _ := streamed(t)
	resp := open(t, t.Context(), server, "three")
	closed := make(chan error, 1)
	go func() { closed <- p.Close(t.Context()) }()
	v.open(t)
	v.open(t)
	if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "data: 0\n\ndata: 1\n\ndata: 2\n\n" {
		t.Errorf("got %q, %v", body, err)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
}

func TestWhatLiesBehindAStreamIsGivenToAnother(t *testing.T) {
	server, v, p, _ := streamed(t, func(c *PoolConfig) { c.Instances = 2 })
	resp := open(t, t.Context(), server, "three")
	for range 50 {
		scored(t, p, "next", `"next"`) // by the other one, without a wait
	}
	v.open(t)
	v.open(t)
	if _, err := io.ReadAll(resp.Body); err != nil {
		t.Error(err)
	}
}

func TestShadowsStreamsAreReadToTheirEnd(t *testing.T) {
	live := started(t, echo)
	shadowing, answered := started(t, streamScript), atomic.Int64{}
	front := &Front{OnEvent: func(context.Context, Event) { answered.Add(1) }, Pick: func(int) int { return 0 }}
	server := serving(t, Endpoint{
		Deployments: map[string]*Pool{"blue": live, "green": shadowing},
		Traffic:     map[string]int{"blue": 100}, Mirror: map[string]int{"green": 50},
	}, front)
	ask(t, server, "POST", "/score", "many")
	ask(t, server, "POST", "/score", "fails")
	until(t, "both copies are done", func() bool {
		state, _ := front.Mirror(host)
		return state.Answered == 1 && state.Failed == 1 && state.Pending == 0
	})
	if s := shadowing.State(); s.Pending != 0 {
		t.Errorf("pending are %d", s.Pending)
	}
}

// stuck is a client that takes nothing.
type stuck struct{ http.ResponseWriter }

func (stuck) Write([]byte) (int, error)        { return 0, errors.New("i/o timeout") }
func (stuck) FlushError() error                { return nil }
func (stuck) SetWriteDeadline(time.Time) error { return nil }

func TestClientThatTakesNothingFreesTheInstance(t *testing.T) {
	server, v, p, events := streamed(t)
	req := httptest.NewRequest(http.MethodPost, "https://"+host+"/score", strings.NewReader("three"))
	req.Header.Set("Authorization", "Bearer "+testKey)
	func() {
		defer func() {
			if cause := recover(); cause != http.ErrAbortHandler {
				t.Errorf("ended with %v", cause)
			}
		}()
		server.Config.Handler.ServeHTTP(stuck{httptest.NewRecorder()}, req)
	}()
	if e := <-events; e.Reason != "client_gone" {
		t.Errorf("the event is %+v", e)
	}
	heard(t, p)
	v.open(t)
	scored(t, p, "next", `"next"`)
}
