package pipeline

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/agent/journal"
	"github.com/safeguard-edge/safeguard/hl7adapter/epr"
)

// ObservedRequest asks what sinks that observe would have shown, and how that
// compares with what the site's present process showed.
type ObservedRequest struct {
	Since   time.Time `json:"since"`
	Until   time.Time `json:"until,omitzero"`
	Sink    string    `json:"sink,omitempty"` // that one only
	Reveal  bool      `json:"reveal,omitempty"`
	Compare bool      `json:"compare,omitempty"`
	Theirs  []Theirs  `json:"theirs,omitempty"`
}

// Theirs is one flag that the present process showed.
type Theirs struct {
	Line   int       `json:"line"` // of the list it is from
	Visit  string    `json:"visit,omitempty"`
	Number string    `json:"nhs_number,omitempty"`
	At     time.Time `json:"at"`
}

// ObservedRow is one attendance. Patient, Visit and Plans are there only when they
// are revealed.
type ObservedRow struct {
	Shown    string    `json:"shown"` // both, ours, theirs; where nothing is compared, ours
	ID       string    `json:"id,omitempty"`
	Begun    time.Time `json:"begun,omitzero"`
	Site     string    `json:"site,omitempty"`
	Setting  string    `json:"setting,omitempty"`
	Location string    `json:"location,omitempty"`
	Kind     string    `json:"kind,omitempty"`     // what would have been shown
	Ours     time.Time `json:"ours,omitzero"`      // when
	Took     float64   `json:"took_s"`             // seconds from the registration until then
	Gone     time.Time `json:"withdrawn,omitzero"` // when it would have been taken away
	Theirs   time.Time `json:"theirs,omitzero"`
	Lead     float64   `json:"lead_s,omitempty"` // seconds by which ours was earlier than theirs; negative where it was later
	Line     int       `json:"line,omitempty"`   // of their list
	Why      string    `json:"why,omitempty"`    // ours would not have been shown
	Patient  *Patient  `json:"patient,omitempty"`
	Visit    string    `json:"visit,omitempty"`
	Plans    []string  `json:"plans,omitempty"`
}

// Who showed what.
const (
	Both       = "both"
	OnlyOurs   = "ours"
	OnlyTheirs = "theirs"
)

// ObservedSummary counts the rows.
type ObservedSummary struct {
	Attendances int     `json:"attendances"` // begun or changed in the time
	Held        int     `json:"held"`        // that would have shown flags
	Unknown     int     `json:"unknown"`     // that would have shown that the check was not completed, and nothing else
	Both        int     `json:"both"`
	Ours        int     `json:"only_ours"`
	Theirs      int     `json:"only_theirs"`
	Repeats     int     `json:"repeats"`       // lines about an attendance that an earlier line is about
	Outside     int     `json:"outside"`       // lines of another time
	Lead        float64 `json:"median_lead_s"` // of both: by how many seconds ours was earlier
}

// ObservedResult is one line of an answer; one field is set.
type ObservedResult struct {
	Row     *ObservedRow     `json:"row,omitempty"`
	Summary *ObservedSummary `json:"summary,omitempty"` // the last line
}

// Observed reports what was observed. It is written into the audit before anything
// is sent. It is a handler of the control channel.
func (p *Pipeline) Observed(ctx context.Context, who string, args json.RawMessage, send func(any) error) error {
	var r ObservedRequest
	d := json.NewDecoder(bytes.NewReader(args))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return fmt.Errorf("read request: %w", err)
	}
	if r.Until.IsZero() {
		r.Until = time.Now().Add(time.Minute)
	}
	c := comparison{Pipeline: p, request: r, matches: make([]match, len(r.Theirs)), only: map[int64]bool{}}
	if err := c.read(ctx); err != nil {
		return err
	}
	c.conclude()
	for rows := range slices.Chunk(c.rows, page) {
		if err := p.audited(ctx, who, r.what(), numbered(rows)); err != nil {
			return err
		}
		for _, row := range rows {
			if err := send(ObservedResult{Row: &row.ObservedRow}); err != nil {
				return err
			}
		}
	}
	if len(c.rows) == 0 {
		if err := p.audited(ctx, who, r.what(), nil); err != nil {
			return err
		}
	}
	return send(ObservedResult{Summary: &c.summary})
}

