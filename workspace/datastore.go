package workspace

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"lapis/armid"
	"lapis/fault"
	"lapis/resource"
	"lapis/store"
)

// DefaultDatastore is the datastore that every workspace has, over its own
// storage account.
const DefaultDatastore = "workspaceblobstore"

// datastore is the shape of a blob datastore's properties (AzureBlobDatastore,
// api-version 2024-07-01-preview). Secrets are only ever read from it.
type datastore struct {
	DatastoreType string            `json:"datastoreType"`
	AccountName   string            `json:"accountName"`
	ContainerName string            `json:"containerName"`
	Endpoint      string            `json:"endpoint"`
	Protocol      string            `json:"protocol"`
	IsDefault     bool              `json:"isDefault"`
	Credentials   *credentials      `json:"credentials"`
	Description   *string           `json:"description"`
	Tags          map[string]string `json:"tags"`
	Properties    map[string]string `json:"properties"`
	AuthIdentity  string            `json:"serviceDataAccessAuthIdentity"`
}

type credentials struct {
	Type    string   `json:"credentialsType"`
	Secrets *secrets `json:"secrets,omitempty"`
}

// stores keeps the datastores that users made, and what they set of the
// default one, by id. Its records have the shape of resources.
var stores = store.Table[resource.Resource]{Name: "workspace/datastores"}

var validDatastore = regexp.MustCompile(`^[a-zA-Z0-9][\w-]{0,254}$`)

func (s *Service) datastoreType() resource.Type {
	return resource.Type{
		Name: TypeName + "/datastores", APIVersions: versions,
		CheckName: func(name string) error {
			if validDatastore.MatchString(name) {
				return nil
			}
			return fault.E(fault.Invalid, "ValidationError", "The datastore name '%s' is not valid: letters, digits, '-' and '_', beginning with a letter or digit, at most 255.", name).At("name")
		},
		Prepare: s.prepareDatastore,
		Show: func(_ context.Context, r resource.Resource, shown *resource.Shown) error {
			delete(shown.Properties, "provisioningState") // datastores have none
			return nil
		},
		Query:   s.findDatastores,
		Virtual: &resource.Virtual{Get: s.datastore, List: s.listDatastores, Put: s.putDatastore, Delete: s.deleteDatastore},
		Actions: []resource.Action{{Name: "listSecrets", Run: s.listSecrets}},
	}
}

// datastore returns a datastore; the default one is there without a record.
func (s *Service) datastore(ctx context.Context, id armid.ID) (resource.Resource, error) {
	var kept resource.Resource
	err := s.Tree.Store.View(ctx, func(tx store.Reader) error {
		e, err := stores.Get(tx, id.Key())
		kept = e.Value
		return err
	})
	if !errors.Is(err, store.ErrNotFound) {
		return kept, err
	}
	if !strings.EqualFold(id.Name(), DefaultDatastore) {
		return resource.Resource{}, resource.NotFound(id)
	}
	ws, err := s.Tree.Get(ctx, id.Parent())
	if err != nil {
		return resource.Resource{}, err
	}
	d, err := defaultDatastore(ws)
	if err != nil {
		return resource.Resource{}, err
	}
	properties, err := json.Marshal(d)
	return resource.Resource{ID: id.Parent().Child("datastores", DefaultDatastore), Properties: properties, State: resource.Succeeded, System: ws.System}, err
}

// defaultDatastore is the default datastore as the workspace alone makes it.
func defaultDatastore(ws resource.Resource) (datastore, error) {
	account, _, err := attached(&ws)
	if err != nil {
		return datastore{}, err
	}
	var p Properties
	if err := ws.Decode(&p); err != nil {
		return datastore{}, err
	}
	kind := credentialKey
	switch strings.ToLower(p.DatastoreAuth) {
	case "identity":
		kind = credentialNone
	case "userdelegationsas":
		kind = credentialSAS
	}
	return datastore{
		DatastoreType: "AzureBlob", AccountName: account.Name(), ContainerName: blobStore(ws),
		Endpoint: "core.windows.net", Protocol: "https", IsDefault: true, AuthIdentity: "None",
		Credentials: &credentials{Type: kind}, Tags: map[string]string{}, Properties: map[string]string{},
	}, nil
}

