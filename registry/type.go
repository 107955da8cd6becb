package registry

import (
	"context"
	"encoding/json"
	"regexp"
	"strings"

	"lapis/fault"
	"lapis/resource"
)

// TypeName is the resource type of registries.
const TypeName = "Microsoft.ContainerRegistry/registries"

// hostSuffix ends the host names of registries.
const hostSuffix = ".azurecr.io"

var validName = regexp.MustCompile(`^[a-zA-Z0-9]{5,50}$`)

// LoginServer is the host name of a registry.
func LoginServer(name string) string { return strings.ToLower(name) + hostSuffix }

// Type is the descriptor of registries as resources; names are those of the
// hosts, unique in the whole platform.
func (s *Service) Type(names resource.Names) resource.Type {
	return resource.Type{
		Name: TypeName,
		APIVersions: []string{
			"2017-10-01", "2019-05-01", "2020-11-01-preview", "2021-06-01-preview", "2021-08-01-preview", "2021-09-01",
			"2021-12-01-preview", "2022-02-01-preview",
			"2022-12-01", "2023-01-01-preview", "2023-06-01-preview", "2023-07-01", "2023-08-01-preview",
			"2023-11-01-preview", "2024-11-01-preview", "2025-03-01-preview", "2025-04-01", "2025-11-01", "2026-01-01-preview",
		},
		Located: true, CheckName: checkRegistryName,
		Prepare: func(ctx context.Context, d *resource.Draft) error { return prepareRegistry(ctx, names, d) },
		Remove: func(ctx context.Context, r resource.Resource) error {
			if err := s.DeleteRegistry(ctx, r.ID.Name()); err != nil {
				return err
			}
			return names.Release(ctx, r.ID.Name(), r.ID)
		},
		Show: func(_ context.Context, r resource.Resource, shown *resource.Shown) error {
			showRegistry(r, shown)
			return nil
		},
	}
}

func checkRegistryName(name string) error {
	if validName.MatchString(name) {
		return nil
	}
	return fault.E(fault.Invalid, "RegistryNameInvalid",
		"The registry name '%s' is not valid: 5 to 50 letters and digits.", name).At("registryName")
}

func prepareRegistry(ctx context.Context, names resource.Names, d *resource.Draft) error {
	var sku struct {
		Name string `json:"name"`
	}
	if len(d.Next.SKU) > 0 {
		if err := json.Unmarshal(d.Next.SKU, &sku); err != nil {
			return fault.E(fault.Invalid, "InvalidRequestContent", "The 'sku' of a registry is an object with a name.").At("sku")
		}
	}
	switch strings.ToLower(sku.Name) {
	case "basic", "standard", "premium":
	default:
		return fault.E(fault.Invalid, "RegistrySkuInvalid", "The sku '%s' is none of Basic, Standard, Premium.", sku.Name).At("sku.name")
	}
	var props struct {
		Admin     bool `json:"adminUserEnabled"`
		Anonymous bool `json:"anonymousPullEnabled"`
	}
	if err := d.Next.Decode(&props); err != nil {
		return fault.E(fault.Invalid, "InvalidRequestContent", "The properties are not of a registry's shape: %s.", err.Error()).At("properties")
	}
	if props.Admin {
		return fault.E(fault.NotImplemented, "AdminUserNotSupported", "A registry's admin user is not supported; use an identity with AcrPull or AcrPush.").At("properties.adminUserEnabled")
	}
	if props.Anonymous {
		return fault.E(fault.NotImplemented, "AnonymousPullNotSupported", "Pulling without a credential is not supported; use an identity with AcrPull.").At("properties.anonymousPullEnabled")
	}
	var err error
	if d.Next.SKU, err = json.Marshal(map[string]string{"name": sku.Name, "tier": sku.Name}); err != nil {
		return err
	}
	if d.Prev != nil {
		return nil
	}
	claimed, err := names.Claim(ctx, d.Next.ID.Name(), d.Next.ID)
	if err == nil && !claimed {
		return fault.E(fault.Conflict, "AlreadyInUse", "The registry DNS name %s is already in use.", LoginServer(d.Next.ID.Name())).At("registryName")
	}
	return err
}

func showRegistry(r resource.Resource, shown *resource.Shown) {
	shown.ETag = ""
	shown.Properties["loginServer"] = LoginServer(r.ID.Name())
	shown.Properties["creationDate"] = r.System.CreatedAt
	defaults := map[string]any{
		"adminUserEnabled": false, "publicNetworkAccess": "Enabled", "anonymousPullEnabled": false,
		"policies": map[string]any{"azureADAuthenticationAsArmPolicy": map[string]string{"status": "enabled"}},
	}
	for key, value := range defaults {
		if shown.Properties[key] == nil {
			shown.Properties[key] = value
		}
	}
}
