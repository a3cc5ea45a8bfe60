package mllp

import (
	"log/slog"
	"sync"
	"time"
)

// occasional keeps what a peer can cause at will from filling the log: it
// writes the first of a kind at once, and then one a minute with how many were
// left out. The counters have them all.
type occasional struct {
	mu      sync.Mutex // guards the fields below
	next    time.Time
	leftOut int
}

const atMostEvery = time.Minute

func (o *occasional) warn(log *slog.Logger, message string, pairs ...any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	if now.Before(o.next) {
		o.leftOut++
		return
	}
	if o.leftOut > 0 {
		pairs = append(pairs, "left_out", o.leftOut)
	}
	o.next, o.leftOut = now.Add(atMostEvery), 0
	log.Warn(message, pairs...)
}
