package journal

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/safeguard-edge/safeguard"
)

// What the journal seals is JSON of the shapes below. They spell out what the
// domain keeps private, so they never leave this package unsealed.

type sealedAttendance struct {
	ID                      safeguard.AttendanceID
	Organisation, Site      safeguard.ODSCode
	Setting, Purpose        int
	State                   int
	Begun, Finished         time.Time
	Number                  string `json:",omitempty"`
	NumberStatus            int
	MRN, Visit              *safeguard.Identifier `json:",omitempty"`
	Born                    safeguard.Date
	Sex                     int
	Family, Given           string `json:",omitempty"`
	Mother                  string `json:",omitempty"` // NHS number
	Class, Location, Rule   string
	Maternity, Sens, IsTest bool
}

func sealable(a safeguard.Attendance, named bool) sealedAttendance {
	s := sealedAttendance{
		ID: a.ID, Organisation: a.Organisation, Site: a.Site,
		Setting: int(a.Setting), Purpose: int(a.Purpose), State: int(a.State), Begun: a.Begun, Finished: a.Finished,
		Number: a.Patient.Number.Reveal(), NumberStatus: int(a.Patient.NumberStatus),
		MRN: identifier(a.Patient.MRN), Visit: identifier(a.Visit),
		Born: a.Patient.Born.Reveal(), Sex: int(a.Patient.Sex),
		Class: a.Class, Location: a.Location, Rule: a.Rule,
		Maternity: a.Maternity, Sens: a.Sensitive, IsTest: a.Test,
		Mother: a.Patient.Mother.Reveal(),
	}
	if named {
		s.Family, s.Given = a.Patient.Family.Reveal(), a.Patient.Given.Reveal()
	}
	return s
}

func identifier(p safeguard.Private[safeguard.Identifier]) *safeguard.Identifier {
	if p.IsZero() {
		return nil
	}
	id := p.Reveal()
	return &id
}

func (s sealedAttendance) attendance() (safeguard.Attendance, error) {
	own, err := number(s.Number)
	if err != nil {
		return safeguard.Attendance{}, err
	}
	mother, err := number(s.Mother)
	if err != nil {
		return safeguard.Attendance{}, err
	}
	a := safeguard.Attendance{
		ID: s.ID, Organisation: s.Organisation, Site: s.Site,
		Setting: safeguard.CareSetting(s.Setting), Purpose: safeguard.Purpose(s.Purpose),
		State: safeguard.State(s.State), Begun: s.Begun, Finished: s.Finished,
		Patient: safeguard.Patient{
			Number: own, Mother: mother, NumberStatus: safeguard.NumberStatus(s.NumberStatus),
			Born: safeguard.Hide(s.Born), Sex: safeguard.Sex(s.Sex),
			Family: safeguard.Hide(s.Family), Given: safeguard.Hide(s.Given),
		},
		Class: s.Class, Location: s.Location, Rule: s.Rule,
		Maternity: s.Maternity, Sensitive: s.Sens, Test: s.IsTest,
	}
	if s.MRN != nil {
		a.Patient.MRN = safeguard.Hide(*s.MRN)
	}
	if s.Visit != nil {
		a.Visit = safeguard.Hide(*s.Visit)
	}
	return a, nil
}

func number(s string) (safeguard.NHSNumber, error) {
	if s == "" {
		return safeguard.NHSNumber{}, nil
	}
	return safeguard.ParseNHSNumber(s)
}

type sealedRecord struct {
	Attendance   sealedAttendance
	Accepted     time.Time
	Stage        int
	Own, Mothers sealedLookup
	Recorded     []sealedRecorded `json:",omitempty"`
	TakenBack    []string         `json:",omitempty"`
	Shown        sealedShown
	Sinks        []string `json:",omitempty"`
	Current      safeguard.AttendanceID
	Before       safeguard.AttendanceID
	Opened       time.Time
	Told, Moved  Clock
	Closed       Closing
}

type sealedRecorded struct {
	Number     string
	Attendance safeguard.AttendanceID
}

type sealedLookup struct {
	Answer       safeguard.Answer
	About, Asked sealedAsked
}

type sealedAsked struct {
	Number  string `json:",omitempty"`
	Born    safeguard.Date
	Purpose int
}

type sealedShown struct {
	Generation, Version int
	Content             safeguard.Content
	About               sealedPatient
	Past                safeguard.Told
	Untold, Closed      bool
}

type sealedPatient struct {
	Number       string `json:",omitempty"`
	NumberStatus int
	MRN          *safeguard.Identifier `json:",omitempty"`
	Born         safeguard.Date
	Sex          int
	Mother       string `json:",omitempty"`
}

func encodeRecord(r Record) ([]byte, error) {
	s := sealedRecord{
		// Names are left out: only an outbox item may hold one.
		Attendance: sealable(r.Attendance, false),
		Accepted:   r.Accepted,
		Stage:      int(r.Stage),
		Own:        r.Own.sealable(),
		Mothers:    r.Mothers.sealable(),
		Shown: sealedShown{r.Shown.Generation, r.Shown.Version, r.Shown.Content, sealedPatient{
			Number: r.Shown.About.Number.Reveal(), NumberStatus: int(r.Shown.About.NumberStatus), MRN: identifier(r.Shown.About.MRN),
			Born: r.Shown.About.Born.Reveal(), Sex: int(r.Shown.About.Sex), Mother: r.Shown.About.Mother.Reveal(),
		}, r.Shown.Past, r.Shown.Untold, r.Shown.Closed},
		Sinks: r.Sinks, TakenBack: r.TakenBack, Current: r.Current, Before: r.Before, Opened: r.Opened, Told: r.Told, Moved: r.Moved, Closed: r.Closed,
	}
	for _, l := range r.Recorded {
		s.Recorded = append(s.Recorded, sealedRecorded{l.Number.Reveal(), l.Attendance})
	}
	return json.Marshal(s)
}

