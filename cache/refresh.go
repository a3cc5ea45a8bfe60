package cache

import (
	"errors"
	"fmt"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/cache/sealed"
)

// Outdate takes up that what is held for a number has changed, and gives how to
// ask again where an answer is kept. One that none is held is not given any more:
// it may be the opposite now. One with flags is, until the centre has been asked:
// what was held, with its age, tells a clinician more than nothing. An error says
// that it could not be written; then it is not given while this process runs.
func (c *Cache) Outdate(n safeguard.NHSNumber, now time.Time) (q safeguard.Query, ok bool, err error) {
	if c == nil || n.IsZero() {
		return safeguard.Query{}, false, nil
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	at, known := c.clock.at(now)
	if c.store == nil || !known {
		return safeguard.Query{}, false, nil
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	k, err := c.read(n, at)
	if errors.Is(err, sealed.ErrNotFound) {
		return safeguard.Query{}, false, nil
	}
	if err == nil {
		err = c.outdate(n, k)
	}
	if err != nil {
		err = fmt.Errorf("outdate answer: %w", errors.Join(err, c.store.Delete(c.key(n))))
		c.noticed(err)
	}
	return k.query, !k.query.Attendance.IsZero(), err
}

// outdate writes k as outdated. The caller holds mu and writing.
func (c *Cache) outdate(n safeguard.NHSNumber, k kept) error {
	k.outdated = true
	k.answer.Source = safeguard.FromCentre // as it was put
	body, err := k.encode()
	if err != nil {
		return err
	}
	return c.store.Put(c.key(n), body, k.answer.AsOf, c.of(k.query.Author.Site).expiry(k))
}

// Doubt makes everything that was kept by now due: changes may have been missed.
func (c *Cache) Doubt(now time.Time) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.doubted, _ = c.clock.at(now)
}

// Due gives how to ask again for kept answers that are not fresh any more, or in
// doubt, the oldest first, at most limit; those that none is held only for
// attendances that open says are. Those that were outdated are due in any case.
func (c *Cache) Due(now time.Time, open func(safeguard.AttendanceID) bool, limit int) []safeguard.Query {
	if c == nil {
		return nil
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	at, ok := c.clock.at(now)
	if c.store == nil || !ok {
		return nil
	}
	var due []safeguard.Query
	for _, key := range c.store.Oldest() {
		if len(due) == limit {
			break
		}
		body, err := c.store.Get(key, at)
		if err != nil {
			c.noticed(err)
			continue
		}
		k, err := decode(body)
		if err != nil || k.query.Attendance.IsZero() {
			continue
		}
		policy := c.of(k.query.Author.Site)
		switch {
		case policy.Off():
		case k.outdated:
			due = append(due, k.query)
		case !k.answer.AsOf.Before(c.doubted) && at.Sub(k.answer.AsOf) < policy.ages(k.answer.Status).Fresh:
		case k.answer.Status == safeguard.Held, open(k.query.Attendance):
			due = append(due, k.query)
		}
	}
	return due
}
