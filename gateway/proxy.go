package gateway

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"time"
)

// about is what the port says to somebody who asks it in plain HTTP.
const about = `This is the gateway of a Lapis platform: Azure's protocols, answered on this machine.

It takes HTTPS for the names that the platform answers, and it is an HTTP
proxy. "lapis env" prints the variables that point clients here.
`

// servePlain answers what came without TLS: proxy requests, and lost people.
func (d *door) servePlain(w http.ResponseWriter, r *http.Request) {
	var (
		host string
		why  *refusal
	)
	switch {
	case r.Method == http.MethodConnect:
		host, why = d.connect(w, r)
	case r.URL.IsAbs():
		host, why = d.forward(w, r)
	default:
		host, why = d.own(w, r)
	}
	if why != nil {
		d.gateway.refused(host, r.RemoteAddr, why)
		draw(w, r, why)
	}
}

// own answers who asks the port itself.
func (d *door) own(w http.ResponseWriter, r *http.Request) (host string, why *refusal) {
	face, ok := d.gateway.plain[r.URL.Path]
	if !ok {
		describe(w, r)
		return "", nil
	}
	if !fromHere(r) { // what is sent could be read on the way
		return clip(r.Host), refusePlainRemote(r.URL.Path)
	}
	if !namesHere(r.Host) {
		return clip(r.Host), refusePlainName(r.Host)
	}
	face.ServeHTTP(w, r)
	return "", nil
}

func fromHere(r *http.Request) bool {
	remote, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && remote.Addr().Unmap().IsLoopback()
}

// namesHere tells the names under which this machine knows its own port. Any
// other name may be somebody else's, who has it lead here so that a page of
// theirs is of our origin for the browser.
func namesHere(asked string) bool {
	host, _, err := splitAuthority(asked)
	if err != nil {
		return false
	}
	if _, err := netip.ParseAddr(host); err == nil { // nobody gives out names that look so
		return true
	}
	return within(host, "localhost")
}

func describe(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if r.URL.Path != "/" {
		w.WriteHeader(http.StatusBadRequest)
	}
	_, _ = io.WriteString(w, about)
}

// connect answers CONNECT. On success the connection is no longer the
// server's, and the handler's goroutine is that of the tunnel.
func (d *door) connect(w http.ResponseWriter, r *http.Request) (host string, why *refusal) {
	host, port, err := splitAuthority(r.RequestURI)
	if err == nil && port == "" {
		err = fmt.Errorf("CONNECT %s names no port", clip(r.RequestURI))
	}
	if err != nil {
		return clip(r.RequestURI), refuseTarget(err)
	}
	to := d.gateway.decide(host)
	if to.refused != nil {
		return host, to.refused
	}
	if to.face != nil {
		return host, d.hijack(w, func(c *conn) {
			c.connect, c.caller = host, passwordOf(r)
			d.handshake(c)
		})
	}
	if why := d.mayPassOut(r, host); why != nil {
		return host, why
	}
	far, err := d.gateway.out.tunnel(r.Context(), net.JoinHostPort(host, port))
	if err != nil {
		return host, refuseUnreachable(host, err)
	}
	defer func() { _ = far.Close() }()
	return host, d.hijack(w, func(c *conn) { splice(d.ctx, c, far) })
}

// ProxyPassword is the password by which the client of a request introduced
// itself to the proxy, "" if it did not. The gateway asks for none and checks
// none: it is for those who have given it out.
func ProxyPassword(r *http.Request) string {
	if c := connOf(r); c != nil {
		return c.caller
	}
	return ""
}

func passwordOf(r *http.Request) string {
	given := http.Request{Header: http.Header{"Authorization": r.Header["Proxy-Authorization"]}}
	_, password, _ := given.BasicAuth()
	return password
}

// mayPassOut keeps a gateway on a network from being everybody's proxy.
func (d *door) mayPassOut(r *http.Request, host string) *refusal {
	if d.gateway.egressRemote || fromHere(r) {
		return nil
	}
	return refuseRemote(host)
}

// hijack takes the connection from the server, tells the client that it is
// connected, and runs fn with it until fn returns.
func (d *door) hijack(w http.ResponseWriter, fn func(*conn)) *refusal {
	raw, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return &refusal{http.StatusInternalServerError, "NotConnected", err.Error()}
	}
	c, ok := raw.(*conn) // what the plain server was given
	if !ok || !d.begin(c) {
		_ = raw.Close()
		return nil // shutting down: there is nobody left to tell
	}
	defer d.work.Done()
	early, _ := buffered.Peek(buffered.Reader.Buffered())
	c.head = bytes.Clone(early)
	if _, err := io.WriteString(c, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		_ = c.Close()
		return nil
	}
	fn(c)
	return nil
}

// forward answers a plain HTTP request to a proxy: GET http://host/path.
func (d *door) forward(w http.ResponseWriter, r *http.Request) (host string, why *refusal) {
	host, _, err := splitAuthority(r.URL.Host)
	if err == nil && r.URL.Scheme != "http" {
		err = fmt.Errorf("scheme %q in the request line: use CONNECT", clip(r.URL.Scheme))
	}
	if err != nil {
		return clip(r.URL.Host), refuseTarget(err)
	}
	to := d.gateway.decide(host)
	switch {
	case to.face != nil || (to.refused != nil && d.gateway.azure(host)):
		return host, refusePlain(host)
	case to.refused != nil:
		return host, to.refused
	}
	if why := d.mayPassOut(r, host); why != nil {
		return host, why
	}
	if err := d.gateway.out.forward(w, r); err != nil {
		return host, refuseUnreachable(host, err)
	}
	return host, nil
}

// draw writes every answer of 400 or more, with the reason in the body, in a
// header, and for CONNECT in the status line, the only part that clients show.
func draw(w http.ResponseWriter, r *http.Request, why *refusal) {
	body, _ := json.Marshal(map[string]any{"error": map[string]string{"code": why.code, "message": why.message}})
	h := w.Header()
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("x-lapis-refused", why.code)
	if r.Method == http.MethodConnect && drawConnect(w, why, body) {
		return
	}
	w.WriteHeader(why.status)
	_, _ = w.Write(append(body, '\n'))
}

func drawConnect(w http.ResponseWriter, why *refusal, body []byte) bool {
	raw, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return false
	}
	defer func() { _ = raw.Close() }()
	_ = raw.SetDeadline(time.Now().Add(headerTimeout))
	h := w.Header()
	h.Set("Connection", "close")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = fmt.Fprintf(buffered, "HTTP/1.1 %d %s\r\n", why.status, statusText(why.message))
	_ = h.Write(buffered)
	_, _ = fmt.Fprintf(buffered, "\r\n%s", body)
	_ = buffered.Flush()
	return true
}

// statusText keeps a message fit for a status line.
func statusText(message string) string {
	b := []byte(message)
	for i, c := range b {
		if c < ' ' || c > '~' {
			b[i] = '?'
		}
	}
	return string(b)
}
