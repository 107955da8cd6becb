package registry

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"cuelabs.dev/go/oci/ociregistry"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"lapis/content"
	contentmemory "lapis/content/memory"
	"lapis/store/memory"
)

// pusher returns a world and the header of one who may do everything.
func pusher(t *testing.T) (*world, http.Header) {
	w := newWorld(t)
	w.assign("p", pull, push, remove)
	return w, bearer(w.accessToken(alpha, "p", "repository:*:*", "registry:catalog:*"))
}

func (w *world) begin(auth http.Header, repo string) string {
	w.t.Helper()
	r := w.do("POST", "https://"+alpha+"/v2/"+repo+"/blobs/uploads/", auth, nil)
	if r.status != http.StatusAccepted || r.header.Get("Range") != "0-0" || r.header.Get("Docker-Upload-Uuid") == "" {
		w.t.Fatalf("begin: %d %v", r.status, r.header)
	}
	return "https://" + alpha + r.header.Get("Location")
}

func withHeader(h http.Header, kv ...string) http.Header {
	h = h.Clone()
	for i := 0; i < len(kv); i += 2 {
		h.Set(kv[i], kv[i+1])
	}
	return h
}

func TestChunkedUpload(t *testing.T) {
	w, auth := pusher(t)
	data := []byte("0123456789abcdef")
	for name, ranges := range map[string]bool{"with Content-Range": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			at := w.begin(auth, "app")
			for _, cut := range [][2]int{{0, 5}, {5, 6}, {6, 12}} {
				h := auth
				if ranges {
					h = withHeader(auth, "Content-Range", fmt.Sprintf("%d-%d", cut[0], cut[1]-1))
				}
				r := w.do("PATCH", at, h, bytes.NewReader(data[cut[0]:cut[1]]))
				if r.status != 202 || r.header.Get("Range") != fmt.Sprintf("0-%d", cut[1]-1) {
					t.Fatalf("chunk %v: %d %s %s", cut, r.status, r.header.Get("Range"), r.body)
				}
			}
			if r := w.do("GET", at, auth, nil); r.status != 204 || r.header.Get("Range") != "0-11" {
				t.Errorf("state: %d %s", r.status, r.header.Get("Range"))
			}
			if r := w.do("PATCH", at, withHeader(auth, "Content-Range", "3-5"), strings.NewReader("345")); r.status != 416 {
				t.Errorf("a chunk out of order: %d %s", r.status, r.body)
			}
			dg := digest.FromBytes(data)
			r := w.do("PUT", at+"?digest="+string(dg), auth, bytes.NewReader(data[12:]))
			if r.status != 201 || r.header.Get("Docker-Content-Digest") != string(dg) {
				t.Fatalf("complete: %d %s", r.status, r.body)
			}
			if r := w.do("GET", "https://"+alpha+r.header.Get("Location"), auth, nil); r.body != string(data) {
				t.Errorf("got %q", r.body)
			}
			if r := w.do("PUT", at+"?digest="+string(dg), auth, nil); r.status != 404 || r.code() != "BLOB_UPLOAD_UNKNOWN" {
				t.Errorf("completed twice: %d %s", r.status, r.body)
			}
		})
	}
}

