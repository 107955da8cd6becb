package registry

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"cuelabs.dev/go/oci/ociregistry"
	"github.com/opencontainers/go-digest"

	"lapis/content"
	"lapis/store"
)

// uploadIdle is how long an upload that no one writes to is kept.
const uploadIdle = time.Hour

// maxUploads bounds the unfinished uploads of one registry: each holds a file open.
const maxUploads = 1000

// errUploadBusy means that another request is writing to the upload.
var errUploadBusy = errors.New("another request is writing to this upload")

// uploads are the unfinished uploads of this process.
type uploads struct {
	mu   sync.Mutex
	byID map[string]*upload
}

func newUploads() *uploads { return &uploads{byID: map[string]*upload{}} }

// upload is one unfinished layer. busy is held by the one request that writes.
type upload struct {
	registry, repo, id string

	busy  sync.Mutex
	w     content.Writer
	hash  hash.Hash
	ended bool // committed or dropped

	size atomic.Int64
	last atomic.Int64 // unix seconds of the last request
}

// add keeps u, and drops the uploads that no one has touched for long. False
// where its registry has too many.
func (us *uploads) add(u *upload, now time.Time) bool {
	us.dropAll(func(u *upload) bool { return now.Unix()-u.last.Load() > int64(uploadIdle/time.Second) })
	us.mu.Lock()
	defer us.mu.Unlock()
	open := 0
	for _, other := range us.byID {
		if other.registry == u.registry {
			open++
		}
	}
	if open >= maxUploads {
		return false
	}
	us.byID[u.id] = u
	return true
}

func (us *uploads) get(registry, repo, id string) (*upload, bool) {
	us.mu.Lock()
	defer us.mu.Unlock()
	u, ok := us.byID[id]
	return u, ok && u.registry == registry && u.repo == repo
}

func (us *uploads) remove(id string) {
	us.mu.Lock()
	defer us.mu.Unlock()
	delete(us.byID, id)
}

// dropAll ends the uploads for which which is true. One that is being written
// to loses its name only; its request ends it.
func (us *uploads) dropAll(which func(*upload) bool) {
	us.mu.Lock()
	defer us.mu.Unlock()
	for id, u := range us.byID {
		if !which(u) {
			continue
		}
		delete(us.byID, id)
		if u.busy.TryLock() {
			u.end()
			u.busy.Unlock()
		}
	}
}

// end drops what was written. The caller holds busy.
func (u *upload) end() {
	if !u.ended {
		u.ended = true
		u.w.Abort()
	}
}

// PushBlobChunked begins an upload. Close keeps it for a later resume.
func (b *backend) PushBlobChunked(ctx context.Context, repo string, _ int) (ociregistry.BlobWriter, error) {
	id := make([]byte, 16)
	if _, err := io.ReadFull(b.s.rand, id); err != nil {
		return nil, err
	}
	// The writer outlives the request that began the upload.
	w, err := b.s.content.Create(context.WithoutCancel(ctx))
	if err != nil {
		return nil, err
	}
	u := &upload{registry: b.registry, repo: repo, id: hex.EncodeToString(id), w: w, hash: sha256.New()}
	u.last.Store(b.s.now().Unix())
	u.busy.Lock()
	if !b.s.uploads.add(u, b.s.now()) {
		u.end()
		return nil, ociErrorf(ociregistry.ErrTooManyRequests, "registry %s has %d unfinished uploads; complete or cancel some", b.registry, maxUploads)
	}
	return &blobWriter{ctx: ctx, b: b, u: u}, nil
}

// PushBlobChunkedResume takes an upload up again. offset must be its size;
// -1 means to go on wherever it ended.
func (b *backend) PushBlobChunkedResume(ctx context.Context, repo, id string, offset int64, _ int) (ociregistry.BlobWriter, error) {
	u, ok := b.s.uploads.get(b.registry, repo, id)
	if !ok {
		return nil, uploadUnknown(id)
	}
	if !u.busy.TryLock() {
		return nil, errUploadBusy
	}
	if u.ended {
		u.busy.Unlock()
		return nil, uploadUnknown(id)
	}
	if size := u.size.Load(); offset >= 0 && offset != size {
		u.busy.Unlock()
		return nil, ociErrorf(ociregistry.ErrRangeInvalid, "the chunk begins at byte %d, the upload has %d", offset, size)
	}
	u.last.Store(b.s.now().Unix())
	return &blobWriter{ctx: ctx, b: b, u: u}, nil
}

// uploadSize tells how many bytes of an upload have arrived, also while a
// request is writing to it.
func (b *backend) uploadSize(repo, id string) (int64, error) {
	u, ok := b.s.uploads.get(b.registry, repo, id)
	if !ok {
		return 0, uploadUnknown(id)
	}
	return u.size.Load(), nil
}

