package statuspage

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/page"
)

// View is a report with what a person wants to know of it first, for the page and
// for the terminal.
type View struct {
	Report    safeguard.Heartbeat
	Look      string // of the whole: well, notice, attention or critical
	Sign      string // the same as a sign
	Verdict   string // in a few words
	Explained string // in a sentence
	Way       []Link
	Timeline  Timeline
	Charts    []page.Chart

	CertificateLeft time.Duration
	Clock           string
}

// Link is a part of the way that a message takes, in its order.
type Link struct {
	Name     string
	Severity safeguard.Severity // of the worst warning that is about it
	Unknown  bool               // it has not been seen yet, which is not the same as well
	Facts    []string
}

// step of the charts.
const step = 30 * time.Minute

// Look sees what matters in what is shown, at a moment in the hospital's zone.
func Look(s Shown, now time.Time) View {
	h := s.Report
	v := View{Report: h, Clock: offset(h.Clock)}
	if !h.Certificate.Until.IsZero() {
		v.CertificateLeft = h.Certificate.Until.Sub(now)
	}
	v.judge()
	v.Way = []Link{v.feeds(now), v.intake(now), v.centre(now), v.epr(now)}
	for i := range v.Way {
		v.Way[i].Unknown = h.State == safeguard.Starting || h.State == safeguard.UnknownAgent
	}
	v.Timeline = timeline(s.Day, now)
	v.Charts = page.Charts("day", "the last 24 hours", page.Day(s.Day, now, step))
	return v
}

// judge says in a few words how the agent is.
func (v *View) judge() {
	worst := v.Report.Worst()
	v.Look, v.Sign = worst.String(), page.Icon(worst)
	if worst == safeguard.NoSeverity {
		v.Look, v.Sign = "well", "✓"
	}
	n := len(v.Report.Warnings)
	switch v.Report.State {
	case safeguard.Failing:
		v.Verdict, v.Explained = "It fails: "+v.Report.Warnings[0].Sentence(), "What is critical needs a person now."
	case safeguard.Degraded:
		v.Verdict, v.Explained = "It works without the centre", "Answers come from the cache with their age, or are unknown; what is owed to the centre is paid when it is back."
		if v.Look == "well" {
			v.Look, v.Sign = safeguard.Attention.String(), page.Icon(safeguard.Attention)
		}
	case safeguard.Working:
		switch worst {
		case safeguard.NoSeverity:
			v.Verdict, v.Explained = "It works", "Messages are taken on, the centre answers, and nothing is wrong."
		case safeguard.Notice:
			v.Verdict, v.Explained = "It works", "There is something to know of below."
		default:
			v.Verdict, v.Explained = "It works; "+count(n, "warning")+" to see to", "A person is needed in office hours."
		}
	case safeguard.Stopping:
		v.Look, v.Sign, v.Verdict, v.Explained = "notice", page.Icon(safeguard.Notice), "It stops", "It was told to; what is not settled is there again at the next start."
	default:
		v.Look, v.Sign, v.Verdict, v.Explained = "notice", page.Icon(safeguard.Notice), "It starts", "It has not seen all its parts yet."
	}
}

// worst is the severity of the worst open warning with one of the codes.
func (v *View) worst(codes ...safeguard.WarningCode) (worst safeguard.Severity) {
	for _, w := range v.Report.Warnings {
		if slices.Contains(codes, w.Code) {
			worst = max(worst, w.Code.Declared().Severity)
		}
	}
	return worst
}

func (v *View) feeds(now time.Time) Link {
	l := Link{Name: "Feeds", Severity: v.worst(safeguard.FeedDown, safeguard.FeedQuiet, safeguard.FeedErrors, safeguard.NumbersMissing)}
	for _, f := range v.Report.Feeds {
		said := "no message yet"
		if !f.LastMessage.IsZero() {
			said = "last message " + Ago(now, f.LastMessage)
		}
		if !f.HeldSince.IsZero() {
			said += ", held back since " + f.HeldSince.In(now.Location()).Format("15:04")
		}
		l.Facts = append(l.Facts, f.Name+": "+said)
	}
	return l
}

func (v *View) intake(now time.Time) Link {
	j := v.Report.Journal
	l := Link{Name: "Journal", Severity: v.worst(safeguard.IntakeStopped, safeguard.JournalDeep, safeguard.JournalOld, safeguard.SetAsideWaiting, safeguard.DiskLow, safeguard.DiskSlow)}
	if j.Stopped != "" {
		l.Facts = append(l.Facts, "no message is taken on: "+j.Stopped)
	}
	l.Facts = append(l.Facts, waiting(now, j.Waiting, "message"))
	if j.SetAside > 0 {
		l.Facts = append(l.Facts, fmt.Sprintf("%d set aside for a person", j.SetAside))
	}
	return l
}

