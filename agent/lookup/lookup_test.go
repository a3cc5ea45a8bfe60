package lookup_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/agent/lookup"
)

// centre answers what the test says, after the delay.
type centre struct {
	answer safeguard.Answer
	err    error
	delay  time.Duration
	slow   int // how many of the first lookups take the delay; 0 for all

	mu    sync.Mutex
	asked int

	calls [][]safeguard.Query           // of Refresh
	errs  map[safeguard.NHSNumber]error // of Refresh, about one
	pause time.Duration                 // that Refresh asks for
}

func (c *centre) Lookup(ctx context.Context, _ safeguard.Query) (safeguard.Answer, error) {
	c.mu.Lock()
	c.asked++
	delay := c.delay
	if c.slow > 0 && c.asked > c.slow {
		delay = 0
	}
	c.mu.Unlock()
	select {
	case <-time.After(delay):
		return c.answer, c.err
	case <-ctx.Done():
		return safeguard.Answer{}, ctx.Err()
	}
}

// cache holds one answer.
type cache struct {
	answer safeguard.Answer
	ok     bool
	kept   []safeguard.Answer

	policies []safeguard.CachePolicy
	outdated int
	doubted  int
	due      []safeguard.Query
}

func (c *cache) GetFor(safeguard.Query, time.Time) (safeguard.Answer, bool) { return c.answer, c.ok }

func (c *cache) PutFor(_ context.Context, _ safeguard.Query, a safeguard.Answer) error {
	c.kept = append(c.kept, a)
	return nil
}

func (c *cache) Adopt(_ safeguard.ODSCode, p safeguard.CachePolicy) error {
	c.policies = append(c.policies, p)
	return nil
}

func (c *cache) Outdate(safeguard.NHSNumber, time.Time) (safeguard.Query, bool, error) {
	c.outdated++
	return safeguard.Query{}, c.ok, nil
}

const deadline = 800 * time.Millisecond

func TestLookup(t *testing.T) {
	held := safeguard.Answer{Status: safeguard.Held, Flags: []safeguard.Flag{{Plan: safeguard.LookedAfter}}}
	none := safeguard.Answer{Status: safeguard.NoneHeld}
	unconfirmed := safeguard.UnknownBecause(safeguard.IdentityNotConfirmed)
	cached := held
	cached.Source = safeguard.FromCache
	for _, c := range []struct {
		name   string
		centre *centre
		cache  cache
		want   safeguard.Status
		source safeguard.Source
		reason safeguard.Reason
		kept   int
	}{
		{"held", &centre{answer: held}, cache{}, safeguard.Held, safeguard.FromCentre, safeguard.NoReason, 1},
		{"none held", &centre{answer: none}, cache{}, safeguard.NoneHeld, safeguard.FromCentre, safeguard.NoReason, 1},
		{"identity not confirmed is the centre's answer, and not kept", &centre{answer: unconfirmed}, cache{answer: cached, ok: true}, safeguard.Unknown, safeguard.FromCentre, safeguard.IdentityNotConfirmed, 0},
		{"refused: the cache is not asked instead", &centre{err: fmt.Errorf("lookup: %w", safeguard.ErrRefused)}, cache{answer: cached, ok: true}, safeguard.Unknown, safeguard.FromCentre, safeguard.CentreRefused, 0},
		{"unreachable, cached", &centre{err: errors.New("no connection")}, cache{answer: cached, ok: true}, safeguard.Held, safeguard.FromCache, safeguard.NoReason, 0},
		{"unreachable, not cached", &centre{err: errors.New("no connection")}, cache{}, safeguard.Unknown, safeguard.NoSource, safeguard.CentreUnreachable, 0},
		{"unreachable, cached for another date of birth", &centre{err: errors.New("no connection")}, cache{answer: unconfirmed}, safeguard.Unknown, safeguard.NoSource, safeguard.IdentityNotConfirmed, 0},
		{"slow, cached", &centre{answer: held, delay: time.Minute}, cache{answer: cached, ok: true}, safeguard.Held, safeguard.FromCache, safeguard.NoReason, 0},
		{"slow, not cached", &centre{answer: held, delay: time.Minute}, cache{}, safeguard.Unknown, safeguard.NoSource, safeguard.CentreUnreachable, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				got := lookup.New(c.centre, &c.cache, deadline, slog.New(slog.DiscardHandler)).Lookup(t.Context(), safeguard.Query{})
				if got.Status != c.want || got.Source != c.source || got.Reason != c.reason {
					t.Errorf("got %s from %q, reason %q; want %s, %q, %q", got.Status, got.Source, got.Reason, c.want, c.source, c.reason)
				}
				if len(c.cache.kept) != c.kept {
					t.Errorf("%d answers kept, want %d", len(c.cache.kept), c.kept)
				}
				if d := time.Since(start); d > deadline {
					t.Errorf("took %v, want at most the deadline", d)
				}
			})
		})
	}
}

func TestLinkIsLoggedWhenItChangesOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		c := &centre{err: errors.New("no connection")}
		l := lookup.New(c, &cache{}, deadline, slog.New(slog.NewTextHandler(&log, nil)))
		for range 5 {
			l.Lookup(t.Context(), safeguard.Query{})
		}
		if since := l.Degraded(); since.IsZero() {
			t.Error("not degraded while the centre is unreachable")
		}
		c.err = nil
		time.Sleep(2 * time.Second)
		l.Lookup(t.Context(), safeguard.Query{})
		l.Lookup(t.Context(), safeguard.Query{})
		if since := l.Degraded(); !since.IsZero() {
			t.Error("still degraded after the centre answered")
		}
		if got := strings.Count(log.String(), "\n"); got != 2 {
			t.Errorf("%d log lines, want one for each change:\n%s", got, log.String())
		}
	})
}

// A lookup that is slow is made once more beside it, and the first answer counts.
func TestSlowLookupIsHedged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &centre{answer: safeguard.Answer{Status: safeguard.NoneHeld}, delay: time.Minute, slow: 1}
		start := time.Now()
		got := lookup.New(c, &cache{}, deadline, slog.New(slog.DiscardHandler)).Lookup(t.Context(), safeguard.Query{})
		if got.Status != safeguard.NoneHeld || got.Source != safeguard.FromCentre {
			t.Errorf("got %s from %q", got.Status, got.Source)
		}
		if d := time.Since(start); d != deadline/4 || c.asked != 2 {
			t.Errorf("asked %d times in %v, want twice in a quarter of the deadline", c.asked, d)
		}
	})
}

// A refusal is an answer: there is nothing to hope for from a second lookup.
func TestRefusalIsNotHedged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &centre{err: safeguard.ErrRefused}
		for range 20 {
			lookup.New(c, &cache{}, deadline, slog.New(slog.DiscardHandler)).Lookup(t.Context(), safeguard.Query{})
		}
		if c.asked != 20 {
			t.Errorf("asked %d times, want once each", c.asked)
		}
	})
}

// While the centre does not answer, few lookups wait for it; after its return it is
// asked again soon.
func TestCentreThatDoesNotAnswerIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &centre{answer: safeguard.Answer{Status: safeguard.NoneHeld}, delay: time.Hour}
		l := lookup.New(c, &cache{}, deadline, slog.New(slog.DiscardHandler))
		begin := time.Now()
		lookups, waited := 0, time.Duration(0)
		for time.Since(begin) < time.Minute {
			start := time.Now()
			if got := l.Lookup(t.Context(), safeguard.Query{}); got.Reason != safeguard.CentreUnreachable {
				t.Fatalf("got %s because of %q", got.Status, got.Reason)
			}
			lookups, waited = lookups+1, waited+time.Since(start)
			time.Sleep(20 * time.Millisecond)
		}
		if mean := waited / time.Duration(lookups); lookups < 1000 || mean > 50*time.Millisecond {
			t.Errorf("%d lookups waited %v each, want many that hardly wait", lookups, mean)
		}
		if c.asked > 150 {
			t.Errorf("asked %d times in a minute, want one or two for each second", c.asked)
		}
		c.mu.Lock()
		c.delay = 0
		c.mu.Unlock()
		back := time.Now()
		for l.Lookup(t.Context(), safeguard.Query{}).Source != safeguard.FromCentre {
			time.Sleep(20 * time.Millisecond)
		}
		if d := time.Since(back); d > 1500*time.Millisecond {
			t.Errorf("asked again %v after the return, want about a second", d)
		}
	})
}

func TestWhatTheCentreSaysAboutKeepingIsTakenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		held := &cache{}
		c := &centre{answer: safeguard.Answer{Status: safeguard.NoneHeld, Policy: &safeguard.CachePolicy{Off: true}}}
		l := lookup.New(c, held, deadline, slog.New(slog.DiscardHandler))
		l.Lookup(t.Context(), safeguard.Query{})
		if len(held.policies) != 1 || !held.policies[0].Off {
			t.Errorf("policies %v, want the centre's", held.policies)
		}
		c.answer = safeguard.UnknownBecause(safeguard.IdentityNotConfirmed)
		l.Lookup(t.Context(), safeguard.Query{})
		if held.outdated != 1 {
			t.Error("somebody has a flag for the number, and that none is held stays")
		}
	})
}
