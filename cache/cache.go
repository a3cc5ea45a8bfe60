// Package cache keeps the last answers of the centre, for the hours when the
// centre can not be asked. It keeps answers, not people: under a keyed hash of
// the NHS number lies the sealed answer, when it was true, and when an attendance
// last asked for it.
//
// Whatever it does not give is unknown, never none. It may be deleted at any
// time; when it is damaged, it begins anew by itself.
package cache

import (
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/cache/keys"
	"github.com/safeguard-edge/safeguard/cache/sealed"
)

// ErrUnavailable says that the cache is on, and not open: Stats says why. It was
// logged when it began, and need not be again.
var ErrUnavailable = errors.New("cache unavailable")

// Cache is safe for use by many goroutines. A nil Cache is one that is off.
type Cache struct {
	dir     string
	ring    *keys.Ring
	options sealed.Options
	clock   clock
	wake    chan struct{} // asks Run to look at once

	writing sync.Mutex // held from reading an entry to writing it again

	mu      sync.RWMutex                                // guards the fields below; held to change them
	policy  Policy                                      // as the site's configuration has it
	sites   map[safeguard.ODSCode]safeguard.CachePolicy // what the centre has decided since
	doubted time.Time                                   // what was kept before may have changed since
	store   *sealed.Store                               // nil while off, closed, or not to be opened
	fault   string                                      // why store is nil though the cache is on
	closed  bool
	anew    Anew
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
	c := &Cache{dir: dir, ring: ring, wake: make(chan struct{}, 1), sites: map[safeguard.ODSCode]safeguard.CachePolicy{}}
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
	return c.turn()
}

// Adopt takes up what the centre lets a site keep. It holds for the site's
// answers from now on; ages that it shortens hold at once, also for what is kept.
// When no site may keep any, all that is kept is destroyed. What can not work is an
// error, and changes nothing.
func (c *Cache) Adopt(site safeguard.ODSCode, p safeguard.CachePolicy) error {
	if c == nil {
		return nil
	}
	c.mu.RLock()
	was, known := c.sites[site]
	own := c.policy
	c.mu.RUnlock()
	if known && was == p || own.Off() {
		return nil
	}
	if err := own.as(p).Validate(); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sites[site] = p
	return c.turn()
}

// of is the policy for a site. The caller holds mu.
func (c *Cache) of(site safeguard.ODSCode) Policy {
	if p, ok := c.sites[site]; ok {
		return c.policy.as(p)
	}
	return c.policy
}

// off tells whether nothing may be kept, for no site. The caller holds mu.
func (c *Cache) off() bool {
	for _, p := range c.sites {
		if !p.Off {
			return c.policy.Off()
		}
	}
	return c.policy.Off() || len(c.sites) > 0
}

// turn opens the store, or destroys it, as the policy has it. The caller holds mu.
func (c *Cache) turn() error {
	if !c.off() {
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
