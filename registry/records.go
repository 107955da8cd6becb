package registry

import (
	"strings"
	"time"

	"cuelabs.dev/go/oci/ociregistry"

	"lapis/store"
)

// The tables. Every key begins with "{registry}/", in lower case, so that a
// registry can be removed by prefix. A repository name has no '@' and no ':',
// which makes the keys below unambiguous.
const (
	tableBlobs     = "registry.blobs"     // {registry}/{repository}@{digest}
	tableHolders   = "registry.holders"   // {registry}/{digest}@{repository}: who keeps the content alive
	tableManifests = "registry.manifests" // {registry}/{repository}@{digest}
	tableTags      = "registry.tags"      // {registry}/{repository}:{tag}
	tableReferrers = "registry.referrers" // {registry}/{repository}@{subject}@{digest}
	tableRepos     = "registry.repos"     // {registry}/{repository}: has at least one manifest
	tableKeys      = "registry.keys"      // the key that signs tokens
)

// registryTables are the tables that hold the data of registries.
func registryTables() []string {
	return []string{tableBlobs, tableHolders, tableManifests, tableTags, tableReferrers, tableRepos}
}

type blobRecord struct {
	Size   int64     `json:"size"`
	Pushed time.Time `json:"pushed"`
}

type holderRecord struct{}

type manifestRecord struct {
	MediaType string    `json:"mediaType"`
	Content   []byte    `json:"content"`
	Pushed    time.Time `json:"pushed"`
}

type tagRecord struct {
	Digest  ociregistry.Digest `json:"digest"`
	Updated time.Time          `json:"updated"`
}

type repoRecord struct {
	Created time.Time `json:"created"`
}

func blobs() store.Table[blobRecord]     { return store.Table[blobRecord]{Name: tableBlobs} }
func holders() store.Table[holderRecord] { return store.Table[holderRecord]{Name: tableHolders} }
func manifests() store.Table[manifestRecord] {
	return store.Table[manifestRecord]{Name: tableManifests}
}
func tags() store.Table[tagRecord]   { return store.Table[tagRecord]{Name: tableTags} }
func repos() store.Table[repoRecord] { return store.Table[repoRecord]{Name: tableRepos} }
func referrers() store.Table[ociregistry.Descriptor] {
	return store.Table[ociregistry.Descriptor]{Name: tableReferrers}
}

func atDigest(registry, repo string, digest ociregistry.Digest) string {
	return registry + "/" + repo + "@" + string(digest)
}

func holderKey(registry string, digest ociregistry.Digest, repo string) string {
	return registry + "/" + string(digest) + "@" + repo
}

func tagKey(registry, repo, tag string) string { return registry + "/" + repo + ":" + tag }

func repoKey(registry, repo string) string { return registry + "/" + repo }

// contentKey is where a layer's bytes lie: one copy per registry, whatever the
// number of repositories that hold it.
func contentKey(registry string, digest ociregistry.Digest) string {
	hex := digest.Encoded()
	return contentPrefix(registry) + string(digest.Algorithm()) + "/" + hex[:2] + "/" + hex
}

const contentRoot = "registry/"

func contentPrefix(registry string) string { return contentRoot + registry + "/" }

// parseContentKey undoes contentKey.
func parseContentKey(key string) (registry string, digest ociregistry.Digest, ok bool) {
	parts := strings.Split(strings.TrimPrefix(key, contentRoot), "/")
	if !strings.HasPrefix(key, contentRoot) || len(parts) != 4 {
		return "", "", false
	}
	digest = ociregistry.Digest(parts[1] + ":" + parts[3])
	return parts[0], digest, digest.Validate() == nil
}
