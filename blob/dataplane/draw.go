package dataplane

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"lapis/blob"
	"lapis/fault"
)

// errorBody is the service's error document.
type errorBody struct {
	XMLName    xml.Name `xml:"Error"`
	Code       string
	Message    string
	HeaderName string `xml:",omitempty"`
	Query      string `xml:"QueryParameterName,omitempty"`
	Extra      []errorElement
}

// errorElement is shown by clients under its name.
type errorElement struct {
	XMLName xml.Name
	Text    string `xml:",chardata"`
}

// A client that is still sending its body may not look at the answer before it
// has finished; up to this much is read and dropped.
const drain = 64 << 20

// draw is the only place that writes a status of 304, or 400 and more.
func (h *Handler) draw(w *response, q *request, err error) {
	f := fault.From(err)
	h.log(q, f)
	if w.begun { // all that is left is to show that the body is not whole
		panic(http.ErrAbortHandler)
	}
	head := w.Header()
	for _, name := range []string{"Content-Length", "Content-MD5", "Content-Encoding", "Etag", "Last-Modified"} {
		head.Del(name)
	}
	head.Set("X-Ms-Error-Code", f.Code)
	if f.Kind == fault.Unauthenticated {
		head.Set("WWW-Authenticate", "Bearer authorization_uri="+h.c.AuthorizationURI+" resource_id=https://storage.azure.com")
	}
	if d := f.Denial; d != nil {
		head.Set("X-Lapis-Denied", d.Header())
	}
	if q.http.Body != nil && q.http.Header.Get("Expect") == "" {
		_, _ = io.CopyN(io.Discard, q.http.Body, drain)
	}
	code := status(f)
	if code == http.StatusNotModified || q.http.Method == http.MethodHead {
		w.WriteHeader(code)
		return
	}
	body := h.errorDocument(q, f)
	head.Set("Content-Type", "application/xml")
	head.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(code)
	_, _ = w.Write(body)
}

func (h *Handler) errorDocument(q *request, f *fault.Error) []byte {
	doc := errorBody{
		Code:    f.Code,
		Message: f.Message + "\nRequestId:" + q.id + "\nTime:" + h.c.Now().UTC().Format(time.RFC3339Nano),
	}
	switch f.Code {
	case "InvalidHeaderValue":
		doc.HeaderName = f.Target
	case "InvalidQueryParameterValue", "OutOfRangeQueryParameterValue":
		doc.Query = f.Target
	}
	if d := f.Denial; d != nil {
		doc.Extra = append(doc.Extra, element("AuthorizationErrorDetail", deniedText(d)+" ("+d.Action+" was asked for at "+d.Scope+")"))
		doc.Extra = append(doc.Extra, element("Remedy", d.Remedy))
	}
	for _, inner := range f.Details {
		doc.Extra = append(doc.Extra, element(inner.Code, inner.Message))
	}
	var buf bytes.Buffer
	buf.WriteString(xml.Header)
	if err := xml.NewEncoder(&buf).Encode(doc); err != nil { // texts are escaped, so this cannot be
		buf.WriteString("<Error><Code>" + f.Code + "</Code></Error>")
	}
	// People read this too, and between tags these need no escape.
	return []byte(strings.NewReplacer("&#xA;", "\n", "&#39;", "'", "&#34;", `"`).Replace(buf.String()))
}

func element(name, text string) errorElement {
	return errorElement{XMLName: xml.Name{Local: name}, Text: text}
}

// deniedText is one line that says what a principal lacks.
func deniedText(d *fault.Denial) string {
	return d.Principal + " needs " + d.Role + " at " + d.RoleScope
}

// status maps a fault to a status. Codes that differ from their kind come first.
func status(f *fault.Error) int {
	switch {
	case errors.Is(f, blob.ErrNotModified):
		return http.StatusNotModified
	case f.Code == "MissingContentLengthHeader":
		return http.StatusLengthRequired
	}
	switch f.Kind {
	case fault.Invalid:
		return http.StatusBadRequest
	case fault.Unauthenticated:
		return http.StatusUnauthorized
	case fault.Denied:
		return http.StatusForbidden
	case fault.NotFound:
		return http.StatusNotFound
	case fault.NotAllowed:
		return http.StatusMethodNotAllowed
	case fault.Conflict:
		return http.StatusConflict
	case fault.Gone:
		return http.StatusGone
	case fault.Precondition:
		return http.StatusPreconditionFailed
	case fault.TooLarge:
		return http.StatusRequestEntityTooLarge
	case fault.Unsupported:
		return http.StatusUnsupportedMediaType
	case fault.BadRange:
		return http.StatusRequestedRangeNotSatisfiable
	case fault.Throttled, fault.Unavailable:
		return http.StatusServiceUnavailable
	case fault.NotImplemented:
		return http.StatusNotImplemented
	}
	return http.StatusInternalServerError
}

// log writes what an operator wants to know of a refusal.
func (h *Handler) log(q *request, f *fault.Error) {
	attrs := append(q.attrs(), "code", f.Code)
	switch {
	case q.http.Context().Err() != nil: // the client has gone; what failed then is no news
		h.c.Log.Debug("storage request broken off", attrs...)
	case f.Kind == fault.Internal:
		h.c.Log.Error("storage request failed", append(attrs, "error", f.Error())...)
	case f.Denial != nil:
		d := f.Denial
		h.c.Log.Warn("storage request denied", append(attrs, slog.String("principal", d.Principal),
			"action", d.Action, "scope", d.Scope, "role", d.Role, "roleScope", d.RoleScope, "remedy", d.Remedy)...)
	case f.Kind == fault.Denied || f.Kind == fault.Unauthenticated:
		h.c.Log.Warn("storage request denied", attrs...)
	default:
		h.c.Log.Info("storage request refused", attrs...)
	}
}

func isFault(err error) bool {
	var f *fault.Error
	return errors.As(err, &f)
}
