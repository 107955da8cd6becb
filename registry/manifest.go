package registry

import (
	"cmp"
	"encoding/json"
	"mime"

	"cuelabs.dev/go/oci/ociregistry"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// maxManifest is the largest manifest we take, in bytes: what distribution-spec
// section "Pushing Manifests" asks every registry to take.
const maxManifest = 4 << 20

// The media types of Docker's image format, version 2 schema 2.
const (
	dockerManifest     = "application/vnd.docker.distribution.manifest.v2+json"
	dockerManifestList = "application/vnd.docker.distribution.manifest.list.v2+json"
	dockerForeignLayer = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
)

// parsedManifest is what a registry needs to know of a manifest.
type parsedManifest struct {
	mediaType    string
	blobs        []ociregistry.Descriptor // must be in the repository
	manifests    []ociregistry.Descriptor // must be in the repository
	subject      ociregistry.Digest       // may be missing, by the spec
	artifactType string
	annotations  map[string]string
}

// wireManifest joins the fields of the four manifest types.
type wireManifest struct {
	SchemaVersion int                      `json:"schemaVersion"`
	MediaType     string                   `json:"mediaType"`
	ArtifactType  string                   `json:"artifactType"`
	Config        *ociregistry.Descriptor  `json:"config"`
	Layers        []ociregistry.Descriptor `json:"layers"`
	Manifests     []ociregistry.Descriptor `json:"manifests"`
	Subject       *ociregistry.Descriptor  `json:"subject"`
	Annotations   map[string]string        `json:"annotations"`
}

// parseManifest reads a manifest of the given content type, or of the type it
// names itself where there is none. Errors are MANIFEST_INVALID.
func parseManifest(contentType string, data []byte) (parsedManifest, error) {
	bad := func(format string, args ...any) (parsedManifest, error) {
		return parsedManifest{}, ociErrorf(ociregistry.ErrManifestInvalid, format, args...)
	}
	var wire wireManifest
	if err := json.Unmarshal(data, &wire); err != nil {
		return bad("the manifest is not the JSON of a manifest: %v", err)
	}
	mediaType, _, err := mime.ParseMediaType(cmp.Or(contentType, wire.MediaType))
	if err != nil {
		return bad("the manifest's media type %.100q cannot be read", cmp.Or(contentType, wire.MediaType))
	}
	if wire.MediaType != "" && wire.MediaType != mediaType {
		return bad("the manifest says mediaType %.100q, the request's Content-Type is %.100q", wire.MediaType, mediaType)
	}
	if wire.SchemaVersion != 2 {
		return bad("the manifest's schemaVersion is %d; only 2 is taken", wire.SchemaVersion)
	}
	m := parsedManifest{mediaType: mediaType, artifactType: wire.ArtifactType, annotations: wire.Annotations}
	switch mediaType {
	case ocispec.MediaTypeImageManifest, dockerManifest:
		if wire.Config == nil {
			return bad("the manifest has no config")
		}
		m.artifactType = cmp.Or(m.artifactType, wire.Config.MediaType)
		m.blobs = append(m.blobs, *wire.Config)
		for _, layer := range wire.Layers {
			if !isForeign(layer.MediaType) {
				m.blobs = append(m.blobs, layer)
			}
		}
	case ocispec.MediaTypeImageIndex, dockerManifestList:
		m.manifests = wire.Manifests
	default:
		return bad("media type %.100q is none of an image manifest or an image index", mediaType)
	}
	if wire.Subject != nil {
		if wire.Subject.Digest.Validate() != nil {
			return bad("the manifest's subject has the digest %.200q, which is none", wire.Subject.Digest)
		}
		m.subject = wire.Subject.Digest
	}
	for _, d := range append(m.blobs[:len(m.blobs):len(m.blobs)], m.manifests...) {
		if d.Digest.Validate() != nil || d.Size < 0 {
			return bad("the manifest names the digest %.200q with size %d, which cannot be", d.Digest, d.Size)
		}
	}
	return m, nil
}

// isForeign reports whether a layer is fetched from elsewhere and never pushed.
func isForeign(mediaType string) bool {
	switch mediaType {
	case dockerForeignLayer,
		"application/vnd.oci.image.layer.nondistributable.v1.tar",
		"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
		"application/vnd.oci.image.layer.nondistributable.v1.tar+zstd":
		return true
	}
	return false
}

// referrer is how the manifest appears among its subject's referrers.
func (m parsedManifest) referrer(desc ociregistry.Descriptor) ociregistry.Descriptor {
	desc.ArtifactType = m.artifactType
	desc.Annotations = m.annotations
	return desc
}