func uploadUnknown(id string) error {
	return ociErrorf(ociregistry.ErrBlobUploadUnknown, "there is no upload %.64q here: it was completed, cancelled, or lost in a restart; begin it again", id)
}

// PushBlob uploads a layer in one go. desc.Size below 0 means unknown.
func (b *backend) PushBlob(ctx context.Context, repo string, desc ociregistry.Descriptor, r io.Reader) (ociregistry.Descriptor, error) {
	w, err := b.PushBlobChunked(ctx, repo, 0)
	if err != nil {
		return ociregistry.Descriptor{}, err
	}
	defer w.Cancel()
	n, err := io.Copy(w, r)
	if err != nil {
		return ociregistry.Descriptor{}, fmt.Errorf("reading the layer: %w", err)
	}
	if desc.Size >= 0 && n != desc.Size {
		return ociregistry.Descriptor{}, ociErrorf(ociregistry.ErrSizeInvalid, "the layer has %d bytes, %d were announced", n, desc.Size)
	}
	return w.Commit(desc.Digest)
}

// blobWriter is an upload in the hands of one request.
type blobWriter struct {
	ctx    context.Context
	b      *backend
	u      *upload
	closed bool
}

func (w *blobWriter) Write(p []byte) (int, error) {
	if w.closed || w.u.ended {
		return 0, uploadUnknown(w.u.id)
	}
	n, err := w.u.w.Write(p)
	w.u.hash.Write(p[:n])
	w.u.size.Add(int64(n))
	return n, err
}

func (w *blobWriter) Size() int64    { return w.u.size.Load() }
func (w *blobWriter) ChunkSize() int { return 1 } // any size will do
func (w *blobWriter) ID() string     { return w.u.id }

// Close hands the upload back; what was written stays.
func (w *blobWriter) Close() error {
	if w.closed {
		return nil
	}
	w.closed = true
	if _, ok := w.b.s.uploads.get(w.u.registry, w.u.repo, w.u.id); !ok {
		w.u.end() // its registry went away, or it was left idle, while we wrote
	}
	w.u.last.Store(w.b.s.now().Unix())
	w.u.busy.Unlock()
	return nil
}

// Cancel ends the upload. After Commit it does nothing.
func (w *blobWriter) Cancel() error {
	if w.closed {
		return nil
	}
	w.b.s.uploads.remove(w.u.id)
	return w.Close()
}

// Commit checks the digest and makes the layer the repository's. The upload is
// over in any case: bytes that do not have the digest cannot be mended.
func (w *blobWriter) Commit(want ociregistry.Digest) (ociregistry.Descriptor, error) {
	if w.closed || w.u.ended {
		return ociregistry.Descriptor{}, uploadUnknown(w.u.id)
	}
	defer w.Cancel()
	if want.Algorithm() != digest.SHA256 {
		return ociregistry.Descriptor{}, ociErrorf(ociregistry.ErrDigestInvalid, "the digest is of the algorithm %.20s; this registry takes sha256", want.Algorithm())
	}
	got := digest.NewDigest(digest.SHA256, w.u.hash)
	if want != got {
		return ociregistry.Descriptor{}, ociErrorf(ociregistry.ErrDigestInvalid, "the %d bytes that arrived have the digest %s, not %s", w.u.size.Load(), got, want)
	}
	size := w.u.size.Load()
	if err := w.b.commit(w.ctx, w.u, got, size); err != nil {
		return ociregistry.Descriptor{}, err
	}
	return ociregistry.Descriptor{MediaType: blobMediaType, Digest: got, Size: size}, nil
}

// commit stores the bytes, unless the registry has them already, and then the record.
func (b *backend) commit(ctx context.Context, u *upload, digest ociregistry.Digest, size int64) error {
	defer b.s.lockContent(b.registry, digest)()
	var have bool
	err := b.s.store.View(ctx, func(r store.Reader) (err error) {
		have, err = held(r, b.registry, digest)
		return err
	})
	if err != nil {
		return err
	}
	if !have {
		u.ended = true
		if err := u.w.Commit(contentKey(b.registry, digest)); err != nil {
			u.w.Abort()
			return fmt.Errorf("storing layer %s: %w", digest, err)
		}
	}
	err = b.update(ctx, func(tx store.Tx) error { return b.putBlob(tx, u.repo, digest, size) })
	if err != nil && !have {
		_ = b.s.content.Delete(ctx, contentKey(b.registry, digest)) // else the next sweep finds it
	}
	return err
}
