package registry

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"cuelabs.dev/go/oci/ociregistry"
	"cuelabs.dev/go/oci/ociregistry/ociclient"

	"lapis/fault"
)

// ClientConfig is what a client of one registry works with.
type ClientConfig struct {
	HTTP        *http.Client // its Transport is used; nil: http.DefaultTransport
	LoginServer string       // host, with a port if it is not 443
	Tenant      string       // sent with the exchange; may be empty

	// Token returns a token of the identity that pulls or pushes, for the
	// resource manager or https://containerregistry.azure.net.
	Token func(ctx context.Context) (string, error)
}

// NewClient returns a registry spoken to over HTTP: challenge, exchange, token,
// request, as the real service wants it. The value is safe for concurrent use
// and keeps its tokens.
//
// Its errors keep the registry's errors[] (errors.Is with ociregistry.ErrDenied
// and the like), and [FaultOf] makes a fault of them, with the role that is
// missing where the registry says so.
func NewClient(cfg ClientConfig) (ociregistry.Interface, error) {
	if cfg.Token == nil {
		return nil, errors.New("registry client: Token must be set")
	}
	var next http.RoundTripper
	if cfg.HTTP != nil {
		next = cfg.HTTP.Transport
	}
	if next == nil {
		next = http.DefaultTransport
	}
	return ociclient.New(cfg.LoginServer, &ociclient.Options{
		DebugID:   "registry",
		Transport: &authTransport{cfg: cfg, next: next, access: map[string]heldToken{}},
	})
}

// DeniedError is an answer of a registry that names the missing role.
type DeniedError struct {
	Wire   ociregistry.WireError // the first of errors[]
	Denial fault.Denial
}

// Error says what was denied and what would mend it.
func (e *DeniedError) Error() string {
	text := e.Wire.Error()
	if e.Denial.Role != "" {
		text += "; missing role: " + e.Denial.Role + " at " + e.Denial.RoleScope
	}
	if e.Denial.Remedy != "" {
		text += "; to assign it: " + e.Denial.Remedy
	}
	return text
}

// Unwrap gives the error of errors[].
func (e *DeniedError) Unwrap() error { return &e.Wire }

// FaultOf makes a fault of an error of a client or of [Service.Open]: kind and
// code as the registry gave them, and the denial if there is one. Errors that
// no registry answered, such as a broken connection, are Unavailable.
func FaultOf(err error) *fault.Error {
	if err == nil {
		return nil
	}
	var denied *DeniedError
	var flt *fault.Error
	var oci ociregistry.Error
	switch {
	case errors.As(err, &denied):
		denial := denied.Denial
		return &fault.Error{Kind: fault.Denied, Code: denied.Wire.Code_, Message: denied.Wire.Message, Denial: &denial, Err: err}
	case errors.As(err, &flt):
		return flt
	case errors.As(err, &oci):
		return &fault.Error{Kind: kindOf(oci.Code()), Code: oci.Code(), Message: messageOf(oci), Err: err}
	case errors.Is(err, context.DeadlineExceeded):
		return &fault.Error{Kind: fault.Timeout, Code: "TIMEOUT", Message: "The registry did not answer in time.", Err: err}
	}
	return &fault.Error{Kind: fault.Unavailable, Code: "UNAVAILABLE", Message: "The registry could not be asked: " + err.Error(), Err: err}
}

func kindOf(code string) fault.Kind {
	switch ociStatus(code) {
	case http.StatusUnauthorized:
		return fault.Unauthenticated
	case http.StatusForbidden:
		return fault.Denied
	case http.StatusNotFound:
		return fault.NotFound
	case http.StatusRequestedRangeNotSatisfiable:
		return fault.BadRange
	case http.StatusTooManyRequests:
		return fault.Throttled
	}
	switch code {
	case "UNKNOWN", "UNAVAILABLE":
		return fault.Unavailable
	}
	return fault.Invalid
}

// deniedBy reads the role decision from an answer, if it carries one.
func deniedBy(resp *http.Response, data []byte) *DeniedError {
	header := resp.Header.Get(deniedHeader)
	if header == "" {
		return nil
	}
	e := &DeniedError{Wire: firstError(resp.StatusCode, data)}
	if json.Unmarshal([]byte(header), &e.Denial) != nil {
		return nil
	}
	return e
}

// firstError reads errors[] of a body, or makes one of the status.
func firstError(status int, data []byte) ociregistry.WireError {
	var wire ociregistry.WireErrors
	if json.Unmarshal(data, &wire) == nil && len(wire.Errors) > 0 && wire.Errors[0].Code_ != "" {
		return wire.Errors[0]
	}
	code := "UNKNOWN"
	switch status {
	case http.StatusUnauthorized:
		code = ociregistry.ErrUnauthorized.Code()
	case http.StatusForbidden:
		code = ociregistry.ErrDenied.Code()
	case http.StatusNotFound:
		code = ociregistry.ErrNameUnknown.Code()
	case http.StatusTooManyRequests:
		code = ociregistry.ErrTooManyRequests.Code()
	}
	return ociregistry.WireError{Code_: code, Message: "the registry answered " + http.StatusText(status)}
}
