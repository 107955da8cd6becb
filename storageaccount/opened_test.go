package storageaccount_test

import (
	"context"
	"strings"
	"sync"
	"testing"

	"lapis/fault"
	"lapis/resource"
	"lapis/store"
)

// views counts the views of a store.
type views struct {
	store.Store
	mu sync.Mutex
	n  int
}

func (v *views) View(ctx context.Context, fn func(store.Reader) error) error {
	v.mu.Lock()
	v.n++
	v.mu.Unlock()
	return v.Store.View(ctx, fn)
}

func (v *views) reset() (n int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	n, v.n = v.n, 0
	return n
}

func TestAccountIsReadOnceBetweenChanges(t *testing.T) {
	w := newWorld(t)
	w.put(w.id("one"), body)
	st := &views{Store: w.store}
	w.tree.Store = st
	for _, name := range []string{"one", "ONE", "one"} {
		if a, err := w.svc.Find(t.Context(), name); err != nil || a.Name != "one" {
			t.Fatal(a, err)
		}
	}
	if n := st.reset(); n > 2 {
		t.Errorf("three requests read the store %d times", n)
	}
	for range 2 {
		if _, err := w.svc.Find(t.Context(), "none"); !fault.Is(err, fault.NotFound) {
			t.Errorf("another account: %v", err)
		}
	}
}

func TestEveryChangeOfAnAccountCountsAtOnce(t *testing.T) {
	w := newWorld(t)
	id := w.id("one")
	w.put(id, body)
	find := func() (keys [2]string, shared bool, delegation string) {
		t.Helper()
		a, err := w.svc.Find(t.Context(), "one")
		if err != nil {
			t.Fatal(err)
		}
		return [2]string{a.Keys[0].Reveal(), a.Keys[1].Reveal()}, a.AllowSharedKey, a.Delegation.Reveal()
	}
	before, shared, delegation := find()
	if !shared {
		t.Fatal("keys are not allowed")
	}
	renewed, err := w.act("regenerateKey", id, `{"keyName":"key2"}`)
	if err != nil {
		t.Fatal(err)
	}
	if keys, _, _ := find(); keys != keysOf(renewed) || keys == before {
		t.Error("the former key is still the account's")
	}
	if _, err := w.act("revokeUserDelegationKeys", id, ``); err != nil {
		t.Fatal(err)
	}
	if _, _, now := find(); now == delegation {
		t.Error("user delegation keys are not revoked")
	}
	for _, allow := range []string{"false", "true", "false"} {
		w.put(id, strings.Replace(body, "}}", `},"properties":{"allowSharedKeyAccess":`+allow+`}}`, 1))
		if _, shared, _ := find(); shared != (allow == "true") {
			t.Errorf("allowSharedKeyAccess %s: %v", allow, shared)
		}
	}
	if _, err := w.tree.Delete(t.Context(), id, resource.Caller{}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.svc.Find(t.Context(), "one"); !fault.Is(err, fault.NotFound) {
		t.Errorf("deleted, and found: %v", err)
	}
	w.put(id, body)
	if keys, _, _ := find(); keys == before {
		t.Error("its successor has its keys")
	}
}

// Requests go on while keys change: none that begins after a change has
// returned may be given the keys of before.
func TestNoRequestKeepsAFormerKeyAlive(t *testing.T) {
	w := newWorld(t)
	id := w.id("one")
	w.put(id, body)
	ctx, cancel := context.WithCancel(t.Context())
	var others sync.WaitGroup
	for range 4 {
		others.Go(func() {
			for ctx.Err() == nil {
				if _, err := w.svc.Find(context.Background(), "one"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 300 {
		renewed, err := w.act("regenerateKey", id, `{"keyName":"key1"}`)
		if err != nil {
			t.Fatal(err)
		}
		a, err := w.svc.Find(t.Context(), "one")
		if err != nil || a.Keys[0].Reveal() != keysOf(renewed)[0] {
			t.Fatalf("the former key is still the account's: %v", err)
		}
	}
	cancel()
	others.Wait()
}
