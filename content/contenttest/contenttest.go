// Package contenttest is the suite that every backend of package content passes.
package contenttest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"lapis/content"
)

// Run checks a backend. open returns an empty store each time; closing it, and
// what it leaves behind, is open's concern (t.Cleanup).
func Run(t *testing.T, open func(t *testing.T) content.Store) {
	for _, c := range []struct {
		name string
		test func(*testing.T, content.Store)
	}{
		{"ReadsBackWhatWasCommitted", readsBack},
		{"ReadsAnyPart", readsParts},
		{"NothingBeforeCommit", nothingBeforeCommit},
		{"AbortDropsEverything", abort},
		{"WriterEndsWithCommit", writerEnds},
		{"ReplacesWhole", replaces},
		{"OpenContentOutlivesDelete", outlivesDelete},
		{"DeleteOfNothingIsNoError", deleteNothing},
		{"ListsByPrefixInOrder", lists},
		{"KeyMayAlsoBeAFolder", keyAndFolder},
		{"BadKeysAreRefused", badKeys},
		{"ManyAtOnce", manyAtOnce},
		{"CancelledContext", cancelled},
		{"ClosedStoreRefuses", closed},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open(t)) })
	}
}

func put(t *testing.T, s content.Store, key string, data []byte) {
	t.Helper()
	if err := write(t.Context(), s, key, data); err != nil {
		t.Fatalf("writing %s: %v", key, err)
	}
}

func write(ctx context.Context, s content.Store, key string, data []byte) error {
	w, err := s.Create(ctx)
	if err != nil {
		return err
	}
	defer w.Abort()
	if _, err := w.Write(data); err != nil {
		return err
	}
	return w.Commit(key)
}

func read(ctx context.Context, s content.Store, key string) ([]byte, error) {
	r, err := s.Open(ctx, key)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(r)
	if err == nil && r.Size() != int64(len(data)) {
		err = fmt.Errorf("size is %d, content has %d bytes", r.Size(), len(data))
	}
	return data, errors.Join(err, r.Close())
}

func expect(t *testing.T, s content.Store, key string, data []byte) {
	t.Helper()
	got, err := read(t.Context(), s, key)
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("%s: %d bytes, %v; want %d bytes", key, len(got), err, len(data))
	}
}

func missing(t *testing.T, s content.Store, key string) {
	t.Helper()
	if _, err := s.Open(t.Context(), key); !errors.Is(err, content.ErrNotFound) {
		t.Errorf("open %s: %v", key, err)
	}
}

func listed(t *testing.T, s content.Store, prefix string, keys ...string) {
	t.Helper()
	got, err := s.List(t.Context(), prefix)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(keys, got); diff != "" && len(keys)+len(got) > 0 {
		t.Errorf("list %q (-want +got):\n%s", prefix, diff)
	}
}

func pattern(n int) []byte {
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(i * 7 % 251)
	}
	return data
}

