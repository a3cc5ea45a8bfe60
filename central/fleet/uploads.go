package fleet

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/store"
)

// How an authority's rhythm is read from its uploads.
const (
	uploadsBack  = 120 * 24 * time.Hour
	uploadsMost  = 21 // that a rhythm is read from
	uploadsLeast = 4
	gapTimes     = 1.25
	gapMore      = 4 * time.Hour // than the longest usual gap
	rowsLeast    = 20
	rowsRejected = 0.02
)

// uploads gives each authority's, the latest first.
func (w *Watcher) uploads(ctx context.Context, now time.Time) (map[safeguard.ODSCode][]store.Kept, error) {
	list, err := w.Store.Uploads(ctx, store.UploadFilter{Since: now.Add(-uploadsBack)})
	if err != nil {
		return nil, err
	}
	of := map[safeguard.ODSCode][]store.Kept{}
	for _, k := range list {
		if len(of[k.Authority]) < uploadsMost {
			of[k.Authority] = append(of[k.Authority], k)
		}
	}
	return of, nil
}

// late finds what is wrong with a local authority's uploads.
func (w *Watcher) late(a store.Authority, now time.Time) (wrong []safeguard.Warning) {
	if a.Stage == store.Invited || !a.OpenOn(safeguard.DateOf(now)) {
		return nil
	}
	uploads := w.authorities[a.Code]
	last := a.Changed
	if len(uploads) > 0 {
		last = uploads[0].Received
	}
	due, usual := last.Add(w.Policy.DataOverdue), ""
	if gap, ok := Rhythm(uploads); ok {
		due = last.Add(max(time.Duration(float64(gap)*gapTimes), gap+gapMore))
		usual = fmt.Sprintf(", usually at most %s apart", safeguard.InWords(gap))
	}
	due = w.pastHolidays(last, due)
	if now.After(due) {
		wrong = append(wrong, safeguard.Warning{Code: safeguard.UploadLate, Since: due, Detail: "last upload on " + last.In(w.Policy.Zone).Format("2 Jan 15:04") + usual})
	}
	if rejected, rows, rising := rejecting(uploads); rising {
		wrong = append(wrong, safeguard.Warning{Code: safeguard.RowsRejected, Since: uploads[0].Received, Detail: fmt.Sprintf("%d of %d rows", rejected, rows)})
	}
	return wrong
}

// pastHolidays is when something is due after the last time, when nobody works on
// the holidays between: each working day that is one gives a day more.
func (w *Watcher) pastHolidays(last, due time.Time) time.Time {
	holiday := w.Policy.Limits.Holiday
	if holiday == nil {
		return due
	}
	for day := last.In(w.Policy.Zone).AddDate(0, 0, 1); day.Before(due); day = day.AddDate(0, 0, 1) {
		if d := day.Weekday(); d != time.Saturday && d != time.Sunday && holiday(day) {
			due = due.Add(24 * time.Hour)
		}
	}
	return due
}

// Rhythm is how long an authority's uploads are apart at most, but for the longest
// tenth: an authority that uploads on working days has its weekends, and a holiday
// now and then is not what is usual. The latest upload is the first.
func Rhythm(uploads []store.Kept) (time.Duration, bool) {
	if len(uploads) < uploadsLeast {
		return 0, false
	}
	var gaps []time.Duration
	for i := 1; i < len(uploads); i++ {
		gaps = append(gaps, uploads[i-1].Received.Sub(uploads[i].Received))
	}
	slices.Sort(gaps)
	return gaps[(len(gaps)*9+9)/10-1], true
}

// rejecting tells whether more of the last upload's rows were rejected than of
// those before.
func rejecting(uploads []store.Kept) (rejected, rows int, rising bool) {
	done := slices.DeleteFunc(slices.Clone(uploads), func(k store.Kept) bool { return k.State != store.Applied })
	if len(done) == 0 {
		return 0, 0, false
	}
	var usual safeguard.Share
	for _, k := range slices.Backward(done[1:]) {
		usual.Learn(k.Rows-k.Loaded, k.Rows)
	}
	rejected, rows = done[0].Rows-done[0].Loaded, done[0].Rows
	return rejected, rows, usual.Rising(rejected, rows, rowsLeast, rowsRejected)
}
