package cpisxml

import (
	"errors"
	"strings"
	"time"

	"github.com/safeguard-edge/safeguard"
)

// Text is a value of a file about a person, as it stands there; it may be
// anything.
type Text = safeguard.Private[string]

// Record is one record of an upload: up to three plans, and whom they are for.
type Record struct {
	Position int // in its file, from 1: the only key that a record has
	Line     int
	Column   int
	Plans    []Plan
	Subjects []Subject

	// Fault says why the record must not be used, although what could be read of
	// it is there. It repeats nothing of the record.
	Fault string
}

// Plan is one block of plan information (COCT_TP146100GB01 to 102).
type Plan struct {
	Plan               safeguard.Plan
	Start, End, Delete string // as they stand: yyyyMMddHHmm, in civil time; empty for none
	Line               int
}

// Subject is the child, or of an unborn child the mother (COCT_TP145100GB01,
// 101): nothing about the unborn child itself is carried.
type Subject struct {
	Mother    bool
	NHSNumber Text
	LocalID   Text // the authority's own number
	LocalFrom string
	Born      Text // yyyyMMdd
	Given     Text
	Family    Text
	Line      int
}

// planBlock says how one plan type is written: its element, and the letters with
// which the names of its dates begin.
type planBlock struct{ template, element, prefix string }

var planBlocks = map[safeguard.Plan]planBlock{
	safeguard.LookedAfter:     {"COCT_TP146100GB01", "LACInformation", "lAC"},
	safeguard.ChildProtection: {"COCT_TP146101GB01", "CPPInformation", "cPP"},
	safeguard.UnbornChild:     {"COCT_TP146102GB01", "UCPInformation", "uCP"},
}

// planOf finds the plan that an element stands for, in an upload's template or
// in a response's.
func planOf(element string) safeguard.Plan {
	for plan, b := range planBlocks {
		if strings.HasSuffix(element, "."+b.element) {
			return plan
		}
	}
	return safeguard.UnknownPlan
}

// known are the elements that a record may be made of.
var known = map[string]bool{}

func init() {
	for _, name := range strings.Fields(`record CP-ISRecord pertinentInformation subject contentId component component1 component2 value
		id childPerson birthTime name given family prefix suffix parentMotherPerson playedMother code
		COCT_TP145101GB01.Child COCT_TP145100GB01.UnbornChild validCP-ISRecord invalidCP-ISRecord`) {
		known[name] = true
	}
	for _, b := range planBlocks {
		known[b.template+"."+b.element] = true
		for _, date := range []string{"StartDate", "EndDate", "DeleteDate"} {
			known[b.prefix+date] = true
		}
	}
}

// readRecord reads what holds the plans and subjects: CP-ISRecord, or a record
// of an acknowledgement.
func readRecord(n *node) Record {
	r := Record{Line: n.line, Column: n.column}
	if what := strange(n); what != "" {
		r.Fault = what
	}
	for _, p := range n.all("pertinentInformation") {
		r.readPlans(p)
	}
	for _, s := range n.all("subject") {
		for _, k := range s.kids {
			switch {
			case k.null():
			case strings.HasSuffix(k.name, ".Child"):
				person := k.first("childPerson")
				r.Subjects = append(r.Subjects, readSubject(k, k.all("id"), person))
			case strings.HasSuffix(k.name, ".UnbornChild"):
				person := k.first("parentMotherPerson")
				s := readSubject(k, person.first("playedMother").all("id"), person)
				s.Mother = true
				r.Subjects = append(r.Subjects, s)
			}
		}
	}
	return r
}

func (r *Record) readPlans(n *node) {
	for _, k := range n.kids {
		plan := planOf(k.name)
		if plan == safeguard.UnknownPlan || k.null() {
			continue
		}
		prefix := planBlocks[plan].prefix
		// Which component a date stands in tells nothing that its name does not.
		date := func(name string) string {
			for _, c := range k.kids {
				if !c.null() && strings.HasPrefix(c.name, "component") {
					if d := c.first(prefix+name, "value"); d != nil {
						return d.attr("value")
					}
				}
			}
			return ""
		}
		r.Plans = append(r.Plans, Plan{plan, date("StartDate"), date("EndDate"), date("DeleteDate"), k.line})
	}
}

func readSubject(n *node, ids []*node, person *node) Subject {
	s := Subject{Line: n.line}
	for _, id := range ids {
		switch id.attr("root") {
		case oidNHSNumber:
			s.NHSNumber = safeguard.Hide(id.attr("extension"))
		case oidLocalID:
			s.LocalID = safeguard.Hide(id.attr("extension"))
			s.LocalFrom = id.attr("assigningAuthorityName")
		}
	}
	s.Born = safeguard.Hide(person.first("birthTime").attr("value"))
	name := person.first("name")
	// The schema leaves one given name; several are joined as they come.
	var given []string
	for _, g := range name.all("given") {
		if w := g.words(); w != "" {
			given = append(given, w)
		}
	}
	s.Given = safeguard.Hide(strings.Join(given, " "))
	s.Family = safeguard.Hide(name.first("family").words())
	return s
}

