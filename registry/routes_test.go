package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"cuelabs.dev/go/oci/ociregistry"

	"lapis/armid"
	"lapis/fault"
)

// fill puts values into a row's pattern.
func fill(pattern string) string {
	return strings.NewReplacer("{name}", "team/app", "{reference}", "v1", "{digest}", "sha256:"+strings.Repeat("a", 64), "{upload}", "0123").Replace(pattern)
}

func TestEveryRouteIsGuarded(t *testing.T) {
	w := newWorld(t)
	open := map[string]bool{"POST /oauth2/exchange": true, "POST /oauth2/token": true, "GET /oauth2/token": true}
	w.assign("all", pull, push, remove)
	none := w.accessToken(alpha, "all") // verifies, and allows nothing
	for _, row := range routes() {
		name := row.method + " " + row.pattern
		if (row.need == anonymous) != open[name] {
			t.Errorf("%s needs %q; only the token endpoints are anonymous", name, row.need)
		}
		if row.need == anonymous {
			continue
		}
		target := "https://" + alpha + fill(row.pattern)
		if r := w.do(row.method, target, nil, nil); r.status != 401 || r.header.Get("Www-Authenticate") == "" {
			t.Errorf("%s without a token: %d %s", name, r.status, r.body)
		}
		if row.need == authenticated {
			continue
		}
		if r := w.do(row.method, target, bearer(none), nil); r.status != 401 || !strings.Contains(r.header.Get("Www-Authenticate"), "insufficient_scope") {
			t.Errorf("%s with a token without scope: %d %s", name, r.status, r.body)
		}
		// A token that allows everything, and a principal that has lost its roles.
		w.assign("fallen", pull, push, remove)
		full := w.accessToken(alpha, "fallen", "repository:*:*", "registry:catalog:*")
		w.assign("fallen")
		r := w.do(row.method, target, bearer(full), nil)
		if r.status != 403 || r.header.Get(deniedHeader) == "" {
			t.Errorf("%s without a role: %d %s", name, r.status, r.body)
		}
		if want := `"detail":{"principal":"fallen"`; row.method != http.MethodHead && !strings.Contains(r.body, want) {
			t.Errorf("%s: the body lacks the denial: %s", name, r.body)
		}
	}
}

func TestEveryRouteNeedsNoMoreThanItsRole(t *testing.T) {
	w := newWorld(t)
	for _, row := range routes() {
		if row.need == anonymous || row.need == authenticated {
			continue
		}
		action := string(row.need)
		if row.need == needCatalog {
			action = pull
		}
		w.assign("p", action)
		token := w.accessToken(alpha, "p", "repository:*:*", "registry:catalog:*")
		r := w.do(row.method, "https://"+alpha+fill(row.pattern), bearer(token), nil)
		if r.status == 401 || r.status == 403 || r.status >= 500 {
			t.Errorf("%s %s with %s: %d %s", row.method, row.pattern, action, r.status, r.body)
		}
	}
}

func TestMatch(t *testing.T) {
	digest := "sha256:" + strings.Repeat("0", 64)
	for _, tc := range []struct{ method, path, want string }{
		{"GET", "/v2", "/v2/"},
		{"GET", "/v2/a/tags/list", "/v2/{name}/tags/list a"},
		{"GET", "/v2/a/b/c/tags/list", "/v2/{name}/tags/list a/b/c"},
		{"POST", "/v2/a/blobs/uploads", "/v2/{name}/blobs/uploads/ a"},
		{"PUT", "/v2/a/blobs/uploads/x", "/v2/{name}/blobs/uploads/{upload} a"},
		{"GET", "/v2/blobs/uploads/manifests/v1", "/v2/{name}/manifests/{reference} blobs/uploads"},
		{"GET", "/v2/a/blobs/" + digest, "/v2/{name}/blobs/{digest} a"},
		{"GET", "/v2/a/blobs/sha256:00", "DIGEST_INVALID"},
		{"GET", "/v2/A/tags/list", "NAME_INVALID"},
		{"GET", "/v2/a/../b/tags/list", "NAME_INVALID"},
		{"GET", "/v2//a/tags/list", "NAME_INVALID"},
		{"GET", "/v2/" + strings.Repeat("a", 256) + "/tags/list", "NAME_INVALID"},
		{"GET", "/v2/a/manifests/-bad", "MANIFEST_INVALID"},
		{"POST", "/v2/a/tags/list", "405"},
		{"GET", "/v2/a/blobs/uploads/", "405"},
		{"GET", "/v2/a", "404"},
		{"GET", "/v2/tags/list", "404"},
		{"GET", "/v3/", "404"},
		{"GET", "/", "404"},
		{"DELETE", "/oauth2/token", "405"},
	} {
		row, values, err := match(routes(), tc.method, tc.path)
		got := strings.TrimSpace(row.pattern + " " + values["name"])
		if err != nil {
			f := FaultOf(err)
			switch got = f.Code; {
			case f.Kind == fault.NotAllowed:
				got = "405"
			case f.Code == "NAME_UNKNOWN":
				got = "404"
			}
		}
		if got != tc.want {
			t.Errorf("%s %s: %s, want %s", tc.method, tc.path, got, tc.want)
		}
	}
}

