package pipeline

import (
	"context"
	"errors"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/agent/journal"
)

// Deliver hands one alert to its sink, and settles it by the receipt. A sink that
// can not be reached, or does not answer, is tried again with the same message.
// What a later version replaces is not delivered any more, nor what came too late
// for its attendance; a withdrawal always is.
func (p *Pipeline) Deliver(ctx context.Context, sink Sink, item journal.Item) (try, error) {
	alert := item.Alert
	log := p.Log.With("sink", sink.Name(), "item", item.ID, "version", alert.Version, "action", alert.Action)
	switch {
	case item.Superseded:
		log.InfoContext(ctx, "alert superseded before it was delivered")
		return try{}, p.Journal.End(ctx, item.ID, journal.Ignored, "superseded")
	case !item.Open && alert.Action != safeguard.Withdraw:
		p.counts.late.Add(1)
		log.WarnContext(ctx, "alert too late, its attendance is over")
		return try{}, p.Journal.End(ctx, item.ID, journal.Late, "late")
	}
	receipt, err := sink.Deliver(ctx, alert)
	if ctx.Err() != nil {
		return try{}, ctx.Err()
	}
	if err != nil {
		log.WarnContext(ctx, "alert not delivered, trying again", "err", err)
		return try{failed: true, away: true}, nil
	}
	switch receipt.Outcome {
	case safeguard.Delivered:
		log.InfoContext(ctx, "alert delivered", "code", receipt.Code)
	case safeguard.Refused:
		p.counts.setAside.Add(1)
		log.ErrorContext(ctx, "alert refused by the EPR, set aside", "code", receipt.Code)
	default:
		log.WarnContext(ctx, "alert not taken by the EPR, trying again", "code", receipt.Code)
		return try{failed: true, code: receipt.Code, text: receipt.Text}, nil
	}
	return try{}, p.Journal.Done(ctx, item.ID, receipt)
}

// lookup makes an owed lookup. While the centre does not answer and nothing else
// changed, nothing is written.
func (p *Pipeline) lookup(ctx context.Context, item journal.Item) (try, error) {
	return p.visit(ctx, item, change{}, func(f *flight, before journal.Record, s journal.Step) bool {
		return f.away && len(s.Alerts) == 0 && s.Record.Stage == before.Stage && !s.Ask.IsZero()
	})
}

// grace decides again as the time to wait silently is over.
func (p *Pipeline) grace(ctx context.Context, item journal.Item) (try, error) {
	return p.visit(ctx, item, change{silent: true}, nil)
}

// changed asks again about an attendance, as the centre says that what it
// answered has changed.
func (p *Pipeline) changed(ctx context.Context, item journal.Item) (try, error) {
	if item.Again {
		return p.tellAgain(ctx, item)
	}
	if !item.Open {
		return try{}, p.Journal.End(ctx, item.ID, journal.Ignored, "attendance is over")
	}
	return p.visit(ctx, item, change{refresh: true}, func(f *flight, _ journal.Record, _ journal.Step) bool { return f.away })
}

// visit looks at the item's attendance as of now, and settles what follows unless
// the item is to wait on.
func (p *Pipeline) visit(ctx context.Context, item journal.Item, c change, waits func(f *flight, before journal.Record, s journal.Step) bool) (t try, err error) {
	err = again(func() error {
		unlock, err := p.locks.lock(ctx, []safeguard.AttendanceID{item.Attendance})
		if err != nil {
			return err
		}
		defer unlock()
		record, known, err := p.Journal.Record(ctx, item.Attendance)
		switch {
		case errors.Is(err, journal.ErrBroken):
			p.counts.setAside.Add(1)
			p.Log.ErrorContext(ctx, "item set aside", "outbox", item.Outbox, "item", item.ID, "err", err)
			return p.Journal.End(ctx, item.ID, journal.SetAside, "unreadable")
		case err != nil:
			return err
		case !known || record.Attendance.ID != item.Attendance:
			return p.Journal.End(ctx, item.ID, journal.Ignored, "attendance is gone")
		}
		c.record, c.attendance = record, record.Attendance
		if named := item.Named.Patient; named.Agrees(record.Attendance.Patient) {
			c.attendance.Patient.Family, c.attendance.Patient.Given = named.Family, named.Given
		}
		f := &flight{}
		defer p.asking.end(f)
		s, note := p.decide(ctx, f, c)
		if waits != nil && waits(f, record, s) {
			t = try{failed: true, away: true}
			return nil
		}
		t = try{}
		return p.settle(ctx, f, journal.Outcome{Item: item.ID, State: journal.Settled, Note: note, Steps: []journal.Step{s}})
	})
	return t, err
}

// correctWithin is how long the centre has to answer a correction.
const correctWithin = 10 * time.Second

// correct tells the centre that a lookup should not have been made.
func (p *Pipeline) correct(ctx context.Context, item journal.Item) (try, error) {
	asked, cancel := context.WithTimeout(ctx, correctWithin)
	defer cancel()
	log := p.Log.With("item", item.ID, "reason", item.Correction.Reason)
	corrected, err := p.Centre.Correct(asked, item.Correction)
	switch {
	case errors.Is(err, safeguard.ErrRefused):
		log.WarnContext(ctx, "correction refused by the centre, trying again", "err", err)
		return try{failed: true, code: "refused", after: doubling(20, reask)}, nil
	case err != nil:
		log.WarnContext(ctx, "correction not acknowledged, trying again", "err", err)
		return try{failed: true, away: true}, nil
	}
	log.InfoContext(ctx, "correction acknowledged", "outcome", corrected)
	return try{}, p.Journal.Done(ctx, item.ID, safeguard.Receipt{Outcome: safeguard.Delivered, Code: corrected.String(), At: time.Now()})
}

// review looks at the first attendance whose time has come, and tells when the
// next one's will.
func (p *Pipeline) review(ctx context.Context) (next time.Time, err error) {
	now := time.Now()
	record, found, next, err := p.Journal.Overdue(ctx, now)
	if err != nil || !found {
		return next, err
	}
	c := &change{record: record, attendance: record.Attendance, silent: true}
	return now, p.conclude(ctx, journal.Outcome{}, []*change{c})
}

// unpaced is what is left between two owed lookups where the centre does not say.
const unpaced = 20 * time.Millisecond

// between is what the centre wants to have between two owed lookups, so that all
// that come back after an outage share what it can take.
func (p *Pipeline) between() time.Duration {
	if pace := time.Duration(p.pace.Load()); pace > 0 {
		return pace
	}
	return unpaced
}
