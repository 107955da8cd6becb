package process

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
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
	process proc
	group   *group
	mark    string
	data    net.Conn
	control net.Conn
	console *console

	ready  chan struct{}
	done   chan struct{}
	cancel chan struct{} // closed when the process has ended; frees those who wait for frames

	requests     requests
	writeControl sync.Mutex
	lastProbe    atomic.Uint64

	mu        sync.Mutex
	stage     string
	said      ready // when it became ready
	failure   *worker.ExitError
	stopping  bool
	abandoned bool // a request was given up while the script had it
	reaped    bool
	waiting   map[uint64]chan struct{} // who waits for a pong
	err       error
}

var _ worker.Instance = (*instance)(nil)

// ready is what a worker says of its script when that can serve.
type ready struct {
	Meta    bool     // it wants the headers of its requests
	Raw     bool     // it wants requests of all methods as they are
	Swagger *schemas // nil if its input and output are not described
	Modules []string // of the environment, which it has imported itself

	Settings struct {
		Name, Version, Prefix string   // of the service, for its swagger
		Origins               []string // from which browsers may call it; none means that nothing is said of origins
		Server                string   // the value of a header of each answer; "" means no header
	}
	cors *cors // of the origins
}

// launch starts the process and what watches it.
func (r *Runtime) launch(ctx context.Context, spec worker.Spec) (*instance, error) {
	i := &instance{
		spec: spec, runtime: r, stage: worker.StageStart,
		ready: make(chan struct{}), done: make(chan struct{}), cancel: make(chan struct{}),
		waiting: map[uint64]chan struct{}{}, requests: requests{gone: make(chan struct{})},
	}
	c, process, err := r.begin(ctx, spec)
	if err != nil {
		return nil, err
	}
	i.mark, i.data, i.control, i.group, i.process = c.mark, c.data, c.control, c.group, process
	i.console = newConsole(spec.Log, i.process.pid(), r.cfg.Now)
	r.mu.Lock()
	r.live[i] = struct{}{}
	r.mu.Unlock()
	i.watch(c.out)
	return i, nil
}

func (i *instance) watch(out *os.File) {
	var readers sync.WaitGroup
	readers.Go(func() {
		err := i.readFrames(i.data, 64<<10, maxData, i.requests.hear)
		i.requests.end(errors.Is(err, syscall.ECONNRESET))
	})
	readers.Go(func() { _ = i.readFrames(i.control, 4<<10, maxControl, i.hear) })
	readers.Go(func() { i.console.copy(out) })
	go func() {
		how := i.reap()
		close(i.requests.gone)
		killMarked(i.mark)
		i.noteMemory(how)
		i.group.close()
		soon := time.Now().Add(time.Second) // someone out of reach may hold the other ends
		_ = errors.Join(i.data.SetReadDeadline(soon), i.control.SetReadDeadline(soon), out.SetReadDeadline(soon))
		readers.Wait()
		i.data.Close()
		i.control.Close()
		out.Close()
		i.finish(how)
	}()
	if i.spec.InitTimeout > 0 {
		go i.limitInit()
	}
}

// readFrames hands frames over until the socket ends, and returns how it did.
// What is malformed ends the instance: nothing after it can be trusted.
func (i *instance) readFrames(conn net.Conn, buffer, limit int, take func(frame) error) error {
	r := bufio.NewReaderSize(conn, buffer)
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

// hear takes what the worker says on the control socket.
func (i *instance) hear(f frame) error {
	switch f.kind {
	case kindPong:
		i.mu.Lock()
		if ch := i.waiting[f.id]; ch != nil {
			delete(i.waiting, f.id)
			close(ch)
		}
		i.mu.Unlock()
	case kindRecall:
		if len(f.payload) != 8 {
			return fmt.Errorf("%w: an answer to a recall of %d bytes", errFrame, len(f.payload))
		}
		i.requests.giveBack(binary.BigEndian.Uint64(f.payload), f.id)
	case kindStage:
		var said struct{ Stage string }
		if err := json.Unmarshal(f.payload, &said); err != nil {
			return fmt.Errorf("%w: %w", errFrame, err)
		}
		i.mu.Lock()
		i.stage = said.Stage
		i.mu.Unlock()
	case kindReady:
		var said ready
		if err := json.Unmarshal(f.payload, &said); err != nil {
			return fmt.Errorf("%w: %w", errFrame, err)
		}
		i.runtime.zygotes.learn(i.spec, said.Modules)
		said.Modules = nil
		i.becomeReady(said)
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

func (i *instance) becomeReady(said ready) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.stage == worker.StageRun || i.failure != nil {
		return
	}
	var bad []string
	if said.cors, bad = newCORS(said.Settings.Origins); len(bad) > 0 {
		i.console.say("W", "azmlinfsrv", "These patterns of AML_CORS_ORIGINS are not understood, and match nothing: %s", strings.Join(bad, ", "))
	}
	i.stage, i.said = worker.StageRun, said
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

// reap waits for the process and ends the rest of its group.
func (i *instance) reap() ending {
	i.process.wait()
	i.mu.Lock()
	if !gone(i.process) {
		signalGroup(i.process.pid(), syscall.SIGKILL)
	}
	i.reaped = true
	i.mu.Unlock()
	return i.process.reap()
}

// signal sends sig to the whole group, unless the process is gone.
func (i *instance) signal(sig syscall.Signal) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.reaped {
		signalGroup(i.process.pid(), sig)
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
	id, ch := i.lastProbe.Add(1), make(chan struct{})
	i.mu.Lock()
	i.waiting[id] = ch
	i.mu.Unlock()
	defer func() {
		i.mu.Lock()
		delete(i.waiting, id)
		i.mu.Unlock()
	}()
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
	if !abandoned && i.requests.busy() {
		abandoned = i.sendControl(kindWhere, 0) == nil
	}
	if abandoned {
		i.awaitWhere()
	}
	i.signal(syscall.SIGKILL)
	<-i.done // a killed process ends; the readers have a deadline
	return nil
}
