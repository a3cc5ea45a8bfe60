package mllp

import (
	"context"
	"net"
	"syscall"
	"testing"
	"time"
)

// Both ends that we open, and the connections that a listener takes, give up
// on a peer that confirms nothing.
func TestConnectionsGiveUpOnDeadPeers(t *testing.T) {
	lc := net.ListenConfig{Control: giveUpAfter(90 * time.Second)}
	ln, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	out, err := dial(context.Background(), ln.Addr().String(), nil, 30*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	in, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	for _, conn := range []net.Conn{in, out} {
		raw, err := conn.(*net.TCPConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		if err := raw.Control(func(fd uintptr) {
			got, err := syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout)
			if err != nil || got != 90_000 {
				t.Errorf("gives up after %d ms, %v, want 90000", got, err)
			}
			if alive, err := syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_KEEPALIVE); err != nil || alive == 0 && conn == out {
				t.Errorf("keepalive is off, %v", err)
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
}
