package adt

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/hl7adapter/hl7"
)

// read fills the movement as its kind needs.
func (r *reader) read() error {
	mv := r.movement
	mv.Occurred, mv.Latest = r.occurred()
	if n, err := strconv.ParseInt(r.header.Sequence.Text(), 10, 64); err == nil && n > 0 {
		mv.Sequence = n
	}
	if event := r.evn.Field(1); !event.IsAbsent() && !event.IsNull() && !event.Is(mv.Trigger) {
		r.doubt("EVN-1: another event than MSH-9, which is taken")
	}
	if len(r.groups) == 0 || !has(r.groups[0].pid) {
		return r.trouble("without a PID segment, or with MRG before it, want the patient first")
	}
	switch mv.Kind {
	case Merge, Change, Move:
		return r.replaced()
	case Link, Unlink, Swap:
		return r.pair()
	}
	g := r.groups[0]
	for _, other := range r.groups[1:] {
		if string(other.pid.Raw()) != string(g.pid.Raw()) {
			return r.trouble("with a second patient, want one PID segment")
		}
	}
	switch {
	case mv.Kind == PersonUpdate:
		return r.person(g)
	case !has(g.pv1) && mv.Trigger == "A08":
		mv.Kind, mv.Rule = PersonUpdate, "A08: without PV1, identity only"
		return r.person(g)
	}
	a, err := r.attendance(g)
	if err != nil {
		return err
	}
	mv.Attendance = a
	if mv.Kind == Update && a.ID.IsZero() {
		// A day would name it, but another each day: a second attendance.
		mv.Kind, mv.Rule = PersonUpdate, mv.Trigger+": neither PV1-19 nor PV1-44 tells which visit, identity only"
		return r.person(g)
	}
	return r.renamed(g)
}

// person reads who the patient is, without a visit.
func (r *reader) person(g group) error {
	p := r.patientOf(g)
	if p.MRN.IsZero() && p.Number.IsZero() {
		return r.trouble("with neither a hospital number nor an NHS number in PID-3, want one to tell the patient by")
	}
	r.movement.Attendance = safeguard.Attendance{Organisation: r.site.Organisation, Patient: p, Test: r.test(p.Number)}
	return nil
}

// patientOf reads the group's patient, once: doubts are not to be named twice.
func (r *reader) patientOf(g group) safeguard.Patient {
	if p := r.movement.Attendance.Patient; p != (safeguard.Patient{}) {
		return p
	}
	return r.patient(g.pid)
}

// stateAfter is what each kind makes of the attendance. Others leave it.
var stateAfter = map[Kind]safeguard.State{
	Register:  safeguard.Open,
	Reopen:    safeguard.Open,
	Discharge: safeguard.Ended,
	Cancel:    safeguard.Cancelled,

	CancelPreAdmission: safeguard.Cancelled,
}

// attendance reads one group's patient and visit. Of an update that does not
// tell which visit, the id is zero.
func (r *reader) attendance(g group) (safeguard.Attendance, error) {
	if !has(g.pv1) {
		return safeguard.Attendance{}, r.trouble("without a PV1 segment, want the visit")
	}
	kind := r.movement.Kind
	a := safeguard.Attendance{Organisation: r.site.Organisation, Patient: r.patient(g.pid), State: stateAfter[kind]}
	pv1 := g.pv1.Cursor()
	begun, exact := r.begun(&pv1)
	a.Begun = begun
	if a.State == safeguard.Ended {
		a.Finished = r.moment(pv1.Field(45), r.evn.Field(6), r.header.Time)
	}
	a.Patient.Mother = r.mother(g.pid, a.Patient, safeguard.DateOf(begun))
	r.decide(&pv1, &a)
	a.Sensitive = r.sensitive()
	a.Test = r.test(a.Patient.Number)
	return a, r.identify(&pv1, &a, exact)
}

