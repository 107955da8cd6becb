package workspace

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"lapis/armid"
	"lapis/fault"
	"lapis/resource"
)

// asset is one sort of versioned thing in a workspace.
type asset struct {
	collection string   // codes, models, environments, data
	fixed      []string // properties that a version keeps for ever
	required   string   // the property without which a version is nothing
	uploads    bool     // startPendingUpload is offered
}

var assets = []asset{
	{collection: "codes", fixed: []string{"codeUri"}, required: "codeUri", uploads: true},
	{collection: "models", fixed: []string{"modelUri", "modelType"}, required: "modelUri", uploads: true},
	{collection: "environments", fixed: []string{"image", "condaFile", "build"}, uploads: true},
	{collection: "data", fixed: []string{"dataUri", "dataType"}, required: "dataUri", uploads: true},
}

var validAsset = regexp.MustCompile(`^[a-zA-Z0-9][\w.-]{0,254}$`)

func checkAssetName(name string) error {
	if validAsset.MatchString(name) {
		return nil
	}
	return fault.E(fault.Invalid, "ValidationError",
		"The name or version '%s' is not valid: letters, digits, '-', '_' and '.', beginning with a letter or digit, at most 255.", name).At("name")
}

// assetType is the container of versions: it exists while it has one.
func (s *Service) assetType(a asset) resource.Type {
	name := TypeName + "/" + a.collection
	return resource.Type{
		Name: name, APIVersions: versions, ReadOnly: true,
		Virtual: &resource.Virtual{
			Get: func(ctx context.Context, id armid.ID) (resource.Resource, error) {
				found, err := s.Tree.List(ctx, name+"/versions", id)
				if err == nil && len(found) == 0 {
					err = resource.NotFound(id)
				}
				return container(id, found), err
			},
			List: func(ctx context.Context, workspace armid.ID) ([]resource.Resource, error) {
				return s.listAssets(ctx, name, workspace)
			},
		},
	}
}

func (s *Service) listAssets(ctx context.Context, typeName string, workspace armid.ID) ([]resource.Resource, error) {
	all, err := s.Tree.List(ctx, typeName+"/versions", workspace)
	if err != nil {
		return nil, err
	}
	byAsset := map[string][]resource.Resource{}
	var order []armid.ID
	for _, v := range all {
		parent := v.ID.Parent()
		if byAsset[parent.Key()] == nil {
			order = append(order, parent)
		}
		byAsset[parent.Key()] = append(byAsset[parent.Key()], v)
	}
	found := make([]resource.Resource, 0, len(order))
	for _, id := range order {
		if !anonymous(byAsset[id.Key()][0]) {
			found = append(found, container(id, byAsset[id.Key()]))
		}
	}
	return found, nil
}

// container makes the resource of an asset from its versions.
func container(id armid.ID, found []resource.Resource) resource.Resource {
	latest, next := "", 1
	sortNewestFirst(found)
	for i, v := range found {
		if i == 0 {
			latest = v.ID.Name()
		}
		if n, err := strconv.Atoi(v.ID.Name()); err == nil {
			next = max(next, n+1)
		}
	}
	r := resource.Resource{ID: id, State: resource.Succeeded}
	if len(found) > 0 {
		r.System = found[0].System
	}
	r.Properties, _ = json.Marshal(map[string]any{ // strings and numbers always encode
		"latestVersion": latest, "nextVersion": strconv.Itoa(next), "isArchived": false, "properties": map[string]string{}, "tags": map[string]string{},
	})
	return r
}

// versionType is one version of an asset.
func (s *Service) versionType(a asset) resource.Type {
	typ := resource.Type{
		Name: TypeName + "/" + a.collection + "/versions", APIVersions: versions, FreeParent: true,
		CheckName: checkAssetName,
		Prepare: func(_ context.Context, d *resource.Draft) error {
			if err := checkAssetName(d.Next.ID.Parent().Name()); err != nil {
				return err
			}
			return prepareVersion(a, d)
		},
		Show: func(_ context.Context, r resource.Resource, shown *resource.Shown) error {
			showVersion(a, r, shown)
			return nil
		},
	}
	typ.Query = func(ctx context.Context, parent armid.ID, params url.Values) ([]resource.Resource, error) {
		return s.findVersions(ctx, typ.Name, parent, params)
	}
	if a.uploads {
		typ.Actions = []resource.Action{{Name: "startPendingUpload", Absent: true, Run: s.startPendingUpload}}
	}
	return typ
}

