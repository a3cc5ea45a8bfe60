package adt

import "fmt"

// Kind is what a movement does.
type Kind int

// The kinds. The zero value does nothing.
const (
	Other              Kind = iota // says nothing about an attendance
	Register                       // begins one, or repeats its beginning
	Update                         // changes what is known of one; begins one that is not known, if it is open and young
	PreAdmission                   // expects one: ask silently ahead of arrival
	PersonUpdate                   // changes a patient's identity; no visit
	Discharge                      // ends an attendance
	Reopen                         // takes the end back
	Cancel                         // the attendance did not happen
	CancelPreAdmission             // no longer expects one; does not end one that began
	Merge                          // of two patients or visits, one survives
	Change                         // the same patient or visit under another identifier
	Move                           // what was filed under one patient is another's
	Link                           // two patients are thought to be one; never merges
	Unlink                         // takes a link back
	Swap                           // two patients exchange their places
)

var kinds = [...]string{"other", "register", "update", "pre-admission", "person update", "discharge", "reopen", "cancel",
	"cancel pre-admission", "merge", "change of identifier", "move", "link", "unlink", "swap"}

func (k Kind) String() string {
	if k < 0 || int(k) >= len(kinds) {
		return fmt.Sprintf("%d?", int(k))
	}
	return kinds[k]
}

// Trigger is the treatment of one trigger event of HL7 table 0003.
type Trigger struct {
	Event  string // such as A04
	Name   string // as HL7 has it
	Kind   Kind
	Reason string // why it is of this kind
}

// The events whose treatment the site decides.
const (
	arriving       = "A10"
	cancelArriving = "A32"
)

