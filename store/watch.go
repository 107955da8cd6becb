package store

import (
	"slices"
	"sync"
)

// Watchers is what a backend keeps for [Store.Watch]; the zero value has none.
type Watchers struct {
	mu   sync.Mutex
	list []*watcher // replaced, never changed: Notify walks it without the lock
}

type watcher struct {
	table string
	fn    func()
}

// Watch is [Store.Watch]. A call that is under way when stop is called is not
// waited for.
func (w *Watchers) Watch(table string, fn func()) (stop func()) {
	one := &watcher{table, fn}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.list = append(slices.Clone(w.list), one)
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.list = slices.DeleteFunc(slices.Clone(w.list), func(x *watcher) bool { return x == one })
	}
}

// Notify calls those who watch a changed table. Backends call it once for each
// commit, in order.
func (w *Watchers) Notify(changed map[string]bool) {
	w.mu.Lock()
	list := w.list
	w.mu.Unlock()
	for _, one := range list {
		if changed[one.table] {
			one.fn()
		}
	}
}
