package mllp

import (
	"net"
	"sync"
	"time"
)

// gate sets the read deadlines of a connection until it is shut. From then on
// every read ends at once: a deadline set by the reader can not undo it.
type gate struct {
	conn net.Conn
	mu   sync.Mutex // guards the fields below, and the deadline of conn
	end  time.Time  // no deadline is later; the zero time for no such end
	shut bool
}

var longAgo = time.Unix(1, 0)

func (g *gate) expire(t time.Time) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.shut:
		t = longAgo
	case t.IsZero() || !g.end.IsZero() && g.end.Before(t):
		t = g.end
	}
	return g.conn.SetReadDeadline(t)
}

// until opens the gate, up to a time.
func (g *gate) until(t time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.end, g.shut = t, false
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = true
	g.conn.SetReadDeadline(longAgo)
}