// triggers are A01 to A62, in order (HL7 v2.4 to v2.8 chapter 3.3; A30 and A34 to
// A36 also v2.3; A46, A48 and others are kept for old senders).
var triggers = [...]Trigger{
	{"A01", "Admit/visit notification", Register, "begins an attendance"},
	{"A02", "Transfer a patient", Update, "the place changes"},
	{"A03", "Discharge/end visit", Discharge, "ends an attendance"},
	{"A04", "Register a patient", Register, "begins an attendance"},
	{"A05", "Pre-admit a patient", PreAdmission, "an attendance is expected, and asked about silently"},
	{"A06", "Change an outpatient to an inpatient", Update, "the class changes, and with it perhaps the purpose"},
	{"A07", "Change an inpatient to an outpatient", Update, "the class changes; an unscheduled attendance stays one"},
	{"A08", "Update patient information", Update, "identity and visit are read again; never a second attendance"},
	{"A09", "Patient departing - tracking", Other, "the patient is on the way to a place that an A02 or A10 will name"},
	{"A10", "Patient arriving - tracking", Other, "a later arrival within a visit; a site may say that it begins an attendance"},
	{"A11", "Cancel admit/visit notification", Cancel, "the attendance did not happen"},
	{"A12", "Cancel transfer", Update, "the place before holds again"},
	{"A13", "Cancel discharge/end visit", Reopen, "the attendance goes on"},
	{"A14", "Pending admit", PreAdmission, "an attendance is expected, and asked about silently"},
	{"A15", "Pending transfer", Other, "an intention; the A02 follows"},
	{"A16", "Pending discharge", Other, "an intention; the A03 follows"},
	{"A17", "Swap patients", Swap, "two patients exchange their beds, not their identities"},
	{"A18", "Merge patient information", Merge, "MRG-1 is discarded for PID-3"},
	{"A19", "Patient query", Other, "a question"},
	{"A20", "Bed status update", Other, "about a bed, not a patient"},
	{"A21", "Patient goes on a leave of absence", Other, "the attendance goes on"},
	{"A22", "Patient returns from a leave of absence", Other, "the attendance went on"},
	{"A23", "Delete a patient record", Other, "removes old data; what was entered in error is cancelled by A11"},
	{"A24", "Link patient information", Link, "both identities remain, and neither learns of the other's flags"},
	{"A25", "Cancel pending discharge", Other, "an intention taken back"},
	{"A26", "Cancel pending transfer", Other, "an intention taken back"},
	{"A27", "Cancel pending admit", CancelPreAdmission, "takes back an A14, not a visit that began"},
	{"A28", "Add person information", PersonUpdate, "identity only; no visit"},
	{"A29", "Delete person information", Other, "removes old data; a visit in progress is cancelled by A11 or ended by A03"},
	{"A30", "Merge person information", Merge, "MRG-1 is discarded for PID-3"},
	{"A31", "Update person information", PersonUpdate, "identity only; no visit"},
	{"A32", "Cancel patient arriving - tracking", Other, "takes back an A10"},
	{"A33", "Cancel patient departing - tracking", Other, "takes back an A09"},
	{"A34", "Merge patient information - patient ID only", Merge, "MRG-1 is discarded for PID-3"},
	{"A35", "Merge patient information - account number only", Merge, "of accounts; an attendance is told by its visit, so nothing follows unless a visit is named too"},
	{"A36", "Merge patient information - patient ID and account number", Merge, "MRG-1 is discarded for PID-3; the account is not used"},
	{"A37", "Unlink patient information", Unlink, "takes back an A24, which merged nothing"},
	{"A38", "Cancel pre-admit", CancelPreAdmission, "takes back an A05, not a visit that began"},
	{"A39", "Merge person - patient ID", Merge, "MRG-4 is discarded for PID-2, and MRG-1 for PID-3"},
	{"A40", "Merge patient - patient identifier list", Merge, "MRG-1 is discarded for PID-3"},
	{"A41", "Merge account - patient account number", Merge, "of accounts; an attendance is told by its visit, so nothing follows unless a visit is named too"},
	{"A42", "Merge visit - visit number", Merge, "MRG-5 is discarded for PV1-19; the patient stays"},
	{"A43", "Move patient information - patient identifier list", Move, "what was filed under MRG-1 is another person's, PID-3"},
	{"A44", "Move account information - patient account number", Move, "an account, with its visits, is another patient's"},
	{"A45", "Move visit information - visit number", Move, "the visit MRG-5 of MRG-1 is another patient's, PID-3"},
	{"A46", "Change patient ID", Change, "PID-2 takes the place of MRG-4; not used in the UK"},
	{"A47", "Change patient identifier list", Change, "PID-3 takes the place of MRG-1, for the same patient"},
	{"A48", "Change alternate patient ID", PersonUpdate, "PID-4 changes: identity is read again"},
	{"A49", "Change patient account number", Other, "an attendance is told by its visit, not by its account"},
	{"A50", "Change visit number", Change, "PV1-19 takes the place of MRG-5, for the same visit"},
	{"A51", "Change alternate visit ID", Other, "an attendance is told by PV1-19, not by PV1-50"},
	{"A52", "Cancel leave of absence for a patient", Other, "the attendance went on"},
	{"A53", "Cancel patient returns from a leave of absence", Other, "the attendance goes on"},
	{"A54", "Change attending doctor", Other, "about a doctor"},
	{"A55", "Cancel change attending doctor", Other, "about a doctor"},
	{"A56", "(not defined)", Other, "HL7 defines no message"},
	{"A57", "(not defined)", Other, "HL7 defines no message"},
	{"A58", "(not defined)", Other, "HL7 defines no message"},
	{"A59", "(not defined)", Other, "HL7 defines no message"},
	{"A60", "Update allergy information", Other, "about allergies"},
	{"A61", "Change consulting doctor", Other, "about a doctor"},
	{"A62", "Cancel change consulting doctor", Other, "about a doctor"},
}

// Triggers returns the treatment of A01 to A62, in order.
func Triggers() []Trigger { return append([]Trigger(nil), triggers[:]...) }

// TriggerOf returns the treatment of an event, and whether HL7 has it.
func TriggerOf(event string) (Trigger, bool) {
	if len(event) != 3 || event[0] != 'A' || event[1] < '0' || event[1] > '9' || event[2] < '0' || event[2] > '9' {
		return Trigger{}, false
	}
	n := 10*int(event[1]-'0') + int(event[2]-'0')
	if n < 1 || n > len(triggers) {
		return Trigger{}, false
	}
	return triggers[n-1], true
}
