package workspace

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"

	"lapis/armid"
	"lapis/fault"
	"lapis/resource"
)

// nameRegistry gives a workspace that names no registry the one it had, else
// one of its own beside it. The real service makes that one when the first
// image is built; here it is made at once, so that roles can be assigned at it.
func nameRegistry(d *resource.Draft) error {
	var next, prev Properties
	if err := d.Next.Decode(&next); err != nil {
		return badProperties(err)
	}
	if next.ContainerRegistry != "" {
		return nil
	}
	if d.Prev != nil {
		if err := d.Prev.Decode(&prev); err != nil {
			return err
		}
	}
	if prev.ContainerRegistry == "" {
		prev.ContainerRegistry = ownRegistry(d.Next.ID).String()
	}
	return d.Next.SetProperties(map[string]string{"containerRegistry": prev.ContainerRegistry})
}

// ownRegistry is the id of the registry that is made for a workspace; its name
// is for ever the same, as a PUT may be repeated.
func ownRegistry(workspace armid.ID) armid.ID {
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return -1
	}, strings.ToLower(workspace.Name()))
	sum := sha256.Sum256([]byte(workspace.Key()))
	group := armid.ResourceGroup(workspace.SubscriptionID(), workspace.ResourceGroupName())
	return group.Provider("Microsoft.ContainerRegistry/registries", name+hex.EncodeToString(sum[:5]))
}

// ensureRegistry makes the workspace's own registry. Whether the caller may has
// been asked as a linked right.
func (s *Service) ensureRegistry(ctx context.Context, d *resource.Draft, registry armid.ID) error {
	if !registry.Equal(ownRegistry(d.Next.ID)) {
		return nil
	}
	if _, err := s.Tree.Get(ctx, registry); !fault.Is(err, fault.NotFound) {
		return err
	}
	body, err := json.Marshal(map[string]any{"location": d.Next.Location, "sku": map[string]string{"name": "Basic"}})
	if err != nil {
		return err
	}
	_, err = s.Tree.Put(ctx, resource.Put{ID: registry, Body: body, Caller: d.Caller})
	return err
}
