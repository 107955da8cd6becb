package registry

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"

	"crypto/rand"

	"cuelabs.dev/go/oci/ociregistry"

	"lapis/armid"
	"lapis/content"
	"lapis/fault"
	"lapis/secret"
	"lapis/store"
)

// Registry is a container registry as its resource describes it.
type Registry struct {
	Name        string   // the resource's name; two names that differ in case are one
	ID          armid.ID // where roles are looked up
	LoginServer string   // such as contoso.azurecr.io; tokens are bound to it
	Tenant      string   // the tenant whose tokens are exchanged
}

// Config is what a [Service] works with.
type Config struct {
	Store   store.Store
	Content content.Store
	Sealer  *secret.Sealer // for the key that signs the registry's tokens
	Log     *slog.Logger
	Now     func() time.Time // nil: the real clock
	Rand    io.Reader        // nil: crypto/rand
}

// Service keeps the data of all registries. It checks no permissions.
type Service struct {
	store   store.Store
	content content.Store
	log     *slog.Logger
	now     func() time.Time
	rand    io.Reader
	tokens  *tokens
	uploads *uploads

	// life is held for reading by everything that adds data, and for writing
	// while a registry is removed. born counts the removals of each name, so
	// that a request that began before a removal adds nothing after it.
	life sync.RWMutex
	born map[string]uint64

	// contents orders commit-then-record against unrecord-then-delete of the
	// same layer.
	contents [64]sync.Mutex
}

// New returns the service, with the signing key of an earlier run or a new one.
func New(ctx context.Context, cfg Config) (*Service, error) {
	if cfg.Store == nil || cfg.Content == nil || cfg.Sealer == nil {
		return nil, errors.New("registry: Store, Content and Sealer must be set")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	tokens, err := openTokens(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return &Service{
		store: cfg.Store, content: cfg.Content, log: cfg.Log, now: cfg.Now, rand: cfg.Rand,
		tokens: tokens, uploads: newUploads(), born: map[string]uint64{},
	}, nil
}

// Close drops the unfinished uploads.
func (s *Service) Close() { s.uploads.dropAll(func(*upload) bool { return true }) }

// Open returns the named registry without any check of permissions, for the
// platform's own use. The value is good until the registry is removed.
func (s *Service) Open(name string) ociregistry.Interface { return s.open(name) }

func (s *Service) open(name string) *backend {
	name = strings.ToLower(name)
	s.life.RLock()
	defer s.life.RUnlock()
	return &backend{s: s, registry: name, born: s.born[name]}
}

// DeleteRegistry removes everything of a registry. A registry that has nothing
// is no error, so an interrupted removal can be repeated.
func (s *Service) DeleteRegistry(ctx context.Context, name string) error {
	name = strings.ToLower(name)
	if name == "" || strings.Contains(name, "/") {
		return fault.E(fault.Invalid, "InvalidResourceName", "%q is no name of a container registry.", name)
	}
	if err := s.deleteRecords(ctx, name); err != nil {
		return fmt.Errorf("removing the records of registry %s: %w", name, err)
	}
	_, err := s.sweepContent(ctx, contentPrefix(name))
	return err
}

func (s *Service) deleteRecords(ctx context.Context, name string) error {
	s.life.Lock()
	defer s.life.Unlock()
	s.born[name]++
	s.uploads.dropAll(func(u *upload) bool { return u.registry == name })
	return s.store.Update(ctx, func(tx store.Tx) error {
		for _, table := range registryTables() {
			recs, err := tx.List(table, name+"/", "", 0)
			if err != nil {
				return err
			}
			for _, rec := range recs {
				if err := tx.Delete(table, rec.Key, store.Any); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// lockContent serializes changes of one layer of one registry.
func (s *Service) lockContent(registry string, digest ociregistry.Digest) (unlock func()) {
	h := fnv.New32a()
	_, _ = io.WriteString(h, registry+"/"+string(digest))
	m := &s.contents[h.Sum32()%uint32(len(s.contents))]
	m.Lock()
	return m.Unlock
}

// held reports whether any repository holds the layer.
func held(r store.Reader, registry string, digest ociregistry.Digest) (bool, error) {
	recs, err := r.List(tableHolders, registry+"/"+string(digest)+"@", "", 1)
	return len(recs) > 0, err
}
