package cache

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/cache/sealed"
)

// Put keeps an answer that the centre has just given. Only the centre's own
// answers are kept, held or none held, and the newer of two; not the answer to
// safeguard.TestPatient. Where the cache is off nothing is kept, without an error.
func (c *Cache) Put(ctx context.Context, n safeguard.NHSNumber, a safeguard.Answer) error {
	return c.PutFor(ctx, safeguard.Query{Number: n, Purpose: safeguard.Unscheduled, At: a.AsOf}, a)
}

// PutFor is Put with what was asked, which makes the answer usable for GetFor: it
// remembers a token of the date of birth that the centre has compared. A refresh
// does not count as an attendance, so it renews only what is kept still.
func (c *Cache) PutFor(ctx context.Context, q safeguard.Query, a safeguard.Answer) error {
	if err := c.put(ctx, q, a); err != nil {
		return fmt.Errorf("keep answer: %w", err)
	}
	return nil
}

func (c *Cache) put(ctx context.Context, q safeguard.Query, a safeguard.Answer) error {
	if c == nil || q.Number == safeguard.TestPatient {
		return nil
	}
	if q.Number.IsZero() {
		return errors.New("no NHS number")
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	policy := c.of(q.Author.Site)
	if policy.Off() {
		return nil
	}
	next := kept{answer: a, attended: attended(q, a), query: q}
	if a.Status == safeguard.Held && !q.Born.IsZero() {
		next.born = c.born(q.Born)
	}
	if _, err := next.encode(); err != nil {
		return err
	}
	c.clock.hear(a.AsOf)
	if c.store == nil {
		return fmt.Errorf("%w: %s", ErrUnavailable, c.fault)
	}

	c.writing.Lock()
	defer c.writing.Unlock()
	before, err := c.read(q.Number, a.AsOf)
	switch {
	case errors.Is(err, sealed.ErrNotFound), errors.Is(err, errUnreadable):
		if q.Purpose == safeguard.Refresh {
			return nil
		}
	case err != nil:
		return err
	default:
		next = before.followedBy(next, q.Purpose)
	}
	body, err := next.encode()
	if err != nil {
		return err
	}
	err = c.store.Put(c.key(q.Number), body, next.answer.AsOf, policy.expiry(next))
	c.noticed(err)
	return err
}

// attended is when the attendance that asks began. An attendance that was
// looked up late does not count from when it was.
func attended(q safeguard.Query, a safeguard.Answer) time.Time {
	if q.At.IsZero() || q.At.After(a.AsOf) {
		return a.AsOf
	}
	return q.At
}

// followedBy is what to keep after next was answered: the newer answer, the
// later attendance, and the date of birth that was confirmed, if either was.
func (k kept) followedBy(next kept, p safeguard.Purpose) kept {
	if future := next.answer.AsOf.Add(skew); !k.attended.After(future) && (p == safeguard.Refresh || k.attended.After(next.attended)) {
		next.attended = k.attended
	}
	if p == safeguard.Refresh && !k.query.Number.IsZero() {
		next.query = k.query
	}
	if next.born == nil && next.answer.Status == safeguard.Held {
		next.born = k.born
	}
	// An answer from the future is a clock's mistake, and gives way.
	if ahead := k.answer.AsOf.Sub(next.answer.AsOf); ahead > 0 && ahead <= skew {
		next.answer, next.born, next.outdated = k.answer, k.born, k.outdated
		next.answer.Source = safeguard.FromCentre
	}
	return next
}
