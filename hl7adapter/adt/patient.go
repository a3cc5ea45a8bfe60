package adt

import (
	"slices"
	"strconv"
	"strings"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/hl7adapter/hl7"
)

// patient reads PID. What can not be used, such as an impossible date of birth,
// is left unknown and named as a doubt.
func (r *reader) patient(pid hl7.Segment) safeguard.Patient {
	at := pid.Cursor()
	ids, names, born, sex := at.Field(3), at.Field(5), at.Field(7), at.Field(8)
	unidentified, status := at.Field(31), at.Field(32)
	p := safeguard.Patient{
		NumberStatus: r.numberStatus(status),
		Born:         r.born(born, status),
		Sex:          sexOf(sex),
	}
	if name := legalName(names); !name.IsNull() {
		p.Family = safeguard.Hide(name.Component(1).Text())
		p.Given = safeguard.Hide(name.Component(2).Text())
	}
	r.numbers(pid, ids, &p)
	if unidentified.Is("Y") {
		r.doubt("PID-31: the hospital does not know who this is")
	}
	return p
}

// legalName is the repetition of PID-5 of type L (XPN-7), else the first.
func legalName(names hl7.Field) hl7.Repetition {
	for name := range names.Repetitions() {
		if name.Component(7).Is("L") {
			return name
		}
	}
	return names.Repetition(1)
}

// numbers takes the NHS number from whichever repetition of PID-3 is marked as
// one, and the hospital's own number from the best of the others.
func (r *reader) numbers(pid hl7.Segment, ids hl7.Field, p *safeguard.Patient) {
	n, best := 0, 0
	for v := range ids.Repetitions() {
		n++
		id := r.cx(v)
		switch {
		case id.Value == "":
		case r.site.isNHSNumber(&id):
			r.number(p, &id, "PID-3["+strconv.Itoa(n)+"]")
		case !id.expired && !r.discarded.names(id.Identifier):
			if rank := r.site.rank(&id); rank > best {
				p.MRN, best = safeguard.Hide(id.Identifier), rank
			}
		}
	}
	for _, name := range r.site.NHSNumber.Fields {
		if !p.Number.IsZero() {
			break
		}
		for v := range pid.Field(identifierFields[name]).Repetitions() {
			id := r.cx(v)
			if id.Value != "" && (id.unmarked() || r.site.isNHSNumber(&id)) {
				r.number(p, &id, name)
			}
		}
	}
	if p.Number.IsZero() && p.NumberStatus == safeguard.Verified {
		r.doubt("PID-32: an NHS number that is verified, but none is recognised: its authority or type may have to be configured")
	}
}

// number takes what is marked as an NHS number. A second one that differs makes
// the number one in conflict: the hospital must say whose this attendance is.
func (r *reader) number(p *safeguard.Patient, id *cx, where string) {
	number, err := safeguard.ParseNHSNumber(id.Value)
	switch {
	case err != nil:
		r.doubt(where + ": " + err.Error())
		return
	case id.expired:
		r.doubt(where + ": an NHS number past its last day (CX-8), not taken")
		return
	case slices.Contains(r.discarded.Numbers, number):
		return
	case p.Number.IsZero():
		p.Number = number
	case p.Number != number:
		r.doubt(where + ": a second NHS number that differs, the number is in conflict")
		p.NumberStatus = safeguard.InConflict
		return
	}
	if id.status != "" {
		r.stated(&p.NumberStatus, id.status)
	}
}

// rank prefers the hospital's own number: the authorities that the site names,
// then what is marked as such (HL7 table 0203: MR medical record, PI patient
// internal), then what is not marked.
func (c *Config) rank(id *cx) int {
	for i, a := range c.HospitalNumber.Authorities {
		if strings.EqualFold(a, id.Authority) {
			return 1000 - i
		}
	}
	switch id.Type {
	case "MR", "PI":
		return 3
	case "":
		return 2
	}
	return 1
}

// eldest is the age above which a date of birth is taken as a filler, such as
// 1 January 1900.
const eldest = 120

// born reads the date of PID-7 and leaves its time. PID-32 may say that it is
// unknown or estimated (HL7 UK table 0445).
func (r *reader) born(born, status hl7.Field) safeguard.Private[safeguard.Date] {
	none := safeguard.Private[safeguard.Date]{}
	value := born.Component(1)
	if value.IsAbsent() || value.IsNull() {
		return none
	}
	for said := range status.Repetitions() {
		switch {
		case said.Is("UD"):
			r.doubt("PID-32: the date of birth is unknown")
			return none
		case said.Is("ED"):
			r.doubt("PID-32: the date of birth is estimated")
		}
	}
	t, precision, err := hl7.ParseDate(value.Raw())
	if err != nil || precision < hl7.Day {
		r.doubt("PID-7: not a whole date, taken as unknown")
		return none
	}
	day, on := safeguard.DateOf(t), safeguard.DateOf(r.movement.Occurred)
	if day.YearsAt(on) > eldest || on.Add(0, 0, 1).Before(day) {
		r.doubt("PID-7: more than 120 years before, or after, the event; taken as unknown")
		return none
	}
	return safeguard.Hide(day)
}

// sexOf reads letters (HL7 table 0001) and digits (NHS Data Dictionary, PERSON
// STATED GENDER CODE). What is neither is unknown, never male.
func sexOf(f hl7.Field) safeguard.Sex {
	switch strings.ToUpper(f.Text()) {
	case "M", "1", "MALE":
		return safeguard.Male
	case "F", "2", "FEMALE":
		return safeguard.Female
	case "9", "A", "O", "N", "X", "I":
		return safeguard.UnspecifiedSex
	}
	return safeguard.UnknownSex
}

// newborn is the age in days under which an infant is also asked about under
// its mother's number, which an unborn child's plan is held under.
const newborn = 28

// mother reads the mother's NHS number from PID-21, of a newborn.
func (r *reader) mother(pid hl7.Segment, p safeguard.Patient, on safeguard.Date) safeguard.NHSNumber {
	born := p.Born.Reveal()
	if born.IsZero() || !on.Before(born.Add(0, 0, newborn)) {
		return safeguard.NHSNumber{}
	}
	for v := range pid.Field(21).Repetitions() {
		id := r.cx(v)
		if id.Value == "" || !r.site.isNHSNumber(&id) {
			continue
		}
		number, err := safeguard.ParseNHSNumber(id.Value)
		switch {
		case err != nil:
			r.doubt("PID-21: " + err.Error())
		case number == p.Number:
			r.doubt("PID-21: the infant's own NHS number, not the mother's")
		default:
			return number
		}
	}
	return safeguard.NHSNumber{}
}
