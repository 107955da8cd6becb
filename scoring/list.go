package scoring

import (
	"iter"
	"maps"
	"sync/atomic"
)

// table is the table of hosts. It is read without a lock, and has leaves so
// that a change copies few of its rows: with ten thousand endpoints, the copies
// of whole tables would be most of what their start costs.
type table [64]atomic.Pointer[map[string]*target]

// leaf is where the row of a host is.
func (t *table) leaf(key string) *atomic.Pointer[map[string]*target] {
	sum := uint32(2166136261) // FNV-1a
	for n := range len(key) {
		sum = (sum ^ uint32(key[n])) * 16777619
	}
	return &t[sum%uint32(len(t))]
}

// rows goes over the table.
func (t *table) rows() iter.Seq2[string, *target] {
	return func(yield func(string, *target) bool) {
		for n := range t {
			rows := t[n].Load()
			if rows == nil {
				continue
			}
			for host, row := range *rows {
				if !yield(host, row) {
					return
				}
			}
		}
	}
}

// cloned is maps.Clone that keeps nothing of an empty map.
func cloned[K comparable, V any](m map[K]V) map[K]V {
	if len(m) == 0 {
		return nil
	}
	return maps.Clone(m)
}

// Endpoints goes over the table as it is now: host names and the endpoints
// behind them, in no order. What it gives is read only.
func (f *Front) Endpoints() iter.Seq2[string, Endpoint] {
	return func(yield func(string, Endpoint) bool) {
		for host, t := range f.table.rows() {
			if !yield(host, t.Endpoint) {
				return
			}
		}
	}
}
