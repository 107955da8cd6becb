package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"time"
	"unsafe"
)

const requestBody = `{"data": [[1,2,3,4,5,6,7,8,9,10],[10,9,8,7,6,5,4,3,2,1]]}`

// loaded is what one spell of load has given.
type loaded struct {
	requests int
	took     time.Duration
	median   time.Duration
	cpu      time.Duration // of the client
}

// load keeps some connections busy for a while, each with one request at a
// time, and fails at the first answer that is not the right one. All of them
// are one thread's, which waits for them with epoll: client and server share
// the machine, so a client that costs much would hide what the server can do.
func (p *process) load(ctx context.Context, connections int, spell time.Duration) (loaded, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	poll, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return loaded{}, err
	}
	defer syscall.Close(poll)
	at, err := net.ResolveTCPAddr("tcp4", p.address)
	if err != nil {
		return loaded{}, err
	}
	to := &syscall.SockaddrInet4{Port: at.Port, Addr: [4]byte(at.IP.To4())}
	conns := map[int32]*conn{}
	defer func() {
		for fd := range conns {
			syscall.Close(int(fd))
		}
	}()
	spentBefore, began := threadTime(), time.Now()
	open := func() error {
		c, err := dial(poll, to)
		if err != nil {
			return err
		}
		conns[int32(c.fd)] = c
		return c.ask(p.request)
	}
	for range connections {
		if err := open(); err != nil {
			return loaded{}, err
		}
	}
	var times []time.Duration
	events := make([]syscall.EpollEvent, connections)
	for until := began.Add(spell); ctx.Err() == nil && time.Now().Before(until); {
		n, err := wait(poll, events)
		if err != nil {
			return loaded{}, err
		}
		for _, event := range events[:n] {
			c := conns[event.Fd]
			done, keep, err := c.read(p.answer)
			if err != nil {
				return loaded{}, err
			}
			if !done {
				continue
			}
			times = append(times, time.Since(c.asked))
			if keep {
				err = c.ask(p.request)
			} else {
				delete(conns, event.Fd)
				syscall.Close(c.fd)
				err = open()
			}
			if err != nil {
				return loaded{}, err
			}
		}
	}
	out := loaded{requests: len(times), took: time.Since(began), cpu: threadTime() - spentBefore}
	if err := ctx.Err(); err != nil {
		return loaded{}, err
	}
	if len(times) == 0 {
		return loaded{}, fmt.Errorf("not one answer in %v", spell)
	}
	slices.Sort(times)
	out.median = times[len(times)/2]
	return out, nil
}

// wait waits for a second at most. It and transfer are raw calls: around
// others Go wakes a thread of its own, which takes its time from the server.
func wait(poll int, events []syscall.EpollEvent) (int, error) {
	const second = 1000 // ms
	n, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, uintptr(poll), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), second, 0, 0)
	switch errno {
	case 0:
		return int(n), nil
	case syscall.EINTR:
		return 0, nil
	}
	return 0, os.NewSyscallError("epoll_pwait", errno)
}

// transfer reads or writes, as far as that can be done at once.
func transfer(call uintptr, fd int, p []byte) (int, error) {
	n, _, errno := syscall.RawSyscall(call, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// threadTime is the CPU time of this thread.
func threadTime() time.Duration {
	var usage syscall.Rusage
	const thread = 1 // RUSAGE_THREAD
	if err := syscall.Getrusage(thread, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// conn is one connection of the load.
type conn struct {
	fd    int
	asked time.Time
	got   []byte
}

func dial(poll int, to syscall.Sockaddr) (*conn, error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	err = syscall.Connect(fd, to)
	err = errors.Join(err, syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1), syscall.SetNonblock(fd, true),
		syscall.EpollCtl(poll, syscall.EPOLL_CTL_ADD, fd, &syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(fd)}))
	if err != nil {
		syscall.Close(fd)
		return nil, err
	}
	return &conn{fd: fd, got: make([]byte, 0, 4096)}, nil
}

// ask sends a request, which is small enough for the socket to take it whole.
func (c *conn) ask(request []byte) error {
	c.got, c.asked = c.got[:0], time.Now()
	n, err := transfer(syscall.SYS_WRITE, c.fd, request)
	if err == nil && n < len(request) {
		err = errors.New("a request was sent in part only")
	}
	return err
}

// read takes what has come, and says whether that completes the answer and
// whether the connection stays.
func (c *conn) read(want string) (done, keep bool, err error) {
	n, err := transfer(syscall.SYS_READ, c.fd, c.got[len(c.got):cap(c.got)])
	switch {
	case errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.EINTR):
		return false, true, nil
	case err != nil:
		return false, false, err
	case n == 0:
		return false, false, fmt.Errorf("the server closed the connection after %q", c.got)
	}
	c.got = c.got[:len(c.got)+n]
	head, body, found := bytes.Cut(c.got, []byte("\r\n\r\n"))
	if !found {
		return false, true, nil
	}
	length, err := strconv.Atoi(string(field(head, "content-length")))
	if err != nil {
		return false, false, fmt.Errorf("an answer without a length: %q", head)
	}
	if len(body) < length {
		return false, true, nil
	}
	if !bytes.HasPrefix(head, []byte("HTTP/1.1 200 ")) || (want != "" && string(body) != want) {
		return false, false, fmt.Errorf("answered %q", c.got)
	}
	return true, !bytes.EqualFold(field(head, "connection"), []byte("close")), nil
}

// field is the value of a header field, nil if there is none.
func field(head []byte, name string) []byte {
	for len(head) > 0 {
		var line []byte
		line, head, _ = bytes.Cut(head, []byte("\r\n"))
		if len(line) > len(name) && line[len(name)] == ':' && bytes.EqualFold(line[:len(name)], []byte(name)) {
			return bytes.TrimSpace(line[len(name)+1:])
		}
	}
	return nil
}
