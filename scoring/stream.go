package scoring

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"lapis/fault"
	"lapis/worker"
)

// flow is an answer under way, as the pool gives it to the front. The seat is
// taken, and the request is pending, until the script has made the last piece
// or the flow is closed and the script has noticed.
type flow struct {
	worker.Stream
	pool *Pool
	seat *seat
	over *bool // the request has left the seat; guarded by the gate
	once sync.Once
}

// Next returns the next piece. The script has the pool's request timeout for
// each, so that a stream may last as long as it moves.
func (w *flow) Next(ctx context.Context) ([]byte, error) {
	timed, cancel := context.WithTimeout(ctx, w.pool.cfg.RequestTimeout)
	defer cancel()
	piece, err := w.Stream.Next(timed)
	switch {
	case err == nil, errors.Is(err, io.EOF), ctx.Err() != nil:
		return piece, err
	case timed.Err() != nil && errors.Is(err, timed.Err()):
		w.pool.replace(w.seat, fmt.Sprintf("its answer did not go on for %v", w.pool.cfg.RequestTimeout))
		return nil, fault.E(fault.Timeout, codeTimeout, "The script's answer did not go on for %v.", w.pool.cfg.RequestTimeout)
	case errors.Is(err, worker.ErrBroken):
		return nil, fault.E(fault.ModelFailed, codeModelError, "%w", err)
	}
	w.pool.replace(w.seat, err.Error())
	return nil, fault.E(fault.ModelFailed, codeModelError, "The instance ended while it answered the request.")
}

// Close ends the flow, early or not.
func (w *flow) Close() {
	w.once.Do(func() {
		w.Stream.Close()
		w.pool.gate.flowed(w.seat, w)
		w.pool.gate.leave()
	})
}

// errCut means that an answer had begun and could not be brought to its end:
// the connection must be broken off, for the client to see that.
var errCut = errors.New("the answer was cut")

// writeStream sends what follows the beginning of an answer, each piece at
// once. A client that takes nothing for as long as limit is given up.
func writeStream(w http.ResponseWriter, r *http.Request, result *Result, limit time.Duration, event *Event) error {
	defer result.Stream.Close()
	out := http.NewResponseController(w)
	defer func() { _ = out.SetWriteDeadline(time.Time{}) }()
	for piece := result.Body; ; {
		_ = out.SetWriteDeadline(time.Now().Add(limit)) // not every writer can
		n, err := w.Write(piece)
		event.ResponseBytes += n
		if err == nil {
			err = out.Flush()
		}
		if err != nil {
			event.Reason, event.Err = "client_gone", err
			return errCut
		}
		piece, err = result.Stream.Next(r.Context())
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil && r.Context().Err() != nil:
			event.Reason, event.Err = "client_gone", err
			return errCut
		case err != nil:
			event.Reason, event.Err = fault.From(err).Code, err
			return errCut
		}
	}
}

// drain reads an answer to its end for nobody.
func (r *Result) drain() error {
	if r.Stream == nil {
		return nil
	}
	defer r.Stream.Close()
	for {
		if _, err := r.Stream.Next(context.Background()); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}