func TestUploadThatIsWrongLeavesNothing(t *testing.T) {
	w, auth := pusher(t)
	right := digest.FromString("right")
	for name, tc := range map[string]struct {
		header http.Header
		query  string
		body   string
		status int
		code   string
	}{
		"other bytes":            {auth, "?digest=" + string(right), "wrong", 400, "DIGEST_INVALID"},
		"no bytes":               {auth, "?digest=" + string(right), "", 400, "DIGEST_INVALID"},
		"no digest":              {auth, "", "right", 400, "DIGEST_INVALID"},
		"half a digest":          {auth, "?digest=sha256:abc", "right", 400, "DIGEST_INVALID"},
		"sha512":                 {auth, "?digest=" + string(digest.SHA512.FromString("right")), "right", 400, "DIGEST_INVALID"},
		"range of another size":  {withHeader(auth, "Content-Range", "0-9"), "?digest=" + string(right), "right", 400, "SIZE_INVALID"},
		"range that is no range": {withHeader(auth, "Content-Range", "right"), "?digest=" + string(right), "right", 416, "RANGE_INVALID"},
		"range backwards":        {withHeader(auth, "Content-Range", "9-0"), "?digest=" + string(right), "right", 416, "RANGE_INVALID"},
	} {
		r := w.do("PUT", w.begin(auth, "app")+tc.query, tc.header, strings.NewReader(tc.body))
		if r.status != tc.status || r.code() != tc.code {
			t.Errorf("%s: %d %s", name, r.status, r.body)
		}
	}
	if r := w.do("HEAD", "https://"+alpha+"/v2/app/blobs/"+string(right), auth, nil); r.status != 404 {
		t.Errorf("a blob is there: %d", r.status)
	}
	if keys, err := w.content.List(t.Context(), ""); err != nil || len(keys) > 0 {
		t.Errorf("content is left: %v %v", keys, err)
	}
	if r := w.do("POST", "https://"+alpha+"/v2/app/blobs/uploads/?digest="+string(right), auth, strings.NewReader("wrong")); r.status != 400 || r.code() != "DIGEST_INVALID" {
		t.Errorf("in one POST: %d %s", r.status, r.body)
	}
}

func TestHalfSentUploadIsResumed(t *testing.T) {
	w, auth := pusher(t)
	data := make([]byte, 200<<10)
	_, _ = rand.Read(data)
	at := w.begin(auth, "app")

	// A request that announces all and breaks off in the middle.
	pr, pw := io.Pipe()
	req, err := http.NewRequest("PATCH", at, pr)
	w.ok(err)
	req.Header, req.ContentLength = auth.Clone(), int64(len(data))
	done := make(chan error)
	go func() {
		resp, err := w.http.Do(req)
		if err == nil {
			resp.Body.Close()
		}
		done <- err
	}()
	_, err = pw.Write(data[:150<<10])
	w.ok(err)
	pw.CloseWithError(errors.New("the network went away"))
	if err := <-done; err == nil {
		t.Fatal("the broken request succeeded")
	}

	// The server may still be reading what arrived; its answer says how far it is.
	var got int64
	for {
		r := w.do("GET", at, auth, nil)
		if r.status != 204 {
			t.Fatalf("state: %d %s", r.status, r.body)
		}
		_, err := fmt.Sscanf(r.header.Get("Range"), "0-%d", &got)
		w.ok(err)
		if got++; got == 1 {
			got = 0
		}
		r = w.do("PATCH", at, withHeader(auth, "Content-Range", fmt.Sprintf("%d-%d", got, len(data)-1)), bytes.NewReader(data[got:]))
		if r.status == 202 {
			break
		}
		if r.status != 409 && r.status != 416 {
			t.Fatalf("resume at %d: %d %s", got, r.status, r.body)
		}
	}
	dg := digest.FromBytes(data)
	if r := w.do("PUT", at+"?digest="+string(dg), auth, nil); r.status != 201 {
		t.Fatalf("complete: %d %s", r.status, r.body)
	}
	if r := w.do("GET", "https://"+alpha+"/v2/app/blobs/"+string(dg), auth, nil); r.body != string(data) {
		t.Error("the blob differs")
	}
}

func TestUploadIsUnknownElsewhereAndAfterRestart(t *testing.T) {
	w, auth := pusher(t)
	at := w.begin(auth, "app")
	if r := w.do("PATCH", strings.Replace(at, "/v2/app/", "/v2/other/", 1), auth, strings.NewReader("x")); r.code() != "BLOB_UPLOAD_UNKNOWN" {
		t.Errorf("in another repository: %d %s", r.status, r.body)
	}
	betas := bearer(w.accessToken(beta, "p", "repository:*:*"))
	if r := w.do("PATCH", strings.Replace(at, alpha, beta, 1), betas, strings.NewReader("x")); r.code() != "BLOB_UPLOAD_UNKNOWN" {
		t.Errorf("in another registry: %d %s", r.status, r.body)
	}
	if r := w.do("DELETE", w.begin(auth, "app"), auth, nil); r.status != 204 {
		t.Errorf("cancel: %d %s", r.status, r.body)
	}
	w.start()
	if r := w.do("PATCH", at, auth, strings.NewReader("x")); r.status != 404 || r.code() != "BLOB_UPLOAD_UNKNOWN" {
		t.Errorf("after a restart: %d %s", r.status, r.body)
	}
}

