package sqlite

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lapis/store"
	"lapis/store/storetest"
)

// childFile names the file that a re-executed test binary writes to until it is killed.
const childFile = "LAPIS_TEST_SQLITE_CHILD"

func TestMain(m *testing.M) {
	if path := os.Getenv(childFile); path != "" {
		writeUntilKilled(path)
		return
	}
	os.Exit(m.Run())
}

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return openIn(t, t.TempDir()) })
}

func openIn(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(filepath.Join(dir, "lapis.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func putKey(ctx context.Context, s *Store, key string, value []byte) error {
	return s.Update(ctx, func(tx store.Tx) error {
		_, err := tx.Put("t", key, value, store.Any)
		return err
	})
}

func TestReopenedStoreHoldsEverything(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "odd ?name# 100%")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		s := openIn(t, dir)
		if err := putKey(t.Context(), s, fmt.Sprint(i), []byte("v")); err != nil {
			t.Fatal(err)
		}
		err := s.View(t.Context(), func(r store.Reader) error {
			recs, err := r.List("t", "", "", 0)
			if len(recs) != i+1 {
				t.Errorf("start %d finds %d records", i, len(recs))
			}
			return err
		})
		if err := errors.Join(err, s.Close()); err != nil {
			t.Fatal(err)
		}
	}
	entries, _ := os.ReadDir(dir)
	if len(entries) != 1 || entries[0].Name() != "lapis.db" {
		t.Errorf("folder after Close: %v", entries)
	}
}

func TestFilesAreForTheOwnerOnly(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "lapis.db"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	s := openIn(t, dir)
	if err := putKey(t.Context(), s, "k", nil); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"lapis.db", "lapis.db-wal", "lapis.db-shm"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
	}
}

func TestConnectionsAreDurable(t *testing.T) {
	s := openIn(t, t.TempDir())
	for pragma, expect := range map[string]string{"journal_mode": "wal", "synchronous": "2"} {
		var got string
		if err := s.writer.conn.QueryRowContext(t.Context(), "PRAGMA "+pragma).Scan(&got); err != nil || got != expect {
			t.Errorf("%s is %q, %v", pragma, got, err)
		}
	}
}

func TestRefusesFilesItMustNotTouch(t *testing.T) {
	newer := func(t *testing.T, path string) {
		s, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.writer.conn.ExecContext(t.Context(), "INSERT INTO migrations VALUES (1000)")
		if err := errors.Join(err, s.Close()); err != nil {
			t.Fatal(err)
		}
	}
	foreign := func(t *testing.T, path string) {
		db, err := sql.Open("sqlite", path)
		if err != nil {
			t.Fatal(err)
		}
		_, err = db.Exec("CREATE TABLE bookmarks (url TEXT)")
		if err := errors.Join(err, db.Close()); err != nil {
			t.Fatal(err)
		}
	}
	garbage := func(t *testing.T, path string) {
		if err := os.WriteFile(path, []byte(strings.Repeat("no database ", 1000)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name string
		make func(*testing.T, string)
		want string
	}{
		{"newer", newer, "newer version"},
		{"foreign", foreign, "another program"},
		{"garbage", garbage, "not a database"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x.db")
			c.make(t, path)
			before, _ := os.ReadFile(path)
			_, err := Open(path)
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("error: %v", err)
			}
			if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
				t.Error("the file was changed")
			}
		})
	}
	if _, err := Open(filepath.Join(t.TempDir(), "no", "folder", "x.db")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing folder: %v", err)
	}
}

func TestFailedMigrationLeavesTheFileAsItWas(t *testing.T) {
	s := openIn(t, t.TempDir())
	steps := append(schema(), "CREATE TABLE more (x); INSERT INTO nowhere VALUES (1)")
	if err := migrate(s.writer.conn, steps); err == nil || !strings.Contains(err.Error(), "migration 2") {
		t.Fatalf("error: %v", err)
	}
	var n int
	err := s.writer.conn.QueryRowContext(t.Context(), "SELECT count(*) FROM sqlite_schema WHERE name = 'more'").Scan(&n)
	if err != nil || n != 0 {
		t.Errorf("table left: %d, %v", n, err)
	}
	if err := migrate(s.writer.conn, append(schema(), "CREATE TABLE more (x)")); err != nil {
		t.Error(err)
	}
}

// queue runs the updates in this order as one batch, and returns their errors. It must be called in a synctest bubble.
func queue(t *testing.T, s *Store, fns ...func(store.Tx) error) []error {
	t.Helper()
	inside, release := make(chan bool), make(chan bool)
	errs := make([]error, len(fns))
	var wg sync.WaitGroup
	for i, fn := range fns {
		wg.Go(func() {
			errs[i] = s.Update(t.Context(), func(tx store.Tx) error {
				if i == 0 {
					close(inside)
					<-release
				}
				return fn(tx)
			})
		})
		synctest.Wait() // the first is inside, this one stands behind those before it
	}
	<-inside
	close(release)
	wg.Wait()
	return errs
}

