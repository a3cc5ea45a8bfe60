package cache

import (
	"context"
	"time"
)

// How often Run does what.
const (
	tendEvery   = time.Minute
	verifyEvery = 24 * time.Hour
)

// Run looks after the cache until ctx ends: it removes what has expired, makes
// durable what was kept, checks the store daily, and opens it again after it was
// given up or had no room.
func (c *Cache) Run(ctx context.Context) error {
	if c == nil {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(tendEvery)
	defer tick.Stop()
	verified := time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.wake:
		case <-tick.C:
		}
		due := time.Since(verified) >= verifyEvery
		if due {
			verified = time.Now()
		}
		c.tend(ctx, time.Now(), due)
	}
}

// tend does what is due at now. What goes wrong shows in Stats, and is tried
// again the next time; the store logs its own loss.
func (c *Cache) tend(ctx context.Context, now time.Time, verify bool) {
	if c.reopen() {
		return
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.store == nil {
		return
	}
	if at, ok := c.clock.at(now); ok {
		if _, err := c.store.Expire(at); err == nil {
			_ = c.store.Checkpoint()
		}
	}
	if verify {
		c.noticed(c.store.Verify(ctx))
	}
}

// reopen opens a store that is not open and should be, and tells whether it tried.
func (c *Cache) reopen() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.off() || c.closed || c.store != nil && c.store.Lost() == "" {
		return false
	}
	if c.store != nil {
		if err := c.store.Close(); err != nil {
			c.options.Log.Warn("lost cache not closed", "err", err)
		}
		c.store = nil
	}
	_ = c.open() // logged there, and shown in Stats
	return true
}

// State is what the cache can do.
type State int

// The states.
const (
	Off         State = iota // by policy
	Ready                    // answers and keeps
	ReadOnly                 // answers, but the disk has no room to keep more
	Unavailable              // neither, for the reason in Stats
)

func (s State) String() string {
	if s < Off || s > Unavailable {
		return "?"
	}
	return [...]string{"off", "ready", "read only", "unavailable"}[s]
}

// Stats is the cache's section of the health report. Nothing in it is about a
// person.
type Stats struct {
	State   State
	Why     string    // of ReadOnly and Unavailable
	Entries int       // answers kept
	Oldest  time.Time // AsOf of the oldest answer kept; zero when none is
	Newest  time.Time
	Anew    Anew
}

// Anew says when and why the cache last began anew in this process, as after
// damage; zero when it did not. Until it has filled again, more is unknown in an
// outage.
type Anew struct {
	At  time.Time
	Why string
}

// Stats tells how the cache is.
func (c *Cache) Stats() Stats {
	if c == nil {
		return Stats{}
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	st := Stats{Anew: c.anew}
	switch {
	case c.off():
		return st
	case c.store == nil:
		st.State, st.Why = Unavailable, c.fault
		return st
	case c.store.Lost() != "":
		st.State, st.Why = Unavailable, c.store.Lost()
		return st
	}
	st.State, st.Entries = Ready, c.store.Len()
	st.Oldest, st.Newest = c.store.Span()
	if err := c.store.Room(); err != nil {
		st.State, st.Why = ReadOnly, err.Error()
	}
	return st
}
