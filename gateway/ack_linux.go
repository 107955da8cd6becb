package gateway

import (
	"net"
	"syscall"
)

// ackNow acknowledges what has been read from a connection, without the 40 ms
// that Linux may wait for something to send along. Clients that leave Nagle's
// algorithm on, as Python's do towards a proxy, hold a request's body back
// until its head is acknowledged. The option lasts for one acknowledgement.
func ackNow(c net.Conn) {
	s, ok := c.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_QUICKACK, 1)
	})
}
