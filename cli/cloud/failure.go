package cloud

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/http"
	"strings"

	"lapis/fault"
)

// Failure is an error that a service answered.
type Failure struct {
	Status    int // HTTP status; 0 for an operation that ended badly
	Code      string
	Message   string
	Target    string
	Details   []*Failure
	Denial    *fault.Denial // what role would have allowed it, where the platform said so
	RequestID string
}

// Error returns the code and the message.
func (f *Failure) Error() string {
	if f.Code == "" {
		return f.Message
	}
	return "(" + f.Code + ") " + f.Message
}

// DenialOf returns the first denial of the failure or its details.
func (f *Failure) DenialOf() *fault.Denial {
	if f.Denial != nil {
		return f.Denial
	}
	for _, detail := range f.Details {
		if d := detail.DenialOf(); d != nil {
			return d
		}
	}
	return nil
}

// wireError is an error as the resource manager writes it.
type wireError struct {
	Code           string          `json:"code"`
	Message        string          `json:"message"`
	Target         string          `json:"target"`
	Details        []wireError     `json:"details"`
	AdditionalInfo json.RawMessage `json:"additionalInfo"`
	InnerError     json.RawMessage `json:"innererror"`
}

func (w wireError) failure() *Failure {
	f := &Failure{Code: w.Code, Message: w.Message, Target: w.Target, Denial: denial(w.AdditionalInfo)}
	for _, detail := range w.Details {
		f.Details = append(f.Details, detail.failure())
	}
	return f
}

func denial(additional json.RawMessage) *fault.Denial {
	var entries []struct {
		Type string       `json:"type"`
		Info fault.Denial `json:"info"`
	}
	if json.Unmarshal(additional, &entries) != nil {
		return nil
	}
	for _, entry := range entries {
		if entry.Type == "LapisDenial" {
			return &entry.Info
		}
	}
	return nil
}

// OperationFailure reads the error object of a long operation.
func OperationFailure(status string, object any) *Failure {
	data, err := json.Marshal(object)
	var w wireError
	if err != nil || object == nil || json.Unmarshal(data, &w) != nil || w.Code == "" && w.Message == "" {
		return &Failure{Code: "Operation" + status, Message: "the operation ended as " + status + " and the service gave no reason"}
	}
	return w.failure()
}

// FailureOf reads any answer of 400 or more: the resource manager's JSON, the
// issuer's, a scoring endpoint's, storage's XML, or plain text.
func FailureOf(resp *http.Response, body []byte) *Failure {
	f := parseFailure(body)
	f.Status = resp.StatusCode
	f.RequestID = resp.Header.Get("x-ms-request-id")
	if f.Code == "" {
		f.Code = first(resp.Header.Get("x-ms-error-code"), resp.Header.Get("ms-azureml-model-error-reason"))
	}
	if f.Message == "" {
		f.Message = fmt.Sprintf("the service answered %s", resp.Status)
	}
	if f.Denial == nil {
		var d fault.Denial
		if text := resp.Header.Get("x-lapis-denied"); text != "" && json.Unmarshal([]byte(text), &d) == nil {
			f.Denial = &d
		}
	}
	return f
}

func parseFailure(body []byte) *Failure {
	var arm struct {
		Error json.RawMessage `json:"error"`
		// The issuer's form, where error is a word.
		Description string `json:"error_description"`
		// A form without an envelope.
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	if json.Unmarshal(body, &arm) == nil {
		var w wireError
		if json.Unmarshal(arm.Error, &w) == nil {
			return w.failure()
		}
		var word string
		_ = json.Unmarshal(arm.Error, &word)
		return &Failure{Code: first(arm.Code, word), Message: first(arm.Message, arm.Description)}
	}
	var storage struct {
		XMLName xml.Name `xml:"Error"`
		Code    string   `xml:"Code"`
		Message string   `xml:"Message"`
		Detail  string   `xml:"AuthenticationErrorDetail"`
	}
	if xml.Unmarshal(trimBOM(body), &storage) == nil {
		message, _, _ := strings.Cut(storage.Message, "\nRequestId:")
		if storage.Detail != "" {
			message += "\n" + storage.Detail
		}
		return &Failure{Code: storage.Code, Message: message}
	}
	text := strings.TrimSpace(string(body))
	if len(text) > 2000 {
		text = text[:2000] + " ..."
	}
	return &Failure{Message: text}
}

func trimBOM(body []byte) []byte {
	return []byte(strings.TrimPrefix(string(body), "\xef\xbb\xbf"))
}
