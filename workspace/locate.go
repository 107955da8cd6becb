package workspace

import (
	"context"
	"net/url"
	"strings"

	"lapis/armid"
	"lapis/fault"
	"lapis/resource"
)

// Location is where the bytes of an asset lie: one blob, or all below a path.
type Location struct {
	Account   string
	Container string
	Path      string // without leading or trailing slash
}

// Attached is what a workspace works with.
type Attached struct {
	Workspace       armid.ID
	StorageAccount  armid.ID
	Registry        armid.ID
	Region          string
	SystemPrincipal string // object id of the workspace's own identity
}

// Attached returns the account and the registry of a workspace.
func (s *Service) Attached(ctx context.Context, id armid.ID) (Attached, error) {
	ws, err := s.Tree.Get(ctx, id)
	if err != nil {
		return Attached{}, err
	}
	account, registry, err := attached(&ws)
	if err != nil {
		return Attached{}, err
	}
	a := Attached{Workspace: ws.ID, StorageAccount: account, Registry: registry, Region: ws.Location}
	if ws.Identity != nil {
		a.SystemPrincipal = ws.Identity.PrincipalID
	}
	return a, nil
}

// Version returns a version of an asset by the reference a client gives: an
// ARM id, azureml:/... or azureml:{name}:{version}.
func (s *Service) Version(ctx context.Context, workspace armid.ID, collection, reference string) (resource.Resource, error) {
	text := strings.TrimPrefix(reference, "azureml:")
	if !strings.HasPrefix(text, "/") {
		name, version, ok := strings.Cut(text, ":")
		if !ok {
			return resource.Resource{}, fault.E(fault.Invalid, "ValidationError",
				"'%s' names no version of an asset: write azureml:NAME:VERSION, or its resource id.", reference)
		}
		text = workspace.Child(collection, name).Child("versions", version).String()
	}
	id, err := armid.Parse(text)
	if err != nil || !id.Is(TypeName+"/"+collection+"/versions") {
		return resource.Resource{}, fault.E(fault.Invalid, "ValidationError", "'%s' is not the id of a version in %s.", reference, collection)
	}
	if !workspaceOf(id).Equal(workspace) {
		return resource.Resource{}, fault.E(fault.Invalid, "ValidationError", "'%s' lies in another workspace than '%s'.", reference, workspace)
	}
	return s.Tree.Get(ctx, id)
}

// Locate resolves the address of an asset's bytes. It takes
// azureml://…/datastores/{d}/paths/{p} and https://{account}.blob…/{container}/{p}.
func (s *Service) Locate(ctx context.Context, workspace armid.ID, uri string) (Location, error) {
	u, err := url.Parse(uri)
	if err != nil {
		return Location{}, badURI(uri)
	}
	path := strings.Trim(u.Path, "/")
	switch u.Scheme {
	case "https":
		account, _, ok := strings.Cut(u.Hostname(), ".blob.")
		container, rest, _ := strings.Cut(path, "/")
		if !ok || container == "" {
			return Location{}, badURI(uri)
		}
		return Location{Account: account, Container: container, Path: rest}, nil
	case "azureml":
		return s.locateInDatastore(ctx, workspace, uri, u.Host+"/"+path)
	}
	return Location{}, badURI(uri)
}

func (s *Service) locateInDatastore(ctx context.Context, workspace armid.ID, uri, path string) (Location, error) {
	_, rest, ok := strings.Cut("/"+path, "/datastores/")
	if !ok {
		return Location{}, badURI(uri)
	}
	name, inside, ok := strings.Cut(rest, "/paths/")
	if !ok || !strings.EqualFold(name, DefaultDatastore) {
		return Location{}, fault.E(fault.Invalid, "ValidationError", "'%s' does not lie in the datastore %s, the only one this workspace has.", uri, DefaultDatastore)
	}
	ws, err := s.Tree.Get(ctx, workspace)
	if err != nil {
		return Location{}, err
	}
	account, _, err := attached(&ws)
	return Location{Account: account.Name(), Container: blobStore(ws), Path: strings.Trim(inside, "/")}, err
}

func badURI(uri string) error {
	return fault.E(fault.Invalid, "ValidationError",
		"'%s' is no address of an asset: azureml://…/datastores/NAME/paths/PATH or https://ACCOUNT.blob.core.windows.net/CONTAINER/PATH.", uri)
}
