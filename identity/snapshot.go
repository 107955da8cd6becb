package identity

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"lapis/armid"
	"lapis/store"
)

// snapshot is the directory at one commit. It is never changed.
type snapshot struct {
	all       []Principal     // by object id, ascending
	versions  []store.Version // of the records of all
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
	old := d.current.Load()
	if old == nil {
		old = &snapshot{}
	}
	var s *snapshot
	err := d.cfg.Store.View(ctx, func(r store.Reader) error {
		records, err := r.List(principalTable, "", "", 0)
		if err != nil {
			return err
		}
		hashes, err := secrets().List(r, "", "", 0)
		if err != nil {
			return err
		}
		s, err = old.next(records, hashes)
		return err
	})
	if err != nil {
		d.current.Store(nil)
		return nil, err
	}
	d.current.Store(s)
	return s, nil
}

// next builds the snapshot that follows s. A record that has the version it had
// in s is not decoded again: that is most of the work.
func (s *snapshot) next(records []store.Record, hashes []store.Entry[hashed]) (*snapshot, error) {
	n := &snapshot{
		all:       make([]Principal, 0, len(records)),
		versions:  make([]store.Version, 0, len(records)),
		objects:   make(map[string]int, len(records)),
		clients:   make(map[string]int, len(records)),
		resources: make(map[string]int, len(records)),
		secrets:   make(map[string]hashed, len(hashes)),
	}
	for i, rec := range records {
		var p Principal
		if at, ok := s.objects[rec.Key]; ok && s.versions[at] == rec.Version {
			p = s.all[at]
		} else if err := json.Unmarshal(rec.Value, &p); err != nil {
			return nil, fmt.Errorf("decoding %s/%s: %w", principalTable, rec.Key, err)
		}
		n.all = append(n.all, p)
		n.versions = append(n.versions, rec.Version)
		n.objects[p.ObjectID] = i
		n.clients[p.ClientID] = i
		if p.ResourceID != "" {
			n.resources[strings.ToLower(p.ResourceID)] = i
		}
	}
	for _, entry := range hashes {
		n.secrets[entry.Key] = entry.Value
	}
	return n, nil
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
