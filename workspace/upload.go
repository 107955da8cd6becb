package workspace

import (
	"context"
	"strings"
	"time"

	"lapis/fault"
	"lapis/resource"
)

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
	token, err := s.sign(ctx, ws, container, "rcwl", pendingUploadLife)
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

// sign makes a signature for a container of the workspace's account.
func (s *Service) sign(ctx context.Context, ws resource.Resource, container, permissions string, life time.Duration) (string, error) {
	account, _, err := attached(&ws)
	if err != nil {
		return "", err
	}
	delegated, err := delegates(ws)
	if err != nil {
		return "", err
	}
	wanted := Signature{Container: container, Permissions: permissions, Expiry: s.Now().Add(life), Delegated: delegated}
	if ws.Identity != nil {
		wanted.Signer = ws.Identity.PrincipalID
	}
	return s.Storage.ContainerSAS(ctx, account, wanted)
}

// delegates reports whether a workspace signs in its own name only.
func delegates(ws resource.Resource) (bool, error) {
	var p Properties
	err := ws.Decode(&p)
	return strings.EqualFold(p.DatastoreAuth, "userDelegationSAS"), err
}
