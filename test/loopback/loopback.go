// Package loopback finds addresses for tests of programs that have to be told where
// to listen before they do, or that call where nobody listens.
package loopback

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

var (
	mu    sync.Mutex // guards given
	given = map[int]bool{}
)

// Free is an address of the loopback interface where nobody listens. Its port is of
// those that no system gives away by itself, to who listens on port 0 or calls
// somebody (from 32768 on Linux, from 49152 elsewhere), so that it is still free
// when a program comes to listen on it. No process is given the same twice.
func Free() (address string, err error) {
	mu.Lock()
	defer mu.Unlock()
	for range 1000 {
		port := 10_000 + rand.IntN(20_000)
		if given[port] {
			continue
		}
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			continue
		}
		given[port] = true
		return l.Addr().String(), l.Close()
	}
	return "", errors.New("find a port: none is free")
}
