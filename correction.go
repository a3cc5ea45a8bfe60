package safeguard

import "time"

// Correction tells the centre that an unscheduled lookup should not have been
// made. It is idempotent by organisation, attendance and NHS number. Whoever was
// notified is told, and the access is shown no more. It names one number only: of
// a patient who had a wrong one, the two never stand in one message.
type Correction struct {
	Number     NHSNumber // that was asked about
	Author     Author    // its organisation must be the lookup's
	Attendance AttendanceID
	Reason     CorrectionReason
	At         time.Time // when the hospital said so
}

// CorrectionReason says why a lookup should not have been made.
type CorrectionReason int

// The reasons of a correction. The zero value is none, and is refused.
const (
	UnknownCorrection   CorrectionReason = iota
	AttendanceCancelled                  // the patient did not attend after all
	OtherPerson                          // the patient is not the one whose number was asked about
)

var correctionReasons = names{"unknown", "attendance-cancelled", "other-person"}

func (r CorrectionReason) String() string { return correctionReasons.name(int(r)) }

// MarshalText writes the reason's word.
func (r CorrectionReason) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads the reason's word.
func (r *CorrectionReason) UnmarshalText(text []byte) error {
	v, err := correctionReasons.parse("correction", string(text))
	*r = CorrectionReason(v)
	return err
}

// Corrected is what the centre did with a correction.
type Corrected int

// The outcomes of a correction. All of them are final.
const (
	NotCorrected     Corrected = iota
	NeverRecorded              // the centre has no such lookup: there is nothing to correct
	CorrectedNow               // it is corrected, and who was notified will be told
	CorrectedAlready           // it was before; nothing changed
)

var correctedWords = names{"not corrected", "never recorded", "corrected", "corrected already"}

func (c Corrected) String() string { return correctedWords.name(int(c)) }
