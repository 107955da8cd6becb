package dataplane

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"lapis/blob"
	"lapis/fault"
)

// request is what was read from an HTTP request before its route is known.
type request struct {
	http      *http.Request
	id        string
	op        string // the route's name, "" before it is known
	version   string // x-ms-version, "" if none was sent
	query     url.Values
	account   blob.Account
	container string // "" at the service itself
	blob      string // "" at a container
	caller    caller
}

// attrs are what every log line says of a request. Headers and the query stay
// out of the log: both can carry signatures.
func (q *request) attrs() []any {
	return []any{
		"requestId", q.id, "operation", q.op, "method", q.http.Method,
		"account", q.account.Name, "container", q.container, "blob", q.blob,
	}
}

func (q *request) place() blob.Place {
	return blob.Place{Space: q.account.Space(), Container: q.container, Name: q.blob}
}

func (q *request) header(name string) string { return strings.TrimSpace(q.http.Header.Get(name)) }

// target is the account, container and blob that a URL names.
type target struct{ account, container, blob string }

// read fills q, and writes the headers that every answer has.
func (h *Handler) read(w *response, q *request) error {
	if err := q.readClientID(w); err != nil {
		return err
	}
	if err := q.readVersion(w); err != nil {
		return err
	}
	query, err := url.ParseQuery(q.http.URL.RawQuery)
	if err != nil {
		return fault.E(fault.Invalid, "InvalidQueryParameterValue", "The query string cannot be read: its percent-encoding is not valid.")
	}
	q.query = query
	t, err := h.target(q.http.Host, q.http.URL)
	if err != nil {
		return err
	}
	if q.account, err = h.c.Accounts(q.http.Context(), t.account); err != nil {
		if fault.Is(err, fault.NotFound) {
			return fault.E(fault.NotFound, "ResourceNotFound",
				"The specified resource does not exist. There is no storage account named %q.", t.account)
		}
		return err
	}
	q.container, q.blob = t.container, t.blob
	if q.container == "" {
		return nil
	}
	if q.blob == "" && !q.query.Has("restype") { // a single segment is a blob of the root container
		q.container, q.blob = "$root", q.container
	}
	if err := blob.CheckContainerName(q.container); err != nil {
		return err
	}
	if q.blob != "" {
		return blob.CheckBlobName(q.blob)
	}
	return nil
}

// target splits a URL. The path is split before it is decoded, so that a %2F
// stays part of a name.
func (h *Handler) target(host string, u *url.URL) (target, error) {
	var t target
	path := strings.TrimPrefix(u.EscapedPath(), "/")
	if h.c.PathStyle {
		t.account, path, _ = strings.Cut(path, "/")
	} else {
		t.account, _, _ = strings.Cut(host, ".")
	}
	t.account = strings.ToLower(t.account)
	t.container, t.blob, _ = strings.Cut(path, "/")
	for _, part := range []*string{&t.container, &t.blob} {
		text, err := url.PathUnescape(*part)
		if err != nil {
			return t, fault.E(fault.Invalid, "InvalidUri", "The requested URI does not represent any resource on the server.")
		}
		*part = text
	}
	return t, nil
}

func (q *request) readClientID(w *response) error {
	id := q.header("x-ms-client-request-id")
	if len(id) > 1024 {
		return invalidHeader("x-ms-client-request-id", "it has more than 1,024 characters")
	}
	if id != "" {
		w.Header().Set("X-Ms-Client-Request-Id", id)
	}
	return nil
}

// The version that answers carry when the client named none.
const defaultVersion = "2021-12-02"

// readVersion takes every version that is well formed, newer ones than we know
// too: clients always send their newest.
func (q *request) readVersion(w *response) error {
	q.version = q.header("x-ms-version")
	if q.version == "" {
		w.Header().Set("X-Ms-Version", defaultVersion)
		return nil
	}
	if _, err := time.Parse(time.DateOnly, q.version); err != nil {
		return invalidHeader("x-ms-version", "a version is a date such as 2021-12-02")
	}
	w.Header().Set("X-Ms-Version", q.version)
	return nil
}

func invalidHeader(name, why string) error {
	return fault.E(fault.Invalid, "InvalidHeaderValue",
		"The value for one of the HTTP headers is not in the correct format. %s: %s.", name, why).At(name)
}

func invalidQuery(name, why string) error {
	return fault.E(fault.Invalid, "InvalidQueryParameterValue",
		"Value for one of the query parameters specified in the request URI is invalid. %s: %s.", name, why).At(name)
}

// unsupported names headers that ask for something we do not have. Ignoring
// them would answer success for half of what was asked.
func unsupported() map[string]string {
	return map[string]string{
		"X-Ms-Encryption-Key":                 "customer-provided keys",
		"X-Ms-Encryption-Scope":               "encryption scopes",
		"X-Ms-Tags":                           "blob index tags",
		"X-Ms-If-Tags":                        "conditions on blob index tags",
		"X-Ms-Immutability-Policy-Until-Date": "immutability policies",
		"X-Ms-Legal-Hold":                     "legal holds",
		"X-Ms-Structured-Body":                "structured bodies",
		"X-Ms-Default-Encryption-Scope":       "encryption scopes",
	}
}

func (q *request) refuseUnsupported() error {
	for name, what := range unsupported() {
		value := q.http.Header.Get(name)
		if value == "" || (name == "X-Ms-Legal-Hold" && strings.EqualFold(value, "false")) ||
			(name == "X-Ms-Default-Encryption-Scope" && value == accountKeyScope) {
			continue
		}
		return notImplemented(what).At(strings.ToLower(name))
	}
	if q.http.Header.Get("X-Ms-Lease-Id") == "" {
		return nil
	}
	if q.blob == "" {
		return fault.E(fault.Precondition, "LeaseNotPresentWithContainerOperation", "There is currently no lease on the container.")
	}
	return fault.E(fault.Precondition, "LeaseNotPresentWithBlobOperation", "There is currently no lease on the blob.")
}

func notImplemented(what string) *fault.Error {
	return fault.E(fault.NotImplemented, "NotImplemented",
		"The requested operation is not implemented on the specified resource: %s are not supported here.", what)
}
