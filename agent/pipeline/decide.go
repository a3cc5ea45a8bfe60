package pipeline

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/agent/journal"
)

// decide asks what is to be asked, decides, and says what the attendance owes
// from now on: alerts, corrections, a lookup, and when to look at it again.
func (p *Pipeline) decide(ctx context.Context, f *flight, c change) (journal.Step, string) {
	r, a := c.record, c.attendance
	now := time.Now()
	over := stay(r, a).EndsBy()
	if a.State == safeguard.Open && !now.Before(over) {
		a.State, a.Finished = safeguard.Ended, over
	}
	s := journal.Step{Record: &r, Visits: c.visits, Named: a}
	s.Corrections = p.corrections(&r, a, now)
	owed := p.ask(ctx, f, c, &r, a)

	r.Attendance = a
	answer := r.Answer()
	now = time.Now()
	d := p.Rules.Decide(now, a, answer, r.Shown)
	s.Alerts = p.address(&r, d.Alerts)
	until := stay(r, a).AskUntil()
	asks := now.Before(until)
	if owed && asks && !d.After.Closed {
		s.Ask = now.Add(askAgain(r, 0))
	}
	s.Grace = d.Again
	r.Shown = d.After
	eligible, _ := p.Rules.Eligible(a)
	unknown := eligible && answer.Status == safeguard.Unknown
	switch {
	case a.State == safeguard.Open:
		s.Due = over
	case asks && unknown && (a.State == safeguard.Ended || a.State == safeguard.Expected):
		s.Due = until
	}
	if r.Stage = stage(r, unknown, owed, eligible, !asks); r.Stage != c.record.Stage && !f.dry {
		if r.Stage == safeguard.SetAsideStage && !r.Shown.Closed {
			f.ended++
		}
		p.Log.Debug("attendance", "id", a.ID, "from", c.record.Stage, "to", r.Stage, "rule", d.Rule)
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
	case r.Shown.Content.Kind == safeguard.FlagsHeld && a.Purpose == safeguard.Unscheduled && !owed:
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

// ask brings the answers up to what the attendance calls for, and tells whether a
// lookup stays owed. An infant's mother is asked about on her own.
func (p *Pipeline) ask(ctx context.Context, f *flight, c change, r *journal.Record, a safeguard.Attendance) (owed bool) {
	if eligible, _ := p.Rules.Eligible(a); !eligible || a.State == safeguard.Cancelled || a.State == safeguard.Merged {
		return false
	}
	closed := r.Shown.Closed && r.Shown.About.Number == a.Patient.Number
	c.silent = c.silent || closed || !time.Now().Before(stay(*r, a).AskUntil())
	ask := func(l *journal.Lookup, q safeguard.Query) bool {
		about := journal.Asked{Number: q.Number, Born: q.Born, Purpose: q.Purpose}
		if l.About.Number != q.Number {
			*l = journal.Lookup{Answer: safeguard.UnknownBecause(safeguard.CentreUnreachable)}
		}
		switch {
		case l.Asked == about && !c.refresh:
			return false
		case c.silent:
			return l.Asked != about
		case l.Asked == about:
			q.Purpose = safeguard.Refresh
		}
		q.Attendance = askedAs(*r, a.ID, q.Number)
		if made := (journal.Recorded{Number: q.Number, Attendance: q.Attendance}); q.Purpose == safeguard.Unscheduled && !slices.Contains(r.Recorded, made) {
			r.Recorded, f.ahead = append(slices.Clip(r.Recorded), made), true
		}
		if f.dry {
			return true
		}
		p.asking.begin(f, q.Number)
		answer := p.Flags.Lookup(ctx, q)
		if answer.OwedPause > 0 {
			p.pace.Store(int64(answer.OwedPause))
		}
		answered := answer.Source == safeguard.FromCentre && answer.Status != safeguard.Unknown
		// What the centre said of this person stays until something is known again.
		known := l.Answer.Source == safeguard.FromCentre && l.Answer.Status != safeguard.Unknown && l.About.Born == q.Born
		if answer.Reason != safeguard.CentreUnreachable || !known {
			l.Answer, l.About = answer, about
		}
		f.away = f.away || answer.Source != safeguard.FromCentre
		switch {
		case answered:
			l.Asked = about
		case answer.Source == safeguard.FromCentre:
			l.Asked = journal.Asked{} // it was answered, and is not any more
		}
		return !answered
	}
	own := a.Query(a.Purpose, p.Device, p.Accountable)
	if reason := a.Unasked(); reason != safeguard.NoReason {
		r.Own = journal.Lookup{Answer: safeguard.UnknownBecause(reason)}
	} else {
		owed = ask(&r.Own, own)
	}
	if hers := own; !a.Patient.Mother.IsZero() {
		hers.Number, hers.Born = a.Patient.Mother, safeguard.Private[safeguard.Date]{}
		owed = ask(&r.Mothers, hers) || owed
	} else {
		r.Mothers = journal.Lookup{}
	}
	return owed
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
