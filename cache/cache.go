// Package cache keeps the last answers of the centre, for the hours when the
// centre can not be asked. It keeps answers, not people: under a keyed hash of
// the NHS number lies the sealed answer, when it was true, and when an attendance
// last asked for it.
//
// Whatever it does not give is unknown, never none. It may be deleted at any
// time; when it is damaged, it begins anew by itself.
package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/cache/keys"
	"github.com/safeguard-edge/safeguard/cache/sealed"
)

// Cache is safe for use by many goroutines. A nil Cache is one that is off.
type Cache struct {
	dir     string
	ring    *keys.Ring
	options sealed.Options
	clock   clock
	wake    chan struct{} // asks Run to look at once

	writing sync.Mutex // held from reading an entry to writing it again

	mu     sync.RWMutex // guards the fields below; held to change them
	policy Policy
	store  *sealed.Store // nil while off, closed, or not to be opened
	fault  string        // why store is nil though the cache is on
	closed bool
	anew   Anew
}

// Option is how Open is told what it seldom needs to know.
type Option func(*Cache)

// WithLog is where changes of state are logged; slog.Default without it.
func WithLog(log *slog.Logger) Option { return func(c *Cache) { c.options.Log = log } }

// WithFloor is the free space of the disk, in bytes, below which nothing is
// kept; sealed.DefaultFloor without it.
func WithFloor(bytes uint64) Option { return func(c *Cache) { c.options.Floor = bytes } }

// Open opens the cache in dir, a folder of its own. A policy that is off destroys
// what was kept there. A cache that is damaged begins anew, and one for which
// the disk has no room opens when there is some: neither is an error, both are in
// Stats. Call Run, and Close in the end.
func Open(dir string, ring *keys.Ring, p Policy, options ...Option) (*Cache, error) {
	c := &Cache{dir: dir, ring: ring, wake: make(chan struct{}, 1)}
	for _, o := range options {
		o(c)
	}
	if c.options.Log == nil {
		c.options.Log = slog.Default()
	}
	if err := c.SetPolicy(p); err != nil {
		return nil, err
	}
	return c, nil
}

// SetPolicy changes the policy of a running cache. It holds at once for what is
// given; what it shortens leaves the disk when it would have before. Turning
// the cache off destroys all that is kept.
func (c *Cache) SetPolicy(p Policy) error {
	if err := p.Validate(); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.policy = p
	if !p.Off() {
		if c.store != nil || c.closed {
			return nil
		}
		if err := c.open(); !errors.Is(err, sealed.ErrNoSpace) {
			return err
		}
		return nil
	}
	if c.store != nil {
		// What can not be written any more is about to be destroyed.
		_ = c.store.Close()
		c.store = nil
	}
	c.fault = ""
	return sealed.Destroy(c.dir)
}

// open opens the store. The caller holds mu.
func (c *Cache) open() error {
	s, err := sealed.Open(c.dir, c.ring, c.options)
	if err != nil {
		if c.fault == "" {
			c.options.Log.Warn("cache not available", "err", err)
		}
		c.fault = err.Error()
		return err
	}
	if c.fault != "" {
		c.options.Log.Info("cache available again")
	}
	c.store, c.fault = s, ""
	if why := s.BeganAnew(); why != "" {
		c.anew = Anew{At: time.Now(), Why: why}
	}
	if _, newest := s.Span(); !newest.IsZero() {
		c.clock.restart(newest)
	}
	return nil
}

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
	if c.policy.Off() {
		return nil
	}
	next := kept{answer: a, attended: attended(q, a)}
	if a.Status == safeguard.Held && !q.Born.IsZero() {
		next.born = c.born(q.Born)
	}
	if _, err := next.encode(); err != nil {
		return err
	}
	c.clock.hear(a.AsOf)
	if c.store == nil {
		return errors.New(c.fault)
	}

	c.writing.Lock()
	defer c.writing.Unlock()
	before, err := c.read(q.Number, a.AsOf)
	switch {
	case errors.Is(err, sealed.ErrNotFound):
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
	err = c.store.Put(c.key(q.Number), body, next.answer.AsOf, c.policy.expiry(next))
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
	if next.born == nil && next.answer.Status == safeguard.Held {
		next.born = k.born
	}
	// An answer from the future is a clock's mistake, and gives way.
	if ahead := k.answer.AsOf.Sub(next.answer.AsOf); ahead > 0 && ahead <= skew {
		next.answer, next.born = k.answer, k.born
		next.answer.Source = safeguard.FromCentre
	}
	return next
}

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
	k, _, err := c.usable(q.Number, now)
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
	_, fresh, err := c.usable(n, now)
	return err == nil && fresh
}

var errNotUsable = errors.New("no usable answer")

func (c *Cache) usable(n safeguard.NHSNumber, now time.Time) (k kept, fresh bool, err error) {
	if c == nil || n.IsZero() {
		return kept{}, false, errNotUsable
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	at, ok := c.clock.at(now)
	if c.store == nil || !ok {
		return kept{}, false, errNotUsable
	}
	k, err = c.read(n, at)
	if err != nil {
		return kept{}, false, err
	}
	age, ages := at.Sub(k.answer.AsOf), c.policy.ages(k.answer.Status)
	if age < -skew || age >= ages.Usable || at.Sub(k.attended) >= c.policy.Retention {
		return kept{}, false, errNotUsable
	}
	return k, age < ages.Fresh, nil
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

// Drop forgets what is kept about a number. An error says that it is on disk
// still; it is not given any more while this process runs.
func (c *Cache) Drop(n safeguard.NHSNumber) error {
	if c == nil || n.IsZero() {
		return nil
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.store == nil {
		return nil
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	err := c.store.Delete(c.key(n))
	c.noticed(err)
	return err
}

// noticed asks Run to see to a store that was given up.
func (c *Cache) noticed(err error) {
	if !errors.Is(err, sealed.ErrLost) {
		return
	}
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *Cache) key(n safeguard.NHSNumber) sealed.Key {
	return sealed.Key(c.ring.Token("nhs number", []byte(n.Reveal())))
}

func (c *Cache) born(d safeguard.Private[safeguard.Date]) []byte {
	return c.ring.Token("date of birth", []byte(d.Reveal().String()))[:16]
}

// Close closes the cache; what is kept stays.
func (c *Cache) Close() error {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed, c.fault = true, "closed"
	if c.store == nil {
		return nil
	}
	err := c.store.Close()
	c.store = nil
	return err
}
