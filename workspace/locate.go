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

// Version returns a version of an asset by the reference a client gives:
// azureml:NAME:VERSION, azureml:NAME@latest, or the id of a version or of the
// label latest, as an ARM id or behind azureml:/ or azureml://.
func (s *Service) Version(ctx context.Context, workspace armid.ID, collection, reference string) (resource.Resource, error) {
	id, err := s.refer(workspace, collection, reference)
	if err != nil {
		return resource.Resource{}, err
	}
	if !strings.EqualFold(id.Type(), TypeName+"/"+collection+"/labels") {
		return s.Tree.Get(ctx, id)
	}
	if !strings.EqualFold(id.Name(), "latest") {
		return resource.Resource{}, fault.E(fault.NotFound, "ResourceNotFound", "'%s' has no label '%s'; there is 'latest'.", id.Parent().Name(), id.Name())
	}
	found, err := s.Tree.List(ctx, TypeName+"/"+collection+"/versions", id.Parent())
	if err != nil {
		return resource.Resource{}, err
	}
	if found = keepView(found, "ActiveOnly"); len(found) == 0 {
		return resource.Resource{}, notFoundAsset(collection, id.Parent().Name())
	}
	sortNewestFirst(found)
	return found[0], nil
}

// refer reads a reference as the id of a version or of a label.
func (s *Service) refer(workspace armid.ID, collection, reference string) (armid.ID, error) {
	text := strings.TrimPrefix(reference, "azureml:")
	if strings.HasPrefix(text, "//registries/") || strings.HasPrefix(text, "//locations/") {
		return armid.ID{}, fault.E(fault.NotImplemented, "RegistriesNotSupported", "'%s' does not lie in this workspace; assets of registries are not supported yet.", reference)
	}
	if strings.HasPrefix(text, "//subscriptions/") {
		text = longForm(text[1:])
	}
	if !strings.HasPrefix(text, "/") {
		name, version, isVersion := strings.Cut(text, ":")
		sort := "versions"
		if !isVersion {
			name, version, isVersion = strings.Cut(text, "@")
			sort = "labels"
		}
		if !isVersion || checkAssetName(name) != nil || checkAssetName(version) != nil {
			return armid.ID{}, fault.E(fault.Invalid, "ValidationError",
				"'%s' names no version of an asset: write azureml:NAME:VERSION, azureml:NAME@latest, or its resource id.", reference)
		}
		return workspace.Child(collection, name).Child(sort, version), nil
	}
	id, err := armid.Parse(text)
	if err != nil || !id.Is(TypeName+"/"+collection+"/versions") && !id.Is(TypeName+"/"+collection+"/labels") {
		return id, fault.E(fault.Invalid, "ValidationError", "'%s' is not the id of a version in %s.", reference, collection)
	}
	if !workspaceOf(id).Equal(workspace) {
		return id, fault.E(fault.Invalid, "ValidationError", "'%s' lies in another workspace than '%s'.", reference, workspace)
	}
	return id, nil
}

// longForm makes an ARM id of the path of an azureml:// address, which leaves
// the provider out.
func longForm(path string) string {
	if strings.Contains(strings.ToLower(path), "/providers/") {
		return path
	}
	i := strings.Index(strings.ToLower(path), "/workspaces/")
	if i < 0 {
		return path
	}
	return path[:i] + "/providers/Microsoft.MachineLearningServices" + path[i:]
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
		if account = strings.ToLower(account); !ok || !validAccount.MatchString(account) || !validContainer.MatchString(container) {
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
	if !ok || !validDatastore.MatchString(name) {
		return Location{}, badURI(uri)
	}
	r, err := s.datastore(ctx, workspace.Child("datastores", name))
	if fault.Is(err, fault.NotFound) {
		return Location{}, fault.E(fault.Invalid, "ValidationError", "'%s' does not lie in the workspace: it has no datastore '%s'.", uri, name)
	}
	if err != nil {
		return Location{}, err
	}
	var d datastore
	err = r.Decode(&d)
	return Location{Account: d.AccountName, Container: d.ContainerName, Path: strings.Trim(inside, "/")}, err
}

func badURI(uri string) error {
	return fault.E(fault.Invalid, "ValidationError",
		"'%s' is no address of an asset: azureml://…/datastores/NAME/paths/PATH or https://ACCOUNT.blob.core.windows.net/CONTAINER/PATH.", uri)
}
