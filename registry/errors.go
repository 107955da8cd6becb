package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"syscall"

	"cuelabs.dev/go/oci/ociregistry"

	"lapis/fault"
)

// deniedHeader carries the role decision behind a denial, as JSON of
// fault.Denial, so that an answer to HEAD explains itself too.
const deniedHeader = "x-lapis-denied"

// ociErrorf makes an error of the same code with a message of its own.
func ociErrorf(kind ociregistry.Error, format string, args ...any) error {
	return ociregistry.NewError(fmt.Sprintf(format, args...), kind.Code(), nil)
}

// challenge asks for a credential, or for a token with a wider scope.
type challenge struct {
	scope  []access
	code   string // error parameter of RFC 6750; "" when nothing was presented
	reason string
}

func (c *challenge) Error() string { return c.reason }

// answer is an error as it goes out.
type answer struct {
	status  int
	code    string // errors[].code
	oauth   string // error of RFC 6749, for the token endpoints
	message string
	detail  any
}

// draw writes err. It is the only code of this package that writes a status of
// 400 or more.
func (f *face) draw(w http.ResponseWriter, r *http.Request, err error) {
	a := f.answerTo(w, r, err)
	type wireError struct {
		Code    string `json:"code"`
		Message string `json:"message"`
		Detail  any    `json:"detail,omitempty"`
	}
	body := struct {
		Errors      []wireError `json:"errors"`
		OAuth       string      `json:"error,omitempty"`
		Description string      `json:"error_description,omitempty"`
	}{Errors: []wireError{{a.code, a.message, a.detail}}}
	if strings.HasPrefix(r.URL.Path, "/oauth2/") {
		body.OAuth, body.Description = a.oauth, a.message
	}
	h := w.Header()
	for _, name := range []string{"Content-Length", "Docker-Content-Digest", "Location", "Range", "Link"} {
		h.Del(name)
	}
	h.Set("Content-Type", "application/json; charset=utf-8")
	data, err := json.Marshal(body)
	if err != nil {
		f.s.log.Error("an error could not be written as JSON", "err", err)
	}
	w.WriteHeader(a.status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(data)
	}
}

func (f *face) answerTo(w http.ResponseWriter, r *http.Request, err error) answer {
	var c *challenge
	var ociErr ociregistry.Error
	var httpErr ociregistry.HTTPError
	var tooLarge *http.MaxBytesError
	var flt *fault.Error
	switch {
	case errors.As(err, &c):
		return drawChallenge(w, r, c)
	case errors.Is(err, syscall.ENOSPC):
		f.s.log.Error("the disk is full", "method", r.Method, "path", r.URL.Path)
		return answer{http.StatusInsufficientStorage, "UNAVAILABLE", "server_error", "The platform's disk is full; nothing was stored.", nil}
	case errors.Is(err, context.Canceled) && r.Context().Err() != nil:
		return answer{http.StatusServiceUnavailable, "UNAVAILABLE", "server_error", "The request was given up.", nil} // no one reads it
	case errors.As(err, &flt):
		return f.drawFault(w, r, flt)
	case errors.As(err, &tooLarge):
		return answer{http.StatusRequestEntityTooLarge, "SIZE_INVALID", "invalid_request", fmt.Sprintf("The request's body is larger than %d bytes.", tooLarge.Limit), nil}
	case errors.Is(err, errUploadBusy):
		return answer{http.StatusConflict, ociregistry.ErrBlobUploadInvalid.Code(), "", "Another request is writing to this upload; ask for its state and go on from there.", nil}
	case errors.Is(err, errBody):
		return answer{http.StatusBadRequest, ociregistry.ErrSizeInvalid.Code(), "invalid_request", "The request's body ended before it was whole.", nil}
	case errors.As(err, &ociErr):
		return answer{ociStatus(ociErr.Code()), ociErr.Code(), "invalid_request", messageOf(ociErr), nil}
	case errors.As(err, &httpErr) && httpErr.StatusCode() >= 400 && httpErr.StatusCode() < 500:
		return answer{httpErr.StatusCode(), codeOf(httpErr.StatusCode()), "invalid_request", httpErr.Error(), nil}
	}
	return f.drawFault(w, r, fault.From(err))
}

// drawChallenge writes the header of RFC 6750 as the real registry does.
func drawChallenge(w http.ResponseWriter, r *http.Request, c *challenge) answer {
	header := fmt.Sprintf("Bearer realm=%q,service=%q", "https://"+r.Host+"/oauth2/token", r.Host)
	if len(c.scope) > 0 {
		header += fmt.Sprintf(",scope=%q", formatScopes(c.scope))
	}
	if c.code != "" {
		header += fmt.Sprintf(",error=%q", c.code)
	}
	w.Header().Set("Www-Authenticate", header)
	type detail struct{ Type, Name, Action string }
	var details []detail
	for _, e := range c.scope {
		for _, action := range e.Actions {
			details = append(details, detail{e.Type, e.Name, action})
		}
	}
	a := answer{http.StatusUnauthorized, ociregistry.ErrUnauthorized.Code(), "invalid_client", c.reason, nil}
	if details != nil {
		a.detail = details
	}
	return a
}