func (l Lookup) sealable() sealedLookup {
	// What the centre says besides is followed at once, and the history never kept.
	l.Answer.Policy, l.Answer.OwedPause, l.Answer.History = nil, 0, nil
	return sealedLookup{l.Answer, l.About.sealable(), l.Asked.sealable()}
}

func (s sealedLookup) lookup() (Lookup, error) {
	about, err := s.About.asked()
	if err != nil {
		return Lookup{}, err
	}
	asked, err := s.Asked.asked()
	return Lookup{s.Answer, about, asked}, err
}

func (a Asked) sealable() sealedAsked {
	return sealedAsked{a.Number.Reveal(), a.Born.Reveal(), int(a.Purpose)}
}

func (s sealedAsked) asked() (Asked, error) {
	n, err := number(s.Number)
	return Asked{n, safeguard.Hide(s.Born), safeguard.Purpose(s.Purpose)}, err
}

func decodeRecord(b []byte) (Record, error) {
	var s sealedRecord
	if err := json.Unmarshal(b, &s); err != nil {
		return Record{}, fmt.Errorf("decode attendance: %w", err)
	}
	attendance, err := s.Attendance.attendance()
	if err != nil {
		return Record{}, err
	}
	own, err := s.Own.lookup()
	if err != nil {
		return Record{}, err
	}
	mothers, err := s.Mothers.lookup()
	if err != nil {
		return Record{}, err
	}
	about, err := s.Shown.About.patient()
	if err != nil {
		return Record{}, err
	}
	r := Record{
		Attendance: attendance, Accepted: s.Accepted, Stage: safeguard.Stage(s.Stage), Own: own, Mothers: mothers,
		Shown: safeguard.Shown{Generation: s.Shown.Generation, Version: s.Shown.Version, Content: s.Shown.Content,
			About: about, Accepted: s.Accepted, Past: s.Shown.Past, Untold: s.Shown.Untold, Closed: s.Shown.Closed},
		Sinks: s.Sinks, TakenBack: s.TakenBack, Current: s.Current, Before: s.Before, Opened: s.Opened, Told: s.Told, Moved: s.Moved, Closed: s.Closed,
	}
	for _, l := range s.Recorded {
		n, err := number(l.Number)
		if err != nil {
			return Record{}, err
		}
		r.Recorded = append(r.Recorded, Recorded{n, l.Attendance})
	}
	return r, nil
}

func (s sealedPatient) patient() (safeguard.Patient, error) {
	own, err := number(s.Number)
	if err != nil {
		return safeguard.Patient{}, err
	}
	mother, err := number(s.Mother)
	p := safeguard.Patient{Number: own, NumberStatus: safeguard.NumberStatus(s.NumberStatus), Born: safeguard.Hide(s.Born), Sex: safeguard.Sex(s.Sex), Mother: mother}
	if s.MRN != nil {
		p.MRN = safeguard.Hide(*s.MRN)
	}
	return p, err
}

type sealedCorrection struct {
	Number     string
	Author     safeguard.Author
	Attendance safeguard.AttendanceID
	Reason     safeguard.CorrectionReason
	At         time.Time
}

func encodeCorrection(c safeguard.Correction) ([]byte, error) {
	return json.Marshal(sealedCorrection{c.Number.Reveal(), c.Author, c.Attendance, c.Reason, c.At})
}

func decodeCorrection(b []byte) (safeguard.Correction, error) {
	var s sealedCorrection
	if err := json.Unmarshal(b, &s); err != nil {
		return safeguard.Correction{}, fmt.Errorf("decode correction: %w", err)
	}
	n, err := number(s.Number)
	return safeguard.Correction{Number: n, Author: s.Author, Attendance: s.Attendance, Reason: s.Reason, At: s.At}, err
}

type sealedAlert struct {
	ID         safeguard.AlertID
	Version    int
	Action     int
	Attendance sealedAttendance
	Content    safeguard.Content
	Gone       safeguard.Told
	Decided    time.Time
	Rule       string
}

func encodeAlert(a safeguard.Alert) ([]byte, error) {
	return json.Marshal(sealedAlert{a.ID, a.Version, int(a.Action), sealable(a.Attendance, true), a.Content, a.Gone, a.Decided, a.Rule})
}

func decodeAlert(b []byte) (safeguard.Alert, error) {
	var s sealedAlert
	if err := json.Unmarshal(b, &s); err != nil {
		return safeguard.Alert{}, fmt.Errorf("decode alert: %w", err)
	}
	attendance, err := s.Attendance.attendance()
	return safeguard.Alert{ID: s.ID, Version: s.Version, Action: safeguard.Action(s.Action), Attendance: attendance,
		Content: s.Content, Gone: s.Gone, Decided: s.Decided, Rule: s.Rule}, err
}

// A visit to an attendance carries the patient's name until it is settled, so
// that an alert which it raises can.
func encodeVisit(a safeguard.Attendance) ([]byte, error) { return json.Marshal(sealable(a, true)) }

func decodeVisit(b []byte) (safeguard.Attendance, error) {
	var s sealedAttendance
	if err := json.Unmarshal(b, &s); err != nil {
		return safeguard.Attendance{}, fmt.Errorf("decode owed lookup: %w", err)
	}
	return s.attendance()
}
