package identity

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"lapis/armid"
	"lapis/fault"
	"lapis/secret"
	"lapis/store"
)

// Config says what a Directory works with.
type Config struct {
	Store    store.Store
	TenantID string           // a UUID
	Rand     io.Reader        // of ids and secrets, safe for use by several callers; nil: crypto/rand
	Now      func() time.Time // nil: time.Now
}

// Directory is the tenant's list of principals, and the only one that changes
// the store's tables of them. Reads look into an index in memory and do not
// wait for the store; who has changed is put right there after each commit,
// before the call that made the change returns.
type Directory struct {
	cfg Config

	looking sync.Mutex // one look at the store at a time, so that an older view never replaces a newer one
	mu      sync.RWMutex
	known   *index // guarded by mu; nil: the last look failed, and the next reader reads everybody
}

// The tables: principals and secrets by object id; the object id of a
// resource's managed identity by the resource's id in lower case.
const (
	principalTable = "identity.principals"
	secretTable    = "identity.secrets"
	resourceTable  = "identity.resources"
)

// Open reads the directory from the store.
func Open(ctx context.Context, cfg Config) (*Directory, error) {
	tenant, err := uuid.Parse(cfg.TenantID)
	if err != nil {
		return nil, fmt.Errorf("tenant id %q is no UUID", cfg.TenantID)
	}
	cfg.TenantID = tenant.String()
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	d := &Directory{cfg: cfg}
	if err := d.load(ctx); err != nil {
		return nil, fmt.Errorf("reading the directory: %w", err)
	}
	return d, nil
}

// Tenant returns the tenant's id, a UUID in lower case.
func (d *Directory) Tenant() string { return d.cfg.TenantID }

// CreateApplication makes an application with a first client secret. This is
// the only time that the secret can be read.
func (d *Directory) CreateApplication(ctx context.Context, name string) (Principal, secret.String, error) {
	if strings.TrimSpace(name) == "" {
		return Principal{}, secret.String{}, fault.E(fault.Invalid, "Request_BadRequest", "An application needs a display name.").At("displayName")
	}
	p, err := d.newPrincipal(Application, name, "")
	if err != nil {
		return Principal{}, secret.String{}, err
	}
	text, hash, err := d.newSecret()
	if err != nil {
		return Principal{}, secret.String{}, err
	}
	err = d.update(ctx, func(tx store.Tx, touch func(string)) error {
		touch(p.ObjectID)
		if _, err := principals().Put(tx, p.ObjectID, p, store.Absent); err != nil {
			return err
		}
		_, err := secrets().Put(tx, p.ObjectID, hash, store.Absent)
		return err
	})
	if err != nil {
		return Principal{}, secret.String{}, err
	}
	return p, text, nil
}

// ResetSecret replaces an application's client secret. The old one stops
// working when the call returns.
func (d *Directory) ResetSecret(ctx context.Context, objectID string) (secret.String, error) {
	text, hash, err := d.newSecret()
	if err != nil {
		return secret.String{}, err
	}
	key := strings.ToLower(objectID)
	err = d.update(ctx, func(tx store.Tx, touch func(string)) error {
		entry, err := principals().Get(tx, key)
		if errors.Is(err, store.ErrNotFound) || err == nil && entry.Value.Kind != Application {
			return notFound("application", objectID)
		}
		if err != nil {
			return err
		}
		touch(key)
		_, err = secrets().Put(tx, key, hash, store.Any)
		return err
	})
	if err != nil {
		return secret.String{}, err
	}
	return text, nil
}

// DeleteApplication removes an application and its secret. Deleting one that
// is not there is no error.
func (d *Directory) DeleteApplication(ctx context.Context, objectID string) error {
	key := strings.ToLower(objectID)
	return d.update(ctx, func(tx store.Tx, touch func(string)) error {
		touch(key) // even if it is gone: another call may not have looked yet
		entry, err := principals().Get(tx, key)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if entry.Value.Kind != Application {
			return notFound("application", objectID)
		}
		if err := secrets().Delete(tx, key, store.Any); err != nil {
			return err
		}
		return principals().Delete(tx, key, store.Any)
	})
}

