package scoring

import (
	"context"
	"errors"
	"io"
	"time"

	"lapis/fault"
	"lapis/worker"
)

// The codes of a pool's faults, as the managed front end's headers and bodies
// have them.
const (
	codeTooManyPending = "too_many_pending_request"
	codeNotReady       = "model_not_ready"
	codeModelError     = "model_error"
	codeTimeout        = "UpstreamRequestTimeout"
)

// Result is a script's answer and what it took to get it.
type Result struct {
	*worker.Response
	Instance int           // the index of the instance that answered
	Cold     bool          // the request came to a pool at zero instances
	Queued   time.Duration // before an instance had the request, a start from zero included
	Model    time.Duration // in the instance
}

// Score has one request answered by an instance. Its errors are faults:
// Throttled (too many pending), Timeout, ModelFailed (no instance ready, or
// it ended meanwhile); ctx's error if the client has gone; and one that
// [Front] alone knows when the pool is closed. The Stream of a result must be
// closed, and its errors are faults too.
func (p *Pool) Score(ctx context.Context, req *worker.Request) (*Result, error) {
	limit := 2 * p.cfg.MaxConcurrent * max(1, p.size())
	asleep, err := p.gate.enter(limit, coldQueue)
	if err != nil {
		if errors.Is(err, errTooMany) {
			return nil, fault.E(fault.Throttled, codeTooManyPending,
				"The deployment has as many requests pending as it takes, %d for its instances. Send fewer at a time, or raise instance_count or max_concurrent_requests_per_instance.", limit)
		}
		return nil, err
	}
	pending := true
	defer func() {
		if pending {
			p.gate.leave()
		}
	}()
	began := p.cfg.Now()
	if asleep {
		if err := p.await(ctx, len(req.Body)); err != nil {
			return nil, err
		}
	}
	now := time.Now()
	over, expired := now.Add(p.cfg.RequestTimeout), p.limits.begin(now)
	for again := false; ; again = true {
		s, err := p.awaitSeat(ctx, len(req.Body), over, again)
		if err != nil {
			return nil, p.explain(ctx, err)
		}
		given := p.cfg.Now()
		if ctx.Err() != nil { // the client has gone at the last moment
			p.gate.release(s, len(req.Body), 0)
			return nil, ctx.Err()
		}
		response, err := p.run(ctx, s, req, expired)
		switch {
		case err == nil:
			pending = response.Stream == nil // a stream is pending until it is closed
			return &Result{Response: response, Instance: s.index, Cold: asleep, Queued: given.Sub(began), Model: p.cfg.Now().Sub(given)}, nil
		case errors.Is(err, worker.ErrGivenBack):
		case errors.Is(err, worker.ErrNotTaken):
			p.replace(s, err.Error())
		case ctx.Err() != nil && errors.Is(err, ctx.Err()), errors.Is(err, context.DeadlineExceeded):
			return nil, p.explain(ctx, err)
		default:
			p.replace(s, err.Error())
			return nil, p.explain(ctx, err)
		}
	}
}

func (p *Pool) size() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.members)
}

// awaitSeat waits for a seat with room for so many bytes. It fails with
// errNotReady, context.DeadlineExceeded, or ctx's error.
func (p *Pool) awaitSeat(ctx context.Context, size int, over time.Time, again bool) (*seat, error) {
	s, place := p.gate.take(size, over, again)
	if s != nil {
		return s, nil
	}
	select {
	case s = <-place.arrived:
		if s == nil {
			return nil, place.err
		}
		return s, nil
	case <-ctx.Done():
		p.gate.giveUp(place)
		return nil, ctx.Err()
	}
}

// visit is a request in a seat.
type visit struct {
	worker.Request
	pool *Pool
	seat *seat
	over bool // it has left the seat; guarded by the gate
}

// done gives the seat back.
func (v *visit) done(busy time.Duration) {
	v.seat.watch.finish(v.ID)
	v.pool.gate.finish(v.seat, len(v.Body), busy, &v.over)
}

// run has the request answered. The seat is given back when the instance has
// done with it, whether the client still waits or not.
func (p *Pool) run(ctx context.Context, s *seat, req *worker.Request, expired <-chan struct{}) (*worker.Response, error) {
	p.begin(s, req.ID)
	v := &visit{Request: *req, pool: p, seat: s}
	v.Expired, v.Done = expired, v.done
	response, err := s.instance.Score(ctx, &v.Request)
	if err == nil && response.Stream != nil {
		w := &flow{Stream: response.Stream, pool: p, seat: s, over: &v.over}
		p.gate.flows(s, w)
		response.Stream = w
	}
	return response, err
}

// explain turns an error into the fault that a client gets.
func (p *Pool) explain(client context.Context, err error) error {
	switch {
	case client.Err() != nil:
		return client.Err()
	case errors.Is(err, errNotReady):
		return fault.E(fault.ModelFailed, codeNotReady, "No instance of the deployment is ready%s. The deployment's log says why.", p.lastError())
	case errors.Is(err, context.DeadlineExceeded):
		return fault.E(fault.Timeout, codeTimeout, "upstream request timeout")
	case errors.Is(err, worker.ErrExited), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, context.Canceled):
		return fault.E(fault.ModelFailed, codeModelError, "The instance ended while it answered the request. The deployment's log says why.")
	}
	return fault.E(fault.ModelFailed, codeModelError, "The instance gave no valid answer. The deployment's log says why.")
}

// lastError is what a member that is not ready failed with, for a message.
func (p *Pool) lastError() string {
	for _, m := range p.State().Members {
		var exit *worker.ExitError
		if m.Phase != Ready && errors.As(m.LastErr, &exit) {
			return " (" + exit.Code + ")"
		}
	}
	return ""
}
