package workspace

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"lapis/armid"
	"lapis/fault"
	"lapis/resource"
	"lapis/store"
)

// containers keeps what users set of an asset as a whole (that it is archived,
// its description and tags), by id. An asset is there while it has a version
// or such a record.
var containers = store.Table[resource.Resource]{Name: "workspace/containers"}

// container is the shape of what can be set (ModelContainerProperties and the
// like, api-version 2023-04-01).
type container struct {
	IsArchived  bool              `json:"isArchived"`
	Description *string           `json:"description"`
	Tags        map[string]string `json:"tags"`
	Properties  map[string]string `json:"properties"`
	DataType    string            `json:"dataType,omitempty"` // of data alone
}

// assetType is the container of versions.
func (s *Service) assetType(a asset) resource.Type {
	name := TypeName + "/" + a.collection
	list := func(ctx context.Context, workspace armid.ID) ([]resource.Resource, error) {
		return s.listAssets(ctx, a, workspace)
	}
	return resource.Type{
		Name: name, APIVersions: versions, CheckName: checkAssetName, Prepare: prepareContainer,
		Query: func(ctx context.Context, workspace armid.ID, params url.Values) ([]resource.Resource, error) {
			found, err := list(ctx, workspace)
			return keepView(found, params.Get("listViewType")), err
		},
		Show: func(_ context.Context, _ resource.Resource, shown *resource.Shown) error {
			noState(a, shown)
			return nil
		},
		Virtual: &resource.Virtual{
			Get: func(ctx context.Context, id armid.ID) (resource.Resource, error) { return s.asset(ctx, a, id) }, List: list,
			Put: s.putContainer,
			Delete: func(ctx context.Context, id armid.ID) error {
				return s.deleteAsset(ctx, name+"/versions", id)
			},
		},
	}
}

func prepareContainer(_ context.Context, d *resource.Draft) error {
	var c container
	if err := d.Next.Decode(&c); err != nil {
		return badProperties(err)
	}
	if c.Tags == nil {
		c.Tags = map[string]string{}
	}
	if c.Properties == nil {
		c.Properties = map[string]string{}
	}
	properties, err := json.Marshal(c) // and nothing else: latestVersion and the like are the versions' own
	d.Next.Properties = properties
	return err
}

func (s *Service) putContainer(ctx context.Context, d *resource.Draft) error {
	r, now := *d.Next, s.Now().UTC()
	r.State = resource.Succeeded
	if d.Prev == nil {
		r.System.CreatedAt, r.System.CreatedBy, r.System.CreatedByType = now, d.Caller.ObjectID, d.Caller.Kind
	}
	r.System.ModifiedAt, r.System.ModifiedBy, r.System.ModifiedByType = now, d.Caller.ObjectID, d.Caller.Kind
	return s.Tree.Store.Update(ctx, func(tx store.Tx) error {
		_, err := containers.Put(tx, r.ID.Key(), r, store.Any)
		return err
	})
}

// deleteAsset deletes all versions of an asset, and what was set of it.
func (s *Service) deleteAsset(ctx context.Context, versionType string, id armid.ID) error {
	found, err := s.Tree.List(ctx, versionType, id)
	if err != nil {
		return err
	}
	return s.Tree.Store.Update(ctx, func(tx store.Tx) error {
		for _, v := range found {
			if err := resource.Delete(tx, v.ID); err != nil && !errors.Is(err, store.ErrNotFound) {
				return err
			}
		}
		if err := containers.Delete(tx, id.Key(), store.Any); !errors.Is(err, store.ErrNotFound) {
			return err
		}
		return nil
	})
}

// asset returns one asset as a whole.
func (s *Service) asset(ctx context.Context, a asset, id armid.ID) (resource.Resource, error) {
	found, err := s.Tree.List(ctx, TypeName+"/"+a.collection+"/versions", id)
	if err != nil {
		return resource.Resource{}, err
	}
	var kept *resource.Resource
	err = s.Tree.Store.View(ctx, func(tx store.Reader) error {
		e, err := containers.Get(tx, id.Key())
		if err == nil {
			kept = &e.Value
		}
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		return err
	})
	if err != nil {
		return resource.Resource{}, err
	}
	if kept == nil && len(found) == 0 {
		return resource.Resource{}, resource.NotFound(id)
	}
	return assemble(a, id, found, kept)
}

