package main

import (
	"sync"
	"sync/atomic"
	"time"
)

// once is how long a call takes.
func once(f func() error) (time.Duration, error) {
	start := time.Now()
	err := f()
	return time.Since(start), err
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// measure takes a sample of a thing.
type measure func() (float64, error)

// timed samples the duration of f in milliseconds.
func timed(f func() error) measure {
	return func() (float64, error) {
		d, err := once(f)
		return millis(d), err
	}
}

// interleave samples several things in turn, so that a noisy moment of the
// machine falls on all of them alike.
func interleave(rounds int, of ...measure) ([]samples, error) {
	out := make([]samples, len(of))
	for range rounds {
		for i, m := range of {
			v, err := m()
			if err != nil {
				return nil, err
			}
			out[i] = append(out[i], v)
		}
	}
	return out, nil
}

// rate samples how often a second workers get through op, each one call after
// another (a closed loop), for a time d.
func rate(workers int, d time.Duration, op func(worker int) error) measure {
	return func() (float64, error) {
		var done atomic.Int64
		var failed error
		var fail sync.Once
		var wg sync.WaitGroup
		start := time.Now()
		for w := range workers {
			wg.Go(func() {
				for time.Since(start) < d {
					if err := op(w); err != nil {
						fail.Do(func() { failed = err })
						return
					}
					done.Add(1)
				}
			})
		}
		wg.Wait()
		return float64(done.Load()) / time.Since(start).Seconds(), failed
	}
}

// typical samples the median latency of n calls, one after another, in µs.
func typical(n int, op func(worker int) error) measure {
	return func() (float64, error) {
		all := make(samples, 0, n)
		for range n {
			d, err := once(func() error { return op(0) })
			if err != nil {
				return 0, err
			}
			all = append(all, micros(d))
		}
		return all.median(), nil
	}
}
