package registry

import (
	"bytes"
	"context"
	"errors"
	"io"

	"cuelabs.dev/go/oci/ociregistry"
	"cuelabs.dev/go/oci/ociregistry/ociref"
	"github.com/opencontainers/go-digest"

	"lapis/store"
)

// PushManifest stores a manifest whose layers and children the repository has,
// and points the tag at it, if there is one.
func (b *backend) PushManifest(ctx context.Context, repo, tag string, data []byte, mediaType string) (ociregistry.Descriptor, error) {
	if !ociref.IsValidRepository(repo) {
		return ociregistry.Descriptor{}, ociErrorf(ociregistry.ErrNameInvalid, "%.200q is no repository name", repo)
	}
	if tag != "" && !ociref.IsValidTag(tag) {
		return ociregistry.Descriptor{}, ociErrorf(ociregistry.ErrManifestInvalid, "%.200q is no tag", tag)
	}
	m, err := parseManifest(mediaType, data)
	if err != nil {
		return ociregistry.Descriptor{}, err
	}
	desc := ociregistry.Descriptor{MediaType: m.mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	err = b.update(ctx, func(tx store.Tx) error {
		if err := b.checkReferences(tx, repo, m); err != nil {
			return err
		}
		return b.putManifest(tx, repo, tag, m, desc, data)
	})
	return desc, err
}

// checkReferences returns MANIFEST_BLOB_UNKNOWN for what the repository lacks.
func (b *backend) checkReferences(r store.Reader, repo string, m parsedManifest) error {
	for _, d := range m.blobs {
		rec, err := blobs().Get(r, atDigest(b.registry, repo, d.Digest))
		if errors.Is(err, store.ErrNotFound) {
			return ociErrorf(ociregistry.ErrManifestBlobUnknown, "the manifest names blob %s, which repository %s does not have; push it first", d.Digest, repo)
		}
		if err != nil {
			return err
		}
		if rec.Value.Size != d.Size {
			return ociErrorf(ociregistry.ErrManifestInvalid, "the manifest gives blob %s a size of %d, it has %d", d.Digest, d.Size, rec.Value.Size)
		}
	}
	for _, d := range m.manifests {
		_, err := manifests().Get(r, atDigest(b.registry, repo, d.Digest))
		if errors.Is(err, store.ErrNotFound) {
			return ociErrorf(ociregistry.ErrManifestBlobUnknown, "the index names manifest %s, which repository %s does not have; push it first", d.Digest, repo)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *backend) putManifest(tx store.Tx, repo, tag string, m parsedManifest, desc ociregistry.Descriptor, data []byte) error {
	now := b.s.now().UTC()
	rec := manifestRecord{MediaType: m.mediaType, Content: data, Pushed: now}
	if _, err := manifests().Put(tx, atDigest(b.registry, repo, desc.Digest), rec, store.Any); err != nil {
		return err
	}
	if m.subject != "" {
		if _, err := referrers().Put(tx, b.referrerKey(repo, m.subject, desc.Digest), m.referrer(desc), store.Any); err != nil {
			return err
		}
	}
	if tag != "" {
		if _, err := tags().Put(tx, tagKey(b.registry, repo, tag), tagRecord{Digest: desc.Digest, Updated: now}, store.Any); err != nil {
			return err
		}
	}
	if _, err := repos().Get(tx, repoKey(b.registry, repo)); !errors.Is(err, store.ErrNotFound) {
		return err
	}
	_, err := repos().Put(tx, repoKey(b.registry, repo), repoRecord{Created: now}, store.Absent)
	return err
}

func (b *backend) referrerKey(repo string, subject, manifest ociregistry.Digest) string {
	return atDigest(b.registry, repo, subject) + "@" + string(manifest)
}

// GetManifest opens a manifest by its digest.
func (b *backend) GetManifest(ctx context.Context, repo string, digest ociregistry.Digest) (ociregistry.BlobReader, error) {
	return b.readManifest(ctx, repo, func(store.Reader) (ociregistry.Digest, error) { return digest, nil })
}

// GetTag opens the manifest that a tag points at.
func (b *backend) GetTag(ctx context.Context, repo, tag string) (ociregistry.BlobReader, error) {
	return b.readManifest(ctx, repo, b.tagged(repo, tag))
}

// ResolveManifest describes a manifest.
func (b *backend) ResolveManifest(ctx context.Context, repo string, digest ociregistry.Digest) (ociregistry.Descriptor, error) {
	return describe(b.GetManifest(ctx, repo, digest))
}

// ResolveTag describes the manifest that a tag points at.
func (b *backend) ResolveTag(ctx context.Context, repo, tag string) (ociregistry.Descriptor, error) {
	return describe(b.GetTag(ctx, repo, tag))
}

func describe(r ociregistry.BlobReader, err error) (ociregistry.Descriptor, error) {
	if err != nil {
		return ociregistry.Descriptor{}, err
	}
	return r.Descriptor(), r.Close()
}

// tagged returns the lookup of the digest a tag points at.
func (b *backend) tagged(repo, tag string) func(store.Reader) (ociregistry.Digest, error) {
	return func(r store.Reader) (ociregistry.Digest, error) {
		rec, err := tags().Get(r, tagKey(b.registry, repo, tag))
		if errors.Is(err, store.ErrNotFound) {
			return "", ociErrorf(ociregistry.ErrManifestUnknown, "repository %s has no tag %s", repo, tag)
		}
		return rec.Value.Digest, err
	}
}

func (b *backend) readManifest(ctx context.Context, repo string, which func(store.Reader) (ociregistry.Digest, error)) (ociregistry.BlobReader, error) {
	var rec store.Entry[manifestRecord]
	var digest ociregistry.Digest
	err := b.s.store.View(ctx, func(r store.Reader) (err error) {
		if digest, err = which(r); err != nil {
			return err
		}
		rec, err = manifests().Get(r, atDigest(b.registry, repo, digest))
		return b.manifestUnknown(err, repo, digest)
	})
	if err != nil {
		return nil, err
	}
	return &blobReader{
		Reader: bytes.NewReader(rec.Value.Content), Closer: io.NopCloser(nil),
		desc: ociregistry.Descriptor{MediaType: rec.Value.MediaType, Digest: digest, Size: int64(len(rec.Value.Content))},
	}, nil
}

func (b *backend) manifestUnknown(err error, repo string, digest ociregistry.Digest) error {
	if !errors.Is(err, store.ErrNotFound) {
		return err
	}
	return ociErrorf(ociregistry.ErrManifestUnknown, "repository %s has no manifest %s", repo, digest)
}

// DeleteTag takes a tag away and leaves the manifest.
func (b *backend) DeleteTag(ctx context.Context, repo, tag string) error {
	return b.update(ctx, func(tx store.Tx) error {
		if _, err := b.tagged(repo, tag)(tx); err != nil {
			return err
		}
		return tx.Delete(tableTags, tagKey(b.registry, repo, tag), store.Any)
	})
}

// DeleteManifest removes a manifest and the tags that point at it. The last
// one takes the repository with it.
func (b *backend) DeleteManifest(ctx context.Context, repo string, digest ociregistry.Digest) error {
	return b.update(ctx, func(tx store.Tx) error {
		key := atDigest(b.registry, repo, digest)
		rec, err := manifests().Get(tx, key)
		if err != nil {
			return b.manifestUnknown(err, repo, digest)
		}
		if err := tx.Delete(tableManifests, key, store.Any); err != nil {
			return err
		}
		if err := b.deleteReferrer(tx, repo, digest, rec.Value); err != nil {
			return err
		}
		if err := b.deleteTagsOf(tx, repo, digest); err != nil {
			return err
		}
		rest, err := tx.List(tableManifests, b.registry+"/"+repo+"@", "", 1)
		if err != nil || len(rest) > 0 {
			return err
		}
		return tx.Delete(tableRepos, repoKey(b.registry, repo), store.Any)
	})
}

func (b *backend) deleteReferrer(tx store.Tx, repo string, digest ociregistry.Digest, rec manifestRecord) error {
	m, err := parseManifest(rec.MediaType, rec.Content)
	if err != nil || m.subject == "" {
		return err
	}
	return tx.Delete(tableReferrers, b.referrerKey(repo, m.subject, digest), store.Any)
}

func (b *backend) deleteTagsOf(tx store.Tx, repo string, digest ociregistry.Digest) error {
	entries, err := tags().List(tx, b.registry+"/"+repo+":", "", 0)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Value.Digest != digest {
			continue
		}
		if err := tags().Delete(tx, e.Key, store.Any); err != nil {
			return err
		}
	}
	return nil
}