// decide reads where and why the patient is here, and asks the rules what that
// is.
func (r *reader) decide(pv1 *hl7.Cursor, a *safeguard.Attendance) {
	at := pv1.Field(3)
	v := visit{
		class:     strings.ToUpper(pv1.Field(2).Text()),
		trigger:   r.movement.Trigger,
		location:  at.Component(1).Text(),
		ward:      at.Component(2).Text(),
		facility:  at.Component(4).Text(),
		admission: pv1.Field(4).Text(),
		specialty: pv1.Field(10).Text(),
	}
	v.place, v.listed = r.site.place(v.location, v.ward)
	a.Class, a.Location = v.class, v.location
	if a.Location == "" {
		a.Location = v.ward
	}
	a.Site = r.siteCode(v.facility)

	rule := r.site.decide(&v)
	a.Rule, a.Purpose, a.Setting = rule.Name, purposes[rule.Then.Purpose], rule.Then.Setting
	if a.Setting == safeguard.UnknownSetting {
		a.Setting = r.site.Setting
		if v.listed {
			a.Setting = v.place
		}
	}
	a.Maternity = v.class == "B" || a.Setting == safeguard.Maternity || v.place == safeguard.Maternity
	switch kind := r.movement.Kind; {
	case rule.Then.Purpose == NoAttendance:
		a.Setting, a.Maternity = safeguard.UnknownSetting, false
		if kind == Register || kind == Update || kind == PreAdmission {
			r.movement.Kind, r.movement.Rule = Other, "rule "+strconv.Quote(rule.Name)+" says that this is no attendance"
		}
	case kind == PreAdmission, kind == CancelPreAdmission:
		// Ahead of arrival nobody has attended, so nobody is told.
		a.Purpose = safeguard.Scheduled
	}
}

// siteCode is PV1-3.4 where it is one of the organisation's sites, else what the
// transport says where that is one, else the feed's.
func (r *reader) siteCode(facility string) safeguard.ODSCode {
	for _, code := range []string{facility, r.in.Site} {
		for _, s := range r.site.Sites {
			if strings.EqualFold(code, s.String()) {
				return s
			}
		}
	}
	if r.in.Site != "" {
		r.doubt("the site that the transport tells is none of the organisation's, the feed's is taken")
	}
	return r.site.Default
}

// identify derives the attendance's id from the visit number; without one, from
// the hospital number, the admit time and the site.
func (r *reader) identify(pv1 *hl7.Cursor, a *safeguard.Attendance, exact bool) error {
	if visit := r.visitNumber(pv1.Field(19)); visit.Value != "" {
		a.Visit = safeguard.Hide(visit)
		a.ID = visitID(a.Organisation, visit)
		return nil
	}
	patient := a.Patient.MRN.Reveal()
	if patient.Value == "" {
		return r.trouble("with neither a visit number in PV1-19 nor a hospital number in PID-3, want one to tell the attendance by")
	}
	admitted := a.Begun.UTC().Format(time.RFC3339)
	if !exact {
		if r.movement.Kind == Update {
			return nil
		}
		// What stands in for the admit time differs from message to message;
		// its day seldom does.
		r.doubt("PV1-19, PV1-44: neither tells the visit, its day does")
		admitted = safeguard.DateOf(a.Begun).String()
	}
	a.ID = safeguard.NewAttendanceID(a.Organisation, "patient", patient.Authority, patient.Value, admitted, a.Site.String())
	return nil
}

func (r *reader) visitNumber(f hl7.Field) safeguard.Identifier {
	return r.cx(f.Repetition(1)).Identifier
}

func visitID(organisation safeguard.ODSCode, visit safeguard.Identifier) safeguard.AttendanceID {
	return safeguard.NewAttendanceID(organisation, "visit", visit.Authority, visit.Value)
}

// ahead is how far an admit time may lie after the event that it belongs to.
const ahead = 24 * time.Hour