func putting(key string) func(store.Tx) error {
	return func(tx store.Tx) error {
		_, err := tx.Put("t", key, nil, store.Any)
		return err
	}
}

func count(t *testing.T, s *Store) (n int) {
	t.Helper()
	err := s.View(t.Context(), func(r store.Reader) error {
		recs, err := r.List("t", "", "", 0)
		n = len(recs)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestWaitingUpdatesShareOneCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openIn(t, t.TempDir())
		commits := 0
		defer s.Watch("t", func() { commits++ })()
		var fns []func(store.Tx) error
		for i := range batchLimit + 10 {
			fns = append(fns, putting(fmt.Sprint(i)))
		}
		if err := errors.Join(queue(t, s, fns...)...); err != nil {
			t.Fatal(err)
		}
		if commits != 2 || count(t, s) != len(fns) {
			t.Errorf("%d updates took %d commits, want 2; %d records", len(fns), commits, count(t, s))
		}
	})
}

// sabotage makes SQLite fail for the key "poison".
func sabotage(t *testing.T, s *Store, action string) {
	t.Helper()
	_, err := s.writer.conn.ExecContext(t.Context(), `PRAGMA foreign_keys = ON;
		CREATE TABLE parent (id INTEGER PRIMARY KEY);
		CREATE TABLE child (id INTEGER REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED);
		CREATE TRIGGER sabotage AFTER INSERT ON records WHEN NEW.key = 'poison' BEGIN `+action+`; END`)
	if err != nil {
		t.Fatal(err)
	}
}

func TestFailedCommitIsAnsweredToTheWholeBatch(t *testing.T) {
	mine := errors.New("mine")
	for name, action := range map[string]string{
		"at the commit":   "INSERT INTO child VALUES (1)", // breaks a rule that COMMIT checks
		"in a statement":  "SELECT RAISE(ABORT, 'broken')",
		"and rolled back": "SELECT RAISE(ROLLBACK, 'broken')",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := openIn(t, t.TempDir())
				sabotage(t, s, action)
				watched := 0
				defer s.Watch("t", func() { watched++ })()
				errs := queue(t, s,
					putting("before"),
					func(store.Tx) error { return mine },
					func(tx store.Tx) error { _ = putting("poison")(tx); return nil }, // its error is ignored
				)
				for i, err := range errs {
					if err == nil || errors.Is(err, mine) {
						t.Errorf("update %d was answered %v", i, err)
					}
				}
				if n := count(t, s); n != 0 || watched != 0 {
					t.Errorf("%d records, %d calls of the watcher", n, watched)
				}
				if err := putKey(t.Context(), s, "after", nil); err != nil {
					t.Errorf("the store does not go on: %v", err)
				}
			})
		})
	}
}

func TestFullDiskFailsTheWholeBatch(t *testing.T) {
	s := openIn(t, t.TempDir())
	if err := putKey(t.Context(), s, "before", nil); err != nil {
		t.Fatal(err)
	}
	limit := func(pages int) {
		if _, err := s.writer.conn.ExecContext(t.Context(), fmt.Sprintf("PRAGMA max_page_count = %d", pages)); err != nil {
			t.Fatal(err)
		}
	}
	limit(20)
	inside, release := make(chan bool), make(chan bool)
	var wg sync.WaitGroup
	var first, second error
	wg.Go(func() {
		first = s.Update(t.Context(), func(tx store.Tx) error {
			close(inside)
			<-release
			_, err := tx.Put("t", "small", nil, store.Any)
			return err
		})
	})
	<-inside
	wg.Go(func() {
		second = s.Update(t.Context(), func(tx store.Tx) error {
			_, _ = tx.Put("t", "large", make([]byte, 1<<20), store.Any) // the error is ignored
			return nil
		})
	})
	close(release)
	wg.Wait()
	if second == nil {
		t.Error("an update that did not fit was acknowledged")
	}
	limit(1 << 20)
	err := s.View(t.Context(), func(r store.Reader) error {
		_, err := r.Get("t", "small")
		if (first == nil) != (err == nil) {
			t.Errorf("update answered %v, record: %v", first, err)
		}
		_, err = r.Get("t", "large")
		if !errors.Is(err, store.ErrNotFound) {
			t.Errorf("large record: %v", err)
		}
		_, err = r.Get("t", "before")
		return err
	})
	if err := errors.Join(err, putKey(t.Context(), s, "after", make([]byte, 1<<20))); err != nil {
		t.Error(err)
	}
}

func TestTransactionCannotBeUsedAfterItsEnd(t *testing.T) {
	s := openIn(t, t.TempDir())
	var kept store.Tx
	if err := s.Update(t.Context(), func(tx store.Tx) error { kept = tx; return nil }); err != nil {
		t.Fatal(err)
	}
	if _, err := kept.Put("t", "k", nil, store.Any); err == nil {
		t.Error("put after the end")
	}
	if _, err := kept.Get("t", "k"); !errors.Is(err, errEnded) {
		t.Errorf("get after the end: %v", err)
	}
}

