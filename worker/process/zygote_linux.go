package process

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Kinds on a zygote's socket. Numbers are of instances; payloads are JSON but for kindFork's.
const (
	kindImport = 32 // to it: names of modules
	kindFork   = 33 // to it, with three descriptors: the mark; what the process becomes it hears later, by kindBecome
	kindReap   = 34 // to it: the end has been heard

	kindStanding = 40 // to us: {"modules", "skipped", "asked", "seconds"}
	kindUnfit    = 41 // to us: {"package", "why"}; it then ends
	kindForked   = 42 // to us: {"pid"}
	kindRefused  = 43 // to us: {"why"}
	kindEnded    = 44 // to us: {"how", "code"}; the process stays a zombie until kindReap
)

const (
	importTime = 2 * time.Minute // for all imports of a zygote
)

const canFork = true

// zygote is a process that forks instances. See nursery, and lapis_worker/zygote.py.
type zygote struct {
	cmd     *exec.Cmd
	conn    *net.UnixConn
	runtime *Runtime
	mark    string
	env     map[string]string // what it was started with
	asked   []string          // the variables that its packages have looked at
	tried   map[string]bool   // the modules that it was to import
	gone    chan struct{}     // closed when it has ended, and all that it has forked

	write sync.Mutex

	mu       sync.Mutex
	last     uint64
	children map[uint64]*forkedProcess
	retired  bool
	idle     *time.Timer
	ahead    reserve
}

// newZygote starts a process, has it import the modules and waits until it stands.
func (r *Runtime) newZygote(ctx context.Context, f *family, modules []string) (*zygote, error) {
	mark, err := r.newMark("zygote")
	if err != nil {
		return nil, err
	}
	z := &zygote{
		runtime: r, mark: mark, env: maps.Clone(f.env), tried: map[string]bool{}, gone: make(chan struct{}),
		children: map[uint64]*forkedProcess{},
	}
	for _, name := range modules {
		z.tried[name] = true
	}
	out, err := z.start(f.python)
	if err != nil {
		r.removeMark(mark)
		return nil, err
	}
	defer context.AfterFunc(ctx, z.kill)()
	reader := bufio.NewReaderSize(z.conn, 16<<10)
	err = z.stand(reader, modules)
	if err != nil {
		z.kill()
	}
	go z.listen(reader, out)
	if err != nil {
		<-z.gone
		return nil, err
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	z.rest()
	return z, nil
}

// start starts the process, and gives what it prints.
func (z *zygote) start(python string) (*os.File, error) {
	conn, theirs, err := socketPair("zygote")
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	out, in, err := os.Pipe()
	if err != nil {
		conn.Close()
		return nil, err
	}
	defer in.Close()
	home := z.runtime.zygoteHome()
	z.conn = conn.(*net.UnixConn)
	z.cmd = &exec.Cmd{
		Path: python, Args: []string{python, z.runtime.boot, "--zygote"}, Dir: home,
		Env:        append(entries(z.env), "HOME="+home, "TMPDIR="+home, "PYTHONUNBUFFERED=1", markVariable+"="+z.mark),
		ExtraFiles: []*os.File{theirs}, Stdout: in, Stderr: in, SysProcAttr: attributes(),
	}
	z.runtime.spawn.do(func() { err = z.cmd.Start() })
	if err != nil {
		conn.Close()
		out.Close()
		return nil, err
	}
	return out, nil
}

// stand waits for the word that the imports are done.
func (z *zygote) stand(r *bufio.Reader, modules []string) error {
	names, err := json.Marshal(modules)
	if err != nil {
		return err
	}
	_ = z.conn.SetDeadline(time.Now().Add(importTime))
	defer func() { _ = z.conn.SetDeadline(time.Time{}) }()
	if err := z.send(kindImport, 0, names, nil); err != nil {
		return err
	}
	f, err := readFrame(r, maxControl)
	if err != nil {
		return fmt.Errorf("it ended while it imported packages: %w", err)
	}
	var said struct {
		Package, Why   string
		Modules, Asked []string
		Skipped        map[string]string
		Seconds        float64
	}
	if err := json.Unmarshal(f.payload, &said); err != nil {
		return err
	}
	switch f.kind {
	case kindStanding:
		z.asked = said.Asked
		z.runtime.cfg.Logger.Info("instances are forked from now on", "python", z.cmd.Path, "pid", z.pid(), "modules", len(said.Modules),
			"seconds", said.Seconds, "failed", len(said.Skipped))
		return nil
	case kindUnfit:
		return &errUnfit{pkg: said.Package, why: said.Why}
	}
	return fmt.Errorf("%w: kind %d", errFrame, f.kind)
}

// listen hears the zygote until it ends, and then sees to it that nothing is left.
func (z *zygote) listen(r *bufio.Reader, out *os.File) {
	var console sync.WaitGroup
	console.Go(func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			z.runtime.cfg.Logger.Debug("zygote: "+lines.Text(), "pid", z.pid())
		}
	})
	for {
		f, err := readFrame(r, maxControl)
		if err == nil {
			err = z.hear(f)
		}
		if err != nil {
			break
		}
	}
	z.kill()
	_ = z.cmd.Wait()
	killMarked(z.mark)
	_ = out.SetReadDeadline(time.Now().Add(time.Second))
	console.Wait()
	out.Close()
	z.conn.Close()
	z.runtime.removeMark(z.mark)
	z.mu.Lock()
	z.retired = true
	if z.idle != nil {
		z.idle.Stop()
	}
	for _, child := range z.children {
		child.lose()
	}
	clear(z.children)
	z.mu.Unlock()
	close(z.gone)
}

