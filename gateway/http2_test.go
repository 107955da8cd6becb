package gateway

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestHTTP2IsSpoken by names and by CONNECT, several requests at a time on one
// connection, beside clients that speak HTTP/1 only.
func TestHTTP2IsSpoken(t *testing.T) {
	const host = "e.local.inference.ml.azure.com"
	var mu sync.Mutex
	remotes := map[string]int{}
	release := make(chan struct{})
	waiting := make(chan struct{}, 20)
	r := start(t, Config{Face: func(name string) (http.Handler, bool) {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			remotes[r.RemoteAddr]++
			mu.Unlock()
			if r.URL.Path == "/wait" {
				waiting <- struct{}{}
				<-release
			}
			body, _ := io.ReadAll(r.Body)
			_, _ = io.WriteString(w, r.Proto+" "+r.Host+" "+string(body))
		}), name == host
	}})
	c := r.client(t)
	transport := c.Transport.(*http.Transport)
	transport.ForceAttemptHTTP2 = true
	defer transport.CloseIdleConnections()
	post := func(path string) string {
		resp, err := c.Post("https://"+host+path, "text/plain", strings.NewReader("body"))
		if err != nil {
			t.Error(err)
			return ""
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		return string(text)
	}
	if got := post("/"); got != "HTTP/2.0 "+host+" body" {
		t.Errorf("got %q", got)
	}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() { post("/wait") })
	}
	for range 20 {
		<-waiting
	}
	close(release)
	wg.Wait()
	if len(remotes) != 1 {
		t.Errorf("the requests came by the connections %v", remotes)
	}
	if got := r.run(t, "curl", "-sS", "--http2", "-d", "body", "https://"+host+"/"); got != "HTTP/2.0 "+host+" body" {
		t.Errorf("curl through the proxy: %q", got)
	}
	if got := r.run(t, "curl", "-sS", "--http2", "--noproxy", "*", "--connect-to", "::"+r.addr, "-d", "body", "https://"+host+"/"); got != "HTTP/2.0 "+host+" body" {
		t.Errorf("curl by name: %q", got)
	}
	if got := r.run(t, "curl", "-sS", "--http1.1", "-d", "body", "https://"+host+"/"); got != "HTTP/1.1 "+host+" body" {
		t.Errorf("curl of HTTP/1.1: %q", got)
	}
}

// frames is a client of HTTP/2 that sends what it likes.
type frames struct {
	t *testing.T
	*tls.Conn
}

func (f frames) send(kind, flags byte, stream uint32, payload []byte) {
	f.t.Helper()
	head := binary.BigEndian.AppendUint32(nil, uint32(len(payload))<<8|uint32(kind)) //nolint:gosec // small
	head = append(head, flags)
	head = binary.BigEndian.AppendUint32(head, stream)
	if _, err := f.Write(append(head, payload...)); err != nil {
		f.t.Fatal(err)
	}
}

// answer reads up to the first frame that answers the stream: its kind and payload.
func (f frames) answer(stream uint32) (kind byte, payload []byte) {
	f.t.Helper()
	for {
		head := make([]byte, 9)
		if _, err := io.ReadFull(f, head); err != nil {
			return 0, nil // the connection ends
		}
		payload = make([]byte, binary.BigEndian.Uint32(head)>>8)
		if _, err := io.ReadFull(f, payload); err != nil {
			return 0, nil
		}
		if binary.BigEndian.Uint32(head[5:]) == stream && head[3] != 8 || head[3] == 7 {
			return head[3], payload
		}
	}
}

// fieldsOf encodes header fields, each as it is.
func fieldsOf(pairs ...string) []byte {
	var out bytes.Buffer
	for i := 0; i < len(pairs); i += 2 {
		out.WriteByte(0)
		for _, text := range pairs[i : i+2] {
			out.WriteByte(byte(len(text)))
			out.WriteString(text)
		}
	}
	return out.Bytes()
}

// What belongs to a connection of HTTP/1, and what two recipients could read
// in two ways, is refused in HTTP/2 as well.
func TestHTTP2CannotSmuggle(t *testing.T) {
	const host = "e.local.inference.ml.azure.com"
	seen := &seenPaths{}
	r := start(t, Config{Face: func(name string) (http.Handler, bool) { return seen, name == host }})
	many := make([]string, 0, 2*maxFields+2)
	for range maxFields + 1 {
		many = append(many, "x", "y")
	}
	for name, c := range map[string]struct {
		fields []string
		body   string
	}{
		"connection":             {[]string{"connection", "close"}, ""},
		"keep-alive":             {[]string{"keep-alive", "1"}, ""},
		"proxy-connection":       {[]string{"proxy-connection", "close"}, ""},
		"transfer-encoding":      {[]string{"transfer-encoding", "chunked"}, "0\r\n\r\n"},
		"upgrade":                {[]string{"upgrade", "h2c"}, ""},
		"te":                     {[]string{"te", "gzip"}, ""},
		"two lengths":            {[]string{"content-length", "1", "content-length", "2"}, "x"},
		"more than its length":   {[]string{"content-length", "1"}, "xyz"},
		"less than its length":   {[]string{"content-length", "5"}, "xyz"},
		"another host":           {[]string{"host", "other.azure.com"}, ""},
		"a capital":              {[]string{"X-Mine", "1"}, ""},
		"a line end in a value":  {[]string{"x", "a\r\nContent-Length: 5"}, ""},
		"a line end in a name":   {[]string{"x\r\ny", "a"}, ""},
		"a second path":          {[]string{":path", "/other"}, ""},
		"too many header fields": {many, ""},
	} {
		raw, err := net.Dial("tcp", r.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer raw.Close()
		_ = raw.SetDeadline(time.Now().Add(20 * time.Second))
		f := frames{t, tls.Client(raw, &tls.Config{ServerName: host, InsecureSkipVerify: true, NextProtos: []string{"h2"}})} //nolint:gosec // see rawClient
		if _, err := io.WriteString(f, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		f.send(4, 0, 0, nil)
		block := fieldsOf(append([]string{":method", "POST", ":scheme", "https", ":path", "/score", ":authority", host}, c.fields...)...)
		end := byte(4) // of the header
		if c.body == "" {
			end |= 1 // of the stream
		}
		f.send(1, end, 1, block)
		if c.body != "" {
			f.send(0, 1, 1, []byte(c.body))
		}
		kind, payload := f.answer(1)
		switch {
		case kind == 0, kind == 3, kind == 7: // the stream or the connection is broken off
		case kind == 1 && len(payload) > 0 && payload[0] != 0x88: // any status but 200
		default:
			t.Errorf("%s: frame %d %x", name, kind, payload)
		}
	}
	seen.mu.Lock()
	defer seen.mu.Unlock()
	for _, path := range seen.list {
		if path != "/score" {
			t.Errorf("a face was asked for %q", path)
		}
	}
}
