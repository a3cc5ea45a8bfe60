package epr

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"strings"
	"time"

	"github.com/safeguard-edge/safeguard"
)

// Notice is an alert in words.
type Notice struct {
	Headline string // for a list
	Brief    string // one line, 139 characters at most
	Lines    []Line // all there is to read, in order
	Gone     []Line // what earlier versions had to read
}

// Line is one thing to read.
type Line struct {
	Code, Title, System string // what it is about; System is SCT for SNOMED CT, L for our own
	Text                string
	Plan                *PlanLine // of a plan's line
}

// Key tells a line from the others of an alert, and is the same in each version.
func (l Line) Key() string {
	about := l.Code
	if l.Plan != nil {
		about += "|" + l.Plan.Authority.Code.String() + "|" + l.Plan.Authority.Name
	}
	sum := sha256.Sum256([]byte("safeguard line|" + about))
	return base32.StdEncoding.EncodeToString(sum[:5])[:6]
}

// PlanLine is a plan with its parts.
type PlanLine struct {
	safeguard.Flag
	Active bool
	Name   string
}

// Systems of a line's code, as HL7 table 0396 names them.
const (
	SNOMED = "SCT"
	Local  = "L"
)

// planCode is the plan's SNOMED CT concept (NHS England value set
// England-ChildProtectionPlan).
var planCode = map[safeguard.Plan][2]string{
	safeguard.ChildProtection: {"342191000000101", "Subject to child protection plan"},
	safeguard.LookedAfter:     {"764841000000100", "Looked after child"},
	safeguard.UnbornChild:     {"818901000000100", "Unborn child subject to child protection plan"},
}

// The local codes of what is no plan.
const (
	CodeNotCompleted = "CHECK-NOT-COMPLETED"
	CodeNoneHeld     = "NONE-HELD"
	CodeChecked      = "CHECKED"
)

// longestBrief is what CDS Hooks allows for a card's summary, less one.
const longestBrief = 139

// Notice puts the alert into words. Times are told in the zone.
func (w Wording) Notice(a safeguard.Alert, zone *time.Location) Notice {
	if zone == nil {
		zone = time.UTC
	}
	n := w.says(a, zone)
	n.Gone = w.gone(a)
	if a.Action == safeguard.Withdraw {
		n.Headline = w.HeadlineWithdrawn
		n.Brief = w.Withdrawn + n.Brief
	}
	if a.Attendance.Test {
		n.Headline = w.Test + n.Headline
		n.Brief = w.Test + n.Brief
		for _, lines := range [][]Line{n.Lines, n.Gone} {
			for i := range lines {
				lines[i].Text = w.Test + lines[i].Text
			}
		}
	}
	n.Brief = clipped(n.Brief, longestBrief)
	return n
}

func (w Wording) says(a safeguard.Alert, zone *time.Location) Notice {
	withdrawn := a.Action == safeguard.Withdraw
	asOf := []fact{
		{"as_of", a.Content.AsOf.In(zone).Format("2 Jan 2006 15:04")},
		{"age", age(a.Decided.Sub(a.Content.AsOf))},
	}
	switch a.Content.Kind {
	case safeguard.CheckNotCompleted:
		text := fill(w.NotCompleted, fact{"reason", w.Reasons[a.Content.Reason.String()]})
		if withdrawn {
			text = w.NotCompletedWithdrawn
		}
		return Notice{Headline: w.HeadlineNotCompleted, Brief: w.HeadlineNotCompleted, Lines: []Line{local(CodeNotCompleted, text)}}
	case safeguard.NoneFound:
		text := fill(w.NoneHeld, asOf...)
		if withdrawn {
			text = w.NoneHeldWithdrawn
		}
		return Notice{Headline: w.HeadlineNoneHeld, Brief: text, Lines: []Line{local(CodeNoneHeld, text)}}
	}
	n := Notice{Headline: w.Headline}
	var briefs []string
	for _, f := range a.Content.Flags {
		line, brief := w.plan(f, safeguard.DateOf(a.Decided), withdrawn)
		n.Lines = append(n.Lines, line)
		briefs = append(briefs, brief)
	}
	n.Brief = strings.Join(briefs, "; ")
	checked := fill(w.FromCentre, asOf...)
	if a.Content.Source == safeguard.FromCache {
		checked = fill(w.FromCache, asOf...)
	}
	if a.Attendance.Patient.NumberStatus != safeguard.Verified {
		checked += w.Unverified
	}
	n.Lines = append(n.Lines, local(CodeChecked, checked))
	return n
}

// local is a line that is about no plan.
func local(code, text string) Line {
	title := "Safeguarding information checked"
	if code == CodeNotCompleted {
		title = "Safeguarding check not completed"
	}
	return Line{code, title, Local, text, nil}
}

// gone is what earlier versions of the alert said, and this one does not.
func (w Wording) gone(a safeguard.Alert) (out []Line) {
	for _, f := range a.Gone.Flags {
		line, _ := w.plan(f, safeguard.DateOf(a.Decided), true)
		out = append(out, line)
	}
	for _, k := range a.Gone.Kinds {
		switch k {
		case safeguard.FlagsHeld:
			out = append(out, local(CodeChecked, strings.TrimSpace(w.Withdrawn)))
		case safeguard.CheckNotCompleted:
			out = append(out, local(CodeNotCompleted, w.NotCompletedWithdrawn))
		case safeguard.NoneFound:
			out = append(out, local(CodeNoneHeld, w.NoneHeldWithdrawn))
		}
	}
	return out
}

func (w Wording) plan(f safeguard.Flag, on safeguard.Date, withdrawn bool) (Line, string) {
	name := w.Plans[f.Plan.String()]
	mothers, office := "", ""
	if f.Mothers {
		mothers = w.Mothers
	}
	if phone := f.Authority.OfficeHoursPhone; phone != "" {
		office = fill(w.OfficeHours, fact{"office_phone", phone})
	}
	facts := []fact{
		{"plan", name}, {"mothers", mothers}, {"start", inWords(f.Start)}, {"end", inWords(f.End)},
		{"authority", f.Authority.Name}, {"emergency_phone", f.Authority.EmergencyDutyPhone}, {"office_hours", office},
	}
	sentence := w.Active
	if f.Ended(on) {
		sentence = w.Ended
	}
	text := fill(sentence, facts...)
	if withdrawn {
		text = w.Withdrawn + text
	}
	code := planCode[f.Plan]
	return Line{code[0], code[1], SNOMED, text, &PlanLine{f, !f.Ended(on), name}}, fill(w.Brief, facts...)
}

// Text is all lines, each on its own.
func (n Notice) Text() string {
	var b strings.Builder
	for i, l := range n.Lines {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(l.Text)
	}
	return b.String()
}

// Plans are the lines about plans.
func (n Notice) Plans() []Line { return plans(n.Lines) }

func plans(lines []Line) []Line {
	var out []Line
	for _, l := range lines {
		if l.Plan != nil {
			out = append(out, l)
		}
	}
	return out
}

// clipped is s with so many characters at most, the last of them telling that
// there were more.
func clipped(s string, most int) string {
	if len(s) <= most {
		return s
	}
	if runes := []rune(s); len(runes) > most {
		return strings.TrimRight(string(runes[:most-1]), " ,;:") + "…"
	}
	return s
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
	if d.IsZero() {
		return ""
	}
	return time.Date(d.Year, d.Month, d.Day, 0, 0, 0, 0, time.UTC).Format("2 Jan 2006")
}