func (r ObservedRequest) what() string {
	w := []string{"epr observed --since", r.Since.UTC().Format(time.RFC3339), "--until", r.Until.UTC().Format(time.RFC3339)}
	if r.Compare {
		w = append(w, fmt.Sprintf("--compare … (%d lines)", len(r.Theirs)))
	}
	if r.Reveal {
		w = append(w, "--reveal")
	}
	return strings.Join(w, " ")
}

func numbered(rows []*observedRow) []string {
	var all []string
	for _, r := range rows {
		if r.row > 0 {
			all = append(all, fmt.Sprint("a", r.row))
		} else {
			all = append(all, fmt.Sprint("line ", r.Line))
		}
	}
	return all
}

// observedRow is a row with what is not told.
type observedRow struct {
	ObservedRow
	row  int64 // of the attendance in the journal
	held bool
}

// match is the attendance that one of theirs is most likely about.
type match struct {
	found    bool
	distance time.Duration
	row      *observedRow // what would have been shown, if anything
	told     ObservedRow  // of the attendance
	number   int64
	why      string // nothing would have been shown
}

// comparison is a report under way.
type comparison struct {
	*Pipeline
	request ObservedRequest
	rows    []*observedRow
	matches []match
	only    map[int64]bool // attendances that only they showed, by their rows
	summary ObservedSummary
}

// read goes once through the attendances. What their list is about is looked for
// in each.
func (c *comparison) read(ctx context.Context) error {
	visits, numbers := map[string][]int{}, map[string][]int{}
	for i, t := range c.request.Theirs {
		switch {
		case t.At.Before(c.request.Since) || !t.At.Before(c.request.Until):
			c.summary.Outside++
		case t.Visit != "":
			visits[t.Visit] = append(visits[t.Visit], i)
		case t.Number != "":
			numbers[t.Number] = append(numbers[t.Number], i)
		}
	}
	for after := int64(0); ; {
		kept, err := c.Journal.Attendances(ctx, c.request.Since, time.Now().Add(time.Hour), after, page)
		if err != nil {
			return err
		}
		for _, k := range kept {
			after = k.Row
			if k.Broken {
				continue
			}
			c.summary.Attendances++
			row := c.ours(k)
			if row != nil {
				c.rows = append(c.rows, row)
			}
			about := slices.Concat(visits[k.Attendance.Visit.Reveal().Value], numbers[k.Attendance.Patient.Number.Reveal()])
			for _, i := range about {
				c.match(i, k, row)
			}
		}
		if len(kept) < page {
			return nil
		}
	}
}

// ours is what would have been shown first in the time that is asked about: flags,
// or where there were none, that the check was not completed. Nil for nothing.
func (c *comparison) ours(k journal.Kept) *observedRow {
	var first journal.Sent
	var gone time.Time
	for _, s := range k.Sent {
		switch {
		case !observed(s) || c.request.Sink != "" && s.Sink != c.request.Sink || s.Kind == safeguard.NoneFound:
		case s.Action == safeguard.Withdraw:
			gone = s.Queued
		case first.Item == 0, s.Kind == safeguard.FlagsHeld && first.Kind != safeguard.FlagsHeld:
			first, gone = s, time.Time{}
		}
	}
	if first.Item == 0 || first.Queued.Before(c.request.Since) || !first.Queued.Before(c.request.Until) {
		return nil
	}
	row := &observedRow{ObservedRow: c.tell(k), row: k.Row, held: first.Kind == safeguard.FlagsHeld}
	row.Shown, row.Kind, row.Ours, row.Gone = OnlyOurs, first.Kind.String(), first.Queued, gone
	row.Took = max(0, first.Queued.Sub(k.Accepted).Seconds())
	return row
}

