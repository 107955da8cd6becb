package workspace

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"lapis/armid"
	"lapis/fault"
	"lapis/resource"
)

// DefaultDatastore is the datastore that every workspace has, over its own
// storage account.
const DefaultDatastore = "workspaceblobstore"

// datastore is the shape of a blob datastore's properties.
type datastore struct {
	DatastoreType string         `json:"datastoreType"`
	AccountName   string         `json:"accountName"`
	ContainerName string         `json:"containerName"`
	Endpoint      string         `json:"endpoint"`
	Protocol      string         `json:"protocol"`
	IsDefault     bool           `json:"isDefault"`
	Credentials   map[string]any `json:"credentials"`
}

// datastoreType shows the default datastore. Others cannot be made yet.
func (s *Service) datastoreType() resource.Type {
	get := func(ctx context.Context, id armid.ID) (resource.Resource, error) {
		if !strings.EqualFold(id.Name(), DefaultDatastore) {
			return resource.Resource{}, resource.NotFound(id)
		}
		ws, err := s.Tree.Get(ctx, id.Parent())
		if err != nil {
			return resource.Resource{}, err
		}
		account, _, err := attached(&ws)
		if err != nil {
			return resource.Resource{}, err
		}
		properties, err := json.Marshal(datastore{
			DatastoreType: "AzureBlob", AccountName: account.Name(), ContainerName: blobStore(ws),
			Endpoint: "core.windows.net", Protocol: "https", IsDefault: true,
			Credentials: map[string]any{"credentialsType": "AccountKey"},
		})
		return resource.Resource{ID: id, Properties: properties, State: resource.Succeeded, System: ws.System}, err
	}
	return resource.Type{
		Name: TypeName + "/datastores", APIVersions: versions, ReadOnly: true,
		Virtual: &resource.Virtual{
			Get: get,
			List: func(ctx context.Context, workspace armid.ID) ([]resource.Resource, error) {
				r, err := get(ctx, workspace.Child("datastores", DefaultDatastore))
				return []resource.Resource{r}, err
			},
		},
		Actions: []resource.Action{{Name: "listSecrets", Run: s.listSecrets}},
	}
}

// blobStore is the container of a workspace's default datastore.
func blobStore(ws resource.Resource) string { return "azureml-blobstore-" + workspaceID(ws) }

// listSecrets gives what a client uploads with: a signature where it says that
// it understands expiry, else the account's key (older clients read only that).
func (s *Service) listSecrets(ctx context.Context, call resource.Call) (any, error) {
	var asked struct {
		Expirable *bool `json:"expirableSecret"`
		Hours     int   `json:"expireAfterHours"`
	}
	if err := call.DecodeBody(&asked); err != nil {
		return nil, err
	}
	ws, err := s.Tree.Get(ctx, workspaceOf(call.Resource.ID))
	if err != nil {
		return nil, err
	}
	account, _, err := attached(&ws)
	if err != nil {
		return nil, err
	}
	if asked.Expirable == nil || !*asked.Expirable {
		key, err := s.Storage.AccountKey(ctx, account)
		return map[string]any{"secretsType": "AccountKey", "key": key.Reveal()}, err
	}
	if asked.Hours < 0 || asked.Hours > 24*7 {
		return nil, fault.E(fault.Invalid, "ValidationError", "expireAfterHours is 1 to 168, not %d.", asked.Hours).At("expireAfterHours")
	}
	expiry := s.Now().Add(time.Duration(max(asked.Hours, 1)) * time.Hour)
	token, err := s.Storage.ContainerSAS(ctx, account, blobStore(ws), "racwdl", expiry)
	return map[string]any{"secretsType": "Sas", "sasToken": token}, err
}

// pendingUploadLife is how long a client may take to upload.
const pendingUploadLife = 4 * time.Hour

// startPendingUpload makes a container for one version and a signature to fill it.
func (s *Service) startPendingUpload(ctx context.Context, call resource.Call) (any, error) {
	var asked struct {
		PendingUploadID   string `json:"pendingUploadId"`
		PendingUploadType string `json:"pendingUploadType"`
	}
	if err := call.DecodeBody(&asked); err != nil {
		return nil, err
	}
	if asked.PendingUploadType != "" && asked.PendingUploadType != "TemporaryBlobReference" {
		return nil, fault.E(fault.Invalid, "ValidationError", "The pendingUploadType '%s' is not supported; it is TemporaryBlobReference.", asked.PendingUploadType).At("pendingUploadType")
	}
	ws, err := s.Tree.Get(ctx, workspaceOf(call.Resource.ID))
	if err != nil {
		return nil, err
	}
	account, _, err := attached(&ws)
	if err != nil {
		return nil, err
	}
	id, err := newUUID(s.Rand)
	if err != nil {
		return nil, err
	}
	container := workspaceID(ws)[:8] + "-" + id
	if err := s.Storage.EnsureContainer(ctx, account, container); err != nil {
		return nil, err
	}
	token, err := s.Storage.ContainerSAS(ctx, account, container, "rcwl", s.Now().Add(pendingUploadLife))
	if err != nil {
		return nil, err
	}
	uri := "https://" + account.Name() + ".blob.core.windows.net/" + container
	reference := map[string]any{
		"blobUri": uri, "storageAccountArmId": account.String(),
		"credential": map[string]any{"credentialType": "SAS", "sasUri": uri + "?" + strings.TrimPrefix(token, "?")},
	}
	return map[string]any{
		"pendingUploadId": id, "pendingUploadType": "TemporaryBlobReference",
		"blobReferenceForConsumption": reference,
	}, nil
}
