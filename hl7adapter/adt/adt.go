// Package adt reads what an ADT message (HL7 v2 chapter 3, as HL7 UK A.3 and the
// NHS ITK use it) says about a patient's attendance.
//
// It follows what the message means, not its version: fields are taken where the
// standard has them, and what a site leaves out is left out. What it can not use
// it names as a doubt, or refuses with a reason; neither holds anything of the
// message.
package adt

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/hl7adapter/hl7"
)

// Application is MSH-3 of every message that Safeguard sends. One that comes
// back on a feed is an echo.
const Application = "SAFEGUARD"

// Echo is the rule of such a message.
const Echo = "echo of our own message"

// Movement is what one message says.
type Movement struct {
	Kind       Kind
	Trigger    string    // MSH-9.2, else EVN-1: A01 to A62, or none of them
	Rule       string    // why it is of this kind
	Occurred   time.Time // EVN-6, else MSH-7, else when it was received
	Latest     time.Time // when at the latest, as EVN-6 or MSH-7 may be coarse; zero where neither tells
	Sequence   int64     // MSH-13; 0 for none
	Attendance safeguard.Attendance
	Second     safeguard.Attendance // the second patient of a swap, a link or an unlink
	Replaced   []Replacement        // what a merge, move or change of identifier says
	Doubts     []string             // what was there but could not be used; nothing of the message
}

// Message is what there is to read.
type Message struct {
	Body       []byte
	Received   time.Time
	Charset    string // instead of MSH-18; empty for none
	Processing string // instead of MSH-11; empty for none
	Site       string // ODS code, where the transport tells it; empty for none
}

// Parser reads the messages of one site, or of several of one organisation.
type Parser struct {
	Site Site
}

// Parse reads one message. An error says what is missing and where.
func (p Parser) Parse(in Message) (Movement, error) {
	m, err := hl7.Parse(in.Body)
	if err != nil {
		return Movement{}, err
	}
	if in.Charset != "" {
		m = m.WithCharset(in.Charset)
	}
	r := reader{site: &p.Site, in: in, header: m.Header()}
	mv := Movement{Rule: r.notForUs()}
	if mv.Rule != "" {
		return mv, nil
	}
	r.collect(m)
	event := r.header.Event.Text()
	if event == "" {
		event = r.evn.Field(1).Text() // before 2.3, MSH-9 names the type only
	}
	t, listed := TriggerOf(strings.ToUpper(event))
	if !listed {
		mv.Rule = "not an event that HL7 defines"
		return mv, nil
	}
	mv.Trigger = t.Event
	mv.Kind, mv.Rule = p.Site.treatment(t)
	if mv.Kind == Other {
		return mv, nil
	}
	r.movement = &mv
	if err := r.read(); err != nil {
		return Movement{}, err
	}
	return mv, nil
}

// treatment is that of the table, but where the site decides.
func (c *Config) treatment(t Trigger) (Kind, string) {
	switch {
	case c.Arriving == ArrivingRegisters && t.Event == arriving:
		return Register, "A10: the site's configuration says that it begins an attendance"
	case c.Arriving == ArrivingRegisters && t.Event == cancelArriving:
		return Cancel, "A32: takes back an A10, which begins an attendance here"
	}
	return t.Kind, t.Event + ": " + t.Reason
}

// Order names the patient whose messages are to stay in order.
func (m Movement) Order() string {
	p := m.Attendance.Patient
	switch {
	case !p.MRN.IsZero():
		return mrnKey(p.MRN.Reveal())
	case !p.Number.IsZero():
		return nhsKey(p.Number)
	}
	return VisitOrder(m.Attendance.ID)
}

// Orders names every patient and visit that the movement is about, by each number
// that it gives: one patient, but two or more where it merges, moves, changes,
// swaps, links or unlinks. All of their messages before it come first, and those
// after it last.
func (m Movement) Orders() []string {
	keys := []string{m.Order()}
	add := func(key string) {
		if !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	patient := func(p safeguard.Patient) {
		if !p.MRN.IsZero() {
			add(mrnKey(p.MRN.Reveal()))
		}
		if !p.Number.IsZero() {
			add(nhsKey(p.Number))
		}
	}
	visit := func(id safeguard.AttendanceID) {
		if !id.IsZero() {
			add(VisitOrder(id))
		}
	}
	for _, a := range []safeguard.Attendance{m.Attendance, m.Second} {
		patient(a.Patient)
		visit(a.ID)
	}
	for _, r := range m.Replaced {
		patient(r.Survivor)
		for _, id := range r.Prior.Local {
			add(mrnKey(id.Reveal()))
		}
		for _, n := range r.Prior.Numbers {
			add(nhsKey(n))
		}
		visit(r.Visit.From)
		visit(r.Visit.To)
	}
	return keys
}

// VisitOrder names a visit, as Orders does.
func VisitOrder(id safeguard.AttendanceID) string { return "attendance " + id.String() }

func mrnKey(id safeguard.Identifier) string { return "mrn " + id.Authority + " " + id.Value }

func nhsKey(n safeguard.NHSNumber) string { return "nhs " + n.Reveal() }

// reader fills a movement from its message.
type reader struct {
	site     *Site
	in       Message
	header   hl7.Header
	movement *Movement

	evn, pv2, zu1, zu8 hl7.Segment
	groups             []group
	room               [2]group // for groups, so that most messages need no more
	discarded          Identity // whom the survivor that is being read must not go by
}

// group is one patient of the message: PID with the visit and what it replaces.
type group struct {
	pid, mrg, pv1 hl7.Segment
}

func has(s hl7.Segment) bool { return len(s.Raw()) > 0 }

// notForUs says why the header alone is enough.
func (r *reader) notForUs() string {
	switch {
	case r.header.Application.Is(Application):
		return Echo
	case !r.header.Type.Is("ADT"):
		return "not an ADT message"
	}
	return ""
}

// collect finds the segments that are read. A PID begins a group; in a group, an
// MRG or PV1 of its own makes one more for the same patient, as in A45 and A50.
func (r *reader) collect(m hl7.Message) {
	r.groups = r.room[:0]
	var loose hl7.Segment // PV1 before its PID or MRG
	for s := range m.Segments() {
		last := len(r.groups) - 1
		switch {
		case s.Is("PID"):
			r.groups = append(r.groups, group{pid: s, pv1: loose})
			loose = hl7.Segment{}
		case s.Is("PV1"):
			switch {
			case last < 0:
				loose = s
			case !has(r.groups[last].pv1):
				r.groups[last].pv1 = s
			}
		case s.Is("MRG"):
			switch {
			case last < 0:
				r.groups = append(r.groups, group{mrg: s})
			case !has(r.groups[last].mrg):
				r.groups[last].mrg = s
			default:
				r.groups = append(r.groups, group{pid: r.groups[last].pid, mrg: s})
			}
		case s.Is("EVN") && !has(r.evn):
			r.evn = s
		case s.Is("PV2") && !has(r.pv2):
			r.pv2 = s
		case s.Is("ZU1") && !has(r.zu1):
			r.zu1 = s
		case s.Is("ZU8") && !has(r.zu8):
			r.zu8 = s
		}
	}
}

func (r *reader) doubt(text string) { r.movement.Doubts = append(r.movement.Doubts, text) }

// trouble is an error of the message's event.
func (r *reader) trouble(text string) error {
	return errors.New("ADT^" + r.movement.Trigger + " " + text)
}
