package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"sync"

	"lapis/store"
)

// idleReaders is how many reading connections are kept open.
const idleReaders = 8

// readers lends out reading connections. Their number is not bounded: a view
// may open another one, and must not wait for itself.
type readers struct {
	db *sql.DB

	mu     sync.Mutex
	idle   []*readConn
	closed bool
	users  sync.WaitGroup
}

type readConn struct {
	conn  *sql.Conn
	stmts *statements
}

func (c *readConn) close() { _ = errors.Join(c.stmts.close(), c.conn.Close()) }

func (p *readers) view(fn func(store.Reader) error) (err error) {
	c, err := p.take()
	if err != nil {
		return err
	}
	defer p.users.Done()
	if _, err := c.stmts.begin.Exec(); err != nil {
		c.close()
		return err
	}
	r := &reader{stmts: c.stmts}
	defer func() {
		r.ended = true
		p.put(c)
	}()
	return fn(r)
}

func (p *readers) take() (*readConn, error) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, store.ErrClosed
	}
	p.users.Add(1)
	if n := len(p.idle); n > 0 {
		c := p.idle[n-1]
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		return c, nil
	}
	p.mu.Unlock()
	c, err := p.open()
	if err != nil {
		p.users.Done()
	}
	return c, err
}

func (p *readers) open() (*readConn, error) {
	ctx := context.Background()
	conn, err := p.db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := conn.ExecContext(ctx, "PRAGMA query_only = 1"); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	stmts, err := prepare(conn, false)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return &readConn{conn, stmts}, nil
}

// put ends the view's transaction and keeps the connection, or closes it.
func (p *readers) put(c *readConn) {
	_, err := c.stmts.commit.Exec()
	p.mu.Lock()
	keep := err == nil && !p.closed && len(p.idle) < idleReaders
	if keep {
		p.idle = append(p.idle, c)
	}
	p.mu.Unlock()
	if !keep {
		c.close()
	}
}

// close waits for the views that run.
func (p *readers) close() {
	p.mu.Lock()
	p.closed = true
	idle := p.idle
	p.idle = nil
	p.mu.Unlock()
	p.users.Wait()
	for _, c := range idle {
		c.close()
	}
}