func (f *face) drawFault(w http.ResponseWriter, r *http.Request, e *fault.Error) answer {
	if e.Kind == fault.Internal {
		f.s.log.Error("request failed", "method", r.Method, "path", r.URL.Path, "err", e)
	}
	a := answer{message: e.Message, oauth: "invalid_request"}
	a.status, a.code = faultStatus(e.Kind)
	switch e.Kind {
	case fault.Invalid:
		if strings.HasPrefix(e.Code, "invalid_") || strings.HasPrefix(e.Code, "unsupported_") {
			a.oauth = e.Code
		}
	case fault.Unauthenticated:
		a.oauth = "invalid_grant"
	case fault.Denied:
		a.oauth = "access_denied"
	case fault.Internal:
		a.oauth = "server_error"
	}
	if e.Denial != nil {
		a.detail = e.Denial
		w.Header().Set(deniedHeader, e.Denial.Header())
		f.s.log.Warn("registry access denied", "method", r.Method, "path", r.URL.Path, "host", r.Host,
			"principal", e.Denial.Principal, "action", e.Denial.Action, "scope", e.Denial.Scope,
			"role", e.Denial.Role, "roleScope", e.Denial.RoleScope)
		if f.exchange(r) {
			// Someone who can do nothing here gets no refresh token: 401, as
			// the real service answers at this endpoint.
			a.status, a.code = http.StatusUnauthorized, ociregistry.ErrUnauthorized.Code()
		}
	}
	return a
}

func faultStatus(kind fault.Kind) (int, string) {
	switch kind {
	case fault.Invalid, fault.Precondition, fault.Unsupported:
		return http.StatusBadRequest, ociregistry.ErrUnsupported.Code()
	case fault.Unauthenticated:
		return http.StatusUnauthorized, ociregistry.ErrUnauthorized.Code()
	case fault.Denied:
		return http.StatusForbidden, ociregistry.ErrDenied.Code()
	case fault.NotFound, fault.Gone:
		return http.StatusNotFound, ociregistry.ErrNameUnknown.Code()
	case fault.NotAllowed:
		return http.StatusMethodNotAllowed, ociregistry.ErrUnsupported.Code()
	case fault.Conflict:
		return http.StatusConflict, ociregistry.ErrUnsupported.Code()
	case fault.TooLarge:
		return http.StatusRequestEntityTooLarge, ociregistry.ErrSizeInvalid.Code()
	case fault.BadRange:
		return http.StatusRequestedRangeNotSatisfiable, ociregistry.ErrRangeInvalid.Code()
	case fault.Throttled:
		return http.StatusTooManyRequests, ociregistry.ErrTooManyRequests.Code()
	case fault.NotImplemented:
		return http.StatusNotImplemented, ociregistry.ErrUnsupported.Code()
	case fault.Unavailable, fault.Timeout:
		return http.StatusServiceUnavailable, "UNAVAILABLE"
	}
	return http.StatusInternalServerError, "UNKNOWN"
}

// ociStatus is the status of a code (distribution-spec, "Error Codes", and for
// the range the registry it grew from).
func ociStatus(code string) int {
	switch code {
	case "UNAUTHORIZED":
		return http.StatusUnauthorized
	case "DENIED":
		return http.StatusForbidden
	case "BLOB_UNKNOWN", "BLOB_UPLOAD_UNKNOWN", "MANIFEST_UNKNOWN", "MANIFEST_BLOB_UNKNOWN", "NAME_UNKNOWN":
		return http.StatusNotFound
	case "RANGE_INVALID":
		return http.StatusRequestedRangeNotSatisfiable
	case "TOOMANYREQUESTS":
		return http.StatusTooManyRequests
	}
	return http.StatusBadRequest
}

// codeOf names an error of the protocol library that has a status and no code.
func codeOf(status int) string {
	switch status {
	case http.StatusNotFound:
		return ociregistry.ErrNameUnknown.Code()
	case http.StatusRequestedRangeNotSatisfiable:
		return ociregistry.ErrRangeInvalid.Code()
	}
	return ociregistry.ErrUnsupported.Code()
}

// messageOf is the text of an error without the code that Error() puts before it.
func messageOf(err ociregistry.Error) string {
	if wire, ok := err.(*ociregistry.WireError); ok && wire.Message != "" {
		return wire.Message
	}
	return err.Error()
}
