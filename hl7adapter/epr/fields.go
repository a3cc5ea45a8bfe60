package epr

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/hl7adapter/adt"
	"github.com/safeguard-edge/safeguard/hl7adapter/epr/document"
)

// values is what a template's fields are taken from.
type values struct {
	safeguard.Alert
	format *Format
	notice Notice
	when   string // decided, as it is written
	n      int    // which segment of its name
	line   Line   // in [each plan], [each line] and [each gone]
	gone   bool   // in [each gone]
}

func (v *values) status() string {
	if v.gone {
		return observationStatus[safeguard.Withdraw]
	}
	return observationStatus[v.Action]
}

// templateField is a field by name, known everywhere or in the lines for each plan
// or for each line of text.
type templateField struct {
	scope string
	help  string
	value func(v *values) (string, error)
}

// TemplateFields are the names of all fields, sorted.
func TemplateFields() []string {
	names := slices.AppendSeq(slices.Collect(maps.Keys(templateFields)), maps.Keys(composite))
	slices.Sort(names)
	return names
}

// TemplateHelp says what the field holds.
func TemplateHelp(name string) string {
	if f, ok := templateFields[name]; ok {
		if f.scope != "" {
			return f.help + ", in [each " + f.scope + "]"
		}
		return f.help
	}
	return compositeHelp[name]
}

func plain(help string, value func(v *values) string) templateField {
	return templateField{"", help, func(v *values) (string, error) { return value(v), nil }}
}

func ofPlan(help string, value func(v *values, p *PlanLine) string) templateField {
	return templateField{"plan", help, func(v *values) (string, error) { return value(v, v.line.Plan), nil }}
}

