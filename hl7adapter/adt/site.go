package adt

import (
	"strings"
	"time"

	"github.com/safeguard-edge/safeguard"
)

// Site is what a site says about its own messages.
type Site struct {
	Organisation      safeguard.ODSCode
	Default           safeguard.ODSCode     // the feed's site
	Sites             []safeguard.ODSCode   // the organisation's, by which PV1-3.4 is known
	Setting           safeguard.CareSetting // of unscheduled attendances whose location is not listed
	Locations         []Location
	NumberAuthorities []string // CX-4 that mark an NHS number, besides the usual
	NumberTypes       []string // CX-5 likewise
	Production        bool     // take numbers of the 999 range as tests
	Zone              *time.Location
}

// Location names a place (PV1-3, point of care) and what care is given there.
type Location struct {
	Name    string
	Setting safeguard.CareSetting
}

func (s Site) zone() *time.Location {
	if s.Zone == nil {
		return time.UTC
	}
	return s.Zone
}

// purpose says whether an attendance is unscheduled, at which care setting, and
// by which rule.
func (s Site) purpose(class, admission, location, trigger string) (safeguard.Purpose, safeguard.CareSetting, string) {
	at, listed := s.location(location)
	setting := s.Setting
	if listed {
		setting = at
	}
	switch class {
	case "E":
		return safeguard.Unscheduled, setting, "class E"
	case "I":
		switch {
		case emergencyAdmission(admission):
			return safeguard.Unscheduled, setting, "class I, emergency admission in PV1-4"
		case strings.HasPrefix(admission, "1"), strings.HasPrefix(admission, "8"):
			return safeguard.Scheduled, setting, "class I, planned admission in PV1-4"
		}
	case "B":
		if trigger == "A01" {
			return safeguard.Unscheduled, safeguard.Maternity, "class B, admitted"
		}
		return safeguard.Scheduled, safeguard.Maternity, "class B"
	}
	if listed && unscheduledPlace[at] {
		return safeguard.Unscheduled, at, "location of unscheduled care"
	}
	if class == "O" || class == "R" || class == "P" {
		return safeguard.Scheduled, setting, "class " + class
	}
	return safeguard.Scheduled, setting, "class and location tell nothing"
}

// emergencyAdmission reads PV1-4 as the NHS Data Dictionary's ADMISSION METHOD:
// 2x emergency, 31 and 32 maternity.
func emergencyAdmission(method string) bool {
	return len(method) == 2 && method[0] == '2' || method == "31" || method == "32"
}

// unscheduledPlace are the settings where whoever comes has come unplanned.
var unscheduledPlace = map[safeguard.CareSetting]bool{
	safeguard.EmergencyDepartment: true,
	safeguard.WalkInCentre:        true,
	safeguard.MinorInjuryUnit:     true,
	safeguard.OutOfHoursGP:        true,
}

func (s Site) location(name string) (safeguard.CareSetting, bool) {
	for _, l := range s.Locations {
		if name != "" && strings.EqualFold(l.Name, name) {
			return l.Setting, true
		}
	}
	return safeguard.UnknownSetting, false
}
