package storageaccount

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"lapis/armid"
	"lapis/fault"
	"lapis/resource"
)

// Containers is what the data plane does for Resource Manager. Accounts are
// named as in hosts, containers as in paths.
type Containers interface {
	Create(ctx context.Context, account, container string, metadata map[string]string) (Container, error)
	SetMetadata(ctx context.Context, account, container string, metadata map[string]string) error
	Get(ctx context.Context, account, container string) (Container, error)
	List(ctx context.Context, account string) ([]Container, error)
	Delete(ctx context.Context, account, container string) error
	DeleteAccount(ctx context.Context, account string) error
}

// Container is a blob container as Resource Manager shows it.
type Container struct {
	Name     string
	Metadata map[string]string
	Modified time.Time
	ETag     string
}

// blobServiceType is the one blob service of each account.
func (s *Service) blobServiceType() resource.Type {
	get := func(ctx context.Context, id armid.ID) (resource.Resource, error) {
		if id.Name() != "default" {
			return resource.Resource{}, resource.NotFound(id)
		}
		if _, err := s.Tree.Get(ctx, id.Parent()); err != nil {
			return resource.Resource{}, err
		}
		return resource.Resource{ID: id, State: resource.Succeeded}, nil
	}
	return resource.Type{
		Name: TypeName + "/blobServices", APIVersions: versions, ReadOnly: true,
		Virtual: &resource.Virtual{
			Get: get,
			List: func(ctx context.Context, account armid.ID) ([]resource.Resource, error) {
				r, err := get(ctx, account.Child("blobServices", "default"))
				return []resource.Resource{r}, err
			},
		},
		Show: func(_ context.Context, _ resource.Resource, shown *resource.Shown) error {
			shown.Properties = map[string]any{"cors": map[string]any{"corsRules": []any{}}, "deleteRetentionPolicy": map[string]any{"enabled": false}}
			return nil
		},
	}
}

// containerType shows the data plane's containers as resources.
func (s *Service) containerType() resource.Type {
	return resource.Type{
		Name: TypeName + "/blobServices/containers", APIVersions: versions,
		Virtual: &resource.Virtual{
			Get: func(ctx context.Context, id armid.ID) (resource.Resource, error) {
				c, err := s.Containers.Get(ctx, accountOf(id), id.Name())
				return containerResource(id, c), err
			},
			List: func(ctx context.Context, service armid.ID) ([]resource.Resource, error) {
				all, err := s.Containers.List(ctx, accountOf(service))
				found := make([]resource.Resource, 0, len(all))
				for _, c := range all {
					found = append(found, containerResource(service.Child("containers", c.Name), c))
				}
				return found, err
			},
			Put: func(ctx context.Context, d *resource.Draft) error {
				var props struct {
					Metadata map[string]string `json:"metadata"`
					Access   string            `json:"publicAccess"`
				}
				if err := d.Next.Decode(&props); err != nil {
					return fault.E(fault.Invalid, "InvalidRequestContent", "The properties of a container are not of its shape: %s.", err.Error()).At("properties")
				}
				if props.Access != "" && !strings.EqualFold(props.Access, "None") {
					return fault.E(fault.Conflict, "PublicAccessNotPermitted", "Public access is not permitted on this storage account; publicAccess can be None.").At("properties.publicAccess")
				}
				if d.Prev != nil {
					return s.Containers.SetMetadata(ctx, accountOf(d.Next.ID), d.Next.ID.Name(), props.Metadata)
				}
				_, err := s.Containers.Create(ctx, accountOf(d.Next.ID), d.Next.ID.Name(), props.Metadata)
				return err
			},
			Delete: func(ctx context.Context, id armid.ID) error {
				return s.Containers.Delete(ctx, accountOf(id), id.Name())
			},
		},
		Show: func(_ context.Context, _ resource.Resource, shown *resource.Shown) error {
			delete(shown.Properties, "provisioningState")
			return nil
		},
	}
}

func containerResource(id armid.ID, c Container) resource.Resource {
	properties, _ := json.Marshal(map[string]any{ // strings and times always encode
		"publicAccess": "None", "leaseStatus": "Unlocked", "leaseState": "Available", "lastModifiedTime": c.Modified,
		"hasImmutabilityPolicy": false, "hasLegalHold": false, "deleted": false, "metadata": c.Metadata,
	})
	return resource.Resource{ID: id, State: resource.Succeeded, Properties: properties}
}
