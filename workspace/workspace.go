// Package workspace owns machine learning workspaces: the workspace itself,
// its datastores and its assets (code, models, environments, data), each with
// versions that never change.
//
// A workspace names a storage account and a container registry. Bytes of assets
// lie in the account and reach it through shared access signatures that the
// workspace hands out, so clients upload by the storage protocol and nothing else.
package workspace

import (
	"context"
	"encoding/json"
	"io"
	"regexp"
	"strings"
	"time"

	"lapis/armid"
	"lapis/fault"
	"lapis/identity"
	"lapis/resource"
	"lapis/secret"
)

// TypeName is the resource type of workspaces.
const TypeName = "Microsoft.MachineLearningServices/workspaces"

// versions are the api-versions of the provider that clients ask for.
var versions = []string{
	"2018-11-19", "2020-03-01", "2021-03-01-preview", "2021-07-01", "2021-10-01", "2022-01-01-preview", "2022-02-01-preview",
	"2022-05-01", "2022-06-01-preview", "2022-10-01", "2022-10-01-preview", "2022-12-01-preview", "2023-02-01-preview",
	"2023-04-01", "2023-04-01-preview", "2023-06-01-preview", "2023-08-01-preview", "2023-10-01", "2024-01-01-preview",
	"2024-04-01", "2024-04-01-preview", "2024-07-01-preview", "2024-10-01", "2024-10-01-preview", "2025-01-01-preview",
	"2025-04-01", "2025-04-01-preview", "2025-06-01", "2025-07-01-preview", "2025-09-01", "2025-12-01",
}

// Storage is what a workspace needs of its storage account.
type Storage interface {
	EnsureContainer(ctx context.Context, account armid.ID, container string) error
	// ContainerSAS returns the query of a signature for a container.
	ContainerSAS(ctx context.Context, account armid.ID, s Signature) (string, error)
	AccountKey(ctx context.Context, account armid.ID) (secret.String, error)
	// KeySAS is ContainerSAS with a key that is given.
	KeySAS(account, container string, key secret.String, permissions string, expiry time.Time) (string, error)
	// ReadBlob returns the first limit bytes of a blob; NotFound where there is none.
	ReadBlob(ctx context.Context, account armid.ID, container, name string, limit int64) ([]byte, error)
}

// Signature is a shared access signature that is wanted. It is made with the
// account's key; where the account takes no keys, or Delegated is set, it is
// made in the name of the signer, and worth what that may do.
type Signature struct {
	Container   string
	Permissions string // letters of the service's signed permissions
	Expiry      time.Time
	Signer      string // object id
	Delegated   bool
}

// Config is what the service needs.
type Config struct {
	Tree      *resource.Tree
	Directory *identity.Directory
	Storage   Storage
	Sealer    *secret.Sealer
	// Grant assigns a built-in role by name, as the service and not as a caller.
	Grant func(ctx context.Context, principalID, role string, scope armid.ID) error
	Rand  io.Reader
	Now   func() time.Time
}

// Service keeps workspaces.
type Service struct{ Config }

// New returns the service; register its Types in the tree.
func New(cfg Config) *Service { return &Service{Config: cfg} }

// Types are the descriptors of workspaces and what they hold.
func (s *Service) Types() []resource.Type {
	types := []resource.Type{s.workspaceType(), s.datastoreType()}
	for _, asset := range assets {
		types = append(types, s.assetType(asset), s.versionType(asset))
	}
	return types
}

// Properties are those of a workspace that others read.
type Properties struct {
	StorageAccount    string `json:"storageAccount"`
	ContainerRegistry string `json:"containerRegistry"`
	FriendlyName      string `json:"friendlyName,omitempty"`
	DatastoreAuth     string `json:"systemDatastoresAuthMode,omitempty"` // accessKey, identity or userDelegationSAS
}

var validName = regexp.MustCompile(`^[a-zA-Z0-9][\w-]{2,32}$`)

