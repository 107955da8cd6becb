package scoring

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"lapis/worker"
)

// Phase is where a member of a pool is.
type Phase string

// The phases:
//
//	Starting ──ready──▶ Ready ──▶ Stopping ──▶ (gone)
//	   ▲                  │
//	   └──── Waiting ◀────┘ ended, or failed to start again
const (
	Starting Phase = "Starting"
	Ready    Phase = "Ready"
	Waiting  Phase = "Waiting" // for the back-off to pass
	Stopping Phase = "Stopping"
)

// MemberState is a snapshot of one member.
type MemberState struct {
	Index    int
	Phase    Phase
	Since    time.Time
	Restarts int
	LastErr  error // why it last ended or could not be started
}

// The back-off before an instance is started again for the second time in a
// row. It starts afresh for one that has been ready for longer than backoffReset.
const (
	backoffFirst = 100 * time.Millisecond
	backoffLast  = 30 * time.Second
	backoffReset = 10 * time.Second
)

// backoff returns the wait before the nth restart in a row, from 0 up: half
// of it fixed, half by jitter in [0, 1).
func backoff(n int, jitter float64) time.Duration {
	d := backoffLast
	if n < 9 { // 100 ms * 2^9 is more than 30 s
		d = min(backoffFirst<<n, backoffLast)
	}
	return d/2 + time.Duration(jitter*float64(d/2))
}

// member is one place in a pool: an instance, and the next one when it ends.
type member struct {
	pool  *Pool
	index int
	first chan error    // gets nil when first ready, or why that failed
	quit  chan struct{} // closed when the member is to go
	gone  chan struct{} // closed when it has gone
	once  sync.Once
	life  context.Context // ends when it is to be gone at once
	kill  context.CancelFunc

	mu    sync.Mutex
	state MemberState
}

// launch starts a member's goroutine.
func (p *Pool) launch(index int) *member {
	m := &member{pool: p, index: index, first: make(chan error, 1), quit: make(chan struct{}), gone: make(chan struct{})}
	m.life, m.kill = context.WithCancel(p.life)
	m.state = MemberState{Index: index, Phase: Starting, Since: p.cfg.Now()}
	p.all.Go(m.supervise)
	return m
}

func (m *member) end() { m.once.Do(func() { close(m.quit) }) }

func (m *member) awaitGone(ctx context.Context) error {
	select {
	case <-m.gone:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (m *member) snapshot() MemberState {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state
}

func (m *member) enter(phase Phase, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state.Phase, m.state.Since = phase, m.pool.cfg.Now()
	if err != nil {
		m.state.LastErr = err
	}
	if phase == Starting {
		m.state.Restarts++
	}
}

// supervise runs one instance after the other until the member is to go. If
// the first does not get ready, it does not try again.
func (m *member) supervise() {
	defer close(m.gone)
	defer m.pool.left(m)
	defer m.kill()
	cfg := &m.pool.cfg
	failures, everReady := 0, false
	for {
		readyFor, err := m.live()
		switch {
		case err == nil: // told to go
			return
		case readyFor == 0 && !everReady:
			m.first <- err
			return
		case readyFor > backoffReset:
			failures = 0
		}
		everReady = true
		var wait time.Duration // none after the first: what lives again at once answers again at once
		if failures > 0 {
			wait = backoff(failures-1, cfg.Jitter())
		}
		failures++
		m.enter(Waiting, err)
		cfg.Logger.Warn("instance ended", "pool", cfg.Name, "instance", m.index, "ready_for", readyFor, "restart_in", wait, "err", err)
		if !m.pause(wait) {
			return
		}
		m.pool.restarts.Add(1)
		m.enter(Starting, nil)
	}
}

// pause waits, and reports false when the member is to go.
func (m *member) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-m.quit:
	case <-m.life.Done():
	}
	return false
}

// errEnded stands in where an instance ended without saying why.
func errEnded() error {
	return &worker.ExitError{Stage: worker.StageRun, Code: worker.CodeExited, Message: "The instance ended."}
}

