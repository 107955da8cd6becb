package registry

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"cuelabs.dev/go/oci/ociregistry"
	"github.com/google/go-cmp/cmp"

	"lapis/fault"
)

func TestPushedImageIsPulledByTagAndDigest(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	w.assign("pusher", pull, push)
	w.assign("puller", pull)
	img := newImage("one")
	w.ok(pushImage(ctx, w.client(alpha, "pusher"), "team/app", "v1", img))
	puller := w.client(alpha, "puller")
	pullImage(ctx, t, puller, "team/app", "v1", img)

	desc, err := puller.ResolveTag(ctx, "team/app", "v1")
	w.ok(err)
	if diff := cmp.Diff(img.desc, desc); diff != "" {
		t.Error(diff)
	}
	part, err := readAll(puller.GetBlobRange(ctx, "team/app", descriptor("", img.layer).Digest, 2, 7))
	if err != nil || string(part) != string(img.layer[2:7]) {
		t.Errorf("range: %q %v", part, err)
	}
	tags, err := ociregistry.All(puller.Tags(ctx, "team/app", ""))
	if err != nil || !cmp.Equal(tags, []string{"v1"}) {
		t.Errorf("tags: %v %v", tags, err)
	}
	names, err := ociregistry.All(puller.Repositories(ctx, ""))
	if err != nil || !cmp.Equal(names, []string{"team/app"}) {
		t.Errorf("catalog: %v %v", names, err)
	}
}

func TestImageSurvivesRestart(t *testing.T) {
	w := newWorld(t)
	w.assign("p", pull, push)
	img := newImage("one")
	client := w.client(alpha, "p")
	w.ok(pushImage(t.Context(), client, "app", "v1", img))
	token := w.accessToken(alpha, "p", "repository:app:pull")
	w.start()
	pullImage(t.Context(), t, w.client(alpha, "p"), "app", "v1", img)
	if r := w.do("GET", "https://"+alpha+"/v2/app/manifests/v1", bearer(token), nil); r.status != http.StatusOK {
		t.Errorf("a token from before the restart: %d %s", r.status, r.body)
	}
}

func TestPullWithoutAcrPullNamesTheRole(t *testing.T) {
	w := newWorld(t)
	w.assign("pusher", pull, push)
	w.ok(pushImage(t.Context(), w.client(alpha, "pusher"), "app", "v1", newImage("one")))
	for name, roles := range map[string][]string{"no role": nil, "only delete": {remove}} {
		t.Run(name, func(t *testing.T) {
			w.assign("stranger", roles...)
			for method, do := range map[string]func(ociregistry.Interface) error{
				"GET":  func(c ociregistry.Interface) error { _, err := c.GetTag(t.Context(), "app", "v1"); return err },
				"HEAD": func(c ociregistry.Interface) error { _, err := c.ResolveTag(t.Context(), "app", "v1"); return err },
			} {
				err := do(w.client(alpha, "stranger"))
				f := FaultOf(err)
				if f == nil || f.Kind != fault.Denied || f.Denial == nil {
					t.Fatalf("%s: %v is no denial", method, err)
				}
				want := fault.Denial{Principal: "stranger", Action: "Microsoft.ContainerRegistry/registries/pull/read",
					Scope: registryID("alpha").String(), Role: "AcrPull", RoleScope: registryID("alpha").String(),
					Remedy: "az role assignment create --role AcrPull --assignee stranger --scope " + registryID("alpha").String()}
				if diff := cmp.Diff(want, *f.Denial); diff != "" {
					t.Errorf("%s: %s", method, diff)
				}
				if !strings.Contains(err.Error(), "AcrPull") || !strings.Contains(err.Error(), want.Remedy) {
					t.Errorf("%s: the error's text does not say how to mend it: %v", method, err)
				}
				if roles != nil && !errors.Is(err, ociregistry.ErrDenied) {
					t.Errorf("%s: %v is not DENIED", method, err)
				}
			}
		})
	}
	if !strings.Contains(w.log.String(), "role=AcrPull") {
		t.Errorf("the log does not name the role: %s", w.log)
	}
}

func TestReaderCannotPush(t *testing.T) {
	w := newWorld(t)
	w.assign("reader", pull)
	err := pushImage(t.Context(), w.client(alpha, "reader"), "app", "v1", newImage("one"))
	if f := FaultOf(err); f == nil || f.Kind != fault.Denied || f.Code != "DENIED" || f.Denial == nil || f.Denial.Role != "AcrPush" {
		t.Errorf("push: %v", err)
	}
}