// listAssets returns the assets of a workspace by id; anonymous ones are not listed.
func (s *Service) listAssets(ctx context.Context, a asset, workspace armid.ID) ([]resource.Resource, error) {
	all, err := s.Tree.List(ctx, TypeName+"/"+a.collection+"/versions", workspace)
	if err != nil {
		return nil, err
	}
	byAsset, ids := map[string][]resource.Resource{}, map[string]armid.ID{}
	for _, v := range all {
		if !flag(v, "isAnonymous") {
			key := v.ID.Parent().Key()
			byAsset[key], ids[key] = append(byAsset[key], v), v.ID.Parent()
		}
	}
	kept := map[string]*resource.Resource{}
	err = s.Tree.Store.View(ctx, func(tx store.Reader) error {
		entries, err := containers.List(tx, workspace.Child(a.collection, "").Key(), "", 0)
		for _, e := range entries {
			kept[e.Key], ids[e.Key] = &e.Value, e.Value.ID
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	found := make([]resource.Resource, 0, len(ids))
	for key, id := range ids {
		r, err := assemble(a, id, byAsset[key], kept[key])
		if err != nil {
			return nil, err
		}
		found = append(found, r)
	}
	slices.SortFunc(found, func(a, b resource.Resource) int { return strings.Compare(a.ID.Key(), b.ID.Key()) })
	return found, nil
}

// assemble makes the resource of an asset from its versions and what was set of it.
func assemble(a asset, id armid.ID, found []resource.Resource, kept *resource.Resource) (resource.Resource, error) {
	r := resource.Resource{ID: id, State: resource.Succeeded}
	c := container{Tags: map[string]string{}, Properties: map[string]string{}}
	if kept != nil {
		r = *kept
		if err := kept.Decode(&c); err != nil {
			return r, err
		}
	}
	sortNewestFirst(found)
	shown := map[string]any{
		"isArchived": c.IsArchived, "description": c.Description, "tags": c.Tags, "properties": c.Properties,
		"latestVersion": nil, "nextVersion": strconv.Itoa(nextVersion(found)),
	}
	if a.collection == "data" {
		shown["dataType"] = first(c.DataType, "uri_folder")
	}
	if len(found) > 0 {
		shown["latestVersion"] = found[0].ID.Name()
		if kept == nil {
			r.System = found[len(found)-1].System
		}
		var latest struct {
			DataType string `json:"dataType"`
		}
		if err := found[0].Decode(&latest); err != nil {
			return r, err
		}
		if a.collection == "data" {
			shown["dataType"] = first(latest.DataType, c.DataType, "uri_folder")
		}
	}
	properties, err := json.Marshal(shown)
	r.Properties = properties
	return r, err
}

// nextVersion is the one after the largest number among versions.
func nextVersion(found []resource.Resource) int {
	next := 1
	for _, v := range found {
		if n, err := strconv.Atoi(v.ID.Name()); err == nil && n < 1<<31-1 {
			next = max(next, n+1)
		}
	}
	return next
}

func first(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}

// keepView applies a listViewType: ActiveOnly (the default), ArchivedOnly or All.
func keepView(found []resource.Resource, view string) []resource.Resource {
	if strings.EqualFold(view, "All") {
		return found
	}
	archived := strings.EqualFold(view, "ArchivedOnly")
	return slices.DeleteFunc(found, func(r resource.Resource) bool { return flag(r, "isArchived") != archived })
}

// notFoundAsset is the fault of a reference to nothing.
func notFoundAsset(collection, name string) error {
	return fault.E(fault.NotFound, "ResourceNotFound", "There is no version of '%s' in %s.", name, collection)
}