// begun is when the patient arrived, and whether PV1-44 says so to the hour: it
// can then be told by. Where PV1-44 says the day only, the event of that day is
// more exact.
func (r *reader) begun(pv1 *hl7.Cursor) (at time.Time, exact bool) {
	occurred := r.movement.Occurred
	field := pv1.Field(44)
	expected := r.movement.Kind == PreAdmission || r.movement.Kind == CancelPreAdmission
	if expected && field.IsAbsent() && has(r.pv2) {
		field = r.pv2.Field(8) // the expected admit time
	}
	t, precision, err := hl7.ParseTime(field.Component(1).Raw(), r.site.zone())
	switch {
	case err != nil || precision < hl7.Day:
		if err == nil || err != hl7.ErrNoTime && !field.IsNull() {
			r.doubt("PV1-44: not a time, the event's is taken")
		}
		return occurred, false
	case expected:
		return t, precision >= hl7.Hour
	case t.After(occurred.Add(ahead)):
		r.doubt("PV1-44: more than a day after the event, whose time is taken")
		return occurred, false
	case precision >= hl7.Hour:
		return t, true
	case safeguard.DateOf(t) == safeguard.DateOf(occurred.In(t.Location())):
		return occurred, false
	}
	return t, false
}

// moment is the first of the fields that says a time to the hour, else when the
// message was received.
func (r *reader) moment(fields ...hl7.Field) time.Time {
	if t, precision := r.told(fields...); precision != hl7.None {
		return t
	}
	return r.in.Received
}

// told is the first of the fields that says a time to the hour.
func (r *reader) told(fields ...hl7.Field) (time.Time, hl7.Precision) {
	for _, f := range fields {
		if t, precision, err := hl7.ParseTime(f.Component(1).Raw(), r.site.zone()); err == nil && precision >= hl7.Hour {
			return t, precision
		}
	}
	return time.Time{}, hl7.None
}

// coarse is how much later than it says a time of that precision may be.
var coarse = map[hl7.Precision]time.Duration{hl7.Hour: time.Hour, hl7.Minute: time.Minute, hl7.Second: time.Second, hl7.Fraction: time.Millisecond}

// occurred is when the event was, and when at the latest.
func (r *reader) occurred() (at, latest time.Time) {
	at, precision := r.told(r.evn.Field(6), r.header.Time)
	if precision == hl7.None {
		return r.in.Received, time.Time{}
	}
	latest = at.Add(coarse[precision] - 1)
	if next := at.Add(time.Hour); next.Hour() == at.Hour() {
		latest = latest.Add(time.Hour) // the hour that comes twice as summer time ends
	}
	return at, latest
}

// sensitive tells whether the location is to be hidden (ZU8-4, HL7 UK table
// ZU057: 1 locally, 2 nationally).
func (r *reader) sensitive() bool {
	hide := r.zu8.Field(4)
	return hide.Is("1") || hide.Is("2")
}

// test tells whether this is test traffic. The number for round trips through a
// live centre is not: the centre answers it by itself and keeps nothing.
func (r *reader) test(number safeguard.NHSNumber) bool {
	if number == safeguard.TestPatient {
		return false
	}
	processing := r.in.Processing
	if processing == "" {
		processing = r.header.Processing.Text()
	}
	return processing != "" && !strings.EqualFold(processing, "P") || number.IsTest() && r.site.Production
}

// pair reads the two patients of a swap, a link or an unlink.
func (r *reader) pair() error {
	if len(r.groups) != 2 || !has(r.groups[1].pid) {
		return r.trouble("without two patients, want two PID segments")
	}
	read := func(g group) (safeguard.Attendance, error) {
		if r.movement.Kind == Swap {
			return r.attendance(g)
		}
		p := r.patient(g.pid)
		return safeguard.Attendance{Organisation: r.site.Organisation, Patient: p, Test: r.test(p.Number)}, nil
	}
	var err error
	if r.movement.Attendance, err = read(r.groups[0]); err != nil {
		return err
	}
	r.movement.Second, err = read(r.groups[1])
	return err
}

// renamed reads the visit number before an A06 or A07 that gives a new one: the
// same attendance goes on under it.
func (r *reader) renamed(g group) error {
	if !has(g.mrg) || !slices.Contains([]Kind{Update, Register}, r.movement.Kind) {
		return nil
	}
	to := r.movement.Attendance
	from := r.visitNumber(g.mrg.Field(5))
	if from.Value == "" || to.Visit.IsZero() {
		return nil
	}
	if visit := r.replacedVisit(to.Visit.Reveal(), from); visit != (ReplacedVisit{}) {
		r.movement.Replaced = []Replacement{{Survivor: to.Patient, Visit: visit}}
	}
	return nil
}