func (s *Service) listDatastores(ctx context.Context, workspace armid.ID) ([]resource.Resource, error) {
	var found []resource.Resource
	err := s.Tree.Store.View(ctx, func(tx store.Reader) error {
		found = nil
		entries, err := stores.List(tx, workspace.Key()+"/", "", 0)
		for _, e := range entries {
			found = append(found, e.Value)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	isDefault := func(r resource.Resource) bool { return strings.EqualFold(r.ID.Name(), DefaultDatastore) }
	if !slices.ContainsFunc(found, isDefault) {
		r, err := s.datastore(ctx, workspace.Child("datastores", DefaultDatastore))
		if err != nil {
			return nil, err
		}
		found = append(found, r)
	}
	slices.SortFunc(found, func(a, b resource.Resource) int { return strings.Compare(a.ID.Key(), b.ID.Key()) })
	return found, nil
}

// findDatastores lists with isDefault, names, searchText and orderByAsc, as the
// real service does; count is the page's.
func (s *Service) findDatastores(ctx context.Context, workspace armid.ID, params url.Values) ([]resource.Resource, error) {
	found, err := s.listDatastores(ctx, workspace)
	if err != nil {
		return nil, err
	}
	if wanted := params.Get("isDefault"); wanted != "" {
		found = slices.DeleteFunc(found, func(r resource.Resource) bool { return flag(r, "isDefault") != strings.EqualFold(wanted, "true") })
	}
	if names := params["names"]; len(names) > 0 {
		found = slices.DeleteFunc(found, func(r resource.Resource) bool {
			return !slices.ContainsFunc(names, func(list string) bool {
				return slices.ContainsFunc(strings.Split(list, ","), func(n string) bool { return strings.EqualFold(n, r.ID.Name()) })
			})
		})
	}
	if text := strings.ToLower(params.Get("searchText")); text != "" {
		found = slices.DeleteFunc(found, func(r resource.Resource) bool { return !strings.Contains(strings.ToLower(r.ID.Name()), text) })
	}
	switch {
	case strings.EqualFold(params.Get("orderByAsc"), "true"):
	case strings.EqualFold(params.Get("orderByAsc"), "false"):
		slices.Reverse(found)
	}
	return found, nil
}

var (
	validAccount   = regexp.MustCompile(`^[a-z0-9]{3,24}$`)
	validContainer = regexp.MustCompile(`^(\$root|\$web|[a-z0-9](-?[a-z0-9]){2,62})$`)
)

// prepareDatastore holds a datastore against the rules, and seals its secrets.
func (s *Service) prepareDatastore(ctx context.Context, d *resource.Draft) error {
	var next, prev datastore
	if err := d.Next.Decode(&next); err != nil {
		return badProperties(err)
	}
	if d.Prev != nil {
		if err := d.Prev.Decode(&prev); err != nil {
			return err
		}
	}
	if err := next.check(); err != nil {
		return err
	}
	isDefault := strings.EqualFold(d.Next.ID.Name(), DefaultDatastore)
	if isDefault && (next.AccountName != prev.AccountName || next.ContainerName != prev.ContainerName) {
		return fault.E(fault.Conflict, "UserError", "The datastore '%s' is the workspace's own: it stays at the account '%s' and the container '%s'. Only its credentials can change.",
			DefaultDatastore, prev.AccountName, prev.ContainerName).At("properties.accountName")
	}
	next.IsDefault = isDefault // it is read-only in Azure too
	private, err := s.keepSecrets(d, next, prev)
	if err != nil {
		return err
	}
	next.Credentials.Secrets = nil
	d.Next.Private, d.Next.Location, d.Next.Kind, d.Next.Identity, d.Next.SKU = private, "", "", nil, nil
	return d.Next.SetProperties(next)
}

// check holds a datastore's shape against the rules, and puts names in their case.
func (d *datastore) check() error {
	if !strings.EqualFold(d.DatastoreType, "AzureBlob") {
		kinds := []string{"AzureDataLakeGen1", "AzureDataLakeGen2", "AzureFile", "Hdfs", "OneLake"}
		if slices.ContainsFunc(kinds, func(k string) bool { return strings.EqualFold(k, d.DatastoreType) }) {
			return fault.E(fault.NotImplemented, "DatastoreTypeNotSupported", "Datastores of the type %s are not supported yet; use AzureBlob.", d.DatastoreType).At("properties.datastoreType")
		}
		return fault.E(fault.Invalid, "ValidationError", "The datastoreType '%s' is not one of AzureBlob, %s.", d.DatastoreType, strings.Join(kinds, ", ")).At("properties.datastoreType")
	}
	d.DatastoreType = "AzureBlob"
	if !validAccount.MatchString(d.AccountName) {
		return fault.E(fault.Invalid, "ValidationError", "'%s' is no name of a storage account: 3 to 24 lower-case letters and digits.", d.AccountName).At("properties.accountName")
	}
	if !validContainer.MatchString(d.ContainerName) {
		return fault.E(fault.Invalid, "ValidationError", "'%s' is no name of a container: 3 to 63 lower-case letters, digits and single '-'.", d.ContainerName).At("properties.containerName")
	}
	if d.Endpoint == "" {
		d.Endpoint = "core.windows.net"
	}
	if d.Protocol == "" {
		d.Protocol = "https"
	}
	if d.Protocol != "https" {
		return fault.E(fault.Invalid, "ValidationError", "The protocol '%s' is not supported; it is https.", d.Protocol).At("properties.protocol")
	}
	identities := []string{"None", "WorkspaceSystemAssignedIdentity", "WorkspaceUserAssignedIdentity"}
	if d.AuthIdentity == "" {
		d.AuthIdentity = identities[0]
	}
	if !slices.Contains(identities, d.AuthIdentity) {
		return fault.E(fault.Invalid, "ValidationError", "The serviceDataAccessAuthIdentity '%s' is not one of %s.", d.AuthIdentity, strings.Join(identities, ", ")).At("properties.serviceDataAccessAuthIdentity")
	}
	if d.Tags == nil {
		d.Tags = map[string]string{}
	}
	if d.Properties == nil {
		d.Properties = map[string]string{}
	}
	return d.Credentials.check()
}

func (s *Service) putDatastore(ctx context.Context, d *resource.Draft) error {
	r, now := *d.Next, s.Now().UTC()
	r.State, r.Failure = resource.Succeeded, nil
	if d.Prev == nil {
		r.System.CreatedAt, r.System.CreatedBy, r.System.CreatedByType = now, d.Caller.ObjectID, d.Caller.Kind
	}
	r.System.ModifiedAt, r.System.ModifiedBy, r.System.ModifiedByType = now, d.Caller.ObjectID, d.Caller.Kind
	return s.Tree.Store.Update(ctx, func(tx store.Tx) error {
		_, err := stores.Put(tx, r.ID.Key(), r, store.Any)
		return err
	})
}

func (s *Service) deleteDatastore(ctx context.Context, id armid.ID) error {
	if strings.EqualFold(id.Name(), DefaultDatastore) {
		return fault.E(fault.Invalid, "UserError", "The datastore '%s' is the workspace's default one and cannot be deleted.", DefaultDatastore)
	}
	return s.Tree.Store.Update(ctx, func(tx store.Tx) error { return stores.Delete(tx, id.Key(), store.Any) })
}

// forget removes what a workspace keeps beside its record.
func (s *Service) forget(ctx context.Context, workspace armid.ID) error {
	return s.Tree.Store.Update(ctx, func(tx store.Tx) error {
		for _, table := range []store.Table[resource.Resource]{stores, containers} {
			entries, err := table.List(tx, workspace.Key()+"/", "", 0)
			if err != nil {
				return err
			}
			for _, e := range entries {
				if err := table.Delete(tx, e.Key, store.Any); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// blobStore is the container of a workspace's default datastore.
func blobStore(ws resource.Resource) string { return "azureml-blobstore-" + workspaceID(ws) }
