package blob

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"lapis/content"
	contentmemory "lapis/content/memory"
	"lapis/fault"
	"lapis/store"
	storememory "lapis/store/memory"
)

// bench is a service over memory, with a clock.
type bench struct {
	*Service
	t       *testing.T
	records store.Store
	bytes   content.Store
	now     time.Time
}

func newBench(t *testing.T) *bench {
	b := &bench{t: t, records: storememory.New(), bytes: contentmemory.New(), now: time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)}
	b.start()
	return b
}

// start makes a service over what is stored, as after a restart.
func (b *bench) start() {
	b.t.Helper()
	if b.Service != nil {
		b.Service.Close()
	}
	s, err := New(Config{Store: b.records, Content: b.bytes, Now: func() time.Time { return b.now }})
	if err != nil {
		b.t.Fatal(err)
	}
	b.Service = s
	b.t.Cleanup(s.Close)
}

const space = Space("acct/1")

func at(name string) Place { return Place{space, "data", name} }

func (b *bench) container(space Space) {
	b.t.Helper()
	if _, err := b.CreateContainer(b.t.Context(), space, "data", nil); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) put(p Place, body string) Blob {
	b.t.Helper()
	got, err := b.PutBlob(b.t.Context(), PutBlob{Write: Write{At: p}, Body: strings.NewReader(body), Limit: 1 << 20})
	if err != nil {
		b.t.Fatal(err)
	}
	return got
}

func (b *bench) stage(p Place, id, body string) {
	b.t.Helper()
	if _, err := b.PutBlock(b.t.Context(), PutBlock{At: p, ID: blockID(id), Body: strings.NewReader(body), Limit: 1 << 20}); err != nil {
		b.t.Fatal(err)
	}
}

func blockID(id string) string { return base64.StdEncoding.EncodeToString([]byte(id)) }

func (b *bench) commit(p Place, ids ...string) {
	b.t.Helper()
	var refs []BlockRef
	for _, id := range ids {
		refs = append(refs, BlockRef{ID: blockID(id)})
	}
	if _, err := b.PutBlockList(b.t.Context(), PutBlockList{Write: Write{At: p}, Blocks: refs}); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) read(p Place) (string, error) {
	r, err := b.OpenBlob(context.Background(), p, Conditions{})
	if err != nil {
		return "", err
	}
	defer r.Close()
	var buf bytes.Buffer
	err = r.WriteRange(context.Background(), &buf, 0, r.Blob.Size)
	return buf.String(), err
}

// pieces is how many pieces of content there are.
func (b *bench) pieces() int {
	b.t.Helper()
	b.work.Wait()
	keys, err := b.bytes.List(b.t.Context(), "")
	if err != nil {
		b.t.Fatal(err)
	}
	return len(keys)
}

func TestReplacedContentIsRemoved(t *testing.T) {
	b := newBench(t)
	b.container(space)
	b.put(at("b"), "one")
	b.put(at("b"), "two")
	b.stage(at("b"), "1", "x")
	b.stage(at("b"), "1", "y")
	b.stage(at("b"), "2", "z")
	if n := b.pieces(); n != 3 {
		t.Errorf("%d pieces, not 3", n)
	}
	b.commit(at("b"), "1")
	if got, err := b.read(at("b")); got != "y" || err != nil || b.pieces() != 1 {
		t.Errorf("%q, %v, %d pieces", got, err, b.pieces())
	}
	b.stage(at("b"), "3", "w")
	b.put(at("b"), "")
	if n := b.pieces(); n != 0 {
		t.Errorf("%d pieces, not 0", n)
	}
	if _, err := b.PutBlob(t.Context(), PutBlob{Write: Write{At: at("b"), Conditions: Conditions{IfNoneMatch: "*"}}, Body: strings.NewReader("x"), Limit: 9}); !fault.HasCode(err, "BlobAlreadyExists") || b.pieces() != 0 {
		t.Errorf("%v, %d pieces", err, b.pieces())
	}
}

