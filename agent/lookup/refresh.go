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
	Log         *slog.Logger

	later map[safeguard.NHSNumber]time.Time // not to be asked before
}

const (
	refreshEvery = time.Minute
	refreshPause = time.Second // between two lookups, give or take a half
	refreshMost  = 50          // in a row
	refreshLater = time.Hour   // after the centre would not answer
)

// Run refreshes until ctx ends.
func (r *Refresher) Run(ctx context.Context) error {
	r.later = map[safeguard.NHSNumber]time.Time{}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(refreshEvery/2 + rand.N(refreshEvery)): // not all agents at once
		}
		r.some(ctx)
	}
}

// some refreshes what is due, as far as it is one round's.
func (r *Refresher) some(ctx context.Context) {
	now := time.Now()
	for n, until := range r.later {
		if now.After(until) {
			delete(r.later, n)
		}
	}
	open := func(id safeguard.AttendanceID) bool { return r.Open(ctx, id) }
	for _, q := range r.Kept.Due(now, open, refreshMost+len(r.later)) {
		if r.later[q.Number].After(now) {
			continue
		}
		if !r.Lookup.Degraded().IsZero() || !r.refresh(ctx, q) {
			return // the next registration tells whether the centre is back
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(refreshPause/2 + rand.N(refreshPause)):
		}
	}
}

// refresh asks again, and tells whether the centre answered. An answer that says
// something else than what is kept was missed: open attendances follow it.
func (r *Refresher) refresh(ctx context.Context, q safeguard.Query) bool {
	before, _ := r.Lookup.cache.GetFor(q, time.Now())
	q.Purpose = safeguard.Refresh
	answer := r.Lookup.Lookup(ctx, q)
	if answer.Source != safeguard.FromCentre {
		return false
	}
	if answer.Status == safeguard.Unknown {
		r.later[q.Number] = time.Now().Add(refreshLater)
	}
	if answer.Status != before.Status || !slices.Equal(answer.Flags, before.Flags) {
		if err := r.Attendances.Changed(ctx, q.Number); err != nil {
			r.Log.Warn("attendances not asked about again", "err", err)
		}
	}
	return true
}