func (s *Service) workspaceType() resource.Type {
	return resource.Type{
		Name: TypeName, APIVersions: versions, Located: true,
		CheckName: func(name string) error {
			if validName.MatchString(name) {
				return nil
			}
			return fault.E(fault.Invalid, "InvalidWorkspaceName",
				"The workspace name '%s' is not valid: 3 to 33 letters, digits, '-' and '_', beginning with a letter or digit.", name).At("workspaceName")
		},
		Prepare: s.prepare, Show: s.show, Linked: linked,
		Remove: func(ctx context.Context, r resource.Resource) error {
			if err := s.forget(ctx, r.ID); err != nil {
				return err
			}
			return s.Directory.DeleteManaged(ctx, r.ID.String())
		},
		Actions: []resource.Action{{Name: "listKeys", Run: s.listKeys}},
	}
}

// linked: whoever lets a workspace hand out signatures for an account must be
// allowed to read its keys, and to write to its registry.
func linked(d *resource.Draft) ([]resource.Access, error) {
	keepProperties(d)
	if err := nameRegistry(d); err != nil {
		return nil, err
	}
	account, registry, err := attached(d.Next)
	if err != nil {
		return nil, err
	}
	if d.Prev != nil {
		oldAccount, oldRegistry, err := attached(d.Prev)
		if err == nil && oldAccount.Equal(account) && oldRegistry.Equal(registry) {
			return nil, nil
		}
	}
	return []resource.Access{
		{Action: "Microsoft.Storage/storageAccounts/listKeys/action", Scope: account},
		{Action: "Microsoft.ContainerRegistry/registries/write", Scope: registry},
	}, nil
}

// keepProperties lets a PUT without properties, as of tags alone, keep them.
func keepProperties(d *resource.Draft) {
	if d.Prev != nil && d.Next.Properties == nil {
		d.Next.Properties = d.Prev.Properties
	}
}

// attached parses the ids that a workspace names.
func attached(r *resource.Resource) (account, registry armid.ID, err error) {
	var p Properties
	if err := r.Decode(&p); err != nil {
		return account, registry, badProperties(err)
	}
	if account, err = armid.Parse(p.StorageAccount); err != nil || !account.Is("Microsoft.Storage/storageAccounts") {
		return account, registry, fault.E(fault.Invalid, "ValidationError", "A workspace names the id of its storage account; '%s' is none.", p.StorageAccount).At("properties.storageAccount")
	}
	if registry, err = armid.Parse(p.ContainerRegistry); err != nil || !registry.Is("Microsoft.ContainerRegistry/registries") {
		return account, registry, fault.E(fault.Invalid, "ValidationError", "A workspace names the id of its container registry; '%s' is none.", p.ContainerRegistry).At("properties.containerRegistry")
	}
	return account, registry, nil
}

// prepare gives a workspace its identity, its roles and its blob store.
func (s *Service) prepare(ctx context.Context, d *resource.Draft) error {
	keepProperties(d)
	if err := nameRegistry(d); err != nil {
		return err
	}
	account, registry, err := attached(d.Next)
	if err != nil {
		return err
	}
	if err := s.ensureRegistry(ctx, d, registry); err != nil {
		return err
	}
	if err := checkAuthMode(d.Next); err != nil {
		return err
	}
	if d.Next.Identity.HasUser() {
		return fault.E(fault.NotImplemented, "IdentityNotSupported",
			"Workspaces with user-assigned identities are not supported yet; the identity's type can be SystemAssigned. Endpoints can have user-assigned ones.").At("identity.type")
	}
	for _, id := range []armid.ID{account, registry} {
		if _, err := s.Tree.Get(ctx, id); err != nil {
			return err
		}
	}
	if d.Prev != nil {
		d.Next.Private = d.Prev.Private
	} else if d.Next.Private, err = s.newID(); err != nil {
		return err
	}
	principal, err := s.Directory.EnsureManaged(ctx, identity.SystemAssigned, d.Next.ID.String(), d.Next.ID.Name())
	if err != nil {
		return err
	}
	d.Next.Identity = &resource.Identity{Type: "SystemAssigned", PrincipalID: principal.ObjectID, TenantID: principal.TenantID}
	grants := []struct {
		role  string
		scope armid.ID
	}{{"Storage Blob Data Contributor", account}, {"AcrPush", registry}, {"AcrPull", registry}}
	for _, g := range grants {
		if err := s.Grant(ctx, principal.ObjectID, g.role, g.scope); err != nil {
			return err
		}
	}
	return s.Storage.EnsureContainer(ctx, account, blobStore(*d.Next))
}

