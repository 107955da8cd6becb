package scoring

import (
	"context"
	"errors"
	"fmt"
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
	Queued   time.Duration // before an instance had the request
	Model    time.Duration // in the instance
}

// Score has one request answered by an instance. Its errors are faults:
// Throttled (too many pending), Timeout, ModelFailed (no instance ready, or
// it ended meanwhile); ctx's error if the client has gone; and one that
// [Front] alone knows when the pool is closed.
func (p *Pool) Score(ctx context.Context, req *worker.Request) (*Result, error) {
	limit := 2 * p.cfg.MaxConcurrent * max(1, p.size())
	if err := p.gate.enter(limit); err != nil {
		if errors.Is(err, errTooMany) {
			return nil, fault.E(fault.Throttled, codeTooManyPending,
				"The deployment has %d requests pending, as many as it takes. Send fewer at a time, or raise instance_count or max_concurrent_requests_per_instance.", limit)
		}
		return nil, err
	}
	defer p.gate.leave()
	began := p.cfg.Now()
	timed, cancel := context.WithTimeout(ctx, p.cfg.RequestTimeout)
	defer cancel()
	for {
		s, err := p.awaitSeat(timed)
		if err != nil {
			return nil, p.explain(ctx, err)
		}
		queued := p.cfg.Now().Sub(began)
		if ctx.Err() != nil { // the client has gone at the last moment
			p.gate.release(s)
			return nil, ctx.Err()
		}
		select {
		case o := <-p.run(s, req):
			switch {
			case errors.Is(o.err, worker.ErrNotTaken):
				continue // it was never run, and the seat is retired: another one may
			case o.err != nil:
				return nil, p.explain(ctx, o.err)
			}
			return &Result{Response: o.response, Instance: s.index, Queued: queued, Model: o.took}, nil
		case <-timed.Done():
			return nil, p.explain(ctx, timed.Err())
		}
	}
}

func (p *Pool) size() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.members)
}

// awaitSeat waits for a free seat.
func (p *Pool) awaitSeat(ctx context.Context) (*seat, error) {
	s, ticket := p.gate.take()
	if s != nil {
		return s, nil
	}
	arrived := ticket.Value.(chan *seat)
	impatient := time.NewTimer(p.cfg.NotReadyWait)
	defer impatient.Stop()
	var late <-chan time.Time
	if p.cfg.QueueWait > 0 {
		timer := time.NewTimer(p.cfg.QueueWait)
		defer timer.Stop()
		late = timer.C
	}
	for {
		err := context.DeadlineExceeded
		select {
		case s := <-arrived:
			return s, nil
		case <-impatient.C:
			if p.Ready() > 0 {
				continue
			}
			err = errNotReady
		case <-late:
		case <-p.life.Done():
			err = errNotReady
		case <-ctx.Done():
			err = ctx.Err()
			if p.Ready() == 0 && errors.Is(err, context.DeadlineExceeded) {
				err = errNotReady
			}
		}
		p.gate.giveUp(ticket)
		return nil, err
	}
}

type outcome struct {
	response *worker.Response
	took     time.Duration
	err      error
}

// run has the request answered, and gives the seat back when the instance has
// done with it, whether the client still waits or not. An instance that takes
// longer than the request timeout, counted from here, is replaced.
func (p *Pool) run(s *seat, req *worker.Request) <-chan outcome {
	done := make(chan outcome, 1)
	go func() {
		ctx, cancel := context.WithTimeout(p.life, p.cfg.RequestTimeout)
		defer cancel()
		began := p.cfg.Now()
		response, err := s.instance.Score(ctx, req)
		o := outcome{response: response, took: p.cfg.Now().Sub(began), err: err}
		if err != nil {
			p.gate.retire(s) // its member sees it end, and starts the next
		}
		p.gate.release(s)
		done <- o
		if err != nil {
			p.note(s, req, err)
			kill(s.instance)
		}
	}()
	return done
}

// note says in the deployment's console why an instance is replaced.
func (p *Pool) note(s *seat, req *worker.Request, err error) {
	why := err.Error()
	if errors.Is(err, context.DeadlineExceeded) {
		why = fmt.Sprintf("it has not answered request %s in %v", req.ID, p.cfg.RequestTimeout)
	}
	when := p.cfg.Now().UTC().Format("2006-01-02 15:04:05,000")
	line := p.cfg.Log.Writer()
	fmt.Fprintf(line, "%s W lapis - Instance %d is replaced: %s\n", when, s.index, why)
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
