// Package sharedkey says what a request signed with a storage account's key
// must have signed: the Shared Key and Shared Key Lite schemes of the blob service.
//
// It computes strings and signatures; who may do what with them is decided elsewhere.
// Rules: "Authorize with Shared Key" in the Storage reference.
package sharedkey

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"lapis/secret"
)

// Credential is the parsed Authorization header of a signed request.
type Credential struct {
	Lite      bool
	Account   string
	Signature string // base64
}

// ErrMalformed means that an Authorization header of one of the two schemes
// does not have the form "SharedKey account:signature".
var ErrMalformed = errors.New("the Authorization header does not have the form 'SharedKey account:signature'")

// Parse reads an Authorization header. ok is false when it has another scheme.
func Parse(header string) (c Credential, ok bool, err error) {
	scheme, rest, _ := strings.Cut(header, " ")
	switch {
	case strings.EqualFold(scheme, "SharedKey"):
	case strings.EqualFold(scheme, "SharedKeyLite"):
		c.Lite = true
	default:
		return c, false, nil
	}
	rest = strings.TrimSpace(rest)
	i := strings.LastIndexByte(rest, ':')
	if i <= 0 {
		return c, true, ErrMalformed
	}
	c.Account, c.Signature = rest[:i], rest[i+1:]
	raw, err := base64.StdEncoding.DecodeString(c.Signature)
	if err != nil || len(raw) != sha256.Size {
		return c, true, ErrMalformed
	}
	return c, true, nil
}

// Request is the part of a request that is signed.
type Request struct {
	Method        string
	Path          string // as it was sent, with its percent signs
	Query         url.Values
	Header        http.Header
	ContentLength int64 // -1 when it was not said
}

// StringsToSign returns the texts of which a valid request has signed one. The
// first is the one to show to a user. There can be two because the service
// sorts header names by its own collation while many clients sort by bytes.
func StringsToSign(r Request, account string, lite bool) []string {
	build := full
	if lite {
		build = short
	}
	texts := []string{build(r, account, compareNames)}
	if other := build(r, account, strings.Compare); other != texts[0] {
		texts = append(texts, other)
	}
	return texts
}

type order = func(a, b string) int

func full(r Request, account string, sorted order) string {
	var b strings.Builder
	line := func(s string) { b.WriteString(s + "\n") }
	line(r.Method)
	line(r.Header.Get("Content-Encoding"))
	line(r.Header.Get("Content-Language"))
	line(lengthText(r))
	line(r.Header.Get("Content-MD5"))
	line(r.Header.Get("Content-Type"))
	line(dateText(r))
	for _, name := range []string{"If-Modified-Since", "If-Match", "If-None-Match", "If-Unmodified-Since", "Range"} {
		line(r.Header.Get(name))
	}
	writeHeaders(&b, r.Header, sorted)
	b.WriteString("/" + account + r.Path)
	writeQuery(&b, r.Query)
	return b.String()
}

func short(r Request, account string, sorted order) string {
	var b strings.Builder
	line := func(s string) { b.WriteString(s + "\n") }
	line(r.Method)
	line(r.Header.Get("Content-MD5"))
	line(r.Header.Get("Content-Type"))
	line(dateText(r))
	writeHeaders(&b, r.Header, sorted)
	b.WriteString("/" + account + r.Path)
	if comp := r.Query.Get("comp"); comp != "" {
		b.WriteString("?comp=" + comp)
	}
	return b.String()
}

// lengthText is empty for an empty body since version 2015-02-21.
func lengthText(r Request) string {
	version := r.Header.Get("X-Ms-Version")
	if r.ContentLength > 0 || (r.ContentLength == 0 && version != "" && version < "2015-02-21") {
		return strconv.FormatInt(r.ContentLength, 10)
	}
	return ""
}

// dateText is empty when x-ms-date is there, which is signed with the x-ms headers.
func dateText(r Request) string {
	if r.Header.Get("X-Ms-Date") != "" {
		return ""
	}
	return r.Header.Get("Date")
}

func writeHeaders(b *strings.Builder, h http.Header, sorted order) {
	values := map[string]string{}
	var names []string
	for name, v := range h {
		lower := strings.ToLower(name)
		if !strings.HasPrefix(lower, "x-ms-") {
			continue
		}
		names = append(names, lower)
		values[lower] = strings.TrimSpace(strings.Join(v, ","))
	}
	slices.SortFunc(names, sorted)
	for _, name := range names {
		b.WriteString(name + ":" + values[name] + "\n")
	}
}

// writeQuery puts each parameter on a line, the values of repeated ones sorted
// and joined. Names that differ in case only are one parameter.
func writeQuery(b *strings.Builder, query url.Values) {
	params := map[string][]string{}
	var names []string
	for name, v := range query {
		lower := strings.ToLower(name)
		if _, seen := params[lower]; !seen {
			names = append(names, lower)
		}
		params[lower] = append(params[lower], v...)
	}
	slices.Sort(names)
	for _, name := range names {
		slices.Sort(params[name])
		b.WriteString("\n" + name + ":" + strings.Join(params[name], ","))
	}
}

// Sign returns the base64 HMAC-SHA256 of text under a base64 key.
func Sign(key secret.String, text string) (string, error) {
	raw, err := base64.StdEncoding.DecodeString(key.Reveal())
	if err != nil || len(raw) == 0 {
		return "", errors.New("the account key is not base64")
	}
	mac := hmac.New(sha256.New, raw)
	mac.Write([]byte(text))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil)), nil
}

// Verify reports whether signature is that of one of texts under one of keys.
func Verify(keys []secret.String, texts []string, signature string) bool {
	valid := false
	for _, key := range keys {
		for _, text := range texts {
			want, err := Sign(key, text)
			if err == nil && hmac.Equal([]byte(want), []byte(signature)) {
				valid = true
			}
		}
	}
	return valid
}
