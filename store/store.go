// Package store keeps small durable records: get, put if unchanged, delete,
// list by prefix, watch, in a transaction.
//
// It knows no domain type. A record lives in a table under a key; its version
// grows with every change and is never used twice for the same key. When
// Update returns nil, the change is on disk and survives a crash.
//
// Backends: sqlite (embedded), memory (tests). Both pass package storetest.
package store

import (
	"context"
	"errors"
)

// ErrNotFound means that a record does not exist.
var ErrNotFound = errors.New("record not found")

// ErrConflict means that a record's version is not the one the caller named.
var ErrConflict = errors.New("record has changed")

// ErrClosed means that the store was closed before the call.
var ErrClosed = errors.New("store is closed")

// Version counts the changes of a record, from 1 up. As a condition of Put and
// Delete: Any takes every state, Absent only a record that does not exist.
type Version int64

// Conditions that are no version of a record.
const (
	Any    Version = -1
	Absent Version = 0
)

// Check tells whether a record at version current (Absent: there is none)
// meets the condition v: nil, ErrConflict, or ErrNotFound.
func (v Version) Check(current Version) error {
	switch {
	case v == Any || v == current:
		return nil
	case current == Absent:
		return ErrNotFound
	}
	return ErrConflict
}

// Record is one stored value.
type Record struct {
	Key     string
	Value   []byte
	Version Version
}

// Reader reads within one consistent view.
type Reader interface {
	// Get returns ErrNotFound where there is no record.
	Get(table, key string) (Record, error)
	// List returns the records whose key begins with prefix and is greater
	// than after, in key order, at most limit of them (0: all).
	List(table, prefix, after string, limit int) ([]Record, error)
}

// Tx reads and changes. It is valid until the function it was given to returns.
type Tx interface {
	Reader
	// Put stores value if the record's version is match, and returns the new
	// version; else ErrConflict (ErrNotFound if a version was named and there is no record).
	Put(table, key string, value []byte, match Version) (Version, error)
	// Delete removes a record under the same conditions. With Any, a record
	// that is not there is no error.
	Delete(table, key string, match Version) error
}

// Store is a backend.
type Store interface {
	// View runs fn on a consistent snapshot.
	View(ctx context.Context, fn func(Reader) error) error
	// Update runs fn alone and commits what it did if it returns nil. An error
	// of fn undoes everything and is returned as it is. fn may run for several
	// callers in one commit, but never at the same time as another; it must not
	// call the Store and must not block.
	Update(ctx context.Context, fn func(Tx) error) error
	// Watch calls fn after each commit that changed the table, in commit order,
	// before the Update that made it returns. fn must be quick and may call View.
	// The returned function ends the watch.
	Watch(table string, fn func()) (stop func())
	// Close waits for running updates. The store cannot be used afterwards.
	Close() error
}
