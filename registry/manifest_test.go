package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"cuelabs.dev/go/oci/ociregistry"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func (w *world) decode(r reply, into any) {
	w.t.Helper()
	if err := json.Unmarshal([]byte(r.body), into); err != nil {
		w.t.Fatalf("%v in %s", err, r.body)
	}
}

func newIndex(subject *ociregistry.Descriptor, children ...ociregistry.Descriptor) ([]byte, ociregistry.Descriptor) {
	data, _ := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageIndex, "manifests": children, "subject": subject,
		"artifactType": "application/example", "annotations": map[string]string{"k": "v"},
	})
	return data, descriptor(ocispec.MediaTypeImageIndex, data)
}

func TestIndexNeedsItsManifests(t *testing.T) {
	w := newWorld(t)
	ctx, r := t.Context(), w.svc.Open("alpha")
	img := newImage("one")
	index, desc := newIndex(nil, img.desc)
	if _, err := r.PushManifest(ctx, "app", "multi", index, desc.MediaType); !errors.Is(err, ociregistry.ErrManifestBlobUnknown) {
		t.Errorf("before its manifest: %v", err)
	}
	w.ok(pushImage(ctx, r, "app", "", img))
	_, err := r.PushManifest(ctx, "app", "multi", index, desc.MediaType)
	w.ok(err)
	got, err := r.ResolveTag(ctx, "app", "multi")
	if diff := cmp.Diff(desc, got); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
}

func TestReferrersAreListedAndForgotten(t *testing.T) {
	w, auth := pusher(t)
	ctx, r := t.Context(), w.svc.Open("alpha")
	img := newImage("one")
	w.ok(pushImage(ctx, r, "app", "v1", img))
	sig, desc := newIndex(&img.desc)
	reply := w.do("PUT", "https://"+alpha+"/v2/app/manifests/"+string(desc.Digest), withHeader(auth, "Content-Type", desc.MediaType), bytes.NewReader(sig))
	if reply.status != 201 || reply.header.Get("OCI-Subject") != string(img.desc.Digest) {
		t.Fatalf("%d %v %s", reply.status, reply.header, reply.body)
	}
	list := func(query string) []ociregistry.Descriptor {
		reply := w.do("GET", "https://"+alpha+"/v2/app/referrers/"+string(img.desc.Digest)+query, auth, nil)
		if reply.status != 200 || reply.header.Get("Content-Type") != ocispec.MediaTypeImageIndex {
			t.Fatalf("%d %s", reply.status, reply.body)
		}
		var index ocispec.Index
		w.decode(reply, &index)
		return index.Manifests
	}
	want := desc
	want.ArtifactType, want.Annotations = "application/example", map[string]string{"k": "v"}
	if diff := cmp.Diff([]ociregistry.Descriptor{want}, list("?artifactType=application/example")); diff != "" {
		t.Error(diff)
	}
	if got := list("?artifactType=other"); len(got) > 0 {
		t.Errorf("of another type: %v", got)
	}
	w.ok(r.DeleteManifest(ctx, "app", desc.Digest))
	if got := list(""); len(got) > 0 {
		t.Errorf("after its deletion: %v", got)
	}
}

