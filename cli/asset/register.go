package asset

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/google/uuid"

	"lapis/cli/blobs"
	"lapis/cli/cloud"
	"lapis/cli/output"
)

// The api-versions of azure-ai-ml's calls.
const (
	versionCode        = "2023-04-01"
	versionEnvironment = "2023-04-01-preview"
	versionModel       = "2023-08-01-preview"
	versionDatastore   = "2024-07-01-preview"
)

// defaultStore is the datastore that uploads go to.
const defaultStore = "workspaceblobstore"

// Registrar registers assets in a workspace.
type Registrar struct {
	Session   *cloud.Session
	Workspace string // ARM id, from /subscriptions on
	Say       func(text string)
}

func (r *Registrar) say(format string, args ...any) {
	if r.Say != nil {
		r.Say(fmt.Sprintf(format, args...))
	}
}

// Code registers a folder of code and returns the id of its version. Code whose
// content the workspace has already is not uploaded again.
func (r *Registrar) Code(ctx context.Context, path string) (string, error) {
	hash, err := ContentHash(path)
	if err != nil {
		return "", err
	}
	name := uuid.NewString()
	versions := r.Workspace + "/codes/" + name + "/versions"
	found, err := r.Session.List(ctx, versions, versionCode, url.Values{"hash": {hash}, "hashVersion": {HashVersion}})
	if err != nil {
		return "", err
	}
	if len(found) > 0 {
		if id := text(found[0], "id"); id != "" {
			existing, err := r.Session.Get(ctx, id, versionCode)
			return text(existing, "id"), err
		}
	}
	reply, err := r.Session.Call(ctx, cloud.Request{Method: http.MethodPost, Path: versions + "/1/startPendingUpload", Version: versionCode,
		Body: cloud.Object{"pendingUploadType": "TemporaryBlobReference"}})
	if err != nil {
		return "", err
	}
	place := reply.Object()["blobReferenceForConsumption"]
	client, container, err := r.sasClient(text(place, "credential", "sasUri"))
	if err != nil {
		return "", err
	}
	if _, err := r.upload(ctx, client, container, "", path, name, "1"); err != nil {
		return "", err
	}
	body := cloud.Object{"properties": cloud.Object{
		"codeUri": strings.TrimSuffix(text(place, "blobUri"), "/") + "/" + filepath.Base(path), "isAnonymous": true, "isArchived": false,
		"properties": cloud.Object{"hash_sha256": hash, "hash_version": HashVersion},
	}}
	return r.put(ctx, versions+"/1", versionCode, body)
}

// put registers a version and returns its id.
func (r *Registrar) put(ctx context.Context, path, version string, body cloud.Object) (string, error) {
	reply, err := r.Session.Call(ctx, cloud.Request{Method: http.MethodPut, Path: path, Version: version, Body: body})
	if err != nil {
		return "", err
	}
	if id := text(reply.Object(), "id"); id != "" {
		return id, nil
	}
	return path, nil
}

// sasClient reaches the container of a SAS URL.
func (r *Registrar) sasClient(sas string) (*blobs.Client, string, error) {
	u, err := url.Parse(sas)
	if err != nil || u.Host == "" || u.RawQuery == "" {
		return nil, "", errors.New("the service gave no place to upload to")
	}
	container := strings.Trim(u.Path, "/")
	base := ""
	if i := strings.LastIndexByte(container, '/'); i >= 0 { // path style
		base, container = "/"+container[:i], container[i+1:]
	}
	account, _, _ := strings.Cut(u.Host, ".")
	return &blobs.Client{Session: r.Session, Endpoint: u.Scheme + "://" + u.Host + base, Account: account, SAS: u.RawQuery}, container, nil
}

