package http1

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// serve answers one connection, whose other end it returns.
func serve(t *testing.T, s *Server) net.Conn {
	t.Helper()
	ours, theirs := net.Pipe()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.ServeConn(t.Context(), named{ours})
	}()
	t.Cleanup(func() {
		theirs.Close()
		<-ended
	})
	return theirs
}

// named is a pipe with an address that looks like one.
type named struct{ net.Conn }

func (named) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 7} }

// echo answers with what it has seen.
func echo(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "text/plain")
	fmt.Fprintf(w, "%s %s %s %q %s", r.Method, r.URL, r.Host, body, r.RemoteAddr)
}

// send writes in the background: a pipe takes what is read only.
func send(conn net.Conn, text string) { go func() { _, _ = io.WriteString(conn, text) }() }

// receive reads one answer.
func receive(t *testing.T, in *bufio.Reader, method string) (*http.Response, string) {
	t.Helper()
	resp, err := http.ReadResponse(in, &http.Request{Method: method})
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

func TestConnectionAnswersOneRequestAfterTheOther(t *testing.T) {
	conn := serve(t, &Server{Handler: http.HandlerFunc(echo)})
	in := bufio.NewReader(conn)
	for _, c := range []struct{ request, want string }{
		{"GET /a?b=c HTTP/1.1\r\nHost: h\r\n\r\n", `GET /a?b=c h "" 127.0.0.1:7`},
		{"POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody", `POST /b h "body" 127.0.0.1:7`},
		{"POST /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", `POST /c h "abcde" 127.0.0.1:7`},
		{"GET /d HTTP/1.1\r\nHost: i\r\n\r\n", `GET /d i "" 127.0.0.1:7`},
	} {
		send(conn, c.request)
		resp, body := receive(t, in, "GET")
		if resp.StatusCode != 200 || body != c.want || resp.ContentLength != int64(len(c.want)) {
			t.Errorf("%q got %d %s (length %d)", c.request, resp.StatusCode, body, resp.ContentLength)
		}
		if when, err := http.ParseTime(resp.Header.Get("Date")); err != nil || time.Since(when) > time.Minute {
			t.Errorf("its date is %q", resp.Header.Get("Date"))
		}
	}
}

func TestPipelinedRequestsAreAnsweredInOrder(t *testing.T) {
	conn := serve(t, &Server{Handler: http.HandlerFunc(echo)})
	send(conn, strings.Repeat("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n1GET /b HTTP/1.1\r\nHost: h\r\n\r\n", 20))
	in := bufio.NewReader(conn)
	for range 20 {
		for _, want := range []string{`POST /a h "1" 127.0.0.1:7`, `GET /b h "" 127.0.0.1:7`} {
			if _, body := receive(t, in, "GET"); body != want {
				t.Fatalf("got %s, not %s", body, want)
			}
		}
	}
}

func TestClientThatLeavesEndsTheRequestsContext(t *testing.T) {
	for name, request := range map[string]string{
		"without a body": "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
		"with a body":    "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody",
	} {
		seen := make(chan error, 1)
		conn := serve(t, &Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.ReadAll(r.Body)
			seen <- nil
			select {
			case <-r.Context().Done():
				seen <- r.Context().Err()
			case <-time.After(10 * time.Second):
				seen <- errors.New("nothing was seen for 10 s")
			}
		})})
		send(conn, request)
		<-seen
		conn.Close()
		if err := <-seen; !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestWhatComesDuringALongAnswerIsNotLost has a client send its next request
// while the watch for its leaving is on.
func TestWhatComesDuringALongAnswerIsNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := serve(t, &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(10 * watchAfter)
			if r.Context().Err() != nil {
				t.Errorf("%s: the client has not left", r.URL)
			}
			echo(w, r)
		})})
		in := bufio.NewReader(conn)
		send(conn, "GET /0 HTTP/1.1\r\nHost: h\r\n\r\n")
		for n := range 5 {
			time.Sleep(5 * watchAfter)
			send(conn, fmt.Sprintf("POST /%d HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab", n+1))
			if _, body := receive(t, in, "GET"); !strings.Contains(body, fmt.Sprintf("/%d h", n)) {
				t.Fatalf("answer %d is %s", n, body)
			}
		}
		if _, body := receive(t, in, "GET"); body != `POST /5 h "ab" 127.0.0.1:7` {
			t.Errorf("the last answer is %s", body)
		}
	})
}

func TestStreamsAreSentAsTheyAreMade(t *testing.T) {
	next := make(chan struct{})
	conn := serve(t, &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for n := range 3 {
			fmt.Fprintf(w, "piece %d;", n)
			_ = http.NewResponseController(w).Flush()
			<-next
		}
	})})
	for _, c := range []struct{ version, coding string }{{"1.1", "chunked"}, {"1.0", ""}} {
		send(conn, "GET / HTTP/"+c.version+"\r\nHost: h\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(resp.TransferEncoding, ""); got != c.coding {
			t.Errorf("HTTP/%s: coding %q", c.version, got)
		}
		for n := range 3 {
			piece := make([]byte, 8)
			if _, err := io.ReadFull(resp.Body, piece); err != nil || string(piece) != fmt.Sprintf("piece %d;", n) {
				t.Errorf("HTTP/%s: got %q, %v", c.version, piece, err)
			}
			next <- struct{}{}
		}
		if rest, err := io.ReadAll(resp.Body); err != nil || len(rest) > 0 {
			t.Errorf("HTTP/%s: then %q, %v", c.version, rest, err)
		}
	}
}

