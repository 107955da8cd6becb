package lapis

import (
	"cuelabs.dev/go/oci/ociregistry"

	"lapis/armid"
	"lapis/identity"
)

// WatchImages tells seen of every principal that reaches a registry on behalf
// of a deployment. Call it before the first one.
func (s *Server) WatchImages(seen func(objectID string)) {
	images := s.endpoints.Images
	s.endpoints.Images = func(p identity.Principal, id armid.ID) (ociregistry.Interface, error) {
		seen(p.ObjectID)
		return images(p, id)
	}
}