func (z *zygote) hear(f frame) error {
	var said struct {
		PID  int
		Why  string
		How  string
		Code int
	}
	if err := json.Unmarshal(f.payload, &said); err != nil {
		return fmt.Errorf("%w: %w", errFrame, err)
	}
	z.mu.Lock()
	child := z.children[f.id]
	z.mu.Unlock()
	if child == nil {
		return nil
	}
	switch f.kind {
	case kindForked:
		child.began(said.PID)
	case kindRefused:
		child.refuse(errors.New(said.Why))
		z.forget(f.id)
	case kindEnded:
		child.end(endingOf(said.How, said.Code))
	}
	return nil
}

// fork makes a process in a cradle, which waits there to be told what it is.
func (z *zygote) fork(c *cradle) (*forkedProcess, error) {
	child := &forkedProcess{zygote: z, born: make(chan struct{}), over: make(chan struct{})}
	z.mu.Lock()
	if z.retired {
		z.mu.Unlock()
		return nil, errors.New("it is ending")
	}
	z.last++
	child.id = z.last
	z.children[child.id] = child
	z.mu.Unlock()

	rights := unix.UnixRights(int(c.ends[0].Fd()), int(c.ends[1].Fd()), int(c.ends[2].Fd()))
	if err := z.send(kindFork, child.id, []byte(c.mark), rights); err != nil {
		z.forget(child.id)
		z.retire()
		return nil, err
	}
	timer := time.NewTimer(forkTime)
	defer timer.Stop()
	select {
	case <-child.born:
	case <-timer.C:
		child.refuse(fmt.Errorf("no answer in %v", forkTime))
	}
	if err := child.err(); err != nil {
		return nil, err
	}
	if err := c.group.join(child.pid()); err != nil { // the kernel takes some ms for it, in which the process gets ready
		signalGroup(child.pid(), syscall.SIGKILL)
		child.wait()
		child.reap()
		return nil, err
	}
	return child, nil
}

// send writes one frame, with descriptors if there are any.
func (z *zygote) send(kind byte, id uint64, payload, rights []byte) error {
	z.write.Lock()
	defer z.write.Unlock()
	_ = z.conn.SetWriteDeadline(time.Now().Add(forkTime))
	if _, _, err := z.conn.WriteMsgUnix(appendHead(nil, kind, id, len(payload)), rights, nil); err != nil {
		return err
	}
	if len(payload) == 0 {
		return nil
	}
	_, err := z.conn.Write(payload)
	return err
}

