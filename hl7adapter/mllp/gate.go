package mllp

import (
	"net"
	"sync"
	"time"
)

// gate sets the read deadlines of a connection. Shut or paused, it makes every
// read end at once: a deadline that the reader sets can not undo it.
type gate struct {
	conn   net.Conn
	mu     sync.Mutex // guards the fields below, and the deadline of conn
	end    time.Time  // no deadline is later; the zero time for no such end
	shut   bool
	paused bool
}

var longAgo = time.Unix(1, 0)

func (g *gate) expire(t time.Time) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.shut || g.paused:
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

// pause ends the read that is going on, and keeps others from waiting.
func (g *gate) pause() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.paused = true
	g.conn.SetReadDeadline(longAgo)
}

func (g *gate) resume() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.paused = false
}
