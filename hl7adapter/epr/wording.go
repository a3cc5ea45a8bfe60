package epr

import (
	"fmt"
	"strings"
	"time"

	"github.com/safeguard-edge/safeguard"
)

// observation is one thing for the clinician to read.
type observation struct {
	code, title, system string
	text                string
}

// planCode is the plan's SNOMED CT concept (NHS England value set
// England-ChildProtectionPlan).
var planCode = map[safeguard.Plan][2]string{
	safeguard.ChildProtection: {"342191000000101", "Subject to child protection plan"},
	safeguard.LookedAfter:     {"764841000000100", "Looked after child"},
	safeguard.UnbornChild:     {"818901000000100", "Unborn child subject to child protection plan"},
}

// observations is what an alert has to say, in the order in which it is read.
func observations(a safeguard.Alert, zone *time.Location) []observation {
	if a.Content.Kind == safeguard.CheckNotCompleted {
		return []observation{{"CHECK-NOT-COMPLETED", "Safeguarding check not completed", "L", notCompleted(a)}}
	}
	var out []observation
	for _, f := range a.Content.Flags {
		code := planCode[f.Plan]
		out = append(out, observation{code[0], code[1], "SCT", held(a, f)})
	}
	return append(out, observation{"CHECKED", "Safeguarding information checked", "L", checked(a, zone)})
}

// held is one plan, with whom to call.
func held(a safeguard.Alert, f safeguard.Flag) string {
	var b strings.Builder
	if a.Action == safeguard.Withdraw {
		b.WriteString("WITHDRAWN. ")
	}
	b.WriteString(f.Plan.Title())
	if f.Mothers {
		b.WriteString(" (held under the mother's NHS number)")
	}
	if f.Ended(safeguard.DateOf(a.Decided)) {
		fmt.Fprintf(&b, ", ended %s, started %s.", inWords(f.End), inWords(f.Start))
	} else {
		fmt.Fprintf(&b, ", active since %s.", inWords(f.Start))
	}
	fmt.Fprintf(&b, " %s. Emergency duty team: %s.", f.Authority.Name, f.Authority.EmergencyDutyPhone)
	if phone := f.Authority.OfficeHoursPhone; phone != "" {
		fmt.Fprintf(&b, " Office hours: %s.", phone)
	}
	return b.String()
}

// checked is when and from where the answer is, and what makes it less sure.
func checked(a safeguard.Alert, zone *time.Location) string {
	at := a.Content.AsOf.In(zone).Format("2 Jan 2006 15:04")
	text := fmt.Sprintf("As held by the central service on %s.", at)
	if a.Content.Source == safeguard.FromCache {
		text = fmt.Sprintf("The central service can not be reached now. This is its answer of %s (%s ago), kept at this hospital. It may have changed; it will be checked again.",
			at, age(a.Decided.Sub(a.Content.AsOf)))
	}
	if a.Attendance.Patient.NumberStatus != safeguard.Verified {
		text += " The NHS number is not confirmed as verified: check that this is the right person."
	}
	return text
}

// age is a duration as one would say it.
func age(d time.Duration) string {
	for _, unit := range []struct {
		length time.Duration
		name   string
	}{{24 * time.Hour, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}} {
		switch n := int(d / unit.length); {
		case n == 1:
			return "1 " + unit.name
		case n > 1:
			return fmt.Sprintf("%d %ss", n, unit.name)
		}
	}
	return "less than a minute"
}

func inWords(d safeguard.Date) string {
	return time.Date(d.Year, d.Month, d.Day, 0, 0, 0, 0, time.UTC).Format("2 Jan 2006")
}

// why and what to do, by reason.
var notCompletedBecause = map[safeguard.Reason]string{
	safeguard.CentreUnreachable:    "the central service can not be reached; it is asked again until it answers. Until then",
	safeguard.CentreRefused:        "the central service refused the question; tell the IT service desk. Until then",
	safeguard.NoNHSNumber:          "there is no valid NHS number. Trace it and enter it; the check then runs by itself. Until then",
	safeguard.NumberInConflict:     "the NHS number is not settled. Resolve it; the check then runs by itself. Until then",
	safeguard.IdentityNotConfirmed: "the NHS number and date of birth do not confirm each other. Check both; the check then runs by itself. Until then",
}

func notCompleted(a safeguard.Alert) string {
	if a.Action == safeguard.Withdraw {
		return "WITHDRAWN. The safeguarding check no longer waits for an answer."
	}
	return fmt.Sprintf("SAFEGUARDING CHECK NOT COMPLETED: %s, follow your local procedure and ask social care. This does not mean that there is no plan.",
		notCompletedBecause[a.Content.Reason])
}
