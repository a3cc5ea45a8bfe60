// Package adt reads what an ADT message (HL7 v2 chapter 3, as HL7 UK A.3 and the
// NHS ITK use it) says about a patient's attendance.
//
// It follows what the message means, not its version: fields are taken where the
// standard has them, and what a site leaves out is left out.
package adt

import (
	"fmt"
	"slices"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/hl7adapter/hl7"
)

// Application is MSH-3 of every message that Safeguard sends. One that comes
// back on a feed is an echo.
const Application = "SAFEGUARD"

// Movement is what one message says.
type Movement struct {
	Kind       Kind
	Trigger    string // MSH-9.2, such as A04
	Attendance safeguard.Attendance
	Rule       string // why it is of this kind
	Doubt      string // what was there but could not be used; no patient data
}

// Kind is what a movement does to its attendance.
type Kind int

// The kinds. The zero value does nothing.
const (
	Other       Kind = iota // says nothing about an attendance
	Register                // begins one, or repeats its beginning
	Update                  // changes what is known of one
	Discharge               // ends one
	Reopen                  // takes the end back
	Cancel                  // it did not happen
	Unsupported             // needs a person: acting on it wrongly could cross two patients
)

// kindOf is the treatment of each trigger event. Those not listed say nothing
// about an attendance.
var kindOf = map[string]Kind{
	"A01": Register,  // admit
	"A02": Update,    // transfer
	"A03": Discharge, // end of the visit
	"A04": Register,  // register
	"A06": Update,    // outpatient becomes inpatient
	"A07": Update,    // inpatient becomes outpatient
	"A08": Update,    // update
	"A11": Cancel,    // cancel admit or register
	"A13": Reopen,    // cancel discharge

	"A17": Unsupported, // swap patients
	"A18": Unsupported, // merge patient information
	"A34": Unsupported, // merge patient id
	"A35": Unsupported, // merge account
	"A36": Unsupported, // merge patient id and account
	"A39": Unsupported, // merge person
	"A40": Unsupported, // merge patient identifiers
	"A41": Unsupported, // merge account
	"A42": Unsupported, // merge visit
	"A43": Unsupported, // move patient information
	"A44": Unsupported, // move account
	"A45": Unsupported, // move visit
	"A47": Unsupported, // change patient identifier
}

// Message is what there is to read.
type Message struct {
	Body       []byte
	Received   time.Time
	Charset    string // instead of MSH-18; empty for none
	Processing string // instead of MSH-11; empty for none
}

// Parser reads the messages of one site, or of several of one organisation.
type Parser struct {
	Site Site
}

// Parse reads one message. An error says what is missing and where, and repeats
// nothing of the message.
func (p Parser) Parse(in Message) (Movement, error) {
	m, err := hl7.Parse(in.Body)
	if err != nil {
		return Movement{}, err
	}
	if in.Charset != "" {
		m = m.WithCharset(in.Charset)
	}
	h := m.Header()
	trigger := h.Event.Text()
	switch {
	case !h.Type.Is("ADT"):
		return Movement{Trigger: trigger, Rule: "not an ADT message"}, nil
	case h.Application.Is(Application):
		return Movement{Trigger: trigger, Rule: "echo of our own message"}, nil
	}
	kind, listed := kindOf[trigger]
	mv := Movement{Kind: kind, Trigger: trigger, Rule: "trigger event " + trigger}
	switch {
	case !listed:
		mv.Rule = "trigger event says nothing about an attendance"
		return mv, nil
	case kind == Unsupported:
		mv.Rule = trigger + " merges or moves identities, which a person must look at"
		return mv, nil
	}
	r := reader{site: p.Site, in: in, message: m, header: h, movement: &mv}
	return mv, r.read()
}

// Order names the patient whose messages are to stay in order.
func (m Movement) Order() string {
	p := m.Attendance.Patient
	switch {
	case !p.MRN.IsZero():
		id := p.MRN.Reveal()
		return "mrn " + id.Authority + " " + id.Value
	case !p.Number.IsZero():
		return "nhs " + p.Number.Reveal()
	}
	return "attendance " + m.Attendance.ID.String()
}

// reader fills a movement from its message.
type reader struct {
	site     Site
	in       Message
	message  hl7.Message
	header   hl7.Header
	movement *Movement

	evn, pid, pv1 hl7.Segment
}

