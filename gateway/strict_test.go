package gateway

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"
)

// rawClient speaks its own bytes through TLS, by CONNECT or directly.
func rawClient(t *testing.T, r *running, host string, connect bool) (net.Conn, *bufio.Reader) {
	t.Helper()
	raw, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { raw.Close() })
	_ = raw.SetDeadline(time.Now().Add(20 * time.Second))
	if connect {
		fmt.Fprintf(raw, "CONNECT %s:443 HTTP/1.1\r\nHost: %s:443\r\n\r\n", host, host)
		answer := make([]byte, len("HTTP/1.1 200 Connection established\r\n\r\n"))
		if _, err := io.ReadFull(raw, answer); err != nil || !bytes.HasPrefix(answer, []byte("HTTP/1.1 200")) {
			t.Fatalf("%q %v", answer, err)
		}
	}
	c := tls.Client(raw, &tls.Config{ServerName: host, InsecureSkipVerify: true}) //nolint:gosec // what it says is looked at, not who says it
	return c, bufio.NewReader(c)
}

// seenPaths is a face that notes what it was asked for.
type seenPaths struct {
	mu   sync.Mutex
	list []string
}

func (s *seenPaths) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	s.mu.Lock()
	s.list = append(s.list, r.URL.Path)
	s.mu.Unlock()
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	fmt.Fprintf(w, "%s %s %d tls=%v", r.Method, r.URL.Path, len(body), r.TLS != nil && r.TLS.HandshakeComplete)
}

func (s *seenPaths) has(path string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.list {
		if p == path {
			return true
		}
	}
	return false
}

