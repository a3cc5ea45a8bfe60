package adt_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/hl7adapter/adt"
)

var update = flag.Bool("update", false, "write the expected files anew")

// trust is a site whose configuration has some of everything.
func trust(t testing.TB) adt.Site {
	t.Helper()
	london, err := time.LoadLocation("Europe/London")
	if err != nil {
		t.Fatal(err)
	}
	s := adt.Site{
		Organisation: ods(t, "RX1"),
		Default:      ods(t, "RX101"),
		Sites:        []safeguard.ODSCode{ods(t, "RX101"), ods(t, "RX102")},
		Setting:      safeguard.EmergencyDepartment,
		Zone:         london,
		Config:       adt.DefaultConfig(),
	}
	s.Locations = []adt.Location{
		{Name: "MIU1", Setting: safeguard.MinorInjuryUnit},
		{Name: "WIC", Setting: safeguard.WalkInCentre},
		{Name: "PAED1", Setting: safeguard.PaediatricWard},
		{Name: "POSTNATAL", Setting: safeguard.Maternity},
	}
	s.Rules = []adt.Rule{{
		Name: "virtual wards",
		When: adt.When{Class: []string{"I"}, Location: []string{"VW*"}},
		Then: adt.Then{Purpose: adt.NoAttendance},
	}}
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	return s
}

func ods(t testing.TB, code string) safeguard.ODSCode {
	t.Helper()
	c, err := safeguard.ParseODSCode(code)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var received = time.Date(2026, 3, 14, 9, 12, 6, 0, time.UTC)

// TestGolden reads each testdata/*.hl7, whose patients are made up, and compares
// what it says with the file beside it. Run with -update to write those anew.
func TestGolden(t *testing.T) {
	p := adt.Parser{Site: trust(t)}
	files, err := filepath.Glob("testdata/*.hl7")
	if err != nil || len(files) == 0 {
		t.Fatalf("no messages in testdata: %v", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".hl7")
		t.Run(name, func(t *testing.T) {
			body, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			mv, err := p.Parse(adt.Message{Body: body, Received: received})
			got := told(mv)
			if err != nil {
				got = "refused: " + err.Error() + "\n"
			}
			if refused := strings.HasPrefix(name, "refused-"); refused != (err != nil) {
				t.Errorf("got error %v", err)
			}
			want := strings.TrimSuffix(file, ".hl7") + ".want"
			if *update {
				if err := os.WriteFile(want, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			text, err := os.ReadFile(want)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(text) {
				t.Errorf("got:\n%s\nwant:\n%s", got, text)
			}
		})
	}
}

// told writes a movement out, private values included: they are made up.
func told(m adt.Movement) string {
	var b strings.Builder
	line := func(name string, value any) {
		if text := fmt.Sprint(value); text != "" && text != "unknown" {
			fmt.Fprintf(&b, "%-14s %s\n", name, text)
		}
	}
	line("kind", m.Kind)
	line("rule", m.Rule)
	if m.Kind == adt.Other && m.Attendance == (safeguard.Attendance{}) {
		return b.String()
	}
	line("occurred", m.Occurred.Format(time.RFC3339))
	if m.Sequence != 0 {
		line("sequence", m.Sequence)
	}
	tellAttendance(line, "", m.Attendance)
	if m.Second != (safeguard.Attendance{}) {
		tellAttendance(line, "second ", m.Second)
	}
	for i, r := range m.Replaced {
		prefix := fmt.Sprintf("[%d] ", i+1)
		tellPatient(line, prefix+"survivor ", r.Survivor)
		for _, n := range r.Prior.Numbers {
			line(prefix+"prior number", n.Reveal())
		}
		for _, id := range r.Prior.Local {
			line(prefix+"prior", id.Reveal())
		}
		if r.Visit != (adt.ReplacedVisit{}) {
			line(prefix+"visit", fmt.Sprintf("%s becomes %s %v", r.Visit.From, r.Visit.To, r.Visit.Number.Reveal()))
		}
	}
	for _, order := range m.Orders() {
		line("in order with", order)
	}
	for _, doubt := range m.Doubts {
		line("doubt", doubt)
	}
	return b.String()
}

func tellAttendance(line func(string, any), prefix string, a safeguard.Attendance) {
	if !a.ID.IsZero() {
		line(prefix+"attendance", a.ID)
	}
	if !a.Visit.IsZero() {
		line(prefix+"visit", a.Visit.Reveal())
	}
	line(prefix+"organisation", a.Organisation)
	line(prefix+"site", a.Site)
	line(prefix+"setting", a.Setting)
	line(prefix+"purpose", a.Purpose)
	line(prefix+"decided by", a.Rule)
	line(prefix+"state", a.State)
	if !a.Begun.IsZero() {
		line(prefix+"begun", a.Begun.Format(time.RFC3339))
	}
	if !a.Finished.IsZero() {
		line(prefix+"finished", a.Finished.Format(time.RFC3339))
	}
	line(prefix+"class", a.Class)
	line(prefix+"location", a.Location)
	if a.Maternity {
		line(prefix+"maternity", "yes")
	}
	if a.Sensitive {
		line(prefix+"sensitive", "yes")
	}
	if a.Test {
		line(prefix+"test", "yes")
	}
	tellPatient(line, prefix, a.Patient)
}

func tellPatient(line func(string, any), prefix string, p safeguard.Patient) {
	line(prefix+"number", p.Number.Reveal())
	line(prefix+"status", p.NumberStatus)
	if !p.MRN.IsZero() {
		line(prefix+"MRN", p.MRN.Reveal())
	}
	line(prefix+"born", p.Born.Reveal())
	line(prefix+"sex", p.Sex)
	line(prefix+"family", p.Family.Reveal())
	line(prefix+"given", p.Given.Reveal())
	line(prefix+"mother", p.Mother.Reveal())
}
