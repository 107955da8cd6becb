package registry

import (
	"context"
	"strings"
	"time"

	"cuelabs.dev/go/oci/ociregistry"

	"lapis/store"
)

// unusedBlobAge is how long a layer that no manifest names is kept: long
// enough for any push that is under way.
const unusedBlobAge = 24 * time.Hour

// Swept says what [Service.Sweep] removed.
type Swept struct {
	Blobs   int // layers that no manifest of their repository named for a day
	Content int // pieces of content that no repository held
}

// Sweep removes what no one can reach any more: layers that no manifest names,
// and content left behind by a crash. It is safe beside running requests; call
// it once after a start.
func (s *Service) Sweep(ctx context.Context) (Swept, error) {
	var swept Swept
	unused, err := s.unusedBlobs(ctx)
	if err != nil {
		return swept, err
	}
	for _, b := range unused {
		if err := s.open(b.registry).deleteUnused(ctx, b.repo, b.digest); err != nil {
			return swept, err
		}
		swept.Blobs++
	}
	swept.Content, err = s.sweepContent(ctx, contentRoot)
	return swept, err
}

type heldBlob struct {
	registry, repo string
	digest         ociregistry.Digest
}

// unusedBlobs finds old layers that no manifest of their repository names.
func (s *Service) unusedBlobs(ctx context.Context) ([]heldBlob, error) {
	var unused []heldBlob
	err := s.store.View(ctx, func(r store.Reader) error {
		entries, err := blobs().List(r, "", "", 0)
		if err != nil {
			return err
		}
		named := map[string]map[ociregistry.Digest]bool{}
		for _, e := range entries {
			path, digest, _ := strings.Cut(e.Key, "@")
			registry, repo, _ := strings.Cut(path, "/")
			if s.now().Sub(e.Value.Pushed) < unusedBlobAge {
				continue
			}
			if named[path] == nil {
				if named[path], err = namedBlobs(r, registry, repo); err != nil {
					return err
				}
			}
			if !named[path][ociregistry.Digest(digest)] {
				unused = append(unused, heldBlob{registry, repo, ociregistry.Digest(digest)})
			}
		}
		return nil
	})
	return unused, err
}

// namedBlobs returns the layers and configs that the repository's manifests name.
func namedBlobs(r store.Reader, registry, repo string) (map[ociregistry.Digest]bool, error) {
	entries, err := manifests().List(r, registry+"/"+repo+"@", "", 0)
	if err != nil {
		return nil, err
	}
	named := map[ociregistry.Digest]bool{}
	for _, e := range entries {
		m, err := parseManifest(e.Value.MediaType, e.Value.Content)
		if err != nil {
			return nil, err
		}
		for _, d := range m.blobs {
			named[d.Digest] = true
		}
	}
	return named, nil
}

// deleteUnused deletes the layer unless a manifest has come to name it.
func (b *backend) deleteUnused(ctx context.Context, repo string, digest ociregistry.Digest) error {
	return b.dropBlob(ctx, repo, digest, func(r store.Reader) (bool, error) {
		rec, err := blobs().Get(r, atDigest(b.registry, repo, digest))
		if err != nil {
			return false, ignoreNotFound(err)
		}
		if b.s.now().Sub(rec.Value.Pushed) < unusedBlobAge {
			return false, nil // pushed again meanwhile
		}
		named, err := namedBlobs(r, b.registry, repo)
		return !named[digest], err
	})
}

// sweepContent deletes the content under prefix that no repository holds.
func (s *Service) sweepContent(ctx context.Context, prefix string) (int, error) {
	keys, err := s.content.List(ctx, prefix)
	if err != nil {
		return 0, err
	}
	n := 0
	for _, key := range keys {
		registry, digest, ok := parseContentKey(key)
		if !ok {
			s.log.Warn("content with an unexpected key is left alone", "key", key)
			continue
		}
		gone, err := s.sweepOne(ctx, registry, digest)
		if err != nil {
			return n, err
		}
		if gone {
			n++
		}
	}
	return n, nil
}

func (s *Service) sweepOne(ctx context.Context, registry string, digest ociregistry.Digest) (bool, error) {
	defer s.lockContent(registry, digest)()
	var kept bool
	err := s.store.View(ctx, func(r store.Reader) (err error) {
		kept, err = held(r, registry, digest)
		return err
	})
	if err != nil || kept {
		return false, err
	}
	return true, s.content.Delete(ctx, contentKey(registry, digest))
}
