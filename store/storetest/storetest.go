// Package storetest is the suite that every backend of package store passes.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lapis/store"
)

// Run checks a backend. open returns an empty store each time; closing it, and
// what it leaves behind, is open's concern (t.Cleanup).
func Run(t *testing.T, open func(t *testing.T) store.Store) {
	for _, c := range []struct {
		name string
		test func(*testing.T, store.Store)
	}{
		{"ReadsBackWhatWasPut", readsBack},
		{"VersionConditions", conditions},
		{"VersionsAreNeverReused", versionsNeverReused},
		{"TablesAreApart", tablesAreApart},
		{"ListsByPrefixInByteOrder", listsByPrefix},
		{"PagesThroughAListing", pages},
		{"ErrorUndoesEverything", rollback},
		{"PanicUndoesEverything", panicRollback},
		{"UpdateReadsItsOwnWrites", ownWrites},
		{"ViewIsASnapshot", viewIsSnapshot},
		{"ViewsNest", viewsNest},
		{"ConcurrentUpdatesLoseNothing", counter},
		{"ConcurrentFailuresUndoOnlyThemselves", mixedOutcomes},
		{"CancelledContextRunsNothing", cancelled},
		{"WatchFollowsCommits", watch},
		{"WatchSeesEveryCommitInOrder", watchOrder},
		{"ValuesAreCopies", valuesAreCopies},
		{"ClosedStoreRefuses", closed},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open(t)) })
	}
}

func put(t *testing.T, s store.Store, table, key, value string) store.Version {
	t.Helper()
	var v store.Version
	err := s.Update(t.Context(), func(tx store.Tx) (err error) {
		v, err = tx.Put(table, key, []byte(value), store.Any)
		return err
	})
	if err != nil {
		t.Fatalf("put %s/%q: %v", table, key, err)
	}
	return v
}

func get(t *testing.T, s store.Store, table, key string) (store.Record, error) {
	t.Helper()
	var rec store.Record
	err := s.View(t.Context(), func(r store.Reader) (err error) {
		rec, err = r.Get(table, key)
		return err
	})
	return rec, err
}

func keys(t *testing.T, s store.Store, table, prefix, after string, limit int) []string {
	t.Helper()
	list := []string{}
	err := s.View(t.Context(), func(r store.Reader) error {
		recs, err := r.List(table, prefix, after, limit)
		for _, rec := range recs {
			list = append(list, rec.Key)
		}
		return err
	})
	if err != nil {
		t.Fatalf("list %q after %q: %v", prefix, after, err)
	}
	return list
}

func want(t *testing.T, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Fatalf("error is %v, want %v", err, target)
	}
}

func readsBack(t *testing.T, s store.Store) {
	if _, err := get(t, s, "t", "a"); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("get of nothing: %v", err)
	}
	if v := put(t, s, "t", "a", "one"); v != 1 {
		t.Errorf("first version is %d", v)
	}
	if v := put(t, s, "t", "a", "two"); v != 2 {
		t.Errorf("second version is %d", v)
	}
	put(t, s, "t", "empty", "")
	put(t, s, "t", "", "at the empty key")
	for key, value := range map[string]string{"a": "two", "empty": "", "": "at the empty key"} {
		rec, err := get(t, s, "t", key)
		if err != nil || string(rec.Value) != value || rec.Key != key {
			t.Errorf("get %q: %+v, %v", key, rec, err)
		}
	}
}

func conditions(t *testing.T, s store.Store) {
	put(t, s, "t", "there", "x")
	put(t, s, "t", "there", "y") // version 2
	for _, c := range []struct {
		key   string
		match store.Version
		want  error
	}{
		{"there", store.Absent, store.ErrConflict},
		{"there", 1, store.ErrConflict},
		{"there", 3, store.ErrConflict},
		{"none", 1, store.ErrNotFound},
		{"none", 2, store.ErrNotFound},
	} {
		want(t, s.Update(t.Context(), func(tx store.Tx) error {
			_, err := tx.Put("t", c.key, []byte("z"), c.match)
			return err
		}), c.want)
		want(t, s.Update(t.Context(), func(tx store.Tx) error { return tx.Delete("t", c.key, c.match) }), c.want)
	}
	for _, c := range []struct {
		key   string
		match store.Version
	}{{"there", 2}, {"there", store.Any}, {"none", store.Absent}, {"other", store.Any}} {
		want(t, s.Update(t.Context(), func(tx store.Tx) error {
			_, err := tx.Put("t", c.key, []byte("z"), c.match)
			return err
		}), nil)
	}
	for _, c := range []struct {
		key   string
		match store.Version
	}{{"there", 4}, {"none", store.Any}, {"none", store.Any}, {"none", store.Absent}} {
		want(t, s.Update(t.Context(), func(tx store.Tx) error { return tx.Delete("t", c.key, c.match) }), nil)
	}
	if got := keys(t, s, "t", "", "", 0); !cmp.Equal(got, []string{"other"}) {
		t.Errorf("left over: %q", got)
	}
}

