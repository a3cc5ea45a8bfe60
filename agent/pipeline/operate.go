package pipeline

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/agent/journal"
	"github.com/safeguard-edge/safeguard/hl7adapter/adt"
)

// Request is what an operator asks of the attendances.
type Request struct {
	Do     Verb      `json:"do"`
	Since  time.Time `json:"since,omitzero"` // of a list
	Until  time.Time `json:"until,omitzero"`
	All    bool      `json:"all,omitempty"` // also those that need nobody's eye
	Reveal bool      `json:"reveal,omitempty"`
	ID     string    `json:"id,omitempty"`     // to be closed
	Reason string    `json:"reason,omitempty"` // why
}

// Verb is what is to be done.
type Verb string

// The verbs.
const (
	List  Verb = "list"
	Close Verb = "close" // end the asking about an attendance that is unknown
)

// Row is an attendance as the safeguarding lead is shown it. Patient and Plans are
// there only when they are revealed.
type Row struct {
	ID       string    `json:"id"`
	Needs    string    `json:"needs,omitempty"` // why it is listed
	Begun    time.Time `json:"begun"`
	Finished time.Time `json:"finished,omitzero"`
	State    string    `json:"state"`
	Stage    string    `json:"stage"`
	Site     string    `json:"site,omitempty"`
	Setting  string    `json:"setting,omitempty"`
	Location string    `json:"location,omitempty"`
	Purpose  string    `json:"purpose,omitempty"`
	Shown    string    `json:"shown,omitempty"`     // in the EPR
	Reason   string    `json:"reason,omitempty"`    // why it is unknown
	NotAsked string    `json:"not_asked,omitempty"` // why nobody is to be asked
	Source   string    `json:"source,omitempty"`    // of the answer
	AsOf     time.Time `json:"as_of,omitzero"`
	Waiting  int       `json:"alerts_waiting,omitempty"`
	SetAside int       `json:"alerts_set_aside,omitempty"`
	Late     int       `json:"alerts_late,omitempty"`
	Observed int       `json:"alerts_observed,omitempty"` // that no clinician saw, as the sink observes
	Closed   string    `json:"closed,omitempty"`          // by whom
	Patient  *Patient  `json:"patient,omitempty"`
	Plans    []string  `json:"plans,omitempty"`
	Why      string    `json:"closed_because,omitempty"`
}

// Patient is who a revealed row is about.
type Patient struct {
	Number string `json:"nhs_number,omitempty"`
	MRN    string `json:"mrn,omitempty"`
	Born   string `json:"born,omitempty"`
}

// Result is one line of an answer; one field is set.
type Result struct {
	Row     *Row     `json:"row,omitempty"`
	Summary *Summary `json:"summary,omitempty"` // the last line
}

// Summary counts the rows, by what they need.
type Summary struct {
	Listed  int `json:"listed"`
	Alerts  int `json:"alerts"`
	Unknown int `json:"unknown"`
	Late    int `json:"late"`
}

// What a row may need.
const (
	needsAlert   = "alert"
	needsUnknown = "unknown"
	needsLate    = "late"
)

// Operate does what an operator asks for, while the pipeline is at work. It is
// written into the audit before anything is sent or changed. It is a handler of
// the control channel; who is whom the system says the operator to be.
func (p *Pipeline) Operate(ctx context.Context, who string, args json.RawMessage, send func(any) error) error {
	var r Request
	d := json.NewDecoder(bytes.NewReader(args))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return fmt.Errorf("read request: %w", err)
	}
	switch r.Do {
	case List:
		return p.list(ctx, who, r, send)
	case Close:
		return p.close(ctx, who, r, send)
	}
	return fmt.Errorf("%q: want list or close", r.Do)
}

// page is how many rows are read, audited and sent together.
const page = 200

func (p *Pipeline) list(ctx context.Context, who string, r Request, send func(any) error) error {
	if r.Until.IsZero() {
		r.Until = time.Now().Add(time.Minute)
	}
	var summary Summary
	for after := int64(0); ; {
		kept, err := p.Journal.Attendances(ctx, r.Since, r.Until, after, page)
		if err != nil {
			return err
		}
		var rows []Row
		var ids []string
		for _, k := range kept {
			after = k.Row
			row, listed := p.row(k, r)
			if !listed {
				continue
			}
			rows, ids = append(rows, row), append(ids, fmt.Sprint("a", k.Row))
			summary.count(row.Needs)
		}
		if err := p.audited(ctx, who, what(r), ids); err != nil {
			return err
		}
		for _, row := range rows {
			if err := send(Result{Row: &row}); err != nil {
				return err
			}
		}
		if len(kept) < page {
			return send(Result{Summary: &summary})
		}
	}
}

// audited notes who asked for what, and the rows that were shown.
func (p *Pipeline) audited(ctx context.Context, who, what string, rows []string) error {
	if len(rows) == 0 {
		rows = []string{"none"}
	}
	return p.Journal.Audited(ctx, who, what, strings.Join(rows, " "))
}