// What two recipients could read in two ways is answered with an error, and
// what comes behind it is never taken for a request.
func TestRequestsCannotBeSmuggled(t *testing.T) {
	onEachServer(t, func(t *testing.T) {
		const host = "e.local.inference.ml.azure.com"
		const smuggled = "GET /smuggled HTTP/1.1\r\nHost: " + host + "\r\n\r\n"
		seen := &seenPaths{}
		r := start(t, Config{Face: func(name string) (http.Handler, bool) { return seen, name == host }})
		post := func(header string) string {
			return "POST /score HTTP/1.1\r\nHost: " + host + "\r\n" + header + "\r\n"
		}
		for name, c := range map[string]struct {
			request string
			status  int
		}{
			"length and chunks":           {post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n") + "0\r\n\r\n", 400},
			"chunks and length":           {post("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n") + "0\r\n\r\n", 400},
			"two lengths":                 {post("Content-Length: 1\r\nContent-Length: 2\r\n") + "x", 400},
			"the same length twice":       {post("Content-Length: 1\r\nContent-Length: 1\r\n") + "x", 400},
			"a list of lengths":           {post("Content-Length: 1, 1\r\n") + "x", 400},
			"a signed length":             {post("Content-Length: +1\r\n") + "x", 400},
			"a negative length":           {post("Content-Length: -1\r\n"), 400},
			"a length in hex":             {post("Content-Length: 0x1\r\n") + "x", 400},
			"an empty length":             {post("Content-Length: \r\n"), 400},
			"a length beyond all":         {post("Content-Length: 18446744073709551617\r\n") + "x", 400},
			"an unknown coding":           {post("Transfer-Encoding: xchunked\r\n"), 501},
			"identity":                    {post("Transfer-Encoding: identity\r\n"), 501},
			"gzip in chunks":              {post("Transfer-Encoding: gzip, chunked\r\n") + "0\r\n\r\n", 501},
			"chunks twice":                {post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n") + "0\r\n\r\n", 400},
			"chunks and identity":         {post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n") + "0\r\n\r\n", 400},
			"a space before the colon":    {post("Transfer-Encoding : chunked\r\n") + "0\r\n\r\n", 400},
			"a vertical tab":              {post("Transfer-Encoding:\vchunked\r\n") + "0\r\n\r\n", 400},
			"a folded field":              {post("X-Folded: a\r\n b\r\n"), 400},
			"a folded coding":             {post("Transfer-Encoding:\r\n chunked\r\n") + "0\r\n\r\n", 400},
			"a field before the first":    {"POST /score HTTP/1.1\r\n X: y\r\nHost: " + host + "\r\n\r\n", 400},
			"a field without a name":      {post(": x\r\n"), 400},
			"a field without a colon":     {post("nothing\r\n"), 400},
			"a NUL":                       {post("X: a\x00b\r\n"), 400},
			"bare line feeds":             {strings.ReplaceAll(post("X: y\r\n"), "\r\n", "\n"), 400},
			"one bare line feed":          {post("X: y\nZ: z\r\n"), 400},
			"a bare carriage return":      {post("X: y\rContent-Length: 1\r\n"), 400},
			"chunks in HTTP/1.0":          {"POST /score HTTP/1.0\r\nHost: " + host + "\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
			"no host":                     {"GET /score HTTP/1.1\r\n\r\n", 400},
			"two hosts":                   {"GET /score HTTP/1.1\r\nHost: " + host + "\r\nHost: other\r\n\r\n", 400},
			"the same host twice":         {"GET /score HTTP/1.1\r\nHost: " + host + "\r\nHost: " + host + "\r\n\r\n", 400},
			"an empty host":               {"GET /score HTTP/1.1\r\nHost:\r\n\r\n", 400},
			"another target":              {"GET https://other.azure.com/score HTTP/1.1\r\nHost: " + host + "\r\n\r\n", 400},
			"another host":                {"GET https://" + host + "/score HTTP/1.1\r\nHost: other.azure.com\r\n\r\n", 400},
			"a space in the target":       {"GET /sc ore HTTP/1.1\r\nHost: " + host + "\r\n\r\n", 400},
			"tabs":                        {"GET\t/score\tHTTP/1.1\r\nHost: " + host + "\r\n\r\n", 400},
			"HTTP/0.9":                    {"GET /score\r\n\r\n", 400},
			"HTTP/1.2":                    {"GET /score HTTP/1.2\r\nHost: " + host + "\r\n\r\n", 400},
			"HTTP/2 without being agreed": {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400},
			"an empty line first":         {"\r\nGET /score HTTP/1.1\r\nHost: " + host + "\r\n\r\n", 400},
			"the stand-in's method":       {"REFUSED / HTTP/1.1\r\nHost: " + host + "\r\n\r\n", 400},
			"a header without end":        {post("X: " + strings.Repeat("x", maxHeader) + "\r\n"), 431},
			"too many fields":             {post(strings.Repeat("X: y\r\n", maxFields)), 431},
		} {
			for _, connect := range []bool{true, false} {
				conn, in := rawClient(t, r, host, connect)
				go func() { _, _ = io.WriteString(conn, c.request+smuggled) }()
				answer, err := http.ReadResponse(in, nil)
				if err != nil {
					t.Errorf("%s: %v", name, err)
					continue
				}
				var body struct {
					Error struct{ Code, Message string }
				}
				if err := json.NewDecoder(answer.Body).Decode(&body); err != nil || answer.StatusCode != c.status || body.Error.Message == "" || !answer.Close {
					t.Errorf("%s: %d close=%v %+v %v", name, answer.StatusCode, answer.Close, body, err)
				}
				if rest, err := io.ReadAll(in); len(rest) != 1 && len(rest) != 0 || isTimeout(err) {
					t.Errorf("%s: the connection goes on: %q %v", name, rest, err)
				}
			}
		}
		if seen.has("/smuggled") || seen.has("/score") {
			t.Errorf("a face was asked for %q", seen.list)
		}
	})
}

func isTimeout(err error) bool {
	ne, ok := err.(net.Error)
	return ok && ne.Timeout()
}

// Whatever has the one form passes, in any pieces and one behind the other.
func TestWellFormedRequestsPass(t *testing.T) {
	onEachServer(t, func(t *testing.T) {
		const host = "e.local.inference.ml.azure.com"
		seen := &seenPaths{}
		r := start(t, Config{Face: func(name string) (http.Handler, bool) { return seen, name == host }})
		big := strings.Repeat("b", 100_000)
		for name, c := range map[string]struct{ request, want string }{
			"no body":        {"GET /a HTTP/1.1\r\nHost: " + host + "\r\n\r\n", "GET /a 0"},
			"a length":       {"POST /b HTTP/1.1\r\nhost: " + strings.ToUpper(host) + ":443\r\ncontent-length:\t3 \r\n\r\nabc", "POST /b 3"},
			"chunks":         {"POST /c HTTP/1.1\r\nHost: " + host + "\r\nTransfer-Encoding: Chunked\r\n\r\n3;x=y\r\nabc\r\nA \r\n0123456789\r\n0\r\nX-T: v\r\n\r\n", "POST /c 13"},
			"much":           {fmt.Sprintf("PUT /d HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n%s", host, len(big), big), "PUT /d 100000"},
			"absolute":       {"GET https://" + host + "/e?x HTTP/1.1\r\nHost: " + host + "\r\n\r\n", "GET /e 0"},
			"a long header":  {"GET /f HTTP/1.1\r\nHost: " + host + "\r\nX: " + strings.Repeat("y", 60_000) + "\r\n\r\n", "GET /f 0"},
			"bytes above":    {"GET /g HTTP/1.1\r\nHost: " + host + "\r\nX: \xe9\r\n\r\n", "GET /g 0"},
			"an empty field": {"GET /h HTTP/1.1\r\nHost: " + host + "\r\nX:\r\n\r\n", "GET /h 0"},
		} {
			conn, in := rawClient(t, r, host, name[0]%2 == 0)
			pieces := iotest.OneByteReader(strings.NewReader(c.request))
			if len(c.request) > 10_000 {
				pieces = strings.NewReader(c.request)
			}
			go func() {
				_, _ = io.Copy(struct{ io.Writer }{conn}, struct{ io.Reader }{pieces})
				_, _ = io.WriteString(conn, strings.Repeat(c.request, 2))
			}()
			for range 3 {
				answer, err := http.ReadResponse(in, nil)
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				if got, err := io.ReadAll(answer.Body); err != nil || string(got) != c.want+" tls=true" || answer.Close {
					t.Errorf("%s: %q %v", name, got, err)
				}
			}
		}
	})
}

func TestBrokenChunksEndTheConnection(t *testing.T) {
	onEachServer(t, func(t *testing.T) {
		const host = "e.local.inference.ml.azure.com"
		seen := &seenPaths{}
		r := start(t, Config{Face: func(name string) (http.Handler, bool) { return seen, name == host }})
		for _, body := range []string{
			"zz\r\n", "3\nabc\r\n0\r\n\r\n", "3\r\nabcd\r\n0\r\n\r\n", "3\r\nabc\n0\r\n\r\n", "-1\r\n", "1000000000000000000\r\n", "\r\n", "3;\x00\r\nabc\r\n0\r\n\r\n",
			"0\r\nX: y\n\r\n", "3" + strings.Repeat(" ", 2000) + "\r\nabc\r\n0\r\n\r\n",
		} {
			conn, in := rawClient(t, r, host, true)
			go func() {
				_, _ = io.WriteString(conn, "POST /score HTTP/1.1\r\nHost: "+host+"\r\nTransfer-Encoding: chunked\r\n\r\n"+body+"GET /smuggled HTTP/1.1\r\nHost: "+host+"\r\n\r\n")
			}()
			answer, err := http.ReadResponse(in, nil)
			if err != nil || answer.StatusCode != 400 {
				t.Errorf("%q: %v %v", body, answer, err)
				continue
			}
			_, _ = io.Copy(io.Discard, answer.Body)
			if rest, err := io.ReadAll(in); len(rest) != 0 || isTimeout(err) {
				t.Errorf("%q: the connection goes on: %q %v", body, rest, err)
			}
		}
		if seen.has("/smuggled") {
			t.Errorf("a face was asked for %q", seen.list)
		}
	})
}

// pipeConn is a connection whose client has said all that it will.
type pipeConn struct {
	net.Conn
	in io.Reader
}

func (c pipeConn) Read(p []byte) (int, error)       { return c.in.Read(p) }
func (c pipeConn) SetReadDeadline(time.Time) error  { return nil }
func (c pipeConn) SetWriteDeadline(time.Time) error { return nil }

// The server and the strict connection must agree, whatever comes, where each
// request ends.
func FuzzStrict(f *testing.F) {
	f.Add([]byte("GET /a HTTP/1.1\r\nHost: x\r\n\r\nPOST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\nHost: x\r\n\r\n"), false)
	f.Add([]byte("POST /b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3;a\r\nabc\r\n0\r\nT: u\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n"), true)
	f.Add([]byte("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), true)
	f.Add([]byte("GET / HTTP/1.0\n\n"), false)
	f.Fuzz(func(t *testing.T, data []byte, slowly bool) {
		var from io.Reader = bytes.NewReader(data)
		if slowly {
			from = iotest.OneByteReader(from)
		}
		s := &strict{Conn: pipeConn{in: from}, accepted: &conn{}, ended: make(chan struct{})}
		in := bufio.NewReader(s)
		for count := 1; ; count++ {
			r, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			if r.Method == refusedMethod {
				if s.accepted.refused == nil {
					t.Fatal("a client's own stand-in passed")
				}
				return
			}
			_, err = io.Copy(io.Discard, r.Body)
			if err != nil {
				return
			}
			if s.heads != count || s.pass != 0 || s.left != 0 || s.next != partHead && s.next != partNothing {
				t.Fatalf("after request %d: %d heads, %d to pass, %d left, part %d", count, s.heads, s.pass, s.left, s.next)
			}
		}
	})
}

// deadlines is a connection that gives its pieces one by one, and notes until
// when it may wait for each.
type deadlines struct {
	net.Conn
	pieces []string
	now    time.Time
	at     []time.Time
}

func (c *deadlines) SetReadDeadline(t time.Time) error { c.now = t; return nil }
func (c *deadlines) Read(p []byte) (int, error) {
	c.at = append(c.at, c.now)
	if len(c.pieces) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.pieces[0])
	c.pieces = c.pieces[1:]
	return n, nil
}

// A connection may be idle for long, but a head that has begun must come soon,
// and what the server itself wants counts more.
func TestHeadThatHasBegunHasItsTime(t *testing.T) {
	onEachServer(t, func(t *testing.T) {
		c := &deadlines{pieces: []string{"GET / HT", "TP/1.1\r\nHost: x\r\n", "\r\n"}}
		s := &strict{Conn: c, accepted: &conn{}, ended: make(chan struct{})}
		idle := time.Now().Add(idleTimeout)
		_ = s.SetReadDeadline(idle)
		if n, err := s.Read(make([]byte, 100)); n != 27 || err != nil {
			t.Fatal(n, err)
		}
		if soon := time.Now().Add(headerTimeout); len(c.at) != 3 || !c.at[0].Equal(idle) || c.at[1].After(soon) || !c.at[2].Equal(c.at[1]) || !c.now.Equal(idle) {
			t.Errorf("it waited until %v, and then %v", c.at, c.now)
		}
		c.pieces, c.at = []string{"GET"}, nil
		past := time.Unix(1, 0)
		_ = s.SetReadDeadline(past)
		if _, err := s.Read(make([]byte, 100)); err != io.EOF || !c.at[1].Equal(past) {
			t.Errorf("it waited until %v: %v", c.at, err)
		}
	})
}