// strange looks for what could change a record's meaning, and is not known here.
func strange(n *node) string {
	for _, a := range n.attrs {
		switch a.Name.Local {
		case "updateMode":
			return "it has an updateMode, which is not understood"
		case "nullFlavor":
			if !n.null() {
				return "it has a nullFlavor where a value is wanted"
			}
		}
	}
	for _, k := range n.kids {
		if !known[k.name] && planOf(k.name) == safeguard.UnknownPlan {
			return "it holds an element that is not known"
		}
		if what := strange(k); what != "" {
			return what
		}
	}
	return ""
}

// PlanTime writes a day as the messages have it: midnight, in civil time.
func PlanTime(d safeguard.Date) string {
	if d.IsZero() {
		return ""
	}
	return strings.ReplaceAll(d.String(), "-", "") + "0000"
}

// ParseDay reads the day of a plan date or a date of birth. It takes what is
// written longer or shorter than the schemas want as long as the day is whole.
func ParseDay(s string) (safeguard.Date, error) {
	s = strings.TrimSpace(s)
	digits := len(s) - len(strings.TrimLeft(s, "0123456789"))
	if digits < 8 || len(s) > 8 && !birthForm.MatchString(s) {
		return safeguard.Date{}, errors.New("is no day, want YYYYMMDD")
	}
	t, err := time.Parse("20060102", s[:8])
	if err != nil {
		return safeguard.Date{}, errors.New("is no day of the calendar, want YYYYMMDD")
	}
	return safeguard.DateOf(t), nil
}

// planTime brings a plan date into the one form that the schemas take.
func planTime(s string) (string, bool) {
	if planForm.MatchString(s) {
		return s, true
	}
	d, err := ParseDay(s)
	if err != nil {
		return s, false
	}
	return PlanTime(d), planForm.MatchString(PlanTime(d))
}

// writable tells whether the record can be written so that the schemas take it:
// with its plans, as it is handed back, or its subjects alone.
func (r Record) writable(withPlans bool) error {
	if len(r.Subjects) < 1 || len(r.Subjects) > 2 {
		return errors.New("want one or two subjects")
	}
	for _, s := range r.Subjects {
		switch {
		case s.NHSNumber.IsZero() && s.LocalID.IsZero():
			return errors.New("a subject without an id")
		case !birthForm.MatchString(s.Born.Reveal()):
			return errors.New("a date of birth that is no time")
		}
	}
	if !withPlans {
		return nil
	}
	if len(r.Plans) < 1 || len(r.Plans) > 3 {
		return errors.New("want one to three plans")
	}
	for _, p := range r.Plans {
		for i, date := range []string{p.Start, p.End, p.Delete} {
			if date == "" && (i == 2 || i == 1 && p.Plan != safeguard.UnbornChild) {
				continue
			}
			if _, ok := planTime(date); !ok {
				return errors.New("a plan date of another form than yyyyMMddHHmm")
			}
		}
	}
	return nil
}

func (e *emitter) plans(plans []Plan) {
	for _, p := range plans {
		b := planBlocks[p.Plan]
		e.open("pertinentInformation")
		e.content(b.template, b.element)
		e.open(b.template + "." + b.element)
		for i, date := range []struct{ name, value string }{{"StartDate", p.Start}, {"EndDate", p.End}, {"DeleteDate", p.Delete}} {
			if date.value == "" {
				continue
			}
			value, _ := planTime(date.value)
			component := []string{"component", "component1", "component2"}[i]
			e.open(component)
			e.open(b.prefix + date.name)
			e.leaf("value", "value", value)
			e.close(b.prefix + date.name)
			e.close(component)
		}
		e.close(b.template + "." + b.element)
		e.close("pertinentInformation")
	}
}

func (e *emitter) subjects(subjects []Subject) {
	for _, s := range subjects {
		e.open("subject")
		if s.Mother {
			e.content("COCT_TP145100GB01", "UnbornChild")
			e.open("COCT_TP145100GB01.UnbornChild")
			e.open("parentMotherPerson")
			e.person(s)
			e.open("playedMother")
			e.personIDs("id", s.NHSNumber, s.LocalID, s.LocalFrom)
			e.close("playedMother")
			e.close("parentMotherPerson")
			e.close("COCT_TP145100GB01.UnbornChild")
		} else {
			e.content("COCT_TP145101GB01", "Child")
			e.open("COCT_TP145101GB01.Child")
			e.personIDs("id", s.NHSNumber, s.LocalID, s.LocalFrom)
			e.open("childPerson")
			e.person(s)
			e.close("childPerson")
			e.close("COCT_TP145101GB01.Child")
		}
		e.close("subject")
	}
}

func (e *emitter) person(s Subject) {
	e.leaf("birthTime", "value", s.Born.Reveal())
	e.open("name")
	e.text("given", s.Given.Reveal())
	e.text("family", s.Family.Reveal())
	e.close("name")
}

// personIDs writes the NHS number first and the authority's own number second.
func (e *emitter) personIDs(element string, number, local Text, from string) {
	if !number.IsZero() {
		e.leaf(element, "root", oidNHSNumber, "extension", number.Reveal())
	}
	if !local.IsZero() {
		attrs := []string{"root", oidLocalID, "extension", local.Reveal()}
		if from != "" {
			attrs = append(attrs, "assigningAuthorityName", from)
		}
		e.leaf(element, attrs...)
	}
}
