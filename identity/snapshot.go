package identity

import (
	"context"
	"strings"

	"lapis/armid"
	"lapis/store"
)

// snapshot is the directory at one commit. It is never changed.
type snapshot struct {
	all       []Principal // by object id, ascending
	objects   map[string]int
	clients   map[string]int
	resources map[string]int
	secrets   map[string]hashed
}

// snapshot returns the newest one. Where the store cannot be read it returns
// an empty one: better to know nobody than to trust somebody deleted.
func (d *Directory) snapshot() *snapshot {
	if s := d.current.Load(); s != nil {
		return s
	}
	s, err := d.refresh(context.Background())
	if err != nil {
		return &snapshot{}
	}
	return s
}

func (d *Directory) refresh(ctx context.Context) (*snapshot, error) {
	d.refreshing.Lock()
	defer d.refreshing.Unlock()
	var s *snapshot
	err := d.cfg.Store.View(ctx, func(r store.Reader) error {
		people, err := principals().List(r, "", "", 0)
		if err != nil {
			return err
		}
		hashes, err := secrets().List(r, "", "", 0)
		if err != nil {
			return err
		}
		s = index(people, hashes)
		return nil
	})
	if err != nil {
		d.current.Store(nil)
		return nil, err
	}
	d.current.Store(s)
	return s, nil
}

func index(people []store.Entry[Principal], hashes []store.Entry[hashed]) *snapshot {
	s := &snapshot{
		all:       make([]Principal, 0, len(people)),
		objects:   make(map[string]int, len(people)),
		clients:   make(map[string]int, len(people)),
		resources: make(map[string]int, len(people)),
		secrets:   make(map[string]hashed, len(hashes)),
	}
	for i, entry := range people {
		p := entry.Value
		s.all = append(s.all, p)
		s.objects[p.ObjectID] = i
		s.clients[p.ClientID] = i
		if p.ResourceID != "" {
			s.resources[strings.ToLower(p.ResourceID)] = i
		}
	}
	for _, entry := range hashes {
		s.secrets[entry.Key] = entry.Value
	}
	return s
}

func (s *snapshot) find(index map[string]int, key string) (Principal, bool) {
	i, ok := index[key]
	if !ok {
		return Principal{}, false
	}
	return s.all[i], true
}

func (s *snapshot) byClient(clientID string) (Principal, bool) {
	return s.find(s.clients, strings.ToLower(clientID))
}

// ByObjectID finds a principal; the case of the id does not matter.
func (d *Directory) ByObjectID(objectID string) (Principal, bool) {
	s := d.snapshot()
	return s.find(s.objects, strings.ToLower(objectID))
}

// ByClientID finds a principal; the case of the id does not matter.
func (d *Directory) ByClientID(clientID string) (Principal, bool) {
	return d.snapshot().byClient(clientID)
}

// ByResource finds the managed identity that a resource carries.
func (d *Directory) ByResource(resourceID string) (Principal, bool) {
	id, err := armid.Parse(resourceID)
	if err != nil {
		return Principal{}, false
	}
	s := d.snapshot()
	return s.find(s.resources, id.Key())
}

// Alive reports whether the principal exists now.
func (d *Directory) Alive(objectID string) bool {
	_, ok := d.ByObjectID(objectID)
	return ok
}

// List returns all principals in the order of their object ids.
func (d *Directory) List() []Principal {
	return append([]Principal(nil), d.snapshot().all...)
}
