package pipeline

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/agent/journal"
)

// plan is what a change calls for, before anything is asked.
type plan struct {
	record      journal.Record
	attendance  safeguard.Attendance
	eligible    bool
	over        time.Time // when the attendance ends by itself
	corrections []safeguard.Correction
	questions   []question
	owed        bool // something is to be asked, but not now
}

// question is one lookup to be made now.
type question struct {
	lookup *journal.Lookup // of the plan's record
	query  safeguard.Query
	about  journal.Asked
}

// plan finds what is to be asked and taken back. It asks nobody.
func (p *Pipeline) plan(c change) *plan {
	w := &plan{record: c.record, attendance: c.attendance}
	r, now := &w.record, time.Now()
	w.over = stay(*r, w.attendance).EndsBy()
	if w.attendance.State == safeguard.Open && !now.Before(w.over) {
		w.attendance.State, w.attendance.Finished = safeguard.Ended, w.over
	}
	w.eligible, _ = p.Rules.Eligible(w.attendance)
	w.corrections = p.corrections(r, w.attendance, now)
	if a := w.attendance; w.eligible && a.State != safeguard.Cancelled && a.State != safeguard.Merged {
		closed := r.Shown.Closed && r.Shown.About.Number == a.Patient.Number
		p.question(w, c.refresh, c.silent || closed || !now.Before(stay(*r, a).AskUntil()))
	}
	return w
}

// question says about whom the centre is to be asked. An infant's mother is asked
// about on her own.
func (p *Pipeline) question(w *plan, refresh, silent bool) {
	r, a := &w.record, w.attendance
	purpose := a.Purpose
	if p.Silent && purpose == safeguard.Unscheduled {
		purpose = safeguard.Scheduled // so that whoever notifies now stays the only one
	}
	own := a.Query(purpose, p.Device, p.Accountable)
	if reason := a.Unasked(); reason != safeguard.NoReason {
		r.Own = journal.Lookup{Answer: safeguard.UnknownBecause(reason)}
	} else {
		w.ask(&r.Own, own, refresh, silent)
	}
	if hers := own; !a.Patient.Mother.IsZero() {
		hers.Number, hers.Born = a.Patient.Mother, safeguard.Private[safeguard.Date]{}
		w.ask(&r.Mothers, hers, refresh, silent)
	} else {
		r.Mothers = journal.Lookup{}
	}
}

func (w *plan) ask(l *journal.Lookup, q safeguard.Query, refresh, silent bool) {
	about := journal.Asked{Number: q.Number, Born: q.Born, Purpose: q.Purpose}
	if l.About.Number != q.Number {
		*l = journal.Lookup{Answer: safeguard.UnknownBecause(safeguard.CentreUnreachable)}
	}
	answered := l.Asked == about
	switch {
	case answered && !refresh:
		return
	case silent:
		w.owed = w.owed || !answered
		return
	case answered:
		q.Purpose = safeguard.Refresh
	}
	q.Attendance = askedAs(w.record, w.attendance.ID, q.Number)
	w.questions = append(w.questions, question{l, q, about})
}

// records are the lookups that the centre will record as attending, and that are
// not known to be.
func (w *plan) records() (made []journal.Recorded) {
	for _, q := range w.questions {
		m := journal.Recorded{Number: q.query.Number, Attendance: q.query.Attendance}
		if q.query.Purpose == safeguard.Unscheduled && !slices.Contains(w.record.Recorded, m) && !slices.Contains(made, m) {
			made = append(made, m)
		}
	}
	return made
}

// decide asks what is to be asked, decides, and says what the attendance owes
// from now on: alerts, corrections, a lookup, and when to look at it again.
func (p *Pipeline) decide(ctx context.Context, f *flight, c change) (journal.Step, string) {
	w := p.plan(c)
	r, a := &w.record, w.attendance
	r.Recorded = append(slices.Clip(r.Recorded), w.records()...)
	owed := w.owed
	for _, q := range w.questions {
		owed = p.ask(ctx, f, q) || owed
	}
	owed = owed && !p.Silent
	r.Attendance = a
	answer := r.Answer()
	now := time.Now()
	d := p.Rules.Decide(now, a, answer, r.Shown)
	s := journal.Step{Record: r, Visits: c.visits, Named: a, Corrections: w.corrections, Alerts: p.address(r, d.Alerts), Grace: d.Again}
	until := stay(*r, a).AskUntil()
	asks := now.Before(until)
	if owed && asks && !d.After.Closed {
		s.Ask = now.Add(askAgain(*r, 0))
	}
	r.Shown = d.After
	unknown := w.eligible && answer.Status == safeguard.Unknown
	switch {
	case a.State == safeguard.Open:
		s.Due = w.over
	case asks && unknown && (a.State == safeguard.Ended || a.State == safeguard.Expected):
		s.Due = until
	}
	if unknown && asks && !r.Shown.Closed && (a.State == safeguard.Open || a.State == safeguard.Ended) {
		s.Unknown = cmp.Or(answer.Reason, safeguard.CentreUnreachable)
	}
	if r.Stage = stage(*r, unknown, owed, w.eligible, !asks); r.Stage != c.record.Stage {
		if r.Stage == safeguard.SetAsideStage && !r.Shown.Closed {
			f.ended++
		}
		p.Log.DebugContext(ctx, "attendance moved on", "from", c.record.Stage, "to", r.Stage, "rule", d.Rule)
	}
	if begins := !c.record.Known() || c.record.Attendance.State == safeguard.Expected; begins && (a.State == safeguard.Open || a.State == safeguard.Ended) {
		f.begun = append(f.begun, first{w.eligible, answer})
	}
	return s, d.Rule
}

