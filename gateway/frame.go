package gateway

import (
	"bytes"
	"net/http"
	"strings"
)

// framing is how a request's body is told from the next request.
type framing struct {
	length  int64
	chunked bool
}

// fields are those lines of a head that say where the request goes and ends.
type fields struct {
	version10            bool
	target               string
	host, length, coding []string
}

// frame reads the head of a request, whose lines all end in CR LF, the last
// one empty. It refuses what two recipients could read in two ways.
func frame(head []byte) (framing, *refusal) {
	var f fields
	line, rest, _ := bytes.Cut(head, []byte("\r\n"))
	if why := f.requestLine(line); why != nil {
		return framing{}, why
	}
	for count := 1; len(rest) > 2; count++ {
		if count > maxFields {
			return framing{}, refuseHeader("it has more than 256 fields")
		}
		line, rest, _ = bytes.Cut(rest, []byte("\r\n"))
		if why := f.field(line); why != nil {
			return framing{}, why
		}
	}
	return f.framing()
}

func (f *fields) requestLine(line []byte) *refusal {
	parts := bytes.Split(line, []byte(" "))
	switch {
	case len(parts) != 3 || !isToken(parts[0]) || len(parts[1]) == 0 || !isText(line):
		return refuseForm("its first line is not METHOD TARGET HTTP/1.1")
	case string(parts[0]) == refusedMethod:
		return refuseForm("its method is not one of HTTP's")
	case string(parts[2]) != "HTTP/1.1" && string(parts[2]) != "HTTP/1.0":
		return refuseForm("it is not of HTTP 1.0 or 1.1")
	}
	f.target, f.version10 = string(parts[1]), string(parts[2]) == "HTTP/1.0"
	return nil
}

func (f *fields) field(line []byte) *refusal {
	name, value, found := bytes.Cut(line, []byte(":"))
	switch {
	case line[0] == ' ' || line[0] == '\t':
		return refuseForm("a header field is folded over several lines")
	case !found || !isToken(name):
		return refuseForm("a header field has no name of letters and digits with a colon right behind it")
	case !isText(value):
		return refuseForm("a header field has a control character")
	}
	var into *[]string
	switch {
	case isField(name, "Host"):
		into = &f.host
	case isField(name, "Content-Length"):
		into = &f.length
	case isField(name, "Transfer-Encoding"):
		into = &f.coding
	default:
		return nil
	}
	*into = append(*into, string(bytes.Trim(value, " \t")))
	return nil
}

// framing holds the fields against one another.
func (f *fields) framing() (framing, *refusal) {
	switch {
	case len(f.host) > 1 || len(f.host) == 0 && !f.version10, len(f.host) == 1 && f.host[0] == "":
		return framing{}, refuseForm("it has not one Host")
	case len(f.length) > 1:
		return framing{}, refuseForm("it has several Content-Lengths")
	case len(f.length) > 0 && len(f.coding) > 0:
		return framing{}, refuseForm("it has both Content-Length and Transfer-Encoding")
	case len(f.coding) > 0 && f.version10:
		return framing{}, refuseForm("HTTP 1.0 has no Transfer-Encoding")
	case len(f.coding) > 1:
		return framing{}, refuseForm("it has several Transfer-Encodings")
	case len(f.coding) == 1 && !strings.EqualFold(f.coding[0], "chunked"):
		return framing{}, &refusal{http.StatusNotImplemented, "TransferEncodingNotSupported", "the only Transfer-Encoding taken is chunked"}
	}
	if _, after, absolute := strings.Cut(f.target, "://"); absolute && f.target[0] != '/' && len(f.host) == 1 {
		authority, _, _ := strings.Cut(after, "/")
		authority, _, _ = strings.Cut(authority, "?")
		if !strings.EqualFold(authority, f.host[0]) {
			return framing{}, refuseForm("its target and its Host differ")
		}
	}
	if len(f.length) == 0 {
		return framing{chunked: len(f.coding) == 1}, nil
	}
	length, ok := decimal(f.length[0])
	if !ok {
		return framing{}, refuseForm("its Content-Length is no number of bytes")
	}
	return framing{length: length}, nil
}

func isField(name []byte, wanted string) bool {
	return len(name) == len(wanted) && strings.EqualFold(string(name), wanted)
}

// isToken reports whether a text is a token of RFC 9110, 5.6.2.
func isToken(text []byte) bool {
	for _, c := range text {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return len(text) > 0
}

// isText reports whether a text has no control character but tabs.
func isText(text []byte) bool {
	for _, c := range text {
		if c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

func decimal(text string) (n int64, ok bool) {
	for _, c := range []byte(text) {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, len(text) > 0 && len(text) <= 18
}

// chunkSize reads a chunk's first line, which ends in CR: digits, and perhaps
// an extension behind a semicolon.
func chunkSize(line []byte) (size int64, ok bool) {
	line, ok = bytes.CutSuffix(line, []byte("\r"))
	if !ok || !isText(line) {
		return 0, false
	}
	digits, _, _ := bytes.Cut(line, []byte(";"))
	digits = bytes.TrimRight(digits, " \t")
	for _, c := range digits {
		n := strings.IndexByte("0123456789abcdef", c|0x20)
		if n < 0 || c < '0' {
			return 0, false
		}
		size = size<<4 | int64(n)
	}
	return size, len(digits) > 0 && len(digits) <= 15
}

func refuseForm(what string) *refusal {
	return &refusal{http.StatusBadRequest, "MalformedRequest", "the request is malformed: " + what}
}

func refuseHeader(what string) *refusal {
	return &refusal{http.StatusRequestHeaderFieldsTooLarge, "RequestHeaderFieldsTooLarge", "the request's header is too large: " + what}
}
