package scoring

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"lapis/worker"
)

// Probe says how an instance's life is watched. Zero values mean Azure's
// defaults: 10 s, 10 s, 2 s, 30 failures.
type Probe struct {
	InitialDelay     time.Duration
	Period           time.Duration
	Timeout          time.Duration
	FailureThreshold int
}

// PoolConfig says what a pool runs and how.
type PoolConfig struct {
	Name    string // for logs, such as "my-endpoint/blue"
	Runtime worker.Runtime

	// Spec is called before each start of an instance, with its index from 0
	// up. What it takes for the instance, such as a listener, is given back by
	// release (nil: nothing), which is called once the instance is gone, or
	// could not be started. The pool sets the spec's Log if it is nil, its
	// Name if it is empty and its InitTimeout if it is 0.
	Spec func(ctx context.Context, index int) (spec worker.Spec, release func(), err error)

	Instances      int           // 0 means 1
	MaxConcurrent  int           // requests per instance, before twice as many are refused; 0 means 1
	RequestTimeout time.Duration // 0 means 5 s
	QueueWait      time.Duration // the longest wait for an instance; 0 means only RequestTimeout counts
	NotReadyWait   time.Duration // the same while no instance is ready; 0 means 2 s
	InitTimeout    time.Duration // 0 means 10 min
	Liveness       Probe

	// With a Scaling that has room, the Scaler moves the number of instances,
	// once the pool has been started. OnSleep (nil: nothing) is told when it
	// goes to zero and when it comes back.
	Scaling  Scaling
	Scaler   *Scaler
	OnSleep  func(asleep bool)
	ColdWait time.Duration // the longest wait of a request for a start from zero; 0 means 1 min

	Log    *LogRing     // nil means a new one
	Logger *slog.Logger // nil means none
	Now    func() time.Time
	Jitter func() float64 // in [0, 1), for the back-off; nil means random
}

func (c PoolConfig) withDefaults() PoolConfig {
	setDefault(&c.Instances, 1)
	setDefault(&c.MaxConcurrent, 1)
	setDefault(&c.RequestTimeout, 5*time.Second)
	setDefault(&c.NotReadyWait, 2*time.Second)
	setDefault(&c.ColdWait, time.Minute)
	setDefault(&c.InitTimeout, 10*time.Minute)
	setDefault(&c.Liveness.InitialDelay, 10*time.Second)
	setDefault(&c.Liveness.Period, 10*time.Second)
	setDefault(&c.Liveness.Timeout, 2*time.Second)
	setDefault(&c.Liveness.FailureThreshold, 30)
	if c.Log == nil {
		c.Log = NewLogRing(0, nil)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Jitter == nil {
		c.Jitter = rand.Float64
	}
	return c
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Pool keeps instances of one script. Make it with NewPool, then Start it.
type Pool struct {
	cfg    PoolConfig
	gate   *gate
	limits limits

	life context.Context // ends when the pool is to be gone at once
	kill func()          // ends it, and the waits in the queue
	all  sync.WaitGroup  // the members' goroutines

	scaling sync.Mutex // one change of size at a time

	restarts atomic.Uint64 // of instances

	mu      sync.Mutex
	members []*member
	leaving []*member // that have been told to go
	closed  bool
	auto    Scaling // zero: the size is what Scale was told

	// of starts from zero
	rouse                *rouse // that is under way
	cold                 int    // bytes of the requests that wait for it
	starts, failedStarts uint64
	lastStart            time.Duration
	startErr             error // of the last one, if it failed
	startFailures        int   // in a row
	retryAt              time.Time
}

// NewPool makes a pool that has no instances yet.
func NewPool(cfg PoolConfig) *Pool {
	life, kill := context.WithCancel(context.Background())
	p := &Pool{cfg: cfg.withDefaults(), gate: newGate(), life: life}
	p.kill = func() {
		kill()
		p.gate.abort()
	}
	p.gate.patience = patience{unready: p.cfg.NotReadyWait, queued: p.cfg.QueueWait}
	p.limits.after = p.cfg.RequestTimeout
	if cfg.Scaling != (Scaling{}) {
		p.auto = cfg.Scaling.withDefaults()
	}
	return p
}

// Start starts the configured number of instances and returns when all are
// ready. If one ends before that, or cannot be started, it stops the others,
// closes the pool and returns the cause at once: an *worker.ExitError in the
// chain if it was the script. When ctx ends first, likewise.
func (p *Pool) Start(ctx context.Context) error {
	if err := p.Scale(ctx, p.cfg.Instances); err != nil {
		p.kill()
		_ = p.Close(context.Background())
		return err
	}
	return nil
}

// StartAtZero has the pool begin without instances: the first request starts one.
func (p *Pool) StartAtZero() { p.gate.rest() }

// Scale changes the number of instances, which stays 1 or more but for a
// pool's end. New ones are ready when it returns; if one of them fails, all new
// ones are stopped and the size stays. Those that go finish their requests
// first. The queue's limit follows at once.
func (p *Pool) Scale(ctx context.Context, n int) error {
	if n < 0 {
		return fmt.Errorf("a pool cannot have %d instances", n)
	}
	gone, err := p.resize(ctx, n)
	if err != nil {
		return err
	}
	return p.awaitGone(ctx, gone)
}

// resize is Scale but for waiting until those that go have gone.
func (p *Pool) resize(ctx context.Context, n int) (gone []*member, err error) {
	p.scaling.Lock()
	defer p.scaling.Unlock()
	return p.change(ctx, n)
}

// change is resize for those who hold scaling.
func (p *Pool) change(ctx context.Context, n int) (gone []*member, err error) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, errSealed
	}
	have := len(p.members)
	var added []*member
	for range n - have {
		m := p.launch(p.freeIndex())
		added, p.members = append(added, m), append(p.members, m)
	}
	gone = slices.Clone(p.members[min(n, len(p.members)):])
	p.members = p.members[:min(n, len(p.members))]
	p.leaving = append(p.leaving, gone...)
	p.mu.Unlock()
	for _, m := range gone {
		m.end()
	}
	if err := awaitReady(ctx, added); err != nil {
		p.drop(have, added)
		return gone, err
	}
	if n > 0 && p.gate.awaken() {
		p.tellAsleep(false)
	}
	p.observe()
	return gone, nil
}

