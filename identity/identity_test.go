package identity_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lapis/fault"
	"lapis/identity"
	"lapis/store"
	"lapis/store/memory"
	"lapis/store/sqlite"
)

const (
	tenant   = "72f988bf-0000-4000-8000-2d7cd011db47"
	uai      = "/subscriptions/s1/resourceGroups/rg1/providers/Microsoft.ManagedIdentity/userAssignedIdentities/reader"
	endpoint = "/subscriptions/s1/resourceGroups/rg1/providers/Microsoft.MachineLearningServices/workspaces/ws1/onlineEndpoints/ep1"
)

func open(t *testing.T, st store.Store) *identity.Directory {
	t.Helper()
	d, err := identity.Open(t.Context(), identity.Config{Store: st, TenantID: tenant})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestApplicationAuthenticatesWithItsSecretOnly(t *testing.T) {
	d := open(t, memory.New())
	app, secret, err := d.CreateApplication(t.Context(), "owner")
	if err != nil {
		t.Fatal(err)
	}
	other, otherSecret, err := d.CreateApplication(t.Context(), "other")
	if err != nil {
		t.Fatal(err)
	}
	managed, err := d.EnsureManaged(t.Context(), identity.UserAssigned, uai, "reader")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, id, secret, code string
	}{
		{"right", app.ClientID, secret.Reveal(), ""},
		{"client id in upper case", strings.ToUpper(app.ClientID), secret.Reveal(), ""},
		{"other application", other.ClientID, otherSecret.Reveal(), ""},
		{"secret of another", app.ClientID, otherSecret.Reveal(), "AADSTS7000215"},
		{"empty secret", app.ClientID, "", "AADSTS7000215"},
		{"secret with a space", app.ClientID, secret.Reveal() + " ", "AADSTS7000215"},
		{"secret cut short", app.ClientID, secret.Reveal()[:42], "AADSTS7000215"},
		{"object id instead of client id", app.ObjectID, secret.Reveal(), "AADSTS700016"},
		{"unknown application", tenant, secret.Reveal(), "AADSTS700016"},
		{"no client id", "", secret.Reveal(), "AADSTS700016"},
		{"managed identity", managed.ClientID, "", "AADSTS700016"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := d.Authenticate(t.Context(), tc.id, tc.secret)
			if tc.code == "" {
				if err != nil || got.ClientID != strings.ToLower(tc.id) {
					t.Fatalf("got %v, %v", got, err)
				}
				return
			}
			if !fault.Is(err, fault.Unauthenticated) || !fault.HasCode(err, tc.code) {
				t.Fatalf("got %v, want %s", err, tc.code)
			}
			if tc.secret != "" && strings.Contains(err.Error(), tc.secret) {
				t.Fatalf("error shows the secret: %v", err)
			}
		})
	}
}

func TestResetSecretEndsTheOldOne(t *testing.T) {
	d := open(t, memory.New())
	app, old, err := d.CreateApplication(t.Context(), "owner")
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := d.ResetSecret(t.Context(), app.ObjectID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Authenticate(t.Context(), app.ClientID, old.Reveal()); !fault.HasCode(err, "AADSTS7000215") {
		t.Errorf("old secret: %v", err)
	}
	if _, err := d.Authenticate(t.Context(), app.ClientID, fresh.Reveal()); err != nil {
		t.Errorf("new secret: %v", err)
	}
	managed, err := d.EnsureManaged(t.Context(), identity.UserAssigned, uai, "reader")
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"nobody", managed.ObjectID} {
		if _, err := d.ResetSecret(t.Context(), id); !fault.Is(err, fault.NotFound) {
			t.Errorf("reset of %s: %v", id, err)
		}
	}
}

func TestDeletedApplicationIsUnknownAtOnce(t *testing.T) {
	d := open(t, memory.New())
	app, secret, err := d.CreateApplication(t.Context(), "owner")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // twice: the second is no error
		if err := d.DeleteApplication(t.Context(), app.ObjectID); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := d.Authenticate(t.Context(), app.ClientID, secret.Reveal()); !fault.HasCode(err, "AADSTS700016") {
		t.Errorf("got %v", err)
	}
	if d.Alive(app.ObjectID) {
		t.Error("alive after its deletion")
	}
	managed, err := d.EnsureManaged(t.Context(), identity.UserAssigned, uai, "reader")
	if err != nil {
		t.Fatal(err)
	}
	if err := d.DeleteApplication(t.Context(), managed.ObjectID); !fault.Is(err, fault.NotFound) {
		t.Errorf("deleting a managed identity as an application: %v", err)
	}
}