// stay is the attendance as it counts how long it may go on: from when the
// hospital last said that the patient is here.
func stay(r journal.Record, a safeguard.Attendance) safeguard.Attendance {
	if r.Opened.After(a.Begun) {
		a.Begun = r.Opened
	}
	return a
}

// stage is what has been made of the attendance.
func stage(r journal.Record, unknown, owed, eligible, over bool) safeguard.Stage {
	a := r.Attendance
	switch {
	case a.State == safeguard.Cancelled:
		return safeguard.CancelledStage
	case a.State == safeguard.Merged:
		return safeguard.MergedStage
	case unknown && (over || r.Shown.Closed):
		return safeguard.SetAsideStage
	case r.Shown.Content.Kind == safeguard.FlagsHeld && a.Purpose == safeguard.Unscheduled && len(r.Recorded) > 0 && !owed:
		return safeguard.Notified
	case r.Shown.Content.Kind != safeguard.Nothing:
		return safeguard.Alerted
	case r.Shown.Generation > 0 || r.Shown.Version > 0:
		return safeguard.WithdrawnAlert
	case owed:
		return safeguard.AskedAbout
	case eligible && !unknown:
		return safeguard.Answered
	}
	return safeguard.Registered
}

// corrections tell the centre of each number that was asked about as attending,
// and did not attend.
func (p *Pipeline) corrections(r *journal.Record, a safeguard.Attendance, now time.Time) (owed []safeguard.Correction) {
	reason := safeguard.OtherPerson
	attends := []safeguard.NHSNumber{a.Patient.Number, a.Patient.Mother}
	if a.State == safeguard.Cancelled || a.State == safeguard.Merged {
		reason, attends = safeguard.AttendanceCancelled, nil
		// Should it have happened after all, it is asked about as if for the first time.
		r.Own.Asked, r.Mothers.Asked = journal.Asked{}, journal.Asked{}
	}
	var stay []journal.Recorded
	for _, l := range r.Recorded {
		if slices.Contains(attends, l.Number) {
			stay = append(stay, l)
			continue
		}
		author := a.Query(safeguard.Unscheduled, p.Device, p.Accountable).Author
		owed = append(owed, safeguard.Correction{Number: l.Number, Author: author, Attendance: l.Attendance, Reason: reason, At: now})
		r.TakenBack = append(slices.Clip(r.TakenBack), markOf(a.ID, l.Number))
	}
	r.Recorded = stay
	return owed
}

// markOf tells a number of this attendance from others, without being it.
func markOf(a safeguard.AttendanceID, n safeguard.NHSNumber) string {
	sum := sha256.Sum256([]byte(a.String() + n.Reveal()))
	return hex.EncodeToString(sum[:8])
}

// askedAs is the id that the attendance is asked about under. What the centre
// took back stays so; should it have happened after all, it is told as another.
func askedAs(r journal.Record, a safeguard.AttendanceID, n safeguard.NHSNumber) safeguard.AttendanceID {
	times := 0
	for _, m := range r.TakenBack {
		if m == markOf(a, n) {
			times++
		}
	}
	if times == 0 {
		return a
	}
	return safeguard.NewAttendanceID(safeguard.ODSCode{}, "again", a.String(), strconv.Itoa(times))
}

// ask makes one lookup, and tells whether it stays owed.
func (p *Pipeline) ask(ctx context.Context, f *flight, q question) (owed bool) {
	p.asking.begin(f, q.query.Number)
	answer := p.Flags.Lookup(ctx, q.query)
	if answer.OwedPause > 0 {
		p.pace.Store(int64(answer.OwedPause))
	}
	l, answered := q.lookup, answer.Source == safeguard.FromCentre && answer.Status != safeguard.Unknown
	// What the centre said of this person stays until something is known again.
	known := l.Answer.Source == safeguard.FromCentre && l.Answer.Status != safeguard.Unknown && l.About.Born == q.about.Born
	if answer.Reason != safeguard.CentreUnreachable || !known {
		l.Answer, l.About = answer, q.about
	}
	f.away = f.away || answer.Source != safeguard.FromCentre
	switch {
	case answered:
		l.Asked = q.about
	case answer.Source == safeguard.FromCentre:
		l.Asked = journal.Asked{} // it was answered, and is not any more
	}
	return !answered
}

// askAgain is how long to wait before an owed lookup is made again.
func askAgain(r journal.Record, tries int) time.Duration {
	for _, l := range []journal.Lookup{r.Own, r.Mothers} {
		if l.Answer.Reason == safeguard.CentreUnreachable || l.Answer.Source == safeguard.FromCache {
			return backoff(tries)
		}
	}
	for _, l := range []journal.Lookup{r.Own, r.Mothers} {
		if l.Answer.Reason == safeguard.IdentityNotConfirmed || l.Answer.Reason == safeguard.CentreRefused {
			return doubling(10, reask)
		}
	}
	return backoff(tries)
}