func TestRefusedBodiesLeaveNothing(t *testing.T) {
	b := newBench(t)
	b.container(space)
	for name, body := range map[string]io.Reader{
		"RequestBodyTooLarge":   strings.NewReader("more than ten bytes"),
		"RequestBodyIncomplete": io.MultiReader(strings.NewReader("x"), broken{}),
		"Md5Mismatch":           strings.NewReader("y"),
	} {
		_, err := b.PutBlob(t.Context(), PutBlob{Write: Write{At: at("b")}, Body: body, Limit: 10, Said: Digests{MD5: make([]byte, 16)}})
		if !fault.HasCode(err, name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := b.pieces(); n != 0 {
		t.Errorf("%d pieces", n)
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("connection reset") }

func TestDeletedContainerAndAccountAreEmptied(t *testing.T) {
	b := newBench(t)
	later := Space("acct/2")
	b.container(space)
	b.container(later)
	b.container("acct2/1")
	for i := range 7 {
		b.put(at(fmt.Sprint(i)), "x")
	}
	b.stage(at("staged"), "1", "x")
	b.put(Place{later, "data", "b"}, "x")
	b.put(Place{"acct2/1", "data", "b"}, "x")
	if err := b.DeleteContainer(t.Context(), space, "data", Conditions{}); err != nil {
		t.Fatal(err)
	}
	if n := b.pieces(); n != 2 {
		t.Errorf("after the container: %d pieces, not 2", n)
	}
	if err := b.DeleteAccount(t.Context(), "acct"); err != nil {
		t.Fatal(err)
	}
	if n := b.pieces(); n != 1 {
		t.Errorf("after the account: %d pieces, not 1", n)
	}
	if _, err := b.Container(t.Context(), later, "data"); !fault.HasCode(err, "ContainerNotFound") {
		t.Error(err)
	}
	if _, err := b.read(Place{"acct2/1", "data", "b"}); err != nil {
		t.Error(err)
	}
}

func TestSpaceTellsLivesOfAnAccountApart(t *testing.T) {
	first := Account{Name: "acct", CreatedAt: time.UnixMilli(1)}
	second := Account{Name: "acct", CreatedAt: time.UnixMilli(2)}
	if first.Space() == second.Space() {
		t.Error(first.Space())
	}
}

func TestSweepRemovesWhatAnEarlierStartLeft(t *testing.T) {
	b := newBench(t)
	b.container(space)
	b.put(at("kept"), "x")
	b.stage(at("kept"), "1", "x")
	b.stage(at("old"), "1", "x")
	orphan := func() {
		w, err := b.bytes.Create(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		key, _ := b.newKey()
		fmt.Fprint(w, "x")
		if err := w.Commit(key); err != nil {
			t.Fatal(err)
		}
	}
	orphan()
	if err := b.Sweep(t.Context()); err != nil || b.pieces() != 4 {
		t.Errorf("the running process's own: %v, %d pieces, not 4", err, b.pieces())
	}
	b.start()
	orphan()
	if err := b.Sweep(t.Context()); err != nil || b.pieces() != 4 {
		t.Errorf("after a restart: %v, %d pieces, not 4", err, b.pieces())
	}
	b.now = b.now.Add(8 * 24 * time.Hour)
	b.stage(at("kept"), "2", "x") // drops the expired one
	b.start()
	if err := b.Sweep(t.Context()); err != nil || b.pieces() != 2 {
		t.Errorf("after a week: %v, %d pieces, not 2", err, b.pieces())
	}
	if got, err := b.read(at("kept")); got != "x" || err != nil {
		t.Errorf("%q %v", got, err)
	}
}

func TestSweepFinishesADeletion(t *testing.T) {
	b := newBench(t)
	b.container(space)
	for i := range 1200 {
		b.put(at(fmt.Sprint(i)), "x")
	}
	b.cancel() // the process ends before the purge
	if err := b.DeleteContainer(t.Context(), space, "data", Conditions{}); err != nil {
		t.Fatal(err)
	}
	b.start()
	if err := b.Sweep(t.Context()); err != nil || b.pieces() != 0 {
		t.Errorf("%v, %d pieces", err, b.pieces())
	}
}

// TestReadersSeeOneState replaces a blob of several segments again and again
// while readers read it slowly.
func TestReadersSeeOneState(t *testing.T) {
	b := newBench(t)
	b.container(space)
	write := func(n int) {
		for i := range 4 {
			b.stage(at("b"), fmt.Sprint(i), strings.Repeat(fmt.Sprint(n), 50))
		}
		b.commit(at("b"), "0", "1", "2", "3")
	}
	write(0)
	slow, err := b.OpenBlob(t.Context(), at("b"), Conditions{})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 100 {
				got, err := b.read(at("b"))
				if err != nil || len(got) != 200 || strings.Trim(got, got[:1]) != "" {
					t.Errorf("%q %v", got, err)
					return
				}
			}
		})
	}
	for i := range 50 {
		write(i % 10)
	}
	wg.Wait()
	var buf bytes.Buffer
	if err := slow.WriteRange(t.Context(), &buf, 0, 200); err != nil || buf.String() != strings.Repeat("0", 200) {
		t.Errorf("the reader from before: %v %q", err, buf.String())
	}
	if n := b.pieces(); n != 8 {
		t.Errorf("%d pieces while the reader is open, not 8", n)
	}
	slow.Close()
	if n := b.pieces(); n != 4 {
		t.Errorf("%d pieces at the end, not 4", n)
	}
}

func TestTagsNeverRepeat(t *testing.T) {
	b := newBench(t)
	b.container(space)
	seen := map[string]bool{}
	for range 100 {
		tag := b.put(at("b"), "x").ETag
		if seen[tag] {
			t.Fatal(tag)
		}
		seen[tag] = true
	}
	b.now = b.now.Add(-time.Hour) // the clock steps back, and the process restarts
	b.start()
	if tag := b.put(at("b"), "x").ETag; seen[tag] {
		t.Error(tag)
	}
}

func TestOneOfManyCreatorsWins(t *testing.T) {
	b := newBench(t)
	b.container(space)
	var mu sync.Mutex
	won := 0
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			_, err := b.PutBlob(context.Background(), PutBlob{Write: Write{At: at("b"), Conditions: Conditions{IfNoneMatch: "*"}}, Body: strings.NewReader("x"), Limit: 9})
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				won++
			}
		})
	}
	wg.Wait()
	if won != 1 || b.pieces() != 1 {
		t.Errorf("%d won, %d pieces", won, b.pieces())
	}
}
