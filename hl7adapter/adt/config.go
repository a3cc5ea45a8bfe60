package adt

import (
	"fmt"
	"slices"
	"strings"

	"github.com/safeguard-edge/safeguard"
)

// Config is how the messages of one feed are understood, where that differs from
// the NHS standards. Its zero value is the default.
type Config struct {
	NHSNumber      NHSNumbers      `yaml:"nhs_number"`
	HospitalNumber HospitalNumbers `yaml:"hospital_number"`
	Arriving       Arriving        `yaml:"arriving"`  // A10
	Locations      []Location      `yaml:"locations"` // places, and what care is given there
	Rules          []Rule          `yaml:"rules"`     // tried in order, before those of DefaultRules
}

// NHSNumbers says how NHS numbers are told from other identifiers.
type NHSNumbers struct {
	Authorities []string `yaml:"authorities"` // CX-4, besides NHS, its OID and its URI
	Types       []string `yaml:"types"`       // CX-5, besides NH and NHS
	// Fields are looked into, in order, where PID-3 has no NHS number: PID-2,
	// PID-4 or PID-19. A number there needs no mark.
	Fields []string `yaml:"fields"`
}

// HospitalNumbers says which of several local numbers is the hospital's own.
type HospitalNumbers struct {
	Authorities []string `yaml:"authorities"` // CX-4, the best first
}

// Arriving says what A10, patient arriving, does.
type Arriving string

// The treatments of A10. Empty is to ignore.
const (
	ArrivingIgnored   Arriving = "ignore"   // a later arrival within a visit
	ArrivingRegisters Arriving = "register" // it begins an attendance, as A04 does
)

// Location names a place and what care is given there.
type Location struct {
	Name    string                `yaml:"name"`         // PV1-3.1 or PV1-3.2
	Setting safeguard.CareSetting `yaml:"care_setting"` // what care is given there
}

// DefaultConfig reads messages as the NHS standards have them.
func DefaultConfig() Config { return Config{Arriving: ArrivingIgnored} }

// identifierFields are the fields of PID that NHSNumber.Fields may name.
var identifierFields = map[string]int{"PID-2": 2, "PID-4": 4, "PID-19": 19}

// Validate names the first setting that is wrong.
func (c Config) Validate() error {
	for _, l := range []struct {
		key    string
		values []string
	}{
		{"nhs_number.authorities", c.NHSNumber.Authorities},
		{"nhs_number.types", c.NHSNumber.Types},
		{"hospital_number.authorities", c.HospitalNumber.Authorities},
	} {
		for i, v := range l.values {
			if strings.TrimSpace(v) == "" {
				return fmt.Errorf("%s[%d]: empty, want a code as the messages have it", l.key, i)
			}
			if strings.EqualFold(v, "CHI") && l.key == "nhs_number.authorities" {
				return fmt.Errorf("%s[%d]: %q: a Scottish CHI number is no NHS number, want another authority", l.key, i, v)
			}
		}
	}
	for i, f := range c.NHSNumber.Fields {
		if identifierFields[f] == 0 {
			return fmt.Errorf("nhs_number.fields[%d]: %q, want PID-2, PID-4 or PID-19", i, f)
		}
	}
	switch c.Arriving {
	case "", ArrivingIgnored, ArrivingRegisters:
	default:
		return fmt.Errorf("arriving: %q, want %s or %s", c.Arriving, ArrivingIgnored, ArrivingRegisters)
	}
	names := map[string]bool{}
	for i, l := range c.Locations {
		name := strings.ToUpper(l.Name)
		switch {
		case strings.TrimSpace(l.Name) == "":
			return fmt.Errorf("locations[%d].name: empty, want a place as PV1-3 has it", i)
		case names[name]:
			return fmt.Errorf("locations[%d].name: %q is listed before, want each place once", i, l.Name)
		case l.Setting == safeguard.UnknownSetting:
			return fmt.Errorf("locations[%d].care_setting: none, want the type of care given at %q", i, l.Name)
		}
		names[name] = true
	}
	return validateRules(c.Rules)
}

func validateRules(rules []Rule) error {
	names := map[string]bool{}
	for _, r := range defaultRules {
		names[r.Name] = true
	}
	for i, r := range rules {
		if strings.TrimSpace(r.Name) == "" || names[r.Name] {
			return fmt.Errorf("rules[%d].name: %q, want a name of its own", i, r.Name)
		}
		names[r.Name] = true
		if err := r.validate(); err != nil {
			return fmt.Errorf("rules[%d] %q: %w", i, r.Name, err)
		}
		if i > 0 && rules[i-1].When.always() {
			return fmt.Errorf("rules[%d] %q: never tried, because %q holds always: want that one last", i, r.Name, rules[i-1].Name)
		}
	}
	return nil
}

func (r Rule) validate() error {
	for _, c := range r.When.conditions() {
		for i, v := range c.values {
			if v == "" || v == "*" || strings.Contains(strings.TrimSuffix(v, "*"), "*") {
				return fmt.Errorf("when.%s[%d]: %q, want a value, or the beginning of one and *", c.key, i, v)
			}
		}
	}
	for i, event := range r.When.Trigger {
		t, listed := TriggerOf(event)
		if !listed || !slices.Contains(decided, t.Kind) && event != arriving {
			return fmt.Errorf("when.trigger[%d]: %q, want an event that begins or changes an attendance: %s", i, event, strings.Join(decidedEvents(), ", "))
		}
	}
	for i, s := range r.When.Place {
		if s == safeguard.UnknownSetting {
			return fmt.Errorf("when.place[%d]: none, want a care setting", i)
		}
	}
	switch r.Then.Purpose {
	case Unscheduled, Scheduled:
	case NoAttendance:
		if r.Then.Setting != safeguard.UnknownSetting {
			return fmt.Errorf("then.care_setting: %s, want none where purpose is %s", r.Then.Setting, NoAttendance)
		}
	default:
		return fmt.Errorf("then.purpose: %q, want %s, %s or %s", r.Then.Purpose, Unscheduled, Scheduled, NoAttendance)
	}
	return nil
}

// decided are the kinds of movement for which rules are asked.
var decided = []Kind{Register, Update, PreAdmission, Discharge, Reopen, Cancel}

func decidedEvents() []string {
	var events []string
	for _, t := range triggers {
		if slices.Contains(decided, t.Kind) || t.Event == arriving {
			events = append(events, t.Event)
		}
	}
	return events
}