func (s *Summary) count(needs string) {
	s.Listed++
	switch needs {
	case needsAlert:
		s.Alerts++
	case needsUnknown:
		s.Unknown++
	case needsLate:
		s.Late++
	}
}

// what describes the request in the audit. A reason may hold anything, so it is
// kept with the attendance, sealed.
func what(r Request) string {
	w := []string{"attendances"}
	if r.Do == Close {
		return "attendance close " + r.ID + " --reason …"
	}
	if r.All {
		w = append(w, "--all")
	}
	if r.Reveal {
		w = append(w, "--reveal")
	}
	return strings.Join(append(w, "--since", r.Since.UTC().Format(time.RFC3339), "--until", r.Until.UTC().Format(time.RFC3339)), " ")
}

// row is what may be told, and whether it is to be listed.
func (p *Pipeline) row(k journal.Kept, r Request) (Row, bool) {
	if k.Broken {
		return Row{Needs: needsUnknown, Stage: "does not open: the disk changed it"}, true
	}
	a, answer := k.Attendance, k.Record.Answer()
	eligible, rule := p.Rules.Eligible(a)
	row := Row{
		ID: a.ID.String(), Begun: a.Begun, Finished: a.Finished, State: a.State.String(), Stage: k.Stage.String(),
		Site: a.Site.String(), Setting: a.Setting.String(), Location: a.Location, Purpose: a.Purpose.String(),
		Waiting: k.In(journal.Waiting), SetAside: k.In(journal.SetAside), Late: k.In(journal.Late), Closed: k.Closed.Who,
	}
	if a.Sensitive && !r.Reveal {
		row.Location = "hidden"
	}
	for _, sent := range k.Sent {
		if observed(sent) {
			row.Observed++
		}
	}
	if k.Shown.Content.Kind != safeguard.Nothing {
		row.Shown = k.Shown.Content.Kind.String()
	}
	if !eligible {
		row.NotAsked = rule
	} else {
		row.Reason, row.Source, row.AsOf = answer.Reason.String(), answer.Source.String(), answer.AsOf
	}
	if r.Reveal {
		row.Patient = reveal(a)
		for _, f := range k.Shown.Content.Flags {
			row.Plans = append(row.Plans, f.Plan.Title()+", "+f.Authority.Name)
		}
		row.Why = k.Closed.Reason
	}
	during := !a.Begun.Before(r.Since) && a.Begun.Before(r.Until)
	switch {
	case row.Late > 0, learntLate(k):
		row.Needs = needsLate
	case eligible && answer.Status == safeguard.Unknown && a.State != safeguard.Cancelled && a.State != safeguard.Merged && a.State != safeguard.Expected:
		row.Needs = needsUnknown
	case during && (k.Shown.Version > 0 || k.Shown.Generation > 0) && k.Shown.Content.Kind != safeguard.NoneFound:
		row.Needs = needsAlert
	}
	return row, row.Needs != "" || r.All && during
}

func reveal(a safeguard.Attendance) *Patient {
	return &Patient{Number: a.Patient.Number.Reveal(), MRN: a.Patient.MRN.Reveal().Value, Born: a.Patient.Born.Reveal().String()}
}

// learntLate tells whether the centre told of flags only when the attendance was
// over, and nothing was to be shown any more.
func learntLate(k journal.Kept) bool {
	answer := k.Record.Answer()
	return k.Attendance.State == safeguard.Ended && answer.Status == safeguard.Held && answer.AsOf.After(k.Attendance.Finished) &&
		k.Shown.Content.Kind != safeguard.FlagsHeld
}

// close ends the asking about an attendance, because a person has seen to it.
func (p *Pipeline) close(ctx context.Context, who string, r Request, send func(any) error) error {
	id, err := safeguard.ParseAttendanceID(r.ID)
	if err != nil {
		return err
	}
	if strings.TrimSpace(r.Reason) == "" {
		return errors.New("reason: want how the patient was seen to without an answer")
	}
	if err := p.Journal.Audited(ctx, who, what(r), "one attendance"); err != nil {
		return err
	}
	turn := p.order.enter([]string{adt.VisitOrder(id)})
	defer turn.leave()
	if err := turn.wait(ctx); err != nil {
		return err
	}
	err = again(func() error {
		record, known, err := p.Journal.Record(ctx, id)
		if err != nil {
			return err
		}
		eligible, _ := p.Rules.Eligible(record.Attendance)
		switch {
		case !known:
			return errors.New("no attendance has this id")
		case record.Shown.Closed:
			return fmt.Errorf("closed already, by %s", record.Closed.Who)
		case !eligible || record.Answer().Status != safeguard.Unknown || record.Attendance.State == safeguard.Cancelled:
			return errors.New("only one that is unknown can be closed: this one is " + record.Stage.String())
		}
		record.Shown.Closed = true
		record.Closed = journal.Closing{At: time.Now(), Who: who, Reason: r.Reason}
		return p.conclude(ctx, journal.Outcome{}, []*change{{record: record, attendance: record.Attendance, silent: true}})
	})
	if err != nil {
		return err
	}
	return send(Result{Summary: &Summary{Listed: 1}})
}
