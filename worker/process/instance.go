package process

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"lapis/worker"
)

// instance is one Python process.
//
//	start ──stage──▶ import ──▶ init ──ready──▶ run
//	  └────────────────┴─────────┴──────────────┴──▶ done
//
// Goroutines: one waits for the process and closes done last of all; one
// reads each socket; one reads the console. They end because the process
// ends, and within a second of that.
type instance struct {
	spec    worker.Spec
	runtime *Runtime
	cmd     *exec.Cmd
	mark    string
	data    net.Conn
	control net.Conn
	console *console

	ready  chan struct{}
	done   chan struct{}
	cancel chan struct{} // closed when the process has ended; frees those who wait for frames

	writeData    sync.Mutex
	writeControl sync.Mutex
	lastID       atomic.Uint64
	unread       atomic.Bool // the process left bytes on the data socket that it had not read

	mu        sync.Mutex
	stage     string
	meta      bool // the script wants headers with its requests
	failure   *worker.ExitError
	stopping  bool
	abandoned bool // a request was given up while the script had it
	reaped    bool
	calls     int                   // requests that wait for their response
	untaken   bool                  // at the end there was one request, and it had not been read
	waiting   map[uint64]chan frame // who waits for a response or a pong
	err       error
}

var _ worker.Instance = (*instance)(nil)

// launch starts the process and what watches it.
func (r *Runtime) launch(spec worker.Spec, mark string) (*instance, error) {
	i := &instance{
		spec: spec, runtime: r, mark: mark, stage: worker.StageStart,
		ready: make(chan struct{}), done: make(chan struct{}), cancel: make(chan struct{}),
		waiting: map[uint64]chan frame{},
	}
	var theirs [3]*os.File
	defer func() {
		for _, file := range theirs {
			if file != nil {
				file.Close()
			}
		}
	}()
	var err error
	if i.data, theirs[0], err = socketPair("data"); err != nil {
		return nil, err
	}
	if i.control, theirs[1], err = socketPair("control"); err != nil {
		i.data.Close()
		return nil, err
	}
	out, in, err := os.Pipe()
	if err != nil {
		i.data.Close()
		i.control.Close()
		return nil, err
	}
	theirs[2] = in
	i.cmd = r.command(spec, mark, theirs)
	r.spawn.do(func() { err = i.cmd.Start() })
	if err != nil {
		i.data.Close()
		i.control.Close()
		out.Close()
		return nil, cannotStart(spec, err)
	}
	i.console = newConsole(spec.Log, i.cmd.Process.Pid, r.cfg.Now)
	i.watch(out)
	return i, nil
}

func (r *Runtime) command(spec worker.Spec, mark string, theirs [3]*os.File) *exec.Cmd {
	cmd := &exec.Cmd{
		Path:        spec.Python,
		Args:        []string{spec.Python, r.boot, spec.Dir, spec.Script},
		Dir:         spec.Dir,
		ExtraFiles:  []*os.File{theirs[0], theirs[1]}, // fds 3 and 4
		Stdout:      theirs[2],
		Stderr:      theirs[2],
		SysProcAttr: attributes(),
	}
	cmd.Env = append(append([]string{}, spec.Env...), "PYTHONUNBUFFERED=1", markVariable+"="+mark)
	return cmd
}

func cannotStart(spec worker.Spec, err error) error {
	message := fmt.Sprintf("The Python interpreter %s cannot be started in %s: %v.", spec.Python, spec.Dir, err)
	return &worker.ExitError{Stage: worker.StageStart, Code: worker.CodeStartFailed, Message: message}
}

func (i *instance) watch(out *os.File) {
	var readers sync.WaitGroup
	readers.Go(func() {
		err := i.readFrames(i.data, maxData, i.deliver)
		i.unread.Store(errors.Is(err, syscall.ECONNRESET))
	})
	readers.Go(func() { _ = i.readFrames(i.control, maxControl, i.hear) })
	readers.Go(func() { i.console.copy(out) })
	go func() {
		waitErr := i.reap()
		killMarked(i.mark)
		soon := time.Now().Add(time.Second) // someone out of reach may hold the other ends
		_ = errors.Join(i.data.SetReadDeadline(soon), i.control.SetReadDeadline(soon), out.SetReadDeadline(soon))
		readers.Wait()
		i.data.Close()
		i.control.Close()
		out.Close()
		i.finish(waitErr)
	}()
	if i.spec.InitTimeout > 0 {
		go i.limitInit()
	}
}

