package disk

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"

	"lapis/content"
)

type writer struct {
	store *Store
	file  *os.File
	name  string // in tmp
	ended bool
}

func (w *writer) Write(p []byte) (int, error) { return w.file.Write(p) }

// Commit makes bytes, then name durable: fsync of the file, rename, fsync of
// the folders whose entries changed.
func (w *writer) Commit(key string) error {
	if w.ended {
		return fs.ErrClosed
	}
	w.ended = true
	err := w.file.Sync()
	err = errors.Join(err, w.file.Close())
	if err == nil {
		err = w.store.publish(w.name, key)
	}
	if err != nil {
		_ = w.store.root.Remove(w.name) // if the rename happened there is nothing to remove
	}
	return err
}

// Abort drops what was written.
func (w *writer) Abort() {
	if w.ended {
		return
	}
	w.ended = true
	_ = w.file.Close()
	_ = w.store.root.Remove(w.name) // else the next Open does
}

func (s *Store) publish(tmp, key string) error {
	if err := content.CheckKey(key); err != nil {
		return err
	}
	if err := s.use(context.Background()); err != nil {
		return err
	}
	name := fileOf(key)
	folder := path.Dir(name)
	if err := s.makeFolder(folder); err != nil {
		return err
	}
	if err := s.root.Rename(tmp, name); err != nil {
		return err
	}
	return s.syncFolder(folder)
}

// makeFolder makes a folder under data and those above it, and returns when
// their names are on disk: also those that another Commit has just made and
// not yet synced.
func (s *Store) makeFolder(folder string) error {
	if folder == dataDir || s.isDurable(folder) {
		return nil
	}
	parent := path.Dir(folder)
	if err := s.makeFolder(parent); err != nil {
		return err
	}
	if err := s.root.Mkdir(folder, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := s.syncFolder(parent); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.durable) >= durableLimit {
		clear(s.durable)
	}
	s.durable[folder] = true
	return nil
}

func (s *Store) isDurable(folder string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.durable[folder]
}
