package process

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"lapis/worker"
)

// atOnce is the size of a request up to which its frame is written in one
// piece, which the worker reads in one piece or not at all.
const atOnce = 32 << 10

// requests is the line of what has been sent to a script and is not answered.
// The script takes one after the other, and its answer to one is on the way
// before it begins the next: when the process ends, only the first of the
// line can have been begun.
type requests struct {
	writing sync.Mutex // held while a frame is written, so that ids rise
	buffer  []byte     // for a frame; guarded by writing

	mu     sync.Mutex
	last   uint64
	line   []*call
	ended  bool
	unread bool // the process left bytes that it had not read
}

// call is one request in the line.
type call struct {
	id      uint64
	size    int
	done    func(busy time.Duration)
	result  chan outcome // has room for the one that comes
	sent    bool         // the whole frame has been written; guarded by requests.mu
	settled bool         // the result has been given; guarded by requests.mu
}

type outcome struct {
	payload []byte // of a response
	err     error
}

func newCall(req *worker.Request, size int) *call {
	return &call{size: size, done: req.Done, result: make(chan outcome, 1)}
}

// tell gives the result to whoever waits for it. It is called once.
func (c *call) tell(o outcome, busy time.Duration) {
	if c.done != nil {
		c.done(busy)
	}
	c.result <- o
}

// call sends a request to the script and waits for its response.
func (i *instance) call(ctx context.Context, req *worker.Request, meta, body []byte) (answer, error) {
	c := newCall(req, len(meta)+len(body))
	i.send(ctx, c, meta, body)
	select {
	case o := <-c.result:
		if o.err != nil {
			return answer{}, o.err
		}
		a, err := parseAnswer(o.payload)
		if err != nil {
			i.signal(syscall.SIGKILL)
		}
		return a, err
	case <-ctx.Done():
		i.leave(ctx, c)
		return answer{}, ctx.Err()
	}
}

// leave gives up a request, and logs what the script is doing with it if it
// was given time enough.
func (i *instance) leave(ctx context.Context, c *call) {
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) || !i.requests.first(c) {
		return
	}
	i.mu.Lock()
	i.abandoned = true
	i.mu.Unlock()
	_ = i.sendControl(kindWhere, 0)
}

// send writes a request's frame, or gives the call its result. What fits the
// socket's buffer never blocks; a larger one must not outlive ctx, and half a
// frame ends the instance.
func (i *instance) send(ctx context.Context, c *call, meta, body []byte) {
	r := &i.requests
	r.writing.Lock()
	defer r.writing.Unlock()
	if !r.join(c) {
		c.tell(outcome{err: worker.ErrNotTaken}, 0)
		return
	}
	if c.size > atOnce {
		expired := make(chan struct{})
		stop := context.AfterFunc(ctx, func() {
			_ = i.data.SetWriteDeadline(time.Unix(1, 0))
			close(expired)
		})
		defer func() {
			if !stop() {
				<-expired
				_ = i.data.SetWriteDeadline(time.Time{})
			}
		}()
	}
	r.buffer = appendRequest(r.buffer[:0], c.id, meta, len(body))
	var err error
	if c.size <= atOnce {
		r.buffer = append(r.buffer, body...)
		_, err = i.data.Write(r.buffer)
	} else {
		pieces := net.Buffers{r.buffer, body}
		_, err = pieces.WriteTo(i.data)
		r.buffer = nil // as large as the headers, which may be much
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		i.signal(syscall.SIGKILL)
	}
	r.written(c, err)
}

// join puts a call at the end of the line, unless the instance has ended.
func (r *requests) join(c *call) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		return false
	}
	r.last++
	c.id = r.last
	r.line = append(r.line, c)
	return true
}

// written notes that a call's frame has been written, or has not.
func (r *requests) written(c *call, err error) {
	r.mu.Lock()
	c.sent = err == nil
	if (err == nil && !r.ended) || c.settled {
		r.mu.Unlock()
		return
	}
	c.settled = true
	verdict := r.verdict(c)
	r.mu.Unlock()
	if err != nil {
		verdict = fmt.Errorf("%w: %w", verdict, err)
	}
	c.tell(outcome{err: verdict}, 0)
}

// verdict says what has become of a call that no answer will come to. The
// caller holds mu.
func (r *requests) verdict(c *call) error {
	switch {
	case len(r.line) > 0 && r.line[0] != c: // another one was before it
		return worker.ErrNotTaken
	case c.size <= atOnce && !c.sent:
		return worker.ErrNotTaken
	case c.size <= atOnce && r.unread && len(r.line) == 1:
		return worker.ErrNotTaken
	}
	return worker.ErrExited
}

// hear takes a frame of the data socket, which is about the first of the line.
func (r *requests) hear(f frame) error {
	var busy time.Duration
	o := outcome{payload: f.payload}
	switch {
	case f.kind == kindReturned:
		o = outcome{err: worker.ErrGivenBack}
	case f.kind != kindResponse || len(f.payload) < answerHeader:
		return fmt.Errorf("%w: kind %d with %d bytes", errFrame, f.kind, len(f.payload))
	default:
		busy = time.Duration(binary.BigEndian.Uint64(f.payload[11:]) & (1<<63 - 1))
	}
	r.mu.Lock()
	if len(r.line) == 0 || r.line[0].id != f.id {
		r.mu.Unlock()
		return fmt.Errorf("%w: an answer to request %d out of turn", errFrame, f.id)
	}
	c := r.line[0]
	last := copy(r.line, r.line[1:])
	r.line[last] = nil
	r.line = r.line[:last]
	settled := c.settled
	c.settled = true
	r.mu.Unlock()
	if !settled {
		c.tell(o, busy)
	}
	return nil
}

// giveBack settles the calls after begun up to last, which the worker will not
// begin. Its word for each follows on the data socket when it comes to it.
func (r *requests) giveBack(begun, last uint64) {
	r.settle(func(c *call) error {
		if c.id > begun && c.id <= last {
			return worker.ErrGivenBack
		}
		return nil
	})
}

// end settles all that is left: nothing more will come from the process.
// What is still being written is settled by its writer.
func (r *requests) end(unread bool) {
	r.mu.Lock()
	r.ended, r.unread = true, unread
	r.mu.Unlock()
	r.settle(func(c *call) error {
		if !c.sent {
			return nil
		}
		return r.verdict(c)
	})
}

// settle gives those calls their result for which choose has an error. It is
// called with mu held.
func (r *requests) settle(choose func(*call) error) {
	type told struct {
		*call
		err error
	}
	var chosen []told
	r.mu.Lock()
	for _, c := range r.line {
		if c.settled {
			continue
		}
		if err := choose(c); err != nil {
			c.settled = true
			chosen = append(chosen, told{c, err})
		}
	}
	r.mu.Unlock()
	for _, c := range chosen {
		c.tell(outcome{err: c.err}, 0)
	}
}

// first reports whether a call is the one that the script has.
func (r *requests) first(c *call) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.line) > 0 && r.line[0] == c
}

// busy reports whether the script has a request.
func (r *requests) busy() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.line) > 0 && !r.ended
}

// Recall has the script not begin what is behind the first of the line.
func (i *instance) Recall() {
	r := &i.requests
	r.mu.Lock()
	last, some := r.last, len(r.line) > 1
	r.mu.Unlock()
	if some {
		_ = i.sendControl(kindRecall, last)
	}
}
