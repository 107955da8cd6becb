package scoring

import (
	"testing"
	"time"
)

func TestDepthFollowsTheTimeOfRuns(t *testing.T) {
	for average, want := range map[time.Duration]int{
		0: 1, time.Microsecond: 32, 31 * time.Microsecond: 32, 62 * time.Microsecond: 16, 100 * time.Microsecond: 10, 300 * time.Microsecond: 3,
		600 * time.Microsecond: 1, time.Millisecond: 1, time.Minute: 1,
	} {
		if got := depth(average); got != want {
			t.Errorf("depth(%v) is %d, not %d", average, got, want)
		}
	}
}

func TestOneSlowRequestMakesTheSeatCareful(t *testing.T) {
	s := newSeat(nil, 0)
	run := func(busy time.Duration) { s.hold(1, time.Now()); s.drop(1, busy, time.Now()) }
	for range 20 {
		run(50 * time.Microsecond)
	}
	if got := depth(s.average); got != 20 {
		t.Errorf("the depth of a fast script is %d", got)
	}
	run(50 * time.Millisecond)
	if got := depth(s.average); got != 1 {
		t.Errorf("the depth after a slow run is %d", got)
	}
	for range 100 {
		run(50 * time.Microsecond)
	}
	if got := depth(s.average); got < 10 {
		t.Errorf("the depth after many fast ones is %d", got)
	}
	run(0) // a request that was never run
	if got := depth(s.average); got < 10 {
		t.Errorf("what was never run made the depth %d", got)
	}
}

// fastSeats gives a gate with n seats of fast scripts.
func fastSeats(n int) (*gate, []*seat) {
	g := newGate()
	var seats []*seat
	for index := range n {
		s := newSeat(nil, index)
		s.average = time.Microsecond
		g.add(s)
		seats = append(seats, s)
	}
	return g, seats
}

func taken(t *testing.T, g *gate, size int) *seat {
	t.Helper()
	s, _ := g.take(size, time.Time{}, false)
	if s == nil {
		t.Fatal("no seat is free")
	}
	return s
}

func queued(t *testing.T, g *gate, size int, first bool) *ticket {
	t.Helper()
	s, place := g.take(size, time.Time{}, first)
	if s != nil {
		t.Fatal("there was a seat")
	}
	return place
}

func arrived(place *ticket) *seat {
	select {
	case s := <-place.arrived:
		return s
	default:
		return nil
	}
}

func TestRequestsAreSpreadOverTheSeats(t *testing.T) {
	g, seats := fastSeats(3)
	for range 9 {
		taken(t, g, 1)
	}
	for _, s := range seats {
		if s.load != 3 {
			t.Errorf("seat %d has %d of 9", s.index, s.load)
		}
	}
}

func TestStalledSeatGetsNoMore(t *testing.T) {
	g, seats := fastSeats(2)
	stalled := taken(t, g, 1)
	stalled.since = time.Now().Add(-stallAfter)
	for range mostReady {
		if s := taken(t, g, 1); s == stalled {
			t.Fatal("a request went behind one that takes long")
		}
	}
	place := queued(t, g, 1, false)
	g.release(stalled, 1, time.Millisecond)
	if got := arrived(place); got != stalled {
		t.Errorf("the next got %v", got)
	}
	if seats[0].load+seats[1].load != mostReady+1 {
		t.Error("the loads are wrong")
	}
}

func TestLargeRequestWaitsForAnEmptySeatAndIsNotStarved(t *testing.T) {
	g, _ := fastSeats(1)
	s := taken(t, g, 1)
	taken(t, g, 1)
	large := queued(t, g, readyBytes, false)
	small := queued(t, g, 1, false)
	if again, _ := g.take(1, time.Time{}, true); again != s {
		t.Error("one that was given back waits behind the large one")
	}
	for range 3 {
		if arrived(large) != nil || arrived(small) != nil {
			t.Error("the large one did not wait, or the small one passed it")
		}
		g.release(s, 1, time.Microsecond)
	}
	if arrived(large) != s || arrived(small) != nil {
		t.Error("the large one does not have the seat for itself")
	}
	g.giveUp(small)
	g.release(s, readyBytes, time.Microsecond)
	if s.load != 0 || s.bytes != 0 {
		t.Errorf("load %d, %d bytes", s.load, s.bytes)
	}
}

func TestWhoGivesUpLetsTheNextOnePass(t *testing.T) {
	g, _ := fastSeats(1)
	s := taken(t, g, 1)
	large, small := queued(t, g, readyBytes, false), queued(t, g, 1, false)
	g.giveUp(large)
	if arrived(small) != s {
		t.Error("the small one still waits")
	}
}

func TestRetiredSeatIsEmptyAfterItsLastRequest(t *testing.T) {
	g, _ := fastSeats(1)
	s := taken(t, g, 1)
	taken(t, g, 1)
	if !g.retire(s) || g.retire(s) {
		t.Error("a seat retires once")
	}
	for n := 2; n > 0; n-- {
		select {
		case <-s.empty:
			t.Errorf("empty with %d requests", n)
		default:
		}
		g.release(s, 1, 0)
	}
	<-s.empty
	if ready, _ := g.counts(); ready != 0 {
		t.Errorf("%d are ready", ready)
	}
}