func TestAnswersEndAsAnnouncedOrBreakOff(t *testing.T) {
	var log bytes.Buffer
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		logged  string
	}{
		"too little": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "10")
			_, _ = io.WriteString(w, "little")
		}, ""},
		"broken off": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "begun")
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}, ""},
		"panic": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "begun")
			_ = http.NewResponseController(w).Flush()
			panic("oops")
		}, "oops"},
	} {
		log.Reset()
		s := &Server{Handler: c.handler, Log: slog.New(slog.NewTextHandler(&log, nil))}
		conn := serve(t, s)
		send(conn, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, err := io.ReadAll(resp.Body); err == nil {
			t.Errorf("%s: the client takes the answer for a whole one", name)
		}
		_ = s.Shutdown(t.Context()) // the log is written
		if logged := log.String(); !strings.Contains(logged, c.logged) || (c.logged == "") != (logged == "") {
			t.Errorf("%s: logged %q", name, logged)
		}
	}
}

func TestMoreThanAnnouncedIsRefused(t *testing.T) {
	refused := make(chan error, 1)
	conn := serve(t, &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "2")
		_, _ = io.WriteString(w, "ab")
		_, err := io.WriteString(w, "c")
		refused <- err
	})})
	send(conn, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	if _, body := receive(t, bufio.NewReader(conn), "GET"); body != "ab" {
		t.Errorf("got %q", body)
	}
	if err := <-refused; !errors.Is(err, http.ErrContentLength) {
		t.Errorf("the handler got %v", err)
	}
}

func TestUnreadBodyIsReadOrEndsTheConnection(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusUnauthorized) })
	for name, c := range map[string]struct {
		size int
		last bool
	}{"small": {10 << 10, false}, "large": {readUpTo + 1<<20, true}} {
		conn := serve(t, &Server{Handler: handler})
		send(conn, fmt.Sprintf("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", c.size, strings.Repeat("x", c.size)))
		resp, body := receive(t, bufio.NewReader(conn), "POST")
		if resp.StatusCode != 401 || body != "no\n" || resp.Close != c.last {
			t.Errorf("%s: %d %q, the connection ends: %v", name, resp.StatusCode, body, resp.Close)
		}
		if !c.last {
			send(conn, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
			if resp, _ := receive(t, bufio.NewReader(conn), "GET"); resp.StatusCode != 401 {
				t.Errorf("%s: the next answer is %d", name, resp.StatusCode)
			}
		}
	}
}

func TestClientThatWaitsForContinueIsAskedToSend(t *testing.T) {
	const head = "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
	conn := serve(t, &Server{Handler: http.HandlerFunc(echo)})
	in := bufio.NewReader(conn)
	send(conn, head)
	if line, _ := in.ReadString('\n'); line != "HTTP/1.1 100 Continue\r\n" {
		t.Fatalf("got %q", line)
	}
	_, _ = in.ReadString('\n')
	send(conn, "body")
	if _, body := receive(t, in, "POST"); !strings.Contains(body, `"body"`) {
		t.Errorf("got %q", body)
	}

	conn = serve(t, &Server{Handler: http.NotFoundHandler()})
	send(conn, head)
	if resp, _ := receive(t, bufio.NewReader(conn), "POST"); resp.StatusCode != 404 || !resp.Close {
		t.Errorf("a refusal is %d, and the connection ends: %v", resp.StatusCode, resp.Close)
	}
}

func TestAnswerThatHasBegunIsNotInterruptedByContinue(t *testing.T) {
	conn := serve(t, &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "3")
		_ = http.NewResponseController(w).Flush()
		_, _ = io.CopyN(io.Discard, r.Body, 1)
		_, _ = io.WriteString(w, "end")
	})})
	send(conn, "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\nbody")
	if _, body := receive(t, bufio.NewReader(conn), "POST"); body != "end" {
		t.Errorf("got %q", body)
	}
}

func TestHeadAndEmptyAnswersHaveNoBody(t *testing.T) {
	conn := serve(t, &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/empty" {
			w.WriteHeader(http.StatusNoContent)
		}
		_, _ = io.WriteString(w, "text")
	})})
	in := bufio.NewReader(conn)
	for _, c := range []struct {
		method, path string
		length       int64
	}{{"HEAD", "/", 4}, {"GET", "/empty", 0}, {"GET", "/", 4}} {
		send(conn, c.method+" "+c.path+" HTTP/1.1\r\nHost: h\r\n\r\n")
		resp, body := receive(t, in, c.method)
		if resp.ContentLength != c.length || (body == "text") != (c.method == "GET" && c.path == "/") {
			t.Errorf("%s %s: length %d, %q", c.method, c.path, resp.ContentLength, body)
		}
	}
}

