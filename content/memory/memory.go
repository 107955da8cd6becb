// Package memory is a [content.Store] that lives in the process and forgets
// everything at its end. It is for tests.
package memory

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"sync"

	"lapis/content"
)

// Store is the backend. Make it with [New].
type Store struct {
	mu     sync.RWMutex
	pieces map[string][]byte // a value is never changed
	closed bool
}

var _ content.Store = (*Store)(nil)

// New returns an empty store.
func New() *Store { return &Store{pieces: map[string][]byte{}} }

// Create begins a piece of content.
func (s *Store) Create(ctx context.Context) (content.Writer, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return nil, content.ErrClosed
	}
	return &writer{store: s}, nil
}

// Open returns the content, or content.ErrNotFound.
func (s *Store) Open(ctx context.Context, key string) (content.Reader, error) {
	if err := errors.Join(ctx.Err(), content.CheckKey(key)); err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return nil, content.ErrClosed
	}
	piece, ok := s.pieces[key]
	if !ok {
		return nil, content.ErrNotFound
	}
	return &reader{*bytes.NewReader(piece)}, nil
}

// Delete removes content.
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := errors.Join(ctx.Err(), content.CheckKey(key)); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return content.ErrClosed
	}
	delete(s.pieces, key)
	return nil
}

// List returns the keys that begin with prefix, in order.
func (s *Store) List(ctx context.Context, prefix string) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return nil, content.ErrClosed
	}
	var keys []string
	for key := range s.pieces {
		if strings.HasPrefix(key, prefix) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys, nil
}

// Close drops everything.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pieces, s.closed = nil, true
	return nil
}

type reader struct{ bytes.Reader }

func (r *reader) Close() error { return nil }

type writer struct {
	store *Store
	buf   bytes.Buffer
	ended bool
}

func (w *writer) Write(p []byte) (int, error) {
	if w.ended {
		return 0, fs.ErrClosed
	}
	return w.buf.Write(p)
}

func (w *writer) Commit(key string) error {
	if w.ended {
		return fs.ErrClosed
	}
	w.ended = true
	if err := content.CheckKey(key); err != nil {
		return err
	}
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	if w.store.closed {
		return content.ErrClosed
	}
	w.store.pieces[key] = w.buf.Bytes()
	return nil
}

func (w *writer) Abort() { w.ended = true }
