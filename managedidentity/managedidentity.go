// Package managedidentity owns user-assigned managed identities as resources.
//
// Each resource has one principal, made with it and deleted before it. A
// resource deleted and made again under the same name has another principal,
// so role assignments of the former one do not come back to life.
package managedidentity

import (
	"context"
	"regexp"

	"lapis/fault"
	"lapis/identity"
	"lapis/resource"
)

// TypeName is the resource type.
const TypeName = "Microsoft.ManagedIdentity/userAssignedIdentities"

var validName = regexp.MustCompile(`^[A-Za-z0-9][-\w]{2,127}$`)

// Type is the descriptor of user-assigned identities over a directory.
func Type(directory *identity.Directory) resource.Type {
	return resource.Type{
		Name: TypeName,
		APIVersions: []string{
			"2015-08-31-preview", "2018-11-30", "2021-09-30-preview", "2022-01-31-preview", "2023-01-31",
			"2023-07-31-preview", "2024-11-30", "2025-01-31-preview", "2025-05-31-preview",
		},
		Located:   true,
		CheckName: checkName,
		Prepare: func(ctx context.Context, d *resource.Draft) error {
			_, err := directory.EnsureManaged(ctx, identity.UserAssigned, d.Next.ID.String(), d.Next.ID.Name())
			d.Next.Identity = nil
			return err
		},
		Remove: func(ctx context.Context, r resource.Resource) error {
			err := directory.DeleteManaged(ctx, r.ID.String())
			if fault.Is(err, fault.NotFound) {
				return nil
			}
			return err
		},
		Show: func(_ context.Context, r resource.Resource, shown *resource.Shown) error {
			shown.ETag = ""
			for _, name := range []string{"tenantId", "principalId", "clientId", "provisioningState"} {
				delete(shown.Properties, name) // a client may have sent back what it was shown
			}
			principal, ok := directory.ByResource(r.ID.String())
			if !ok {
				return nil // its deletion was interrupted; the record goes with the next attempt
			}
			shown.Properties["tenantId"], shown.Properties["principalId"], shown.Properties["clientId"] = principal.TenantID, principal.ObjectID, principal.ClientID
			return nil
		},
	}
}

func checkName(name string) error {
	if validName.MatchString(name) {
		return nil
	}
	return fault.E(fault.Invalid, "InvalidResourceName",
		"The identity name '%s' is not valid: 3 to 128 letters, digits, '-' and '_', beginning with a letter or digit.", name).At("resourceName")
}
