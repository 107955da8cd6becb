package scoring

import (
	"sync"
	"time"

	"lapis/worker"
)

// A script runs one request at a time. So that it does not wait for the next
// one after each, several may lie ready in the instance: as many as it does in
// about readyWork, going by its recent ones, and one if they take that long.
const (
	readyWork  = time.Millisecond
	mostReady  = 32
	readyBytes = 64 << 10 // together; a larger request needs an empty seat

	// stallAfter is how long one request may hold up those that lie ready
	// behind it. They are then recalled, for another instance to take.
	stallAfter = 5 * time.Millisecond
)

// seat is one ready instance as the queue sees it.
type seat struct {
	instance worker.Instance
	index    int
	empty    chan struct{} // closed once the seat is retired and no request is in it

	// guarded by the gate
	retired bool
	load    int           // requests in the instance
	bytes   int           // of them
	since   time.Time     // when the instance got to the first of them
	average time.Duration // moving, of what recent requests took; 0 means unknown
	flow    *flow         // the answer that is being sent, or nil; its reader limits its time

	watch watch
	once  sync.Once // for its replacement
}

func newSeat(instance worker.Instance, index int) *seat {
	return &seat{instance: instance, index: index, empty: make(chan struct{})}
}

// depth is how many requests may be in the instance.
func depth(average time.Duration) int {
	if average <= 0 {
		return 1
	}
	return int(min(max(readyWork/average, 1), mostReady))
}

// fits reports whether a request of so many bytes may be put into the seat.
func (s *seat) fits(size int, now time.Time) bool {
	if s.load == 0 {
		return true
	}
	return s.flow == nil && s.load < depth(s.average) && s.bytes+size <= readyBytes && now.Sub(s.since) < stallAfter
}

func (s *seat) hold(size int, now time.Time) {
	if s.load == 0 {
		s.since = now
	}
	s.load++
	s.bytes += size
}

// drop takes a request out that the script was busy with for so long.
func (s *seat) drop(size int, busy time.Duration, now time.Time) {
	s.load--
	s.bytes -= size
	if busy <= 0 { // it was never run
		return
	}
	s.since = now
	if s.average == 0 {
		s.average = busy
		return
	}
	s.average = max(s.average+(busy-s.average)/8, 1)
}
