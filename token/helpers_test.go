package token

import (
	"crypto/rand"
	"crypto/sha256"
	"sync/atomic"
	"testing"
	"time"

	"lapis/identity"
	"lapis/secret"
	"lapis/store"
	"lapis/store/memory"
)

const (
	tenant      = "72f988bf-0000-4000-8000-2d7cd011db47"
	otherTenant = "11111111-0000-4000-8000-2d7cd011db47"
	storageAud  = "https://storage.azure.com/"
	uaiID       = "/subscriptions/s1/resourceGroups/RG1/providers/Microsoft.ManagedIdentity/userAssignedIdentities/reader"
	endpointID  = "/subscriptions/s1/resourceGroups/RG1/providers/Microsoft.MachineLearningServices/workspaces/ws1/onlineEndpoints/ep1"
)

func user() identity.Principal {
	return identity.Principal{
		ObjectID: "0a000000-0000-4000-8000-000000000001", ClientID: "0c000000-0000-4000-8000-000000000001",
		TenantID: tenant, Kind: identity.UserAssigned, ResourceID: uaiID,
	}
}

func system() identity.Principal {
	return identity.Principal{
		ObjectID: "0a000000-0000-4000-8000-000000000002", ClientID: "0c000000-0000-4000-8000-000000000002",
		TenantID: tenant, Kind: identity.SystemAssigned, ResourceID: endpointID,
	}
}

func app() identity.Principal {
	return identity.Principal{
		ObjectID: "0a000000-0000-4000-8000-000000000003", ClientID: "0c000000-0000-4000-8000-000000000003",
		TenantID: tenant, Kind: identity.Application,
	}
}

func sealer(t testing.TB) *secret.Sealer {
	t.Helper()
	key := sha256.Sum256([]byte("a master key for tests"))
	s, err := secret.NewSealer(key[:], rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// clock is a hand-set time that the upkeep of the keys may read meanwhile.
type clock struct{ at atomic.Pointer[time.Time] }

func newClock(at time.Time) *clock {
	c := &clock{}
	c.set(at)
	return c
}

func (c *clock) set(at time.Time) { c.at.Store(&at) }
func (c *clock) now() time.Time   { return *c.at.Load() }

type option func(*Config)

func withStore(s store.Store) option           { return func(c *Config) { c.Store = s } }
func withTenant(id string) option              { return func(c *Config) { c.TenantID = id } }
func withNow(now func() time.Time) option      { return func(c *Config) { c.Now = now } }
func withAlive(alive func(string) bool) option { return func(c *Config) { c.Alive = alive } }
func withRotation(every time.Duration) option  { return func(c *Config) { c.RotateEvery = every } }
func everybody(string) bool                    { return true }

func open(t testing.TB, options ...option) *Issuer {
	t.Helper()
	cfg := Config{Store: memory.New(), Sealer: sealer(t), TenantID: tenant, Alive: everybody}
	for _, o := range options {
		o(&cfg)
	}
	i, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(i.Close)
	return i
}

func mint(t testing.TB, i *Issuer, req Request) Token {
	t.Helper()
	if req.Principal.IsZero() {
		req.Principal = user()
	}
	if req.Audience == "" {
		req.Audience = storageAud
	}
	tok, err := i.Token(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}