// store finds the datastore's container and how to sign for it: with the
// secret that the workspace hands out, else as who is signed in.
func (r *Registrar) store(ctx context.Context, name string) (*blobs.Client, string, error) {
	path := r.Workspace + "/datastores/" + url.PathEscape(name)
	store, err := r.Session.Get(ctx, path, versionDatastore)
	if err != nil {
		return nil, "", err
	}
	account := text(store, "properties", "accountName")
	client := &blobs.Client{Session: r.Session, Account: account, Endpoint: r.Session.Blob(account)}
	container := text(store, "properties", "containerName")
	if text(store, "properties", "credentials", "credentialsType") == "None" {
		client.Bearer = true
		return client, container, nil
	}
	reply, err := r.Session.Call(ctx, cloud.Request{Method: http.MethodPost, Path: path + "/listSecrets", Version: versionDatastore,
		Body: cloud.Object{"expirableSecret": true, "expireAfterHours": 1}})
	var f *cloud.Failure
	switch {
	case errors.As(err, &f) && f.Status == http.StatusForbidden:
		client.Bearer = true
	case err != nil:
		return nil, "", err
	default:
		client.SAS = strings.TrimPrefix(text(reply.Body, "sasToken"), "?")
		client.Key = text(reply.Body, "key")
		client.Bearer = client.SAS == "" && client.Key == ""
	}
	return client, container, nil
}

// Model is a model to register. Path is a file, a folder, or a URI.
type Model struct {
	Name, Version, Type, Path string
	Description, Stage        string
	Tags, Properties, Flavors any
	Datastore                 string
}

// Model uploads and registers a model and returns the id of its version. A
// model without a name is known by its content.
func (r *Registrar) Model(ctx context.Context, m Model) (string, error) {
	anonymous := m.Name == ""
	hash := ""
	var err error
	if !isURI(m.Path) {
		if hash, err = UploadHash(m.Path); err != nil {
			return "", err
		}
	}
	if anonymous {
		m.Name, m.Version = sha(first(hash, m.Path)), "1"
	}
	container := r.Workspace + "/models/" + url.PathEscape(m.Name)
	if _, err := r.Session.List(ctx, container+"/versions", versionModel, url.Values{"$orderBy": {"createdtime desc"}, "$top": {"1"}}); err != nil && !cloud.IsNotFound(err) {
		return "", err
	}
	if m.Version == "" {
		if m.Version, err = r.next(ctx, container, versionModel); err != nil {
			return "", err
		}
	}
	uri := m.Path
	if hash != "" {
		done, err := r.uploadHashed(ctx, m.Datastore, hash, m.Path, m.Name, m.Version)
		if err != nil {
			return "", err
		}
		uri = r.datastoreURI(first(m.Datastore, defaultStore), done.path)
		if anonymous && done.name != "" {
			m.Name, m.Version = done.name, done.version
		}
	}
	properties := cloud.Object{"modelType": first(m.Type, "custom_model"), "modelUri": uri, "isAnonymous": anonymous, "isArchived": false}
	for name, value := range map[string]any{"description": m.Description, "stage": m.Stage, "tags": m.Tags, "properties": m.Properties, "flavors": m.Flavors} {
		if value != nil && value != "" {
			properties[name] = value
		}
	}
	path := r.Workspace + "/models/" + url.PathEscape(m.Name) + "/versions/" + url.PathEscape(m.Version)
	return r.put(ctx, path, versionModel, cloud.Object{"properties": properties})
}

// next asks the container of an asset for the version to give next.
func (r *Registrar) next(ctx context.Context, container, version string) (string, error) {
	c, err := r.Session.Get(ctx, container, version)
	if cloud.IsNotFound(err) {
		return "1", nil
	}
	return first(text(c, "properties", "nextVersion"), "1"), err
}

func (r *Registrar) datastoreURI(store, path string) string {
	parts := strings.Split(r.Workspace, "/") // "", subscriptions, S, resourceGroups, G, providers, NS, workspaces, W
	return fmt.Sprintf("azureml://subscriptions/%s/resourcegroups/%s/workspaces/%s/datastores/%s/paths/%s", parts[2], parts[4], parts[8], store, path)
}

// uploaded is where an upload lies, and which asset it was made for.
type uploaded struct {
	path, url, name, version string
}

func (r *Registrar) uploadHashed(ctx context.Context, store, hash, path, name, version string) (uploaded, error) {
	client, container, err := r.store(ctx, first(store, defaultStore))
	if err != nil {
		return uploaded{}, err
	}
	return r.upload(ctx, client, container, "LocalUpload/"+hash+"/", path, name, version)
}

// Environment is an environment to register.
type Environment struct {
	Name, Version, Image, Conda, Description, OSType string
	BuildPath, Dockerfile                            string // a folder to build an image from, in place of Image
	InferenceConfig, Tags, Properties                any
	Datastore                                        string
}