func versionsNeverReused(t *testing.T, s store.Store) {
	used := map[store.Version]bool{}
	last := store.Version(0)
	note := func(v store.Version) {
		if used[v] || v <= last {
			t.Fatalf("version %d came after %d", v, last)
		}
		used[v], last = true, v
	}
	for round := range 4 {
		for range 3 - round%2 {
			note(put(t, s, "t", "k", "v"))
		}
		want(t, s.Update(t.Context(), func(tx store.Tx) error { return tx.Delete("t", "k", store.Any) }), nil)
	}
	// Deleted and made again within one update.
	note(put(t, s, "t", "k", "v"))
	want(t, s.Update(t.Context(), func(tx store.Tx) error {
		if err := tx.Delete("t", "k", last); err != nil {
			return err
		}
		v, err := tx.Put("t", "k", nil, store.Absent)
		note(v)
		return err
	}), nil)
	if rec, err := get(t, s, "t", "k"); err != nil || rec.Version != last {
		t.Errorf("got %+v, %v, want version %d", rec, err, last)
	}
}

func tablesAreApart(t *testing.T, s store.Store) {
	put(t, s, "a", "k", "in a")
	put(t, s, "ab", "k", "in ab")
	want(t, s.Update(t.Context(), func(tx store.Tx) error { return tx.Delete("a", "k", store.Any) }), nil)
	if got := keys(t, s, "a", "", "", 0); len(got) != 0 {
		t.Errorf("table a holds %q", got)
	}
	if rec, err := get(t, s, "ab", "k"); err != nil || string(rec.Value) != "in ab" {
		t.Errorf("table ab: %+v, %v", rec, err)
	}
}

// odd lists keys in byte order.
func odd() []string {
	return []string{
		"", "\x00", "%", "%a", "A", "A/b", "_", "a", "a\x00", "a\x00b", "a%", "a%b", "a/", "a/b", "a/b/c", "aB", "a_", "a_b", "ab", "b",
		"straße", "été", "\u65e5\u672c", "\U0001f600", "\xfe", "\xff", "\xff\xff", "\xff\xffx",
	}
}

func listsByPrefix(t *testing.T, s store.Store) {
	all := odd()
	for i := range all {
		put(t, s, "t", all[(i*11)%len(all)], "v") // in no order
	}
	put(t, s, "s", "a", "other table")
	put(t, s, "u", "a", "other table")
	for _, prefix := range append(all, "a/b/", "A/", "zz", "ét", "\xc3", "\u65e5") {
		for _, after := range append([]string{""}, all...) {
			expect := []string{}
			for _, k := range all {
				if len(k) >= len(prefix) && k[:len(prefix)] == prefix && k > after {
					expect = append(expect, k)
				}
			}
			if diff := cmp.Diff(expect, keys(t, s, "t", prefix, after, 0)); diff != "" {
				t.Fatalf("prefix %q after %q (-want +got):\n%s", prefix, after, diff)
			}
		}
	}
}

func pages(t *testing.T, s store.Store) {
	expect := []string{}
	for i := range 25 {
		k := fmt.Sprintf("p/%02d", i)
		put(t, s, "t", k, "v")
		expect = append(expect, k)
	}
	put(t, s, "t", "o", "before")
	put(t, s, "t", "q", "behind")
	for _, limit := range []int{1, 7, 25, 26} {
		got, after := []string{}, ""
		for {
			page := keys(t, s, "t", "p/", after, limit)
			if len(page) > limit {
				t.Fatalf("limit %d gave %d", limit, len(page))
			}
			if len(page) == 0 {
				break
			}
			got, after = append(got, page...), page[len(page)-1]
		}
		if diff := cmp.Diff(expect, got); diff != "" {
			t.Errorf("limit %d (-want +got):\n%s", limit, diff)
		}
	}
}

