package pipeline

import (
	"context"
	"errors"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/agent/journal"
)

// tellAgain makes the lookups and corrections of an attendance once more that the
// centre may have lost, as they were: one that it has not is the same one. What it
// answers decides nothing; whoever is here is asked about besides. What was taken
// back from another person can not be told again: nothing here knows who that was.
func (p *Pipeline) tellAgain(ctx context.Context, item journal.Item) (try, error) {
	record, known, err := p.Journal.Record(ctx, item.Attendance)
	switch {
	case errors.Is(err, journal.ErrBroken):
		p.counts.setAside.Add(1)
		p.Log.Error("item set aside", "outbox", item.Outbox, "item", item.ID, "attendance", item.Attendance, "err", err)
		return try{}, p.Journal.End(ctx, item.ID, journal.SetAside, "unreadable")
	case err != nil:
		return try{}, err
	case !known:
		return try{}, p.Journal.End(ctx, item.ID, journal.Ignored, "attendance is gone")
	}
	a := record.Attendance
	for _, told := range record.Recorded {
		q := a.Query(safeguard.Unscheduled, p.Device, p.Accountable)
		q.Number, q.Attendance = told.Number, told.Attendance
		if told.Number != a.Patient.Number {
			q.Born = safeguard.Private[safeguard.Date]{} // the mother's is not known
		}
		if answer := p.Flags.Lookup(ctx, q); answer.Source != safeguard.FromCentre {
			return try{failed: true, away: true}, nil
		}
	}
	for _, c := range takenBack(record) {
		c.Author = a.Query(safeguard.Unscheduled, p.Device, p.Accountable).Author
		asked, cancel := context.WithTimeout(ctx, correctWithin)
		_, err := p.Centre.Correct(asked, c)
		cancel()
		if err != nil && !errors.Is(err, safeguard.ErrRefused) {
			return try{failed: true, away: true}, nil
		}
	}
	p.Log.Info("told the centre again", "attendance", a.ID, "lookups", len(record.Recorded))
	return try{}, p.Journal.End(ctx, item.ID, journal.Settled, "")
}

// takenBack are the corrections of the attendance whose number is known.
func takenBack(r journal.Record) (list []safeguard.Correction) {
	a := r.Attendance
	reason := safeguard.OtherPerson
	if a.State == safeguard.Cancelled || a.State == safeguard.Merged {
		reason = safeguard.AttendanceCancelled
	}
	for _, n := range []safeguard.NHSNumber{a.Patient.Number, a.Patient.Mother} {
		before := r
		for i, mark := range r.TakenBack {
			if n.IsZero() || mark != markOf(a.ID, n) {
				continue
			}
			before.TakenBack = r.TakenBack[:i] // it was made before it was taken back
			list = append(list, safeguard.Correction{Number: n, Attendance: askedAs(before, a.ID, n), Reason: reason, At: r.Opened})
		}
	}
	return list
}
