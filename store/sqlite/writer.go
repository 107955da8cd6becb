package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"

	"lapis/store"
)

// batchLimit bounds the updates of one commit, so that the first of them does
// not wait for ever under load.
const batchLimit = 128

// writer owns the one connection that writes. Its goroutine gives the turn to
// one update after another, and commits when nobody waits any more:
//
//	idle → BEGIN → (SAVEPOINT → fn → RELEASE or ROLLBACK TO)+ → COMMIT → watchers → answers → idle
type writer struct {
	conn   *sql.Conn
	stmts  *statements
	notify func(changed map[string]bool)

	turns   chan *turn    // unbuffered: a send that succeeds will be served
	closing chan struct{} // closed by stop
	done    chan struct{} // closed when the goroutine has ended
	once    sync.Once
}

// turn is one update, seen from both sides.
type turn struct {
	ready  chan *tx      // gives the transaction to the caller; closed empty if there is none
	ran    chan bool     // whether fn succeeded
	answer chan struct{} // closed when the batch has ended
	err    error         // set before answer is closed
}

func startWriter(conn *sql.Conn, notify func(map[string]bool)) (*writer, error) {
	stmts, err := prepare(conn, true)
	if err != nil {
		return nil, err
	}
	w := &writer{
		conn: conn, stmts: stmts, notify: notify,
		turns: make(chan *turn), closing: make(chan struct{}), done: make(chan struct{}),
	}
	go w.run()
	return w, nil
}

// update waits for its turn, runs fn, and waits for the commit. fn runs in the
// caller's goroutine, so that its panic is the caller's.
func (w *writer) update(ctx context.Context, fn func(store.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select { // a closed store refuses even if the goroutine is still serving
	case <-w.closing:
		return store.ErrClosed
	default:
	}
	t := &turn{ready: make(chan *tx, 1), ran: make(chan bool, 1), answer: make(chan struct{})}
	select {
	case w.turns <- t:
	case <-ctx.Done():
		return ctx.Err()
	case <-w.closing:
		return store.ErrClosed
	}
	x, ok := <-t.ready
	if !ok {
		<-t.answer
		return t.err
	}
	fnErr := t.call(ctx, x, fn)
	// A failed fn waits too: what it saw may be other updates of this batch,
	// and only their commit makes its verdict true.
	<-t.answer
	if t.err != nil {
		return t.err
	}
	return fnErr
}

// call runs fn and tells the writer, even if fn panics.
func (t *turn) call(ctx context.Context, x *tx, fn func(store.Tx) error) error {
	ok := false
	defer func() { t.ran <- ok }()
	if err := ctx.Err(); err != nil {
		return err
	}
	err := fn(x)
	ok = err == nil
	return err
}

func (w *writer) run() {
	defer close(w.done)
	for {
		select {
		case t := <-w.turns:
			w.batch(t)
		case <-w.closing:
			return
		}
	}
}

// batch serves first and whoever waits behind it, then commits.
func (w *writer) batch(first *turn) {
	var members []*turn
	changed := map[string]bool{}
	_, err := w.stmts.begin.Exec()
	for t := first; t != nil; t = w.waiting(len(members)) {
		members = append(members, t)
		if err != nil {
			close(t.ready)
			break
		}
		if err = w.serve(t, changed); err != nil {
			break
		}
	}
	if err == nil {
		_, err = w.stmts.commit.Exec()
	}
	if err != nil {
		// SQLite may have rolled back by itself; then this fails, which is fine.
		_, _ = w.conn.ExecContext(context.Background(), "ROLLBACK")
		err = fmt.Errorf("store: nothing was saved: %w", err)
	} else if len(changed) > 0 {
		w.notify(changed)
	}
	for _, t := range members {
		t.err = err
		close(t.answer)
	}
}

// waiting returns an update that waits now, if the batch has room.
func (w *writer) waiting(size int) *turn {
	if size >= batchLimit {
		return nil
	}
	select {
	case t := <-w.turns:
		return t
	default:
		return nil
	}
}

// serve runs one update in a savepoint. An error means that the whole batch
// has failed.
func (w *writer) serve(t *turn, changed map[string]bool) error {
	if _, err := w.stmts.savepoint.Exec(); err != nil {
		close(t.ready)
		return err
	}
	x := &tx{reader: reader{stmts: w.stmts}, changed: map[string]bool{}}
	t.ready <- x
	ok := <-t.ran
	x.ended = true
	if x.broken != nil {
		return x.broken
	}
	if !ok {
		if _, err := w.stmts.rollbackTo.Exec(); err != nil {
			return err
		}
	}
	if _, err := w.stmts.release.Exec(); err != nil {
		return err
	}
	if ok {
		for table := range x.changed {
			changed[table] = true
		}
	}
	return nil
}

// stop lets nobody begin any more and waits for those that run. It reports
// whether this call was the first.
func (w *writer) stop() (first bool) {
	w.once.Do(func() { first = true; close(w.closing) })
	<-w.done
	return first
}

func (w *writer) close() error { return errors.Join(w.stmts.close(), w.conn.Close()) }
