package storageaccount_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"lapis/armid"
	"lapis/fault"
	"lapis/operation"
	"lapis/resource"
	"lapis/secret"
	"lapis/storageaccount"
	"lapis/store"
	"lapis/store/memory"
)

// shelf is a data plane of names alone.
type shelf map[string]map[string]bool

func (s shelf) Create(_ context.Context, account, name string, _ map[string]string) (storageaccount.Container, error) {
	if s[account] == nil {
		s[account] = map[string]bool{}
	}
	s[account][name] = true
	return storageaccount.Container{Name: name}, nil
}

func (s shelf) SetMetadata(context.Context, string, string, map[string]string) error { return nil }

func (s shelf) Get(_ context.Context, account, name string) (storageaccount.Container, error) {
	if !s[account][name] {
		return storageaccount.Container{}, fault.E(fault.NotFound, "ContainerNotFound", "no")
	}
	return storageaccount.Container{Name: name}, nil
}

func (s shelf) List(_ context.Context, account string) (found []storageaccount.Container, _ error) {
	for name := range s[account] {
		found = append(found, storageaccount.Container{Name: name})
	}
	return found, nil
}

func (s shelf) Delete(_ context.Context, account, name string) error {
	delete(s[account], name)
	return nil
}

func (s shelf) DeleteAccount(_ context.Context, account string) error {
	delete(s, account)
	return nil
}

type world struct {
	t     *testing.T
	tree  *resource.Tree
	svc   *storageaccount.Service
	store store.Store
	shelf shelf
	group armid.ID
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, store: memory.New(), shelf: shelf{}, group: armid.ResourceGroup("s1", "rg1")}
	runner := operation.New(operation.Config{Store: w.store, Now: time.Now, Rand: rand.Reader, Log: slog.New(slog.DiscardHandler)})
	t.Cleanup(runner.Close)
	w.tree = resource.NewTree(resource.Config{Store: w.store, Operations: runner, Subscription: "s1", Now: time.Now, Rand: rand.Reader})
	sealer, err := secret.NewSealer(bytes.Repeat([]byte{7}, secret.KeySize), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	w.svc = storageaccount.New(storageaccount.Config{Tree: w.tree, Sealer: sealer, Rand: rand.Reader, Containers: w.shelf})
	w.tree.Register(resource.Group())
	w.tree.Register(w.svc.Types()...)
	for _, group := range []armid.ID{w.group, armid.ResourceGroup("s1", "rg2")} {
		w.put(group, `{"location":"here"}`)
	}
	return w
}

const body = `{"location":"here","kind":"StorageV2","sku":{"name":"Standard_LRS"}}`

func (w *world) try(id armid.ID, body string) error {
	_, err := w.tree.Put(w.t.Context(), resource.Put{ID: id, Body: json.RawMessage(body)})
	return err
}

func (w *world) put(id armid.ID, body string) {
	w.t.Helper()
	if err := w.try(id, body); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) id(name string) armid.ID { return w.group.Provider(storageaccount.TypeName, name) }