func TestManagedIdentityIsOnePerResourceWhateverTheCase(t *testing.T) {
	d := open(t, memory.New())
	first, err := d.EnsureManaged(t.Context(), identity.UserAssigned, uai, "reader")
	if err != nil {
		t.Fatal(err)
	}
	if first.ResourceID != uai || first.Kind != identity.UserAssigned || first.TenantID != tenant || first.ClientID == first.ObjectID {
		t.Errorf("got %+v", first)
	}
	for _, id := range []string{uai, strings.ToLower(uai), strings.ToUpper(uai), uai + "/"} {
		again, err := d.EnsureManaged(t.Context(), identity.UserAssigned, id, "reader")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(first, again); diff != "" {
			t.Errorf("%s gives another principal:\n%s", id, diff)
		}
		if got, ok := d.ByResource(id); !ok || got.ObjectID != first.ObjectID {
			t.Errorf("ByResource(%s) = %v, %v", id, got, ok)
		}
	}
	if _, err := d.EnsureManaged(t.Context(), identity.SystemAssigned, uai, "reader"); !fault.Is(err, fault.Conflict) {
		t.Errorf("other kind: %v", err)
	}
}

func TestManagedIdentityMadeAgainIsAnotherPrincipal(t *testing.T) {
	d := open(t, memory.New())
	first, err := d.EnsureManaged(t.Context(), identity.SystemAssigned, endpoint, "ep1")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := d.DeleteManaged(t.Context(), strings.ToUpper(endpoint)); err != nil {
			t.Fatal(err)
		}
		if d.Alive(first.ObjectID) {
			t.Fatal("alive after its deletion")
		}
	}
	if _, ok := d.ByResource(endpoint); ok {
		t.Error("the resource still carries an identity")
	}
	second, err := d.EnsureManaged(t.Context(), identity.SystemAssigned, endpoint, "ep1")
	if err != nil {
		t.Fatal(err)
	}
	if second.ObjectID == first.ObjectID || second.ClientID == first.ClientID {
		t.Errorf("an id came back: %+v, %+v", first, second)
	}
	if d.Alive(first.ObjectID) || !d.Alive(second.ObjectID) {
		t.Error("the old principal lives or the new one does not")
	}
}

func TestBadResourceIdsAreRefused(t *testing.T) {
	d := open(t, memory.New())
	for _, id := range []string{"", "reader", "/", "/subscriptions/s1", "/subscriptions/s1/resourceGroups/rg1", uai + "/..", uai + "?x"} {
		if _, err := d.EnsureManaged(t.Context(), identity.UserAssigned, id, "x"); !fault.Is(err, fault.Invalid) {
			t.Errorf("EnsureManaged(%q) = %v", id, err)
		}
		if err := d.DeleteManaged(t.Context(), id); !fault.Is(err, fault.Invalid) {
			t.Errorf("DeleteManaged(%q) = %v", id, err)
		}
	}
	for _, kind := range []identity.Kind{identity.Application, identity.User, ""} {
		if _, err := d.EnsureManaged(t.Context(), kind, uai, "x"); !fault.Is(err, fault.Invalid) {
			t.Errorf("kind %q: %v", kind, err)
		}
	}
	if _, _, err := d.CreateApplication(t.Context(), " "); !fault.Is(err, fault.Invalid) {
		t.Errorf("application without a name: %v", err)
	}
}

func TestSimultaneousEnsureGivesOnePrincipal(t *testing.T) {
	d := open(t, memory.New())
	const callers = 64
	ids := make([]string, callers)
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			p, err := d.EnsureManaged(context.Background(), identity.UserAssigned, uai, "reader")
			if err != nil {
				t.Error(err)
			}
			ids[i] = p.ObjectID
		})
	}
	wg.Wait()
	for _, id := range ids {
		if id != ids[0] {
			t.Fatalf("two principals: %s, %s", ids[0], id)
		}
	}
	if n := len(d.List()); n != 1 {
		t.Errorf("%d principals", n)
	}
}

