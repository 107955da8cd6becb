package workspace_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"lapis/armid"
	"lapis/fault"
	"lapis/identity"
	"lapis/operation"
	"lapis/resource"
	"lapis/secret"
	"lapis/store/memory"
	"lapis/workspace"
)

const tenant = "72f988bf-0000-4000-8000-2d7cd011db47"

// shelf is a storage account that notes what it is asked for.
type shelf struct {
	containers []string
	signed     []string
	delegated  bool // the last one
}

func (s *shelf) EnsureContainer(_ context.Context, account armid.ID, container string) error {
	s.containers = append(s.containers, account.Name()+"/"+container)
	return nil
}

func (s *shelf) ContainerSAS(_ context.Context, account armid.ID, wanted workspace.Signature) (string, error) {
	s.signed = append(s.signed, wanted.Permissions)
	s.delegated = wanted.Delegated
	return fmt.Sprintf("sr=c&sp=%s&se=%d&sig=%s", wanted.Permissions, wanted.Expiry.Unix(), account.Name()+wanted.Container), nil
}

func (s *shelf) AccountKey(context.Context, armid.ID) (secret.String, error) {
	return secret.New("the key"), nil
}

func (s *shelf) KeySAS(account, container string, _ secret.String, permissions string, _ time.Time) (string, error) {
	return "sr=c&sp=" + permissions + "&sig=" + account + container, nil
}

func (s *shelf) ReadBlob(context.Context, armid.ID, string, string, int64) ([]byte, error) {
	return nil, fault.E(fault.NotFound, "BlobNotFound", "no")
}

type world struct {
	t      testing.TB
	tree   *resource.Tree
	svc    *workspace.Service
	shelf  *shelf
	grants []string
	group  armid.ID
	ws     armid.ID
}

func newWorld(t testing.TB) *world {
	t.Helper()
	st := memory.New()
	w := &world{t: t, shelf: &shelf{}, group: armid.ResourceGroup("s1", "rg1")}
	directory, err := identity.Open(t.Context(), identity.Config{Store: st, TenantID: tenant})
	if err != nil {
		t.Fatal(err)
	}
	runner := operation.New(operation.Config{Store: st, Now: time.Now, Rand: rand.Reader, Log: slog.New(slog.DiscardHandler)})
	t.Cleanup(runner.Close)
	w.tree = resource.NewTree(resource.Config{Store: st, Operations: runner, Subscription: "s1", Now: time.Now, Rand: rand.Reader})
	w.svc = workspace.New(workspace.Config{
		Tree: w.tree, Directory: directory, Storage: w.shelf, Rand: rand.Reader, Now: time.Now,
		Grant: func(_ context.Context, principal, role string, scope armid.ID) error {
			if !directory.Alive(principal) {
				t.Errorf("a role for nobody: %s", principal)
			}
			w.grants = append(w.grants, role+" at "+scope.Name())
			return nil
		},
	})
	w.tree.Register(resource.Group(), resource.Type{Name: "Microsoft.Storage/storageAccounts"}, resource.Type{Name: "Microsoft.ContainerRegistry/registries"})
	w.tree.Register(w.svc.Types()...)
	w.put(w.group, `{"location":"here"}`)
	for _, name := range []string{"one", "two"} {
		w.put(w.account(name), `{}`)
	}
	w.put(w.registry(), `{}`)
	w.ws = w.group.Provider(workspace.TypeName, "WS1")
	w.put(w.ws, w.body("one"))
	return w
}

func (w *world) account(name string) armid.ID {
	return w.group.Provider("Microsoft.Storage/storageAccounts", name)
}

func (w *world) registry() armid.ID {
	return w.group.Provider("Microsoft.ContainerRegistry/registries", "images")
}

func (w *world) body(account string) string {
	return fmt.Sprintf(`{"location":"here","properties":{"storageAccount":%q,"containerRegistry":%q}}`, w.account(account), w.registry())
}

func (w *world) try(id armid.ID, body string) (resource.Changed, error) {
	return w.tree.Put(w.t.Context(), resource.Put{ID: id, Body: json.RawMessage(body)})
}