func ofLine(help string, value func(v *values) string) templateField {
	return templateField{"line", help, func(v *values) (string, error) { return value(v), nil }}
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

// availability is TXA-19 (HL7 table 0273): available, or cancelled.
var availability = map[safeguard.Action]string{
	safeguard.Raise:    "AV",
	safeguard.Update:   "AV",
	safeguard.Withdraw: "CA",
}

var templateFields = map[string]templateField{
	"sending_application":   plain("SAFEGUARD, by which an echo is known", func(v *values) string { return adt.Application }),
	"organisation":          plain("ODS code of the trust", func(v *values) string { return v.Attendance.Organisation.String() }),
	"site":                  plain("ODS code of the site", func(v *values) string { return v.Attendance.Site.String() }),
	"receiving_application": plain("application, from the configuration", func(v *values) string { return v.format.Application }),
	"receiving_facility":    plain("facility, from the configuration", func(v *values) string { return v.format.Facility }),
	"decided":               plain("when the alert was decided, with its zone", func(v *values) string { return v.when }),
	"control_id":            plain("the alert's control id, the same for a repeat", func(v *values) string { return v.ControlID(v.format.Sink) }),
	"processing":            plain("MSH-11: P, or that of tests", func(v *values) string { return v.format.processing(v.Alert) }),
	"version":               plain("HL7 version, from the configuration", func(v *values) string { return v.format.Version }),
	"coded":                 plain("data type of a coded value: CE, or CWE since 2.6", func(v *values) string { return v.format.coded() }),
	"alert_id":              plain("the alert's id, the same for all its versions", func(v *values) string { return string(v.ID) }),
	"alert_key":             plain("12 characters that stand for the alert's id, for fields too short for it", func(v *values) string { return alertKey(v.ID) }),
	"alert_version":         plain("1, 2, …", func(v *values) string { return strconv.Itoa(v.Version) }),
	"action":                plain("raise, update or withdraw", func(v *values) string { return v.Action.String() }),
	"status":                plain("OBX-11: F for raise, C for update, D for withdraw and for what is gone", func(v *values) string { return v.status() }),
	"availability":          plain("TXA-19: AV, or CA for withdraw", func(v *values) string { return availability[v.Action] }),
	"access_check":          plain("access_check, from the configuration, for OBX-13", func(v *values) string { return v.format.AccessCheck }),
	"confidentiality":       plain("confidentiality, from the configuration, for TXA-18", func(v *values) string { return v.format.Confidentiality }),
	"document_type":         plain("document_type, from the configuration, for TXA-2", func(v *values) string { return v.format.DocumentType }),
	"nhs_number":            plain("NHS number, ten digits", func(v *values) string { return v.Attendance.Patient.Number.Reveal() }),
	"mrn":                   plain("hospital number", func(v *values) string { return v.Attendance.Patient.MRN.Reveal().Value }),
	"mrn_authority":         plain("who gave the hospital number", func(v *values) string { return v.Attendance.Patient.MRN.Reveal().Authority }),
	"mrn_type":              plain("its type", func(v *values) string { return v.Attendance.Patient.MRN.Reveal().Type }),
	"family":                plain("family name", func(v *values) string { return v.Attendance.Patient.Family.Reveal() }),
	"given":                 plain("given name", func(v *values) string { return v.Attendance.Patient.Given.Reveal() }),
	"born":                  plain("date of birth", func(v *values) string { return date(v.Attendance.Patient.Born.Reveal()) }),
	"visit_number":          plain("visit number", func(v *values) string { return v.Attendance.Visit.Reveal().Value }),
	"visit_authority":       plain("who gave the visit number", func(v *values) string { return v.Attendance.Visit.Reveal().Authority }),
	"class":                 plain("patient class", func(v *values) string { return v.Attendance.Class }),
	"location":              plain("point of care", func(v *values) string { return v.Attendance.Location }),
	"care_setting":          plain("type of care, such as emergency-department", func(v *values) string { return v.Attendance.Setting.String() }),
	"headline":              plain("headline for a list", func(v *values) string { return v.notice.Headline }),
	"brief":                 plain("all in one line, 139 characters at most", func(v *values) string { return v.notice.Brief }),
	"text":                  plain("all lines", func(v *values) string { return v.notice.Text() }),
	"as_of":                 plain("when the centre said so", func(v *values) string { return v.asOf() }),
	"source":                plain("centre or cache", func(v *values) string { return v.Content.Source.String() }),
	"n":                     plain("1, 2, … for the segments of one name", func(v *values) string { return strconv.Itoa(v.n) }),
	"pdf":                   {"", "the notice as a one-page PDF, in base64", (*values).pdf},

	"plan_code":       ofPlan("SNOMED CT code", func(v *values, _ *PlanLine) string { return v.line.Code }),
	"plan_term":       ofPlan("SNOMED CT term", func(v *values, _ *PlanLine) string { return v.line.Title }),
	"plan_type":       ofPlan("CPP, LAC or UCPP", func(_ *values, p *PlanLine) string { return p.Plan.String() }),
	"plan_name":       ofPlan("name in plain words", func(_ *values, p *PlanLine) string { return p.Name }),
	"plan_start":      ofPlan("date", func(_ *values, p *PlanLine) string { return date(p.Start) }),
	"plan_end":        ofPlan("date, absent while active", func(_ *values, p *PlanLine) string { return date(p.End) }),
	"plan_state":      ofPlan("active or ended", func(_ *values, p *PlanLine) string { return p.state() }),
	"plan_text":       ofPlan("the plan's line of text", func(v *values, _ *PlanLine) string { return v.line.Text }),
	"authority_code":  ofPlan("local authority's code", func(_ *values, p *PlanLine) string { return p.Authority.Code.String() }),
	"authority_name":  ofPlan("local authority's name", func(_ *values, p *PlanLine) string { return p.Authority.Name }),
	"emergency_phone": ofPlan("emergency duty team", func(_ *values, p *PlanLine) string { return p.Authority.EmergencyDutyPhone }),
	"office_phone":    ofPlan("office hours, where known", func(_ *values, p *PlanLine) string { return p.Authority.OfficeHoursPhone }),

	"line_key":    ofLine("6 characters that tell the line from the alert's others, the same in all versions", func(v *values) string { return v.line.Key() }),
	"line_code":   ofLine("what the line is about: a SNOMED CT code, or CHECKED, CHECK-NOT-COMPLETED, NONE-HELD", func(v *values) string { return v.line.Code }),
	"line_title":  ofLine("its title", func(v *values) string { return v.line.Title }),
	"line_system": ofLine("its code system, SCT or L", func(v *values) string { return v.line.System }),
	"line":        ofLine("the text", func(v *values) string { return v.line.Text }),
}

// alertKey stands for the alert where HL7 v2.4 has too few characters for its id:
// OBR-3 has 22, with the application's name, and OBX-4 has 20.
func alertKey(id safeguard.AlertID) string {
	sum := sha256.Sum256([]byte("safeguard alert key|" + id))
	return base32.StdEncoding.EncodeToString(sum[:10])[:12]
}

// composite fields bring repetitions and components of their own.
var composite = map[string]func(v *values) [][]string{
	"identifiers": (*values).identifiers,
	"visit":       (*values).visit,
}

var compositeHelp = map[string]string{
	"identifiers": "PID-3: NHS number and hospital number, as the configuration wants them; alone in its field",
	"visit":       "PV1-19: visit number with its authority; alone in its field",
}

func (v *values) identifiers() [][]string {
	var out [][]string
	p := v.Attendance.Patient
	for _, kind := range v.format.Identifiers {
		switch mrn := p.MRN.Reveal(); {
		case kind == NHS && !p.Number.IsZero():
			out = append(out, []string{p.Number.Reveal(), "", "", v.format.NHSAuthority, v.format.NHSType})
		case kind == MRN && mrn.Value != "":
			out = append(out, []string{mrn.Value, "", "", mrn.Authority, mrn.Type})
		}
	}
	return out
}

func (v *values) visit() [][]string {
	id := v.Attendance.Visit.Reveal()
	if id.Value == "" {
		return nil
	}
	return [][]string{{id.Value, "", "", id.Authority, id.Type}}
}

func (v *values) asOf() string {
	if v.Content.AsOf.IsZero() {
		return ""
	}
	return v.Content.AsOf.In(v.format.zone).Format(timestamp)
}

// pdf is the whole notice as a document.
func (v *values) pdf() (string, error) {
	p := v.Attendance.Patient
	born := p.Born.Reveal()
	page := document.Page{
		Title: v.notice.Headline,
		Facts: [][2]string{
			{"Name", named(p)}, {"NHS number", spaced(p.Number.Reveal())}, {"Hospital number", p.MRN.Reveal().Value},
			{"Date of birth", inWords(born)}, {"Site", v.Attendance.Site.String()}, {"Decided", v.Decided.In(v.format.zone).Format("2 Jan 2006 15:04 MST")},
		},
		Foot: fmt.Sprintf("Alert %s, version %d. Not for release to the patient, a parent or a portal.", v.ID, v.Version),
		At:   v.Decided,
	}
	for _, l := range v.notice.Lines {
		page.Lines = append(page.Lines, l.Text)
	}
	raw, err := page.PDF()
	if err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(raw), nil
}

func named(p safeguard.Patient) string {
	family, given := p.Family.Reveal(), p.Given.Reveal()
	if family == "" || given == "" {
		return family + given
	}
	return family + ", " + given
}

// spaced is an NHS number as it is shown to people: 3-3-4.
func spaced(number string) string {
	if len(number) != 10 {
		return number
	}
	return number[:3] + " " + number[3:6] + " " + number[6:]
}

func (p *PlanLine) state() string {
	if p.Active {
		return "active"
	}
	return "ended"
}

func date(d safeguard.Date) string {
	if d.IsZero() {
		return ""
	}
	return time.Date(d.Year, d.Month, d.Day, 0, 0, 0, 0, time.UTC).Format(day)
}
