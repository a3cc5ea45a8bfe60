// Package lookup answers what the agent asks about a patient: from the centre,
// and from the cache while the centre can not answer.
package lookup

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/safeguard-edge/safeguard"
)

// Cache keeps answers of the centre. What it does not give is unknown, for the
// reason in its answer.
type Cache interface {
	GetFor(q safeguard.Query, now time.Time) (safeguard.Answer, bool)
	PutFor(ctx context.Context, q safeguard.Query, a safeguard.Answer) error
}

// Lookup asks the centre first. Make one with New.
type Lookup struct {
	centre   safeguard.FlagSource
	cache    Cache
	deadline time.Duration
	log      *slog.Logger

	mu    sync.Mutex // guards since
	since time.Time  // when the centre was first found unreachable; zero while it answers
}

// New makes a lookup that gives the centre the deadline to answer.
func New(centre safeguard.FlagSource, cache Cache, deadline time.Duration, log *slog.Logger) *Lookup {
	return &Lookup{centre: centre, cache: cache, deadline: deadline, log: log}
}

// Lookup never fails: what can not be learnt is unknown, with the reason. An
// answer whose source is not the centre leaves the lookup owed.
func (l *Lookup) Lookup(ctx context.Context, q safeguard.Query) safeguard.Answer {
	asked, cancel := context.WithTimeout(ctx, l.deadline)
	defer cancel()
	answer, err := l.centre.Lookup(asked, q)
	switch {
	case err == nil:
		l.reached()
		answer.Source = safeguard.FromCentre
		l.keep(ctx, q, answer)
		return answer
	case errors.Is(err, safeguard.ErrRefused):
		l.reached()
		l.log.Warn("lookup refused by the centre", "attendance", q.Attendance, "err", err)
		refused := safeguard.UnknownBecause(safeguard.CentreRefused)
		refused.Source = safeguard.FromCentre
		return refused
	case errors.Is(ctx.Err(), context.Canceled):
		return safeguard.UnknownBecause(safeguard.CentreUnreachable)
	}
	l.unreached(err)
	cached, ok := l.cache.GetFor(q, time.Now())
	if !ok && cached.Reason == safeguard.NoReason {
		return safeguard.UnknownBecause(safeguard.CentreUnreachable)
	}
	return cached
}

// keep remembers what was answered. An answer that could not be kept costs
// nothing but resilience, so it is only logged.
func (l *Lookup) keep(ctx context.Context, q safeguard.Query, a safeguard.Answer) {
	if a.Status == safeguard.Unknown {
		return
	}
	if err := l.cache.PutFor(ctx, q, a); err != nil {
		l.log.Warn("answer not cached", "err", err)
	}
}

// Degraded tells since when the centre has not answered; zero while it does.
func (l *Lookup) Degraded() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.since
}

func (l *Lookup) unreached(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.since.IsZero() {
		l.since = time.Now()
		l.log.Warn("central unreachable, answering from cache", "err", err)
	}
}

func (l *Lookup) reached() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.since.IsZero() {
		l.log.Info("central reachable again", "unreachable for", time.Since(l.since).Round(time.Millisecond))
		l.since = time.Time{}
	}
}
