package adt_test

import (
	"os"
	"strings"
	"testing"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/hl7adapter/adt"
)

// TestDefaultRules holds the NHS defaults: which class, admission type and place
// is unscheduled, at which care setting, by which rule.
func TestDefaultRules(t *testing.T) {
	const ed, mat, paed, miu, wic = safeguard.EmergencyDepartment, safeguard.Maternity, safeguard.PaediatricWard, safeguard.MinorInjuryUnit, safeguard.WalkInCentre
	const un, sch = safeguard.Unscheduled, safeguard.Scheduled
	for _, c := range []struct {
		name, event, class, admission, place string

		purpose safeguard.Purpose
		setting safeguard.CareSetting
		rule    string
	}{
		{"emergency", "A04", "E", "", "ED", un, ed, "class E"},
		{"emergency in small letters", "A04", "e", "", "ED", un, ed, "class E"},
		{"emergency at a listed place", "A04", "E", "", "WIC", un, wic, "class E"},
		{"emergency admission from A&E", "A01", "I", "21", "PAED1", un, paed, "class I, emergency admission"},
		{"emergency admission, other means", "A01", "I", "2D", "WARD9", un, ed, "class I, emergency admission"},
		{"maternity admission before birth", "A01", "I", "31", "WARD9", un, ed, "class I, emergency admission"},
		{"maternity admission after birth", "A01", "I", "32", "POSTNATAL", un, mat, "class I, emergency admission"},
		{"emergency by HL7's letter", "A01", "I", "E", "WARD9", un, ed, "class I, emergency admission"},
		{"waiting list", "A01", "I", "11", "WARD9", sch, ed, "class I, planned admission"},
		{"booked, even at an emergency place", "A01", "I", "12", "MIU1", sch, miu, "class I, planned admission"},
		{"transfer from another hospital", "A01", "I", "81", "PAED1", sch, paed, "class I, planned admission"},
		{"born here", "A01", "I", "82", "POSTNATAL", sch, mat, "class I, planned admission"},
		{"elective by HL7's letter", "A01", "I", "C", "WARD9", sch, ed, "class I, planned admission"},
		{"inpatient, nothing said", "A01", "I", "", "WARD9", sch, ed, "class and location tell nothing"},
		{"inpatient, nothing said, emergency place", "A01", "I", "", "MIU1", un, miu, "location of unscheduled care"},
		{"obstetrics admitted", "A01", "B", "", "WARD9", un, mat, "class B, admitted"},
		{"obstetrics registered", "A04", "B", "", "WARD9", sch, mat, "class B"},
		{"obstetrics updated", "A08", "B", "31", "WARD9", sch, mat, "class B"},
		{"outpatient", "A04", "O", "", "CLINIC", sch, ed, "class O, R or P"},
		{"outpatient class at a walk-in centre", "A04", "O", "", "wic", un, wic, "location of unscheduled care"},
		{"outpatient at a ward that is listed", "A04", "O", "", "PAED1", sch, paed, "class O, R or P"},
		{"recurring", "A04", "R", "", "CLINIC", sch, ed, "class O, R or P"},
		{"pre-admitted", "A04", "P", "", "CLINIC", sch, ed, "class O, R or P"},
		{"unknown class", "A04", "Z", "", "CLINIC", sch, ed, "class and location tell nothing"},
		{"no class, minor injury unit", "A04", "", "", "MIU1", un, miu, "location of unscheduled care"},
		{"nothing at all", "A04", "", "", "", sch, ed, "class and location tell nothing"},
		{"pre-admission is silent", "A05", "I", "21", "PAED1", sch, paed, "class I, emergency admission"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := parse(t, trust(t), message(c.event, "PV1-2", c.class, "PV1-3", c.place, "PV1-4", c.admission)).Attendance
			if a.Purpose != c.purpose || a.Setting != c.setting || a.Rule != c.rule {
				t.Errorf("got %v, %v by %q, want %v, %v by %q", a.Purpose, a.Setting, a.Rule, c.purpose, c.setting, c.rule)
			}
			if want := c.class == "B" || c.setting == mat; a.Maternity != want {
				t.Errorf("maternity %v, want %v", a.Maternity, want)
			}
		})
	}
}

