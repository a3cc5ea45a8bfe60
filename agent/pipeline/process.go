package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/agent/journal"
	"github.com/safeguard-edge/safeguard/hl7adapter/adt"
)

// Process takes one entry of the journal to its settlement: what it says about
// attendances, what the flag source answers, what follows for the EPR and the
// centre. unread says why the message was not understood, if so: it is then set
// aside.
func (p *Pipeline) Process(ctx context.Context, e journal.Entry, m adt.Movement, unread error) error {
	if unread != nil {
		return p.setAside(ctx, e, unread.Error())
	}
	if m.Rule == adt.Echo {
		p.counts.echoes.Add(1)
	}
	if !concerns[m.Kind] {
		return p.once(p.Journal.Settle(ctx, journal.Outcome{Entry: e.Seq, State: journal.Ignored, Note: m.Rule}))
	}
	concerned := []safeguard.AttendanceID{m.Attendance.ID, m.Second.ID}
	return again(func() error {
		unlock, err := p.locks.lock(ctx, concerned)
		if err != nil {
			return err
		}
		defer unlock()
		b := &batch{Pipeline: p, entry: e, movement: m}
		err = b.follow(ctx)
		if more := b.besides(concerned); err == nil && len(more) > 0 {
			concerned = append(concerned, more...)
			return journal.ErrConflict // again, with them locked
		}
		var unclear unclear
		switch {
		case errors.As(err, &unclear), errors.Is(err, journal.ErrBroken):
			return p.setAside(ctx, e, err.Error())
		case err != nil:
			return err
		case len(b.changes) == 0:
			return p.Journal.Settle(ctx, journal.Outcome{Entry: e.Seq, State: journal.Ignored, Note: b.note})
		}
		return p.conclude(ctx, journal.Outcome{Entry: e.Seq}, b.changes)
	})
}

// concerns are the kinds that change an attendance.
var concerns = map[adt.Kind]bool{
	adt.Register: true, adt.Update: true, adt.PreAdmission: true, adt.PersonUpdate: true, adt.Discharge: true, adt.Reopen: true,
	adt.Cancel: true, adt.CancelPreAdmission: true, adt.Merge: true, adt.Change: true, adt.Move: true, adt.Swap: true,
}

func (p *Pipeline) setAside(ctx context.Context, e journal.Entry, why string) error {
	p.counts.setAside.Add(1)
	p.Log.WarnContext(ctx, "message set aside", "feed", e.Feed, "err", why)
	return p.once(p.Journal.Settle(ctx, journal.Outcome{Entry: e.Seq, State: journal.SetAside, Note: why}))
}

// once is err, but what an operator has set aside meanwhile needs nothing more.
func (p *Pipeline) once(err error) error {
	if errors.Is(err, journal.ErrNotWaiting) {
		return nil
	}
	return err
}

// again repeats do while an attendance changes under it.
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

// unclear is why a person has to look at a message that was understood.
type unclear string

func (u unclear) Error() string { return string(u) }

// batch is what one message makes of the attendances that it is about.
type batch struct {
	*Pipeline
	entry    journal.Entry
	movement adt.Movement
	changes  []*change // each attendance once
	note     string    // why nothing follows, if so
}

// change is an attendance as a message, a person or the time leaves it; what
// follows is still to be decided.
type change struct {
	record     journal.Record
	attendance safeguard.Attendance // what it becomes, with the patient's name where it is known
	visits     []safeguard.AttendanceID
	silent     bool // nothing new is to be asked now
	refresh    bool // what was answered is to be asked again
}

// follow finds the attendances and brings them up to what the message says.
func (b *batch) follow(ctx context.Context) error {
	m := b.movement
	b.note = m.Rule
	switch m.Kind {
	case adt.PersonUpdate:
		return b.person(ctx, m.Attendance.Patient)
	case adt.Merge, adt.Change, adt.Move:
		return b.replace(ctx)
	case adt.Swap:
		if err := b.attend(ctx, m.Attendance); err != nil {
			return err
		}
		return b.attend(ctx, m.Second)
	}
	return b.attend(ctx, m.Attendance)
}