func TestManifestsThatAreRefused(t *testing.T) {
	w, auth := pusher(t)
	ctx, r := t.Context(), w.svc.Open("alpha")
	img := newImage("one")
	w.ok(pushImage(ctx, r, "app", "v1", img))
	other := newImage("other")
	change := func(old, new string) string { return strings.Replace(string(img.manifest), old, new, 1) }
	layer := string(digest.FromBytes(img.layer))
	for name, tc := range map[string]struct {
		reference, mediaType, body string
		status                     int
		code                       string
	}{
		"no JSON":              {"v2", img.desc.MediaType, "{", 400, "MANIFEST_INVALID"},
		"null":                 {"v2", img.desc.MediaType, "null", 400, "MANIFEST_INVALID"},
		"a list":               {"v2", img.desc.MediaType, "[]", 400, "MANIFEST_INVALID"},
		"empty":                {"v2", img.desc.MediaType, "", 400, "MANIFEST_INVALID"},
		"schema 1":             {"v2", "application/vnd.docker.distribution.manifest.v1+json", `{"schemaVersion":1}`, 400, "MANIFEST_INVALID"},
		"unknown type":         {"v2", "text/plain", `{"schemaVersion":2}`, 400, "MANIFEST_INVALID"},
		"two types":            {"v2", ocispec.MediaTypeImageIndex, string(img.manifest), 400, "MANIFEST_INVALID"},
		"no config":            {"v2", img.desc.MediaType, `{"schemaVersion":2,"layers":[]}`, 400, "MANIFEST_INVALID"},
		"digest that is none":  {"v2", img.desc.MediaType, change(layer, "sha256:../../etc"), 400, "MANIFEST_INVALID"},
		"another size":         {"v2", img.desc.MediaType, change(`"size":12`, `"size":13`), 400, "MANIFEST_INVALID"},
		"missing layer":        {"v2", img.desc.MediaType, string(other.manifest), 404, "MANIFEST_BLOB_UNKNOWN"},
		"under another digest": {string(other.desc.Digest), img.desc.MediaType, string(img.manifest), 400, "DIGEST_INVALID"},
		"under sha512":         {string(digest.SHA512.FromString("x")), img.desc.MediaType, string(img.manifest), 400, "DIGEST_INVALID"},
		"too large":            {"v2", img.desc.MediaType, strings.Repeat(" ", maxManifest+1), 413, "SIZE_INVALID"},
		"deeply nested":        {"v2", img.desc.MediaType, strings.Repeat("[", 100000), 400, "MANIFEST_INVALID"},
	} {
		reply := w.do("PUT", "https://"+alpha+"/v2/app/manifests/"+tc.reference, withHeader(auth, "Content-Type", tc.mediaType), strings.NewReader(tc.body))
		if reply.status != tc.status || reply.code() != tc.code {
			t.Errorf("%s: %d %.300s", name, reply.status, reply.body)
		}
	}
	if tags, err := ociregistry.All(r.Tags(ctx, "app", "")); err != nil || !cmp.Equal(tags, []string{"v1"}) {
		t.Errorf("tags: %v %v", tags, err)
	}
}

func TestForeignLayersNeedNotBePushed(t *testing.T) {
	w := newWorld(t)
	ctx, r := t.Context(), w.svc.Open("alpha")
	img := newImage("one")
	w.ok(pushImage(ctx, r, "app", "v1", img))
	m, _ := json.Marshal(ociregistry.Manifest{
		Versioned: struct {
			SchemaVersion int `json:"schemaVersion"`
		}{2},
		Config: descriptor(ocispec.MediaTypeImageConfig, img.config),
		Layers: []ociregistry.Descriptor{descriptor(dockerForeignLayer, []byte("base of windows"))},
	})
	_, err := r.PushManifest(ctx, "app", "win", m, dockerManifest)
	w.ok(err)
}

func TestTagsMoveAndGo(t *testing.T) {
	w, auth := pusher(t)
	ctx, r := t.Context(), w.svc.Open("alpha")
	one, two := newImage("one"), newImage("two")
	w.ok(pushImage(ctx, r, "app", "latest", one))
	w.ok(pushImage(ctx, r, "app", "latest", two))
	pullImage(ctx, t, r, "app", "latest", two)
	if _, err := readAll(r.GetManifest(ctx, "app", one.desc.Digest)); err != nil {
		t.Errorf("the manifest that lost its tag: %v", err)
	}
	if reply := w.do("DELETE", "https://"+alpha+"/v2/app/manifests/latest", auth, nil); reply.status != http.StatusAccepted {
		t.Errorf("delete tag: %d %s", reply.status, reply.body)
	}
	if reply := w.do("DELETE", "https://"+alpha+"/v2/app/manifests/latest", auth, nil); reply.status != 404 || reply.code() != "MANIFEST_UNKNOWN" {
		t.Errorf("delete tag again: %d %s", reply.status, reply.body)
	}
	w.ok(pushImage(ctx, r, "app", "one", one))
	w.ok(pushImage(ctx, r, "app", "two", two))
	w.ok(r.DeleteManifest(ctx, "app", one.desc.Digest))
	if tags, err := ociregistry.All(r.Tags(ctx, "app", "")); err != nil || !cmp.Equal(tags, []string{"two"}) {
		t.Errorf("tags after a manifest went: %v %v", tags, err)
	}
	w.ok(r.DeleteManifest(ctx, "app", two.desc.Digest))
	if names, _ := ociregistry.All(r.Repositories(ctx, "")); len(names) > 0 {
		t.Errorf("a repository without manifests is listed: %v", names)
	}
}
