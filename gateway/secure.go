package gateway

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
)

// checkHello refuses a handshake for another name than CONNECT asked for. It
// is called for resumed sessions too, where no certificate is asked for.
func (d *door) checkHello(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	c, ok := hello.Conn.(*conn)
	if !ok {
		return nil, fmt.Errorf("connection of type %T", hello.Conn)
	}
	c.asked = c.connect
	if hello.ServerName == "" {
		return nil, nil
	}
	name, _, err := splitAuthority(hello.ServerName)
	if err != nil {
		return nil, err
	}
	c.asked = name
	if c.connect != "" && c.connect != name {
		return nil, fmt.Errorf("CONNECT asked for %s, the handshake for %s", c.connect, name)
	}
	return nil, nil
}

// certificate mints for the name asked for; without one, for the address that
// the client came in by.
func (d *door) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	c, ok := hello.Conn.(*conn)
	if !ok {
		return nil, fmt.Errorf("connection of type %T", hello.Conn)
	}
	if c.asked != "" {
		return d.gateway.ca.Leaf(c.asked)
	}
	local, err := netip.ParseAddrPort(c.LocalAddr().String())
	if err != nil {
		return d.gateway.ca.Leaf("localhost")
	}
	return d.gateway.ca.Leaf(local.Addr().Unmap().String())
}

// serveSecure gives a request to the face of the host that its connection is for.
func (d *door) serveSecure(w http.ResponseWriter, r *http.Request) {
	c := connOf(r)
	if r.Method == refusedMethod && c.refused != nil {
		d.gateway.refused(c.asked, r.RemoteAddr, c.refused)
		draw(w, r, c.refused)
		_ = http.NewResponseController(w).Flush()
		c.strict.linger()
		return
	}
	if r.TLS == nil { // the server does not see it below a strict connection
		r.TLS = c.tls
	}
	face, host, why := d.secureRoute(r)
	if why != nil {
		d.gateway.refused(host, r.RemoteAddr, why)
		draw(w, r, why)
		return
	}
	face.ServeHTTP(w, r)
}

func (d *door) secureRoute(r *http.Request) (face http.Handler, host string, why *refusal) {
	host = connOf(r).asked
	if host == "" {
		host = "localhost"
	}
	if r.ProtoMajor > 1 {
		if why := checkFields(r); why != nil {
			return nil, host, why
		}
	}
	asked, _, err := splitAuthority(r.Host)
	if err != nil {
		return nil, host, refuseTarget(err)
	}
	if asked != host && !(host == "localhost" && isLoopbackHost(asked)) {
		return nil, host, refuseHost(asked, host)
	}
	face, ok := d.gateway.face(host)
	if !ok {
		return nil, host, refuseUnserved(host)
	}
	return face, host, nil
}

func isLoopbackHost(host string) bool {
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// checkFields holds the header of HTTP/2, which no strict connection has seen,
// to what the server leaves open.
func checkFields(r *http.Request) *refusal {
	count := 0
	for _, values := range r.Header {
		count += len(values)
	}
	hosts := r.Header["Host"]
	switch {
	case count > maxFields:
		return refuseHeader("it has more than 256 fields")
	case len(r.Header["Content-Length"]) > 1:
		return refuseForm("it has several Content-Lengths")
	case len(hosts) > 1 || len(hosts) == 1 && !strings.EqualFold(hosts[0], r.Host):
		return refuseForm("its :authority and its Host differ")
	}
	return nil
}