// besides are the attendances that are to change and are not among those given.
func (b *batch) besides(known []safeguard.AttendanceID) (more []safeguard.AttendanceID) {
	for _, c := range b.changes {
		if id := c.attendance.ID; !slices.Contains(known, id) {
			more = append(more, id)
		}
	}
	return more
}

// touch is the attendance's change, which begins with the record. A later part of
// the message goes on from what an earlier one made of it.
func (b *batch) touch(r journal.Record) *change {
	for _, c := range b.changes {
		if c.record.Attendance.ID == r.Attendance.ID {
			return c
		}
	}
	c := &change{record: r, attendance: r.Attendance}
	b.changes = append(b.changes, c)
	return c
}

// record is that of any of an attendance's visits, as the message has made it so
// far.
func (b *batch) record(ctx context.Context, visit safeguard.AttendanceID) (journal.Record, bool, error) {
	for _, c := range b.changes {
		for _, v := range c.visits {
			if v == visit {
				return c.now(), true, nil
			}
		}
	}
	r, known, err := b.Journal.Record(ctx, visit)
	if known {
		for _, c := range b.changes {
			if c.record.Attendance.ID == r.Attendance.ID {
				return c.now(), true, nil
			}
		}
	}
	return r, known, err
}

func (c *change) now() journal.Record {
	r := c.record
	r.Attendance = c.attendance
	return r
}

// attend brings the attendance of one visit up to what the message says.
func (b *batch) attend(ctx context.Context, told safeguard.Attendance) error {
	m := b.movement
	record, known, err := b.record(ctx, told.ID)
	if err != nil {
		return err
	}
	another, admitted := !known, false
	if another {
		if record, known, admitted, err = b.goesOn(ctx, told); err != nil {
			return err
		}
	}
	if !known {
		return b.begin(told)
	}
	if m.Kind == adt.CancelPreAdmission && record.Attendance.State != safeguard.Expected {
		b.note = m.Trigger + " for an attendance that has begun"
		return nil
	}
	c := b.touch(record)
	if another {
		c.visits = append(c.visits, told.ID)
		if c.record.Before = (safeguard.AttendanceID{}); admitted {
			c.record.Before = c.current()
		}
		c.record.Current = told.ID
	}
	b.move(c, told)
	b.identify(c, told)
	return nil
}

// goesOn finds the attendance that a visit which is not known continues: that of
// the visit number before (MRG-5), or an admission's from the emergency
// department.
func (b *batch) goesOn(ctx context.Context, told safeguard.Attendance) (r journal.Record, known, admitted bool, err error) {
	for _, replaced := range b.movement.Replaced {
		if replaced.Visit.To == told.ID {
			if r, known, err = b.record(ctx, replaced.Visit.From); known || err != nil {
				return r, known, false, err
			}
		}
	}
	if b.movement.Kind != adt.Register || told.Class != "I" {
		return r, false, false, nil
	}
	records, err := b.named(ctx, told.Patient)
	for _, r := range records {
		a := r.Attendance
		if a.State == safeguard.Open && (a.Class == "E" || !r.Before.IsZero()) && a.Test == told.Test &&
			!a.Begun.Before(told.Begun.Add(-continues)) && a.Patient.Agrees(told.Patient) {
			return r, true, true, nil
		}
	}
	return journal.Record{}, false, false, err
}

// continues is how long after its beginning an emergency attendance is continued
// by an admission, and how old a visit may be whose first message is an update.
const continues = 24 * time.Hour

// begin begins the attendance of a visit that is not known, if the message can.
func (b *batch) begin(told safeguard.Attendance) error {
	m, e := b.movement, b.entry
	switch {
	case m.Kind == adt.Register:
	case m.Kind == adt.PreAdmission:
		told.State = safeguard.Expected
	case (m.Kind == adt.Update || m.Kind == adt.Reopen || m.Kind == adt.Swap) && e.Received.Sub(told.Begun) < continues:
		told.State = safeguard.Open
	default:
		b.note = m.Trigger + " for a visit that is not known"
		return nil
	}
	record := journal.Record{Accepted: e.Received, Told: b.clock(journal.Clock{}), Moved: b.clock(journal.Clock{})}
	record.Shown.Accepted = e.Received
	if told.State == safeguard.Open {
		record.Opened = b.occurred()
	}
	b.changes = append(b.changes, &change{record: record, attendance: told})
	return nil
}