// prepareVersion refuses what would change a version's content.
func prepareVersion(a asset, d *resource.Draft) error {
	var next, prev map[string]any
	if err := d.Next.Decode(&next); err != nil {
		return badProperties(err)
	}
	if text, _ := next[a.required].(string); a.required != "" && text == "" {
		return fault.E(fault.Invalid, "ValidationError", "A version of '%s' needs the property '%s'.", a.collection, a.required).At("properties." + a.required)
	}
	if a.collection == "environments" && next["image"] == nil && next["build"] == nil {
		return fault.E(fault.Invalid, "ValidationError", "An environment needs an image or a build context.").At("properties.image")
	}
	if d.Prev == nil {
		return nil
	}
	if err := d.Prev.Decode(&prev); err != nil {
		return err
	}
	for _, name := range a.fixed {
		if !reflect.DeepEqual(next[name], prev[name]) {
			return fault.E(fault.Conflict, "UserError",
				"Asset paths cannot be updated. Version '%s' of '%s' exists with another %s; register a new version.",
				d.Next.ID.Name(), d.Next.ID.Parent().Name(), name).At("properties." + name)
		}
	}
	return nil
}

// showVersion adds what clients expect of a version and nobody has to send.
func showVersion(a asset, r resource.Resource, shown *resource.Shown) {
	defaults := map[string]any{"isAnonymous": false, "isArchived": false, "properties": map[string]any{}, "tags": map[string]any{}, "description": nil}
	switch a.collection {
	case "models":
		defaults["flavors"], defaults["modelType"] = map[string]any{}, "custom_model"
	case "environments":
		defaults["environmentType"], defaults["osType"] = "UserCreated", "Linux"
	case "data":
		defaults["dataType"] = "uri_folder"
	}
	for key, value := range defaults {
		if shown.Properties[key] == nil {
			shown.Properties[key] = value
		}
	}
}

// findVersions searches by content hash through the whole workspace (the name
// that a client asks under is one it has just drawn), or lists one asset's.
func (s *Service) findVersions(ctx context.Context, typeName string, parent armid.ID, params url.Values) ([]resource.Resource, error) {
	hash := params.Get("hash")
	if hash != "" {
		all, err := s.Tree.List(ctx, typeName, workspaceOf(parent))
		return slices.DeleteFunc(all, func(r resource.Resource) bool { return hashOf(r) != hash }), err
	}
	found, err := s.Tree.List(ctx, typeName, parent)
	if strings.EqualFold(params.Get("listViewType"), "ArchivedOnly") {
		found = slices.DeleteFunc(found, func(r resource.Resource) bool { return !flag(r, "isArchived") })
	} else if !strings.EqualFold(params.Get("listViewType"), "All") {
		found = slices.DeleteFunc(found, func(r resource.Resource) bool { return flag(r, "isArchived") })
	}
	if by := params.Get("$orderBy") + params.Get("orderBy"); strings.Contains(strings.ToLower(by), "desc") {
		sortNewestFirst(found)
	}
	return found, err
}

func hashOf(r resource.Resource) string {
	var p struct {
		Properties map[string]any `json:"properties"`
	}
	if err := r.Decode(&p); err != nil {
		return ""
	}
	return fmt.Sprint(p.Properties["hash_sha256"])
}

func anonymous(r resource.Resource) bool { return flag(r, "isAnonymous") }

func flag(r resource.Resource, name string) bool {
	var p map[string]any
	if err := r.Decode(&p); err != nil {
		return false
	}
	value, _ := p[name].(bool)
	return value
}

func sortNewestFirst(found []resource.Resource) {
	slices.SortStableFunc(found, func(a, b resource.Resource) int { return b.System.CreatedAt.Compare(a.System.CreatedAt) })
}

// newUUID draws a version 4 UUID.
func newUUID(rand io.Reader) (string, error) {
	var b [16]byte
	if _, err := io.ReadFull(rand, b[:]); err != nil {
		return "", err
	}
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:], nil
}
