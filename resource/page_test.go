package resource_test

import (
	"context"
	"fmt"
	"testing"

	"lapis/armid"
	"lapis/resource"
	"lapis/store"
)

// counting counts the records that lists have read.
type counting struct {
	store.Store
	read int
}

func (c *counting) View(ctx context.Context, fn func(store.Reader) error) error {
	return c.Store.View(ctx, func(r store.Reader) error { return fn(countingReader{r, c}) })
}

type countingReader struct {
	store.Reader
	counted *counting
}

func (r countingReader) List(table, prefix, after string, limit int) ([]store.Record, error) {
	list, err := r.Reader.List(table, prefix, after, limit)
	r.counted.read += len(list)
	return list, err
}

func TestPageReadsNoMoreThanItShows(t *testing.T) {
	w := newWorld(t)
	other := armid.ResourceGroup("s1", "rg2")
	w.must(w.put(other, `{"location":"here"}`))
	for n := range 25 {
		w.must(w.put(w.group.Provider(thingType, fmt.Sprintf("Thing%02d", n)), `{"location":"here"}`))
	}
	w.must(w.put(other.Provider(thingType, "elsewhere"), `{"location":"here"}`))
	all, err := w.tree.List(t.Context(), thingType, w.group)
	if err != nil || len(all) != 25 {
		t.Fatal(len(all), err)
	}
	st := &counting{Store: w.store}
	w.tree.Store = st
	var names []string
	after := ""
	for pages := 0; pages < 10; pages++ {
		st.read = 0
		page, err := w.tree.ListPage(t.Context(), thingType, w.group, after, 10)
		if err != nil {
			t.Fatal(err)
		}
		if st.read != len(page) {
			t.Errorf("a page of %d read %d records", len(page), st.read)
		}
		if len(page) == 0 {
			break
		}
		for _, r := range page {
			names = append(names, r.ID.Name())
		}
		after = page[len(page)-1].ID.Key()
		if pages == 0 { // the last one that was shown goes away
			if _, err := w.tree.Delete(t.Context(), page[len(page)-1].ID, resource.Caller{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for n, r := range all {
		if n >= len(names) || names[n] != r.ID.Name() {
			t.Fatalf("pages hold %v", names)
		}
	}
}