func (r *reader) read() error {
	var ok bool
	if r.pid, ok = r.message.Segment("PID"); !ok {
		return fmt.Errorf("ADT^%s without a PID segment, want the patient", r.movement.Trigger)
	}
	if r.pv1, ok = r.message.Segment("PV1"); !ok {
		return fmt.Errorf("ADT^%s without a PV1 segment, want the visit", r.movement.Trigger)
	}
	r.evn, _ = r.message.Segment("EVN")

	a := &r.movement.Attendance
	a.Patient = r.patient()
	a.Organisation, a.Site = r.site.Organisation, r.siteCode()
	a.Class = r.pv1.Field(2).Text()
	a.Location = r.pv1.Field(3).Text()
	a.Begun = r.time(r.pv1.Field(44))
	a.State = stateAfter[r.movement.Kind]
	if a.State == safeguard.Ended {
		a.Finished = r.time(r.pv1.Field(45))
	}
	a.Purpose, a.Setting, a.Rule = r.site.purpose(a.Class, r.pv1.Field(4).Text(), a.Location, r.movement.Trigger)
	a.Maternity = a.Class == "B" || a.Setting == safeguard.Maternity
	a.Sensitive = r.sensitive()
	a.Test = r.test(a.Patient.Number)
	return r.identify(a)
}

// stateAfter is what each kind makes of the attendance. An update leaves it.
var stateAfter = map[Kind]safeguard.State{
	Register:  safeguard.Open,
	Reopen:    safeguard.Open,
	Discharge: safeguard.Ended,
	Cancel:    safeguard.Cancelled,
}

// identify derives the attendance's id from the visit number; without one, from
// the hospital number, the admit time and the site.
func (r *reader) identify(a *safeguard.Attendance) error {
	if visit := identifier(r.pv1.Field(19).Repetition(1)); visit.Value != "" {
		a.Visit = safeguard.Hide(visit)
		a.ID = safeguard.NewAttendanceID(a.Organisation, "visit", visit.Authority, visit.Value)
		return nil
	}
	patient := a.Patient.MRN.Reveal()
	if patient.Value == "" {
		return fmt.Errorf("ADT^%s with neither a visit number in PV1-19 nor a hospital number in PID-3, want one to tell the attendance by", r.movement.Trigger)
	}
	admitted := a.Begun.UTC().Format(time.RFC3339)
	if r.pv1.Field(44).IsAbsent() {
		// What stands in for the admit time differs from message to message;
		// its day seldom does.
		admitted = safeguard.DateOf(a.Begun).String()
	}
	a.ID = safeguard.NewAttendanceID(a.Organisation, "patient", patient.Authority, patient.Value, admitted, a.Site.String())
	return nil
}

// time reads f, or else when the event occurred (EVN-6), or else when the
// message was made (MSH-7), or else when it was received.
func (r *reader) time(f hl7.Field) time.Time {
	for _, f := range []hl7.Field{f, r.evn.Field(6), r.header.Time} {
		if t, precision, err := hl7.ParseTime(f.Component(1).Text(), r.site.zone()); err == nil && precision >= hl7.Hour {
			return t
		}
	}
	return r.in.Received
}

// siteCode is PV1-3.4 where it is one of the organisation's sites, else the
// feed's.
func (r *reader) siteCode() safeguard.ODSCode {
	code, err := safeguard.ParseODSCode(r.pv1.Field(3).Component(4).Text())
	if err == nil && slices.Contains(r.site.Sites, code) {
		return code
	}
	return r.site.Default
}

// sensitive tells whether the location is to be hidden (ZU8-4: 1 locally, 2
// nationally).
func (r *reader) sensitive() bool {
	zu8, ok := r.message.Segment("ZU8")
	hide := zu8.Field(4)
	return ok && (hide.Is("1") || hide.Is("2"))
}

func (r *reader) test(number safeguard.NHSNumber) bool {
	processing := r.in.Processing
	if processing == "" {
		processing = r.header.Processing.Text()
	}
	return processing != "" && processing != "P" || number.IsTest() && r.site.Production
}

func identifier(cx hl7.Repetition) safeguard.Identifier {
	if cx.IsNull() {
		return safeguard.Identifier{}
	}
	return safeguard.Identifier{Value: cx.Component(1).Text(), Authority: cx.Component(4).Text(), Type: cx.Component(5).Text()}
}
