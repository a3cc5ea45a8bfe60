package safeguard

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strconv"
	"time"
)

// AttendanceID names one arrival of one patient. It is a UUID (RFC 9562,
// version 8) over what the hospital calls the visit, with no local key in it,
// so that a rebuilt or second agent derives the same.
type AttendanceID [16]byte

// NewAttendanceID derives the id from the parts that name the visit: the
// organisation first, then either the visit number's authority and the visit
// number, or the hospital number, the admit time and the site.
func NewAttendanceID(organisation ODSCode, parts ...string) AttendanceID {
	h := sha256.New()
	h.Write([]byte("safeguard attendance"))
	for _, part := range append([]string{organisation.String()}, parts...) {
		h.Write([]byte("|" + strconv.Itoa(len(part)) + ":" + part))
	}
	var id AttendanceID
	copy(id[:], h.Sum(nil))
	id[6] = id[6]&0x0f | 0x80 // version 8
	id[8] = id[8]&0x3f | 0x80 // variant
	return id
}

// ParseAttendanceID reads the form that String writes.
func ParseAttendanceID(s string) (AttendanceID, error) {
	var id AttendanceID
	if len(s) == 36 && s[8] == '-' && s[13] == '-' && s[18] == '-' && s[23] == '-' {
		raw, err := hex.DecodeString(s[:8] + s[9:13] + s[14:18] + s[19:23] + s[24:])
		if err == nil {
			copy(id[:], raw)
			return id, nil
		}
	}
	return id, errors.New("attendance id: want a UUID such as 1b4e28ba-2fa1-81d2-883f-0016d3cca427")
}

// String is the UUID's usual form.
func (id AttendanceID) String() string {
	s := hex.EncodeToString(id[:])
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}

// IsZero tells whether there is no id.
func (id AttendanceID) IsZero() bool { return id == AttendanceID{} }

