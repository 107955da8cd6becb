// Package heap keeps the garbage collector from running all the time over a
// small heap.
//
// Go collects when the heap has doubled. A server whose live data are a few
// megabytes and which allocates a hundred in a second so collects ten times in
// each. A floor under the heap's size lets it grow to that before; a heap that
// is larger by itself is collected as always.
package heap

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// The bounds of what the heap may grow by, in percent of its live data.
// standard is Go's own.
const (
	standard = 100
	most     = 400
)

// percent is what a heap with so many live bytes may grow by to reach the floor.
func percent(live, floor uint64) int {
	if live == 0 || floor/live > (most+100)/100 {
		return most
	}
	grow := int(100*floor/live) - 100
	return min(max(grow, standard), most)
}

// keeper lives until the next collection, and then for one more.
type keeper struct {
	floor  uint64
	now    int
	sample []metrics.Sample
}

// Floor lets the heap of this process grow to so many bytes before it is
// collected, if it is smaller. It does nothing where the variable GOGC says
// what is wanted.
func Floor(bytes uint64) {
	if os.Getenv("GOGC") != "" {
		return
	}
	k := &keeper{floor: bytes, now: standard, sample: []metrics.Sample{{Name: "/gc/heap/live:bytes"}}}
	k.adjust()
	runtime.SetFinalizer(k, (*keeper).again)
}

// again is called after each collection.
func (k *keeper) again() {
	k.adjust()
	runtime.SetFinalizer(k, (*keeper).again)
}

// adjust sets the percentage, which stops the world for a moment, only if it
// differs by more than a little.
func (k *keeper) adjust() {
	metrics.Read(k.sample)
	next := percent(k.sample[0].Value.Uint64(), k.floor)
	if next*10 > k.now*9 && next*9 < k.now*10 {
		return
	}
	k.now = next
	debug.SetGCPercent(next)
}
