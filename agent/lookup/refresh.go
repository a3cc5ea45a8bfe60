package lookup

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/safeguard-edge/safeguard"
)

// Refresher asks again for kept answers that are not fresh any more: slowly, and
// only while the centre answers. Without it, an answer that nothing has changed
// about would be of no use in an outage after a while.
type Refresher struct {
	Lookup      *Lookup
	Kept        Kept
	Attendances Attendances
	Open        func(ctx context.Context, id safeguard.AttendanceID) bool // the attendance has not ended
	Now         <-chan struct{}                                           // has what is due asked again at once; nil for never
	Log         *slog.Logger

	later map[safeguard.NHSNumber]time.Time // not to be asked before
}

const (
	refreshEvery    = time.Minute
	refreshTogether = 50          // in one call
	refreshPause    = time.Second // between two calls at least, give or take a half
	refreshMost     = 1000        // before it is looked anew what is due
	refreshLater    = time.Hour   // after the centre would not answer
)

// Run refreshes until ctx ends.
func (r *Refresher) Run(ctx context.Context) error {
	r.later = map[safeguard.NHSNumber]time.Time{}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.Now:
		case <-time.After(refreshEvery/2 + rand.N(refreshEvery)): // not all agents at once
		}
		r.some(ctx)
	}
}

// some refreshes what is due, as far as it is one round's.
func (r *Refresher) some(ctx context.Context) {
	for _, queries := range together(r.due(ctx)) {
		if !r.Lookup.Degraded().IsZero() {
			return // the next registration tells whether the centre is back
		}
		pause, ok := r.refresh(ctx, queries)
		if !ok {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(max(pause, refreshPause/2) + rand.N(max(pause, refreshPause))):
		}
	}
}

// due gives what is to be asked again now.
func (r *Refresher) due(ctx context.Context) []safeguard.Query {
	now := time.Now()
	for n, until := range r.later {
		if now.After(until) {
			delete(r.later, n)
		}
	}
	open := func(id safeguard.AttendanceID) bool { return r.Open(ctx, id) }
	due := r.Kept.Due(now, open, refreshMost+len(r.later))
	return slices.DeleteFunc(due, func(q safeguard.Query) bool { return r.later[q.Number].After(now) })
}

// together parts queries into calls, each of one author.
func together(queries []safeguard.Query) [][]safeguard.Query {
	var calls [][]safeguard.Query
	at := map[safeguard.Author]int{}
	for _, q := range queries {
		i, ok := at[q.Author]
		if !ok || len(calls[i]) == refreshTogether {
			i = len(calls)
			at[q.Author] = i
			calls = append(calls, nil)
		}
		calls[i] = append(calls[i], q)
	}
	return calls
}

// refresh asks again, and tells whether the centre answered and how long to leave
// it alone. An answer that says something else than what is kept was missed: open
// attendances follow it.
func (r *Refresher) refresh(ctx context.Context, queries []safeguard.Query) (pause time.Duration, ok bool) {
	kept := make([]safeguard.Answer, len(queries))
	for i := range queries {
		kept[i], _ = r.Lookup.cache.GetFor(queries[i], time.Now())
		queries[i].Purpose = safeguard.Refresh
	}
	answers, pause := r.Lookup.refresh(ctx, queries)
	for i, answer := range answers {
		number := queries[i].Number
		if answer.Source != safeguard.FromCentre {
			continue
		}
		if answer.Status == safeguard.Unknown {
			r.later[number] = time.Now().Add(refreshLater)
		}
		if answer.Status != kept[i].Status || !slices.Equal(answer.Flags, kept[i].Flags) {
			if err := r.Attendances.Changed(ctx, number); err != nil {
				r.Log.Warn("attendances not asked about again", "err", err)
			}
		}
	}
	return pause, len(answers) > 0
}
