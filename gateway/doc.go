// Package gateway is the one network door of the platform.
//
// It owns the listener, the local certificate authority and the decision what
// happens with a host name. On one port it is
//   - an HTTPS server for every name that a face answers, by SNI, and
//   - an HTTP proxy: CONNECT to such a name ends here, with a certificate made
//     for it; CONNECT to any other name passes through or is refused.
//
// It promises: a request for an Azure name never leaves the machine, whether a
// face answers it or not; the proxy leads to nothing that listens on this
// machine or to a cloud's metadata address; the authority can sign only for
// the names that the platform answers and for loopback.
//
// The faces behind it see ordinary net/http requests whose Host is the name
// that was asked for. It holds no rules of any face.
package gateway