func (v *View) centre(now time.Time) Link {
	h := v.Report
	l := Link{Name: "Centre", Severity: v.worst(safeguard.CentreAway, safeguard.LookupsOwed, safeguard.ChecksNotCompleted, safeguard.CertificateEnded, safeguard.CertificateEnding, safeguard.ClockOff)}
	switch {
	case !h.Centre.Since.IsZero():
		l.Severity = max(l.Severity, safeguard.Attention)
		l.Facts = append(l.Facts, "not reached since "+h.Centre.Since.In(now.Location()).Format("2 Jan 15:04"))
	case h.Centre.Latency > 0:
		l.Facts = append(l.Facts, "answers in "+safeguard.InWords(h.Centre.Latency))
	default:
		l.Facts = append(l.Facts, "not heard from yet")
	}
	if h.Lookups.Length+h.Corrections.Length > 0 {
		l.Facts = append(l.Facts, waiting(now, h.Lookups, "lookup"))
	}
	return l
}

func (v *View) epr(now time.Time) Link {
	l := Link{Name: "EPR", Severity: v.worst(safeguard.SinkDown, safeguard.AlertsUndelivered, safeguard.SinkObserving)}
	for _, s := range v.Report.Sinks {
		said := "no alert yet"
		switch {
		case !s.DownSince.IsZero():
			said = "no answer since " + s.DownSince.In(now.Location()).Format("15:04")
		case s.Error != "":
			said = "did not take the last alert: " + s.Error
		case !s.Took.IsZero():
			said = "last alert taken " + Ago(now, s.Took)
		case !s.Live:
			said = "observes, shows nothing"
		}
		if s.Waiting.Length > 0 {
			said += ", " + waiting(now, s.Waiting, "alert")
		}
		l.Facts = append(l.Facts, s.Name+": "+said)
	}
	return l
}

func waiting(now time.Time, q safeguard.Queue, what string) string {
	age := safeguard.InWords(max(q.Age(now), time.Millisecond))
	switch q.Length {
	case 0:
		return "no " + what + " waits"
	case 1:
		return "1 " + what + " waits, for " + age
	}
	return fmt.Sprintf("%d %ss wait, the oldest for %s", q.Length, what, age)
}

// Ago is how long something is past.
func Ago(now, at time.Time) string {
	if now.Sub(at) < time.Second {
		return "just now"
	}
	return safeguard.InWords(now.Sub(at)) + " ago"
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func offset(c safeguard.ClockHealth) string {
	if c.Measured.IsZero() {
		return "not measured"
	}
	said := "the same"
	if off := c.Offset.Abs().Round(time.Millisecond); off > c.Within.Round(time.Millisecond) {
		said = safeguard.InWords(off) + " ahead"
		if c.Offset > 0 {
			said = safeguard.InWords(off) + " behind"
		}
	}
	return said + ", give or take " + safeguard.InWords(c.Within)
}

// Timeline is the state of the agent over the last day, as it is drawn.
type Timeline struct {
	page.Chart // no more than its size
	Cells      []Cell
	Changes    []Stretch
	Summary    string
}

// Cell is a stretch of the drawing.
type Cell struct {
	Seen       bool
	State      safeguard.AgentState
	Tick       string
	X, Y, W, H int
}

// Last tells whether a label that begins at the cell would not find room.
func (c Cell) Last() bool { return page.Column{X: c.X}.Last() }

// Stretch is a time in which the state was the same.
type Stretch struct{ From, Until, State string }

const cell = 10 * time.Minute

// timeline draws what a state is by its height too, and not by its colour alone.
func timeline(periods []safeguard.Period, now time.Time) (t Timeline) {
	spans := page.Day(periods, now, cell)
	bad, unseen := 0, 0
	for i, s := range spans {
		from, to := i*t.Width()/len(spans), (i+1)*t.Width()/len(spans)
		c := Cell{Seen: s.Seen, State: s.State, Tick: s.Tick, X: from, W: to - from, H: map[safeguard.AgentState]int{safeguard.Failing: 56, safeguard.Degraded: 36}[s.State]}
		if c.H == 0 {
			c.H = 18
		}
		c.Y = 56 - c.H
		t.Cells = append(t.Cells, c)
		state := "not running"
		if s.Seen {
			state = s.State.String()
		}
		switch {
		case !s.Seen:
			unseen++
		case s.State == safeguard.Failing || s.State == safeguard.Degraded:
			bad++
		}
		if n := len(t.Changes); n > 0 && t.Changes[n-1].State == state {
			continue
		}
		if n := len(t.Changes); n > 0 {
			t.Changes[n-1].Until = s.Label
		}
		t.Changes = append(t.Changes, Stretch{From: s.Label, Until: "now", State: state})
	}
	t.Summary = summary(bad, unseen)
	return t
}

func summary(bad, unseen int) string {
	var said []string
	if bad > 0 {
		said = append(said, "Degraded or failing for about "+safeguard.InWords(time.Duration(bad)*cell)+".")
	}
	if unseen > 0 {
		said = append(said, "Not running, or not known, for about "+safeguard.InWords(time.Duration(unseen)*cell)+".")
	}
	if len(said) == 0 {
		return "It worked all day."
	}
	return strings.Join(said, " ")
}
