package cache

import (
	"sync"
	"time"
)

// skew is how far the clocks of agent and centre may differ before it matters.
const skew = 10 * time.Minute

// clock keeps an answer from becoming younger when the machine's clock is set
// back. It knows what time the centre said it was, in the newest answer, and how
// much time has passed since, by a clock that can not be set.
type clock struct {
	mu     sync.Mutex // guards the fields below
	newest time.Time  // by the centre's clock
	heard  time.Time  // when newest was heard, by ours; zero when it was read from disk
}

// restart takes up the newest answer on disk, unless the centre has been heard
// since. How long ago that answer was is unknown.
func (c *clock) restart(newest time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.heard.IsZero() {
		c.newest = newest
	}
}

// hear takes up the time of an answer that has just come. The centre's last word
// counts, also where its own clock was set back, and never a younger one of it
// that was merely overtaken.
func (c *clock) hear(asOf time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if at := c.least(); asOf.After(at) || asOf.Before(at.Add(-skew)) {
		c.newest, c.heard = asOf, time.Now()
	}
}

// at gives the time to count ages with, where our clock says now: never less
// than what the centre's must be by now. It is not ok when now is before an
// answer that we know of, and nothing tells by how much.
func (c *clock) at(now time.Time) (_ time.Time, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	least := c.least()
	if c.heard.IsZero() && now.Before(least.Add(-skew)) {
		return now, false
	}
	if now.Before(least) {
		return least, true
	}
	return now, true
}

func (c *clock) least() time.Time {
	if c.heard.IsZero() {
		return c.newest
	}
	return c.newest.Add(time.Since(c.heard)) // by the monotonic clock
}
