// Package disk is a [content.Store] in a folder. When Commit returns nil, the
// bytes, the name and every folder above it are on disk.
//
// Layout: what is being written lies in tmp/ under a random name; content lies
// in data/, its key's elements as folders, the last one as a file whose name
// ends in "@" (so that "a" and "a/b" can both be keys). Folders have mode
// 0700, files 0600. Nothing outside the folder is ever reached, whatever links
// are found in it. One process at a time.
package disk

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"lapis/content"
	"lapis/diskfile"
)

const (
	tmpDir  = "tmp"
	dataDir = "data"
	mark    = "@" // ends the names of files; no key has it
)

// durableLimit bounds the memory for folders known to be on disk.
const durableLimit = 10_000

// Store is the backend. Make it with [Open].
type Store struct {
	root *os.Root

	mu      sync.Mutex
	closed  bool
	durable map[string]bool // folders whose own name is known to be on disk
}

var _ content.Store = (*Store)(nil)

// Open opens the folder, or makes it, and removes what earlier processes
// began and never committed.
func Open(dir string) (*Store, error) {
	s, err := open(dir)
	if err != nil {
		return nil, fmt.Errorf("content %s: %w", dir, err)
	}
	return s, nil
}

func open(dir string) (*Store, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	s := &Store{root: root, durable: map[string]bool{}}
	if err := s.prepare(); err != nil {
		return nil, errors.Join(err, root.Close())
	}
	if err := diskfile.SyncFolder(filepath.Dir(dir)); err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return s, nil
}

func (s *Store) prepare() error {
	if err := s.root.RemoveAll(tmpDir); err != nil {
		return err
	}
	for _, dir := range []string{tmpDir, dataDir} {
		if err := s.root.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	if err := s.prune(dataDir); err != nil {
		return err
	}
	return s.syncFolder(".")
}

// prune removes folders that hold nothing. It runs only before anybody uses
// the store, so that it cannot take a folder away from a Commit.
func (s *Store) prune(dir string) error {
	entries, err := fs.ReadDir(s.root.FS(), dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		sub := path.Join(dir, e.Name())
		if err := s.prune(sub); err != nil {
			return err
		}
		_ = s.root.Remove(sub) // fails unless empty
	}
	return nil
}

func (s *Store) syncFolder(name string) error {
	f, err := s.root.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// use reports why the store or the context ends a call at once.
func (s *Store) use(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return content.ErrClosed
	}
	return nil
}

// fileOf gives the file of a checked key.
func fileOf(key string) string { return path.Join(dataDir, key) + mark }

// Create begins a piece of content.
func (s *Store) Create(ctx context.Context) (content.Writer, error) {
	if err := s.use(ctx); err != nil {
		return nil, err
	}
	name := path.Join(tmpDir, rand.Text())
	f, err := s.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	return &writer{store: s, file: f, name: name}, nil
}

// Open returns the content, or content.ErrNotFound.
func (s *Store) Open(ctx context.Context, key string) (content.Reader, error) {
	if err := s.use(ctx); err != nil {
		return nil, err
	}
	if err := content.CheckKey(key); err != nil {
		return nil, err
	}
	f, err := s.root.Open(fileOf(key))
	if notThere(err) {
		return nil, content.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if !info.Mode().IsRegular() {
		return nil, errors.Join(fmt.Errorf("content %s is not a file: the data folder was changed from outside", key), f.Close())
	}
	return &reader{f, info.Size()}, nil
}

// Delete removes content. It is gone for good when Delete returns.
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := s.use(ctx); err != nil {
		return err
	}
	if err := content.CheckKey(key); err != nil {
		return err
	}
	name := fileOf(key)
	err := s.root.Remove(name)
	if notThere(err) {
		return nil
	}
	if err != nil {
		return err
	}
	return s.syncFolder(path.Dir(name))
}

func notThere(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// List returns the keys that begin with prefix, in order.
func (s *Store) List(ctx context.Context, prefix string) ([]string, error) {
	if err := s.use(ctx); err != nil {
		return nil, err
	}
	from := dataDir // the deepest folder that holds all such keys
	if i := strings.LastIndexByte(prefix, '/'); i >= 0 {
		if content.CheckKey(prefix[:i]) != nil {
			return nil, nil // no key begins like that
		}
		from = path.Join(dataDir, prefix[:i])
	}
	var keys []string
	err := fs.WalkDir(s.root.FS(), from, func(name string, e fs.DirEntry, err error) error {
		if notThere(err) {
			return nil
		}
		if err != nil {
			return err
		}
		key, isFile := strings.CutSuffix(strings.TrimPrefix(name, dataDir+"/"), mark)
		if isFile && e.Type().IsRegular() && strings.HasPrefix(key, prefix) {
			keys = append(keys, key)
		}
		return ctx.Err()
	})
	slices.Sort(keys)
	return keys, err
}

// Close ends the use of the store. Readers that are open stay readable.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	return s.root.Close()
}

type reader struct {
	*os.File
	size int64
}

func (r *reader) Size() int64 { return r.size }