func TestFieldsCannotSplitTheHead(t *testing.T) {
	conn := serve(t, &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["X-Value"] = []string{"a\r\nInjected: 1"}
		w.Header()["X-Name\r\nInjected"] = []string{"1"}
		w.Header()["Transfer-Encoding"] = []string{"gzip"}
	})})
	send(conn, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	resp, _ := receive(t, bufio.NewReader(conn), "GET")
	if resp.Header.Get("Injected") != "" || resp.Header.Get("X-Value") != "a  Injected: 1" || resp.TransferEncoding != nil {
		t.Errorf("got %v, coding %v", resp.Header, resp.TransferEncoding)
	}
}

func TestBadHeadsAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		request string
		status  int
	}{
		"no request":   {"nonsense\r\n\r\n", 400},
		"no host":      {"GET / HTTP/1.1\r\n\r\n", 400},
		"too large":    {"GET / HTTP/1.1\r\nHost: h\r\nX: " + strings.Repeat("x", maxHeader+8<<10) + "\r\n\r\n", 431},
		"expectation":  {"GET / HTTP/1.1\r\nHost: h\r\nExpect: miracles\r\n\r\n", 417},
		"bad length":   {"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n", 400},
		"bad protocol": {"GET / HTTP/x\r\nHost: h\r\n\r\n", 400},
	} {
		conn := serve(t, &Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Errorf("%s was handled", name) })})
		send(conn, c.request)
		if resp, _ := receive(t, bufio.NewReader(conn), "GET"); resp.StatusCode != c.status || !resp.Close {
			t.Errorf("%s: %d, the connection ends: %v", name, resp.StatusCode, resp.Close)
		}
	}
}

func TestSilentClientsAreLeft(t *testing.T) {
	const request = "GET / HTTP/1.1\r\nHost: h\r\n\r\n"
	for name, c := range map[string]struct {
		sends string
		ends  time.Duration
	}{
		"says nothing at first":         {"", 10 * time.Second},
		"half a head":                   {request[:20], 10 * time.Second},
		"between requests":              {request, 2 * time.Minute},
		"half a head after a request":   {request + request[:20], 10 * time.Second},
		"half a body that nobody reads": {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhalf", 1500 * time.Millisecond},
	} {
		synctest.Test(t, func(t *testing.T) {
			conn := serve(t, &Server{Handler: http.NotFoundHandler()})
			send(conn, c.sends)
			began := time.Now()
			_, _ = io.Copy(io.Discard, conn)
			if took := time.Since(began); took != c.ends {
				t.Errorf("%s: the connection ended after %v, not %v", name, took, c.ends)
			}
		})
	}
}

// TestLongHandlersOutliveTheIdleTimeout has a handler take longer than any
// deadline of the connection.
func TestLongHandlersOutliveTheIdleTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := serve(t, &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(time.Hour)
			if err := r.Context().Err(); err != nil {
				t.Error(err)
			}
			echo(w, r)
		})})
		in := bufio.NewReader(conn)
		for range 2 {
			send(conn, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
			if resp, _ := receive(t, in, "GET"); resp.StatusCode != 200 {
				t.Errorf("got %d", resp.StatusCode)
			}
		}
	})
}

func TestHandlersReadDeadlineEndsASlowBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := make(chan error, 1)
		conn := serve(t, &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(3 * time.Second))
			began := time.Now()
			_, err := io.ReadAll(r.Body)
			if took := time.Since(began); took != 3*time.Second {
				t.Errorf("it took %v", took)
			}
			got <- err
		})})
		send(conn, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhalf")
		var timeout net.Error
		if err := <-got; !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("got %v", err)
		}
	})
}

func TestShutdownWaitsForAnswersOnly(t *testing.T) {
	begun, goOn := make(chan struct{}), make(chan struct{})
	s := &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(begun)
		<-goOn
		echo(w, r)
	})}
	resting, working := serve(t, s), serve(t, s)
	send(working, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	<-begun
	var down sync.WaitGroup
	down.Go(func() {
		if err := s.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	})
	if _, err := io.ReadAll(resting); err != nil {
		t.Errorf("the one without a request: %v", err)
	}
	close(goOn)
	if resp, _ := receive(t, bufio.NewReader(working), "GET"); resp.StatusCode != 200 || !resp.Close {
		t.Errorf("the one with a request: %d, the connection ends: %v", resp.StatusCode, resp.Close)
	}
	down.Wait()
	late := serve(t, s)
	if _, err := late.Read(make([]byte, 1)); err == nil {
		t.Error("one that comes later is served")
	}
}

func TestShutdownEndsWithItsContext(t *testing.T) {
	begun := make(chan struct{})
	s := &Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(begun)
		<-r.Context().Done()
	})}
	conn := serve(t, s)
	send(conn, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	<-begun
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
