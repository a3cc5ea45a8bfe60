package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/safeguard-edge/safeguard/agent"
	"github.com/safeguard-edge/safeguard/agent/pipeline"
)

type listAttendances struct {
	Today  bool   `help:"Since midnight; so it is without --since." xor:"since"`
	Since  moment `help:"Begun or changed since: 12h (ago), 2026-03-14, 2026-03-14T08:00 or with a zone." xor:"since"`
	Until  moment `help:"Begun or changed before."`
	All    bool   `help:"List those too that need nobody's eye: answered without a flag, or not asked about."`
	Reveal bool   `help:"Show who they are, and the plans. It is written into the audit that you did."`
	running
}

func (c listAttendances) Run() error {
	since := c.Since.Time
	if since.IsZero() {
		now := time.Now()
		since = time.Date(now.Year(), now.Month(), now.Day(), 0, 0, 0, 0, time.Local)
	}
	return c.attendances(pipeline.Request{Do: pipeline.List, Since: since, Until: c.Until.Time, All: c.All, Reveal: c.Reveal})
}

type attendanceCommands struct {
	Close closeAttendance `cmd:"" help:"End the asking about an attendance that could not be checked, because a person has seen to it. Exit code 0: done, 1: failed, 4: no agent runs or it does not let this user in."`
}

type closeAttendance struct {
	ID     string `arg:"" help:"Id of the attendance, as attendances lists it."`
	Reason string `help:"How the patient was seen to without an answer. It is kept with the attendance, with your name." required:""`
	running
}

func (c closeAttendance) Run() error {
	return c.attendances(pipeline.Request{Do: pipeline.Close, ID: c.ID, Reason: c.Reason})
}

// attendances asks the running agent, prints what it answers, and exits with what
// a script needs to know.
func (r running) attendances(request pipeline.Request) error {
	config, err := agent.LoadConfig(r.Config)
	if err != nil {
		return err
	}
	w := &ward{out: os.Stdout, err: os.Stderr, json: r.JSON, closing: request.Do == pipeline.Close}
	err = operated(config, "attendances", request, w.take)
	w.flush()
	if err == nil && w.listed == 0 {
		os.Exit(exitNothing)
	}
	return err
}

// ward prints attendances as they come.
type ward struct {
	out, err io.Writer
	json     bool
	closing  bool

	table  *tabwriter.Writer
	listed int
}

func (w *ward) take(raw json.RawMessage) error {
	var r pipeline.Result
	if err := json.Unmarshal(raw, &r); err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	if r.Summary != nil {
		w.listed = r.Summary.Listed
	}
	if w.json {
		_, err := fmt.Fprintf(w.out, "%s\n", raw)
		return err
	}
	switch {
	case r.Row != nil:
		w.line(*r.Row)
	case r.Summary != nil:
		w.end(*r.Summary)
	}
	return nil
}

func (w *ward) line(r pipeline.Row) {
	if w.table == nil {
		w.table = tabwriter.NewWriter(w.out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w.table, "NEEDS\tBEGUN\tSITE\tWHERE\tSTATE\tSTAGE\tSHOWN\tWHY UNKNOWN\tNOTE\tATTENDANCE\tPATIENT")
	}
	var notes []string
	for _, n := range []struct {
		count int
		text  string
	}{{r.Late, "%d too late to deliver"}, {r.Waiting, "%d not delivered yet"}, {r.SetAside, "%d set aside"}, {r.Observed, "%d not shown, as the sink observes"}} {
		if n.count > 0 {
			notes = append(notes, fmt.Sprintf(n.text, n.count))
		}
	}
	if r.NotAsked != "" {
		notes = append(notes, "not asked: "+r.NotAsked)
	}
	if r.Closed != "" {
		notes = append(notes, "closed by "+r.Closed)
	}
	notes = append(notes, r.Plans...)
	if r.Why != "" {
		notes = append(notes, r.Why)
	}
	who := ""
	if r.Patient != nil {
		who = strings.Join([]string{r.Patient.Number, r.Patient.MRN, r.Patient.Born}, " ")
	}
	cells := []string{r.Needs, clock(r.Begun), r.Site, r.Location, r.State, r.Stage, r.Shown, r.Reason, strings.Join(notes, "; "), r.ID, who}
	for i, c := range cells {
		if cells[i] = printable(c); c == "" {
			cells[i] = "-"
		}
	}
	fmt.Fprintln(w.table, strings.Join(cells, "\t"))
}

func (w *ward) flush() {
	if w.table != nil {
		_ = w.table.Flush()
	}
}

// end says on the error stream what the table does not.
func (w *ward) end(s pipeline.Summary) {
	w.flush()
	switch {
	case w.closing:
		fmt.Fprintln(w.err, "closed")
	case s.Listed == 0:
		fmt.Fprintln(w.err, "nothing to list")
	default:
		fmt.Fprintf(w.err, "%d listed: %d with an alert, %d unknown, %d too late\n", s.Listed, s.Alerts, s.Unknown, s.Late)
	}
}