// readFrames hands frames over until the socket ends, and returns how it did.
// What is malformed ends the instance: nothing after it can be trusted.
func (i *instance) readFrames(conn net.Conn, limit int, take func(frame) error) error {
	r := bufio.NewReaderSize(conn, 64<<10)
	for {
		f, err := readFrame(r, limit)
		if err == nil {
			err = take(f)
		}
		if err == nil {
			continue
		}
		if errors.Is(err, errFrame) {
			i.console.say("E", "lapis", "The instance sent what is not part of the protocol, and is ended: %v", err)
			i.signal(syscall.SIGKILL)
		}
		_, _ = io.Copy(io.Discard, r)
		return err
	}
}

// deliver hands a response or a pong to whoever waits for it, if he still does.
func (i *instance) deliver(f frame) error {
	i.mu.Lock()
	ch := i.waiting[f.id]
	delete(i.waiting, f.id)
	i.mu.Unlock()
	if ch != nil {
		ch <- f
	}
	return nil
}

// hear takes what the worker says on the control socket.
func (i *instance) hear(f frame) error {
	switch f.kind {
	case kindPong:
		return i.deliver(f)
	case kindStage:
		var said struct{ Stage string }
		if err := json.Unmarshal(f.payload, &said); err != nil {
			return fmt.Errorf("%w: %w", errFrame, err)
		}
		i.mu.Lock()
		i.stage = said.Stage
		i.mu.Unlock()
	case kindReady:
		var said struct{ Meta bool }
		if err := json.Unmarshal(f.payload, &said); err != nil {
			return fmt.Errorf("%w: %w", errFrame, err)
		}
		i.becomeReady(said.Meta)
	case kindFailed:
		failure := &worker.ExitError{}
		if err := json.Unmarshal(f.payload, failure); err != nil {
			return fmt.Errorf("%w: %w", errFrame, err)
		}
		i.fail(failure)
	default:
		return fmt.Errorf("%w: kind %d", errFrame, f.kind)
	}
	return nil
}

func (i *instance) becomeReady(meta bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.stage == worker.StageRun || i.failure != nil {
		return
	}
	i.stage, i.meta = worker.StageRun, meta
	close(i.ready)
}

// fail keeps the first cause of the end.
func (i *instance) fail(failure *worker.ExitError) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.failure == nil {
		i.failure = failure
	}
}

// limitInit ends an instance that does not get ready in time.
func (i *instance) limitInit() {
	timer := time.NewTimer(i.spec.InitTimeout)
	defer timer.Stop()
	select {
	case <-i.ready:
		return
	case <-i.done:
		return
	case <-timer.C:
	}
	i.mu.Lock()
	stage := i.stage
	i.mu.Unlock()
	i.fail(&worker.ExitError{Stage: stage, Code: worker.CodeInitFailed, Type: "TimeoutError",
		Message: fmt.Sprintf("The scoring script was not ready after %v (stage: %s). The log shows where it was.", i.spec.InitTimeout, stage)})
	_ = i.sendControl(kindWhere, 0)
	i.awaitWhere()
	i.signal(syscall.SIGKILL)
}

// awaitWhere gives the worker the time to log where its script is, if its
// interpreter is able to: control frames are served in order, so an answered
// probe means that the stack has been written.
func (i *instance) awaitWhere() {
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	_ = i.Probe(ctx)
}

// signal sends sig to the whole group, unless the process is gone.
func (i *instance) signal(sig syscall.Signal) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.reaped {
		signalGroup(i.cmd.Process.Pid, sig)
	}
}

