package lookup_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
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
}

func (c *centre) Lookup(ctx context.Context, _ safeguard.Query) (safeguard.Answer, error) {
	select {
	case <-time.After(c.delay):
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
}

func (c *cache) GetFor(safeguard.Query, time.Time) (safeguard.Answer, bool) { return c.answer, c.ok }

func (c *cache) PutFor(_ context.Context, _ safeguard.Query, a safeguard.Answer) error {
	c.kept = append(c.kept, a)
	return nil
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
		centre centre
		cache  cache
		want   safeguard.Status
		source safeguard.Source
		reason safeguard.Reason
		kept   int
	}{
		{"held", centre{answer: held}, cache{}, safeguard.Held, safeguard.FromCentre, safeguard.NoReason, 1},
		{"none held", centre{answer: none}, cache{}, safeguard.NoneHeld, safeguard.FromCentre, safeguard.NoReason, 1},
		{"identity not confirmed is the centre's answer, and not kept", centre{answer: unconfirmed}, cache{cached, true, nil}, safeguard.Unknown, safeguard.FromCentre, safeguard.IdentityNotConfirmed, 0},
		{"refused: the cache is not asked instead", centre{err: fmt.Errorf("lookup: %w", safeguard.ErrRefused)}, cache{cached, true, nil}, safeguard.Unknown, safeguard.FromCentre, safeguard.CentreRefused, 0},
		{"unreachable, cached", centre{err: errors.New("no connection")}, cache{cached, true, nil}, safeguard.Held, safeguard.FromCache, safeguard.NoReason, 0},
		{"unreachable, not cached", centre{err: errors.New("no connection")}, cache{}, safeguard.Unknown, safeguard.NoSource, safeguard.CentreUnreachable, 0},
		{"unreachable, cached for another date of birth", centre{err: errors.New("no connection")}, cache{answer: unconfirmed}, safeguard.Unknown, safeguard.NoSource, safeguard.IdentityNotConfirmed, 0},
		{"slow, cached", centre{answer: held, delay: time.Minute}, cache{cached, true, nil}, safeguard.Held, safeguard.FromCache, safeguard.NoReason, 0},
		{"slow, not cached", centre{answer: held, delay: time.Minute}, cache{}, safeguard.Unknown, safeguard.NoSource, safeguard.CentreUnreachable, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				got := lookup.New(&c.centre, &c.cache, deadline, slog.New(slog.DiscardHandler)).Lookup(t.Context(), safeguard.Query{})
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
