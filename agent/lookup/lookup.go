// Package lookup answers what the agent asks about a patient: from the centre,
// and from the cache while the centre can not answer. It follows what the centre
// says has changed, and keeps what is cached fresh.
package lookup

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/failsafe-go/failsafe-go"
	"github.com/failsafe-go/failsafe-go/budget"
	"github.com/failsafe-go/failsafe-go/circuitbreaker"
	"github.com/failsafe-go/failsafe-go/hedgepolicy"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/tracing"
)

// Cache keeps answers of the centre. What it does not give is unknown, for the
// reason in its answer.
type Cache interface {
	GetFor(q safeguard.Query, now time.Time) (safeguard.Answer, bool)
	PutFor(ctx context.Context, q safeguard.Query, a safeguard.Answer) error
	Adopt(site safeguard.ODSCode, p safeguard.CachePolicy) error
	Outdate(n safeguard.NHSNumber, now time.Time) (safeguard.Query, bool, error)
}

// Centre answers queries: one that somebody waits for, or several that nobody does.
type Centre interface {
	safeguard.FlagSource

	// Refresh asks several of purpose refresh and of one author at once. It says
	// what became of each, and how long to wait before the next.
	Refresh(ctx context.Context, queries []safeguard.Query) ([]safeguard.Refreshed, time.Duration, error)
}

// What bounds how hard the centre is asked.
const (
	// hedgeAfter is the part of the deadline after which a lookup that is not
	// answered is made once more beside it, for the slow tail. The centre takes
	// both for one. At most a fifth of the lookups are, so that a centre which is
	// slow as a whole is not asked twice as much.
	hedgeAfter = 4
	hedgeRate  = 0.2

	// After so many lookups in a row without an answer the centre is not asked for
	// breakFor, give or take a fifth, and then by one lookup: whoever attends
	// meanwhile is answered from the cache at once. With the connection's own
	// attempts, which begin at most a second after one has failed, the centre is
	// asked again within five seconds of its return.
	breakAfter = 5
	breakFor   = time.Second
)

// Lookup asks the centre first. Make one with New.
type Lookup struct {
	// Looked, where there is one, is told of each lookup, with how long it took. It
	// must not wait. Set it before the first lookup.
	Looked func(a safeguard.Answer, took time.Duration)

	centre   Centre
	cache    Cache
	deadline time.Duration
	log      *slog.Logger
	patience failsafe.Executor[safeguard.Answer]

	mu      sync.Mutex // guards the fields below
	since   time.Time  // when the centre was first found unreachable; zero while it answers
	refused time.Time  // when a cache policy was last found unusable
}

// New makes a lookup that gives the centre the deadline to answer.
func New(centre Centre, cache Cache, deadline time.Duration, log *slog.Logger) *Lookup {
	answered := func(_ safeguard.Answer, err error) bool { return err == nil || errors.Is(err, safeguard.ErrRefused) }
	breaker := circuitbreaker.NewBuilder[safeguard.Answer]().
		HandleIf(func(a safeguard.Answer, err error) bool {
			return !answered(a, err) && !errors.Is(err, context.Canceled)
		}).
		WithFailureThreshold(breakAfter).
		WithSuccessThreshold(1).
		WithDelay(breakFor).
		WithJitterFactor(0.2).
		Build()
	hedge := hedgepolicy.NewBuilderWithDelay[safeguard.Answer](deadline / hedgeAfter).
		CancelIf(answered).
		WithBudget(budget.NewBuilder().WithMaxRate(hedgeRate).WithMinConcurrency(1).Build()).
		Build()
	return &Lookup{centre: centre, cache: cache, deadline: deadline, log: log, patience: failsafe.With[safeguard.Answer](breaker, hedge)}
}

// Lookup never fails: what can not be learnt is unknown, with the reason. An
// answer whose source is not the centre leaves the lookup owed.
func (l *Lookup) Lookup(ctx context.Context, q safeguard.Query) safeguard.Answer {
	began := time.Now()
	ctx, span := tracing.Begin(ctx, "lookup")
	a := l.answer(ctx, q)
	span.Set(tracing.Answer.Is(a.Status.String()), tracing.Source.Is(a.Source.String()))
	span.End(a.Source != safeguard.FromCentre)
	if l.Looked != nil {
		l.Looked(a, time.Since(began))
	}
	l.log.DebugContext(ctx, "lookup answered", "answer", a.Status, "source", a.Source, "reason", a.Reason, "took", time.Since(began).Round(time.Microsecond))
	return a
}