// EnsureManaged returns the managed identity of the resource and makes it
// where there is none. The kind of one that exists must be the same.
func (d *Directory) EnsureManaged(ctx context.Context, kind Kind, resourceID, displayName string) (Principal, error) {
	if !kind.Managed() {
		return Principal{}, fault.E(fault.Invalid, "InvalidIdentityType", "%q is no kind of managed identity.", kind).At("type")
	}
	id, err := resource(resourceID)
	if err != nil {
		return Principal{}, err
	}
	if p, ok := d.ByResource(resourceID); ok {
		return sameKind(p, kind)
	}
	fresh, err := d.newPrincipal(kind, displayName, id.String())
	if err != nil {
		return Principal{}, err
	}
	got := fresh
	err = d.update(ctx, func(tx store.Tx, touch func(string)) error {
		got = fresh
		owner, err := owners().Get(tx, id.Key())
		if err == nil { // somebody else came first, perhaps a moment ago
			touch(owner.Value)
			entry, err := principals().Get(tx, owner.Value)
			got = entry.Value
			return err
		}
		if !errors.Is(err, store.ErrNotFound) {
			return err
		}
		touch(fresh.ObjectID)
		if _, err := owners().Put(tx, id.Key(), fresh.ObjectID, store.Absent); err != nil {
			return err
		}
		_, err = principals().Put(tx, fresh.ObjectID, fresh, store.Absent)
		return err
	})
	if err != nil {
		return Principal{}, err
	}
	return sameKind(got, kind)
}

// DeleteManaged removes the managed identity of the resource. Its tokens are
// refused from then on. Deleting one that is not there is no error.
func (d *Directory) DeleteManaged(ctx context.Context, resourceID string) error {
	id, err := resource(resourceID)
	if err != nil {
		return err
	}
	last, had := d.ByResource(resourceID)
	return d.update(ctx, func(tx store.Tx, touch func(string)) error {
		owner, err := owners().Get(tx, id.Key())
		if errors.Is(err, store.ErrNotFound) {
			if had { // another call has deleted it, and may not have looked yet
				touch(last.ObjectID)
			}
			return nil
		}
		if err != nil {
			return err
		}
		touch(owner.Value)
		if err := owners().Delete(tx, id.Key(), store.Any); err != nil {
			return err
		}
		return principals().Delete(tx, owner.Value, store.Any)
	})
}

func (d *Directory) newPrincipal(kind Kind, name, resourceID string) (Principal, error) {
	object, err := uuid.NewRandomFromReader(d.cfg.Rand)
	if err != nil {
		return Principal{}, fmt.Errorf("drawing an object id: %w", err)
	}
	client, err := uuid.NewRandomFromReader(d.cfg.Rand)
	if err != nil {
		return Principal{}, fmt.Errorf("drawing a client id: %w", err)
	}
	return Principal{
		ObjectID: object.String(), ClientID: client.String(), TenantID: d.cfg.TenantID,
		Kind: kind, DisplayName: name, ResourceID: resourceID, CreatedAt: d.cfg.Now().UTC(),
	}, nil
}

func principals() store.Table[Principal] { return store.Table[Principal]{Name: principalTable} }
func secrets() store.Table[hashed]       { return store.Table[hashed]{Name: secretTable} }
func owners() store.Table[string]        { return store.Table[string]{Name: resourceTable} }

func resource(text string) (armid.ID, error) {
	id, err := armid.Parse(text)
	if err != nil {
		return armid.ID{}, fault.E(fault.Invalid, "InvalidResourceId", "%w", err).At("resourceId")
	}
	if !id.IsResource() {
		return armid.ID{}, fault.E(fault.Invalid, "InvalidResourceId", "%q is no resource, so it cannot carry an identity.", text).At("resourceId")
	}
	return id, nil
}

func sameKind(p Principal, kind Kind) (Principal, error) {
	if p.Kind != kind {
		return Principal{}, fault.E(fault.Conflict, "Conflict", "%s carries a %s identity, not a %s one.", p.ResourceID, p.Kind, kind)
	}
	return p, nil
}

func notFound(what, objectID string) *fault.Error {
	return fault.E(fault.NotFound, "Request_ResourceNotFound", "The %s with object id %q does not exist.", what, objectID)
}
