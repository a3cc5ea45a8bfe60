package journal

import (
	"fmt"
	"time"
)

// A clock that goes back by less than this is waited out: times stand still.
const patience = time.Minute

// startClock compares the clock with the times in the file.
func (j *Journal) startClock(t *tx) error {
	if back := time.Duration(max(j.about.stamp, t.received)-j.now().UnixMilli()) * time.Millisecond; back > patience {
		return j.turnBack(t, back)
	}
	return nil
}

// turnBack follows a clock that went back, at a restart or while running: what
// is stamped later than now is stamped now, so that times stay in order and no
// age is negative; what is due is due as much earlier.
func (j *Journal) turnBack(t *tx, back time.Duration) error {
	now := j.now().UnixMilli()
	err := t.commit([]*step{{do: func(t *tx) error { return t.stampAgain(now, back.Milliseconds()) }}})
	if err != nil {
		return fmt.Errorf("follow the clock back: %w", err)
	}
	t.received = min(t.received, now)
	j.log.Warn("clock went back, times were set to now", "by", back.Round(time.Second), "remedy", "see that the time service runs")
	return nil
}

func (t *tx) stampAgain(now, back int64) error {
	for _, change := range []string{
		// Times are in the order of the numbers, so only the end is looked at.
		`UPDATE entries SET received = ?1 WHERE seq > COALESCE((SELECT seq FROM entries WHERE received <= ?1 ORDER BY seq DESC LIMIT 1), 0)`,
		`UPDATE outbox SET queued = ?1 WHERE id > COALESCE((SELECT id FROM outbox WHERE queued <= ?1 ORDER BY id DESC LIMIT 1), 0)`,
		`UPDATE entries SET settled = ?1 WHERE state <> 0 AND settled > ?1`,
		`UPDATE outbox SET settled = ?1 WHERE state <> 0 AND settled > ?1`,
		`UPDATE attendances SET changed = ?1 WHERE changed > ?1`,
		`UPDATE about SET stamp = ?1`,
	} {
		if _, err := t.exec(change, now); err != nil {
			return err
		}
	}
	_, err := t.exec(`UPDATE outbox SET due = MAX(?1, due - ?2) WHERE state = 0 AND head AND due > ?1`, now, back)
	return err
}

// stamp is now in milliseconds, and never before the latest entry came.
func (t *tx) stamp(now time.Time) int64 { return max(now.UnixMilli(), t.received) }

// clock is what Run knows of the time.
type clock struct {
	began    time.Time     // by a clock that never goes back
	last     time.Time     // by the system's clock
	elapsed  time.Duration // since began, at last
	distrust time.Duration // since began, until which nothing is pruned
}

// How far the system's clock may run away from one that never goes back, and for
// how long nothing is pruned afterwards: a clock that is put right in time costs
// nothing.
const (
	leap        = 10 * time.Minute
	distrustFor = day
)

// look tells how far the system's clock has gone back since the last look. A
// clock that leapt ahead is not trusted for a day.
func (c *clock) look(now time.Time) (back, ahead time.Duration) {
	now = now.Round(0)
	elapsed := time.Since(c.began)
	drift := now.Sub(c.last) - (elapsed - c.elapsed)
	c.last, c.elapsed = now, elapsed
	if drift > leap {
		c.distrust = elapsed + distrustFor
		return 0, drift
	}
	if drift < -patience {
		return -drift, 0
	}
	return 0, 0
}

func (c *clock) trusted() bool { return c.elapsed >= c.distrust }