// withImage is a world in which the pusher p has pushed app:v1.
func withImage(t *testing.T) (*world, ociregistry.Interface, image) {
	t.Helper()
	w := newWorld(t)
	w.assign("p", pull, push)
	c, img := w.client(alpha, "p"), newImage("one")
	w.ok(pushImage(t.Context(), c, "app", "v1", img))
	return w, c, img
}

func TestPusherCannotDelete(t *testing.T) {
	w, c, img := withImage(t)
	if f := FaultOf(c.DeleteManifest(t.Context(), "app", img.desc.Digest)); f.Kind != fault.Denied || f.Denial == nil || f.Denial.Role != "AcrDelete" {
		t.Errorf("delete: %v", f)
	}
	w.assign("p", pull, push, remove)
	w.ok(c.DeleteManifest(t.Context(), "app", img.desc.Digest))
	if _, err := c.GetTag(t.Context(), "app", "v1"); !errors.Is(err, ociregistry.ErrManifestUnknown) {
		t.Errorf("the tag outlived its manifest: %v", err)
	}
}

func TestRoleRemovedActsAtTheNextRequest(t *testing.T) {
	w, c, img := withImage(t)
	pullImage(t.Context(), t, c, "app", "v1", img)
	w.assign("p")
	if _, err := c.GetTag(t.Context(), "app", "v1"); FaultOf(err).Kind != fault.Denied {
		t.Errorf("after the role was removed: %v", err)
	}
	w.assign("p", pull)
	pullImage(t.Context(), t, c, "app", "v1", img)
	if err := pushImage(t.Context(), c, "app", "v2", newImage("two")); FaultOf(err).Kind != fault.Denied {
		t.Errorf("push after AcrPush became AcrPull: %v", err)
	}
}

func TestClientRenewsExpiredTokens(t *testing.T) {
	w, c, img := withImage(t)
	w.advance(accessLife + time.Minute) // the access token is too old, the refresh token is not
	pullImage(t.Context(), t, c, "app", "v1", img)
	w.advance(refreshLife + time.Minute) // both are
	pullImage(t.Context(), t, c, "app", "v1", img)
}

func TestClientKeepsTheRegistrysErrors(t *testing.T) {
	w := newWorld(t)
	w.assign("p", pull, push)
	c := w.client(alpha, "p")
	ctx := t.Context()
	w.ok(pushImage(ctx, c, "app", "v1", newImage("one")))
	_, unknownTag := c.GetTag(ctx, "app", "v9")
	_, unknownBlob := c.GetBlob(ctx, "app", descriptor("", []byte("no")).Digest)
	_, unknownRepo := ociregistry.All(c.Tags(ctx, "nothing", ""))
	lonely := newImage("lonely")
	_, missing := c.PushManifest(ctx, "app", "", lonely.manifest, lonely.desc.MediaType)
	_, wrong := c.PushBlob(ctx, "app", descriptor("", []byte("this")), bytes.NewReader([]byte("that")))
	for name, tc := range map[string]struct {
		err  error
		want error
		kind fault.Kind
	}{
		"tag":              {unknownTag, ociregistry.ErrManifestUnknown, fault.NotFound},
		"blob":             {unknownBlob, ociregistry.ErrBlobUnknown, fault.NotFound},
		"repository":       {unknownRepo, ociregistry.ErrNameUnknown, fault.NotFound},
		"manifest's layer": {missing, ociregistry.ErrManifestBlobUnknown, fault.NotFound},
		"digest":           {wrong, ociregistry.ErrDigestInvalid, fault.Invalid},
	} {
		if !errors.Is(tc.err, tc.want) || FaultOf(tc.err).Kind != tc.kind {
			t.Errorf("%s: %v (kind %v)", name, tc.err, FaultOf(tc.err).Kind)
		}
	}
}

func TestClientSendsItsTokenToNoOtherHost(t *testing.T) {
	asked := false
	transport := roundTripper(func(r *http.Request) (*http.Response, error) {
		if r.Method == http.MethodPost {
			t.Errorf("a token went to %s", r.URL.Host)
		}
		return &http.Response{StatusCode: 401, Body: http.NoBody, Request: r, Header: http.Header{
			"Www-Authenticate": {`Bearer realm="https://evil.example/oauth2/token",service="alpha.azurecr.io"`}}}, nil
	})
	c, err := NewClient(ClientConfig{HTTP: &http.Client{Transport: transport}, LoginServer: alpha,
		Token: func(context.Context) (string, error) { asked = true; return "aad:p", nil }})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.GetTag(t.Context(), "app", "v1"); err == nil || asked {
		t.Errorf("err %v, asked %v", err, asked)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
