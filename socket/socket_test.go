package socket

import (
	"errors"
	"io"
	"net"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/net/nettest"
)

// pair gives both ends of a connection, made quick.
func pair(network, dir string) (ours, theirs net.Conn, err error) {
	address := "127.0.0.1:0"
	if network == "unix" {
		address = filepath.Join(dir, "s")
	}
	l, err := net.Listen(network, address)
	if err != nil {
		return nil, nil, err
	}
	defer l.Close()
	if ours, err = net.Dial(network, l.Addr().String()); err != nil {
		return nil, nil, err
	}
	if theirs, err = l.Accept(); err != nil {
		ours.Close()
		return nil, nil, err
	}
	return Quick(ours), Quick(theirs), nil
}

// TestQuickConnectionsAreConnections runs the Go project's own suite for what
// a net.Conn promises: deadlines, closing, and use from several goroutines.
func TestQuickConnectionsAreConnections(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
				if c1, c2, err = pair(network, t.TempDir()); err != nil {
					return nil, nil, nil, err
				}
				return c1, c2, func() {
					c1.Close()
					c2.Close()
				}, nil
			})
		})
	}
}

func TestStreamSocketsAreMadeQuickAndOthersStay(t *testing.T) {
	ours, _, err := pair("tcp", "")
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	if _, stock := ours.(*net.TCPConn); stock == (runtime.GOOS == "linux") {
		t.Errorf("a TCP connection became a %T", ours)
	}
	pipe, _ := net.Pipe()
	if Quick(pipe) != pipe {
		t.Error("a pipe was made something else")
	}
}

func TestErrorsAreThoseOfNet(t *testing.T) {
	ours, theirs, err := pair("tcp", "")
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	_ = theirs.(interface{ CloseWrite() error }).CloseWrite()
	if n, err := ours.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("after the other's end: %d, %v", n, err)
	}
	if _, err := ours.Write([]byte("unread")); err != nil {
		t.Fatal(err)
	}
	theirs.Close() // with something unread: the connection is reset
	_, err = ours.Read(make([]byte, 1))
	for err == nil || errors.Is(err, io.EOF) {
		_, err = ours.Write([]byte("more"))
	}
	var op *net.OpError
	if !errors.As(err, &op) || !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
		t.Errorf("after a reset: %v", err)
	}
	ours.Close()
	if _, err := ours.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}