// MarshalText writes the UUID.
func (id AttendanceID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads the UUID.
func (id *AttendanceID) UnmarshalText(text []byte) (err error) {
	*id, err = ParseAttendanceID(string(text))
	return err
}

// Attendance is one arrival of a patient at a care setting, as the hospital's
// messages have told it so far.
type Attendance struct {
	ID           AttendanceID
	Organisation ODSCode
	Site         ODSCode // registered under the organisation
	Setting      CareSetting
	Purpose      Purpose
	State        State
	Begun        time.Time // when the patient arrived (PV1-44, EVN-6, else MSH-7)
	Finished     time.Time // when the patient left (PV1-45, EVN-6, else MSH-7); zero while open
	Patient      Patient
	Visit        Private[Identifier] // PV1-19
	Class        string              // PV1-2, HL7 table 0004
	Location     string              // PV1-3, point of care
	Maternity    bool                // the class or the location says so
	Sensitive    bool                // where the patient is must not be shown (ZU8-4)
	Test         bool                // test traffic: never looked up
	Rule         string              // the rule that decided setting and purpose
}

// State is where an attendance stands with the hospital.
type State int

// The states of an attendance.
const (
	UnknownState State = iota
	Open
	Ended     // discharged
	Cancelled // the hospital says that it did not happen
	Expected  // pre-admitted: the patient is not here yet
	Merged    // its visit turned out to be another's, where it goes on
)

var states = names{"unknown", "open", "ended", "cancelled", "expected", "merged"}

func (s State) String() string { return states.name(int(s)) }

// Patient is who attends, with only what a lookup and the EPR's message need.
type Patient struct {
	Number       NHSNumber
	NumberStatus NumberStatus
	MRN          Private[Identifier] // the hospital's own number
	Born         Private[Date]       // zero when unknown or impossible
	Sex          Sex
	Family       Private[string]
	Given        Private[string]
	Mother       NHSNumber // of an infant under 28 days: an unborn child's plan is held under it (PID-21)
}

// Identifier is a hospital's number for a patient or visit (HL7 data type CX).
type Identifier struct {
	Value     string // CX-1
	Authority string // CX-4
	Type      string // CX-5
}

// Same tells whether both name the same: by value and authority, as senders leave
// the type out.
func (i Identifier) Same(j Identifier) bool { return i.Value == j.Value && i.Authority == j.Authority }

// Sex is the patient's administrative sex. It decides only who is asked about.
type Sex int

// The sexes of HL7 table 0001 and of the NHS Data Dictionary.
const (
	UnknownSex Sex = iota
	Male
	Female
	UnspecifiedSex
)

var sexes = names{"unknown", "male", "female", "not specified"}

func (s Sex) String() string { return sexes.name(int(s)) }

// NumberStatus is how far the hospital trusts the NHS number (PID-32 and
// ZU1-27, HL7 UK table 0445).
type NumberStatus int

// The statuses. The zero value is a number whose status the hospital does not
// send; it is asked about, and the alert says so.
const (
	StatusNotStated        NumberStatus = iota
	Verified                            // 01
	PresentNotTraced                    // 02
	TraceRequired                       // 03
	NoMatch                             // 04: no match, or several
	InConflict                          // 05: needs to be resolved
	TraceInProgress                     // 06
	AbsentNoTraceRequired               // 07
	AbsentTracePostponed                // 08: baby under six weeks
	UnrecognisedNumberCode              // something else
)

var numberStatuses = names{"not stated", "verified", "present, not traced", "trace required", "no or several matches",
	"in conflict", "trace in progress", "absent, no trace required", "absent, trace postponed", "unrecognised"}

func (s NumberStatus) String() string { return numberStatuses.name(int(s)) }

// Query is what is asked of a flag source. An unscheduled one is the act that
// is recorded and notifies; it is idempotent by organisation, attendance and
// NHS number.
type Query struct {
	Number     NHSNumber
	Born       Private[Date] // zero when unknown
	Purpose    Purpose
	Author     Author
	Attendance AttendanceID
	At         time.Time // true time of the attendance
	Sensitive  bool
}

// Author is who asks: a device, for a person who answers for it.
type Author struct {
	Device       string
	Organisation ODSCode
	Site         ODSCode
	Setting      CareSetting
	Accountable  Accountable
}

// Accountable is the person named in the site's configuration who answers for
// the device's lookups.
type Accountable struct {
	Name string
	Role string
}

// Query is the lookup this attendance calls for.
func (a Attendance) Query(purpose Purpose, device string, by Accountable) Query {
	return Query{
		Number:     a.Patient.Number,
		Born:       a.Patient.Born,
		Purpose:    purpose,
		Author:     Author{device, a.Organisation, a.Site, a.Setting, by},
		Attendance: a.ID,
		At:         a.Begun,
		Sensitive:  a.Sensitive,
	}
}

// Unasked tells why this patient can not be asked about, if so: there is no
// number, or it is in conflict, or nothing confirms it.
func (a Attendance) Unasked() Reason {
	p := a.Patient
	switch {
	case p.Number.IsZero():
		return NoNHSNumber
	case p.NumberStatus == NoMatch, p.NumberStatus == InConflict:
		return NumberInConflict
	case p.Born.IsZero() && (p.NumberStatus == PresentNotTraced || p.NumberStatus == TraceRequired || p.NumberStatus == TraceInProgress):
		return IdentityNotConfirmed
	}
	return NoReason
}

// Updated is a as a later message tells it: what the message leaves absent
// stays, and an unscheduled attendance never becomes a scheduled one.
func (a Attendance) Updated(by Attendance) Attendance {
	out := by
	out.ID = a.ID
	out.Begun = a.Begun
	if a.Purpose == Unscheduled || by.Purpose == UnknownPurpose {
		// Setting and purpose were decided together, and stay together.
		out.Setting, out.Purpose, out.Rule = a.Setting, a.Purpose, a.Rule
	}
	if by.Class == "" {
		out.Class = a.Class
	}
	if by.Location == "" {
		out.Location = a.Location
	}
	if by.Organisation.IsZero() {
		out.Organisation = a.Organisation
	}
	if by.Site.IsZero() {
		out.Site = a.Site
	}
	out.Test = a.Test
	out.Maternity = a.Maternity || by.Maternity
	out.Sensitive = a.Sensitive || by.Sensitive
	if by.State == UnknownState {
		out.State, out.Finished = a.State, a.Finished
	}
	if by.Visit.IsZero() {
		out.Visit = a.Visit
	}
	out.Patient = a.Patient.updated(by.Patient)
	return out
}

// Filled is a with what an earlier message tells that came late: it fills what is
// not known, and changes nothing that is.
func (a Attendance) Filled(by Attendance) Attendance {
	out := by.Updated(a)
	out.ID, out.Begun, out.Test = a.ID, a.Begun, a.Test
	if a.Purpose != UnknownPurpose && (a.Purpose == Unscheduled || by.Purpose != Unscheduled) {
		out.Setting, out.Purpose, out.Rule = a.Setting, a.Purpose, a.Rule
	}
	return out
}

// Identified is a with what a message without a visit says about its patient.
func (a Attendance) Identified(p Patient) Attendance {
	a.Patient = a.Patient.updated(p)
	return a
}

// Unnamed is p without the name.
func (p Patient) Unnamed() Patient {
	p.Family, p.Given = Private[string]{}, Private[string]{}
	return p
}

// Same tells whether p and q can be one: neither the NHS number nor the
// hospital's own number is another.
func (p Patient) Same(q Patient) bool {
	if !p.Number.IsZero() && p.Number != q.Number {
		return false
	}
	return p.MRN.IsZero() || q.MRN.IsZero() || p.MRN.Reveal().Same(q.MRN.Reveal())
}

// Agrees tells whether nothing that both name speaks against p and q being one.
func (p Patient) Agrees(q Patient) bool {
	return (q.Number.IsZero() || p.Same(q)) && (p.Number.IsZero() || q.Same(p)) &&
		(p.MRN.IsZero() || q.MRN.IsZero() || p.MRN.Reveal().Same(q.MRN.Reveal()))
}

// updated is p as by tells it; what by leaves absent stays.
func (p Patient) updated(by Patient) Patient {
	out := by
	if by.Number.IsZero() {
		out.Number, out.NumberStatus = p.Number, p.NumberStatus
	} else if by.Number == p.Number && by.NumberStatus == StatusNotStated {
		out.NumberStatus = p.NumberStatus
	}
	if by.MRN.IsZero() {
		out.MRN = p.MRN
	}
	if by.Born.IsZero() {
		out.Born = p.Born
	}
	if by.Sex == UnknownSex {
		out.Sex = p.Sex
	}
	if by.Family.IsZero() {
		out.Family, out.Given = p.Family, p.Given
	}
	if by.Mother.IsZero() && out.Number == p.Number {
		out.Mother = p.Mother
	}
	return out
}