func TestRestartFindsEverybody(t *testing.T) {
	st := memory.New()
	d := open(t, st)
	app, secret, err := d.CreateApplication(t.Context(), "owner")
	if err != nil {
		t.Fatal(err)
	}
	managed, err := d.EnsureManaged(t.Context(), identity.UserAssigned, uai, "reader")
	if err != nil {
		t.Fatal(err)
	}
	again := open(t, st)
	if diff := cmp.Diff(d.List(), again.List()); diff != "" {
		t.Error(diff)
	}
	if _, err := again.Authenticate(t.Context(), app.ClientID, secret.Reveal()); err != nil {
		t.Error(err)
	}
	if got, ok := again.ByResource(uai); !ok || got != managed {
		t.Errorf("got %v, %v", got, ok)
	}
	if got, ok := again.ByClientID(strings.ToUpper(managed.ClientID)); !ok || got != managed {
		t.Errorf("got %v, %v", got, ok)
	}
}

func TestStoreHoldsNoClientSecret(t *testing.T) {
	st := memory.New()
	d := open(t, st)
	app, first, err := d.CreateApplication(t.Context(), "owner")
	if err != nil {
		t.Fatal(err)
	}
	second, err := d.ResetSecret(t.Context(), app.ObjectID)
	if err != nil {
		t.Fatal(err)
	}
	err = st.View(t.Context(), func(r store.Reader) error {
		for _, table := range []string{"identity.principals", "identity.secrets", "identity.resources"} {
			recs, err := r.List(table, "", "", 0)
			if err != nil {
				return err
			}
			for _, rec := range recs {
				if bytes.Contains(rec.Value, []byte(first.Reveal())) || bytes.Contains(rec.Value, []byte(second.Reveal())) {
					t.Errorf("%s/%s holds a client secret", table, rec.Key)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// brokenView fails to read while broken is set.
type brokenView struct {
	store.Store
	mu     sync.Mutex
	broken bool
}

func (b *brokenView) View(ctx context.Context, fn func(store.Reader) error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.broken {
		return errors.New("disk on fire")
	}
	return b.Store.View(ctx, fn)
}

func (b *brokenView) set(broken bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.broken = broken
}

func TestUnreadableStoreTrustsNobody(t *testing.T) {
	st := &brokenView{Store: memory.New()}
	d := open(t, st)
	p, err := d.EnsureManaged(t.Context(), identity.UserAssigned, uai, "reader")
	if err != nil {
		t.Fatal(err)
	}
	st.set(true)
	if err := d.DeleteManaged(t.Context(), uai); err != nil {
		t.Fatal(err)
	}
	if d.Alive(p.ObjectID) {
		t.Error("a deleted identity is alive because the list could not be read")
	}
	st.set(false)
	q, err := d.EnsureManaged(t.Context(), identity.UserAssigned, uai, "reader")
	if err != nil {
		t.Fatal(err)
	}
	if !d.Alive(q.ObjectID) || d.Alive(p.ObjectID) {
		t.Error("the list did not recover")
	}
}

func TestBadTenantIsRefused(t *testing.T) {
	if _, err := identity.Open(t.Context(), identity.Config{Store: memory.New(), TenantID: "contoso"}); err == nil {
		t.Error("opened")
	}
}

func TestNowAndRandAreUsed(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	build := func() string {
		d, err := identity.Open(t.Context(), identity.Config{
			Store: memory.New(), TenantID: strings.ToUpper(tenant),
			Rand: strings.NewReader(strings.Repeat("0123456789abcdef", 8)), Now: func() time.Time { return at },
		})
		if err != nil {
			t.Fatal(err)
		}
		p, secret, err := d.CreateApplication(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		if d.Tenant() != tenant || !p.CreatedAt.Equal(at) {
			t.Errorf("got %v", p)
		}
		return fmt.Sprint(p, secret.Reveal())
	}
	if a, b := build(), build(); a != b {
		t.Errorf("%s\n%s", a, b)
	}
}

// What a change costs does not depend on how many others there are.
func BenchmarkEnsureManaged(b *testing.B) {
	for _, others := range []int{100, 10_000} {
		st, err := sqlite.Open(filepath.Join(b.TempDir(), "store"))
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = st.Close() })
		err = st.Update(b.Context(), func(tx store.Tx) error {
			for n := range others {
				p := identity.Principal{ObjectID: fmt.Sprintf("o%d", n), ClientID: fmt.Sprintf("c%d", n), ResourceID: fmt.Sprint(uai, n), Kind: identity.UserAssigned}
				if _, err := (store.Table[identity.Principal]{Name: "identity.principals"}).Put(tx, p.ObjectID, p, store.Absent); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
		d, err := identity.Open(b.Context(), identity.Config{Store: st, TenantID: tenant})
		if err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprintf("make and delete among %d", others), func(b *testing.B) {
			for b.Loop() {
				if _, err := d.EnsureManaged(b.Context(), identity.UserAssigned, uai, "x"); err != nil {
					b.Fatal(err)
				}
				if err := d.DeleteManaged(b.Context(), uai); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("alive among %d", others), func(b *testing.B) {
			for b.Loop() {
				if !d.Alive("o7") {
					b.Fatal("dead")
				}
			}
		})
	}
}

// countingStore counts the records that are read from it.
type countingStore struct {
	store.Store
	read atomic.Int64
}

func (c *countingStore) View(ctx context.Context, fn func(store.Reader) error) error {
	return c.Store.View(ctx, func(r store.Reader) error { return fn(countingReader{r, c}) })
}

type countingReader struct {
	store.Reader
	counted *countingStore
}

func (r countingReader) Get(table, key string) (store.Record, error) {
	r.counted.read.Add(1)
	return r.Reader.Get(table, key)
}

func (r countingReader) List(table, prefix, after string, limit int) ([]store.Record, error) {
	list, err := r.Reader.List(table, prefix, after, limit)
	r.counted.read.Add(int64(len(list)))
	return list, err
}

func TestChangeReadsNobodyButThoseWhoChanged(t *testing.T) {
	st := &countingStore{Store: memory.New()}
	d := open(t, st)
	id := func(n int) string { return fmt.Sprint(endpoint, n) }
	for n := range 300 {
		if _, err := d.EnsureManaged(t.Context(), identity.SystemAssigned, id(n), "ep"); err != nil {
			t.Fatal(err)
		}
	}
	for what, change := range map[string]func() error{
		"make": func() error {
			_, err := d.EnsureManaged(t.Context(), identity.SystemAssigned, id(1000), "ep")
			return err
		},
		"delete":      func() error { return d.DeleteManaged(t.Context(), id(7)) },
		"application": func() error { _, _, err := d.CreateApplication(t.Context(), "one"); return err },
	} {
		before := st.read.Load()
		if err := change(); err != nil {
			t.Fatal(err)
		}
		if n := st.read.Load() - before; n > 4 {
			t.Errorf("%s: %d records were read among 300 principals", what, n)
		}
	}
	if _, ok := d.ByResource(id(1000)); !ok || len(d.List()) != 301 {
		t.Errorf("%v, %d principals", ok, len(d.List()))
	}
}

// Whoever asks while others are made and deleted sees each of them from the
// return of the call that made it to the return of the one that deleted it.
func TestReadersSeeEveryChangeAtOnce(t *testing.T) {
	d := open(t, memory.New())
	var all sync.WaitGroup
	for worker := range 8 {
		all.Go(func() {
			for round := range 50 {
				id := fmt.Sprint(endpoint, worker)
				p, err := d.EnsureManaged(context.Background(), identity.SystemAssigned, id, "ep")
				if err != nil || !d.Alive(p.ObjectID) {
					t.Errorf("round %d: made, and not alive: %v", round, err)
					return
				}
				if got, ok := d.ByResource(id); !ok || got != p {
					t.Errorf("round %d: the resource carries %v", round, got)
				}
				if err := d.DeleteManaged(context.Background(), id); err != nil || d.Alive(p.ObjectID) {
					t.Errorf("round %d: deleted, and alive: %v", round, err)
				}
				if _, ok := d.ByClientID(p.ClientID); ok {
					t.Errorf("round %d: deleted, and found", round)
				}
			}
		})
	}
	all.Wait()
	if left := d.List(); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}
