package scoring

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"lapis/fault"
	"lapis/worker"
)

// The headers of the managed front end.
const (
	headerDeployment      = "Azureml-Model-Deployment"
	headerModelTime       = "Ms-Azureml-Model-Time" // ms in the instance
	headerErrorReason     = "Ms-Azureml-Model-Error-Reason"
	headerErrorStatus     = "Ms-Azureml-Model-Error-Statuscode"
	headerRequestID       = "X-Request-Id"
	headerClientRequestID = "X-Ms-Client-Request-Id"
	headerDenied          = "X-Lapis-Denied"
)

// Statuses that have no name in net/http.
const statusClientGone = 499

// clientRequestID is the caller's id for the request as the front takes it:
// letters, digits, - and _ only, at most 40 of them. Another one is no id.
func clientRequestID(header http.Header) string {
	id := header.Get(headerClientRequestID)
	for _, c := range []byte(id) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (c < '0' || c > '9') && c != '-' && c != '_' {
			return ""
		}
	}
	return id[:min(len(id), 40)]
}

// workerHeader is a request's header as it goes to a worker: without what it
// itself says is for the connection only, and with the caller's id as the
// front takes it. Nearly always that is the header as it came.
func workerHeader(header http.Header, clientID string) http.Header {
	var dropped []string
	for _, names := range header["Connection"] {
		for name := range strings.SplitSeq(names, ",") {
			if name = http.CanonicalHeaderKey(strings.TrimSpace(name)); header[name] != nil {
				dropped = append(dropped, name)
			}
		}
	}
	if ids := header[headerClientRequestID]; len(ids) > 1 || len(ids) == 1 && (ids[0] == "" || ids[0] != clientID) {
		dropped = append(dropped, headerClientRequestID)
	}
	if len(dropped) == 0 {
		return header
	}
	out := maps.Clone(header)
	for _, name := range dropped {
		delete(out, name)
	}
	if clientID != "" {
		out[headerClientRequestID] = []string{clientID}
	}
	return out
}

// isFronts reports whether a header of answers is the front's to set: a script
// that sets it says nothing by that.
func isFronts(name string) bool {
	switch name {
	case headerRequestID, headerDeployment, headerModelTime, headerErrorReason, headerErrorStatus, headerDenied:
		return true
	}
	return false
}

// writeHead sends the head of an instance's answer. Any status but 200 becomes
// 424, with the status in a header; the body stays as it is.
func writeHead(w http.ResponseWriter, result *Result, event *Event) {
	event.Status, event.ModelStatus = http.StatusOK, result.Status
	event.Queued, event.Model, event.Run = result.Queued, result.Model, result.RunTime
	fields := slices.DeleteFunc(result.Header, func(f worker.Field) bool { return isFronts(f.Name) })
	fields.Add(headerDeployment, event.Deployment)
	fields.Add(headerModelTime, strconv.FormatInt(result.Model.Milliseconds(), 10))
	if result.Stream == nil {
		fields.Set("Content-Length", strconv.Itoa(len(result.Body)))
	}
	if result.Status != http.StatusOK {
		event.Status, event.Reason = http.StatusFailedDependency, codeModelError
		fields.Add(headerErrorReason, codeModelError)
		fields.Add(headerErrorStatus, strconv.Itoa(result.Status))
	}
	fields.Fill(w.Header())
	w.WriteHeader(event.Status)
}

// writeBody sends an answer's body, if that is all there is.
func writeBody(w http.ResponseWriter, result *Result, event *Event) {
	event.ResponseBytes = len(result.Body)
	if _, err := w.Write(result.Body); err != nil {
		event.Reason, event.Err = "client_gone", err // it took the head, and not all of the body
	}
}

// statusOf maps a fault to what the managed front end answers. A caller whom
// the roles deny gets 401 there, as one without a valid key does.
func statusOf(kind fault.Kind) int {
	switch kind {
	case fault.Invalid:
		return http.StatusBadRequest
	case fault.Unauthenticated, fault.Denied:
		return http.StatusUnauthorized
	case fault.NotFound, fault.Gone:
		return http.StatusNotFound
	case fault.NotAllowed:
		return http.StatusMethodNotAllowed
	case fault.Conflict:
		return http.StatusConflict
	case fault.TooLarge:
		return http.StatusRequestEntityTooLarge
	case fault.Unsupported:
		return http.StatusUnsupportedMediaType
	case fault.Throttled:
		return http.StatusTooManyRequests
	case fault.NotImplemented:
		return http.StatusNotImplemented
	case fault.Unavailable:
		return http.StatusServiceUnavailable
	case fault.Timeout:
		return http.StatusRequestTimeout
	case fault.ModelFailed:
		return http.StatusFailedDependency
	}
	return http.StatusInternalServerError
}

// drawError is the only place that draws what the platform itself refuses or
// fails at. Bodies are {"error": {"code", "message"}}, which clients show;
// those of 429, and of 408 for the script's lateness, are the proxy's, as text.
func drawError(w http.ResponseWriter, r *http.Request, err error, event *Event) {
	event.Err = err
	if gone := r.Context().Err(); gone != nil && errors.Is(err, gone) {
		event.Status, event.Reason = statusClientGone, "client_gone"
		return
	}
	f := fault.From(err)
	event.Status, event.Reason = statusOf(f.Kind), f.Code
	header := w.Header()
	if event.Deployment != "" {
		header.Set(headerDeployment, event.Deployment)
	}
	kind, body := "application/json", errorBody(f)
	switch f.Kind {
	case fault.Unauthenticated, fault.Denied:
		header.Set("WWW-Authenticate", "Bearer")
		if f.Denial != nil {
			header.Set(headerDenied, f.Denial.Header())
		}
	case fault.Throttled:
		kind, body = "text/plain", nil
		header.Set(headerErrorReason, f.Code)
	case fault.Timeout:
		if f.Code == codeTimeout {
			kind, body = "text/plain", []byte("upstream request timeout")
		}
	case fault.Unavailable:
		header.Set("Retry-After", "1")
	case fault.ModelFailed:
		header.Set(headerErrorReason, f.Code)
		if f.Code == codeModelError {
			event.ModelStatus = http.StatusBadGateway
			header.Set(headerErrorStatus, strconv.Itoa(http.StatusBadGateway))
		}
	}
	header.Set("Content-Type", kind)
	header.Set("Content-Length", strconv.Itoa(len(body)))
	event.ResponseBytes = len(body)
	w.WriteHeader(event.Status)
	_, _ = w.Write(body)
}

func errorBody(f *fault.Error) []byte {
	inner := map[string]any{"code": f.Code, "message": f.Message}
	if f.Denial != nil {
		inner["denial"] = f.Denial
	}
	body, err := json.Marshal(map[string]any{"error": inner})
	if err != nil { // texts only: it cannot be
		return []byte(`{"error": {"code": "InternalServerError", "message": "The error cannot be shown."}}`)
	}
	return body
}
