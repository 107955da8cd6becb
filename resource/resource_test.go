package resource_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"lapis/armid"
	"lapis/fault"
	"lapis/operation"
	"lapis/resource"
	"lapis/store"
	"lapis/store/memory"
)

const (
	thingType = "Lapis.Test/things"
	partType  = thingType + "/parts"
	slowType  = "Lapis.Test/slows"
)

// world is a tree with three types: things with parts, and slow ones whose
// changes are operations that the test ends.
type world struct {
	t     *testing.T
	tree  *resource.Tree
	store store.Store
	end   chan error // ends the slow type's operation
	group armid.ID
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, store: memory.New(), end: make(chan error, 8), group: armid.MustParse("/subscriptions/s1/resourceGroups/rg1")}
	wait := func(ctx context.Context, _ *operation.Run) error {
		select {
		case err := <-w.end:
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	kinds := map[string]operation.Kind{
		"slow.put": {Run: wait, Finish: resource.Finish}, "slow.delete": {Run: wait, Finish: resource.FinishDelete},
	}
	runner := operation.New(operation.Config{Store: w.store, Kinds: kinds, Now: time.Now, Rand: rand.Reader, Log: slog.New(slog.DiscardHandler)})
	t.Cleanup(runner.Close)
	w.tree = resource.NewTree(resource.Config{Store: w.store, Operations: runner, Subscription: "s1", Now: time.Now, Rand: rand.Reader})
	for name, kind := range w.tree.GroupKinds() {
		kinds[name] = kind
	}
	versions := []string{"2020-01-01", "2021-01-01-preview"}
	w.tree.Register(resource.Group(),
		resource.Type{Name: thingType, APIVersions: versions, Located: true},
		resource.Type{Name: partType, APIVersions: versions},
		resource.Type{Name: slowType, APIVersions: versions, PutOperation: "slow.put", DeleteOperation: "slow.delete"},
	)
	w.must(w.put(w.group, `{"location":"Here Now"}`))
	return w
}

func (w *world) put(id armid.ID, body string) (resource.Changed, error) {
	return w.tree.Put(w.t.Context(), resource.Put{ID: id, Body: json.RawMessage(body), Caller: resource.Caller{ObjectID: "me", Kind: "User"}})
}

func (w *world) patch(id armid.ID, body string) (resource.Changed, error) {
	return w.tree.Put(w.t.Context(), resource.Put{ID: id, Body: json.RawMessage(body), Patch: true})
}

func (w *world) must(c resource.Changed, err error) resource.Changed {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

func (w *world) code(want string, err error) {
	w.t.Helper()
	if !fault.HasCode(err, want) {
		w.t.Errorf("error %v, want %s", err, want)
	}
}

func (w *world) shown(id armid.ID) map[string]any {
	w.t.Helper()
	r, err := w.tree.Get(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	s, err := w.tree.Show(w.t.Context(), r)
	if err != nil {
		w.t.Fatal(err)
	}
	data, err := json.Marshal(s)
	if err != nil {
		w.t.Fatal(err)
	}
	var out map[string]any
	_ = json.Unmarshal(data, &out)
	return out
}

func TestPutReplacesAndPatchMerges(t *testing.T) {
	w := newWorld(t)
	id := w.group.Provider(thingType, "One")
	first := w.must(w.put(id, `{"location":"HERE","tags":{"a":"1"},"kind":"k","properties":{"x":{"y":1,"z":2},"list":[1,2]}}`))
	if !first.Created || first.Operation != nil || first.Resource.State != resource.Succeeded || first.Resource.Location != "here" {
		t.Errorf("%+v", first)
	}
	second := w.must(w.patch(armid.MustParse(strings.ToUpper(id.String())), `{"tags":{"b":"2"},"properties":{"x":{"y":null,"w":3},"list":[3]}}`))
	if second.Created || second.Resource.UID != first.Resource.UID || resource.ETag(second.Resource) == resource.ETag(first.Resource) {
		t.Errorf("%+v", second)
	}
	got := w.shown(id)
	data, _ := json.Marshal(got["properties"])
	if string(data) != `{"list":[3],"provisioningState":"Succeeded","x":{"w":3,"z":2}}` || got["name"] != "One" || got["kind"] != "k" {
		t.Errorf("after the patch: %s", data)
	}
	if tags, _ := json.Marshal(got["tags"]); string(tags) != `{"b":"2"}` { // Resource Manager replaces tags as a whole
		t.Errorf("tags %s", tags)
	}
	w.must(w.put(id, `{"properties":{"only":true,"big":9007199254740993}}`))
	if r, err := w.tree.Get(t.Context(), id); err == nil {
		s, _ := w.tree.Show(t.Context(), r)
		if text, _ := json.Marshal(s.Properties["big"]); string(text) != "9007199254740993" {
			t.Errorf("a number of 17 digits became %s", text)
		}
	}
	w.must(w.put(id, `{"properties":{"only":true}}`))
	got = w.shown(id)
	data, _ = json.Marshal(got["properties"])
	if string(data) != `{"only":true,"provisioningState":"Succeeded"}` || got["location"] != "here" || len(got["tags"].(map[string]any)) != 0 {
		t.Errorf("after the put: %v", got)
	}
}

func TestChangesAreRefusedByTheirCode(t *testing.T) {
	w := newWorld(t)
	id := w.group.Provider(thingType, "one")
	w.must(w.put(id, `{"location":"here"}`))
	for _, c := range []struct {
		id         string
		body, code string
		patch      bool
	}{
		{id.String(), `{"location":"there"}`, "InvalidResourceLocation", false},
		{w.group.String(), `{"location":"there"}`, "InvalidResourceGroupLocation", false},
		{w.group.String() + "x/providers/" + thingType + "/a", `{"location":"here"}`, "ResourceGroupNotFound", false},
		{"/subscriptions/s2/resourceGroups/rg1", `{"location":"here"}`, "SubscriptionNotFound", false},
		{"/subscriptions/s1/resourceGroups/ends.", `{"location":"here"}`, "InvalidResourceGroup", false},
		{w.group.Provider(thingType, "two").String(), `{}`, "LocationRequired", false},
		{w.group.Provider(thingType, "two").String(), `{}`, "ResourceNotFound", true},
		{w.group.Provider(thingType, "two").Child("parts", "p").String(), `{}`, "ParentResourceNotFound", false},
		{w.group.Provider("Lapis.Test/others", "x").String(), `{}`, "InvalidResourceType", false},
		{id.String(), `{`, "InvalidRequestContent", false},
		{id.String(), `{"properties":7}`, "InvalidRequestContent", false},
		{id.String(), `{"identity":"me"}`, "InvalidRequestContent", true},
	} {
		put := w.put
		if c.patch {
			put = w.patch
		}
		_, err := put(armid.MustParse(c.id), c.body)
		if !fault.HasCode(err, c.code) {
			t.Errorf("%s %s: %v, want %s", c.id, c.body, err, c.code)
		}
	}
}

func TestPreconditionsAreHeld(t *testing.T) {
	w := newWorld(t)
	id := w.group.Provider(thingType, "one")
	put := func(match, none string) error {
		_, err := w.tree.Put(t.Context(), resource.Put{ID: id, Body: json.RawMessage(`{"location":"here"}`), IfMatch: match, IfNoneMatch: none})
		return err
	}
	w.code("PreconditionFailed", put("*", ""))
	if err := put("", "*"); err != nil {
		t.Fatal(err)
	}
	w.code("PreconditionFailed", put("", "*"))
	r, _ := w.tree.Get(t.Context(), id)
	if err := put(resource.ETag(r), ""); err != nil {
		t.Fatal(err)
	}
	w.code("PreconditionFailed", put(resource.ETag(r), ""))

	// A resource made again has other etags, though its versions begin anew.
	if _, err := w.tree.Delete(t.Context(), id, resource.Caller{}); err != nil {
		t.Fatal(err)
	}
	if err := put("", ""); err != nil {
		t.Fatal(err)
	}
	w.code("PreconditionFailed", put(resource.ETag(r), ""))
}

func TestOperationsCarryTheState(t *testing.T) {
	w := newWorld(t)
	id := w.group.Provider(slowType, "one")
	changed := w.must(w.put(id, `{}`))
	if changed.Operation == nil || changed.Resource.State != resource.Creating {
		t.Fatalf("%+v", changed)
	}
	_, err := w.put(id, `{}`)
	w.code("AnotherOperationInProgress", err)
	w.end <- fault.E(fault.Invalid, "Broken", "It broke.")
	if err := w.tree.Operations.Wait(t.Context(), changed.Operation.ID); !fault.HasCode(err, "Broken") {
		t.Errorf("end: %v", err)
	}
	r, err := w.tree.Get(t.Context(), id)
	if err != nil || r.State != resource.Failed || r.Failure == nil || r.Failure.Code != "Broken" {
		t.Errorf("%+v %v", r, err)
	}
	changed = w.must(w.put(id, `{}`)) // the same name, without deleting it first
	if changed.Resource.State != resource.Creating || changed.Resource.Failure != nil {
		t.Errorf("again: %+v", changed.Resource)
	}
	w.end <- nil
	if err := w.tree.Operations.Wait(t.Context(), changed.Operation.ID); err != nil {
		t.Fatal(err)
	}
	changed = w.must(w.patch(id, `{"tags":{"a":"b"}}`))
	if changed.Resource.State != resource.Updating {
		t.Errorf("update: %s", changed.Resource.State)
	}
	w.end <- nil
	_ = w.tree.Operations.Wait(t.Context(), changed.Operation.ID)

	op, err := w.tree.Delete(t.Context(), id, resource.Caller{})
	if err != nil || op == nil {
		t.Fatal(err)
	}
	joined, err := w.tree.Delete(t.Context(), id, resource.Caller{})
	if err != nil || joined.ID != op.ID {
		t.Errorf("a second deletion: %+v %v", joined, err)
	}
	w.end <- nil
	if err := w.tree.Operations.Wait(t.Context(), op.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := w.tree.Get(t.Context(), id); !fault.Is(err, fault.NotFound) {
		t.Errorf("after its deletion: %v", err)
	}
}

func TestPartsGoWithTheirParent(t *testing.T) {
	w := newWorld(t)
	one, ten := w.group.Provider(thingType, "one"), w.group.Provider(thingType, "one0")
	for _, id := range []armid.ID{one, ten, one.Child("parts", "p"), ten.Child("parts", "p")} {
		w.must(w.put(id, `{"location":"here"}`))
	}
	if _, err := w.tree.Delete(t.Context(), one, resource.Caller{}); err != nil {
		t.Fatal(err)
	}
	left, err := w.tree.List(t.Context(), partType, armid.Root)
	if err != nil || len(left) != 1 || !left[0].ID.Equal(ten.Child("parts", "p")) {
		t.Errorf("left: %v %v", left, err)
	}
	if _, err := w.tree.Delete(t.Context(), one, resource.Caller{}); !fault.Is(err, fault.NotFound) {
		t.Errorf("again: %v", err)
	}
}

func TestGroupTakesEverythingWithItAndNothingIsMadeMeanwhile(t *testing.T) {
	w := newWorld(t)
	slow := w.group.Provider(slowType, "slow")
	w.end <- nil
	_ = w.tree.Operations.Wait(t.Context(), w.must(w.put(slow, `{}`)).Operation.ID)
	w.must(w.put(w.group.Provider(thingType, "one"), `{"location":"here"}`))
	other := armid.ResourceGroup("s1", "rg10")
	w.must(w.put(other, `{"location":"here"}`))
	w.must(w.put(other.Provider(thingType, "stays"), `{"location":"here"}`))

	op, err := w.tree.Delete(t.Context(), w.group, resource.Caller{ObjectID: "me"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.put(w.group.Provider(thingType, "late"), `{"location":"here"}`)
	w.code("ResourceGroupBeingDeleted", err)
	w.end <- nil // the slow one's deletion
	if err := w.tree.Operations.Wait(t.Context(), op.ID); err != nil {
		t.Fatal(err)
	}
	for _, id := range []armid.ID{w.group, slow, w.group.Provider(thingType, "one")} {
		if _, err := w.tree.Get(t.Context(), id); !fault.Is(err, fault.NotFound) {
			t.Errorf("%s: %v", id, err)
		}
	}
	if _, err := w.tree.Get(t.Context(), other.Provider(thingType, "stays")); err != nil {
		t.Errorf("the neighbour: %v", err)
	}
}

// The platform's end during a group's deletion must not look like its success.
func TestInterruptedGroupDeletionKeepsTheGroup(t *testing.T) {
	w := newWorld(t)
	slow := w.group.Provider(slowType, "slow")
	w.end <- nil
	_ = w.tree.Operations.Wait(t.Context(), w.must(w.put(slow, `{}`)).Operation.ID)
	op, err := w.tree.Delete(t.Context(), w.group, resource.Caller{ObjectID: "me"})
	if err != nil {
		t.Fatal(err)
	}
	w.tree.Operations.Close()
	if got, err := w.tree.Operations.Get(t.Context(), op.ID); err != nil || got.Status.Done() {
		t.Errorf("the deletion ended: %+v %v", got, err)
	}
	if r, err := w.tree.Get(t.Context(), w.group); err != nil || r.State != resource.Deleting {
		t.Errorf("the group: %+v %v", r, err)
	}
}

func TestNamesAreUniqueAndComeFree(t *testing.T) {
	w := newWorld(t)
	names := w.tree.Names("host")
	one, two := w.group.Provider(thingType, "one"), w.group.Provider(thingType, "two")
	claim := func(id armid.ID, want bool) {
		t.Helper()
		if ok, err := names.Claim(t.Context(), "Shared", id); err != nil || ok != want {
			t.Errorf("%s claims: %t %v", id.Name(), ok, err)
		}
	}
	claim(one, true)
	w.must(w.put(one, `{"location":"here"}`))
	claim(two, false)
	claim(one, true)
	if r, err := names.Find(t.Context(), "sHARED"); err != nil || !r.ID.Equal(one) {
		t.Errorf("find: %v %v", r.ID, err)
	}
	if err := names.Release(t.Context(), "shared", two); err != nil {
		t.Fatal(err)
	}
	claim(two, false) // it was not two's to release
	if _, err := w.tree.Delete(t.Context(), one, resource.Caller{}); err != nil {
		t.Fatal(err)
	}
	if _, err := names.Find(t.Context(), "shared"); !fault.Is(err, fault.NotFound) {
		t.Errorf("a name without its resource: %v", err)
	}
	claim(two, true)
}

func TestAPIVersionsAreTakenFromTheTable(t *testing.T) {
	typ := resource.Type{Name: thingType, APIVersions: []string{"2020-01-01", "2021-03-01-preview", "2022-01-01"}}
	for version, code := range map[string]string{
		"": "MissingApiVersionParameter", "2020-01-01": "", "2021-03-01-PREVIEW": "", "2021-03-01": "NoRegisteredProviderFound", "2019-01-01": "NoRegisteredProviderFound",
		"2022-01-02": "", "2099-12-31-preview": "", "2099-13-31": "NoRegisteredProviderFound", "2022-01-01-preview": "NoRegisteredProviderFound",
		"2099-01-01-alpha": "NoRegisteredProviderFound", "2099-01-01-preview2": "NoRegisteredProviderFound", "latest": "NoRegisteredProviderFound", "99999-01-1": "NoRegisteredProviderFound",
	} {
		err := typ.CheckAPIVersion(version)
		if code == "" && err != nil || code != "" && !fault.HasCode(err, code) {
			t.Errorf("%q: %v, want %q", version, err, code)
		}
	}
}

func TestLinkedAccessIsAskedForBeforeAnythingIsPrepared(t *testing.T) {
	w := newWorld(t)
	linked := armid.MustParse("/subscriptions/s1/resourceGroups/rg1/providers/Lapis.Test/things/other")
	prepared := false
	w.tree.Register(resource.Type{
		Name: "Lapis.Test/linkers",
		Linked: func(*resource.Draft) ([]resource.Access, error) {
			return []resource.Access{{Action: "Lapis.Test/things/use/action", Scope: linked}}, nil
		},
		Prepare: func(context.Context, *resource.Draft) error { prepared = true; return nil },
	})
	id := w.group.Provider("Lapis.Test/linkers", "x")
	refusal := errors.New("no")
	var asked resource.Access
	_, err := w.tree.Put(t.Context(), resource.Put{ID: id, Body: json.RawMessage(`{}`), Authorize: func(a resource.Access) error { asked = a; return refusal }})
	if !errors.Is(err, refusal) || prepared || !asked.Scope.Equal(linked) || asked.Action != "Lapis.Test/things/use/action" {
		t.Errorf("%v, prepared %t, asked %+v", err, prepared, asked)
	}
	if _, err := w.tree.Get(t.Context(), id); !fault.Is(err, fault.NotFound) {
		t.Errorf("it exists: %v", err)
	}
}
