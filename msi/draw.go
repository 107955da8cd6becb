package msi

import (
	"encoding/json"
	"net/http"

	"lapis/fault"
)

// problem is the body of an error. The first two members are what IMDS sends
// and MSAL reads, the last two what App Service sends and older SDKs read.
type problem struct {
	Error       string   `json:"error"`
	Description string   `json:"error_description"`
	StatusCode  int      `json:"statusCode"`
	Message     string   `json:"message"`
	Newest      []string `json:"newest-versions,omitempty"`
}

// draw writes err and returns the status. It is the only place that does.
func draw(w http.ResponseWriter, err error) int {
	f := fault.From(err)
	status, code := http.StatusInternalServerError, "unknown"
	switch f.Kind {
	case fault.Invalid:
		status, code = http.StatusBadRequest, f.Code
	case fault.Unauthenticated:
		status, code = http.StatusUnauthorized, f.Code
	case fault.NotFound:
		status, code = http.StatusNotFound, f.Code
	case fault.NotAllowed:
		status, code = http.StatusMethodNotAllowed, f.Code
		w.Header().Set("Allow", http.MethodGet)
	case fault.Gone:
		status, code = http.StatusGone, "updating"
	case fault.Throttled:
		status, code = http.StatusTooManyRequests, "too_many_requests"
		w.Header().Set("Retry-After", "1")
	case fault.Unavailable, fault.Timeout:
		status, code = http.StatusServiceUnavailable, "unavailable"
	}
	body := problem{Error: code, Description: f.Message, StatusCode: status, Message: f.Message}
	if f.Target == "api-version" {
		all := imdsVersions()
		body.Newest = all[len(all)-3:]
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
	return status
}
