package scoring

import (
	"testing"
	"time"
)

func TestDecideMovesBetweenItsBounds(t *testing.T) {
	now := time.Unix(1000, 0)
	s := Scaling{Min: 1, Max: 8, Target: 70, Poll: time.Second, Idle: time.Minute}
	zero := s
	zero.Min = 0
	long := lull{since: now.Add(-downAfter * time.Second), peak: 2}
	for _, c := range []struct {
		name    string
		scaling Scaling
		seen    demand
		past    lull
		want    int
		after   lull
	}{
		{"as busy as it should be", s, demand{instances: 2, work: 1.4}, lull{}, 2, lull{}},
		{"a little more", s, demand{instances: 2, work: 1.5}, lull{}, 3, lull{}},
		{"much more, at once", s, demand{instances: 1, work: 4.2}, lull{}, 6, lull{}},
		{"more than it may have", s, demand{instances: 1, work: 1e18}, lull{}, 8, lull{}},
		{"less, just now", s, demand{instances: 6, work: 0.5}, lull{}, 6, lull{since: now, peak: 1}},
		{"less, for a while", s, demand{instances: 6, work: 2}, lull{since: now.Add(-time.Second), peak: 1}, 6, lull{since: now.Add(-time.Second), peak: 3}},
		{"less, for long enough", s, demand{instances: 6, work: 0.5}, long, 2, lull{}},
		{"enough again", s, demand{instances: 6, work: 4}, lull{since: now.Add(-time.Second), peak: 1}, 6, lull{}},
		{"nothing, but one must stay", s, demand{instances: 1, idle: time.Hour}, lull{}, 1, lull{}},
		{"nothing for long", zero, demand{instances: 4, idle: time.Minute}, lull{}, 0, lull{}},
		{"nothing, not for long", zero, demand{instances: 1, idle: 59 * time.Second}, lull{}, 1, lull{}},
		{"fewer than there must be", s, demand{instances: 0}, lull{}, 1, lull{}},
		{"more than there may be", Scaling{Min: 1, Max: 2, Target: 70, Poll: time.Second}, demand{instances: 5, work: 5}, long, 2, lull{}},
		{"a target of all", Scaling{Min: 1, Max: 8, Target: 100, Poll: time.Second}, demand{instances: 2, work: 3}, lull{}, 3, lull{}},
	} {
		if n, after := c.scaling.decide(now, c.seen, c.past); n != c.want || after != c.after {
			t.Errorf("%s: %d %+v, not %d %+v", c.name, n, after, c.want, c.after)
		}
	}
}