// Environment registers an environment and returns the id of its version. One
// without a name is known by its content.
func (r *Registrar) Environment(ctx context.Context, e Environment) (string, error) {
	anonymous := e.Name == ""
	properties := cloud.Object{"isAnonymous": anonymous, "isArchived": false}
	for name, value := range map[string]any{"image": e.Image, "condaFile": e.Conda, "description": e.Description, "osType": e.OSType,
		"inferenceConfig": e.InferenceConfig, "tags": e.Tags, "properties": e.Properties} {
		if value != nil && value != "" {
			properties[name] = value
		}
	}
	hash := ""
	if e.BuildPath != "" {
		var err error
		if hash, err = UploadHash(e.BuildPath); err != nil {
			return "", err
		}
	}
	if anonymous {
		e.Name, e.Version = "CliV2AnonymousEnvironment", e.anonymousVersion(hash)
	}
	container := r.Workspace + "/environments/" + url.PathEscape(e.Name)
	var err error
	if e.Version == "" {
		if e.Version, err = r.next(ctx, container, versionEnvironment); err != nil {
			return "", err
		}
	}
	if hash != "" {
		done, err := r.uploadHashed(ctx, e.Datastore, hash, e.BuildPath, e.Name, e.Version)
		if err != nil {
			return "", err
		}
		properties["build"] = cloud.Object{"contextUri": done.url + "/", "dockerfilePath": first(e.Dockerfile, "Dockerfile")}
	}
	return r.put(ctx, container+"/versions/"+url.PathEscape(e.Version), versionEnvironment, cloud.Object{"properties": properties})
}

// anonymousVersion names an environment by its content. The text that is hashed
// is laced as azure-ai-ml laces it, so that both arrive at the same version.
func (e Environment) anonymousVersion(buildHash string) string {
	if buildHash != "" {
		if e.Dockerfile == "" {
			return sha(sha(buildHash))
		}
		return sha(lace(sha(buildHash), sha(e.Dockerfile)))
	}
	mixed := sha(e.Image)
	if e.InferenceConfig != nil {
		mixed = lace(mixed, sha(output.YAML(e.InferenceConfig)))
	}
	if e.Conda != "" {
		mixed = lace(mixed, sha(e.Conda))
	}
	return sha(mixed)
}

// lace puts sep between the letters of text.
func lace(sep, text string) string { return strings.Join(strings.Split(text, ""), sep) }

func sha(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// reference matches name:version and name@label.
var reference = regexp.MustCompile(`^([^:@/]+)(?::([^:@/]+)|@([^:@/]+))$`)

// Resolve turns what a definition writes for an asset of a kind (models,
// environments, codes) into an id: azureml:name:version and azureml:name@latest
// of this workspace; ids and registry addresses pass through.
func (r *Registrar) Resolve(ctx context.Context, kind, ref string) (string, error) {
	if strings.HasPrefix(ref, "azureml://") {
		return ref, nil
	}
	bare := strings.TrimPrefix(ref, "azureml:")
	if strings.HasPrefix(bare, "/subscriptions/") {
		return bare, nil
	}
	m := reference.FindStringSubmatch(bare)
	if m == nil {
		return "", fmt.Errorf("%q names no version; write it as azureml:NAME:VERSION or azureml:NAME@latest", ref)
	}
	name, version, label := m[1], m[2], m[3]
	if label != "" {
		if label != "latest" {
			return "", fmt.Errorf("%q: the only label is latest", ref)
		}
		api := map[string]string{"models": versionModel, "environments": versionEnvironment}[kind]
		found, err := r.Session.List(ctx, r.Workspace+"/"+kind+"/"+url.PathEscape(name)+"/versions", first(api, versionCode),
			url.Values{"$orderBy": {"createdtime desc"}, "$top": {"1"}})
		if err != nil {
			return "", err
		}
		if len(found) == 0 {
			return "", fmt.Errorf("%q: there is no version of it in the workspace", ref)
		}
		return text(found[0], "id"), nil
	}
	return r.Workspace + "/" + kind + "/" + name + "/versions/" + version, nil
}

func isURI(path string) bool { return strings.Contains(path, "://") }

func first(texts ...string) string {
	for _, s := range texts {
		if s != "" {
			return s
		}
	}
	return ""
}

// text returns the text at a path of names.
func text(v any, names ...string) string {
	for _, name := range names {
		o, _ := v.(cloud.Object)
		v = o[name]
	}
	s, _ := v.(string)
	return s
}
