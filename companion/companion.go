// Package companion owns records of what a workspace is commonly made with and
// this platform does not run: key vaults, Application Insights components and
// Log Analytics workspaces.
//
// They can be made, shown, referred to and deleted, so that templates and
// clients which make a workspace go through. Nothing answers at their
// addresses: no secrets, no telemetry, no queries. Each says so in its
// property lapisNotServed.
package companion

import (
	"context"
	"fmt"
	"regexp"

	"lapis/fault"
	"lapis/resource"
)

// Types are the descriptors of the records. tenant is that of the vaults.
func Types(tenant string) []resource.Type {
	return []resource.Type{vaults(tenant), components(), analytics()}
}

// notServed is what each record says of itself.
const notServed = "lapisNotServed"

func checkName(pattern, what, rule string) func(string) error {
	valid := regexp.MustCompile(pattern)
	return func(name string) error {
		if valid.MatchString(name) {
			return nil
		}
		return fault.E(fault.Invalid, "InvalidResourceName", "The %s name '%s' is not valid: %s.", what, name, rule).At("name")
	}
}

// fill shows properties that the service makes and the caller did not give.
func fill(shown *resource.Shown, known map[string]any) {
	for key, value := range known {
		if shown.Properties[key] == nil {
			shown.Properties[key] = value
		}
	}
}

// uuid writes the id of a resource's incarnation as services show theirs.
func uuid(r resource.Resource) string {
	id := r.UID
	if len(id) != 32 {
		return id
	}
	return id[:8] + "-" + id[8:12] + "-" + id[12:16] + "-" + id[16:20] + "-" + id[20:]
}

func vaults(tenant string) resource.Type {
	return resource.Type{
		Name: "Microsoft.KeyVault/vaults", Located: true,
		APIVersions: []string{
			"2015-06-01", "2016-10-01", "2018-02-14", "2019-09-01", "2020-04-01-preview", "2021-04-01-preview",
			"2021-06-01-preview", "2021-10-01", "2022-07-01", "2023-02-01", "2023-07-01", "2024-11-01",
		},
		CheckName: checkName(`^[a-zA-Z](?:[a-zA-Z0-9]|-[a-zA-Z0-9]){2,23}$`, "vault", "3 to 24 letters, digits and single '-', beginning with a letter"),
		Show: func(_ context.Context, r resource.Resource, shown *resource.Shown) error {
			fill(shown, map[string]any{
				"tenantId": tenant, "vaultUri": fmt.Sprintf("https://%s.vault.azure.net/", r.ID.Name()), "accessPolicies": []any{},
				"sku": map[string]any{"family": "A", "name": "standard"}, "enableSoftDelete": true, "softDeleteRetentionInDays": 90,
			})
			shown.Properties[notServed] = "a record only: no keys, secrets or certificates are kept"
			return nil
		},
	}
}

func components() resource.Type {
	return resource.Type{
		Name: "Microsoft.Insights/components", Located: true,
		APIVersions: []string{"2015-05-01", "2018-05-01-preview", "2020-02-02-preview", "2020-02-02"},
		CheckName:   checkName(`^[^%&\\?/]{1,255}$`, "component", "1 to 255 characters, none of % & \\ ? /"),
		Show: func(_ context.Context, r resource.Resource, shown *resource.Shown) error {
			fill(shown, map[string]any{
				"AppId": uuid(r), "ApplicationId": r.ID.Name(), "Name": r.ID.Name(), "InstrumentationKey": uuid(r), "Application_Type": "web",
				"ConnectionString": "InstrumentationKey=" + uuid(r), "CreationDate": r.System.CreatedAt,
			})
			shown.Properties[notServed] = "a record only: no telemetry is taken"
			shown.SystemData = nil // this type has none
			return nil
		},
	}
}

func analytics() resource.Type {
	return resource.Type{
		Name: "Microsoft.OperationalInsights/workspaces", Located: true,
		APIVersions: []string{"2015-11-01-preview", "2020-03-01-preview", "2020-08-01", "2020-10-01", "2021-06-01", "2021-12-01-preview", "2022-10-01", "2023-09-01", "2025-02-01"},
		CheckName:   checkName(`^[A-Za-z0-9][A-Za-z0-9-]{2,61}[A-Za-z0-9]$`, "workspace", "4 to 63 letters, digits and '-', neither beginning nor ending with '-'"),
		Show: func(_ context.Context, r resource.Resource, shown *resource.Shown) error {
			fill(shown, map[string]any{
				"customerId": uuid(r), "sku": map[string]any{"name": "PerGB2018"}, "retentionInDays": 30,
				"createdDate": r.System.CreatedAt, "modifiedDate": r.System.ModifiedAt,
			})
			shown.Properties[notServed] = "a record only: no logs are taken, and none can be queried"
			return nil
		},
	}
}
