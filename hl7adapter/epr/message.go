// Package epr puts alerts into the electronic patient record, and reads what it
// answers.
package epr

import (
	"fmt"
	"strconv"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/hl7adapter/adt"
	"github.com/safeguard-edge/safeguard/hl7adapter/hl7"
)

// Receiver is what the EPR wants to read in the header.
type Receiver struct {
	Application string // MSH-5
	Facility    string // MSH-6
	Zone        *time.Location
}

// HL7 time stamps with their zone, and dates.
const (
	timestamp = "20060102150405-0700"
	day       = "20060102"
)

// observationStatus is OBX-11 and OBR-25 (HL7 tables 0085 and 0123): final,
// corrected, deleted.
var observationStatus = map[safeguard.Action]string{
	safeguard.Raise:    "F",
	safeguard.Update:   "C",
	safeguard.Withdraw: "D",
}

// Message is the alert as ORU^R01 of HL7 v2.4: one OBR for the alert, and an OBX
// for each thing to read. It depends on nothing but its arguments, so that a
// repeat is the same to the byte. Fields it does not know are absent, and so
// change nothing in the EPR.
func Message(a safeguard.Alert, sink string, to Receiver) ([]byte, error) {
	zone := to.Zone
	if zone == nil {
		zone = time.UTC
	}
	at := a.Decided.In(zone).Format(timestamp)
	b := hl7.NewBuilder().Charset("UNICODE UTF-8")
	b.Header().
		Set(3, adt.Application).
		Set(4, a.Attendance.Organisation.String()).
		Set(5, to.Application).
		Set(6, to.Facility).
		Set(7, at).
		Set(9, "ORU", "R01", "ORU_R01").
		Set(10, a.ControlID(sink)).
		Set(11, "P").
		Set(12, "2.4")
	patient(b.Add("PID"), a.Attendance.Patient)
	visit(b.Add("PV1"), a.Attendance)
	status := observationStatus[a.Action]
	b.Add("OBR").
		Set(1, "1").
		Set(3, string(a.ID), adt.Application).
		Set(4, "SAFEGUARDING", "Safeguarding information", "L").
		Set(7, at).
		Set(22, at).
		Set(25, status)
	for i, o := range observations(a, zone) {
		b.Add("OBX").
			Set(1, strconv.Itoa(i+1)).
			Set(2, "TX").
			Set(3, o.code, o.title, o.system).
			Set(4, strconv.Itoa(i+1)).
			Set(5, o.text).
			Set(11, status).
			Set(14, at)
	}
	out, err := b.Build()
	if err != nil {
		return nil, fmt.Errorf("build ORU^R01: %w", err)
	}
	return out, nil
}

func patient(pid *hl7.SegmentBuilder, p safeguard.Patient) {
	pid.Set(1, "1")
	if !p.Number.IsZero() {
		pid.Repeat(3, p.Number.Reveal(), "", "", "NHS", "NH")
	}
	if mrn := p.MRN.Reveal(); mrn.Value != "" {
		pid.Repeat(3, mrn.Value, "", "", mrn.Authority, mrn.Type)
	}
	pid.Set(5, p.Family.Reveal(), p.Given.Reveal())
	if born := p.Born.Reveal(); !born.IsZero() {
		pid.Set(7, fmt.Sprintf("%04d%02d%02d", born.Year, born.Month, born.Day))
	}
}

func visit(pv1 *hl7.SegmentBuilder, a safeguard.Attendance) {
	pv1.Set(1, "1").Set(2, a.Class).Set(3, a.Location)
	if v := a.Visit.Reveal(); v.Value != "" {
		pv1.Set(19, v.Value, "", "", v.Authority, v.Type)
	}
}
