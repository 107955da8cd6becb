package heap

import (
	"runtime"
	"runtime/debug"
	"testing"
	"time"
)

func TestSmallHeapsMayGrowToTheFloor(t *testing.T) {
	const mb = 1 << 20
	for _, c := range []struct {
		live uint64
		want int
	}{{0, 400}, {1 * mb, 400}, {6 * mb, 400}, {8 * mb, 300}, {10 * mb, 220}, {16 * mb, 100}, {17 * mb, 100}, {1 << 40, 100}} {
		if got := percent(c.live, 32*mb); got != c.want {
			t.Errorf("%d live bytes may grow by %d %%, not %d", c.live, got, c.want)
		}
	}
}

// The floor is looked after at every collection, not only at the first.
func TestFloorFollowsTheHeap(t *testing.T) {
	t.Setenv("GOGC", "")
	before := debug.SetGCPercent(100)
	defer debug.SetGCPercent(before)
	Floor(32 << 20)
	until(t, 400)
	large := make([][]byte, 64)
	for i := range large {
		large[i] = make([]byte, 1<<20)
	}
	until(t, 100)
	runtime.KeepAlive(large)
	large = nil
	until(t, 400)
}

// until collects until the heap may grow by so much. Finalizers run on a
// goroutine of their own, some time after a collection.
func until(t *testing.T, want int) {
	t.Helper()
	got := 0
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		runtime.GC()
		runtime.Gosched()
		got = debug.SetGCPercent(100)
		debug.SetGCPercent(got)
		if got == want {
			return
		}
	}
	t.Errorf("the heap may grow by %d %%, not %d", got, want)
}

func TestGOGCIsHeeded(t *testing.T) {
	t.Setenv("GOGC", "100")
	before := debug.SetGCPercent(123)
	defer debug.SetGCPercent(before)
	Floor(32 << 20)
	if now := debug.SetGCPercent(123); now != 123 {
		t.Errorf("GOGC was set, and the floor set %d %%", now)
	}
}
