package safeguard

// CareSetting is the type of the place where the patient arrived.
type CareSetting int

// The care settings of unscheduled care that ask about flags.
const (
	UnknownSetting CareSetting = iota
	EmergencyDepartment
	WalkInCentre
	MinorInjuryUnit
	OutOfHoursGP
	AmbulanceService
	Maternity
	PaediatricWard
)

var careSettings = names{"unknown", "emergency-department", "walk-in-centre", "minor-injury-unit",
	"out-of-hours-gp", "ambulance-service", "maternity", "paediatric-ward"}

func (s CareSetting) String() string { return careSettings.name(int(s)) }

// MarshalText writes the setting's word.
func (s CareSetting) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the setting's word.
func (s *CareSetting) UnmarshalText(text []byte) error {
	v, err := careSettings.parse("care setting", string(text))
	*s = CareSetting(v)
	return err
}

// Purpose says why a lookup is made. Only Unscheduled is written into the
// access history and notifies the local authority; the others are silent.
type Purpose int

// The purposes of a lookup. The zero value is none, and is refused.
const (
	UnknownPurpose Purpose = iota
	Unscheduled
	Scheduled
	Refresh
)

var purposes = names{"unknown", "unscheduled", "scheduled", "refresh"}

func (p Purpose) String() string { return purposes.name(int(p)) }

// MarshalText writes the purpose's word.
func (p Purpose) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads the purpose's word.
func (p *Purpose) UnmarshalText(text []byte) error {
	v, err := purposes.parse("purpose", string(text))
	*p = Purpose(v)
	return err
}
