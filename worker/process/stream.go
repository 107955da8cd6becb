package process

import (
	"context"
	"io"
	"sync"
)

// ahead is how much of a stream may lie here unread, in bytes, before the
// script has to wait.
const ahead = 256 << 10

// stream is what has come of a body and has not been taken. Its producer is
// the reader of the data socket, which waits here while enough lies ready: the
// socket then fills, and the script blocks in writing to it.
type stream struct {
	more chan struct{} // has room for one: something has come
	room chan struct{} // has room for one: something has been taken

	mu      sync.Mutex
	pieces  [][]byte
	size    int
	dropped bool  // nobody reads any more
	err     error // how it has ended; nil: not yet
}

func newStream(dropped bool) *stream {
	return &stream{more: make(chan struct{}, 1), room: make(chan struct{}, 1), dropped: dropped}
}

// put adds a piece, and waits until there is room for another one or the
// process is gone.
func (s *stream) put(piece []byte, gone <-chan struct{}) {
	s.mu.Lock()
	if !s.dropped && len(piece) > 0 {
		s.pieces = append(s.pieces, piece)
		s.size += len(piece)
	}
	s.mu.Unlock()
	signal(s.more)
	for s.full() {
		select {
		case <-s.room:
		case <-gone:
			return
		}
	}
}

func (s *stream) full() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.size > ahead
}

// finish says how the stream has ended; nil means well.
func (s *stream) finish(err error) {
	if err == nil {
		err = io.EOF
	}
	s.mu.Lock()
	s.err = err
	s.mu.Unlock()
	signal(s.more)
}

// drop forgets what lies here and what will come.
func (s *stream) drop() {
	s.mu.Lock()
	s.dropped, s.pieces, s.size = true, nil, 0
	s.mu.Unlock()
	signal(s.room)
}

// next takes the next piece, and has neither piece nor error while there is none.
func (s *stream) next() ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.pieces) == 0 {
		return nil, s.err
	}
	piece := s.pieces[0]
	s.pieces[0] = nil
	s.pieces = s.pieces[1:]
	s.size -= len(piece)
	signal(s.room)
	return piece, nil
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// reading is a stream as its reader sees it.
type reading struct {
	*stream
	stop func() // called once, if the reader has had enough
	once sync.Once
}

// Next returns the next piece.
func (r *reading) Next(ctx context.Context) ([]byte, error) {
	for {
		if piece, err := r.next(); piece != nil || err != nil {
			return piece, err
		}
		select {
		case <-r.more:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Close ends a stream that has not ended.
func (r *reading) Close() {
	r.mu.Lock()
	over := r.err != nil
	r.mu.Unlock()
	if !over {
		r.once.Do(r.stop)
	}
}
