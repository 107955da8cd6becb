package scoring

import (
	"context"
	"errors"
	"fmt"
	"time"

	"lapis/fault"
	"lapis/worker"
)

// What may wait for an instance that is started because of it.
const (
	coldQueue = 100
	coldBytes = 64 << 20 // of their bodies together
)

// rouse is a start from zero, which all requests that came meanwhile share.
type rouse struct {
	done chan struct{} // closed at its end
	err  error         // then: why it failed
}

// Scaling returns how the pool moves by itself; the zero value if it does not.
func (p *Pool) Scaling() Scaling {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.auto
}

// SetScaling changes how the pool moves by itself, and brings it between the
// new bounds. A pool that is at zero stays there if it may.
func (p *Pool) SetScaling(ctx context.Context, s Scaling) error {
	if s != (Scaling{}) {
		s = s.withDefaults()
	}
	p.mu.Lock()
	p.auto = s
	n := len(p.members)
	p.mu.Unlock()
	p.unobserve()
	if s == (Scaling{}) {
		return nil
	}
	if n > 0 || s.Min > 0 {
		if err := p.Scale(ctx, s.Clamp(n)); err != nil {
			return err
		}
	}
	return nil
}

// observe has the scaler look after a pool that has instances.
func (p *Pool) observe() {
	if p.cfg.Scaler != nil && p.Scaling().moves() {
		p.cfg.Scaler.watch(p)
	}
}

// unobserve ends what observe began.
func (p *Pool) unobserve() {
	if p.cfg.Scaler != nil {
		p.cfg.Scaler.forget(p)
	}
}

func (p *Pool) isClosed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closed
}

// move is Scale as the scaler does it: the console says so.
func (p *Pool) move(from, to int) error {
	err := p.Scale(p.life, to)
	switch {
	case errors.Is(err, errSealed) || p.life.Err() != nil:
		return nil
	case err != nil:
		p.say('W', "scaling from %d to %d instances failed, the others go on: %v", from, to, err)
	default:
		p.say('I', "scaled from %d to %d instances", from, to)
	}
	return err
}

// sleep ends all instances unless a request is here. What is left of the pool
// is its settings: no goroutine, no timer, no open file.
func (p *Pool) sleep() bool {
	p.scaling.Lock()
	defer p.scaling.Unlock()
	p.mu.Lock()
	idle, closed := p.auto.Idle, p.closed
	p.mu.Unlock()
	if closed || !p.gate.rest() {
		return false
	}
	p.unobserve()
	p.mu.Lock()
	gone := p.members
	p.members = nil
	p.leaving = append(p.leaving, gone...)
	p.mu.Unlock()
	for _, m := range gone {
		m.end()
	}
	p.say('I', "scaled to zero after %v without a request; the next one starts an instance", idle)
	p.tellAsleep(true)
	p.all.Go(func() {
		p.awaitGone(p.life, gone)
		p.rest()
	})
	return true
}

// rest gives memory back once the last instance has gone.
func (p *Pool) rest() {
	p.mu.Lock()
	empty := len(p.members) == 0 && len(p.leaving) == 0
	if empty {
		p.members, p.leaving = nil, nil
	}
	p.mu.Unlock()
	if empty {
		p.gate.shrink()
		p.cfg.Log.shrink()
	}
}

func (p *Pool) tellAsleep(asleep bool) {
	if p.cfg.OnSleep != nil {
		p.cfg.OnSleep(asleep)
	}
}

// await waits for an instance that a request needs, and starts one where none
// is being started. What a request takes in the queue comes after this wait.
func (p *Pool) await(ctx context.Context, size int) error {
	r, err := p.joinRouse(size)
	if r == nil {
		return err
	}
	defer p.leaveRouse(size)
	impatient := time.NewTimer(p.cfg.ColdWait)
	defer impatient.Stop()
	select {
	case <-r.done:
		if r.err != nil && !errors.Is(r.err, errSealed) {
			return p.notStarted(r.err, "")
		}
		return r.err
	case <-impatient.C:
		return fault.E(fault.ModelFailed, codeNotReady,
			"The deployment is starting from zero instances, and none was ready in %v. Try again; the deployment's log says how far it is.", p.cfg.ColdWait)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Wake starts the instances of a pool at zero, as a request would, and returns
// when one is ready. It returns at once, with the last cause, while a start that
// failed is not tried again yet. [ErrClosed] means that nothing is to be started.
func (p *Pool) Wake(ctx context.Context) error {
	r, err := p.joinRouse(0)
	if r == nil {
		return err
	}
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// joinRouse gives the start that is under way, or begins one. It returns none
// if the pool is awake by now, or with an error.
func (p *Pool) joinRouse(size int) (*rouse, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.cfg.Now()
	switch {
	case p.closed:
		return nil, errSealed
	case !p.gate.resting():
		return nil, nil
	case p.cold > 0 && p.cold+size > coldBytes:
		return nil, fault.E(fault.Throttled, codeTooManyPending, "The deployment is starting, and the requests that wait for it have as many bytes as it takes.")
	case p.rouse == nil && now.Before(p.retryAt):
		return nil, p.notStarted(p.startErr, fmt.Sprintf(" It is tried again in %v.", p.retryAt.Sub(now).Round(time.Millisecond)))
	case p.rouse == nil:
		p.rouse = &rouse{done: make(chan struct{})}
		p.all.Go(p.startFromZero)
	}
	p.cold += size
	return p.rouse, nil
}

func (p *Pool) leaveRouse(size int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cold -= size
}

// startFromZero starts the instances that a pool at zero comes back with.
func (p *Pool) startFromZero() {
	p.say('I', "starting from zero instances")
	began := time.Now()
	err := p.comeBack()
	took := time.Since(began)
	p.mu.Lock()
	r := p.rouse
	p.rouse = nil
	if err == nil {
		p.starts, p.lastStart, p.startFailures = p.starts+1, took, 0
	} else {
		p.failedStarts++
		p.startErr, p.retryAt = err, p.cfg.Now().Add(backoff(p.startFailures, p.cfg.Jitter()))
		p.startFailures++
	}
	p.mu.Unlock()
	switch {
	case err == nil:
		p.say('I', "ready after %v", took.Round(time.Millisecond))
	case !errors.Is(err, errSealed) && p.life.Err() == nil:
		p.say('E', "no instance could be started: %v", err)
		p.rest()
	}
	r.err = err
	close(r.done)
}

// comeBack starts as many instances as a pool begins with, if it is still at zero.
func (p *Pool) comeBack() error {
	p.scaling.Lock()
	defer p.scaling.Unlock()
	if !p.gate.resting() {
		return nil
	}
	n := p.cfg.Instances
	if s := p.Scaling(); s != (Scaling{}) {
		n = s.Clamp(0)
	}
	_, err := p.change(p.life, n)
	return err
}

// notStarted is the fault for requests that a failed start was for.
func (p *Pool) notStarted(err error, when string) error {
	cause := ""
	var exit *worker.ExitError
	if errors.As(err, &exit) {
		cause = " (" + exit.Code + ")"
	}
	return fault.E(fault.ModelFailed, codeNotReady, "The deployment was at zero instances, and starting one failed%s.%s The deployment's log says why.", cause, when)
}

// say writes a line of the platform's own to the console.
func (p *Pool) say(level byte, format string, args ...any) {
	line := p.cfg.Log.Writer()
	fmt.Fprintf(line, "%s %c lapis - %s\n", p.cfg.Now().UTC().Format("2006-01-02 15:04:05,000"), level, fmt.Sprintf(format, args...))
}