// forget drops an instance. A zygote that has none, and gets none, ends.
func (z *zygote) forget(id uint64) {
	z.mu.Lock()
	defer z.mu.Unlock()
	delete(z.children, id)
	z.rest()
}

// rest ends a zygote without instances, now or some time later. The caller holds mu.
func (z *zygote) rest() {
	if !z.alone() {
		return
	}
	if z.retired {
		_ = z.conn.CloseWrite()
		return
	}
	if z.idle == nil {
		z.idle = time.AfterFunc(z.runtime.zygotes.idle, z.expire)
		return
	}
	z.idle.Reset(z.runtime.zygotes.idle)
}

// expire ends the zygote if it has no instance.
func (z *zygote) expire() {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.alone() {
		z.retired = true
		z.rest()
	}
}

// retire has the zygote end when its instances have.
func (z *zygote) retire() {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.retired = true
	z.dropSpare()
	z.rest()
}

// fruitless reports whether it has never been asked for an instance.
func (z *zygote) fruitless() bool {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.last == 0
}

func (z *zygote) leaving() bool {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.retired
}

func (z *zygote) kill()    { _ = z.cmd.Process.Kill() }
func (z *zygote) pid() int { return z.cmd.Process.Pid }

// lacks reports whether there is a module that it was not told to import.
func (z *zygote) lacks(modules []string, without map[string]string) bool {
	for _, name := range modules {
		if !z.tried[name] && without[topOf(name)] == "" {
			return true
		}
	}
	return false
}

// clash names a variable that a package has looked at and that is another in env; "" if there is none.
func (z *zygote) clash(env []string) string {
	all := lookup(env)
	for _, name := range z.asked {
		if own(name) {
			continue
		}
		mine, have := z.env[name]
		theirs, given := all[name]
		if name != "PYTHONUNBUFFERED" && (mine != theirs || have != given) {
			return name
		}
	}
	return ""
}

// forkedProcess is a process that a zygote has made.
type forkedProcess struct {
	zygote *zygote
	id     uint64
	born   chan struct{} // closed when there is an answer to the request
	over   chan struct{} // closed when the process has ended

	mu     sync.Mutex
	number int // the pid
	why    error
	how    ending
	lost   bool // it ended with its zygote
}

func (p *forkedProcess) began(pid int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.number = pid
	if p.why != nil { // nobody waits for it any more
		signalGroup(pid, syscall.SIGKILL)
		return
	}
	close(p.born)
}

// refuse gives up waiting for the process.
func (p *forkedProcess) refuse(why error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.why == nil && p.number == 0 {
		p.why = why
		close(p.born)
	}
}

func (p *forkedProcess) err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.why
}

func (p *forkedProcess) end(how ending) {
	p.mu.Lock()
	p.how = how
	abandoned := p.why != nil
	close(p.over)
	p.mu.Unlock()
	if abandoned {
		p.reap()
	}
}

// lose notes that the zygote is gone, and so the process.
func (p *forkedProcess) lose() {
	p.refuse(errors.New("it has ended"))
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.over:
	default:
		p.lost = true
		p.how = ending{text: "signal: killed", signal: syscall.SIGKILL}
		close(p.over)
	}
}

func (p *forkedProcess) pid() int { return p.number }

func (p *forkedProcess) wait() { <-p.over }

func (p *forkedProcess) reap() ending {
	if !p.lost {
		_ = p.zygote.send(kindReap, p.id, nil, nil) // an error means that it is gone, and init has done it
		p.zygote.forget(p.id)
	}
	return p.how
}

// endingOf words how a process ended as os.ProcessState does.
func endingOf(how string, code int) ending {
	if how == "exit" {
		return ending{text: fmt.Sprintf("exit status %d", code)}
	}
	e := ending{text: "signal: " + syscall.Signal(code).String(), signal: syscall.Signal(code)}
	if how == "core" {
		e.text += " (core dumped)"
	}
	return e
}