// live runs one instance from its start to its end. It returns how long it
// was ready, and why it ended; nil if the member was told to go.
func (m *member) live() (time.Duration, error) {
	ctx, cancel := context.WithCancel(m.life)
	defer cancel()
	stopStart := m.cancelOnQuit(cancel)
	instance, cleanup, err := m.startInstance(ctx)
	stopStart()
	if err != nil {
		if m.going() {
			return 0, nil
		}
		return 0, err
	}
	defer cleanup()
	select {
	case <-instance.Ready():
	case <-instance.Done():
		if m.going() {
			return 0, nil
		}
		return 0, whyEnded(instance)
	case <-m.quit:
		return 0, m.stop(instance)
	case <-m.life.Done():
		return 0, m.stop(instance)
	}
	return m.serve(instance)
}

// cancelOnQuit ends a start that is under way when the member is to go.
func (m *member) cancelOnQuit(cancel context.CancelFunc) (stop func()) {
	done := make(chan struct{})
	go func() {
		select {
		case <-m.quit:
			cancel()
		case <-done:
		}
	}()
	return func() { close(done) }
}

func (m *member) going() bool {
	select {
	case <-m.quit:
		return true
	case <-m.life.Done():
		return true
	default:
		return false
	}
}

func whyEnded(instance worker.Instance) error {
	if err := instance.Err(); err != nil {
		return err
	}
	return errEnded()
}

// startInstance asks for the spec and starts it. cleanup gives everything back.
func (m *member) startInstance(ctx context.Context) (worker.Instance, func(), error) {
	cfg := &m.pool.cfg
	spec, release, err := cfg.Spec(ctx, m.index)
	if err != nil {
		return nil, nil, err
	}
	var console io.WriteCloser
	if spec.Log == nil {
		console = cfg.Log.Writer()
		spec.Log = console
	}
	setDefault(&spec.Name, fmt.Sprintf("%s/%d", cfg.Name, m.index))
	setDefault(&spec.InitTimeout, cfg.InitTimeout)
	cleanup := func() {
		if console != nil {
			_ = console.Close()
		}
		if release != nil {
			release()
		}
	}
	instance, err := cfg.Runtime.Start(ctx, spec)
	if err != nil {
		cleanup()
		return nil, nil, err
	}
	return instance, cleanup, nil
}

// serve offers a ready instance until it ends, fails its probes, or the
// member is to go.
func (m *member) serve(instance worker.Instance) (time.Duration, error) {
	began := m.pool.cfg.Now()
	s := newSeat(instance, m.index)
	m.enter(Ready, nil)
	m.pool.gate.add(s)
	select { // the first time only
	case m.first <- nil:
	default:
	}
	unhealthy := make(chan error, 1)
	probing, stopProbing := context.WithCancel(m.life)
	go m.probe(probing, instance, unhealthy)
	defer stopProbing()

	var err error
	select {
	case <-instance.Done():
		m.pool.gate.retire(s)
		err = whyEnded(instance)
	case err = <-unhealthy:
		m.pool.gate.retire(s)
		kill(instance)
	case <-m.quit:
		m.leave(s)
	case <-m.life.Done():
		m.leave(s)
	}
	return max(m.pool.cfg.Now().Sub(began), 1), err
}

// leave lets the requests in the seat finish, then stops the instance.
func (m *member) leave(s *seat) {
	m.enter(Stopping, nil)
	m.pool.gate.retire(s)
	select {
	case <-s.empty:
	case <-s.instance.Done():
	case <-m.life.Done():
	}
	_ = m.stop(s.instance)
}

// stop ends an instance, at once if the pool is to be gone at once.
func (m *member) stop(instance worker.Instance) error {
	_ = instance.Stop(m.life)
	return nil
}

// probe watches the instance's life and reports when it has failed too often in a row.
func (m *member) probe(ctx context.Context, instance worker.Instance, unhealthy chan<- error) {
	cfg := m.pool.cfg.Liveness
	timer := time.NewTimer(cfg.InitialDelay)
	defer timer.Stop()
	for failures := 0; ; {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		try, cancel := context.WithTimeout(ctx, cfg.Timeout)
		err := instance.Probe(try)
		cancel()
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			failures = 0
		default:
			failures++
			m.pool.cfg.Logger.Warn("liveness probe failed", "pool", m.pool.cfg.Name, "instance", m.index, "failures", failures, "err", err)
		}
		if failures >= cfg.FailureThreshold {
			unhealthy <- fmt.Errorf("the liveness probe failed %d times in a row: %w", failures, err)
			return
		}
		timer.Reset(cfg.Period)
	}
}
