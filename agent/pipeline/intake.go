package pipeline

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/agent/journal"
	"github.com/safeguard-edge/safeguard/hl7adapter/adt"
)

// continues is how long after its beginning an emergency attendance is continued
// by an admission, and how old a visit may be whose first message is an update.
const continues = 24 * time.Hour

// Process takes one entry of the journal to its settlement: what it says about
// an attendance, what the flag source answers, what follows for the EPR. unread
// says why the message was not understood, if so: it is then set aside.
func (p *Pipeline) Process(ctx context.Context, e journal.Entry, m adt.Movement, unread error) error {
	switch {
	case unread != nil:
		p.Log.Warn("message set aside", "feed", e.Feed, "entry", e.Seq, "err", unread)
		return p.Journal.Settle(ctx, journal.Outcome{Entry: e.Seq, State: journal.SetAside, Note: unread.Error()})
	case m.Kind == adt.Other, m.Kind == adt.PreAdmission, m.Kind == adt.CancelPreAdmission, m.Kind == adt.PersonUpdate,
		m.Kind == adt.Link, m.Kind == adt.Unlink:
		return p.Journal.Settle(ctx, journal.Outcome{Entry: e.Seq, State: journal.Ignored, Note: m.Rule})
	case m.Kind == adt.Merge, m.Kind == adt.Change, m.Kind == adt.Move, m.Kind == adt.Swap:
		p.Log.Warn("message set aside", "feed", e.Feed, "entry", e.Seq, "trigger", m.Trigger, "rule", m.Rule)
		return p.Journal.Settle(ctx, journal.Outcome{Entry: e.Seq, State: journal.SetAside, Note: m.Rule})
	}
	return again(func() error {
		o, err := p.attend(ctx, e, m)
		if errors.Is(err, journal.ErrBroken) {
			p.Log.Error("message set aside", "feed", e.Feed, "entry", e.Seq, "attendance", m.Attendance.ID, "err", err)
			o, err = journal.Outcome{State: journal.SetAside, Note: err.Error()}, nil
		}
		if err != nil {
			return err
		}
		o.Entry = e.Seq
		return p.Journal.Settle(ctx, o)
	})
}

// again repeats do while the attendance changes under it. What an operator has
// set aside meanwhile needs nothing more.
func again(do func() error) error {
	for {
		err := do()
		if errors.Is(err, journal.ErrNotWaiting) {
			return nil
		}
		if !errors.Is(err, journal.ErrConflict) {
			return err
		}
	}
}

// attend brings the attendance up to what the message says, and decides.
func (p *Pipeline) attend(ctx context.Context, e journal.Entry, m adt.Movement) (journal.Outcome, error) {
	record, known, err := p.Journal.Record(ctx, m.Attendance.ID)
	if err != nil {
		return journal.Outcome{}, err
	}
	visit := safeguard.AttendanceID{}
	if !known {
		if record, known, err = p.continued(ctx, m); err != nil {
			return journal.Outcome{}, err
		}
		if known {
			visit = m.Attendance.ID
		}
	}
	attendance := m.Attendance
	switch {
	case known:
		attendance = record.Attendance.Updated(m.Attendance)
	case m.Kind == adt.Register:
	case m.Kind == adt.Update && e.Received.Sub(attendance.Begun) < continues:
		attendance.State = safeguard.Open
	default:
		return journal.Outcome{State: journal.Ignored, Note: fmt.Sprintf("%s for a visit that is not known", m.Trigger)}, nil
	}
	if !known {
		record.Accepted = e.Received
		record.Shown.Accepted = e.Received
	}
	o := p.decide(ctx, record, attendance, 0)
	o.Visit = visit
	return o, nil
}

// continued finds the emergency attendance that an admission continues.
func (p *Pipeline) continued(ctx context.Context, m adt.Movement) (journal.Record, bool, error) {
	a := m.Attendance
	if m.Kind != adt.Register || a.Class != "I" {
		return journal.Record{}, false, nil
	}
	record, known, err := p.Journal.Begun(ctx, a, a.Begun.Add(-continues))
	if err != nil || !known || record.Attendance.Class != "E" {
		return journal.Record{}, false, err
	}
	return record, true, nil
}

// visit looks at an attendance again, because a lookup is owed or a grace ends.
func (p *Pipeline) visit(ctx context.Context, item journal.Item) error {
	if item.Broken != nil {
		p.Log.Error("owed lookup set aside", "item", item.ID, "err", item.Broken)
		return p.Journal.Done(ctx, item.ID, safeguard.Receipt{Outcome: safeguard.Refused, Code: "unreadable", At: time.Now()})
	}
	return again(func() error {
		record, known, err := p.Journal.Record(ctx, item.Attendance)
		if errors.Is(err, journal.ErrBroken) {
			p.Log.Error("owed lookup set aside", "item", item.ID, "attendance", item.Attendance, "err", err)
			return p.Journal.Done(ctx, item.ID, safeguard.Receipt{Outcome: safeguard.Refused, Code: "unreadable", At: time.Now()})
		}
		if err != nil {
			return err
		}
		if !known {
			return fmt.Errorf("attendance %s of an owed lookup is not there", item.Attendance)
		}
		o := p.decide(ctx, record, record.Attendance.Updated(item.Named), item.Tries+1)
		o.Item = item.ID
		return p.Journal.Settle(ctx, o)
	})
}

// decide asks if it must, decides, and says when to look again. attendance is
// what the record becomes, with the patient's name.
func (p *Pipeline) decide(ctx context.Context, record journal.Record, attendance safeguard.Attendance, tries int) journal.Outcome {
	owed := p.ask(ctx, &record, attendance)
	now := time.Now()
	d := p.Rules.Decide(now, attendance, record.Answer, record.Shown)
	record.Attendance, record.Shown = attendance, d.After

	o := journal.Outcome{State: journal.Settled, Note: d.Rule, Record: &record, Ask: d.Again, Tries: tries, Named: attendance}
	o.Keep, _ = p.Rules.Eligible(attendance)
	if owed && now.Before(attendance.AskUntil()) {
		if next := now.Add(askAgain(record.Answer.Reason, tries)); o.Ask.IsZero() || next.Before(o.Ask) {
			o.Ask = next
		}
	}
	for _, alert := range d.Alerts {
		for _, sink := range p.Sinks {
			o.Alerts = append(o.Alerts, journal.Addressed{Sink: sink.Name(), Alert: alert})
		}
	}
	return o
}

// ask brings record.Answer up to what the attendance calls for, and tells whether
// a lookup stays owed.
func (p *Pipeline) ask(ctx context.Context, record *journal.Record, a safeguard.Attendance) (owed bool) {
	if eligible, _ := p.Rules.Eligible(a); !eligible || a.State == safeguard.Cancelled {
		return false
	}
	if reason := a.Unasked(); reason != safeguard.NoReason {
		record.Answer, record.Asked = safeguard.UnknownBecause(reason), journal.Asked{}
		return false
	}
	call := journal.Asked{Number: a.Patient.Number, Born: a.Patient.Born, Purpose: a.Purpose}
	if record.Asked == call {
		return false
	}
	answer := p.Flags.Lookup(ctx, a.Query(a.Purpose, p.Device, p.Accountable))
	if sameNumber := record.Asked.Number == call.Number; answer.Reason != safeguard.CentreUnreachable || !sameNumber {
		record.Answer = answer
	}
	if answer.Source != safeguard.FromCentre || answer.Status == safeguard.Unknown {
		return true
	}
	record.Asked = call
	return false
}