func (w *world) put(id armid.ID, body string) resource.Resource {
	w.t.Helper()
	changed, err := w.try(id, body)
	if err != nil {
		w.t.Fatal(err)
	}
	return changed.Resource
}

// act runs an action of a resource that need not exist.
func (w *world) act(name string, id armid.ID, body string) (map[string]any, error) {
	w.t.Helper()
	typ, err := w.tree.TypeOf(id)
	if err != nil {
		w.t.Fatal(err)
	}
	r, err := w.tree.Get(w.t.Context(), id)
	if err != nil {
		r = resource.Resource{ID: id}
	}
	i := slices.IndexFunc(typ.Actions, func(a resource.Action) bool { return a.Name == name })
	out, err := typ.Actions[i].Run(w.t.Context(), resource.Call{Resource: r, Body: json.RawMessage(body)})
	data, _ := json.Marshal(out)
	var m map[string]any
	_ = json.Unmarshal(data, &m)
	return m, err
}

func TestWorkspaceHasAnIdentityThatMayUseWhatItNames(t *testing.T) {
	w := newWorld(t)
	want := []string{"Storage Blob Data Contributor at one", "AcrPush at images", "AcrPull at images"}
	if !slices.Equal(w.grants, want) {
		t.Errorf("grants %v", w.grants)
	}
	a, err := w.svc.Attached(t.Context(), w.ws)
	if err != nil || a.SystemPrincipal == "" || !a.StorageAccount.Equal(w.account("one")) || !a.Registry.Equal(w.registry()) || a.Region != "here" {
		t.Errorf("%+v %v", a, err)
	}
	before, _ := w.tree.Get(t.Context(), w.ws)
	w.put(w.ws, `{"tags":{"a":"b"}}`) // tags alone keep what is attached
	after, _ := w.tree.Get(t.Context(), w.ws)
	if string(after.Private) != string(before.Private) || string(after.Properties) != string(before.Properties) || after.Identity.PrincipalID != a.SystemPrincipal {
		t.Errorf("after a PUT of tags: %+v", after)
	}
	if _, err := w.tree.Delete(t.Context(), w.ws, resource.Caller{}); err != nil {
		t.Fatal(err)
	}
	w.put(w.ws, w.body("one"))
	if again, err := w.svc.Attached(t.Context(), w.ws); err != nil || again.SystemPrincipal == a.SystemPrincipal {
		t.Errorf("made again it has its predecessor's identity: %+v %v", again, err)
	}
}

func TestWorkspacesAreRefusedByTheirRules(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct{ name, body, code string }{
		{"ab", w.body("one"), "InvalidWorkspaceName"}, {"-abc", w.body("one"), "InvalidWorkspaceName"}, {strings.Repeat("a", 34), w.body("one"), "InvalidWorkspaceName"},
		{"new", w.body("missing"), "ResourceNotFound"},
		{"new", `{"location":"here"}`, "ValidationError"},
		{"new", strings.ReplaceAll(w.body("one"), "storageAccounts", "others"), "ValidationError"},
		{"new", `{"location":"here","properties":{"storageAccount":1}}`, "InvalidRequestContent"},
	} {
		if _, err := w.try(w.group.Provider(workspace.TypeName, c.name), c.body); !fault.HasCode(err, c.code) {
			t.Errorf("%s %s: %v, want %s", c.name, c.body, err, c.code)
		}
	}
}

