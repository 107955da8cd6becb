package processors

import (
	"runtime"
	"testing"
)

func TestOneProcessorIsLeft(t *testing.T) {
	for all, want := range map[int]int{1: 1, 2: 1, 3: 2, 64: 63} {
		if got := left(all); got != want {
			t.Errorf("of %d: %d", all, got)
		}
	}
}

func TestUsersWishCounts(t *testing.T) {
	before := runtime.GOMAXPROCS(3)
	defer runtime.GOMAXPROCS(before)
	t.Setenv("GOMAXPROCS", "3")
	if LeaveOne(); runtime.GOMAXPROCS(0) != 3 {
		t.Error("GOMAXPROCS of the environment was not kept")
	}
	t.Setenv("GOMAXPROCS", "")
	if LeaveOne(); runtime.GOMAXPROCS(0) != 2 {
		t.Error("no processor was left")
	}
}
