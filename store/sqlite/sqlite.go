// Package sqlite is a [store.Store] in one SQLite file, in WAL mode with
// synchronous=FULL: when Update returns nil, the change is on disk.
//
// Updates run one after another, each in a savepoint of its own, and those
// that wait at the same time share one commit, hence one fsync. Readers have
// connections of their own and never wait for the writer.
//
// The file, its -wal and its -shm have mode 0600. One process at a time: a
// second one would work, but its changes would not reach this one's watchers.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"lapis/diskfile"
	"lapis/store"
)

// Store is the backend. Make it with [Open].
type Store struct {
	db      *sql.DB
	writer  *writer
	readers *readers

	watchers store.Watchers
}

var _ store.Store = (*Store)(nil)

// Open opens the file, or makes it. It fails if the file is no store of ours,
// or was written by a newer version.
func Open(path string) (*Store, error) {
	s, err := open(path)
	if err != nil {
		return nil, fmt.Errorf("store %s: %w", path, err)
	}
	return s, nil
}

func open(path string) (_ *Store, err error) {
	path, err = filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err := makeFile(path); err != nil {
		return nil, err
	}
	db, err := sql.Open("sqlite", dsn(path))
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = db.Close()
		}
	}()
	db.SetMaxIdleConns(0) // connections are kept by us, with their statements
	conn, err := db.Conn(context.Background())
	if err != nil {
		return nil, err
	}
	if err := migrate(conn, schema()); err != nil {
		return nil, err
	}
	if err := useWAL(conn); err != nil {
		return nil, err
	}
	if err := diskfile.SyncFolder(filepath.Dir(path)); err != nil {
		return nil, err
	}
	s := &Store{db: db, readers: &readers{db: db}}
	s.writer, err = startWriter(conn, s.watchers.Notify)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// dsn gives the connection string; SQLite reads the path as a URI.
func dsn(path string) string {
	q := url.Values{"_pragma": {
		"busy_timeout(5000)",
		"synchronous(FULL)",
		"journal_size_limit(16777216)",
	}}
	return (&url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: q.Encode()}).String()
}

// useWAL sets the mode that the file then keeps: after the checks of migrate,
// so that another program's file is not changed.
func useWAL(conn *sql.Conn) error {
	var mode string
	if err := conn.QueryRowContext(context.Background(), "PRAGMA journal_mode = WAL").Scan(&mode); err != nil {
		return err
	}
	if mode != "wal" {
		return fmt.Errorf("SQLite cannot use a WAL there (mode %q): choose a folder on a local disk", mode)
	}
	return nil
}

// makeFile sees to mode 0600; SQLite gives -wal and -shm the mode of the file.
func makeFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Chmod(0o600), f.Close()); err != nil {
		return err
	}
	for _, beside := range []string{path + "-wal", path + "-shm"} {
		if err := os.Chmod(beside, 0o600); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// View runs fn on the snapshot of its first read.
func (s *Store) View(ctx context.Context, fn func(store.Reader) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.readers.view(fn)
}

// Update runs fn in the caller's goroutine, alone, and returns after the
// commit that holds its changes.
func (s *Store) Update(ctx context.Context, fn func(store.Tx) error) error {
	return s.writer.update(ctx, fn)
}

// Watch calls fn after each commit that changed the table. A commit may hold
// the changes of several updates. A call that is under way when stop is
// called is not waited for.
func (s *Store) Watch(table string, fn func()) (stop func()) {
	return s.watchers.Watch(table, fn)
}

// Close waits for running updates and views, and folds the WAL into the file.
func (s *Store) Close() error {
	if !s.writer.stop() {
		return nil
	}
	s.readers.close()
	return errors.Join(s.writer.close(), s.db.Close())
}
