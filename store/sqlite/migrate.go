package sqlite

import (
	"context"
	"database/sql"
	"fmt"
)

// schema lists the migrations, oldest first. What was released is never
// edited; a change of the schema is a new entry.
func schema() []string {
	return []string{
		// counters holds version_floor: the highest version that a deleted
		// record ever had. A record made anew begins above it.
		`CREATE TABLE records (
			tbl     TEXT NOT NULL,
			key     TEXT NOT NULL,
			value   BLOB NOT NULL,
			version INTEGER NOT NULL,
			PRIMARY KEY (tbl, key)
		) STRICT, WITHOUT ROWID;
		CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
		INSERT INTO counters VALUES ('version_floor', 0);`,
	}
}

// migrate brings the file to the newest schema, in one transaction.
func migrate(conn *sql.Conn, steps []string) (err error) {
	ctx := context.Background()
	if _, err := conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_, _ = conn.ExecContext(ctx, "ROLLBACK")
		}
	}()
	done, err := applied(ctx, conn)
	if err != nil {
		return err
	}
	if done > len(steps) {
		return fmt.Errorf("written by a newer version of Lapis (schema %d, this one knows %d): use that version, or another data folder", done, len(steps))
	}
	for i := done; i < len(steps); i++ {
		if _, err := conn.ExecContext(ctx, steps[i]); err != nil {
			return fmt.Errorf("migration %d: %w", i+1, err)
		}
		if _, err := conn.ExecContext(ctx, "INSERT INTO migrations (number) VALUES (?)", i+1); err != nil {
			return fmt.Errorf("migration %d: %w", i+1, err)
		}
	}
	_, err = conn.ExecContext(ctx, "COMMIT")
	return err
}

// applied returns the number of the newest migration that the file has seen.
func applied(ctx context.Context, conn *sql.Conn) (int, error) {
	var tables, ours int
	err := conn.QueryRowContext(ctx,
		`SELECT count(*), coalesce(sum(name = 'migrations'), 0) FROM sqlite_schema WHERE type = 'table'`).Scan(&tables, &ours)
	if err != nil {
		return 0, err
	}
	if tables > 0 && ours == 0 {
		return 0, fmt.Errorf("an SQLite file of another program: name another path")
	}
	if ours == 0 {
		_, err := conn.ExecContext(ctx, "CREATE TABLE migrations (number INTEGER PRIMARY KEY) STRICT")
		return 0, err
	}
	var newest int
	err = conn.QueryRowContext(ctx, "SELECT coalesce(max(number), 0) FROM migrations").Scan(&newest)
	return newest, err
}