// occurred is when the event was, and never after its message came: a time of the
// future would make all that follows seem late.
func (b *batch) occurred() time.Time {
	if m := b.movement; !m.Latest.IsZero() && m.Occurred.Before(b.entry.Received) {
		return m.Occurred
	}
	return b.entry.Received
}

// move follows whether the patient is here. A message about a visit that another
// one continues says nothing about that.
func (b *batch) move(c *change, told safeguard.Attendance) {
	m, a := b.movement, &c.attendance
	switch {
	case told.State == safeguard.UnknownState:
		return
	case b.tooLate(c.record.Moved):
		return
	case told.ID != c.current() && m.Kind != adt.Register:
		return
	case m.Kind == adt.Discharge && a.State == safeguard.Cancelled, a.State == safeguard.Merged:
		return
	case m.Kind == adt.Cancel && !c.record.Before.IsZero():
		// The admission did not happen; the emergency attendance did.
		c.record.Current, c.record.Before = c.record.Before, safeguard.AttendanceID{}
		return
	}
	if told.State == safeguard.Open && a.State != safeguard.Open {
		if a.State == safeguard.Expected {
			a.Begun = told.Begun
			c.record.Accepted, c.record.Shown.Accepted = b.entry.Received, b.entry.Received
		}
		c.reopen(b.occurred())
	}
	a.State, a.Finished = told.State, told.Finished
	c.record.Moved = b.clock(c.record.Moved)
}

// reopen says that the patient is here, since then. What was decided while the
// patient was away was perhaps not delivered, so it is told again.
func (c *change) reopen(since time.Time) {
	c.record.Shown.Untold = c.attendance.State == safeguard.Ended
	c.record.Opened = since
	c.attendance.State, c.attendance.Finished = safeguard.Open, time.Time{}
}

// current is the visit that goes on.
func (c *change) current() safeguard.AttendanceID {
	if c.record.Current.IsZero() {
		return c.attendance.ID
	}
	return c.record.Current
}

// identify follows who and where the patient is.
func (b *batch) identify(c *change, told safeguard.Attendance) {
	a := &c.attendance
	told.State, told.Finished = a.State, a.Finished // which move has followed
	switch {
	case b.tooLate(c.record.Told):
		filled := a.Filled(told)
		if c.record.Told.Final {
			filled.Patient.Number, filled.Patient.NumberStatus = a.Patient.Number, a.Patient.NumberStatus
		}
		*a = filled
		return
	case b.movement.Kind == adt.PreAdmission && a.State == safeguard.Expected:
		a.Begun = told.Begun
	}
	*a = a.Updated(told)
	c.record.Told = b.clock(c.record.Told)
}

// clock is that of the message, but never before an earlier one's.
func (b *batch) clock(before journal.Clock) journal.Clock {
	m := b.movement
	c := journal.Clock{At: before.At, Sequence: m.Sequence, Feed: b.entry.Feed, Final: m.Kind == adt.Merge || m.Kind == adt.Change || m.Kind == adt.Move}
	if at := b.occurred(); !m.Latest.IsZero() && at.After(c.At) {
		c.At = at
	}
	return c
}

// sequences is how far apart two sequence numbers may be that are of one series:
// a sender begins anew once in a while.
const sequences = 1000

// tooLate tells whether a newer message has been followed already: by when the
// events occurred, and where these times do not tell, by the sender's sequence.
func (b *batch) tooLate(newest journal.Clock) bool {
	m := b.movement
	if !m.Latest.IsZero() && !newest.At.IsZero() {
		if m.Latest.Before(newest.At) {
			return true
		}
		if b.occurred().After(newest.At) {
			return false
		}
	}
	return m.Sequence > 0 && newest.Feed == b.entry.Feed && m.Sequence < newest.Sequence && newest.Sequence-m.Sequence < sequences
}