func readsBack(t *testing.T, s content.Store) {
	missing(t, s, "a")
	for key, size := range map[string]int{"a": 1, "deep/er/and/deeper": 100, "empty": 0, "large": 3 << 20} {
		put(t, s, key, pattern(size))
		expect(t, s, key, pattern(size))
	}
	w, err := s.Create(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for chunk := range bytes.SplitAfterSeq([]byte("in many small pieces"), []byte(" ")) {
		if n, err := w.Write(chunk); n != len(chunk) || err != nil {
			t.Fatalf("write: %d, %v", n, err)
		}
	}
	if err := w.Commit("pieces"); err != nil {
		t.Fatal(err)
	}
	expect(t, s, "pieces", []byte("in many small pieces"))
}

func readsParts(t *testing.T, s content.Store) {
	data := pattern(10_000)
	put(t, s, "k", data)
	r, err := s.Open(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	if err := iotest.TestReader(r, data); err != nil {
		t.Error(err)
	}
	part := make([]byte, 100)
	if n, err := r.ReadAt(part, 5000); n != 100 || err != nil || !bytes.Equal(part, data[5000:5100]) {
		t.Errorf("ReadAt: %d, %v", n, err)
	}
	if n, err := r.ReadAt(part, 9950); n != 50 || err != io.EOF {
		t.Errorf("ReadAt over the end: %d, %v", n, err)
	}
}

func nothingBeforeCommit(t *testing.T, s content.Store) {
	w, err := s.Create(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(pattern(100)); err != nil {
		t.Fatal(err)
	}
	listed(t, s, "")
	if err := w.Commit("k"); err != nil {
		t.Fatal(err)
	}
	listed(t, s, "", "k")
}

func abort(t *testing.T, s content.Store) {
	w, err := s.Create(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(pattern(100)); err != nil {
		t.Fatal(err)
	}
	w.Abort()
	w.Abort()
	if _, err := w.Write([]byte("x")); err == nil {
		t.Error("write after Abort")
	}
	if err := w.Commit("k"); err == nil {
		t.Error("commit after Abort")
	}
	listed(t, s, "")
}

func writerEnds(t *testing.T, s content.Store) {
	w, err := s.Create(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, _ = w.Write([]byte("abc"))
	if err := w.Commit("k"); err != nil {
		t.Fatal(err)
	}
	w.Abort()
	if _, err := w.Write([]byte("x")); err == nil {
		t.Error("write after Commit")
	}
	if err := w.Commit("other"); err == nil {
		t.Error("second Commit")
	}
	expect(t, s, "k", []byte("abc"))
	listed(t, s, "", "k")
}

func replaces(t *testing.T, s content.Store) {
	put(t, s, "k", []byte("the old content"))
	r, err := s.Open(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, "k", []byte("new"))
	expect(t, s, "k", []byte("new"))
	old, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil || string(old) != "the old content" {
		t.Errorf("an open reader got %q, %v", old, err)
	}
	listed(t, s, "", "k")
}

func outlivesDelete(t *testing.T, s content.Store) {
	data := pattern(200_000)
	put(t, s, "k", data)
	r, err := s.Open(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(t.Context(), "k"); err != nil {
		t.Fatal(err)
	}
	missing(t, s, "k")
	got, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil || !bytes.Equal(got, data) {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
}

func deleteNothing(t *testing.T, s content.Store) {
	put(t, s, "a/b", nil)
	for _, key := range []string{"none", "a", "a/c", "a/b/c", "x/y/z"} {
		if err := s.Delete(t.Context(), key); err != nil {
			t.Errorf("%s: %v", key, err)
		}
	}
	expect(t, s, "a/b", nil)
}

func lists(t *testing.T, s content.Store) {
	all := []string{"a", "a-b", "a.b", "a/b", "a/b/c", "a/b0", "a0", "b/x", "bb/x", "c"}
	for i := range all {
		put(t, s, all[(i*7)%len(all)], nil)
	}
	for _, prefix := range append(all, "", "a/", "a/b/", "b", "b/", "d", "a/c", "c/", "/", "..", "../", "%") {
		var keys []string
		for _, key := range all {
			if strings.HasPrefix(key, prefix) {
				keys = append(keys, key)
			}
		}
		listed(t, s, prefix, keys...)
	}
}

func keyAndFolder(t *testing.T, s content.Store) {
	put(t, s, "k", []byte("one"))
	put(t, s, "k/k", []byte("two"))
	put(t, s, "f/k/x", []byte("three"))
	put(t, s, "f/k", []byte("four"))
	if err := s.Delete(t.Context(), "f/k"); err != nil {
		t.Fatal(err)
	}
	expect(t, s, "k", []byte("one"))
	expect(t, s, "k/k", []byte("two"))
	expect(t, s, "f/k/x", []byte("three"))
	missing(t, s, "f/k")
	missing(t, s, "f")
}

func badKeys(t *testing.T, s content.Store) {
	for _, key := range []string{"", "..", "../a", "/a", "a/", "a//b", "a/./b", "A", "a b", "a\x00b", "a@", strings.Repeat("a", 201)} {
		if err := write(t.Context(), s, key, nil); err == nil {
			t.Errorf("commit of %q", key)
		}
		if _, err := s.Open(t.Context(), key); err == nil || errors.Is(err, content.ErrNotFound) {
			t.Errorf("open of %q: %v", key, err)
		}
		if err := s.Delete(t.Context(), key); err == nil {
			t.Errorf("delete of %q", key)
		}
	}
	listed(t, s, "")
}

func manyAtOnce(t *testing.T, s content.Store) {
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			own := fmt.Sprintf("folder/%d/own", i%4*100+i)
			data := bytes.Repeat([]byte{byte(i)}, 5000+i)
			for range 5 {
				if err := write(t.Context(), s, own, data); err != nil {
					t.Error(err)
				}
				if err := write(t.Context(), s, "shared", data); err != nil {
					t.Error(err)
				}
				got, err := read(t.Context(), s, "shared")
				if err != nil || len(got) < 5000 || !bytes.Equal(got, bytes.Repeat(got[:1], 5000+int(got[0]))) {
					t.Errorf("torn content: %d bytes, %v", len(got), err)
				}
				got, err = read(t.Context(), s, own)
				if err != nil || !bytes.Equal(got, data) {
					t.Errorf("%s: %d bytes, %v", own, len(got), err)
				}
				if err := s.Delete(t.Context(), own); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	listed(t, s, "", "shared")
}

func cancelled(t *testing.T, s content.Store) {
	put(t, s, "k", nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err1 := s.Create(ctx)
	_, err2 := s.Open(ctx, "k")
	err3 := s.Delete(ctx, "k")
	_, err4 := s.List(ctx, "")
	for i, err := range []error{err1, err2, err3, err4} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("call %d: %v", i, err)
		}
	}
	expect(t, s, "k", nil)
}

func closed(t *testing.T, s content.Store) {
	put(t, s, "k", nil)
	w, err := s.Create(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	_, err1 := s.Create(t.Context())
	_, err2 := s.Open(t.Context(), "k")
	err3 := s.Delete(t.Context(), "k")
	_, err4 := s.List(t.Context(), "")
	for i, err := range []error{err1, err2, err3, err4, w.Commit("late")} {
		if !errors.Is(err, content.ErrClosed) {
			t.Errorf("call %d: %v", i, err)
		}
	}
	w.Abort()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
