package safeguard

import (
	"cmp"
	"time"
)

// Plan is the kind of flag.
type Plan int

// The plans of child protection information sharing.
const (
	UnknownPlan     Plan = iota
	ChildProtection      // CPP: subject to a child protection plan
	LookedAfter          // LAC: looked after child
	UnbornChild          // UCPP: her unborn child is subject to a plan
)

var plans = names{"unknown", "CPP", "LAC", "UCPP"}

func (p Plan) String() string { return plans.name(int(p)) }

// MarshalText writes CPP, LAC or UCPP.
func (p Plan) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads CPP, LAC or UCPP.
func (p *Plan) UnmarshalText(text []byte) error {
	v, err := plans.parse("plan", string(text))
	*p = Plan(v)
	return err
}

// Title is the plan in plain words.
func (p Plan) Title() string {
	switch p {
	case ChildProtection:
		return "Child protection plan"
	case LookedAfter:
		return "Looked after child"
	case UnbornChild:
		return "Unborn child protection plan"
	}
	return "Unknown plan"
}

// Flag is one plan that one local authority holds for a person.
type Flag struct {
	Plan      Plan
	Start     Date
	End       Date // zero while the plan is active
	Authority Authority
	Mothers   bool // of an infant: held under the mother's number, not the infant's
}

// Authority is the local authority to call about a flag.
type Authority struct {
	Code               ODSCode
	Name               string
	EmergencyDutyPhone string
	OfficeHoursPhone   string // may be empty
}

// Ended tells whether the plan has ended on the given day.
func (f Flag) Ended(on Date) bool { return !f.End.IsZero() && !on.Before(f.End) }

// Tails is how long an ended plan stays visible: policy, with defaults.
type Tails struct {
	Months int // CPP and LAC
	Days   int // UCPP
	Adult  int // age in years at which CPP and LAC end by themselves; 0 is Adulthood
}

// DefaultTails is twelve months, and 28 days for an unborn child's plan.
var DefaultTails = Tails{Months: 12, Days: 28}

// Adulthood is the age in years at which a child's plan ends by itself.
const Adulthood = 18

// Visible tells whether the flag is shown on the given day. CPP and LAC end at
// the 18th birthday, or the one that tails says; UCPP is the mother's and knows no age. A plan that is to
// start later is not visible yet.
func (f Flag) Visible(on Date, born Date, tails Tails) bool {
	if on.Before(f.Start) {
		return false
	}
	if f.Plan == UnbornChild {
		return f.End.IsZero() || on.Before(f.End.Add(0, 0, tails.Days+1))
	}
	if !born.IsZero() && born.YearsAt(on) >= cmp.Or(tails.Adult, Adulthood) {
		return false
	}
	return f.End.IsZero() || !f.End.Add(0, tails.Months, 0).Before(on)
}

// Notification tells a local authority that someone it holds a flag for
// attended, or takes that back. Each is made once per organisation, attendance,
// NHS number and authority; a repeat carries the same ID.
type Notification struct {
	ID           string
	Authority    ODSCode
	Number       NHSNumber
	Born         Private[Date]
	Plans        []Plan
	Organisation ODSCode
	Site         ODSCode
	SiteName     string
	Setting      CareSetting
	Accountable  Accountable
	Attendance   AttendanceID
	At           time.Time // true time of the attendance
	Recorded     time.Time // when the centre learnt of it
	Sensitive    bool      // where the patient is must not be passed on
	Late         bool      // the centre learnt of it long after the attendance, as after an outage
	Viewed       bool      // a member of staff looked, at At: Accountable is that person, and Attendance the look, not an arrival
	Upload       string    // that the flag came from, the latest of several: the authority's sequence number, or else the upload's id; empty where not known

	// Of a correction alone: it takes back the one that it names, whose content it
	// repeats. At most one corrects each.
	Corrects    string           // that notification's ID
	Reason      CorrectionReason // why
	CorrectedAt time.Time        // when the hospital said so
}
