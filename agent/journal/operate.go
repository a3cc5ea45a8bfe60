package journal

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Request is what an operator asks of the journal.
type Request struct {
	Do     Verb   `json:"do"`
	Filter Filter `json:"filter"`
	Reveal bool   `json:"reveal,omitempty"`  // show what is about a person
	DryRun bool   `json:"dry_run,omitempty"` // say what a change would do
}

// Verb is what is to be done.
type Verb string

// The verbs. Those in the second group change what they name.
const (
	List   Verb = "list"
	Show   Verb = "show"
	Counts Verb = "stats"
	Audits Verb = "audit"

	Replay  Verb = "replay"    // process an entry, or send an alert, again
	PutOff  Verb = "set-aside" // keep what waits for a person
	Release Verb = "release"   // let what was set aside wait again
)

// Filter names entries or, with a sink or by their ids, outbox items.
type Filter struct {
	IDs        []string  `json:"ids,omitempty"` // 17 for an entry, i17 for an item
	Since      time.Time `json:"since,omitzero"`
	Until      time.Time `json:"until,omitzero"`
	State      string    `json:"state,omitempty"`
	Feed       string    `json:"feed,omitempty"`
	Sink       string    `json:"sink,omitempty"` // or lookups, or any
	ControlID  string    `json:"control_id,omitempty"`
	Attendance string    `json:"attendance,omitempty"`
	Limit      int       `json:"limit,omitempty"` // 0 for no limit
}

// Result is one line of an answer; one field is set.
type Result struct {
	Row     *Row     `json:"row,omitempty"`
	Stats   *Report  `json:"stats,omitempty"`
	Audit   *Audit   `json:"audit,omitempty"`
	Summary *Summary `json:"summary,omitempty"` // the last line
}

// Summary counts the rows of an answer.
type Summary struct {
	Matched int  `json:"matched"`
	Changed int  `json:"changed"`
	Skipped int  `json:"skipped"`
	More    bool `json:"more,omitempty"` // the limit left some out
}

// Operate does what an operator asks for, while the journal is at work, and
// sends the results. What is asked is written into the audit before anything is
// sent or changed. It is a handler of the control channel; who is whom the
// system says the operator to be.
func (j *Journal) Operate(ctx context.Context, who string, args json.RawMessage, send func(any) error) error {
	var r Request
	d := json.NewDecoder(bytes.NewReader(args))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return fmt.Errorf("read request: %w", err)
	}
	o := operation{Journal: j, Request: r, who: who, send: func(r Result) error { return send(r) }}
	if err := o.check(); err != nil {
		return err
	}
	switch r.Do {
	case List, Show:
		return o.list(ctx)
	case Replay, PutOff, Release:
		return o.change(ctx)
	case Counts:
		return o.stats(ctx)
	case Audits:
		return o.audits(ctx)
	}
	return fmt.Errorf("%q: want one of list, show, replay, set-aside, release, stats, audit", r.Do)
}

// operation is a request under way.
type operation struct {
	*Journal
	Request
	who  string
	send func(Result) error

	selection selection
	summary   Summary
}

// check refuses what is not meant: a change of everything, say.
func (o *operation) check() error {
	f := o.Filter
	if (o.Do == Replay || o.Do == PutOff || o.Do == Release) && len(f.IDs) == 0 && f.Since.IsZero() && f.State == "" && f.ControlID == "" && f.Attendance == "" {
		return fmt.Errorf("%s: want ids, a time, a state, a control id or an attendance: not everything at once", o.Do)
	}
	if o.Do == Show && len(f.IDs) == 0 {
		return errors.New("show: want an id")
	}
	var err error
	o.selection, err = o.selects(f)
	return err
}

// what describes the request in the audit. A control id is the hospital's own,
// so it is left out: the rows tell what it led to.
func (o *operation) what() string {
	w := []string{string(o.Do)}
	add := func(flag string, set bool, value string) {
		if set {
			w = append(w, strings.TrimSuffix("--"+flag+" "+value, " "))
		}
	}
	f := o.Filter
	add("reveal", o.Reveal, "")
	add("dry-run", o.DryRun, "")
	add("since", !f.Since.IsZero(), f.Since.UTC().Format(time.RFC3339))
	add("until", !f.Until.IsZero(), f.Until.UTC().Format(time.RFC3339))
	add("state", f.State != "", f.State)
	add("feed", f.Feed != "", f.Feed)
	add("sink", f.Sink != "", f.Sink)
	add("control-id", f.ControlID != "", "…")
	add("attendance", f.Attendance != "", f.Attendance)
	return strings.Join(w, " ")
}

// page is how many rows are read, audited and sent together.
const page = 200

// list sends what is selected, the newest first.
func (o *operation) list(ctx context.Context) error {
	err := o.pages(ctx, true, func(rows []found) error {
		err := o.writer.write(ctx, func(t *tx) error { return o.audited(t, o.who, o.what(), ids(rows)) })
		if err != nil {
			return fmt.Errorf("write audit: %w", err)
		}
		for _, f := range rows {
			row := o.row(f, o.Reveal)
			if o.Do == Show {
				o.message(&row, f)
			}
			if err := o.send(Result{Row: &row}); err != nil {
				return err
			}
		}
		return nil
	})
	return o.conclude(ctx, err)
}

// pages reads what is selected, page by page, so that no long read keeps the
// journal's log from being reused.
func (o *operation) pages(ctx context.Context, newest bool, do func([]found) error) error {
	for left := o.Filter.Limit; ; {
		most := page
		if left > 0 {
			most = min(most, left)
		}
		rows, err := o.find(ctx, &o.selection, newest, most+1)
		if err != nil {
			return err
		}
		more := len(rows) > most
		rows = rows[:min(len(rows), most)]
		if len(rows) == 0 {
			return nil
		}
		o.summary.Matched += len(rows)
		if err := do(rows); err != nil {
			return err
		}
		if left > 0 {
			if left -= len(rows); left == 0 {
				o.summary.More = more
				return nil
			}
		}
		if !more {
			return nil
		}
	}
}

// conclude sends the summary. What matched nothing is in the audit too.
func (o *operation) conclude(ctx context.Context, err error) error {
	if err == nil && o.summary.Matched == 0 {
		err = o.writer.write(ctx, func(t *tx) error { return o.audited(t, o.who, o.what(), "none") })
	}
	if err != nil {
		return err
	}
	return o.send(Result{Summary: &o.summary})
}

func (o *operation) stats(ctx context.Context) error {
	if err := o.writer.write(ctx, func(t *tx) error { return o.audited(t, o.who, o.what(), "none") }); err != nil && o.guard.intake(0) == nil {
		return err // while the journal is in doubt, its state may be asked for all the same
	}
	s, err := o.Stats(ctx)
	if err != nil {
		return err
	}
	r := s.report(o.now())
	return o.send(Result{Stats: &r})
}