func rollback(t *testing.T, s store.Store) {
	put(t, s, "t", "kept", "old")
	put(t, s, "t", "gone", "old")
	mine := errors.New("mine")
	err := s.Update(t.Context(), func(tx store.Tx) error {
		_, err1 := tx.Put("t", "kept", []byte("new"), store.Any)
		_, err2 := tx.Put("t", "made", []byte("new"), store.Any)
		return errors.Join(err1, err2, tx.Delete("t", "gone", store.Any), mine)
	})
	want(t, err, mine)
	if got := keys(t, s, "t", "", "", 0); !cmp.Equal(got, []string{"gone", "kept"}) {
		t.Errorf("keys after the failed update: %q", got)
	}
	if rec, _ := get(t, s, "t", "kept"); string(rec.Value) != "old" || rec.Version != 1 {
		t.Errorf("record after the failed update: %+v", rec)
	}
	exact := s.Update(t.Context(), func(store.Tx) error { return mine })
	if exact != mine {
		t.Errorf("the error came back changed: %v", exact)
	}
	// A condition that fails inside does not spoil the update if fn goes on.
	want(t, s.Update(t.Context(), func(tx store.Tx) error {
		if _, err := tx.Put("t", "kept", nil, store.Absent); !errors.Is(err, store.ErrConflict) {
			return fmt.Errorf("put over a record: %w", err)
		}
		_, err := tx.Put("t", "went on", nil, store.Absent)
		return err
	}), nil)
	if _, err := get(t, s, "t", "went on"); err != nil {
		t.Error(err)
	}
}

func panicRollback(t *testing.T, s store.Store) {
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic did not reach the caller")
			}
		}()
		_ = s.Update(t.Context(), func(tx store.Tx) error {
			_, _ = tx.Put("t", "k", nil, store.Any)
			panic("boom")
		})
	}()
	if _, err := get(t, s, "t", "k"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a panic committed: %v", err)
	}
	put(t, s, "t", "k", "the store still works")
}

func ownWrites(t *testing.T, s store.Store) {
	put(t, s, "t", "b", "old")
	want(t, s.Update(t.Context(), func(tx store.Tx) error {
		v, err := tx.Put("t", "a", []byte("1"), store.Absent)
		if err != nil {
			return err
		}
		if _, err = tx.Put("t", "a", []byte("2"), v); err != nil {
			return err
		}
		if err := tx.Delete("t", "b", store.Any); err != nil {
			return err
		}
		if rec, err := tx.Get("t", "a"); err != nil || string(rec.Value) != "2" {
			return fmt.Errorf("get inside: %+v, %w", rec, err)
		}
		recs, err := tx.List("t", "", "", 0)
		if err != nil || len(recs) != 1 || recs[0].Key != "a" {
			return fmt.Errorf("list inside: %+v, %w", recs, err)
		}
		return nil
	}), nil)
}

func viewIsSnapshot(t *testing.T, s store.Store) {
	put(t, s, "t", "k", "old")
	want(t, s.View(t.Context(), func(r store.Reader) error {
		if _, err := r.Get("t", "k"); err != nil {
			return err
		}
		put(t, s, "t", "k", "new")
		put(t, s, "t", "k2", "new")
		rec, err := r.Get("t", "k")
		if err != nil || string(rec.Value) != "old" {
			return fmt.Errorf("the view changed: %q, %w", rec.Value, err)
		}
		recs, err := r.List("t", "", "", 0)
		if err != nil || len(recs) != 1 {
			return fmt.Errorf("the view grew: %v, %w", recs, err)
		}
		return nil
	}), nil)
	if rec, _ := get(t, s, "t", "k"); string(rec.Value) != "new" {
		t.Errorf("a later view reads %q", rec.Value)
	}
	mine := errors.New("mine")
	if err := s.View(t.Context(), func(store.Reader) error { return mine }); err != mine {
		t.Errorf("the view's error came back as %v", err)
	}
}

func viewsNest(t *testing.T, s store.Store) {
	put(t, s, "t", "k", "v")
	var nest func(depth int) error
	nest = func(depth int) error {
		return s.View(t.Context(), func(r store.Reader) error {
			if depth > 0 {
				return nest(depth - 1)
			}
			_, err := r.Get("t", "k")
			return err
		})
	}
	want(t, nest(20), nil)
}

