package registry

import (
	"context"
	"errors"
	"fmt"
	"io"

	"cuelabs.dev/go/oci/ociregistry"

	"lapis/content"
	"lapis/fault"
	"lapis/store"
)

// backend is one registry, permission-free, as ociserver and our handlers see it.
type backend struct {
	*ociregistry.Funcs
	s        *Service
	registry string // lower case
	born     uint64 // the removal count when the request began
}

var _ ociregistry.Interface = (*backend)(nil)

const blobMediaType = "application/octet-stream"

// update runs fn as store.Update does, unless the registry was removed since
// the request began.
func (b *backend) update(ctx context.Context, fn func(store.Tx) error) error {
	b.s.life.RLock()
	defer b.s.life.RUnlock()
	if b.s.born[b.registry] != b.born {
		return ociErrorf(ociregistry.ErrNameUnknown, "registry %s was deleted while the request ran", b.registry)
	}
	return b.s.store.Update(ctx, fn)
}

// GetBlob opens a layer. ErrBlobUnknown where the repository has none of that digest.
func (b *backend) GetBlob(ctx context.Context, repo string, digest ociregistry.Digest) (ociregistry.BlobReader, error) {
	desc, err := b.ResolveBlob(ctx, repo, digest)
	if err != nil {
		return nil, err
	}
	r, err := b.s.content.Open(ctx, contentKey(b.registry, digest))
	if errors.Is(err, content.ErrNotFound) {
		// Deleted between the two steps, or lost; the record knows which.
		if _, err := b.ResolveBlob(ctx, repo, digest); err != nil {
			return nil, err
		}
		return nil, fault.Wrap(err, fmt.Sprintf("reading layer %s, whose bytes are missing", digest))
	}
	if err != nil {
		return nil, err
	}
	return &blobReader{Reader: r, Closer: r, desc: desc}, nil
}

// GetBlobRange opens the bytes from from up to, not including, to (negative: to the end).
func (b *backend) GetBlobRange(ctx context.Context, repo string, digest ociregistry.Digest, from, to int64) (ociregistry.BlobReader, error) {
	whole, err := b.GetBlob(ctx, repo, digest)
	if err != nil {
		return nil, err
	}
	size := whole.Descriptor().Size
	if to < 0 || to > size {
		to = size
	}
	if from < 0 || from >= size || to < from {
		whole.Close()
		return nil, ociErrorf(ociregistry.ErrRangeInvalid, "the range begins at byte %d, the blob has %d", from, size)
	}
	r := whole.(*blobReader)
	seeker := r.Closer.(io.ReaderAt)
	r.Reader = io.NewSectionReader(seeker, from, to-from)
	return r, nil
}

// ResolveBlob describes a layer.
func (b *backend) ResolveBlob(ctx context.Context, repo string, digest ociregistry.Digest) (ociregistry.Descriptor, error) {
	var rec store.Entry[blobRecord]
	err := b.s.store.View(ctx, func(r store.Reader) (err error) {
		rec, err = blobs().Get(r, atDigest(b.registry, repo, digest))
		return err
	})
	if err != nil {
		return ociregistry.Descriptor{}, b.blobUnknown(err, repo, digest)
	}
	return ociregistry.Descriptor{MediaType: blobMediaType, Digest: digest, Size: rec.Value.Size}, nil
}

// MountBlob makes a layer of one repository one of another, without its bytes moving.
func (b *backend) MountBlob(ctx context.Context, fromRepo, toRepo string, digest ociregistry.Digest) (ociregistry.Descriptor, error) {
	defer b.s.lockContent(b.registry, digest)()
	var size int64
	err := b.update(ctx, func(tx store.Tx) error {
		rec, err := blobs().Get(tx, atDigest(b.registry, fromRepo, digest))
		if err != nil {
			return b.blobUnknown(err, fromRepo, digest)
		}
		size = rec.Value.Size
		return b.putBlob(tx, toRepo, digest, size)
	})
	return ociregistry.Descriptor{MediaType: blobMediaType, Digest: digest, Size: size}, err
}

// putBlob records that the repository has the layer.
func (b *backend) putBlob(tx store.Tx, repo string, digest ociregistry.Digest, size int64) error {
	rec := blobRecord{Size: size, Pushed: b.s.now().UTC()}
	if _, err := blobs().Put(tx, atDigest(b.registry, repo, digest), rec, store.Any); err != nil {
		return err
	}
	_, err := holders().Put(tx, holderKey(b.registry, digest, repo), holderRecord{}, store.Any)
	return err
}

// DeleteBlob takes the layer from the repository.
func (b *backend) DeleteBlob(ctx context.Context, repo string, digest ociregistry.Digest) error {
	return b.dropBlob(ctx, repo, digest, func(r store.Reader) (bool, error) {
		if _, err := blobs().Get(r, atDigest(b.registry, repo, digest)); err != nil {
			return false, b.blobUnknown(err, repo, digest)
		}
		return true, nil
	})
}

// dropBlob removes the record if really says so, and then the bytes if no
// other repository holds them.
func (b *backend) dropBlob(ctx context.Context, repo string, digest ociregistry.Digest, really func(store.Reader) (bool, error)) error {
	defer b.s.lockContent(b.registry, digest)()
	last := false
	err := b.update(ctx, func(tx store.Tx) error {
		last = false
		if drop, err := really(tx); err != nil || !drop {
			return err
		}
		if err := tx.Delete(tableBlobs, atDigest(b.registry, repo, digest), store.Any); err != nil {
			return err
		}
		if err := tx.Delete(tableHolders, holderKey(b.registry, digest, repo), store.Any); err != nil {
			return err
		}
		others, err := held(tx, b.registry, digest)
		last = !others
		return err
	})
	if err != nil || !last {
		return err
	}
	if err := b.s.content.Delete(ctx, contentKey(b.registry, digest)); err != nil {
		// The layer is gone for every client; the next sweep frees the space.
		b.s.log.Warn("layer bytes stay until the next start", "digest", digest, "err", err)
	}
	return nil
}

func (b *backend) blobUnknown(err error, repo string, digest ociregistry.Digest) error {
	if !errors.Is(err, store.ErrNotFound) {
		return err
	}
	return ociErrorf(ociregistry.ErrBlobUnknown, "repository %s has no blob %s", repo, digest)
}

// blobReader is an open layer, or a range of one.
type blobReader struct {
	io.Reader
	io.Closer
	desc ociregistry.Descriptor
}

// Descriptor describes the whole layer, also where only a range is read.
func (r *blobReader) Descriptor() ociregistry.Descriptor { return r.desc }

func ignoreNotFound(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}
