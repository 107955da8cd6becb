package scoring

import (
	"fmt"
	"testing"
)

func TestTurnsGiveEachItsExactShareInEvenSteps(t *testing.T) {
	pools := map[string]*Pool{"blue": {}, "green": {}, "red": {}}
	for _, c := range []struct {
		traffic map[string]int
		cycle   int
		want    map[string]int // in each cycle
	}{
		{map[string]int{"blue": 90, "green": 10}, 10, map[string]int{"blue": 9, "green": 1}},
		{map[string]int{"blue": 50, "green": 50}, 2, map[string]int{"blue": 1, "green": 1}},
		{map[string]int{"blue": 50, "green": 25, "red": 25}, 4, map[string]int{"blue": 2, "green": 1, "red": 1}},
		{map[string]int{"blue": 33, "green": 33, "red": 34}, 100, map[string]int{"blue": 33, "green": 33, "red": 34}},
		{map[string]int{"blue": 99, "green": 1}, 100, map[string]int{"blue": 99, "green": 1}},
		{map[string]int{"blue": 100}, 1, map[string]int{"blue": 1}},
	} {
		front := &Front{InTurn: true, Pick: func(int) int { t.Error("it was left to chance"); return 0 }}
		endpoint := Endpoint{Name: "e", Authorize: onlyTestKey, Deployments: pools, Traffic: c.traffic}
		seen := map[string]int{}
		for n := range 300 / c.cycle * c.cycle {
			if n%7 == 0 { // a change elsewhere does not begin the cycle anew
				if err := front.Set(host, endpoint); err != nil {
					t.Fatal(err)
				}
			}
			name, _, err := front.choose(front.find(host), nil)
			if err != nil {
				t.Fatal(err)
			}
			if seen[name]++; (n+1)%c.cycle == 0 {
				if fmt.Sprint(seen) != fmt.Sprint(c.want) {
					t.Errorf("%v: in requests up to %d: %v", c.traffic, n, seen)
				}
				clear(seen)
			}
		}
	}
}

func TestCopiesInTurn(t *testing.T) {
	for percent, first := range map[int]int{1: 99, 10: 9, 33: 3, 50: 1} {
		turns, copies := copyTurns(percent), 0
		for n := range 300 {
			if turns.next(100) < percent {
				if copies++; copies == 1 && n != first {
					t.Errorf("%d %%: the first copy is of request %d", percent, n)
				}
			}
		}
		if copies != 3*percent {
			t.Errorf("%d %%: %d copies of 300", percent, copies)
		}
	}
}
