package explain

import (
	"fmt"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/hl7adapter/adt"
	"github.com/safeguard-edge/safeguard/hl7adapter/explain/mask"
)

// facts collects what is said, leaving out what is not.
type facts []Fact

func (f *facts) add(about, says string) {
	if says != "" {
		*f = append(*f, Fact{about, mask.Printable(says)})
	}
}

// meaning says in words what a movement is.
func (e Explainer) meaning(m adt.Movement) []Fact {
	f := facts{}
	if m.Kind == adt.Other {
		f.add("follows", "nothing")
		return f
	}
	f.add("occurred", e.when(m.Occurred, m.Attendance.Patient))
	f.add("follows", follows[m.Kind])
	e.attendance(&f, "", m.Attendance)
	if m.Second.Patient != (safeguard.Patient{}) {
		e.attendance(&f, "second ", m.Second)
	}
	for i, r := range m.Replaced {
		prefix := ""
		if len(m.Replaced) > 1 {
			prefix = fmt.Sprintf("[%d] ", i+1)
		}
		f.add(prefix+priorTitle[m.Kind], e.identity(r.Prior))
		switch v := r.Visit; {
		case v == (adt.ReplacedVisit{}):
		case v.From == v.To:
			f.add(prefix+"visit", "the one that MRG-5 and PV1-19 name, another patient's from now on")
		default:
			f.add(prefix+"visit", "the one in MRG-5 goes under the number in PV1-19 from now on")
		}
	}
	return f
}

var follows = map[adt.Kind]string{
	adt.Register:           "an attendance begins, or its beginning is repeated",
	adt.Update:             "what is known of the attendance changes; it begins one if it is not known, open and young",
	adt.PreAdmission:       "the patient is expected, and looked up silently ahead of arrival",
	adt.PersonUpdate:       "the patient's identity changes; no visit is named",
	adt.Discharge:          "the attendance ends",
	adt.Reopen:             "the attendance goes on",
	adt.Cancel:             "the attendance did not happen; its alert is withdrawn",
	adt.CancelPreAdmission: "the patient is no longer expected",
	adt.Merge:              "what is discarded gives way to the survivor, who is decided afresh",
	adt.Change:             "the same patient or visit goes under another identifier",
	adt.Move:               "what was filed under one patient is another's",
	adt.Link:               "nothing: two identities stay two",
	adt.Unlink:             "nothing: two identities stayed two",
	adt.Swap:               "two patients exchange their places",
}

var priorTitle = map[adt.Kind]string{adt.Merge: "discarded", adt.Change: "before", adt.Move: "moved from", adt.Update: "before"}

func (e Explainer) attendance(f *facts, prefix string, a safeguard.Attendance) {
	if !a.ID.IsZero() {
		told := "told by the visit number in PV1-19"
		if a.Visit.IsZero() {
			told = "told by the hospital number, the admit time (or its day) and the site"
		}
		if !a.Organisation.IsZero() {
			// Without the organisation the id is not the one its agent makes.
			told = a.ID.String() + ", " + told
		}
		f.add(prefix+"attendance", told)
		f.add(prefix+"decided by rule", a.Rule)
		f.add(prefix+"purpose", purpose(a.Purpose))
		f.add(prefix+"care setting", known(a.Setting))
		f.add(prefix+"site", a.Site.String())
		if a.State != safeguard.UnknownState {
			f.add(prefix+"state", a.State.String())
		}
		f.add(prefix+"begun", e.when(a.Begun, a.Patient))
		f.add(prefix+"ended", e.when(a.Finished, a.Patient))
	}
	if a.Maternity {
		f.add(prefix+"maternity", "yes, by its class or place")
	}
	if a.Sensitive {
		f.add(prefix+"sensitive", "yes: where the patient is must not be shown (ZU8-4)")
	}
	e.patient(f, prefix, a.Patient)
	if !a.ID.IsZero() && a.Purpose != safeguard.UnknownPurpose {
		f.add(prefix+"asked about", e.asked(a))
	}
}

func (e Explainer) patient(f *facts, prefix string, p safeguard.Patient) {
	number := "none recognised"
	if !p.Number.IsZero() {
		number = "given"
		if e.Reveal {
			number = p.Number.Reveal()
		}
	}
	f.add(prefix+"NHS number", number+"; status: "+p.NumberStatus.String())
	if id := p.MRN.Reveal(); !p.MRN.IsZero() {
		says := "given"
		if e.Reveal {
			says = id.Value
		}
		f.add(prefix+"hospital number", says)
	} else {
		f.add(prefix+"hospital number", "none")
	}
	born := "unknown"
	if b := p.Born.Reveal(); !b.IsZero() {
		born = "given"
		if e.Reveal {
			born = b.String()
		}
	}
	f.add(prefix+"date of birth", born)
	f.add(prefix+"sex", p.Sex.String())
	if !p.Mother.IsZero() {
		says := "NHS number given, of an infant under 28 days: asked about too"
		if e.Reveal {
			says = p.Mother.Reveal() + ", of an infant under 28 days: asked about too"
		}
		f.add(prefix+"mother", says)
	}
}

func (e Explainer) identity(i adt.Identity) string {
	if i.IsZero() {
		return ""
	}
	text := fmt.Sprintf("%d hospital and %d NHS numbers", len(i.Local), len(i.Numbers))
	if e.Reveal {
		for _, id := range i.Local {
			text += " " + id.Reveal().Value
		}
		for _, n := range i.Numbers {
			text += " " + n.Reveal()
		}
	}
	return text
}

// asked says whether the flags of the patient are looked up, and why or why not.
func (e Explainer) asked(a safeguard.Attendance) string {
	eligible, rule := e.Rules.Eligible(a)
	switch reason := a.Unasked(); {
	case !eligible:
		return "no: " + rule
	case a.State == safeguard.Cancelled:
		return "no: cancelled"
	case reason != safeguard.NoReason:
		return "not until it is mended: " + reason.String() + " (else: " + rule + ")"
	}
	return "yes: " + rule
}

func purpose(p safeguard.Purpose) string {
	switch p {
	case safeguard.Unscheduled:
		return "unscheduled: recorded in the access history, the local authority is told"
	case safeguard.Scheduled:
		return "scheduled: looked up silently"
	}
	return ""
}

func known(s safeguard.CareSetting) string {
	if s == safeguard.UnknownSetting {
		return ""
	}
	return s.String()
}

// when is a time, unless it is of the day on which the patient was born.
func (e Explainer) when(t time.Time, p safeguard.Patient) string {
	switch born := p.Born.Reveal(); {
	case t.IsZero():
		return ""
	case !e.Reveal && born == safeguard.DateOf(t):
		return "(masked)"
	}
	return t.Format("2006-01-02 15:04:05 -07:00")
}
