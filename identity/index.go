package identity

import (
	"context"
	"errors"
	"slices"
	"strings"

	"lapis/armid"
	"lapis/store"
)

// index is everybody in the directory, as the last look at the store saw them.
type index struct {
	objects   map[string]*Principal // by object id
	clients   map[string]*Principal // by client id
	resources map[string]*Principal // managed identities by their resource's id in lower case
	secrets   map[string]hashed     // by object id
	sorted    []Principal           // by object id; nil: to be made at the next List
}

func newIndex(size int) *index {
	return &index{
		objects: make(map[string]*Principal, size), clients: make(map[string]*Principal, size),
		resources: make(map[string]*Principal, size), secrets: map[string]hashed{},
	}
}

func (x *index) put(p Principal) {
	x.sorted = nil
	x.objects[p.ObjectID], x.clients[p.ClientID] = &p, &p
	if p.ResourceID != "" {
		x.resources[strings.ToLower(p.ResourceID)] = &p
	}
}

func (x *index) drop(objectID string) {
	p := x.objects[objectID]
	if p == nil {
		return
	}
	x.sorted = nil
	delete(x.objects, objectID)
	delete(x.clients, p.ClientID)
	if key := strings.ToLower(p.ResourceID); x.resources[key] == p { // its next identity may be there already
		delete(x.resources, key)
	}
}

// seen is one principal as the store has it now.
type seen struct {
	objectID  string
	principal *Principal // nil: no longer there
	secret    *hashed    // nil: none
}

func (x *index) take(s seen) {
	x.drop(s.objectID)
	delete(x.secrets, s.objectID)
	if s.principal != nil {
		x.put(*s.principal)
	}
	if s.secret != nil {
		x.secrets[s.objectID] = *s.secret
	}
}

// update commits a change and then looks at those it touched, so that every
// reader sees it when update returns. The cost does not depend on how many
// others there are.
func (d *Directory) update(ctx context.Context, change func(tx store.Tx, touch func(objectID string)) error) error {
	var touched []string
	err := d.cfg.Store.Update(ctx, func(tx store.Tx) error {
		touched = nil
		return change(tx, func(objectID string) { touched = append(touched, objectID) })
	})
	// After an error too: nobody knows then what is on disk.
	d.look(context.WithoutCancel(ctx), touched)
	return err
}

// look brings the index up to date about a few. Where the store cannot be
// read, the index is given up: better to know nobody than to trust somebody deleted.
func (d *Directory) look(ctx context.Context, objectIDs []string) {
	if len(objectIDs) == 0 {
		return
	}
	d.looking.Lock()
	defer d.looking.Unlock()
	var found []seen
	err := d.cfg.Store.View(ctx, func(r store.Reader) error {
		found = nil
		for _, id := range objectIDs {
			s, err := d.see(r, id)
			if err != nil {
				return err
			}
			found = append(found, s)
		}
		return nil
	})
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil || d.known == nil {
		d.known = nil // the next reader reads everything
		return
	}
	for _, s := range found {
		d.known.take(s)
	}
}

// see reads one principal.
func (d *Directory) see(r store.Reader, objectID string) (seen, error) {
	s := seen{objectID: objectID}
	p, err := principals().Get(r, objectID)
	switch {
	case err == nil:
		s.principal = d.shared(&p.Value)
	case !errors.Is(err, store.ErrNotFound):
		return s, err
	}
	h, err := secrets().Get(r, objectID)
	switch {
	case err == nil:
		s.secret = &h.Value
	case !errors.Is(err, store.ErrNotFound):
		return s, err
	}
	return s, nil
}

// shared has principals share what all of them have.
func (d *Directory) shared(p *Principal) *Principal {
	if p.TenantID == d.cfg.TenantID {
		p.TenantID = d.cfg.TenantID
	}
	for _, kind := range []Kind{SystemAssigned, UserAssigned, Application, User} {
		if p.Kind == kind {
			p.Kind = kind
		}
	}
	return p
}

// load reads everybody.
func (d *Directory) load(ctx context.Context) error {
	d.looking.Lock()
	defer d.looking.Unlock()
	var x *index
	err := d.cfg.Store.View(ctx, func(r store.Reader) error {
		all, err := principals().List(r, "", "", 0)
		if err != nil {
			return err
		}
		hashes, err := secrets().List(r, "", "", 0)
		if err != nil {
			return err
		}
		x = newIndex(len(all))
		for i := range all {
			x.put(*d.shared(&all[i].Value))
		}
		for _, e := range hashes {
			x.secrets[e.Key] = e.Value
		}
		return nil
	})
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.known = x
	return nil
}

// find looks somebody up in one of the index's maps.
func (d *Directory) find(by func(*index) map[string]*Principal, key string) (Principal, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	d.reload()
	if d.known == nil {
		return Principal{}, false
	}
	p := by(d.known)[key]
	if p == nil {
		return Principal{}, false
	}
	return *p, true
}

// reload reads everybody where the last look failed. The caller holds mu for
// reading, and holds it again when reload returns; known may still be nil.
func (d *Directory) reload() {
	if d.known != nil {
		return
	}
	d.mu.RUnlock()
	_ = d.load(context.Background())
	d.mu.RLock()
}

func (x *index) byObject() map[string]*Principal   { return x.objects }
func (x *index) byClient() map[string]*Principal   { return x.clients }
func (x *index) byResource() map[string]*Principal { return x.resources }

// ByObjectID finds a principal; the case of the id does not matter.
func (d *Directory) ByObjectID(objectID string) (Principal, bool) {
	return d.find((*index).byObject, strings.ToLower(objectID))
}

// ByClientID finds a principal; the case of the id does not matter.
func (d *Directory) ByClientID(clientID string) (Principal, bool) {
	return d.find((*index).byClient, strings.ToLower(clientID))
}

// ByResource finds the managed identity that a resource carries.
func (d *Directory) ByResource(resourceID string) (Principal, bool) {
	id, err := armid.Parse(resourceID)
	if err != nil {
		return Principal{}, false
	}
	return d.find((*index).byResource, id.Key())
}

// Alive reports whether the principal exists now.
func (d *Directory) Alive(objectID string) bool {
	_, ok := d.ByObjectID(objectID)
	return ok
}

// secret is the hash of an application's client secret.
func (d *Directory) secret(objectID string) hashed {
	d.mu.RLock()
	defer d.mu.RUnlock()
	d.reload()
	if d.known == nil {
		return hashed{}
	}
	return d.known.secrets[objectID]
}

// List returns all principals in the order of their object ids.
func (d *Directory) List() []Principal {
	d.mu.RLock()
	d.reload()
	d.mu.RUnlock()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.known == nil {
		return nil
	}
	return slices.Clone(d.known.list())
}

func (x *index) list() []Principal {
	if x.sorted != nil {
		return x.sorted
	}
	for _, p := range x.objects {
		x.sorted = append(x.sorted, *p)
	}
	slices.SortFunc(x.sorted, func(a, b Principal) int { return strings.Compare(a.ObjectID, b.ObjectID) })
	return x.sorted
}
