package socket

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"unsafe"
)

// most is what one call writes: the processor is not given away meanwhile.
const most = 64 << 10

// conn is a stream socket.
type conn struct {
	stream
	raw      syscall.RawConn
	in, out  transfer
	attempts struct{ read, write func(fd uintptr) bool } // made once, not for each call
}

// transfer is a read or a write under way.
type transfer struct {
	mu    sync.Mutex // held while it is
	p     []byte
	count int
	errno syscall.Errno
}

func quick(s stream, raw syscall.RawConn) net.Conn {
	c := &conn{stream: s, raw: raw}
	c.attempts.read = func(fd uintptr) bool { return c.in.try(syscall.SYS_READ, fd) }
	c.attempts.write = func(fd uintptr) bool { return c.out.try(syscall.SYS_WRITE, fd) }
	return c
}

// try makes one call, and reports false if that would have blocked.
func (t *transfer) try(call, fd uintptr) bool {
	for {
		n, _, errno := syscall.RawSyscall(call, fd, uintptr(unsafe.Pointer(unsafe.SliceData(t.p))), uintptr(len(t.p)))
		switch errno {
		case 0:
			t.count, t.errno = int(n), 0
			return true
		case syscall.EINTR:
		case syscall.EAGAIN:
			return false
		default:
			t.count, t.errno = 0, errno
			return true
		}
	}
}

// run waits for one call that does not block.
func (t *transfer) run(p []byte, wait func(func(fd uintptr) bool) error, attempt func(fd uintptr) bool) (int, error) {
	t.p, t.count, t.errno = p, 0, 0
	err := wait(attempt)
	t.p = nil
	if err == nil && t.errno != 0 {
		err = t.errno
	}
	return t.count, err
}

// Read is net.Conn's.
func (c *conn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	n, err := c.in.run(p, c.raw.Read, c.attempts.read)
	switch {
	case err != nil:
		return n, c.failed("read", err)
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

// Write is net.Conn's.
func (c *conn) Write(p []byte) (int, error) {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	written := 0
	for written < len(p) {
		n, err := c.out.run(p[written:min(written+most, len(p))], c.raw.Write, c.attempts.write)
		written += n
		if err != nil {
			return written, c.failed("write", err)
		}
	}
	return written, nil
}

// failed is an error as net gives it.
func (c *conn) failed(op string, err error) error {
	var errno syscall.Errno
	var waiting *net.OpError
	switch {
	case errors.As(err, &waiting):
		err = waiting.Err
	case errors.As(err, &errno):
		err = os.NewSyscallError(op, errno)
	}
	return &net.OpError{Op: op, Net: c.LocalAddr().Network(), Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: err}
}