func ExampleService_Handler() {
	for _, row := range routes() {
		fmt.Println(row.need, row.method, row.pattern)
	}
	// Output:
	// anonymous POST /oauth2/exchange
	// anonymous POST /oauth2/token
	// anonymous GET /oauth2/token
	// authenticated GET /v2/
	// authenticated HEAD /v2/
	// catalog GET /v2/_catalog
	// pull GET /v2/{name}/tags/list
	// pull GET /v2/{name}/referrers/{digest}
	// pull GET /v2/{name}/manifests/{reference}
	// pull HEAD /v2/{name}/manifests/{reference}
	// push PUT /v2/{name}/manifests/{reference}
	// delete DELETE /v2/{name}/manifests/{reference}
	// push POST /v2/{name}/blobs/uploads/
	// push GET /v2/{name}/blobs/uploads/{upload}
	// push PATCH /v2/{name}/blobs/uploads/{upload}
	// push PUT /v2/{name}/blobs/uploads/{upload}
	// push DELETE /v2/{name}/blobs/uploads/{upload}
	// pull GET /v2/{name}/blobs/{digest}
	// pull HEAD /v2/{name}/blobs/{digest}
	// delete DELETE /v2/{name}/blobs/{digest}
}

func TestGuardHoldsEveryMethodToItsPermission(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	w.ok(pushImage(ctx, w.svc.Open("alpha"), "app", "v1", newImage("one")))
	g := &guard{backend: w.svc.open("alpha"), typ: typeRepository, name: "app", action: "nothing"}
	img := newImage("one")
	layer, manifest := descriptor("", img.layer), img.desc
	for name, do := range map[string]func() error{
		"GetBlob":         func() error { _, err := g.GetBlob(ctx, "app", layer.Digest); return err },
		"GetBlobRange":    func() error { _, err := g.GetBlobRange(ctx, "app", layer.Digest, 0, 1); return err },
		"GetManifest":     func() error { _, err := g.GetManifest(ctx, "app", manifest.Digest); return err },
		"GetTag":          func() error { _, err := g.GetTag(ctx, "app", "v1"); return err },
		"ResolveBlob":     func() error { _, err := g.ResolveBlob(ctx, "app", layer.Digest); return err },
		"ResolveManifest": func() error { _, err := g.ResolveManifest(ctx, "app", manifest.Digest); return err },
		"ResolveTag":      func() error { _, err := g.ResolveTag(ctx, "app", "v1"); return err },
		"PushBlob":        func() error { _, err := g.PushBlob(ctx, "app", layer, bytes.NewReader(img.layer)); return err },
		"PushBlobChunked": func() error { _, err := g.PushBlobChunked(ctx, "app", 0); return err },
		"PushBlobChunkedResume": func() error {
			_, err := g.PushBlobChunkedResume(ctx, "app", "x", 0, 0)
			return err
		},
		"MountBlob":      func() error { _, err := g.MountBlob(ctx, "app", "b", layer.Digest); return err },
		"PushManifest":   func() error { _, err := g.PushManifest(ctx, "app", "v2", img.manifest, manifest.MediaType); return err },
		"DeleteBlob":     func() error { return g.DeleteBlob(ctx, "app", layer.Digest) },
		"DeleteManifest": func() error { return g.DeleteManifest(ctx, "app", manifest.Digest) },
		"DeleteTag":      func() error { return g.DeleteTag(ctx, "app", "v1") },
		"Repositories":   func() error { _, err := ociregistry.All(g.Repositories(ctx, "")); return err },
		"Tags":           func() error { _, err := ociregistry.All(g.Tags(ctx, "app", "")); return err },
		"Referrers":      func() error { _, err := ociregistry.All(g.Referrers(ctx, "app", manifest.Digest, "")); return err },
	} {
		if err := do(); !fault.Is(err, fault.Internal) {
			t.Errorf("%s without permission: %v", name, err)
		}
	}
	if n := reflect.TypeFor[ociregistry.Interface]().NumMethod(); n != 18+1 { // and private
		t.Errorf("the interface has %d methods; this test knows 18", n)
	}
	pullImage(ctx, t, w.svc.Open("alpha"), "app", "v1", img)
}

func TestOwnFailuresAreNotShown(t *testing.T) {
	w := newWorld(t)
	access := w.access()
	access.Authorize = func(context.Context, string, string, bool, armid.ID) error {
		return errors.New("canary: no such table")
	}
	face := w.svc.Handler(access)
	token, _, err := w.svc.tokens.mint(kindAccess, claims{Subject: "p", Audience: alpha}, accessLife)
	w.ok(err)
	req := httptest.NewRequest("GET", "https://"+alpha+"/v2/app/tags/list", nil)
	req.Header = bearer(token)
	rec := httptest.NewRecorder()
	face.ServeHTTP(rec, req)
	if rec.Code != 500 || strings.Contains(rec.Body.String(), "canary") || !strings.Contains(w.log.String(), "canary") {
		t.Errorf("%d %s; log %s", rec.Code, rec.Body, w.log)
	}
}

func TestDenialOfUnicodeNamesIsASCIIInTheHeader(t *testing.T) {
	want := fault.Denial{Principal: "p", Scope: "/subscriptions/s/resourceGroups/grün-🐇\x7f"}
	text := want.Header()
	var got fault.Denial
	if err := json.Unmarshal([]byte(text), &got); err != nil || got != want {
		t.Errorf("%s reads as %+v (%v)", text, got, err)
	}
	for _, c := range []byte(text) {
		if c < 0x20 || c > 0x7e {
			t.Errorf("%q holds the byte %#x", text, c)
		}
	}
}
