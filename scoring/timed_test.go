package scoring

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"lapis/worker"
)

// timed is a runtime of instances that only pass time, for tests of what takes
// minutes: in a synctest bubble no process can run.
type timed struct {
	start, run time.Duration
	broken     atomic.Bool // instances end before they are ready
	started    atomic.Int32
	live       atomic.Int32
}

func (r *timed) Start(context.Context, worker.Spec) (worker.Instance, error) {
	r.started.Add(1)
	r.live.Add(1)
	i := &timedInstance{runtime: r, ready: make(chan struct{}), done: make(chan struct{})}
	go func() {
		time.Sleep(r.start)
		if r.broken.Load() {
			i.err = &worker.ExitError{Code: worker.CodeInitFailed, Message: "broken"}
			i.end()
			return
		}
		close(i.ready)
	}()
	return i, nil
}

type timedInstance struct {
	runtime     *timed
	ready, done chan struct{}
	once        sync.Once
	one         sync.Mutex
	err         error
}

func (i *timedInstance) end() {
	i.once.Do(func() {
		i.runtime.live.Add(-1)
		close(i.done)
	})
}

func (i *timedInstance) Ready() <-chan struct{}      { return i.ready }
func (i *timedInstance) Done() <-chan struct{}       { return i.done }
func (i *timedInstance) Err() error                  { return i.err }
func (i *timedInstance) Recall()                     {}
func (i *timedInstance) Probe(context.Context) error { return nil }
func (i *timedInstance) Stop(context.Context) error  { i.end(); return nil }

func (i *timedInstance) Score(_ context.Context, req *worker.Request) (*worker.Response, error) {
	i.one.Lock()
	defer i.one.Unlock()
	select {
	case <-time.After(i.runtime.run):
	case <-req.Expired:
		return nil, context.DeadlineExceeded // and its seat stays taken, as a script goes on
	}
	select {
	case <-i.done:
		return nil, errors.New("an instance ended before its request")
	default:
	}
	req.Done(i.runtime.run)
	return &worker.Response{Status: 200, Body: []byte("ok")}, nil
}

// timedPool is a pool of a timed runtime; close it at the bubble's end.
func timedPool(r *timed, s *Scaler, scaling Scaling, change ...func(*PoolConfig)) *Pool {
	cfg := PoolConfig{
		Name: "e/blue", Runtime: r, Scaling: scaling, Scaler: s, MaxConcurrent: 50, RequestTimeout: time.Minute,
		Spec: func(context.Context, int) (worker.Spec, func(), error) { return worker.Spec{}, nil, nil },
	}
	for _, f := range change {
		f(&cfg)
	}
	return NewPool(cfg)
}
