package scoring

import (
	"iter"
	"maps"
)

// Endpoints goes over the table as it is now: host names and the endpoints
// behind them, in no order. What it gives is read only.
func (f *Front) Endpoints() iter.Seq2[string, Endpoint] {
	return func(yield func(string, Endpoint) bool) {
		table := f.table.Load()
		if table == nil {
			return
		}
		for host, t := range maps.All(*table) {
			if !yield(host, t.Endpoint) {
				return
			}
		}
	}
}
