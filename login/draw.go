package login

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"lapis/fault"
)

// problem is Entra's form of an OAuth 2.0 error (RFC 6749 section 5.2).
type problem struct {
	Error         string `json:"error"`
	Description   string `json:"error_description"`
	Codes         []int  `json:"error_codes"`
	Timestamp     string `json:"timestamp"`
	TraceID       string `json:"trace_id"`
	CorrelationID string `json:"correlation_id"`
	URI           string `json:"error_uri,omitempty"`
}

// oauthError gives the OAuth word for a code of Entra's. The words are those
// that Entra sends with each code, not always those of the RFC.
func oauthError(code string) string {
	switch code {
	case "AADSTS700016":
		return "unauthorized_client"
	case "AADSTS7000215", "AADSTS7000218", "AADSTS7000222":
		return "invalid_client"
	case "AADSTS70003":
		return "unsupported_grant_type"
	case "AADSTS70005":
		return "unsupported_response_type"
	case "AADSTS70011", "AADSTS1002012", "AADSTS28000":
		return "invalid_scope"
	case "AADSTS500011":
		return "invalid_resource"
	case "AADSTS50049":
		return "invalid_instance"
	}
	return "invalid_request"
}

// draw writes err and returns the status. It is the only place that does.
func (f *face) draw(w http.ResponseWriter, r *http.Request, err error, trace, correlation string) int {
	e := fault.From(err)
	body := problem{Error: oauthError(e.Code), TraceID: trace, CorrelationID: correlation, Timestamp: f.Now().UTC().Format("2006-01-02 15:04:05Z")}
	status := http.StatusBadRequest
	switch {
	case body.Error == "invalid_client":
		status = http.StatusUnauthorized
		if _, _, basic := r.BasicAuth(); basic { // RFC 6749 section 5.2
			w.Header().Set("WWW-Authenticate", `Basic realm="token"`)
		}
	case e.Kind == fault.NotFound:
		status = http.StatusNotFound
	case e.Kind == fault.NotAllowed:
		status = http.StatusMethodNotAllowed
		w.Header().Set("Allow", http.MethodPost)
	case e.Kind == fault.TooLarge:
		status = http.StatusRequestEntityTooLarge
	case e.Kind == fault.Unavailable:
		status, body.Error = http.StatusServiceUnavailable, "temporarily_unavailable"
	case e.Kind == fault.Internal:
		status, body.Error = http.StatusInternalServerError, "server_error"
	case e.Code == "AADSTS90002" && !strings.HasSuffix(r.URL.Path, "/token"):
		body.Error = "invalid_tenant" // the word of the discovery documents
	}
	code := "AADSTS90033" // a passing failure of the service
	if strings.HasPrefix(e.Code, "AADSTS") {
		code = e.Code
	}
	number, _ := strconv.Atoi(strings.TrimPrefix(code, "AADSTS"))
	body.Codes = []int{number}
	body.URI = fmt.Sprintf("https://%s/error?code=%d", authority(r), number)
	body.Description = fmt.Sprintf("%s: %s Trace ID: %s Correlation ID: %s Timestamp: %s", code, e.Message, trace, correlation, body.Timestamp)
	noStore(w)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
	return status
}

func noStore(w http.ResponseWriter) {
	w.Header().Set("Cache-Control", "no-store, no-cache")
	w.Header().Set("Pragma", "no-cache")
}
