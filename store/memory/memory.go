// Package memory is a [store.Store] that lives in the process and forgets
// everything at its end. It is for tests.
//
// Every commit makes a new immutable snapshot, so that readers never wait.
package memory

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"lapis/store"
)

// Store is the backend. Make it with [New].
type Store struct {
	writing sync.Mutex // held while an Update runs, its watchers included
	closed  bool       // guarded by writing

	now atomic.Pointer[snapshot]

	watchers store.Watchers
}

var _ store.Store = (*Store)(nil)

// snapshot is never changed once it is published.
type snapshot struct {
	closed bool
	tables map[string][]store.Record // sorted by key
	floor  store.Version             // the highest version of any record ever deleted
}

// New returns an empty store.
func New() *Store {
	s := &Store{}
	s.now.Store(&snapshot{tables: map[string][]store.Record{}})
	return s
}

// View runs fn on the state of this moment.
func (s *Store) View(ctx context.Context, fn func(store.Reader) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	snap := s.now.Load()
	if snap.closed {
		return store.ErrClosed
	}
	return fn(reader{snap})
}

// Update runs fn alone and publishes its changes if it returns nil.
func (s *Store) Update(ctx context.Context, fn func(store.Tx) error) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.closed {
		return store.ErrClosed
	}
	old := s.now.Load()
	t := &tx{
		reader:  reader{&snapshot{tables: maps.Clone(old.tables), floor: old.floor}},
		changed: map[string]bool{},
	}
	if err := fn(t); err != nil {
		return err
	}
	s.now.Store(t.snap)
	s.watchers.Notify(t.changed)
	return nil
}

// Watch calls fn after each commit that changed the table.
func (s *Store) Watch(table string, fn func()) (stop func()) {
	return s.watchers.Watch(table, fn)
}

// Close waits for running updates and drops everything.
func (s *Store) Close() error {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.closed = true
	s.now.Store(&snapshot{closed: true})
	return nil
}

type reader struct{ snap *snapshot }

func (r reader) find(table, key string) (int, bool) {
	return slices.BinarySearchFunc(r.snap.tables[table], key, func(rec store.Record, key string) int {
		return strings.Compare(rec.Key, key)
	})
}

func (r reader) Get(table, key string) (store.Record, error) {
	i, ok := r.find(table, key)
	if !ok {
		return store.Record{}, store.ErrNotFound
	}
	return copied(r.snap.tables[table][i]), nil
}

func (r reader) List(table, prefix, after string, limit int) ([]store.Record, error) {
	recs := r.snap.tables[table]
	from, _ := r.find(table, prefix)
	if after >= prefix {
		i, ok := r.find(table, after)
		if ok {
			i++
		}
		from = i
	}
	var list []store.Record
	for _, rec := range recs[from:] {
		if !strings.HasPrefix(rec.Key, prefix) || (limit > 0 && len(list) == limit) {
			break
		}
		list = append(list, copied(rec))
	}
	return list, nil
}

// copied keeps the caller from changing what is stored.
func copied(rec store.Record) store.Record {
	rec.Value = bytes.Clone(rec.Value)
	return rec
}

type tx struct {
	reader
	changed map[string]bool // tables whose slice is already our own
}

// own makes the table's slice safe to change: snapshots share it until then.
func (t *tx) own(table string) {
	if !t.changed[table] {
		t.snap.tables[table] = slices.Clone(t.snap.tables[table])
		t.changed[table] = true
	}
}

func (t *tx) Put(table, key string, value []byte, match store.Version) (store.Version, error) {
	i, found := t.find(table, key)
	var current store.Version
	if found {
		current = t.snap.tables[table][i].Version
	}
	if err := match.Check(current); err != nil {
		return 0, err
	}
	t.own(table)
	rec := store.Record{Key: key, Value: bytes.Clone(value), Version: current + 1}
	if found {
		t.snap.tables[table][i] = rec
		return rec.Version, nil
	}
	rec.Version = t.snap.floor + 1
	t.snap.tables[table] = slices.Insert(t.snap.tables[table], i, rec)
	return rec.Version, nil
}

func (t *tx) Delete(table, key string, match store.Version) error {
	i, found := t.find(table, key)
	var current store.Version
	if found {
		current = t.snap.tables[table][i].Version
	}
	if err := match.Check(current); err != nil || !found {
		return err
	}
	t.own(table)
	t.snap.floor = max(t.snap.floor, current)
	t.snap.tables[table] = slices.Delete(t.snap.tables[table], i, i+1)
	return nil
}