// checkAuthMode holds what the default datastore is reached with: the
// account's key, each client's own identity, or signatures in the workspace's name.
func checkAuthMode(r *resource.Resource) error {
	var p Properties
	if err := r.Decode(&p); err != nil {
		return badProperties(err)
	}
	switch strings.ToLower(p.DatastoreAuth) {
	case "", "accesskey", "identity", "userdelegationsas":
		return nil
	}
	return fault.E(fault.Invalid, "ValidationError", "The systemDatastoresAuthMode '%s' is none of accessKey, identity, userDelegationSAS.", p.DatastoreAuth).At("properties.systemDatastoresAuthMode")
}

// private is what a workspace's record keeps to itself.
type private struct {
	WorkspaceID string `json:"workspaceId"`
}

func (s *Service) newID() (json.RawMessage, error) {
	id, err := newUUID(s.Rand)
	if err != nil {
		return nil, err
	}
	return json.Marshal(private{WorkspaceID: id})
}

// workspaceID is the GUID that names a workspace in addresses.
func workspaceID(r resource.Resource) string {
	var p private
	_ = json.Unmarshal(r.Private, &p) // newID wrote it
	return p.WorkspaceID
}

func (s *Service) show(_ context.Context, r resource.Resource, shown *resource.Shown) error {
	base := "https://" + r.Location + ".api.azureml.ms"
	shown.Properties["workspaceId"] = workspaceID(r)
	shown.Properties["discoveryUrl"] = base + "/discovery"
	shown.Properties["mlFlowTrackingUri"] = "azureml://" + r.Location + ".api.azureml.ms/mlflow/v1.0" + r.ID.String()
	for key, value := range map[string]any{
		"hbiWorkspace": false, "publicNetworkAccess": "Enabled", "description": "", "keyVault": nil, "applicationInsights": nil,
		"friendlyName": r.ID.Name(),
	} {
		if _, given := shown.Properties[key]; !given {
			shown.Properties[key] = value
		}
	}
	if shown.Kind == "" {
		shown.Kind = "Default"
	}
	if shown.SKU == nil {
		shown.SKU = json.RawMessage(`{"name":"Basic","tier":"Basic"}`)
	}
	return nil
}

// listKeys gives the account's key, as the workspace's own secrets. The account
// has another name since 2023-06-01-preview; clients read the one they know.
func (s *Service) listKeys(ctx context.Context, call resource.Call) (any, error) {
	account, _, err := attached(&call.Resource)
	if err != nil {
		return nil, err
	}
	key, err := s.Storage.AccountKey(ctx, account)
	if err != nil {
		return nil, err
	}
	return map[string]any{"userStorageResourceId": account.String(), "userStorageArmId": account.String(), "userStorageKey": key.Reveal()}, nil
}

// workspaceOf is the workspace that holds id.
func workspaceOf(id armid.ID) armid.ID {
	for !id.IsRoot() && !strings.EqualFold(id.Type(), TypeName) {
		id = id.Parent()
	}
	return id
}

func badProperties(err error) error {
	return fault.E(fault.Invalid, "InvalidRequestContent", "The properties are not of the type's shape: %s.", err.Error()).At("properties")
}