// tell is what may be told of the attendance.
func (c *comparison) tell(k journal.Kept) ObservedRow {
	a := k.Attendance
	row := ObservedRow{ID: a.ID.String(), Begun: a.Begun, Site: a.Site.String(), Setting: a.Setting.String(), Location: a.Location}
	if a.Sensitive && !c.request.Reveal {
		row.Location = "hidden"
	}
	if c.request.Reveal {
		row.Patient, row.Visit = reveal(a), a.Visit.Reveal().Value
		for _, f := range k.Shown.Content.Flags {
			row.Plans = append(row.Plans, f.Plan.Title()+", "+f.Authority.Name)
		}
	}
	return row
}

// around is how far from an attendance a flag may have been shown that is about
// it: clocks differ, and some look the child up before it comes.
const around = 12 * time.Hour

// match takes the attendance for what one of theirs is about, if none is nearer.
func (c *comparison) match(i int, k journal.Kept, row *observedRow) {
	a, theirs, m := k.Attendance, c.request.Theirs[i], &c.matches[i]
	if theirs.Visit == "" && (theirs.At.Before(a.Begun.Add(-around)) || theirs.At.After(stay(k.Record, a).EndsBy().Add(around))) {
		return
	}
	distance := theirs.At.Sub(a.Begun).Abs()
	if m.found && m.distance <= distance {
		return
	}
	*m = match{found: true, distance: distance, row: row, told: c.tell(k), number: k.Row}
	if row == nil || !row.held {
		m.row, m.why = nil, c.why(k)
	}
}

// why ours would have shown no flag.
func (c *comparison) why(k journal.Kept) string {
	a, answer := k.Attendance, k.Record.Answer()
	eligible, rule := c.Rules.Eligible(a)
	switch {
	case !eligible:
		return "not asked about: " + rule
	case a.State == safeguard.Cancelled, a.State == safeguard.Merged, a.State == safeguard.Expected:
		return "the attendance is " + a.State.String()
	case answer.Status == safeguard.Unknown:
		return "the check was not completed: " + answer.Reason.String()
	case answer.Status == safeguard.NoneHeld:
		return "the centre holds no flag"
	case k.Shown.Content.Kind == safeguard.FlagsHeld:
		return "no sink that observes was for it, or not in that time"
	}
	return "the flag's time to be shown is over"
}

// conclude puts theirs beside ours.
func (c *comparison) conclude() {
	var leads []float64
	for i, m := range c.matches {
		theirs := c.request.Theirs[i]
		switch {
		case theirs.At.Before(c.request.Since) || !theirs.At.Before(c.request.Until):
		case m.row != nil && m.row.Shown == Both:
			c.summary.Repeats++
		case m.row != nil:
			m.row.Shown, m.row.Theirs, m.row.Line = Both, theirs.At, theirs.Line
			m.row.Lead = theirs.At.Sub(m.row.Ours).Seconds()
			leads = append(leads, m.row.Lead)
		default:
			c.onlyTheirs(theirs, m)
		}
	}
	for _, r := range c.rows {
		switch {
		case r.Shown == OnlyTheirs:
			c.summary.Theirs++
			continue
		case !r.held:
			c.summary.Unknown++
			continue
		case r.Shown == Both:
			c.summary.Both++
		default:
			c.summary.Ours++
		}
		c.summary.Held++
	}
	if slices.Sort(leads); len(leads) > 0 {
		c.summary.Lead = leads[len(leads)/2]
	}
}

func (c *comparison) onlyTheirs(theirs Theirs, m match) {
	if m.found && c.only[m.number] {
		c.summary.Repeats++
		return
	}
	c.only[m.number] = true
	row := &observedRow{ObservedRow: m.told, row: m.number}
	row.Shown, row.Theirs, row.Line, row.Why = OnlyTheirs, theirs.At, theirs.Line, m.why
	if !m.found {
		row.Why = "no registration with this visit or number came by a feed"
	}
	if c.request.Reveal && !m.found {
		row.Patient, row.Visit = &Patient{Number: theirs.Number}, theirs.Visit
	}
	c.rows = append(c.rows, row)
}

func observed(s journal.Sent) bool { return s.State == journal.Settled && s.Code == epr.Observed }
