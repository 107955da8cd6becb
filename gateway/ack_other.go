//go:build !linux

package gateway

import "net"

// ackNow is for Linux only: other systems offer no such choice per socket.
func ackNow(net.Conn) {}
