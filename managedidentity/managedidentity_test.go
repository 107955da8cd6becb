package managedidentity_test

import (
	"crypto/rand"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"time"

	"lapis/armid"
	"lapis/fault"
	"lapis/identity"
	"lapis/managedidentity"
	"lapis/operation"
	"lapis/resource"
	"lapis/store/memory"
)

const tenant = "72f988bf-0000-4000-8000-2d7cd011db47"

func newTree(t *testing.T) (*resource.Tree, *identity.Directory) {
	t.Helper()
	st := memory.New()
	directory, err := identity.Open(t.Context(), identity.Config{Store: st, TenantID: tenant})
	if err != nil {
		t.Fatal(err)
	}
	runner := operation.New(operation.Config{Store: st, Now: time.Now, Rand: rand.Reader, Log: slog.New(slog.DiscardHandler)})
	t.Cleanup(runner.Close)
	tree := resource.NewTree(resource.Config{Store: st, Operations: runner, Subscription: "s1", Now: time.Now, Rand: rand.Reader})
	tree.Register(resource.Group(), managedidentity.Type(directory))
	put(t, tree, armid.ResourceGroup("s1", "rg1"))
	return tree, directory
}

func put(t *testing.T, tree *resource.Tree, id armid.ID) resource.Shown {
	t.Helper()
	changed, err := tree.Put(t.Context(), resource.Put{ID: id, Body: json.RawMessage(`{"location":"here","properties":{"principalId":"mine","isolationScope":"Regional"},"identity":{"type":"SystemAssigned"}}`)})
	if err != nil {
		t.Fatal(err)
	}
	shown, err := tree.Show(t.Context(), changed.Resource)
	if err != nil {
		t.Fatal(err)
	}
	return shown
}

func TestIdentityHasOnePrincipalForItsLife(t *testing.T) {
	tree, directory := newTree(t)
	id := armid.ResourceGroup("s1", "rg1").Provider(managedidentity.TypeName, "Reader_1")
	first := put(t, tree, id)
	principal, _ := first.Properties["principalId"].(string)
	p, ok := directory.ByObjectID(principal)
	if !ok || p.ClientID != first.Properties["clientId"] || first.Properties["tenantId"] != tenant || p.Kind != identity.UserAssigned || first.Properties["isolationScope"] != "Regional" || first.Identity != nil {
		t.Fatalf("%+v, %+v", first, p)
	}
	again := put(t, tree, armid.MustParse(strings.ToUpper(id.String())))
	if again.Properties["principalId"] != principal {
		t.Errorf("a second PUT made another principal: %v", again.Properties)
	}
	if _, err := tree.Delete(t.Context(), id, resource.Caller{}); err != nil {
		t.Fatal(err)
	}
	if directory.Alive(principal) {
		t.Error("the principal outlives its resource")
	}
	if _, err := tree.Get(t.Context(), id); !fault.Is(err, fault.NotFound) {
		t.Errorf("after its deletion: %v", err)
	}
	if next := put(t, tree, id); next.Properties["principalId"] == principal || next.Properties["clientId"] == first.Properties["clientId"] {
		t.Errorf("made again it has its predecessor's ids: %v", next.Properties)
	}
}

// A deletion that the platform's end cut between principal and record goes on.
func TestHalfDeletedIdentityCanBeDeletedAndMadeAgain(t *testing.T) {
	tree, directory := newTree(t)
	id := armid.ResourceGroup("s1", "rg1").Provider(managedidentity.TypeName, "half")
	put(t, tree, id)
	if err := directory.DeleteManaged(t.Context(), id.String()); err != nil {
		t.Fatal(err)
	}
	r, err := tree.Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if shown, err := tree.Show(t.Context(), r); err != nil || shown.Properties["principalId"] != nil {
		t.Errorf("shown with a principal that is not: %v %v", shown.Properties, err)
	}
	if _, err := tree.Delete(t.Context(), id, resource.Caller{}); err != nil {
		t.Fatal(err)
	}
	if shown := put(t, tree, id); shown.Properties["principalId"] == "" {
		t.Error("no principal")
	}
}

func TestNamesOfIdentitiesAreChecked(t *testing.T) {
	tree, _ := newTree(t)
	for name, good := range map[string]bool{
		"abc": true, "a-b_c9": true, "9ab": true, "ab": false, "-abc": false, "_abc": false, "a.b": false, "a b": false,
		strings.Repeat("a", 128): true, strings.Repeat("a", 129): false,
	} {
		id := armid.ResourceGroup("s1", "rg1").Provider(managedidentity.TypeName, name)
		_, err := tree.Put(t.Context(), resource.Put{ID: id, Body: json.RawMessage(`{"location":"here"}`)})
		if good != (err == nil) || err != nil && !fault.Is(err, fault.Invalid) {
			t.Errorf("%q: %v", name, err)
		}
	}
}
