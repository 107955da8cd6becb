package gateway

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// TestBodiesAreNotHeldBack: a client that sends head and body apart, with
// Nagle's algorithm on, does not wait for a delayed acknowledgement each time.
func TestBodiesAreNotHeldBack(t *testing.T) {
	const host, requests, bound = "management.azure.com", 20, 400 * time.Millisecond // held back, they take 800 ms
	r := start(t, Config{})
	socket, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = socket.Close() }()
	if err := socket.(*net.TCPConn).SetNoDelay(false); err != nil {
		t.Fatal(err)
	}
	if resp := ask(t, socket, "CONNECT "+host+":443 HTTP/1.1\r\nHost: "+host+":443\r\n\r\n"); resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status)
	}
	secured := tls.Client(socket, &tls.Config{RootCAs: pool(r.ca), ServerName: host})
	answers := bufio.NewReader(secured)
	exchange := func() {
		for _, part := range []string{"PUT /x HTTP/1.1\r\nHost: " + host + "\r\nContent-Length: 5\r\n\r\n", "hello"} {
			if _, err := fmt.Fprint(secured, part); err != nil {
				t.Fatal(err)
			}
		}
		resp, err := http.ReadResponse(answers, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
	}
	exchange() // the handshake
	began := time.Now()
	for range requests {
		exchange()
	}
	if took := time.Since(began); took > bound {
		t.Errorf("%d requests took %s", requests, took)
	} else {
		t.Logf("%d requests took %s", requests, took)
	}
}