func TestAttachingIsLinkedToKeysAndRegistry(t *testing.T) {
	w := newWorld(t)
	asked := func(id armid.ID, body string, patch bool) []string {
		t.Helper()
		var list []string
		_, err := w.tree.Put(t.Context(), resource.Put{ID: id, Body: json.RawMessage(body), Patch: patch, Authorize: func(a resource.Access) error {
			list = append(list, a.Action+" at "+a.Scope.Name())
			return nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	keys := "Microsoft.Storage/storageAccounts/listKeys/action at "
	images := "Microsoft.ContainerRegistry/registries/write at images"
	if got := asked(w.group.Provider(workspace.TypeName, "new"), w.body("two"), false); !slices.Equal(got, []string{keys + "two", images}) {
		t.Errorf("a new workspace: %v", got)
	}
	if got := asked(w.ws, w.body("one"), false); got != nil {
		t.Errorf("the same again: %v", got)
	}
	if got := asked(w.ws, `{"tags":{}}`, true); got != nil {
		t.Errorf("tags: %v", got)
	}
	if got := asked(w.ws, fmt.Sprintf(`{"properties":{"storageAccount":%q}}`, w.account("two")), true); !slices.Equal(got, []string{keys + "two", images}) {
		t.Errorf("another account: %v", got)
	}
}

func TestVersionsNeverChangeTheirContent(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct{ collection, first, same, other string }{
		{"codes", `{"codeUri":"https://one.blob.core.windows.net/box/a"}`, `{"codeUri":"https://one.blob.core.windows.net/box/a","description":"d"}`, `{"codeUri":"https://one.blob.core.windows.net/box/b"}`},
		{"models", `{"modelUri":"azureml://datastores/workspaceblobstore/paths/x","modelType":"custom_model"}`, `{"modelUri":"azureml://datastores/workspaceblobstore/paths/x","modelType":"custom_model","tags":{"a":"b"}}`, `{"modelUri":"azureml://datastores/workspaceblobstore/paths/y","modelType":"custom_model"}`},
		{"environments", `{"image":"i","condaFile":"a: 1"}`, `{"image":"i","condaFile":"a: 1","isArchived":true}`, `{"image":"i","condaFile":"a: 2"}`},
		{"data", `{"dataUri":"azureml://datastores/workspaceblobstore/paths/x"}`, `{"dataUri":"azureml://datastores/workspaceblobstore/paths/x"}`, `{"dataUri":"azureml://datastores/workspaceblobstore/paths/z"}`},
	} {
		id := w.ws.Child(c.collection, "thing").Child("versions", "1")
		w.put(id, `{"properties":`+c.first+`}`)
		w.put(id, `{"properties":`+c.same+`}`)
		if _, err := w.try(id, `{"properties":`+c.other+`}`); !fault.Is(err, fault.Conflict) {
			t.Errorf("%s changed: %v", c.collection, err)
		}
		if _, err := w.try(w.ws.Child(c.collection, "empty").Child("versions", "1"), `{"properties":{}}`); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s without content: %v", c.collection, err)
		}
		for _, bad := range []string{"-x", ".x", "a b", strings.Repeat("a", 256)} {
			if _, err := w.try(w.ws.Child(c.collection, bad).Child("versions", "1"), `{"properties":`+c.first+`}`); !fault.Is(err, fault.Invalid) {
				t.Errorf("%s named %.10q: %v", c.collection, bad, err)
			}
		}
	}
}

func TestAssetIsMadeOfItsVersions(t *testing.T) {
	w := newWorld(t)
	thing := w.ws.Child("models", "thing")
	if _, err := w.tree.Get(t.Context(), thing); !fault.Is(err, fault.NotFound) {
		t.Errorf("without versions: %v", err)
	}
	for _, version := range []string{"1", "12", "beta"} {
		w.put(thing.Child("versions", version), `{"properties":{"modelUri":"azureml://datastores/workspaceblobstore/paths/x"}}`)
	}
	w.put(w.ws.Child("models", "hidden").Child("versions", "1"), `{"properties":{"modelUri":"azureml://datastores/workspaceblobstore/paths/x","isAnonymous":true}}`)
	r, err := w.tree.Get(t.Context(), thing)
	var p struct{ LatestVersion, NextVersion string }
	if err != nil || r.Decode(&p) != nil || p.LatestVersion != "beta" || p.NextVersion != "13" {
		t.Errorf("%s %v", r.Properties, err)
	}
	all, err := w.tree.List(t.Context(), workspace.TypeName+"/models", w.ws)
	if err != nil || len(all) != 1 || all[0].ID.Name() != "thing" {
		t.Errorf("list: %v %v", all, err)
	}
}

func TestVersionsAreFoundByHashAndState(t *testing.T) {
	w := newWorld(t)
	put := func(name, hash string, archived bool) {
		w.put(w.ws.Child("codes", name).Child("versions", "1"), fmt.Sprintf(`{"properties":{"codeUri":"azureml://datastores/workspaceblobstore/paths/x","isArchived":%t,"properties":{"hash_sha256":%q}}}`, archived, hash))
	}
	put("one", "aa", false)
	put("two", "bb", true)
	typ, err := w.tree.TypeOf(w.ws.Child("codes", "x").Child("versions", "1"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ parent, query, want string }{
		{"fresh", "hash=aa", "one"}, {"fresh", "hash=bb", "two"}, {"fresh", "hash=cc", ""}, {"fresh", "", ""},
		{"one", "", "one"}, {"two", "", ""}, {"two", "listViewType=All", "two"}, {"two", "listViewType=archivedonly", "two"}, {"one", "listViewType=ArchivedOnly", ""},
	} {
		params, _ := url.ParseQuery(c.query)
		found, err := typ.Query(t.Context(), w.ws.Child("codes", c.parent), params)
		var names []string
		for _, r := range found {
			names = append(names, r.ID.Parent().Name())
		}
		if err != nil || strings.Join(names, " ") != c.want {
			t.Errorf("%s?%s: %v %v, want %q", c.parent, c.query, names, err, c.want)
		}
	}
}

func TestUploadsGetASignatureForAContainerOfTheirOwn(t *testing.T) {
	w := newWorld(t)
	version := w.ws.Child("codes", "x").Child("versions", "1")
	var uris []string
	for range 2 {
		m, err := w.act("startPendingUpload", version, `{"pendingUploadType":"TemporaryBlobReference"}`)
		if err != nil {
			t.Fatal(err)
		}
		reference := m["blobReferenceForConsumption"].(map[string]any)
		uri, sas := fmt.Sprint(reference["blobUri"]), fmt.Sprint(reference["credential"].(map[string]any)["sasUri"])
		uris = append(uris, uri)
		if !strings.HasPrefix(uri, "https://one.blob.core.windows.net/") || !strings.HasPrefix(sas, uri+"?sr=c&sp=rcwl&") {
			t.Errorf("%s, %s", uri, sas)
		}
		l, err := w.svc.Locate(t.Context(), w.ws, uri+"/src/a")
		if err != nil || l.Account != "one" || l.Path != "src/a" || !slices.Contains(w.shelf.containers, "one/"+l.Container) {
			t.Errorf("%+v %v", l, err)
		}
	}
	if uris[0] == uris[1] {
		t.Error("two uploads share a container")
	}
	if _, err := w.act("startPendingUpload", version, `{"pendingUploadType":"Other"}`); !fault.Is(err, fault.Invalid) {
		t.Errorf("another type: %v", err)
	}
	none := w.group.Provider(workspace.TypeName, "nothere").Child("codes", "x").Child("versions", "1")
	if _, err := w.act("startPendingUpload", none, ``); !fault.Is(err, fault.NotFound) {
		t.Errorf("in no workspace: %v", err)
	}
}

func TestDatastoreSecretsFitWhatTheClientUnderstands(t *testing.T) {
	w := newWorld(t)
	store := w.ws.Child("datastores", workspace.DefaultDatastore)
	for _, c := range []struct{ body, kind string }{
		{``, "AccountKey"}, {`{"expirableSecret":false}`, "AccountKey"}, {`{"expirableSecret":true}`, "Sas"}, {`{"expirableSecret":true,"expireAfterHours":5}`, "Sas"},
		{`{"expirableSecret":true,"expireAfterHours":-1}`, ""}, {`{"expirableSecret":true,"expireAfterHours":1000}`, ""}, {`{"expirableSecret":"x"}`, ""},
	} {
		m, err := w.act("listSecrets", store, c.body)
		if c.kind == "" && !fault.Is(err, fault.Invalid) || c.kind != "" && (err != nil || m["secretsType"] != c.kind) {
			t.Errorf("%s: %v %v", c.body, m, err)
		}
	}
	if _, err := w.tree.Get(t.Context(), w.ws.Child("datastores", "other")); !fault.Is(err, fault.NotFound) {
		t.Errorf("another datastore: %v", err)
	}
}

func TestReferencesToAssetsAreResolvedInTheirWorkspaceOnly(t *testing.T) {
	w := newWorld(t)
	id := w.ws.Child("models", "m").Child("versions", "2")
	w.put(id, `{"properties":{"modelUri":"azureml://datastores/workspaceblobstore/paths/x"}}`)
	for reference, kind := range map[string]fault.Kind{
		"azureml:m:2": -1, id.String(): -1, "azureml:" + id.String(): -1, strings.ToUpper(id.String()): -1,
		"azureml:m:3": fault.NotFound, "azureml:m": fault.Invalid, "m": fault.Invalid, "": fault.Invalid, "azureml:/x": fault.Invalid,
		strings.Replace(id.String(), "/models/", "/codes/", 1): fault.Invalid, strings.Replace(id.String(), "WS1", "WS2", 1): fault.Invalid,
		"azureml:../../x:1": fault.Invalid,
	} {
		r, err := w.svc.Version(t.Context(), w.ws, "models", reference)
		if kind < 0 && (err != nil || !r.ID.Equal(id)) || kind >= 0 && !fault.Is(err, kind) {
			t.Errorf("%q: %v %v", reference, r.ID, err)
		}
	}
}

func TestAssetsLieInAContainerOfAnAccount(t *testing.T) {
	w := newWorld(t)
	for uri, want := range map[string]workspace.Location{
		"https://one.blob.core.windows.net/box/a/b%20c":     {Account: "one", Container: "box", Path: "a/b c"},
		"https://ONE.blob.core.windows.net:443/box":         {Account: "one", Container: "box"},
		"https://one.blob.core.lapis.localhost:8443/box/a/": {Account: "one", Container: "box", Path: "a"},
		"https://.blob./0":                                    {},
		"https://blob.core.windows.net/box/a":                 {},
		"https://a.b.blob.core.windows.net/box/a":             {},
		"https://one.blob.core.windows.net/":                  {},
		"https://one.blob.core.windows.net/box%3Fcomp=list/a": {},
		"https://one.blob.core.windows.net/box%2Fx":           {Account: "one", Container: "box", Path: "x"},
		"https://one.blob.core.windows.net/Box/a":             {},
		"http://one.blob.core.windows.net/box/a":              {},
		"https://one.blob.core.windows.net@example.org/box/a": {},
		"azureml://datastores/../paths/x":                     {},
		"azureml://datastores/nothere/paths/x":                {},
		"azureml://datastores/workspaceblobstore":             {},
		"wasbs://box@one.blob.core.windows.net/a":             {},
		"/etc/passwd": {}, "": {},
	} {
		l, err := w.svc.Locate(t.Context(), w.ws, uri)
		if l != want || (err == nil) == (want == workspace.Location{}) || err != nil && !fault.Is(err, fault.Invalid) {
			t.Errorf("%q: %+v %v, want %+v", uri, l, err, want)
		}
	}
}

func FuzzLocate(f *testing.F) {
	for _, seed := range []string{
		"azureml://subscriptions/s1/resourcegroups/rg1/workspaces/WS1/datastores/workspaceblobstore/paths/a/b", "azureml://datastores/workspaceblobstore/paths/x",
		"azureml://datastores/other/paths/x", "https://one.blob.core.windows.net/box/d", "https://one.blob.core.windows.net/", "https://.blob./0", "https://a.b.blob.x/c", "https://one.blob.x/c%3Fcomp=list/d", "https://example.org/x", "file:///etc/passwd", "%zz", "",
	} {
		f.Add(seed)
	}
	w := newWorld(f)
	f.Fuzz(func(t *testing.T, uri string) {
		l, err := w.svc.Locate(t.Context(), w.ws, uri)
		if err != nil {
			if !fault.Is(err, fault.Invalid) {
				t.Errorf("%q: %v", uri, err)
			}
			return
		}
		if l.Account == "" || l.Container == "" || strings.HasPrefix(l.Path, "/") || strings.ContainsAny(l.Account+l.Container, "/?#") {
			t.Errorf("%q lies at %+v", uri, l)
		}
	})
}