func (i *instance) sendControl(kind byte, id uint64) error {
	i.writeControl.Lock()
	defer i.writeControl.Unlock()
	_ = i.control.SetWriteDeadline(time.Now().Add(time.Second)) // full only if nobody reads for hours
	_, err := i.control.Write(appendHead(nil, kind, id, 0))
	return err
}

// Ready is closed when init() has returned.
func (i *instance) Ready() <-chan struct{} { return i.ready }

// Done is closed when nothing of the instance is left.
func (i *instance) Done() <-chan struct{} { return i.done }

// Err says why the instance ended.
func (i *instance) Err() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.err
}

// Probe asks the worker's control thread for a sign of life.
func (i *instance) Probe(ctx context.Context) error {
	id, ch := i.expect()
	defer i.forget(id)
	if err := i.sendControl(kindPing, id); err != nil {
		return fmt.Errorf("probing: %w", err)
	}
	select {
	case <-ch:
		return nil
	case <-i.cancel:
		return worker.ErrExited
	case <-ctx.Done():
		return fmt.Errorf("the instance does not answer: %w", ctx.Err())
	}
}

// Stop ends the instance: SIGTERM, then SIGKILL after the grace or when ctx ends.
func (i *instance) Stop(ctx context.Context) error {
	i.mu.Lock()
	i.stopping = true
	abandoned := i.abandoned
	i.mu.Unlock()
	if ctx.Err() == nil {
		i.signal(syscall.SIGTERM)
		timer := time.NewTimer(i.runtime.cfg.Grace)
		defer timer.Stop()
		select {
		case <-i.done:
			return nil
		case <-ctx.Done():
		case <-timer.C:
		}
	}
	if abandoned {
		i.awaitWhere()
	}
	i.signal(syscall.SIGKILL)
	<-i.done // a killed process ends; the readers have a deadline
	return nil
}

// expect registers a wait for the frame that answers the returned id.
func (i *instance) expect() (uint64, <-chan frame) {
	id, ch := i.lastID.Add(1), make(chan frame, 1)
	i.mu.Lock()
	i.waiting[id] = ch
	i.mu.Unlock()
	return id, ch
}

func (i *instance) forget(id uint64) {
	i.mu.Lock()
	delete(i.waiting, id)
	i.mu.Unlock()
}

func (i *instance) countCall(n int) {
	i.mu.Lock()
	i.calls += n
	i.mu.Unlock()
}

// atOnce is the size of a body up to which a request's frame fits the socket's
// buffer, and is read by the worker in one piece.
const atOnce = 32 << 10

// call sends a request to the script and waits for its response.
func (i *instance) call(ctx context.Context, meta, body []byte) (answer, error) {
	id, ch := i.expect()
	defer i.forget(id)
	i.countCall(1)
	defer i.countCall(-1)
	if err := i.send(ctx, requestFrame(id, meta, body), len(body)); err != nil {
		return answer{}, err
	}
	select {
	case f := <-ch:
		a, err := parseAnswer(f.payload)
		if err != nil {
			i.signal(syscall.SIGKILL)
		}
		return a, err
	case <-i.cancel:
		if i.untaken && len(body) <= atOnce {
			return answer{}, worker.ErrNotTaken
		}
		return answer{}, worker.ErrExited
	case <-ctx.Done():
		i.mu.Lock()
		i.abandoned = true
		i.mu.Unlock()
		_ = i.sendControl(kindWhere, 0)
		return answer{}, ctx.Err()
	}
}

// send writes a request's frame. What fits the socket's buffer never blocks;
// a larger one must not outlive ctx, and half a frame ends the instance.
func (i *instance) send(ctx context.Context, pieces net.Buffers, size int) error {
	i.writeData.Lock()
	defer i.writeData.Unlock()
	if size > atOnce {
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
	_, err := pieces.WriteTo(i.data)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		i.signal(syscall.SIGKILL)
		return ctx.Err()
	case size > atOnce: // a part may have gone, and even been read
		return fmt.Errorf("%w: %w", worker.ErrExited, err)
	default:
		return fmt.Errorf("%w: %w", worker.ErrNotTaken, err)
	}
}