// freeIndex is the lowest that no instance has, not even one that is about to
// go. The caller holds mu.
func (p *Pool) freeIndex() int {
	has := func(index int) func(*member) bool { return func(m *member) bool { return m.index == index } }
	index := 0
	for slices.ContainsFunc(p.members, has(index)) || slices.ContainsFunc(p.leaving, has(index)) {
		index++
	}
	return index
}

// left takes note of a member that has gone.
func (p *Pool) left(m *member) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.leaving = slices.DeleteFunc(p.leaving, func(other *member) bool { return other == m })
}

func (p *Pool) awaitGone(ctx context.Context, members []*member) error {
	for _, m := range members {
		if err := m.awaitGone(ctx); err != nil {
			return err
		}
	}
	return nil
}

// awaitReady returns at the first failure of any of the members.
func awaitReady(ctx context.Context, members []*member) error {
	outcome := make(chan error, len(members))
	for _, m := range members {
		go func() {
			select {
			case err := <-m.first:
				outcome <- err
			case <-m.gone:
				select {
				case err := <-m.first:
					outcome <- err
				default:
					outcome <- errSealed
				}
			}
		}()
	}
	for range members {
		select {
		case err := <-outcome:
			if err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// drop takes failed newcomers out again.
func (p *Pool) drop(have int, added []*member) {
	p.mu.Lock()
	p.members = p.members[:min(have, len(p.members))]
	p.leaving = append(p.leaving, added...)
	p.mu.Unlock()
	for _, m := range added {
		m.kill()
	}
	for _, m := range added {
		<-m.gone
	}
}

// Ready returns how many instances are ready.
func (p *Pool) Ready() int {
	ready, _ := p.gate.counts()
	return ready
}

// Log returns the console of all instances.
func (p *Pool) Log() *LogRing { return p.cfg.Log }

// State is what a pool is doing. The counters run from the pool's making.
type State struct {
	Instances int  // wanted
	Ready     int  // of them
	Asleep    bool // at zero: the next request starts an instance
	Starting  bool // from zero, now
	Closed    bool

	Pending  int // requests that are here: InFlight, Queued, or waiting for a cold start
	InFlight int // of them, in an instance
	Queued   int // of them, waiting for a seat

	Requests     uint64        // that were let in
	Throttled    uint64        // that were not, because too many were pending
	Restarts     uint64        // of instances that had been ready, or were to be again
	ColdStarts   uint64        // from zero to a ready instance
	FailedStarts uint64        // from zero to none
	LastStart    time.Duration // what the last cold start took

	Members []MemberState
}

// State returns a snapshot.
func (p *Pool) State() State {
	s := p.gate.state()
	p.mu.Lock()
	defer p.mu.Unlock()
	s.Instances, s.Starting, s.Closed, s.Restarts = len(p.members), p.rouse != nil, p.closed, p.restarts.Load()
	s.ColdStarts, s.FailedStarts, s.LastStart = p.starts, p.failedStarts, p.lastStart
	for _, m := range p.members {
		s.Members = append(s.Members, m.snapshot())
	}
	return s
}

// Close finishes the requests that are pending, then stops the instances.
// When ctx ends, what is left is killed. Requests are taken until the last
// pending one is done, then refused with an error that makes Front look the
// route up again.
func (p *Pool) Close(ctx context.Context) error {
	defer p.kill()
	defer p.all.Wait()
	p.unobserve()
	stop := context.AfterFunc(ctx, p.kill)
	defer stop()
	select {
	case <-p.gate.drain():
	case <-p.life.Done():
		p.gate.seal()
	}
	p.mu.Lock()
	p.closed = true
	members := p.members
	p.members = nil
	p.mu.Unlock()
	p.unobserve() // once more: it may have come back from zero meanwhile
	for _, m := range members {
		m.end()
	}
	for _, m := range members {
		<-m.gone
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("pool %s was closed with requests pending: %w", p.cfg.Name, err)
	}
	return nil
}
