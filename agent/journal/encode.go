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
	number, err := number(s.Number)
	if err != nil {
		return safeguard.Attendance{}, err
	}
	a := safeguard.Attendance{
		ID: s.ID, Organisation: s.Organisation, Site: s.Site,
		Setting: safeguard.CareSetting(s.Setting), Purpose: safeguard.Purpose(s.Purpose),
		State: safeguard.State(s.State), Begun: s.Begun, Finished: s.Finished,
		Patient: safeguard.Patient{
			Number: number, NumberStatus: safeguard.NumberStatus(s.NumberStatus),
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
	Attendance sealedAttendance
	Accepted   time.Time
	Answer     safeguard.Answer
	Asked      sealedAsked
	Shown      sealedShown
}

type sealedAsked struct {
	Number  string
	Born    safeguard.Date
	Purpose int
}

type sealedShown struct {
	Generation, Version int
	Content             safeguard.Content
	About               string
}

func encodeRecord(r Record) ([]byte, error) {
	return json.Marshal(sealedRecord{
		// Names are left out: only an outbox item may hold one.
		Attendance: sealable(r.Attendance, false),
		Accepted:   r.Accepted,
		Answer:     r.Answer,
		Asked:      sealedAsked{r.Asked.Number.Reveal(), r.Asked.Born.Reveal(), int(r.Asked.Purpose)},
		Shown:      sealedShown{r.Shown.Generation, r.Shown.Version, r.Shown.Content, r.Shown.About.Reveal()},
	})
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
	asked, err := number(s.Asked.Number)
	if err != nil {
		return Record{}, err
	}
	about, err := number(s.Shown.About)
	if err != nil {
		return Record{}, err
	}
	return Record{
		Attendance: attendance,
		Accepted:   s.Accepted,
		Answer:     s.Answer,
		Asked:      Asked{asked, safeguard.Hide(s.Asked.Born), safeguard.Purpose(s.Asked.Purpose)},
		Shown: safeguard.Shown{Generation: s.Shown.Generation, Version: s.Shown.Version,
			Content: s.Shown.Content, About: about, Accepted: s.Accepted},
	}, nil
}

type sealedAlert struct {
	ID         safeguard.AlertID
	Version    int
	Action     int
	Attendance sealedAttendance
	Content    safeguard.Content
	Decided    time.Time
	Rule       string
}

func encodeAlert(a safeguard.Alert) ([]byte, error) {
	return json.Marshal(sealedAlert{a.ID, a.Version, int(a.Action), sealable(a.Attendance, true), a.Content, a.Decided, a.Rule})
}

func decodeAlert(b []byte) (safeguard.Alert, error) {
	var s sealedAlert
	if err := json.Unmarshal(b, &s); err != nil {
		return safeguard.Alert{}, fmt.Errorf("decode alert: %w", err)
	}
	attendance, err := s.Attendance.attendance()
	return safeguard.Alert{ID: s.ID, Version: s.Version, Action: safeguard.Action(s.Action), Attendance: attendance,
		Content: s.Content, Decided: s.Decided, Rule: s.Rule}, err
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
