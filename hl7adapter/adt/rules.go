package adt

import (
	"slices"
	"strings"

	"github.com/safeguard-edge/safeguard"
)

// Rule says what a visit is. The first rule whose When holds decides.
type Rule struct {
	Name string `yaml:"name"` // kept with each decision; never patient data
	When When   `yaml:"when"`
	Then Then   `yaml:"then"`
}

// When holds if each of its lists is empty or has the visit's value. Capital and
// small letters are the same; a value that ends with * stands for all that begin
// so.
type When struct {
	Class     []string                `yaml:"class"`          // PV1-2
	Trigger   []string                `yaml:"trigger"`        // MSH-9.2
	Location  []string                `yaml:"location"`       // PV1-3.1 or PV1-3.2
	Facility  []string                `yaml:"facility"`       // PV1-3.4
	Admission []string                `yaml:"admission_type"` // PV1-4
	Specialty []string                `yaml:"specialty"`      // PV1-10
	Place     []safeguard.CareSetting `yaml:"place"`          // under which locations lists PV1-3
}

// Then is what a rule decides.
type Then struct {
	Purpose Purpose               `yaml:"purpose"`
	Setting safeguard.CareSetting `yaml:"care_setting"` // none: the location's, else the feed's
}

// Purpose is why the flags of who attends are looked up.
type Purpose string

// The purposes that a rule may give.
const (
	Unscheduled  Purpose = "unscheduled" // recorded in the access history; notifies the local authority
	Scheduled    Purpose = "scheduled"   // silent
	NoAttendance Purpose = "none"        // not an attendance: nothing is asked
)

var purposes = map[Purpose]safeguard.Purpose{
	Unscheduled: safeguard.Unscheduled,
	Scheduled:   safeguard.Scheduled,
}

// defaultRules are the NHS defaults. PV1-4 is the NHS Data Dictionary's ADMISSION
// METHOD (2x emergency; 31 and 32 maternity; 1x planned; 8x transfer or birth), or
// HL7 table 0007 (A accident, E emergency, L labour, U urgent; C elective, N
// newborn, R routine).
var defaultRules = []Rule{
	{"class E", When{Class: []string{"E"}}, Then{Purpose: Unscheduled}},
	{"class I, emergency admission", When{Class: []string{"I"}, Admission: []string{"2*", "31", "32", "A", "E", "L", "U"}}, Then{Purpose: Unscheduled}},
	{"class I, planned admission", When{Class: []string{"I"}, Admission: []string{"1*", "8*", "C", "N", "R"}}, Then{Purpose: Scheduled}},
	{"class B, admitted", When{Class: []string{"B"}, Trigger: []string{"A01"}}, Then{Unscheduled, safeguard.Maternity}},
	{"class B", When{Class: []string{"B"}}, Then{Scheduled, safeguard.Maternity}},
	{"location of unscheduled care", When{Place: []safeguard.CareSetting{safeguard.EmergencyDepartment, safeguard.WalkInCentre,
		safeguard.MinorInjuryUnit, safeguard.OutOfHoursGP}}, Then{Purpose: Unscheduled}},
	{"class O, R or P", When{Class: []string{"O", "R", "P"}}, Then{Purpose: Scheduled}},
	{"class and location tell nothing", When{}, Then{Purpose: Scheduled}},
}

// DefaultRules are tried after the site's own, in order; the last holds always.
func DefaultRules() []Rule { return slices.Clone(defaultRules) }

// visit is what rules look at.
type visit struct {
	class, trigger, location, ward, facility, admission, specialty string

	place  safeguard.CareSetting
	listed bool // among the site's locations
}

// decide finds the rule for a visit.
func (c *Config) decide(v *visit) *Rule {
	for i := range c.Rules {
		if c.Rules[i].When.holds(v) {
			return &c.Rules[i]
		}
	}
	for i := range defaultRules {
		if defaultRules[i].When.holds(v) {
			return &defaultRules[i]
		}
	}
	return nil // not reached: the last default holds always
}

func (w *When) holds(v *visit) bool {
	return oneOf(w.Class, v.class) && oneOf(w.Trigger, v.trigger) && oneOf(w.Location, v.location, v.ward) &&
		oneOf(w.Facility, v.facility) && oneOf(w.Admission, v.admission) && oneOf(w.Specialty, v.specialty) &&
		(len(w.Place) == 0 || v.listed && slices.Contains(w.Place, v.place))
}

// oneOf tells whether the list is empty or matches one of the values.
func oneOf(list []string, values ...string) bool {
	if len(list) == 0 {
		return true
	}
	for _, want := range list {
		for _, got := range values {
			if matches(want, got) {
				return true
			}
		}
	}
	return false
}

func matches(want, got string) bool {
	if prefix, ok := strings.CutSuffix(want, "*"); ok {
		return len(got) >= len(prefix) && strings.EqualFold(got[:len(prefix)], prefix)
	}
	return got != "" && strings.EqualFold(want, got)
}

type condition struct {
	key    string
	values []string
}

func (w When) conditions() []condition {
	return []condition{{"class", w.Class}, {"trigger", w.Trigger}, {"location", w.Location}, {"facility", w.Facility},
		{"admission_type", w.Admission}, {"specialty", w.Specialty}}
}

// always tells whether nothing is asked for.
func (w When) always() bool {
	for _, c := range w.conditions() {
		if len(c.values) > 0 {
			return false
		}
	}
	return len(w.Place) == 0
}

// place finds PV1-3 among the site's locations: the point of care first, then
// what the ITK calls the ward.
func (c *Config) place(names ...string) (safeguard.CareSetting, bool) {
	for _, name := range names {
		for _, l := range c.Locations {
			if name != "" && strings.EqualFold(l.Name, name) {
				return l.Setting, true
			}
		}
	}
	return safeguard.UnknownSetting, false
}
