package sqlite

import (
	"context"
	"database/sql"
	"errors"

	"lapis/store"
)

// statements are prepared once for each connection.
type statements struct {
	get, list, listOpen *sql.Stmt

	// Of the writer only.
	version, insert, change, remove *sql.Stmt
	floor, raiseFloor               *sql.Stmt
	savepoint, release, rollbackTo  *sql.Stmt

	begin, commit *sql.Stmt
	all           []*sql.Stmt
}

func prepare(conn *sql.Conn, forWriting bool) (*statements, error) {
	s := &statements{}
	texts := map[**sql.Stmt]string{
		&s.begin:    "BEGIN",
		&s.commit:   "COMMIT",
		&s.get:      "SELECT value, version FROM records WHERE tbl = ? AND key = ?",
		&s.list:     "SELECT key, value, version FROM records WHERE tbl = ? AND key >= ? AND key < ? ORDER BY key LIMIT ?",
		&s.listOpen: "SELECT key, value, version FROM records WHERE tbl = ? AND key >= ? ORDER BY key LIMIT ?",
	}
	if forWriting {
		texts[&s.begin] = "BEGIN IMMEDIATE"
		texts[&s.version] = "SELECT version FROM records WHERE tbl = ? AND key = ?"
		texts[&s.insert] = "INSERT INTO records (tbl, key, value, version) VALUES (?, ?, ?, ?)"
		texts[&s.change] = "UPDATE records SET value = ?, version = ? WHERE tbl = ? AND key = ?"
		texts[&s.remove] = "DELETE FROM records WHERE tbl = ? AND key = ?"
		texts[&s.floor] = "SELECT value FROM counters WHERE name = 'version_floor'"
		texts[&s.raiseFloor] = "UPDATE counters SET value = ?1 WHERE name = 'version_floor' AND value < ?1"
		texts[&s.savepoint] = "SAVEPOINT one"
		texts[&s.release] = "RELEASE one"
		texts[&s.rollbackTo] = "ROLLBACK TO one"
	}
	for stmt, text := range texts {
		var err error
		if *stmt, err = conn.PrepareContext(context.Background(), text); err != nil {
			return nil, errors.Join(err, s.close())
		}
		s.all = append(s.all, *stmt)
	}
	return s, nil
}

// close must come before the connection's: SQLite keeps a connection alive
// that still has statements, and with it the WAL.
func (s *statements) close() error {
	var errs []error
	for _, stmt := range s.all {
		errs = append(errs, stmt.Close())
	}
	return errors.Join(errs...)
}

// errEnded tells of a Reader or Tx that outlived its function.
var errEnded = errors.New("the transaction has ended")

type reader struct {
	stmts *statements
	ended bool
}

func (r *reader) Get(table, key string) (store.Record, error) {
	if r.ended {
		return store.Record{}, errEnded
	}
	rec := store.Record{Key: key}
	err := r.stmts.get.QueryRow(table, key).Scan(&rec.Value, &rec.Version)
	if errors.Is(err, sql.ErrNoRows) {
		return store.Record{}, store.ErrNotFound
	}
	if err != nil {
		return store.Record{}, err
	}
	return rec, nil
}

func (r *reader) List(table, prefix, after string, limit int) (list []store.Record, err error) {
	if r.ended {
		return nil, errEnded
	}
	// The next string after a string s is s+"\0".
	from := max(prefix, after+"\x00")
	if limit <= 0 {
		limit = -1
	}
	var rows *sql.Rows
	if end, ok := store.PrefixEnd(prefix); ok {
		rows, err = r.stmts.list.Query(table, from, end, limit)
	} else {
		rows, err = r.stmts.listOpen.Query(table, from, limit)
	}
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var rec store.Record
		if err := rows.Scan(&rec.Key, &rec.Value, &rec.Version); err != nil {
			return nil, err
		}
		list = append(list, rec)
	}
	return list, rows.Err()
}

type tx struct {
	reader
	changed map[string]bool // tables
	broken  error           // the first error of SQLite itself: ends the batch
}

// check keeps an error of SQLite, so that a caller who ignores it cannot
// commit what is left.
func (t *tx) check(err error) error {
	known := err == nil || errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrConflict) || errors.Is(err, errEnded)
	if !known && t.broken == nil {
		t.broken = err
	}
	return err
}

func (t *tx) Get(table, key string) (store.Record, error) {
	rec, err := t.reader.Get(table, key)
	return rec, t.check(err)
}

func (t *tx) List(table, prefix, after string, limit int) ([]store.Record, error) {
	list, err := t.reader.List(table, prefix, after, limit)
	return list, t.check(err)
}

func (t *tx) Put(table, key string, value []byte, match store.Version) (store.Version, error) {
	v, err := t.put(table, key, value, match)
	return v, t.check(err)
}

func (t *tx) put(table, key string, value []byte, match store.Version) (store.Version, error) {
	current, err := t.current(table, key, match)
	if err != nil {
		return 0, err
	}
	if value == nil {
		value = []byte{} // nil would be NULL
	}
	t.changed[table] = true
	if current != store.Absent {
		_, err := t.stmts.change.Exec(value, current+1, table, key)
		return current + 1, err
	}
	var floor store.Version
	if err := t.stmts.floor.QueryRow().Scan(&floor); err != nil {
		return 0, err
	}
	_, err = t.stmts.insert.Exec(table, key, value, floor+1)
	return floor + 1, err
}

func (t *tx) Delete(table, key string, match store.Version) error {
	return t.check(t.delete(table, key, match))
}

func (t *tx) delete(table, key string, match store.Version) error {
	current, err := t.current(table, key, match)
	if err != nil || current == store.Absent {
		return err
	}
	t.changed[table] = true
	if _, err := t.stmts.raiseFloor.Exec(current); err != nil {
		return err
	}
	_, err = t.stmts.remove.Exec(table, key)
	return err
}

// current returns the record's version, if it meets the condition.
func (t *tx) current(table, key string, match store.Version) (store.Version, error) {
	if t.ended {
		return 0, errEnded
	}
	current := store.Absent
	err := t.stmts.version.QueryRow(table, key).Scan(&current)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return 0, err
	}
	return current, match.Check(current)
}