func TestIdleUploadIsDropped(t *testing.T) {
	w, auth := pusher(t)
	at := w.begin(auth, "app")
	w.advance(uploadIdle + time.Minute)
	w.begin(auth, "app")
	if r := w.do("GET", at, auth, nil); r.code() != "BLOB_UPLOAD_UNKNOWN" {
		t.Errorf("an upload idle for an hour: %d %s", r.status, r.body)
	}
}

func TestOpenUploadsAreBounded(t *testing.T) {
	w := newWorld(t)
	r := w.svc.Open("alpha")
	for range maxUploads {
		u, err := r.PushBlobChunked(t.Context(), "app", 0)
		w.ok(err)
		w.ok(u.Close())
	}
	if _, err := r.PushBlobChunked(t.Context(), "app", 0); !errors.Is(err, ociregistry.ErrTooManyRequests) {
		t.Errorf("one more: %v", err)
	}
	u, err := w.svc.Open("beta").PushBlobChunked(t.Context(), "app", 0)
	w.ok(err)
	w.ok(u.Cancel())
	w.svc.Close()
	u, err = r.PushBlobChunked(t.Context(), "app", 0)
	w.ok(err)
	w.ok(u.Cancel())
}

func TestSameLayerPushedByManyAtOnce(t *testing.T) {
	w := newWorld(t)
	w.assign("p", pull, push, remove)
	img := newImage("shared")
	ctx := t.Context()
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() {
			c := w.client(alpha, "p")
			repo := fmt.Sprintf("r%d", i%3)
			if err := pushImage(ctx, c, repo, "v1", img); err != nil {
				t.Errorf("push %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	for i := range 3 {
		pullImage(ctx, t, w.client(alpha, "p"), fmt.Sprintf("r%d", i), "v1", img)
	}
	keys, err := w.content.List(ctx, "")
	if err != nil || len(keys) != 2 {
		t.Errorf("two layers are kept as %v %v", keys, err)
	}
}

// pausing is a content store that lets a test act in the middle of a step.
type pausing struct {
	content.Store
	beforeDelete, afterCommit func()
}

func (p *pausing) Delete(ctx context.Context, key string) error {
	if p.beforeDelete != nil {
		p.beforeDelete()
	}
	return p.Store.Delete(ctx, key)
}

func (p *pausing) Create(ctx context.Context) (content.Writer, error) {
	w, err := p.Store.Create(ctx)
	return pausingWriter{w, p}, err
}

type pausingWriter struct {
	content.Writer
	p *pausing
}

func (w pausingWriter) Commit(key string) error {
	err := w.Writer.Commit(key)
	if w.p.afterCommit != nil {
		w.p.afterCommit()
	}
	return err
}

// meanwhile runs fn beside the step that calls it. It goes on when fn is
// through, or when fn has plainly been made to wait.
func meanwhile(wg *sync.WaitGroup, fn func()) {
	done := make(chan struct{})
	wg.Go(func() { fn(); close(done) })
	select {
	case <-done:
	case <-time.After(100 * time.Millisecond):
	}
}

func TestLayerPushedWhileItsLastCopyIsDeletedStays(t *testing.T) {
	p := &pausing{Store: contentmemory.New()}
	w := newWorldOn(t, memory.New(), p)
	ctx, r := t.Context(), w.svc.Open("alpha")
	data := []byte("layer")
	desc := descriptor("", data)
	_, err := r.PushBlob(ctx, "old", desc, bytes.NewReader(data))
	w.ok(err)
	var wg sync.WaitGroup
	p.beforeDelete = func() {
		p.beforeDelete = nil
		meanwhile(&wg, func() {
			if _, err := r.PushBlob(ctx, "new", desc, bytes.NewReader(data)); err != nil {
				t.Error(err)
			}
		})
	}
	w.ok(r.DeleteBlob(ctx, "old", desc.Digest))
	wg.Wait()
	if got, err := readAll(r.GetBlob(ctx, "new", desc.Digest)); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%q %v", got, err)
	}
}

func TestSweepSparesALayerThatIsBeingPushed(t *testing.T) {
	p := &pausing{Store: contentmemory.New()}
	w := newWorldOn(t, memory.New(), p)
	ctx, r := t.Context(), w.svc.Open("alpha")
	data := []byte("layer")
	desc := descriptor("", data)
	var wg sync.WaitGroup
	p.afterCommit = func() {
		meanwhile(&wg, func() {
			if _, err := w.svc.Sweep(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	_, err := r.PushBlob(ctx, "app", desc, bytes.NewReader(data))
	w.ok(err)
	wg.Wait()
	if got, err := readAll(r.GetBlob(ctx, "app", desc.Digest)); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%q %v", got, err)
	}
}

// TestLayerThatIsThereIsNotStoredAgain pushes it to a second repository.
func TestLayerThatIsThereIsNotStoredAgain(t *testing.T) {
	p := &pausing{Store: contentmemory.New()}
	w := newWorldOn(t, memory.New(), p)
	commits := 0
	p.afterCommit = func() { commits++ }
	img := newImage("one")
	for _, repo := range []string{"a", "b", "a"} {
		w.ok(pushImage(t.Context(), w.svc.Open("alpha"), repo, "v1", img))
	}
	if commits != 2 {
		t.Errorf("%d pieces of content were stored for two layers", commits)
	}
}

// TestPushAndDeleteOfTheSameLayer races pushes with deletes: a push that was
// answered and not deleted since must be whole.
func TestPushAndDeleteOfTheSameLayer(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	data := []byte("contended")
	desc := descriptor(blobMediaType, data)
	keep, churn := w.svc.Open("alpha"), w.svc.Open("alpha")
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 100 {
				_, _ = churn.PushBlob(ctx, "churn", desc, bytes.NewReader(data))
				_ = churn.DeleteBlob(ctx, "churn", desc.Digest)
				_, _ = w.svc.Sweep(ctx)
			}
		})
	}
	for i := range 100 {
		repo := fmt.Sprintf("keep%d", i)
		if _, err := keep.PushBlob(ctx, repo, desc, bytes.NewReader(data)); err != nil {
			t.Fatal(err)
		}
		if got, err := readAll(keep.GetBlob(ctx, repo, desc.Digest)); err != nil || !bytes.Equal(got, data) {
			t.Fatalf("%s: %q %v", repo, got, err)
		}
		if i > 0 {
			w.ok(keep.DeleteBlob(ctx, fmt.Sprintf("keep%d", i-1), desc.Digest))
		}
	}
	wg.Wait()
}

func TestBlobIsSeenOnlyWhereItWasPushedOrMounted(t *testing.T) {
	w, auth := pusher(t)
	c := w.client(alpha, "p")
	ctx := t.Context()
	img := newImage("one")
	w.ok(pushImage(ctx, c, "app", "v1", img))
	layer := descriptor(blobMediaType, img.layer).Digest
	for _, method := range []string{"GET", "HEAD", "DELETE"} {
		if r := w.do(method, "https://"+alpha+"/v2/other/blobs/"+string(layer), auth, nil); r.status != 404 {
			t.Errorf("%s in a repository it was not pushed to: %d %s", method, r.status, r.body)
		}
	}
	if _, err := c.PushManifest(ctx, "other", "v1", img.manifest, img.desc.MediaType); !errors.Is(err, ociregistry.ErrManifestBlobUnknown) {
		t.Errorf("a manifest over another repository's layers: %v", err)
	}
	uploads := "https://" + alpha + "/v2/other/blobs/uploads/?mount=" + string(layer)
	if r := w.do("POST", uploads+"&from=app", auth, nil); r.status != 201 {
		t.Errorf("mount: %d %s", r.status, r.body)
	}
	if got, err := readAll(c.GetBlob(ctx, "other", layer)); err != nil || !bytes.Equal(got, img.layer) {
		t.Errorf("mounted: %q %v", got, err)
	}
	for name, query := range map[string]string{"from nowhere": "&from=nowhere", "without from": ""} {
		if r := w.do("POST", strings.Replace(uploads, "/other/", "/third/", 1)+query, auth, nil); r.status != 202 || r.header.Get("Location") == "" {
			t.Errorf("mount %s: %d %s", name, r.status, r.body)
		}
	}
	narrow := bearer(w.accessToken(alpha, "p", "repository:third:pull,push"))
	r := w.do("POST", strings.Replace(uploads, "/other/", "/third/", 1)+"&from=app", narrow, nil)
	if want := `scope="repository:third:pull,push repository:app:pull"`; r.status != 401 || !strings.Contains(r.header.Get("Www-Authenticate"), want) {
		t.Errorf("mount with a token that does not reach the source: %d %v", r.status, r.header)
	}
	// Deleting it where it came from leaves it where it was mounted.
	w.ok(c.DeleteBlob(ctx, "app", layer))
	if got, err := readAll(c.GetBlob(ctx, "other", layer)); err != nil || !bytes.Equal(got, img.layer) {
		t.Errorf("after the source was deleted: %q %v", got, err)
	}
}

func TestSweepRemovesWhatNoOneReaches(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	r := w.svc.Open("Alpha")
	img := newImage("kept")
	w.ok(pushImage(ctx, r, "app", "v1", img))
	lone := []byte("named by no manifest")
	_, err := r.PushBlob(ctx, "app", descriptor("", lone), bytes.NewReader(lone))
	w.ok(err)
	// What a crash between the bytes and the record leaves.
	cw, err := w.content.Create(ctx)
	w.ok(err)
	_, _ = cw.Write([]byte("orphan"))
	w.ok(cw.Commit(contentKey("alpha", digest.FromString("orphan"))))

	got, err := w.svc.Sweep(ctx)
	if err != nil || got != (Swept{Content: 1}) {
		t.Errorf("first sweep: %+v %v", got, err)
	}
	w.advance(unusedBlobAge + time.Hour)
	got, err = w.svc.Sweep(ctx)
	if err != nil || got != (Swept{Blobs: 1}) {
		t.Errorf("a day later: %+v %v", got, err)
	}
	pullImage(ctx, t, r, "app", "v1", img)
	if keys, _ := w.content.List(ctx, ""); len(keys) != 2 {
		t.Errorf("content: %v", keys)
	}
}

func TestDeletedRegistryLeavesNothing(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	w.ok(pushImage(ctx, w.svc.Open("beta"), "app", "v1", newImage("theirs")))
	before := w.svc.Open("alpha")
	img := newImage("one")
	w.ok(pushImage(ctx, before, "app", "v1", img))
	up, err := before.PushBlobChunked(ctx, "app", 0)
	w.ok(err)
	_, err = up.Write([]byte("late"))
	w.ok(err)

	w.ok(w.svc.DeleteRegistry(ctx, "ALPHA"))
	w.ok(w.svc.DeleteRegistry(ctx, "alpha"))
	if _, err := up.Commit(digest.FromString("late")); err == nil {
		t.Error("an upload that began before the removal was completed after it")
	}
	empty, _ := newIndex(nil)
	if _, err := before.PushManifest(ctx, "app", "v1", empty, "application/vnd.oci.image.index.v1+json"); !errors.Is(err, ociregistry.ErrNameUnknown) {
		t.Errorf("a manifest pushed by a request from before: %v", err)
	}
	after := w.svc.Open("alpha")
	if _, err := after.GetTag(ctx, "app", "v1"); !errors.Is(err, ociregistry.ErrManifestUnknown) {
		t.Errorf("tag: %v", err)
	}
	if names, err := ociregistry.All(after.Repositories(ctx, "")); err != nil || len(names) > 0 {
		t.Errorf("catalog: %v %v", names, err)
	}
	_, err = w.svc.Sweep(ctx)
	w.ok(err)
	if keys, _ := w.content.List(ctx, contentPrefix("alpha")); len(keys) > 0 {
		t.Errorf("content: %v", keys)
	}
	pullImage(ctx, t, w.svc.Open("beta"), "app", "v1", newImage("theirs"))
	w.ok(pushImage(ctx, after, "app", "v1", img))
	pullImage(ctx, t, after, "app", "v1", img)
}

func TestRangesOfABlob(t *testing.T) {
	w, auth := pusher(t)
	data := []byte("0123456789")
	_, err := w.svc.Open("alpha").PushBlob(context.Background(), "app", descriptor("", data), bytes.NewReader(data))
	w.ok(err)
	at := "https://" + alpha + "/v2/app/blobs/" + string(digest.FromBytes(data))
	for _, tc := range []struct {
		header, body string
		status       int
	}{
		{"bytes=2-4", "234", 206},
		{"bytes=8-", "89", 206},
		{"bytes=-3", "789", 206},
		{"bytes=-300", "0123456789", 206},
		{"bytes=8-300", "89", 206},
		{"bytes=10-", "", 416},
		{"bytes=-0", "", 416},
		{"bytes=5-2", "0123456789", 200},
		{"bytes=1-2,4-5", "0123456789", 200},
		{"bytes=x-", "0123456789", 200},
		{"lines=1-2", "0123456789", 200},
		{"bytes=0-9223372036854775807", "", 416},
	} {
		r := w.do("GET", at, withHeader(auth, "Range", tc.header), nil)
		if r.status != tc.status || tc.status < 400 && r.body != tc.body {
			t.Errorf("%s: %d %q %s", tc.header, r.status, r.body, r.header.Get("Content-Range"))
		}
	}
}

func TestListsArePaged(t *testing.T) {
	w, auth := pusher(t)
	c := w.svc.Open("alpha")
	img := newImage("one")
	var want []string
	for i := range 7 {
		tag := fmt.Sprintf("v%d", i)
		w.ok(pushImage(t.Context(), c, "app", tag, img))
		want = append(want, tag)
	}
	for _, repo := range []string{"app/sub", "ap"} {
		w.ok(pushImage(t.Context(), c, repo, "x", img))
	}
	var got []string
	next := "/v2/app/tags/list?n=3"
	for next != "" {
		r := w.do("GET", "https://"+alpha+next, auth, nil)
		if r.status != 200 || !strings.HasPrefix(r.header.Get("Content-Type"), "application/json") {
			t.Fatalf("%s: %d %s", next, r.status, r.body)
		}
		var page struct{ Tags []string }
		w.decode(r, &page)
		got = append(got, page.Tags...)
		next, _, _ = strings.Cut(strings.TrimPrefix(r.header.Get("Link"), "<"), ">")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for query, want := range map[string]string{
		"?n=2": `{"repositories":["ap","app"]}`, "?last=app": `{"repositories":["app/sub"]}`, "?n=0": `{"repositories":[]}`, "": `{"repositories":["ap","app","app/sub"]}`,
	} {
		if r := w.do("GET", "https://"+alpha+"/v2/_catalog"+query, auth, nil); r.body != want {
			t.Errorf("catalog%s: %s", query, r.body)
		}
	}
	for _, n := range []string{"-1", "x"} {
		if r := w.do("GET", "https://"+alpha+"/v2/_catalog?n="+n, auth, nil); r.status != 400 {
			t.Errorf("n=%s: %d %s", n, r.status, r.body)
		}
	}
}
