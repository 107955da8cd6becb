package process

import (
	"context"
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

	gone chan struct{} // closed when the process has ended: what it has sent need not wait any more

	used sync.Pool // of *call, to be used again
}

// call is one request in the line.
type call struct {
	id     uint64
	size   int
	done   func(busy time.Duration)
	result chan outcome // has room for the one that comes

	// guarded by requests.mu
	sent    bool    // the whole frame has been written
	left    bool    // nobody waits for the answer any more
	stream  *stream // of an answer that has begun and has not ended
	settled bool    // nothing more will be told
}

type outcome struct {
	payload []byte  // of a response
	stream  *stream // what follows it, or nil
	err     error
}

func (r *requests) newCall(req *worker.Request, size int) *call {
	c, _ := r.used.Get().(*call)
	if c == nil {
		c = &call{result: make(chan outcome, 1)}
	}
	*c = call{size: size, done: req.Done, result: c.result}
	return c
}

// tell gives the result, or the end of a stream, to whoever waits for it. It
// is called once, by whoever has settled the call.
func (c *call) tell(o outcome, busy time.Duration) {
	if c.done != nil {
		c.done(busy)
	}
	if c.stream == nil {
		c.result <- o
		return
	}
	c.stream.finish(o.err)
}

// call sends a request to the script and waits for its response.
func (i *instance) call(ctx context.Context, req *worker.Request, meta, body []byte) (answer, error) {
	c := i.requests.newCall(req, len(meta)+len(body))
	i.send(ctx, req.Expired, c, meta, body)
	select {
	case o := <-c.result:
		if o.err != nil {
			return answer{}, o.err
		}
		a, err := parseAnswer(o.payload)
		if err != nil {
			i.signal(syscall.SIGKILL)
		}
		if o.stream != nil {
			a.stream = &reading{stream: o.stream, stop: func() { i.abandon(c) }}
		} else { // it has left the line, and nobody else knows it any more
			i.requests.used.Put(c)
		}
		return a, err
	case <-ctx.Done():
		return answer{}, i.leave(c, ctx.Err())
	case <-req.Expired:
		return answer{}, i.leave(c, context.DeadlineExceeded)
	}
}

// leave gives up a request because of why, and logs what the script is doing
// with it if it was given time enough.
func (i *instance) leave(c *call, why error) error {
	i.abandon(c)
	if errors.Is(why, context.DeadlineExceeded) && i.requests.first(c) {
		i.mu.Lock()
		i.abandoned = true
		i.mu.Unlock()
		_ = i.sendControl(kindWhere, 0)
	}
	return why
}

// abandon tells the script that nobody waits for a request any more: it does
// not begin it then, or does not go on with its stream.
func (i *instance) abandon(c *call) {
	r := &i.requests
	r.mu.Lock()
	c.left = true
	s, over := c.stream, c.settled || r.ended
	r.mu.Unlock()
	if s != nil {
		s.drop()
	}
	if !over {
		_ = i.sendControl(kindLeave, c.id)
	}
}

// send writes a request's frame, or gives the call its result. What fits the
// socket's buffer never blocks; a larger one must not outlive ctx and the
// request's time, and half a frame ends the instance.
func (i *instance) send(ctx context.Context, expired <-chan struct{}, c *call, meta, body []byte) {
	r := &i.requests
	r.writing.Lock()
	defer r.writing.Unlock()
	if !r.join(c) {
		c.tell(outcome{err: worker.ErrNotTaken}, 0)
		return
	}
	if c.size > atOnce {
		defer i.limitWrite(ctx, expired)()
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

// limitWrite breaks a write off that outlives ctx or the request's time. Its
// result is called when the write is over.
func (i *instance) limitWrite(ctx context.Context, expired <-chan struct{}) func() {
	written, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-ctx.Done():
		case <-expired:
		case <-written:
			return
		}
		_ = i.data.SetWriteDeadline(time.Unix(1, 0))
	}()
	return func() {
		close(written)
		<-ended
		_ = i.data.SetWriteDeadline(time.Time{})
	}
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
	case c.stream != nil: // it had answered in part
		return worker.ErrExited
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
	if !wellFormed(f) {
		return fmt.Errorf("%w: kind %d with %d bytes", errFrame, f.kind, len(f.payload))
	}
	r.mu.Lock()
	if len(r.line) == 0 || r.line[0].id != f.id {
		r.mu.Unlock()
		return fmt.Errorf("%w: an answer to request %d out of turn", errFrame, f.id)
	}
	c := r.line[0]
	s := c.stream
	if (s != nil) != (f.kind == kindPiece || f.kind == kindEnd) {
		r.mu.Unlock()
		return fmt.Errorf("%w: kind %d amid the answer to request %d", errFrame, f.kind, f.id)
	}
	if f.kind == kindPiece {
		r.mu.Unlock()
		s.put(f.payload, r.gone)
		return nil
	}
	if f.kind == kindResponse && f.payload[2]&flagMore != 0 {
		c.stream = newStream(c.left)
		settled := c.settled
		r.mu.Unlock()
		if !settled {
			c.result <- outcome{payload: f.payload, stream: c.stream}
		}
		return nil
	}
	last := copy(r.line, r.line[1:])
	r.line[last] = nil
	r.line = r.line[:last]
	settled := c.settled
	c.settled = true
	r.mu.Unlock()
	if !settled {
		c.tell(outcomeOf(f))
	}
	return nil
}

// wellFormed reports whether a frame is one that a worker may send on the data socket.
func wellFormed(f frame) bool {
	switch f.kind {
	case kindResponse:
		return len(f.payload) >= answerHeader
	case kindEnd:
		return len(f.payload) == endSize
	case kindReturned, kindPiece:
		return true
	}
	return false
}

// outcomeOf is what a frame that ends a request says.
func outcomeOf(f frame) (o outcome, busy time.Duration) {
	switch f.kind {
	case kindReturned:
		return outcome{err: worker.ErrGivenBack}, 0
	case kindEnd:
		if f.payload[0]&flagFailed != 0 {
			o.err = worker.ErrBroken
		}
		return o, nanoseconds(f.payload[1:])
	}
	return outcome{payload: f.payload}, nanoseconds(f.payload[11:])
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
