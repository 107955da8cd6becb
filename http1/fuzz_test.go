package http1

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// scripted is a connection whose client says one thing and leaves.
type scripted struct {
	said    io.Reader
	answers bytes.Buffer
}

func (s *scripted) Read(p []byte) (int, error)       { return s.said.Read(p) }
func (s *scripted) Write(p []byte) (int, error)      { return s.answers.Write(p) }
func (s *scripted) Close() error                     { return nil }
func (s *scripted) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (s *scripted) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (s *scripted) SetDeadline(time.Time) error      { return nil }
func (s *scripted) SetReadDeadline(time.Time) error  { return nil }
func (s *scripted) SetWriteDeadline(time.Time) error { return nil }

// FuzzRequests has whatever a client sends end in whole answers: the handler
// echoes, so that what is wrong with where one request ends and the next
// begins shows as an answer that cannot be read.
func FuzzRequests(f *testing.F) {
	for _, seed := range []string{
		"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
		"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbodyGET /b HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\nHEAD / HTTP/1.1\r\nHost: h\r\n\r\n",
		"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999999999999\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nhalf",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, said []byte) {
		var handled []string
		s := &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			handled = append(handled, r.Method)
			fmt.Fprintf(w, "%q %v", body, err)
		})}
		conn := &scripted{said: bytes.NewReader(said)}
		s.ServeConn(t.Context(), conn)
		in := bufio.NewReader(&conn.answers)
		for n, method := range handled {
			if status, err := final(in, method); err != nil || status != http.StatusOK {
				t.Fatalf("answer %d of %d is %d, %v", n, len(handled), status, err)
			}
		}
		if rest, _ := io.ReadAll(in); len(rest) > 0 && !bytes.HasPrefix(rest, []byte("HTTP/1.1 4")) {
			t.Fatalf("after the answers came %q", rest)
		}
	})
}

// final reads an answer that is not one of status 100.
func final(in *bufio.Reader, method string) (status int, err error) {
	for {
		resp, err := http.ReadResponse(in, &http.Request{Method: method})
		if err != nil {
			return 0, err
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusContinue {
			return resp.StatusCode, err
		}
	}
}