// act runs one of the account's actions.
func (w *world) act(name string, id armid.ID, body string) (map[string]any, error) {
	w.t.Helper()
	typ, err := w.tree.TypeOf(id)
	if err != nil {
		w.t.Fatal(err)
	}
	r, err := w.tree.Get(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, a := range typ.Actions {
		if a.Name != name {
			continue
		}
		out, err := a.Run(w.t.Context(), resource.Call{Resource: r, Body: json.RawMessage(body)})
		data, _ := json.Marshal(out)
		var m map[string]any
		_ = json.Unmarshal(data, &m)
		return m, err
	}
	w.t.Fatalf("no action %s", name)
	return nil, nil
}

func keysOf(m map[string]any) (keys [2]string) {
	list, _ := m["keys"].([]any)
	for i, k := range list {
		keys[i] = fmt.Sprint(k.(map[string]any)["value"])
	}
	return keys
}

func TestKeysAreSealedStableAndRegenerated(t *testing.T) {
	w := newWorld(t)
	id := w.id("one")
	w.put(id, body)
	listed, err := w.act("listKeys", id, "")
	if err != nil {
		t.Fatal(err)
	}
	keys := keysOf(listed)
	for _, key := range keys {
		if raw, err := base64.StdEncoding.DecodeString(key); err != nil || len(raw) != 64 || key == "" {
			t.Errorf("key %q: %d bytes, %v", key, len(raw), err)
		}
	}
	if keys[0] == keys[1] {
		t.Error("both keys are the same")
	}
	found, err := w.svc.Find(t.Context(), "ONE")
	if err != nil || found.Keys[0].Reveal() != keys[0] || found.Keys[1].Reveal() != keys[1] || !found.AllowSharedKey || found.SKU != "Standard_LRS" {
		t.Errorf("%+v %v", found, err)
	}
	w.put(id, strings.Replace(body, "Standard_LRS", "Standard_GRS", 1)) // an update keeps them
	if listed, _ = w.act("listKeys", id, ""); keysOf(listed) != keys {
		t.Error("an update changed the keys")
	}
	renewed, err := w.act("regenerateKey", id, `{"keyName":"KEY1"}`)
	if fresh := keysOf(renewed); err != nil || fresh[0] == keys[0] || fresh[1] != keys[1] {
		t.Errorf("regenerated: %v %v", renewed, err)
	}
	for _, bad := range []string{``, `{}`, `{"keyName":"key3"}`, `{"keyName":"kerb1"}`} {
		if _, err := w.act("regenerateKey", id, bad); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", bad, err)
		}
	}
	r, _ := w.tree.Get(t.Context(), id)
	record, _ := json.Marshal(r)
	shown, err := w.tree.Show(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	visible, _ := json.Marshal(shown)
	for _, text := range [][]byte{record, visible} {
		for _, key := range keys {
			if bytes.Contains(text, []byte(key)) || bytes.Contains(text, []byte(base64.StdEncoding.EncodeToString([]byte(key)))) {
				t.Errorf("a key shows in %s", text)
			}
		}
	}
	if strings.Contains(string(visible), "sealed") {
		t.Errorf("sealed keys show in %s", visible)
	}
}

func TestAccountsAreRefusedByTheirRules(t *testing.T) {
	w := newWorld(t)
	w.put(w.id("taken"), body)
	for _, c := range []struct{ name, body, code string }{
		{"ab", body, "AccountNameInvalid"}, {"UPPER", body, "AccountNameInvalid"}, {strings.Repeat("a", 25), body, "AccountNameInvalid"}, {"dash-ed", body, "AccountNameInvalid"},
		{"new", `{"location":"here","kind":"StorageV2"}`, "InvalidValuesForRequestParameters"},
		{"new", `{"location":"here","sku":{"name":"Standard_LRS"}}`, "InvalidValuesForRequestParameters"},
		{"new", strings.Replace(body, "StorageV2", "Toy", 1), "InvalidValuesForRequestParameters"},
		{"new", strings.Replace(body, `{"name":"Standard_LRS"}`, `"Standard_LRS"`, 1), "InvalidRequestContent"},
		{"new", strings.Replace(body, "}}", `},"properties":{"allowSharedKeyAccess":"no"}}`, 1), "InvalidRequestContent"},
		{"new", strings.Replace(body, "}}", `},"identity":{"type":"SystemAssigned"}}`, 1), "IdentityNotSupported"},
		{"new", `{"kind":"StorageV2","sku":{"name":"Standard_LRS"}}`, "LocationRequired"},
	} {
		if err := w.try(w.id(c.name), c.body); !fault.HasCode(err, c.code) {
			t.Errorf("%s %s: %v, want %s", c.name, c.body, err, c.code)
		}
	}
	elsewhere := armid.ResourceGroup("s1", "rg2").Provider(storageaccount.TypeName, "taken")
	if err := w.try(elsewhere, body); !fault.HasCode(err, "StorageAccountAlreadyTaken") {
		t.Errorf("a name of another group: %v", err)
	}
	if _, err := w.svc.Find(t.Context(), "new"); !fault.Is(err, fault.NotFound) {
		t.Errorf("a refused account exists: %v", err)
	}
	w.put(w.id("none"), strings.Replace(body, "}}", `},"identity":{"type":"None"}}`, 1))
}

func TestDeletionTakesBytesAndNameAndKeysAlong(t *testing.T) {
	w := newWorld(t)
	id := w.id("one")
	w.put(id, body)
	before, _ := w.act("listKeys", id, "")
	box := id.Child("blobServices", "default").Child("containers", "box")
	w.put(box, `{}`)
	if _, err := w.tree.Get(t.Context(), box); err != nil || !w.shelf["one"]["box"] {
		t.Fatalf("container: %v, %v", err, w.shelf)
	}
	if _, err := w.tree.Delete(t.Context(), id, resource.Caller{}); err != nil {
		t.Fatal(err)
	}
	if w.shelf["one"] != nil {
		t.Error("the containers are left")
	}
	if _, err := w.svc.Find(t.Context(), "one"); !fault.Is(err, fault.NotFound) {
		t.Errorf("find: %v", err)
	}
	elsewhere := armid.ResourceGroup("s1", "rg2").Provider(storageaccount.TypeName, "one")
	w.put(elsewhere, body) // the name is free, also in another group
	after, _ := w.act("listKeys", elsewhere, "")
	if keysOf(before) == keysOf(after) {
		t.Error("the new account has the keys of its predecessor")
	}
}

func TestBlobServiceIsOneAndContainersNeedTheirAccount(t *testing.T) {
	w := newWorld(t)
	id := w.id("one")
	w.put(id, body)
	if _, err := w.tree.Get(t.Context(), id.Child("blobServices", "other")); !fault.Is(err, fault.NotFound) {
		t.Errorf("another blob service: %v", err)
	}
	if err := w.try(id.Child("blobServices", "default"), `{}`); !fault.Is(err, fault.NotAllowed) {
		t.Errorf("PUT of the blob service: %v", err)
	}
	missing := w.id("nothere").Child("blobServices", "default").Child("containers", "box")
	if err := w.try(missing, `{}`); !fault.Is(err, fault.NotFound) || w.shelf["nothere"] != nil {
		t.Errorf("a container without account: %v", err)
	}
	if err := w.try(id.Child("blobServices", "default").Child("containers", "box"), `{"properties":{"metadata":{"a":1}}}`); !fault.Is(err, fault.Invalid) {
		t.Errorf("metadata of the wrong type: %v", err)
	}
}

func TestNameAvailabilitySaysWhy(t *testing.T) {
	w := newWorld(t)
	w.put(w.id("taken"), body)
	for name, want := range map[string]string{"free": "true ", "taken": "false AlreadyExists", "No": "false AccountNameInvalid"} {
		out, err := w.svc.CheckNameAvailability(t.Context(), fmt.Appendf(nil, `{"name":%q}`, name))
		m, _ := out.(map[string]any)
		reason, _ := m["reason"].(string)
		if err != nil || fmt.Sprint(m["nameAvailable"], " ", reason) != want {
			t.Errorf("%s: %v %v", name, out, err)
		}
	}
	if _, err := w.svc.CheckNameAvailability(t.Context(), []byte(`[`)); !fault.Is(err, fault.Invalid) {
		t.Errorf("no JSON: %v", err)
	}
}
