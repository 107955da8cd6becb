//go:build !linux

package socket

import (
	"net"
	"syscall"
)

func quick(s stream, _ syscall.RawConn) net.Conn { return s }
