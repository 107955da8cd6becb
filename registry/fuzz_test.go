package registry

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func TestParseScopes(t *testing.T) {
	for _, tc := range []struct {
		params []string
		want   []access
		ok     bool
	}{
		{nil, nil, true},
		{[]string{""}, nil, true},
		{[]string{"repository:app:pull"}, []access{{"repository", "app", []string{"pull"}}}, true},
		{[]string{"repository:app:pull,push repository:b:pull", "registry:catalog:*"}, []access{{"repository", "app", []string{"pull", "push"}}, {"repository", "b", []string{"pull"}}, {"registry", "catalog", []string{"*"}}}, true},
		{[]string{"repository:app:pull", "repository:app:push,pull"}, []access{{"repository", "app", []string{"pull", "push"}}}, true},
		{[]string{"repository:*:*"}, []access{{"repository", "*", []string{"*"}}}, true},
		{[]string{"repository:app:"}, []access{{"repository", "app", nil}}, true},
		{[]string{"artifact-repository:repo:pull"}, []access{{"artifact-repository", "repo", []string{"pull"}}}, true},
		{[]string{"other:host:5000/x:pull"}, []access{{"other", "host:5000/x", []string{"pull"}}}, true},
		{[]string{"repository:app"}, nil, false},
		{[]string{"repository::pull"}, nil, false},
		{[]string{":app:pull"}, nil, false},
		{[]string{"repository:app/**:pull"}, nil, false},
		{[]string{"repository:app:pull;push"}, nil, false},
	} {
		got, err := parseScopes(tc.params)
		if (err == nil) != tc.ok || tc.ok && !cmp.Equal(got, tc.want) {
			t.Errorf("%q: %v %v", tc.params, got, err)
		}
	}
}

func TestGrantGivesNoMoreThanAsked(t *testing.T) {
	all := []string{pull, push, remove}
	for _, tc := range []struct {
		scope string
		may   []string
		want  string
	}{
		{"repository:a:pull,push", all, "repository:a:pull,push"},
		{"repository:a:pull,push", []string{pull}, "repository:a:pull"},
		{"repository:a:push", []string{pull}, ""},
		{"repository:a:*", all, "repository:a:*"},
		{"repository:a:*", []string{pull, push}, "repository:a:pull,push"},
		{"repository:a:delete,unknown", all, "repository:a:delete"},
		{"registry:catalog:*", []string{pull}, "registry:catalog:*"},
		{"registry:catalog:*", []string{push, remove}, ""},
		{"registry:other:*", all, ""},
		{"registry:catalog:pull", all, ""},
		{"artifact-repository:repo:*", all, ""},
	} {
		asked, err := parseScopes([]string{tc.scope})
		if err != nil {
			t.Fatal(err)
		}
		got := formatScopes(grant(asked, func(a string) bool {
			for _, m := range tc.may {
				if m == a {
					return true
				}
			}
			return false
		}))
		if got != tc.want {
			t.Errorf("%s for %v: %q, want %q", tc.scope, tc.may, got, tc.want)
		}
	}
}

func FuzzParseScopes(f *testing.F) {
	for _, s := range []string{"repository:app:pull", "repository:a/b:pull,push registry:catalog:*", "repository:*:*", "::", "a:b:c", "repository:a:pull repository:a:push"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		entries, err := parseScopes([]string{s})
		if err != nil {
			return
		}
		again, err := parseScopes([]string{formatScopes(entries)})
		if err != nil || !cmp.Equal(formatScopes(entries), formatScopes(again)) {
			t.Fatalf("%q reads as %v, which reads as %v (%v)", s, entries, again, err)
		}
		if granted := grant(entries, func(string) bool { return false }); len(granted) > 0 {
			t.Fatalf("%q: %v is granted to one who may nothing", s, granted)
		}
		for _, e := range grant(entries, func(string) bool { return true }) {
			for _, a := range e.Actions {
				if !covers(entries, e.Type, e.Name, a) {
					t.Fatalf("%q: %v was not asked for", s, e)
				}
			}
		}
	})
}

// FuzzCheckToken changes a good token; only the token itself may pass.
func FuzzCheckToken(f *testing.F) {
	w := newWorld(f)
	tokens := w.svc.tokens
	good, _, err := tokens.mint(kindAccess, claims{Subject: "p", Audience: alpha}, accessLife)
	if err != nil {
		f.Fatal(err)
	}
	part := strings.Split(good, ".")
	for _, s := range []string{good, good + "=", part[0] + ".." + part[2], "eyJhbGciOiJub25lIn0.e30.", `{"payload":"e30","signatures":[]}`, "..", good + " ", strings.ToUpper(good)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		if _, err := tokens.check(raw, kindAccess, alpha); err == nil && raw != good {
			t.Fatalf("accepted %q", raw)
		}
	})
}

func FuzzParseManifest(f *testing.F) {
	f.Add(ocispec.MediaTypeImageManifest, string(newImage("x").manifest))
	f.Add(ocispec.MediaTypeImageIndex, `{"schemaVersion":2,"manifests":[{"digest":"sha256:x","size":-1}],"subject":{}}`)
	f.Add("", `{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json"}`)
	f.Fuzz(func(t *testing.T, mediaType, data string) {
		m, err := parseManifest(mediaType, []byte(data))
		if err != nil {
			if FaultOf(err).Code != "MANIFEST_INVALID" {
				t.Fatalf("%v", err)
			}
			return
		}
		for _, d := range append(m.blobs, m.manifests...) {
			if d.Digest.Validate() != nil || d.Size < 0 {
				t.Fatalf("let through %+v", d)
			}
		}
		if again, err := parseManifest(m.mediaType, []byte(data)); err != nil || !cmp.Equal(again.blobs, m.blobs) {
			t.Fatalf("as %q it reads otherwise: %v", m.mediaType, err)
		}
	})
}

func FuzzMatch(f *testing.F) {
	for _, row := range routes() {
		f.Add(row.method, fill(row.pattern))
	}
	f.Add("GET", "/v2/a/blobs/uploads/manifests/v1")
	f.Add("GET", "/v2/../../v2/_catalog")
	f.Fuzz(func(t *testing.T, method, path string) {
		row, values, err := match(routes(), method, path)
		if err != nil || values["name"] == "" {
			return
		}
		if strings.Contains(row.pattern, "{upload}") || strings.HasSuffix(row.pattern, "/uploads/") {
			return
		}
		if got := strings.NewReplacer("{name}", values["name"], "{reference}", values["reference"], "{digest}", values["digest"]).Replace(row.pattern); got != path {
			t.Fatalf("%q was read as %q", path, got)
		}
	})
}

func FuzzRanges(f *testing.F) {
	f.Add("bytes=0-5", "0-5", int64(10))
	f.Add("bytes=-5", "bytes 0-5/6", int64(6))
	f.Fuzz(func(t *testing.T, header, upload string, size int64) {
		if first, ok := rangeFrom(header, max(size, 0)); ok && first < 0 {
			t.Fatalf("%q of %d begins at %d", header, size, first)
		}
		r := &http.Request{Header: http.Header{"Content-Range": {upload}}, ContentLength: size}
		if at, err := contentRange(r); err == nil && at < -1 {
			t.Fatalf("%q begins at %d", upload, at)
		}
		parseChallenge(header)
	})
}
