package pipeline

import (
	"context"
	"slices"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/agent/journal"
	"github.com/safeguard-edge/safeguard/hl7adapter/adt"
)

// replace follows a merge, a move or a change of identifier. What was answered
// stays with the NHS number that it was answered about: an attendance that turns
// out to be another number's is decided afresh, from its own lookup.
func (b *batch) replace(ctx context.Context) error {
	for _, r := range b.movement.Replaced {
		var err error
		switch {
		case r.Visit != (adt.ReplacedVisit{}):
			err = b.revisit(ctx, r)
		case b.movement.Trigger == "A44":
			// Which visits the account has is not known.
			return unclear("A44: moves an account without naming its visits, look which attendances it concerns")
		}
		if err == nil && !r.Prior.IsZero() && (b.movement.Kind != adt.Move || r.Visit == (adt.ReplacedVisit{})) {
			err = b.rename(ctx, r)
		}
		if err != nil {
			return err
		}
	}
	if len(b.changes) == 0 {
		b.note = "no attendance goes by what is replaced"
	}
	return nil
}

// rename gives the attendances of the discarded identity the surviving one. Those
// that go by the survivor learn of it too, so that an earlier message which comes
// late does not take it back.
func (b *batch) rename(ctx context.Context, r adt.Replacement) error {
	survivor, err := b.complete(ctx, r.Survivor)
	if err != nil {
		return err
	}
	records, err := b.Journal.Named(ctx, r.Prior.Local, r.Prior.Numbers)
	if err != nil {
		return err
	}
	theirs, err := b.named(ctx, r.Survivor)
	if err != nil {
		return err
	}
	// The message itself may have given an attendance one of these identities.
	for _, c := range b.changes {
		records = append(records, c.record)
	}
	for _, found := range append(records, theirs...) {
		c := b.known(found)
		if !b.followed(c.now()) || b.tooLate(found.Told) {
			continue
		}
		if p, changed := renamed(c.attendance.Patient, r, survivor, b.movement.Kind); changed {
			c.attendance.Patient = p
			c.record.Told = b.clock(c.record.Told)
			b.keep(c)
		}
	}
	return nil
}

// known is the attendance's change so far, or one that is not kept yet.
func (b *batch) known(r journal.Record) *change {
	for _, c := range b.changes {
		if c.record.Attendance.ID == r.Attendance.ID {
			return c
		}
	}
	return &change{record: r, attendance: r.Attendance}
}

func (b *batch) keep(c *change) {
	if !slices.Contains(b.changes, c) {
		b.changes = append(b.changes, c)
	}
}

// complete is the survivor with the NHS number that the survivor's own
// attendances have, where the message names none.
func (b *batch) complete(ctx context.Context, survivor safeguard.Patient) (safeguard.Patient, error) {
	if !survivor.Number.IsZero() {
		return survivor, nil
	}
	records, err := b.named(ctx, survivor)
	if err != nil {
		return survivor, err
	}
	for _, r := range records {
		if p := r.Attendance.Patient; !p.Number.IsZero() {
			survivor.Number, survivor.NumberStatus = p.Number, p.NumberStatus
			break
		}
	}
	return survivor, nil
}

// renamed is who the patient is from now on, and whether the replacement says
// anything about p.
func renamed(p safeguard.Patient, r adt.Replacement, survivor safeguard.Patient, kind adt.Kind) (safeguard.Patient, bool) {
	prior := slices.ContainsFunc(r.Prior.Local, func(id safeguard.Private[safeguard.Identifier]) bool {
		return !p.MRN.IsZero() && id.Reveal().Same(p.MRN.Reveal())
	})
	discarded := slices.Contains(r.Prior.Numbers, p.Number)
	mother := slices.Contains(r.Prior.Numbers, p.Mother) && !p.Mother.IsZero()
	out := p
	switch {
	case prior && kind == adt.Move:
		out = survivor // another person
	case prior || discarded:
		out = safeguard.Attendance{Patient: p}.Identified(survivor).Patient
		if !prior {
			out.MRN = p.MRN
		}
		if discarded && survivor.Number.IsZero() {
			out.Number, out.NumberStatus = safeguard.NHSNumber{}, safeguard.StatusNotStated
		}
	case mother:
	case !survivor.MRN.IsZero() && !p.MRN.IsZero() && survivor.MRN.Reveal().Same(p.MRN.Reveal()):
		out = safeguard.Attendance{Patient: p}.Identified(survivor).Patient
	default:
		return p, false
	}
	if mother && kind != adt.Move {
		out.Mother = survivor.Number
	}
	return out, true
}

// revisit follows a visit number that takes the place of another.
func (b *batch) revisit(ctx context.Context, r adt.Replacement) error {
	from, begun, err := b.record(ctx, r.Visit.From)
	if err != nil {
		return err
	}
	to, known, err := b.record(ctx, r.Visit.To)
	if err != nil {
		return err
	}
	switch {
	case begun && known && from.Attendance.ID != to.Attendance.ID && !b.tooLate(from.Told):
		b.join(b.touch(from), b.touch(to), r)
	case begun && !known && !b.tooLate(from.Told):
		c := b.touch(from)
		c.visits = append(c.visits, r.Visit.To)
		if c.current() == r.Visit.From {
			c.record.Current = r.Visit.To
		}
		if c.record.Before == r.Visit.From {
			c.record.Before = r.Visit.To
		}
		c.attendance.Visit = r.Visit.Number
		b.reassign(c, r)
	case !begun && known:
		// What comes late about the visit before is about this one.
		c := b.touch(to)
		c.visits = append(c.visits, r.Visit.From)
		b.reassign(c, r)
	case begun && !b.tooLate(from.Told) && b.movement.Kind == adt.Move:
		b.reassign(b.touch(from), r)
	}
	return nil
}

// join ends the one attendance as a part of the other.
func (b *batch) join(from, to *change, r adt.Replacement) {
	if from.attendance.State == safeguard.Merged {
		return
	}
	if to.attendance.State != safeguard.Open && from.attendance.State == safeguard.Open {
		to.reopen(from.record.Opened)
	}
	if a := from.attendance; a.Purpose == safeguard.Unscheduled && to.attendance.Purpose != safeguard.Unscheduled {
		to.attendance.Purpose, to.attendance.Setting, to.attendance.Rule = a.Purpose, a.Setting, a.Rule
	}
	from.attendance.State = safeguard.Merged
	from.record.Told, from.record.Moved = b.clock(from.record.Told), b.clock(from.record.Moved)
	to.visits = append(to.visits, from.attendance.ID, r.Visit.From)
	b.reassign(to, r)
}

// reassign gives an attendance its patient, where a visit is moved to one.
func (b *batch) reassign(c *change, r adt.Replacement) {
	if b.movement.Kind == adt.Move {
		c.attendance.Patient = r.Survivor
	} else if c.attendance.Patient.Agrees(r.Survivor) {
		c.attendance = c.attendance.Identified(r.Survivor)
	}
	c.record.Told = b.clock(c.record.Told)
}
