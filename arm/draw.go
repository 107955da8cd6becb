package arm

import (
	"encoding/json"
	"net/http"

	"lapis/fault"
	"lapis/operation"
)

// statuses maps the kinds of faults to Resource Manager's statuses.
var statuses = map[fault.Kind]int{
	fault.Internal:        http.StatusInternalServerError,
	fault.Invalid:         http.StatusBadRequest,
	fault.Unauthenticated: http.StatusUnauthorized,
	fault.Denied:          http.StatusForbidden,
	fault.NotFound:        http.StatusNotFound,
	fault.NotAllowed:      http.StatusMethodNotAllowed,
	fault.Conflict:        http.StatusConflict,
	fault.Gone:            http.StatusGone,
	fault.Precondition:    http.StatusPreconditionFailed,
	fault.TooLarge:        http.StatusRequestEntityTooLarge,
	fault.Unsupported:     http.StatusUnsupportedMediaType,
	fault.BadRange:        http.StatusRequestedRangeNotSatisfiable,
	fault.Throttled:       http.StatusTooManyRequests,
	fault.NotImplemented:  http.StatusNotImplemented,
	fault.Unavailable:     http.StatusServiceUnavailable,
	fault.Timeout:         http.StatusGatewayTimeout,
	fault.ModelFailed:     http.StatusFailedDependency,
}

// errorBody is ARM's error (RPC contract, "error response content").
type errorBody struct {
	Code           string           `json:"code"`
	Message        string           `json:"message"`
	Target         string           `json:"target,omitempty"`
	Details        []*errorBody     `json:"details,omitempty"`
	AdditionalInfo []additionalInfo `json:"additionalInfo,omitempty"`
}

type additionalInfo struct {
	Type string `json:"type"`
	Info any    `json:"info"`
}

// errorOf renders a fault; nil for nil.
func errorOf(e *fault.Error) *errorBody {
	if e == nil {
		return nil
	}
	b := &errorBody{Code: e.Code, Message: e.Message, Target: e.Target}
	for _, d := range e.Details {
		b.Details = append(b.Details, errorOf(d))
	}
	if e.Denial != nil {
		b.AdditionalInfo = []additionalInfo{{Type: "LapisDenial", Info: e.Denial}}
	}
	return b
}

// failureOf renders the error of an operation; nil for nil.
func failureOf(f *operation.Failure) *errorBody { return errorOf(f.Fault()) }

// drawError is the only place of this face that writes a status of 400 or more.
func (f *Face) drawError(w http.ResponseWriter, r *http.Request, err error) {
	e := fault.From(err)
	status := statuses[e.Kind]
	if e.Kind == fault.Internal {
		f.Log.Error("request failed", "method", r.Method, "path", r.URL.Path, "error", e.Err)
	}
	if e.Kind == fault.Unauthenticated {
		w.Header().Set("WWW-Authenticate", `Bearer authorization_uri="https://login.microsoftonline.com/`+f.Tenant+
			`", error="invalid_token", error_description="`+e.Code+`"`)
	}
	if e.Denial != nil {
		w.Header().Set("x-lapis-denied", e.Denial.Header())
	}
	w.Header().Set("x-ms-failure-cause", "gateway")
	f.writeJSON(w, r, status, map[string]any{"error": errorOf(e)})
}

func (f *Face) write(w http.ResponseWriter, r *http.Request, a Answer) {
	for key, values := range a.Header {
		w.Header()[key] = values
	}
	if a.Handler != nil {
		f.common(w, r)
		a.Handler.ServeHTTP(w, r)
		return
	}
	status := a.Status
	if a.Body == nil {
		if status == 0 {
			status = http.StatusNoContent
		}
		f.common(w, r)
		w.Header().Set("Content-Length", "0")
		w.WriteHeader(status)
		return
	}
	if status == 0 {
		status = http.StatusOK
	}
	f.writeJSON(w, r, status, a.Body)
}

func (f *Face) writeJSON(w http.ResponseWriter, r *http.Request, status int, body any) {
	data, err := json.Marshal(body)
	if err != nil {
		f.Log.Error("answer could not be encoded", "path", r.URL.Path, "error", err)
		status, data = http.StatusInternalServerError, []byte(`{"error":{"code":"InternalServerError","message":"The answer could not be encoded."}}`)
	}
	f.common(w, r)
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(data)
	}
}

// common sets what every answer carries.
func (f *Face) common(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-cache")
	h.Set("X-Content-Type-Options", "nosniff")
	if id := r.Header.Get("x-ms-client-request-id"); id != "" && len(id) <= 128 {
		h.Set("x-ms-client-request-id", id)
	}
}
