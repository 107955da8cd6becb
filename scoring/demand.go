package scoring

import (
	"math"
	"time"
)

// Scaling says between which numbers of instances a pool moves by itself.
type Scaling struct {
	Min, Max int           // 0 to Max, 1 and more
	Target   int           // percent of the instances that are to be busy; 0 means 70
	Poll     time.Duration // how often a pool is looked at; 0 means 1 s
	Idle     time.Duration // with a Min of 0: how long without a request the last instance stays; 0 means 5 min
}

// The defaults of Scaling. Target and poll are those of Azure's router for
// Kubernetes; it has no scale to zero, and so no idle time.
const (
	DefaultTarget = 70
	DefaultPoll   = time.Second
	DefaultIdle   = 5 * time.Minute
)

// downAfter is for how many polls fewer instances must have been enough before
// some go: to have too few costs answers, to have too many only memory.
const downAfter = 20

func (s Scaling) withDefaults() Scaling {
	setDefault(&s.Max, max(1, s.Min))
	setDefault(&s.Target, DefaultTarget)
	setDefault(&s.Poll, DefaultPoll)
	setDefault(&s.Idle, DefaultIdle)
	return s
}

// Clamp returns the number of instances next to n that is allowed while there
// are requests.
func (s Scaling) Clamp(n int) int { return min(max(n, s.Min, 1), s.Max) }

// demand is what a pool has seen since it was last looked at.
type demand struct {
	instances int
	work      float64       // requests in the pool, running or waiting: the mean over the time
	idle      time.Duration // since the last request; 0 while there is one
}

// lull is since when fewer instances would have done, and the most that were
// wanted meanwhile.
type lull struct {
	since time.Time // zero: they would not have
	peak  int
}

// decide says how many instances there are to be. The utilization, work by
// instances, is brought to the target: at once upwards, and downwards to the
// most of the last downAfter polls.
func (s Scaling) decide(now time.Time, d demand, past lull) (int, lull) {
	if s.Min == 0 && d.idle >= s.Idle {
		return 0, lull{}
	}
	wanted := s.Clamp(int(math.Ceil(min(d.work*100/float64(s.Target), float64(s.Max)) - 1e-9)))
	if wanted >= d.instances {
		return wanted, lull{}
	}
	if past.since.IsZero() {
		past.since = now
	}
	past.peak = max(past.peak, wanted)
	if now.Sub(past.since) < downAfter*s.Poll {
		return d.instances, past
	}
	return past.peak, lull{}
}

// next is how long the pool need not be looked at again.
func (s Scaling) next(d demand) time.Duration {
	if s.Max > 1 || s.Min > 0 { // Min > 0 with a Max of 1 is never watched
		return s.Poll
	}
	return max(s.Poll, s.Idle-d.idle)
}

// moves reports whether there is anything to decide.
func (s Scaling) moves() bool { return s.Min < s.Max }
