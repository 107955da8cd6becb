package scoring

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// ProbeError says that an instance does not pass a probe.
type ProbeError struct {
	Failures int // in a row
	Err      error
}

// Error returns how often, and the last cause.
func (e *ProbeError) Error() string {
	return fmt.Sprintf("%d times in a row: %v", e.Failures, e.Err)
}

// Unwrap returns the last cause.
func (e *ProbeError) Unwrap() error { return e.Err }

// Prove returns once every instance has passed the probe so many times in a
// row, has not ended during a time, and passes it once more. Else it returns why
// not: a *[ProbeError], or what the instance ended with. It does not wait for the
// probe's initial delay, and for its period only after a failure.
func (p *Pool) Prove(ctx context.Context, probe Probe, times int, settle time.Duration) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p.mu.Lock()
	members := slices.Clone(p.members)
	p.mu.Unlock()
	outcome := make(chan error, len(members))
	for _, m := range members {
		go func() { outcome <- m.prove(ctx, probe, max(times, 1), settle) }()
	}
	for range members {
		if err := <-outcome; err != nil {
			return err
		}
	}
	return nil
}

func (m *member) prove(ctx context.Context, probe Probe, times int, settle time.Duration) error {
	s := m.seated()
	if s == nil {
		return m.ended()
	}
	if err := m.passes(ctx, s, probe, times); err != nil {
		return err
	}
	if err := m.lives(ctx, s, time.After(settle)); err != nil {
		return err
	}
	return m.passes(ctx, s, probe, 1)
}

// passes returns once the instance has passed the probe so many times in a row.
func (m *member) passes(ctx context.Context, s *seat, probe Probe, times int) error {
	for passed, failed := 0, 0; passed < times; {
		try, cancel := context.WithTimeout(ctx, probe.Timeout)
		err := s.instance.Probe(try)
		cancel()
		pause := time.Duration(0)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil:
			passed, failed = passed+1, 0
		default:
			passed, failed, pause = 0, failed+1, min(probe.Period, time.Second)
		}
		if failed > 0 && failed >= probe.FailureThreshold {
			return &ProbeError{failed, err}
		}
		if err := m.lives(ctx, s, time.After(pause)); err != nil {
			return err
		}
	}
	return nil
}

// lives waits, and returns why the instance ended if it does before.
func (m *member) lives(ctx context.Context, s *seat, until <-chan time.Time) error {
	select {
	case <-s.instance.Done():
		return whyEnded(s.instance)
	case <-ctx.Done():
		return ctx.Err()
	case <-until:
		return nil
	}
}

// seated is the seat of the member's instance, or nil if it is not ready.
func (m *member) seated() *seat {
	g := m.pool.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, s := range g.seats {
		if s.index == m.index {
			return s
		}
	}
	return nil
}

// ended is why the member is not ready after it was.
func (m *member) ended() error {
	if err := m.snapshot().LastErr; err != nil {
		return err
	}
	return errEnded()
}
