//go:build !linux

package mllp

import (
	"syscall"
	"time"
)

// giveUpAfter leaves it to the system how long it tries to send, which on
// Windows is about twenty seconds.
func giveUpAfter(time.Duration) func(network, address string, c syscall.RawConn) error { return nil }
