package fhir

import (
	"encoding/json"
	"html"
	"strings"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/hl7adapter/epr"
)

// Of the resources only what is sent or read is here.

type identifier struct {
	System string `json:"system,omitempty"`
	Value  string `json:"value,omitempty"`
}

type coding struct {
	System  string `json:"system,omitempty"`
	Code    string `json:"code,omitempty"`
	Display string `json:"display,omitempty"`
}

type concept struct {
	Coding []coding `json:"coding,omitempty"`
	Text   string   `json:"text,omitempty"`
}

type reference struct {
	Reference string `json:"reference,omitempty"`
}

type period struct {
	Start string `json:"start,omitempty"`
	End   string `json:"end,omitempty"`
}

type meta struct {
	VersionID string   `json:"versionId,omitempty"`
	Profile   []string `json:"profile,omitempty"`
	Security  []coding `json:"security,omitempty"`
}

type narrative struct {
	Status string `json:"status"`
	Div    string `json:"div"`
}

type extension struct {
	URL   string     `json:"url"`
	Value *reference `json:"valueReference,omitempty"`
}

type telecom struct {
	System string `json:"system"`
	Value  string `json:"value"`
	Use    string `json:"use"`
}

// flag is a Flag (UK Core 1.2.0, or England-Flag-PatientFlag).
type flag struct {
	ResourceType string       `json:"resourceType"`
	ID           string       `json:"id,omitempty"`
	Meta         *meta        `json:"meta,omitempty"`
	Text         *narrative   `json:"text,omitempty"`
	Contained    []provenance `json:"contained,omitempty"`
	Extension    []extension  `json:"extension,omitempty"`
	Identifier   []identifier `json:"identifier,omitempty"`
	Status       string       `json:"status"`
	Category     []concept    `json:"category,omitempty"`
	Code         concept      `json:"code"`
	Subject      reference    `json:"subject"`
	Period       *period      `json:"period,omitempty"`
}

type provenance struct {
	ResourceType string      `json:"resourceType"`
	ID           string      `json:"id"`
	Target       []reference `json:"target"`
	Recorded     string      `json:"recorded"`
	Activity     concept     `json:"activity"`
	Agent        []agent     `json:"agent"`
}

type agent struct {
	Who struct {
		Identifier identifier `json:"identifier"`
		Display    string     `json:"display"`
	} `json:"who"`
}

type carePlan struct {
	ResourceType string       `json:"resourceType"`
	ID           string       `json:"id,omitempty"`
	Meta         *meta        `json:"meta,omitempty"`
	Identifier   []identifier `json:"identifier,omitempty"`
	Status       string       `json:"status"`
	Intent       string       `json:"intent"`
	Category     []concept    `json:"category,omitempty"`
	Subject      reference    `json:"subject"`
	Period       *period      `json:"period,omitempty"`
	CareTeam     []reference  `json:"careTeam,omitempty"`
}

type careTeam struct {
	ResourceType string       `json:"resourceType"`
	ID           string       `json:"id,omitempty"`
	Meta         *meta        `json:"meta,omitempty"`
	Identifier   []identifier `json:"identifier,omitempty"`
	Status       string       `json:"status"`
	Name         string       `json:"name"`
	Subject      reference    `json:"subject"`
	Telecom      []telecom    `json:"telecom,omitempty"`
}

type patient struct {
	ResourceType string       `json:"resourceType"`
	ID           string       `json:"id"`
	Identifier   []identifier `json:"identifier"`
	Active       *bool        `json:"active"`
	BirthDate    string       `json:"birthDate"`
}

type bundle struct {
	ResourceType string `json:"resourceType"`
	Link         []struct {
		Relation string `json:"relation"`
		URL      string `json:"url"`
	} `json:"link"`
	Entry []struct {
		Resource json.RawMessage `json:"resource"`
	} `json:"entry"`
}

type outcome struct {
	ResourceType string `json:"resourceType"`
	Issue        []struct {
		Code        string  `json:"code"`
		Details     concept `json:"details"`
		Diagnostics string  `json:"diagnostics"`
	} `json:"issue"`
}

// Systems and profiles.
const (
	snomed       = "http://snomed.info/sct"
	categories   = "http://terminology.hl7.org/CodeSystem/flag-category"
	confidential = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality"
	operations   = "http://terminology.hl7.org/CodeSystem/v3-DataOperation"
	odsSystem    = "https://fhir.nhs.uk/Id/ods-organization-code"
	englandFlags = "https://fhir.nhs.uk/England/CodeSystem/England-FlagCategoryPatient"

	ukCoreFlag      = "https://fhir.hl7.org.uk/StructureDefinition/UKCore-Flag"
	englandFlag     = "https://fhir.nhs.uk/England/StructureDefinition/England-Flag-PatientFlag"
	englandCarePlan = "https://fhir.nhs.uk/England/StructureDefinition/England-CarePlan-Flag"
	englandCareTeam = "https://fhir.nhs.uk/England/StructureDefinition/England-CareTeam-Flag"
	flagDetail      = "http://hl7.org/fhir/StructureDefinition/flag-detail"

	// flagSystem's identifier names a patient's plan, alertSystem's each alert
	// that shows it.
	flagSystem  = "urn:safeguard:flag"
	alertSystem = "urn:safeguard:alert"
	localSystem = "urn:safeguard:code"
)

