// Package socket reads and writes stream sockets in the way that costs least
// where a process does so ten thousands of times in a second.
//
// Around a system call that might block, Go wakes the thread that watches over
// its threads, and hands the processor to another thread if the call lasts for
// some 20 µs. A socket of Go's never blocks, yet its reads and writes are such
// calls; in a process that is idle between two of them, the waking costs more
// than they do (docs/decisions/0011). Here they are made without it.
package socket

import (
	"net"
	"syscall"
)

// stream is what the network's stream sockets have in common.
type stream interface {
	net.Conn
	syscall.Conn
	CloseWrite() error
}

// Quick returns a connection with cheaper reads and writes of the same socket,
// or conn itself where there are none: it is no stream socket, or the system
// is another one than Linux. Nobody must read or write conn from then on.
func Quick(conn net.Conn) net.Conn {
	s, ok := conn.(stream)
	if !ok {
		return conn
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return conn
	}
	return quick(s, raw)
}