func TestCloseWaitsForRunningWork(t *testing.T) {
	dir := t.TempDir()
	s := openIn(t, dir)
	inside, release := make(chan bool, 2), make(chan bool)
	var wg sync.WaitGroup
	wg.Go(func() {
		err := s.Update(t.Context(), func(tx store.Tx) error {
			inside <- true
			<-release
			_, err := tx.Put("t", "k", nil, store.Any)
			return err
		})
		if err != nil {
			t.Errorf("update: %v", err)
		}
	})
	wg.Go(func() {
		err := s.View(t.Context(), func(r store.Reader) error {
			inside <- true
			<-release
			_, err := r.List("t", "", "", 0)
			return err
		})
		if err != nil {
			t.Errorf("view: %v", err)
		}
	})
	<-inside
	<-inside
	wg.Go(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	close(release)
	wg.Wait()
}

func TestCallerWhoGivesUpWaitingIsNotServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openIn(t, t.TempDir())
		ctx, cancel := context.WithCancel(t.Context())
		var gaveUp error
		err := s.Update(t.Context(), func(tx store.Tx) error {
			done := make(chan bool)
			go func() {
				defer close(done)
				gaveUp = putKey(ctx, s, "k", nil)
			}()
			synctest.Wait()
			cancel()
			<-done
			return nil
		})
		if err != nil || !errors.Is(gaveUp, context.Canceled) || count(t, s) != 0 {
			t.Errorf("errors %v, %v; %d records", err, gaveUp, count(t, s))
		}
	})
}

// writeUntilKilled makes records from several goroutines and names each on
// standard output once it is acknowledged.
func writeUntilKilled(path string) {
	s, err := Open(path)
	if err != nil {
		fmt.Println("error", err)
		return
	}
	var out sync.Mutex
	for w := range 6 {
		go func() {
			for i := 0; ; i++ {
				key := fmt.Sprintf("%d/%d/%06d", os.Getpid(), w, i)
				if err := putKey(context.Background(), s, key, make([]byte, rand.IntN(6000))); err != nil {
					fmt.Println("error", err)
					os.Exit(1)
				}
				out.Lock()
				fmt.Println("ack", key)
				out.Unlock()
			}
		}()
	}
	select {}
}

// runUntilKilled starts this binary as a child, lets it acknowledge some
// records, kills it, and returns all keys that it acknowledged.
func runUntilKilled(t *testing.T, path string, acks int) []string {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childFile+"="+path)
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var keys []string
	in := bufio.NewReader(pipe)
	for {
		line, err := in.ReadString('\n')
		if err == io.EOF {
			break // a line cut short is no acknowledgement
		}
		key, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "ack ")
		if err != nil || !ok {
			t.Errorf("child said %q, %v", line, err)
			break
		}
		keys = append(keys, key)
		if len(keys) == acks {
			_ = cmd.Process.Kill()
		}
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	return keys
}

func TestAcknowledgedRecordsSurviveKill(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "lapis.db")
	begun := time.Now()
	var acknowledged []string
	rounds := 0
	for ; rounds < 12 && time.Since(begun) < 3*time.Second; rounds++ {
		acknowledged = append(acknowledged, runUntilKilled(t, path, 1+rand.IntN(150))...)
		s := openIn(t, dir)
		err := s.View(t.Context(), func(r store.Reader) error {
			for _, key := range acknowledged {
				if _, err := r.Get("t", key); err != nil {
					return fmt.Errorf("lost %s: %w", key, err)
				}
			}
			return nil
		})
		var verdict string
		_ = s.writer.conn.QueryRowContext(t.Context(), "PRAGMA integrity_check").Scan(&verdict)
		if verdict != "ok" {
			t.Errorf("integrity check: %q", verdict)
		}
		if err := errors.Join(err, s.Close()); err != nil {
			t.Fatalf("round %d: %v", rounds, err)
		}
	}
	t.Logf("%d kills, %d acknowledged records, none lost", rounds, len(acknowledged))
}

func BenchmarkUpdate(b *testing.B) {
	for _, writers := range []int{1, 32} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			s, err := Open(filepath.Join(b.TempDir(), "b.db"))
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = s.Close() }()
			b.SetParallelism(max(1, writers/2))
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := putKey(b.Context(), s, fmt.Sprint(rand.IntN(1e6)), make([]byte, 300)); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}

func BenchmarkView(b *testing.B) {
	s, err := Open(filepath.Join(b.TempDir(), "b.db"))
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if err := putKey(b.Context(), s, "k", make([]byte, 300)); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		err := s.View(b.Context(), func(r store.Reader) error { _, err := r.Get("t", "k"); return err })
		if err != nil {
			b.Fatal(err)
		}
	}
}
