package endpoint

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"lapis/fault"
	"lapis/resource"
	"lapis/store"
	"lapis/store/memory"
)

// laborious counts the records that are read and written.
type laborious struct {
	store.Store
	work atomic.Int64
}

func (l *laborious) View(ctx context.Context, fn func(store.Reader) error) error {
	return l.Store.View(ctx, func(r store.Reader) error { return fn(laboriousReader{r, l}) })
}

func (l *laborious) Update(ctx context.Context, fn func(store.Tx) error) error {
	return l.Store.Update(ctx, func(tx store.Tx) error { return fn(laboriousTx{tx, laboriousReader{tx, l}}) })
}

type laboriousReader struct {
	store.Reader
	counted *laborious
}

func (r laboriousReader) Get(table, key string) (store.Record, error) {
	r.counted.work.Add(1)
	return r.Reader.Get(table, key)
}

func (r laboriousReader) List(table, prefix, after string, limit int) ([]store.Record, error) {
	list, err := r.Reader.List(table, prefix, after, limit)
	r.counted.work.Add(1 + int64(len(list)))
	return list, err
}

type laboriousTx struct {
	store.Tx
	reader laboriousReader
}

func (t laboriousTx) Get(table, key string) (store.Record, error) { return t.reader.Get(table, key) }

func (t laboriousTx) List(table, prefix, after string, limit int) ([]store.Record, error) {
	return t.reader.List(table, prefix, after, limit)
}

func (t laboriousTx) Put(table, key string, value []byte, match store.Version) (store.Version, error) {
	t.reader.counted.work.Add(1)
	return t.Tx.Put(table, key, value, match)
}

// What a change of one endpoint reads and writes does not depend on how many
// others there are.
func TestWorkOfAChangeDoesNotGrowWithTheFleet(t *testing.T) {
	st := &laborious{Store: memory.New()}
	w := newWorldOn(t, st)
	const body = `{"location":"here","identity":{"type":"SystemAssigned"},"properties":{"authMode":"Key"}}`
	measure := func(change func()) int64 {
		before := st.work.Load()
		change()
		return st.work.Load() - before
	}
	round := func(n int) (create, update, deploy, remove int64) {
		id := w.ws.Child("onlineEndpoints", fmt.Sprint("one-", n))
		create = measure(func() { w.put(id, body) })
		update = measure(func() { w.put(id, body) })
		deploy = measure(func() { w.put(id.Child("deployments", "blue"), plainDeployment) })
		remove = measure(func() {
			op, err := w.tree.Delete(t.Context(), id, resource.Caller{})
			if err == nil && op != nil {
				err = w.runner.Wait(t.Context(), op.ID)
			}
			if err != nil && !fault.Is(err, fault.NotFound) {
				t.Fatal(err)
			}
		})
		return create, update, deploy, remove
	}
	type work struct{ create, update, deploy, remove int64 }
	var few, many work
	few.create, few.update, few.deploy, few.remove = round(0)
	for n := range 200 {
		w.put(w.ws.Child("onlineEndpoints", fmt.Sprint("other-", n)), body)
	}
	many.create, many.update, many.deploy, many.remove = round(1)
	if few != many {
		t.Errorf("records read and written among none: %+v, among 200 others: %+v", few, many)
	}
	if few.create == 0 || few.remove == 0 {
		t.Errorf("nothing was counted: %+v", few)
	}
}
