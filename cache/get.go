package cache

import (
	"bytes"
	"errors"
	"time"

	"github.com/safeguard-edge/safeguard"
)

// Get gives the kept answer, as from the cache and as of when the centre gave
// it, while it is usable at now; not ok means unknown. Now is the centre's time
// where its difference to ours is known. A clock that was set back makes no
// answer younger.
func (c *Cache) Get(n safeguard.NHSNumber, now time.Time) (_ safeguard.Answer, ok bool) {
	return c.GetFor(safeguard.Query{Number: n}, now)
}

// GetFor is Get for a query with a date of birth, which is compared as the
// centre would: flags are not given to a query with another one, nor where none
// was confirmed. Where it is not ok, the answer is unknown with its reason.
func (c *Cache) GetFor(q safeguard.Query, now time.Time) (_ safeguard.Answer, ok bool) {
	k, _, err := c.usable(q.Author.Site, q.Number, now)
	if err != nil {
		return safeguard.UnknownBecause(safeguard.CentreUnreachable), false
	}
	if k.answer.Status == safeguard.Held && !q.Born.IsZero() && !bytes.Equal(k.born, c.born(q.Born)) {
		return safeguard.UnknownBecause(safeguard.IdentityNotConfirmed), false
	}
	return k.answer, true
}

// Fresh tells whether there is a usable answer for which the centre need not be
// asked again yet.
func (c *Cache) Fresh(n safeguard.NHSNumber, now time.Time) bool {
	_, fresh, err := c.usable(safeguard.ODSCode{}, n, now)
	return err == nil && fresh
}

var errNotUsable = errors.New("no usable answer")

func (c *Cache) usable(site safeguard.ODSCode, n safeguard.NHSNumber, now time.Time) (k kept, fresh bool, err error) {
	if c == nil || n.IsZero() {
		return kept{}, false, errNotUsable
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	at, ok := c.clock.at(now)
	policy := c.of(site)
	if c.store == nil || !ok || policy.Off() {
		return kept{}, false, errNotUsable
	}
	k, err = c.read(n, at)
	if err != nil {
		return kept{}, false, err
	}
	age, ages := at.Sub(k.answer.AsOf), policy.ages(k.answer.Status)
	if age < -skew || age >= ages.Usable || at.Sub(k.attended) >= policy.Retention ||
		k.outdated && k.answer.Status == safeguard.NoneHeld {
		return kept{}, false, errNotUsable
	}
	return k, age < ages.Fresh && !k.outdated, nil
}

// read reads an entry that has not expired. The caller holds mu.
func (c *Cache) read(n safeguard.NHSNumber, at time.Time) (kept, error) {
	body, err := c.store.Get(c.key(n), at)
	if err != nil {
		c.noticed(err)
		return kept{}, err
	}
	return decode(body)
}
