package feed

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"
)

// AllowList is who may connect. An empty one lets anyone.
type AllowList []netip.Prefix

// Validate wants each entry to be a network.
func (l AllowList) Validate() error {
	for _, p := range l {
		if !p.IsValid() {
			return errors.New("not a network, want one such as 10.1.0.0/16")
		}
	}
	return nil
}

// Allows says whether who has that address may connect.
func (l AllowList) Allows(addr net.Addr) bool {
	if len(l) == 0 {
		return true
	}
	peer, err := netip.ParseAddrPort(addr.String())
	if err != nil {
		return false
	}
	ip := peer.Addr().Unmap().WithZone("")
	for _, p := range l {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// Occasional keeps what a peer can cause at will from filling the log: it
// writes the first of a kind at once, and then one a minute with how many were
// left out. The counters have them all.
type Occasional struct {
	mu      sync.Mutex // guards the fields below
	next    time.Time
	leftOut int
}

const atMostEvery = time.Minute

// Warn logs the message, unless one was logged less than a minute ago.
func (o *Occasional) Warn(log *slog.Logger, message string, pairs ...any) {
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

// Backoff is the pauses between attempts: each is twice the one before, up to
// a limit, and less by chance, so that many agents do not try all at once.
type Backoff struct {
	Min, Max time.Duration
	next     time.Duration
}

// Wait pauses. It is false when ctx was done first.
func (b *Backoff) Wait(ctx context.Context) bool {
	b.next = min(max(b.next, b.Min), b.Max)
	t := time.NewTimer(b.next/2 + rand.N(b.next/2+1))
	defer t.Stop()
	b.next *= 2
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Reset makes the next pause the shortest again.
func (b *Backoff) Reset() { b.next = 0 }