func (l *Lookup) answer(ctx context.Context, q safeguard.Query) safeguard.Answer {
	answer, err := l.ask(ctx, q)
	if err == nil || errors.Is(err, safeguard.ErrRefused) {
		l.reached()
		return l.answered(ctx, q, answer, err)
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return safeguard.UnknownBecause(safeguard.CentreUnreachable)
	}
	l.unreached(err)
	cached, ok := l.cache.GetFor(q, time.Now())
	if !ok && cached.Reason == safeguard.NoReason {
		return safeguard.UnknownBecause(safeguard.CentreUnreachable)
	}
	return cached
}

// answered takes over what the centre said: an answer, or that it refuses.
func (l *Lookup) answered(ctx context.Context, q safeguard.Query, answer safeguard.Answer, refused error) safeguard.Answer {
	if refused != nil {
		l.log.WarnContext(ctx, "lookup refused by the centre", "site", q.Author.Site, "err", refused)
		answer = safeguard.UnknownBecause(safeguard.CentreRefused)
	}
	answer.Source = safeguard.FromCentre
	if refused == nil {
		l.keep(ctx, q, answer)
	}
	return answer
}

// refreshDeadline is that of a call that nobody waits for.
const refreshDeadline = 10 * time.Second

// refresh asks several at once. Those that the centre did not answer are unknown
// and not from the centre; without any answer there is no element.
func (l *Lookup) refresh(ctx context.Context, queries []safeguard.Query) ([]safeguard.Answer, time.Duration) {
	asking, cancel := context.WithTimeout(ctx, refreshDeadline)
	defer cancel()
	all, pause, err := l.centre.Refresh(asking, queries)
	switch {
	case errors.Is(err, safeguard.ErrRefused):
		l.reached()
		l.log.Warn("refresh of kept answers refused by the centre", "answers", len(queries), "err", err)
		return nil, 0
	case err != nil:
		if ctx.Err() == nil {
			l.unreached(err)
		}
		return nil, 0
	}
	l.reached()
	answers := make([]safeguard.Answer, len(all))
	for i, r := range all {
		if r.Err == nil || errors.Is(r.Err, safeguard.ErrRefused) {
			answers[i] = l.answered(ctx, queries[i], r.Answer, r.Err)
		}
	}
	return answers, pause
}

// ask asks the centre within the deadline, unless it has not answered lately.
func (l *Lookup) ask(ctx context.Context, q safeguard.Query) (safeguard.Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, l.deadline)
	defer cancel()
	return l.patience.WithContext(ctx).GetWithExecution(func(e failsafe.Execution[safeguard.Answer]) (safeguard.Answer, error) {
		return l.centre.Lookup(e.Context(), q)
	})
}

// keep remembers what was answered, as the centre lets the site. An answer that
// could not be kept costs nothing but resilience, so it is only logged.
func (l *Lookup) keep(ctx context.Context, q safeguard.Query, a safeguard.Answer) {
	if a.Policy != nil {
		l.adopt(q.Author.Site, *a.Policy)
	}
	var err error
	if a.Status == safeguard.Unknown {
		// Somebody has a flag, so that none is held is not true any more.
		_, _, err = l.cache.Outdate(q.Number, time.Now())
	} else {
		err = l.cache.PutFor(ctx, q, a)
	}
	if err != nil {
		l.log.WarnContext(ctx, "answer not cached", "err", err)
	}
}

// adopt takes up what the centre lets the site keep.
func (l *Lookup) adopt(site safeguard.ODSCode, p safeguard.CachePolicy) {
	err := l.cache.Adopt(site, p)
	if err == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if time.Since(l.refused) > time.Hour {
		l.refused = time.Now()
		l.log.Warn("cache policy of the centre not followed, the one before holds", "site", site, "err", err)
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
