package registry

import (
	"context"
	"errors"
	"iter"
	"strings"

	"cuelabs.dev/go/oci/ociregistry"

	"lapis/store"
)

// listBatch is how many records one look into the store takes.
const listBatch = 500

// Repositories lists the repositories that have a manifest, in byte order.
func (b *backend) Repositories(ctx context.Context, after string) iter.Seq2[string, error] {
	return b.names(ctx, tableRepos, b.registry+"/", after)
}

// Tags lists a repository's tags in byte order. ErrNameUnknown where there is
// no such repository.
func (b *backend) Tags(ctx context.Context, repo, after string) iter.Seq2[string, error] {
	err := b.s.store.View(ctx, func(r store.Reader) error {
		_, err := repos().Get(r, repoKey(b.registry, repo))
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		err = ociErrorf(ociregistry.ErrNameUnknown, "this registry has no repository %s", repo)
	}
	if err != nil {
		return ociregistry.ErrorSeq[string](err)
	}
	return b.names(ctx, tableTags, b.registry+"/"+repo+":", after)
}

// names lists what follows prefix in a table's keys, in batches.
func (b *backend) names(ctx context.Context, table, prefix, after string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		start := prefix + after
		for {
			var recs []store.Record
			err := b.s.store.View(ctx, func(r store.Reader) (err error) {
				recs, err = r.List(table, prefix, start, listBatch)
				return err
			})
			if err != nil {
				yield("", err)
				return
			}
			for _, rec := range recs {
				if !yield(strings.TrimPrefix(rec.Key, prefix), nil) {
					return
				}
				start = rec.Key
			}
			if len(recs) < listBatch {
				return
			}
		}
	}
}

// Referrers lists the manifests whose subject is digest; those of one artifact
// type where it is given. A subject that no one refers to has none.
func (b *backend) Referrers(ctx context.Context, repo string, digest ociregistry.Digest, artifactType string) iter.Seq2[ociregistry.Descriptor, error] {
	var entries []store.Entry[ociregistry.Descriptor]
	err := b.s.store.View(ctx, func(r store.Reader) (err error) {
		entries, err = referrers().List(r, atDigest(b.registry, repo, digest)+"@", "", 0)
		return err
	})
	if err != nil {
		return ociregistry.ErrorSeq[ociregistry.Descriptor](err)
	}
	descs := make([]ociregistry.Descriptor, 0, len(entries))
	for _, e := range entries {
		if artifactType == "" || e.Value.ArtifactType == artifactType {
			descs = append(descs, e.Value)
		}
	}
	return ociregistry.SliceSeq(descs)
}
