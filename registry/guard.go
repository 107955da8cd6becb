package registry

import (
	"context"
	"fmt"
	"io"
	"iter"

	"cuelabs.dev/go/oci/ociregistry"

	"lapis/fault"
)

// guard is a registry seen through one request's permission. The route decides
// what the request needs; the guard holds the request to it, so that a path
// that two parsers read differently opens nothing.
type guard struct {
	*backend
	typ, name string // the repository, or the catalog
	action    string // what the caller was found to be allowed
}

var _ ociregistry.Interface = (*guard)(nil)

func (g *guard) may(action, repo string) error {
	if g.typ == typeRepository && g.name == repo && g.action == action {
		return nil
	}
	return fault.Wrap(fmt.Errorf("permission is for %s of %s %q, not for %s of %q", g.action, g.typ, g.name, action, repo), "checking the request's permission")
}

// GetBlob needs pull.
func (g *guard) GetBlob(ctx context.Context, repo string, digest ociregistry.Digest) (ociregistry.BlobReader, error) {
	if err := g.may(pull, repo); err != nil {
		return nil, err
	}
	return g.backend.GetBlob(ctx, repo, digest)
}

// GetBlobRange needs pull.
func (g *guard) GetBlobRange(ctx context.Context, repo string, digest ociregistry.Digest, from, to int64) (ociregistry.BlobReader, error) {
	if err := g.may(pull, repo); err != nil {
		return nil, err
	}
	return g.backend.GetBlobRange(ctx, repo, digest, from, to)
}

// ResolveBlob needs pull.
func (g *guard) ResolveBlob(ctx context.Context, repo string, digest ociregistry.Digest) (ociregistry.Descriptor, error) {
	if err := g.may(pull, repo); err != nil {
		return ociregistry.Descriptor{}, err
	}
	return g.backend.ResolveBlob(ctx, repo, digest)
}

// GetManifest needs pull.
func (g *guard) GetManifest(ctx context.Context, repo string, digest ociregistry.Digest) (ociregistry.BlobReader, error) {
	if err := g.may(pull, repo); err != nil {
		return nil, err
	}
	return g.backend.GetManifest(ctx, repo, digest)
}

// GetTag needs pull.
func (g *guard) GetTag(ctx context.Context, repo, tag string) (ociregistry.BlobReader, error) {
	if err := g.may(pull, repo); err != nil {
		return nil, err
	}
	return g.backend.GetTag(ctx, repo, tag)
}

// ResolveManifest needs pull.
func (g *guard) ResolveManifest(ctx context.Context, repo string, digest ociregistry.Digest) (ociregistry.Descriptor, error) {
	if err := g.may(pull, repo); err != nil {
		return ociregistry.Descriptor{}, err
	}
	return g.backend.ResolveManifest(ctx, repo, digest)
}

// ResolveTag needs pull.
func (g *guard) ResolveTag(ctx context.Context, repo, tag string) (ociregistry.Descriptor, error) {
	if err := g.may(pull, repo); err != nil {
		return ociregistry.Descriptor{}, err
	}
	return g.backend.ResolveTag(ctx, repo, tag)
}

// Tags needs pull.
func (g *guard) Tags(ctx context.Context, repo, after string) iter.Seq2[string, error] {
	if err := g.may(pull, repo); err != nil {
		return ociregistry.ErrorSeq[string](err)
	}
	return g.backend.Tags(ctx, repo, after)
}

// Referrers needs pull.
func (g *guard) Referrers(ctx context.Context, repo string, digest ociregistry.Digest, artifactType string) iter.Seq2[ociregistry.Descriptor, error] {
	if err := g.may(pull, repo); err != nil {
		return ociregistry.ErrorSeq[ociregistry.Descriptor](err)
	}
	return g.backend.Referrers(ctx, repo, digest, artifactType)
}

// Repositories needs the catalog.
func (g *guard) Repositories(ctx context.Context, after string) iter.Seq2[string, error] {
	if g.typ != typeRegistry || g.name != catalog {
		return ociregistry.ErrorSeq[string](g.may(every, catalog))
	}
	return g.backend.Repositories(ctx, after)
}

// PushBlob needs push.
func (g *guard) PushBlob(ctx context.Context, repo string, desc ociregistry.Descriptor, r io.Reader) (ociregistry.Descriptor, error) {
	if err := g.may(push, repo); err != nil {
		return ociregistry.Descriptor{}, err
	}
	return g.backend.PushBlob(ctx, repo, desc, r)
}

// PushBlobChunked needs push.
func (g *guard) PushBlobChunked(ctx context.Context, repo string, chunk int) (ociregistry.BlobWriter, error) {
	if err := g.may(push, repo); err != nil {
		return nil, err
	}
	return g.backend.PushBlobChunked(ctx, repo, chunk)
}

// PushBlobChunkedResume needs push.
func (g *guard) PushBlobChunkedResume(ctx context.Context, repo, id string, offset int64, chunk int) (ociregistry.BlobWriter, error) {
	if err := g.may(push, repo); err != nil {
		return nil, err
	}
	return g.backend.PushBlobChunkedResume(ctx, repo, id, offset, chunk)
}

func (g *guard) uploadSize(repo, id string) (int64, error) {
	if err := g.may(push, repo); err != nil {
		return 0, err
	}
	return g.backend.uploadSize(repo, id)
}

// MountBlob needs push at the target; the handler has asked for pull at the source.
func (g *guard) MountBlob(ctx context.Context, fromRepo, toRepo string, digest ociregistry.Digest) (ociregistry.Descriptor, error) {
	if err := g.may(push, toRepo); err != nil {
		return ociregistry.Descriptor{}, err
	}
	return g.backend.MountBlob(ctx, fromRepo, toRepo, digest)
}

// PushManifest needs push.
func (g *guard) PushManifest(ctx context.Context, repo, tag string, data []byte, mediaType string) (ociregistry.Descriptor, error) {
	if err := g.may(push, repo); err != nil {
		return ociregistry.Descriptor{}, err
	}
	return g.backend.PushManifest(ctx, repo, tag, data, mediaType)
}

// DeleteBlob needs delete.
func (g *guard) DeleteBlob(ctx context.Context, repo string, digest ociregistry.Digest) error {
	if err := g.may(remove, repo); err != nil {
		return err
	}
	return g.backend.DeleteBlob(ctx, repo, digest)
}

// DeleteManifest needs delete.
func (g *guard) DeleteManifest(ctx context.Context, repo string, digest ociregistry.Digest) error {
	if err := g.may(remove, repo); err != nil {
		return err
	}
	return g.backend.DeleteManifest(ctx, repo, digest)
}

// DeleteTag needs delete.
func (g *guard) DeleteTag(ctx context.Context, repo, tag string) error {
	if err := g.may(remove, repo); err != nil {
		return err
	}
	return g.backend.DeleteTag(ctx, repo, tag)
}
