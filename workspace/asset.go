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

// versionType is one version of an asset.
func (s *Service) versionType(a asset) resource.Type {
	typ := resource.Type{
		Name: TypeName + "/" + a.collection + "/versions", APIVersions: versions, FreeParent: true,
		CheckName: checkAssetName,
		Prepare: func(ctx context.Context, d *resource.Draft) error {
			if err := checkAssetName(d.Next.ID.Parent().Name()); err != nil {
				return err
			}
			return s.prepareVersion(ctx, a, d)
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

// version is what the rules read of a version.
type version struct {
	Description *string           `json:"description"`
	Tags        map[string]string `json:"tags"`
	Properties  map[string]any    `json:"properties"` // text, but older clients send numbers
	IsArchived  bool              `json:"isArchived"`
	IsAnonymous bool              `json:"isAnonymous"`

	CodeURI   string  `json:"codeUri"`
	ModelURI  string  `json:"modelUri"`
	ModelType *string `json:"modelType"`
	DataURI   string  `json:"dataUri"`
	DataType  *string `json:"dataType"`
	Image     string  `json:"image"`
	Conda     string  `json:"condaFile"`
	Build     any     `json:"build"`
	OSType    *string `json:"osType"`

	Flavors map[string]map[string]any `json:"flavors"`
}

// kinds are the values of enums, in the case that clients take them.
var kinds = map[string][]string{
	"modelType": {"custom_model", "mlflow_model", "triton_model"},
	"dataType":  {"uri_file", "uri_folder", "mltable"},
	"osType":    {"Linux", "Windows"},
}

// kind puts such a value in its case; none is the first of all.
func kind(name string, given *string) (string, error) {
	if given == nil || *given == "" {
		return map[string]string{"modelType": "custom_model", "dataType": "uri_folder", "osType": "Linux"}[name], nil
	}
	i := slices.IndexFunc(kinds[name], func(k string) bool { return strings.EqualFold(k, *given) })
	if i < 0 {
		return "", fault.E(fault.Invalid, "ValidationError", "The %s '%s' is not one of %s.", name, *given, strings.Join(kinds[name], ", ")).At("properties." + name)
	}
	return kinds[name][i], nil
}

// prepareVersion holds a version against the rules, and refuses what would
// change the content of one that exists.
func (s *Service) prepareVersion(ctx context.Context, a asset, d *resource.Draft) error {
	var v version
	if err := d.Next.Decode(&v); err != nil {
		return badProperties(err)
	}
	next := map[string]any{}
	if err := d.Next.Decode(&next); err != nil {
		return badProperties(err)
	}
	if text, _ := next[a.required].(string); a.required != "" && text == "" {
		return fault.E(fault.Invalid, "ValidationError", "A version of '%s' needs the property '%s'.", a.collection, a.required).At("properties." + a.required)
	}
	if err := s.checkVersion(ctx, a, d, v, next); err != nil {
		return err
	}
	prev := map[string]any{}
	if d.Prev != nil {
		if err := d.Prev.Decode(&prev); err != nil {
			return err
		}
	}
	if a.collection == "models" && next["flavors"] == nil && prev["flavors"] != nil {
		next["flavors"] = prev["flavors"]
	}
	encoded, err := json.Marshal(next)
	if err != nil {
		return err
	}
	d.Next.Properties = encoded
	if d.Prev == nil {
		return nil
	}
	for _, name := range a.fixed {
		if !reflect.DeepEqual(next[name], prev[name]) {
			// Clients compare the whole message, so what is particular stands in the details.
			return fault.E(fault.Conflict, "UserError", "Asset paths cannot be updated.").At("properties." + name).
				With(fault.E(fault.Conflict, "AssetVersionExists", "Version '%s' of '%s' exists with another %s; register a new version.",
					d.Next.ID.Name(), d.Next.ID.Parent().Name(), name))
		}
	}
	return nil
}

// checkVersion holds what the sorts of assets differ in, and completes next.
func (s *Service) checkVersion(ctx context.Context, a asset, d *resource.Draft, v version, next map[string]any) (err error) {
	workspace := workspaceOf(d.Next.ID)
	switch a.collection {
	case "codes":
		if d.Prev == nil { // else it stays the same, or is refused for that
			_, err = s.Locate(ctx, workspace, v.CodeURI)
		}
	case "models":
		if next["modelType"], err = kind("modelType", v.ModelType); err != nil {
			return err
		}
		if d.Prev != nil {
			return nil
		}
		at, err := s.Locate(ctx, workspace, v.ModelURI)
		if err != nil || next["modelType"] != "mlflow_model" {
			return err
		}
		return s.readFlavors(ctx, workspace, at, next)
	case "environments":
		if v.Build != nil {
			return fault.E(fault.NotImplemented, "BuildContextNotSupported",
				"The environment '%s' has a build context (a Dockerfile), which is not supported yet; give image and conda_file.", d.Next.ID.Parent().Name()).At("properties.build")
		}
		if v.Image == "" {
			return fault.E(fault.Invalid, "ValidationError", "An environment needs an image or a build context.").At("properties.image")
		}
		next["osType"], err = kind("osType", v.OSType)
	case "data":
		if u, parseErr := url.Parse(v.DataURI); parseErr != nil || u.Scheme == "" {
			return fault.E(fault.Invalid, "ValidationError", "The dataUri '%s' is no address.", v.DataURI).At("properties.dataUri")
		}
		next["dataType"], err = kind("dataType", v.DataType)
	}
	return err
}

// showVersion adds what clients expect of a version and nobody has to send.
func showVersion(a asset, r resource.Resource, shown *resource.Shown) {
	defaults := map[string]any{"isAnonymous": false, "isArchived": false, "properties": map[string]any{}, "tags": map[string]any{}, "description": nil}
	switch a.collection {
	case "models":
		defaults["flavors"] = map[string]any{}
	case "environments":
		defaults["environmentType"], defaults["osType"] = "UserCreated", "Linux"
	}
	noState(a, shown)
	for key, value := range defaults {
		if shown.Properties[key] == nil {
			shown.Properties[key] = value
		}
	}
}

// noState drops the provisioningState of data assets, which have none.
func noState(a asset, shown *resource.Shown) {
	if a.collection == "data" {
		delete(shown.Properties, "provisioningState")
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
	found = keepView(found, params.Get("listViewType"))
	sortNewestFirst(found)
	if by := strings.ToLower(params.Get("$orderBy") + params.Get("orderBy")); strings.HasSuffix(by, " asc") {
		slices.Reverse(found)
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

func flag(r resource.Resource, name string) bool {
	var p map[string]any
	if err := r.Decode(&p); err != nil {
		return false
	}
	value, _ := p[name].(bool)
	return value
}

// sortNewestFirst orders versions by their creation; of one moment, the larger number comes first.
func sortNewestFirst(found []resource.Resource) {
	number := func(r resource.Resource) int {
		n, _ := strconv.Atoi(r.ID.Name())
		return n
	}
	slices.SortStableFunc(found, func(a, b resource.Resource) int {
		if byTime := b.System.CreatedAt.Compare(a.System.CreatedAt); byTime != 0 {
			return byTime
		}
		return number(b) - number(a)
	})
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