// person follows a message about a patient without a visit.
func (b *batch) person(ctx context.Context, patient safeguard.Patient) error {
	records, err := b.named(ctx, patient)
	if err != nil {
		return err
	}
	b.note = "no attendance of the patient goes on"
	for _, r := range records {
		if !b.followed(r) || b.tooLate(r.Told) {
			continue
		}
		c := b.touch(r)
		c.attendance = c.attendance.Identified(patient)
		c.record.Told = b.clock(c.record.Told)
	}
	return nil
}

// named reads the attendances of the patient: under the hospital's own number, or
// where one of the two has none, under the NHS number.
func (b *batch) named(ctx context.Context, p safeguard.Patient) ([]journal.Record, error) {
	var local []safeguard.Private[safeguard.Identifier]
	var numbers []safeguard.NHSNumber
	if !p.MRN.IsZero() {
		local = append(local, p.MRN)
	}
	if !p.Number.IsZero() {
		numbers = append(numbers, p.Number)
	}
	all, err := b.Journal.Named(ctx, local, numbers)
	if err != nil {
		return nil, err
	}
	var own []journal.Record
	for _, r := range all {
		q := r.Attendance.Patient
		switch {
		case !p.MRN.IsZero() && !q.MRN.IsZero():
			if p.MRN.Reveal().Same(q.MRN.Reveal()) {
				own = append(own, r)
			}
		case !p.Number.IsZero() && p.Number == q.Number:
			own = append(own, r)
		}
	}
	return own, nil
}

// followed tells whether who the patient is still matters: the attendance goes
// on, or is asked about.
func (b *batch) followed(r journal.Record) bool {
	a := r.Attendance
	if a.Test != b.movement.Attendance.Test {
		return false
	}
	switch a.State {
	case safeguard.Open, safeguard.Expected:
		return true
	case safeguard.Ended:
		return b.entry.Received.Before(a.AskUntil())
	}
	return false
}

// conclude decides on the changes and settles them all at once.
func (p *Pipeline) conclude(ctx context.Context, o journal.Outcome, changes []*change) error {
	f := &flight{}
	defer p.asking.end(f)
	o.State = journal.Settled
	if err := p.ahead(ctx, changes); err != nil {
		return err
	}
	for _, c := range changes {
		s, note := p.decide(ctx, f, *c)
		o.Steps = append(o.Steps, s)
		if o.Note == "" {
			o.Note = note
		}
		eligible, _ := p.Rules.Eligible(c.attendance)
		o.Keep = o.Keep || eligible
	}
	return p.settle(ctx, f, o)
}

// ahead writes down which lookups will be made that the centre records, before
// they are: whatever happens to the agent then, and whoever the patient turns out
// to be, they are known. What begins an attendance asks the same again after a
// restart.
func (p *Pipeline) ahead(ctx context.Context, changes []*change) error {
	for _, c := range changes {
		if !c.record.Known() {
			continue
		}
		made := p.plan(*c).records()
		if len(made) == 0 {
			continue
		}
		c.record.Recorded = append(slices.Clip(c.record.Recorded), made...)
		if err := p.Journal.Ahead(ctx, &c.record); err != nil {
			return err
		}
	}
	return nil
}

// settle writes the outcome. About whom something changed while the centre was
// asked, it is asked again.
func (p *Pipeline) settle(ctx context.Context, f *flight, o journal.Outcome) error {
	if err := p.Journal.Settle(ctx, o); err != nil {
		return err
	}
	for _, b := range f.begun {
		p.counts.register(b)
	}
	if f.ended > 0 {
		p.counts.ended.Add(int64(f.ended))
		p.Log.WarnContext(ctx, "asking ended without an answer", "attendances", f.ended)
	}
	for _, n := range p.asking.end(f) {
		if _, err := p.Journal.Changed(ctx, n); err != nil {
			return fmt.Errorf("what changed meanwhile: %w", err)
		}
	}
	return nil
}
