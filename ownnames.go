package lapis

import (
	"bytes"
	"io"
	"mime"
	"net"
	"net/http"
	"regexp"
	"strconv"
)

// ownManagement is Resource Manager under the platform's own name. What is
// kept has Azure's names; whoever asks by the own one is told of storage
// accounts and endpoints by own names too, and may name them so.
func (s *Server) ownManagement(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		suffix := s.cfg.Suffix
		if _, port, err := net.SplitHostPort(r.Host); err == nil {
			if n, err := strconv.ParseUint(port, 10, 16); err == nil { // nothing but a number gets into what is answered
				suffix += ":" + strconv.FormatUint(n, 10)
			}
		}
		names := ownURLs(suffix)
		known := r.Clone(r.Context())
		if r.Body != nil && r.Body != http.NoBody {
			known.Body, known.ContentLength = names.request(r.Body, r.ContentLength)
		}
		if r.Method == http.MethodHead { // no answer that a name could be in
			next.ServeHTTP(w, known)
			return
		}
		out := &ownAnswer{ResponseWriter: w, names: names}
		next.ServeHTTP(out, known)
		out.finish()
	})
}

// nameTable leads URLs from Azure's names to the platform's own, and back.
type nameTable struct {
	suffix     string // with the port
	azure, own *regexp.Regexp
}

// ownURLs makes the table for a suffix with its port.
func ownURLs(suffix string) nameTable {
	const host = `(https://[A-Za-z0-9][A-Za-z0-9.-]*)`
	return nameTable{
		suffix: suffix,
		azure:  regexp.MustCompile(host + `(?:(\.blob\.core)\.windows\.net|(\.inference\.ml)\.azure\.com)\b`),
		own:    regexp.MustCompile(host + `(?:(\.blob\.core)\.` + regexp.QuoteMeta(suffix) + `|(\.inference\.ml)\.` + regexp.QuoteMeta(suffix) + `)\b`),
	}
}

// toOwn and toAzure change the URLs in a JSON text; exactly one of the two
// middle groups is not empty.
func (n nameTable) toOwn(text []byte) []byte {
	return n.azure.ReplaceAll(text, []byte("${1}${2}${3}."+n.suffix))
}

func (n nameTable) toAzure(text []byte) []byte {
	return n.own.ReplaceAllFunc(text, func(match []byte) []byte {
		known := bytes.TrimSuffix(match, []byte("."+n.suffix))
		if bytes.HasSuffix(known, []byte(".blob.core")) {
			return append(bytes.Clone(known), ".windows.net"...)
		}
		return append(bytes.Clone(known), ".azure.com"...)
	})
}

// Larger requests are refused by Resource Manager, and so need no names.
const maxNamed = 16 << 20

// request changes the names in a request's body, of the length that was said.
func (n nameTable) request(body io.ReadCloser, length int64) (io.ReadCloser, int64) {
	text, err := io.ReadAll(io.LimitReader(body, maxNamed))
	rest := io.Reader(body)
	if err != nil { // whoever reads on meets the same
		rest = failing{err}
	}
	changed := n.toAzure(text)
	if length >= 0 {
		length += int64(len(changed) - len(text))
	}
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(changed), rest), body}, length
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// ownAnswer holds a JSON answer back until its names are changed.
type ownAnswer struct {
	http.ResponseWriter
	names  nameTable
	held   *bytes.Buffer
	status int
	begun  bool
}

func (a *ownAnswer) WriteHeader(status int) {
	if a.begun {
		return
	}
	a.begun, a.status = true, status
	kind, _, _ := mime.ParseMediaType(a.Header().Get("Content-Type"))
	if kind == "application/json" {
		a.held = &bytes.Buffer{}
		return
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *ownAnswer) Write(p []byte) (int, error) {
	if !a.begun {
		a.WriteHeader(http.StatusOK)
	}
	if a.held != nil {
		return a.held.Write(p)
	}
	return a.ResponseWriter.Write(p)
}

func (a *ownAnswer) finish() {
	if a.held == nil {
		return
	}
	text := a.names.toOwn(a.held.Bytes())
	a.Header().Set("Content-Length", strconv.Itoa(len(text)))
	a.ResponseWriter.WriteHeader(a.status)
	_, _ = a.ResponseWriter.Write(text)
}
