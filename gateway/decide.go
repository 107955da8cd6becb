package gateway

import (
	"fmt"
	"net/http"
	"net/netip"
)

// Egress says what happens with names that are not Azure's.
type Egress int

// The rules for names that the platform does not answer.
const (
	EgressAllow Egress = iota
	EgressDeny
)

// refusal is why a request gets no further, as the client is told it.
type refusal struct {
	status  int
	code    string
	message string
}

func (r *refusal) Error() string { return r.code + ": " + r.message }

// route is the outcome for a host: a face, or a way out, or a refusal.
type route struct {
	face    http.Handler
	refused *refusal // nil with a nil face: pass through
}

// rules are what a decision is made from.
type rules struct {
	face   func(host string) (http.Handler, bool)
	azure  func(host string) bool
	egress Egress
}

// decide tells what the proxy does with a host that [splitAuthority] gave.
// Names of this machine come first, so that no face is reached by them through
// the proxy; Azure names come before the way out, so that no setting opens it.
func (r rules) decide(host string) route {
	if ip, err := netip.ParseAddr(host); err == nil {
		if guardedAddress(ip) {
			return route{refused: refuseGuarded(host)}
		}
		return r.outward(host)
	}
	if host == "localhost" {
		return route{refused: refuseGuarded(host)}
	}
	if face, ok := r.face(host); ok {
		return route{face: face}
	}
	if r.azure(host) {
		return route{refused: refuseAzure(host)}
	}
	if within(host, "localhost") {
		return route{refused: refuseGuarded(host)}
	}
	return r.outward(host)
}

func (r rules) outward(host string) route {
	if r.egress != EgressAllow {
		return route{refused: &refusal{http.StatusForbidden, "EgressDenied", fmt.Sprintf(
			"Lapis does not serve %s and passes no other name out; start it with --egress allow to reach it", host)}}
	}
	return route{}
}

func refuseAzure(host string) *refusal {
	return &refusal{http.StatusForbidden, "AzureNameNotServed", fmt.Sprintf(
		"Lapis does not serve the Azure name %s, and never passes a request for an Azure name out", host)}
}

func refuseGuarded(host string) *refusal {
	return &refusal{http.StatusForbidden, "AddressNotAllowed", fmt.Sprintf(
		"the Lapis proxy does not lead to %s (this machine, its links or a metadata service); add it to NO_PROXY to reach it directly", host)}
}

func refuseRemote(host string) *refusal {
	return &refusal{http.StatusForbidden, "EgressDenied", fmt.Sprintf(
		"the Lapis proxy passes %s out only for clients on its own machine", host)}
}

func refusePlain(host string) *refusal {
	return &refusal{http.StatusBadRequest, "HttpsRequired", fmt.Sprintf(
		"%s is answered over https only; use https://%s", host, host)}
}

func refusePlainRemote(path string) *refusal {
	return &refusal{http.StatusForbidden, "HttpsRequired", fmt.Sprintf(
		"%s is answered in plain http for clients on this machine only; ask for it over https, by the platform's own name", path)}
}

func refusePlainName(host string) *refusal {
	return &refusal{http.StatusMisdirectedRequest, "HostNotAllowed", fmt.Sprintf(
		"this port answers as 127.0.0.1 and localhost, not as %s", clip(host))}
}

func refuseTarget(err error) *refusal {
	return &refusal{http.StatusBadRequest, "InvalidTarget", err.Error()}
}

func refuseHost(asked, host string) *refusal {
	return &refusal{http.StatusMisdirectedRequest, "HostMismatch", fmt.Sprintf(
		"this connection was opened for %s, the request names %s; open another connection for it", host, asked)}
}

func refuseUnreachable(host string, err error) *refusal {
	return &refusal{http.StatusBadGateway, "Unreachable", fmt.Sprintf("%s cannot be reached: %v", host, err)}
}

func refuseUnserved(host string) *refusal {
	return &refusal{http.StatusForbidden, "NameNotServed", fmt.Sprintf("Lapis does not serve %s", host)}
}
