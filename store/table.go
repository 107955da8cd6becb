package store

import (
	"encoding/json"
	"fmt"
)

// Table is a typed view of one table; values are stored as JSON.
type Table[T any] struct{ Name string }

// Entry is a decoded record.
type Entry[T any] struct {
	Key     string
	Value   T
	Version Version
}

// Get returns the decoded record, or ErrNotFound.
func (t Table[T]) Get(r Reader, key string) (Entry[T], error) {
	rec, err := r.Get(t.Name, key)
	if err != nil {
		return Entry[T]{}, err
	}
	return t.decode(rec)
}

// List returns the decoded records that [Reader.List] gives.
func (t Table[T]) List(r Reader, prefix, after string, limit int) ([]Entry[T], error) {
	recs, err := r.List(t.Name, prefix, after, limit)
	if err != nil {
		return nil, err
	}
	entries := make([]Entry[T], 0, len(recs))
	for _, rec := range recs {
		e, err := t.decode(rec)
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// Put encodes and stores value as [Tx.Put] does.
func (t Table[T]) Put(tx Tx, key string, value T, match Version) (Version, error) {
	data, err := json.Marshal(value)
	if err != nil {
		return 0, fmt.Errorf("encoding %s/%s: %w", t.Name, key, err)
	}
	return tx.Put(t.Name, key, data, match)
}

// Delete removes a record as [Tx.Delete] does.
func (t Table[T]) Delete(tx Tx, key string, match Version) error {
	return tx.Delete(t.Name, key, match)
}

func (t Table[T]) decode(rec Record) (Entry[T], error) {
	e := Entry[T]{Key: rec.Key, Version: rec.Version}
	if err := json.Unmarshal(rec.Value, &e.Value); err != nil {
		return Entry[T]{}, fmt.Errorf("decoding %s/%s: %w", t.Name, rec.Key, err)
	}
	return e, nil
}