func counter(t *testing.T, s store.Store) {
	const writers, rounds = 8, 25
	var running atomic.Int32
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range rounds {
				err := s.Update(t.Context(), func(tx store.Tx) error {
					if running.Add(1) != 1 {
						t.Error("two updates at the same time")
					}
					defer running.Add(-1)
					return increment(tx)
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	rec, err := get(t, s, "t", "n")
	if err != nil || string(rec.Value) != strconv.Itoa(writers*rounds) || rec.Version != writers*rounds {
		t.Errorf("counter: %q at version %d, %v", rec.Value, rec.Version, err)
	}
}

func increment(tx store.Tx) error {
	rec, err := tx.Get("t", "n")
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	n, _ := strconv.Atoi(string(rec.Value))
	_, err = tx.Put("t", "n", []byte(strconv.Itoa(n+1)), rec.Version)
	return err
}

func mixedOutcomes(t *testing.T, s store.Store) {
	mine := errors.New("mine")
	var wg sync.WaitGroup
	for i := range 60 {
		wg.Go(func() {
			err := s.Update(t.Context(), func(tx store.Tx) error {
				if err := increment(tx); err != nil {
					return err
				}
				if _, err := tx.Put("t", fmt.Sprintf("k%02d", i), nil, store.Absent); err != nil {
					return err
				}
				if i%3 == 0 {
					return mine
				}
				return nil
			})
			if (i%3 == 0) != errors.Is(err, mine) || (i%3 != 0 && err != nil) {
				t.Errorf("update %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	if rec, _ := get(t, s, "t", "n"); string(rec.Value) != "40" {
		t.Errorf("counter is %q, want 40", rec.Value)
	}
	if got := keys(t, s, "t", "k", "", 0); len(got) != 40 {
		t.Errorf("%d keys, want 40", len(got))
	}
}

func cancelled(t *testing.T, s store.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	want(t, s.Update(ctx, func(store.Tx) error { t.Error("update ran"); return nil }), context.Canceled)
	want(t, s.View(ctx, func(store.Reader) error { t.Error("view ran"); return nil }), context.Canceled)
	put(t, s, "t", "k", "v")
}

func watch(t *testing.T, s store.Store) {
	var calls, others int
	stop := s.Watch("t", func() { calls++ })
	stopOther := s.Watch("other", func() { others++ })
	defer stopOther()
	expect := func(step string, n int) {
		t.Helper()
		if calls != n {
			t.Errorf("%s: %d calls, want %d", step, calls, n)
		}
	}
	put(t, s, "t", "k", "v")
	expect("put", 1)
	want(t, s.Update(t.Context(), func(tx store.Tx) error {
		_, err1 := tx.Put("t", "a", nil, store.Any)
		_, err2 := tx.Put("t", "b", nil, store.Any)
		return errors.Join(err1, err2)
	}), nil)
	expect("two puts in one update", 2)
	want(t, s.Update(t.Context(), func(tx store.Tx) error { return tx.Delete("t", "k", store.Any) }), nil)
	expect("delete", 3)
	want(t, s.Update(t.Context(), func(tx store.Tx) error { return tx.Delete("t", "k", store.Any) }), nil)
	want(t, s.Update(t.Context(), func(tx store.Tx) error { _, err := tx.Get("t", "a"); return err }), nil)
	put(t, s, "elsewhere", "k", "v")
	mine := errors.New("mine")
	want(t, s.Update(t.Context(), func(tx store.Tx) error {
		_, err := tx.Put("t", "z", nil, store.Any)
		return errors.Join(err, mine)
	}), mine)
	expect("nothing, another table, a failed update", 3)
	stop()
	stop()
	put(t, s, "t", "k", "v")
	expect("stopped", 3)
	if others != 0 {
		t.Errorf("the other table's watcher was called %d times", others)
	}
}

func watchOrder(t *testing.T, s store.Store) {
	var seen []int
	stop := s.Watch("t", func() {
		want(t, s.View(t.Context(), func(r store.Reader) error {
			rec, err := r.Get("t", "n")
			n, _ := strconv.Atoi(string(rec.Value))
			seen = append(seen, n)
			return err
		}), nil)
	})
	defer stop()
	var wg sync.WaitGroup
	for range 40 {
		wg.Go(func() {
			if err := s.Update(t.Context(), increment); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for i := 1; i < len(seen); i++ {
		if seen[i] <= seen[i-1] {
			t.Fatalf("watch saw %v", seen)
		}
	}
	if len(seen) == 0 || seen[len(seen)-1] != 40 {
		t.Fatalf("watch ended with %v, want 40", seen)
	}
}

func valuesAreCopies(t *testing.T, s store.Store) {
	value := []byte("abc")
	want(t, s.Update(t.Context(), func(tx store.Tx) error {
		_, err := tx.Put("t", "k", value, store.Any)
		value[0] = 'X'
		return err
	}), nil)
	rec, _ := get(t, s, "t", "k")
	rec.Value[1] = 'X'
	if rec, _ := get(t, s, "t", "k"); string(rec.Value) != "abc" {
		t.Errorf("the stored value became %q", rec.Value)
	}
}

func closed(t *testing.T, s store.Store) {
	put(t, s, "t", "k", "v")
	want(t, s.Close(), nil)
	want(t, s.Update(t.Context(), func(store.Tx) error { t.Error("update ran"); return nil }), store.ErrClosed)
	want(t, s.View(t.Context(), func(store.Reader) error { t.Error("view ran"); return nil }), store.ErrClosed)
	want(t, s.Close(), nil)
}
