package safeguard

import "slices"

// Stage is what has been made of an attendance so far. It follows from the
// attendance, what was asked and what is shown, and is kept with them.
type Stage int

// The stages. The zero value is that of an attendance nobody knows of yet.
const (
	NoStage        Stage = iota
	Registered           // known, and nothing is to be asked: not eligible, no usable number, or only expected
	AskedAbout           // the lookup is owed, and nothing is shown
	Answered             // the centre answered, and nothing is to be shown
	Alerted              // something is shown
	Notified             // flags are shown, and the centre has recorded the unscheduled attendance: it tells the authorities
	WithdrawnAlert       // something was shown, and nothing is shown any more
	CancelledStage       // the hospital says that the attendance did not happen
	MergedStage          // its visit goes on as another attendance
	SetAsideStage        // it ended unanswered: a person closed it, or the time to ask is over
)

var stages = names{"none", "registered", "asked", "answered", "alerted", "notified", "withdrawn", "cancelled", "merged", "set aside"}

func (s Stage) String() string { return stages.name(int(s)) }

// Stages are all of them, in the order of the constants.
func Stages() []Stage {
	all := make([]Stage, len(stages))
	for i := range all {
		all[i] = Stage(i)
	}
	return all
}

// going are the stages of an attendance that is neither cancelled nor merged nor
// set aside.
var going = []Stage{Registered, AskedAbout, Answered, Alerted, Notified}

// nexts are the stages that may follow each. Any may follow itself.
var nexts = map[Stage][]Stage{
	NoStage:        append(slices.Clone(going), SetAsideStage),
	Registered:     {AskedAbout, Answered, Alerted, Notified, CancelledStage, MergedStage, SetAsideStage},
	AskedAbout:     {Registered, Answered, Alerted, Notified, CancelledStage, MergedStage, SetAsideStage},
	Answered:       {Registered, AskedAbout, Alerted, Notified, CancelledStage, MergedStage, SetAsideStage},
	Alerted:        {Notified, WithdrawnAlert, CancelledStage, MergedStage, SetAsideStage},
	Notified:       {Alerted, WithdrawnAlert, CancelledStage, MergedStage, SetAsideStage},
	WithdrawnAlert: {Alerted, Notified, CancelledStage, MergedStage, SetAsideStage},
	CancelledStage: {Registered, AskedAbout, Answered, Alerted, Notified, WithdrawnAlert, MergedStage},
	MergedStage:    {},
	SetAsideStage:  {Registered, AskedAbout, Answered, Alerted, Notified, WithdrawnAlert, CancelledStage, MergedStage},
}

// Next are the stages that may follow s, besides s itself.
func (s Stage) Next() []Stage { return slices.Clone(nexts[s]) }

// MayBecome tells whether next may follow s.
func (s Stage) MayBecome(next Stage) bool { return s == next || slices.Contains(nexts[s], next) }