// TestSiteRules: the first rule that holds decides, before the defaults.
func TestSiteRules(t *testing.T) {
	site := trust(t)
	site.Rules = []adt.Rule{
		{Name: "streamed to the GP", When: adt.When{Location: []string{"GPSTR*"}}, Then: adt.Then{Purpose: adt.Scheduled, Setting: safeguard.OutOfHoursGP}},
		{Name: "children's assessment", When: adt.When{Class: []string{"O", "I"}, Specialty: []string{"420"}, Trigger: []string{"A04"}}, Then: adt.Then{Purpose: adt.Unscheduled, Setting: safeguard.PaediatricWard}},
		{Name: "the other hospital", When: adt.When{Facility: []string{"RX2*"}}, Then: adt.Then{Purpose: adt.NoAttendance}},
		{Name: "at a children's ward", When: adt.When{Place: []safeguard.CareSetting{safeguard.PaediatricWard}, Admission: []string{"28"}}, Then: adt.Then{Purpose: adt.Scheduled}},
	}
	if err := site.Validate(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, event string
		fields      []string
		kind        adt.Kind
		rule        string
		setting     safeguard.CareSetting
	}{
		{"prefix of a place", "A04", []string{"PV1-3", "gpstr2"}, adt.Register, "streamed to the GP", safeguard.OutOfHoursGP},
		{"prefix of the ward", "A04", []string{"PV1-3", "RX1^GPSTR"}, adt.Register, "streamed to the GP", safeguard.OutOfHoursGP},
		{"all conditions", "A04", []string{"PV1-2", "O", "PV1-10", "420"}, adt.Register, "children's assessment", safeguard.PaediatricWard},
		{"not the event", "A01", []string{"PV1-2", "O", "PV1-10", "420"}, adt.Register, "class O, R or P", safeguard.EmergencyDepartment},
		{"not the specialty", "A04", []string{"PV1-2", "O", "PV1-10", "4200"}, adt.Register, "class O, R or P", safeguard.EmergencyDepartment},
		{"no attendance", "A04", []string{"PV1-3", "ED^^^RX299"}, adt.Other, "the other hospital", safeguard.UnknownSetting},
		{"no attendance, updated", "A08", []string{"PV1-3", "ED^^^RX299"}, adt.Other, "the other hospital", safeguard.UnknownSetting},
		{"no attendance, but a discharge ends what is known", "A03", []string{"PV1-3", "ED^^^RX299"}, adt.Discharge, "the other hospital", safeguard.UnknownSetting},
		{"no attendance, but a cancel cancels what is known", "A11", []string{"PV1-3", "ED^^^RX299"}, adt.Cancel, "the other hospital", safeguard.UnknownSetting},
		{"place", "A01", []string{"PV1-2", "I", "PV1-3", "PAED1", "PV1-4", "28"}, adt.Register, "at a children's ward", safeguard.PaediatricWard},
		{"place not listed", "A01", []string{"PV1-2", "I", "PV1-3", "X", "PV1-4", "28"}, adt.Register, "class I, emergency admission", safeguard.EmergencyDepartment},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := parse(t, site, message(c.event, c.fields...))
			if m.Kind != c.kind || m.Attendance.Rule != c.rule || m.Attendance.Setting != c.setting {
				t.Errorf("got %v by %q at %v, want %v by %q at %v", m.Kind, m.Attendance.Rule, m.Attendance.Setting, c.kind, c.rule, c.setting)
			}
		})
	}
}