// shown is one Flag to be there, with what it refers to.
type shown struct {
	key  string // identifier in flagSystem
	line epr.Line
	flag flag
	plan *safeguard.Flag
}

// wants is what the EPR should show of the alert for the patient.
func (s *Sink) wants(a safeguard.Alert, id string) []shown {
	n := s.wording.Notice(a, s.zone)
	var out []shown
	lines := n.Plans()
	if len(lines) == 0 {
		lines = n.Lines
	}
	for _, l := range lines {
		parts := []string{"flag", s.config.Base, id, l.Code}
		texts := []string{l.Text}
		w := shown{line: l}
		if l.Plan != nil {
			parts = append(parts, l.Plan.Authority.Code.String(), l.Plan.Authority.Name)
			for _, more := range n.Lines {
				if more.Plan == nil {
					texts = append(texts, more.Text)
				}
			}
			w.plan = &l.Plan.Flag
		}
		w.key = uuid(parts...)
		w.flag = s.flag(a, n.Headline, l, texts, id)
		w.flag.Identifier = []identifier{{flagSystem, w.key}, {alertSystem, string(a.ID)}}
		out = append(out, w)
	}
	return out
}

func (s *Sink) flag(a safeguard.Alert, headline string, l epr.Line, texts []string, id string) flag {
	f := flag{
		ResourceType: "Flag",
		Meta:         s.meta(ukCoreFlag),
		Text:         &narrative{"additional", div(texts)},
		Status:       "active",
		Category:     []concept{{Coding: []coding{{categories, "safety", "Safety"}}}},
		Code:         concept{Text: headline},
		Subject:      reference{"Patient/" + id},
		Period:       &period{Start: instant(a.Decided)},
	}
	code := coding{localSystem, l.Code, ""}
	if l.System == epr.SNOMED {
		code.System = snomed
	}
	if s.config.ShowPlan {
		code.Display = l.Title
	}
	f.Code.Coding = []coding{code}
	if s.config.Shape == England && l.Plan != nil {
		f.Meta = s.meta(englandFlag)
		f.Code.Coding = []coding{{englandFlags, "child-protection-information-system-flag", "Child Protection Information System Flag"}}
		f.Contained = []provenance{s.provenance(a)}
	}
	return f
}

func (s *Sink) provenance(a safeguard.Alert) provenance {
	p := provenance{
		ResourceType: "Provenance", ID: "provenance", Target: []reference{{"#"}}, Recorded: instant(a.Decided),
		Activity: concept{Coding: []coding{{operations, "CREATE", "create"}}}, Agent: make([]agent, 1),
	}
	p.Agent[0].Who.Identifier = identifier{odsSystem, a.Attendance.Organisation.String()}
	p.Agent[0].Who.Display = "Safeguard agent"
	return p
}

func (s *Sink) meta(profile string) *meta {
	m := &meta{Profile: []string{profile}}
	if s.config.Security != "" {
		m.Security = []coding{{System: confidential, Code: s.config.Security}}
	}
	return m
}

// team and care are what the Flag refers to in NHS England's shape. There, the
// emergency duty number is the one for use "mobile" and the office's for "work".
func (s *Sink) team(w shown, a safeguard.Alert, id string) careTeam {
	by := w.plan.Authority
	t := careTeam{ResourceType: "CareTeam", Meta: s.meta(englandCareTeam), Status: "active", Name: by.Name, Subject: reference{"Patient/" + id},
		Identifier: []identifier{{flagSystem, uuid("team", w.key)}, {alertSystem, string(a.ID)}}}
	if by.OfficeHoursPhone != "" {
		t.Telecom = append(t.Telecom, telecom{"phone", by.OfficeHoursPhone, "work"})
	}
	t.Telecom = append(t.Telecom, telecom{"phone", by.EmergencyDutyPhone, "mobile"})
	return t
}

func (s *Sink) care(w shown, a safeguard.Alert, id, team string) carePlan {
	return carePlan{ResourceType: "CarePlan", Meta: s.meta(englandCarePlan), Status: "active", Intent: "plan", Subject: reference{"Patient/" + id},
		Identifier: []identifier{{flagSystem, uuid("plan", w.key)}, {alertSystem, string(a.ID)}},
		Category:   []concept{{Coding: []coding{{snomed, w.line.Code, w.line.Title}}}},
		Period:     &period{w.plan.Start.String(), w.plan.End.String()},
		CareTeam:   []reference{{team}}}
}

func instant(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

// div is a narrative.
func div(texts []string) string {
	var b strings.Builder
	b.WriteString(`<div xmlns="http://www.w3.org/1999/xhtml">`)
	for _, t := range texts {
		b.WriteString("<p>" + html.EscapeString(t) + "</p>")
	}
	b.WriteString("</div>")
	return b.String()
}

// uuid names what the parts name, always the same.
func uuid(parts ...string) string {
	return safeguard.NewAttendanceID(safeguard.ODSCode{}, append([]string{"fhir"}, parts...)...).String()
}