func TestBadConfigIsNamed(t *testing.T) {
	rule := func(change func(*adt.Rule)) adt.Config {
		r := adt.Rule{Name: "mine", When: adt.When{Class: []string{"E"}}, Then: adt.Then{Purpose: adt.Scheduled}}
		change(&r)
		return adt.Config{Rules: []adt.Rule{r}}
	}
	always := adt.Rule{Name: "all", Then: adt.Then{Purpose: adt.Scheduled}}
	for want, c := range map[string]adt.Config{
		`nhs_number.authorities[1]: empty, want a code as the messages have it`:                                  {NHSNumber: adt.NHSNumbers{Authorities: []string{"A", " "}}},
		`nhs_number.authorities[0]: "chi": a Scottish CHI number is no NHS number, want another authority`:       {NHSNumber: adt.NHSNumbers{Authorities: []string{"chi"}}},
		`nhs_number.types[0]: empty, want a code as the messages have it`:                                        {NHSNumber: adt.NHSNumbers{Types: []string{""}}},
		`nhs_number.fields[0]: "PID-3", want PID-2, PID-4 or PID-19`:                                             {NHSNumber: adt.NHSNumbers{Fields: []string{"PID-3"}}},
		`hospital_number.authorities[0]: empty, want a code as the messages have it`:                             {HospitalNumber: adt.HospitalNumbers{Authorities: []string{""}}},
		`arriving: "yes", want ignore or register`:                                                               {Arriving: "yes"},
		`locations[0].name: empty, want a place as PV1-3 has it`:                                                 {Locations: []adt.Location{{Setting: safeguard.Maternity}}},
		`locations[0].care_setting: none, want the type of care given at "ED"`:                                   {Locations: []adt.Location{{Name: "ED"}}},
		`locations[1].name: "ed" is listed before, want each place once`:                                         {Locations: []adt.Location{{"ED", safeguard.Maternity}, {"ed", safeguard.Maternity}}},
		`rules[0].name: "", want a name of its own`:                                                              rule(func(r *adt.Rule) { r.Name = "" }),
		`rules[0].name: "class E", want a name of its own`:                                                       rule(func(r *adt.Rule) { r.Name = "class E" }),
		`rules[1].name: "mine", want a name of its own`:                                                          {Rules: append(rule(func(*adt.Rule) {}).Rules, rule(func(*adt.Rule) {}).Rules...)},
		`rules[1] "mine": never tried, because "all" holds always: want that one last`:                           {Rules: append([]adt.Rule{always}, rule(func(*adt.Rule) {}).Rules...)},
		`rules[0] "mine": when.location[0]: "*", want a value, or the beginning of one and *`:                    rule(func(r *adt.Rule) { r.When.Location = []string{"*"} }),
		`rules[0] "mine": when.specialty[0]: "4*0", want a value, or the beginning of one and *`:                 rule(func(r *adt.Rule) { r.When.Specialty = []string{"4*0"} }),
		`rules[0] "mine": when.class[1]: "", want a value, or the beginning of one and *`:                        rule(func(r *adt.Rule) { r.When.Class = []string{"E", ""} }),
		`rules[0] "mine": when.trigger[0]: "A40", want an event that begins or changes an attendance: A01, A02,`: rule(func(r *adt.Rule) { r.When.Trigger = []string{"A40"} }),
		`rules[0] "mine": when.trigger[0]: "A4", want an event`:                                                  rule(func(r *adt.Rule) { r.When.Trigger = []string{"A4"} }),
		`rules[0] "mine": when.place[0]: none, want a care setting`:                                              rule(func(r *adt.Rule) { r.When.Place = []safeguard.CareSetting{0} }),
		`rules[0] "mine": then.purpose: "", want unscheduled, scheduled or none`:                                 rule(func(r *adt.Rule) { r.Then.Purpose = "" }),
		`rules[0] "mine": then.purpose: "refresh", want unscheduled, scheduled or none`:                          rule(func(r *adt.Rule) { r.Then.Purpose = "refresh" }),
		`rules[0] "mine": then.care_setting: maternity, want none where purpose is none`:                         rule(func(r *adt.Rule) { r.Then = adt.Then{Purpose: adt.NoAttendance, Setting: safeguard.Maternity} }),
	} {
		err := c.Validate()
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	for name, c := range map[string]adt.Config{
		"nothing":               {},
		"the default":           adt.DefaultConfig(),
		"a rule":                rule(func(*adt.Rule) {}),
		"always, as the last":   {Rules: append(rule(func(*adt.Rule) {}).Rules, always)},
		"a rule for arriving":   rule(func(r *adt.Rule) { r.When.Trigger = []string{"A10"} }),
		"a trust's own site":    trust(t).Config,
		"prefix of a specialty": rule(func(r *adt.Rule) { r.When.Specialty = []string{"42*"} }),
	} {
		if err := c.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestRulesPage holds the table of default rules in the docs against the code.
func TestRulesPage(t *testing.T) {
	var rows []string
	for _, r := range adt.DefaultRules() {
		rows = append(rows, row(r.Name, when(r.When), then(r.Then)))
	}
	checkTable(t, "../../docs/hl7/rules.md", rows)
}

func when(w adt.When) string {
	var parts []string
	add := func(name string, values []string) {
		if len(values) > 0 {
			parts = append(parts, name+" "+strings.Join(values, ", "))
		}
	}
	add("class", w.Class)
	add("event", w.Trigger)
	add("admission type", w.Admission)
	var places []string
	for _, p := range w.Place {
		places = append(places, p.String())
	}
	add("the location is listed as", places)
	if len(parts) == 0 {
		return "always"
	}
	return strings.Join(parts, "; ")
}

func then(d adt.Then) string {
	if d.Setting == safeguard.UnknownSetting {
		return string(d.Purpose)
	}
	return string(d.Purpose) + ", " + d.Setting.String()
}

// TestTriggersPage holds the table of trigger events in the docs against the
// code.
func TestTriggersPage(t *testing.T) {
	var rows []string
	for _, e := range adt.Triggers() {
		rows = append(rows, row(e.Event, e.Name, e.Kind.String(), e.Reason))
	}
	checkTable(t, "../../docs/hl7/triggers.md", rows)
}

func row(cells ...string) string {
	return "| " + strings.ReplaceAll(strings.Join(cells, " | "), "*", `\*`) + " |"
}

// checkTable compares the rows between the marks of a page, or with -update
// writes them.
func checkTable(t *testing.T, path string, rows []string) {
	t.Helper()
	const begin, end = "<!-- table: written by go test -update -->\n", "<!-- end of table -->"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), begin)
	table, after, ended := strings.Cut(rest, end)
	if !ok || !ended {
		t.Fatalf("%s: no marks of a table", path)
	}
	lines := strings.SplitAfterN(table, "\n", 3) // two lines of head
	if len(lines) < 3 {
		t.Fatalf("%s: no head of a table", path)
	}
	want := strings.Join(rows, "\n") + "\n"
	if *update {
		page := before + begin + lines[0] + lines[1] + want + end + after
		if err := os.WriteFile(path, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if lines[2] != want {
		t.Errorf("%s differs from the code: run go test -update\ngot:\n%s\nwant:\n%s", path, lines[2], want)
	}
}
