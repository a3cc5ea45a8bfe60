package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/safeguard-edge/safeguard/agent"
	"github.com/safeguard-edge/safeguard/agent/journal"
	"github.com/safeguard-edge/safeguard/control"
)

// The exit codes of the journal's commands, besides 0 and 1.
const (
	exitNothing    = 3 // nothing matched
	exitNotRunning = 4 // no agent runs, or it does not let this user in
	exitSkipped    = 5 // something that matched was not changed
)

type journalCommands struct {
	List     listEntries   `cmd:"" help:"List entries, or with --sink the alerts for a sink, the newest first. Exit code 0: done, 1: failed, 3: nothing matched, 4: no agent runs or it does not let this user in, 5: some were skipped."`
	Show     showEntry     `cmd:"" help:"Show entries with their messages, or items of a sink. Exit code 0: done, 1: failed, 3: nothing matched, 4: no agent runs or it does not let this user in, 5: some were skipped."`
	Replay   replayEntries `cmd:"" help:"Process entries again, under their own numbers; or with --sink send the same alerts again to that sink. What the EPR was told already is not told twice. Exit code 0: done, 1: failed, 3: nothing matched, 4: no agent runs or it does not let this user in, 5: some were skipped."`
	SetAside putAside      `cmd:"" name:"set-aside" help:"Set aside what waits, so that it blocks nothing and is kept for a person. Exit code 0: done, 1: failed, 3: nothing matched, 4: no agent runs or it does not let this user in, 5: some were skipped."`
	Release  releaseAside  `cmd:"" help:"Let what was set aside wait again. Exit code 0: done, 1: failed, 3: nothing matched, 4: no agent runs or it does not let this user in, 5: some were skipped."`
	Stats    journalStats  `cmd:"" help:"Count what waits, and say whether intake is open. Exit code 0: open, 1: stopped or failed, 4: no agent runs or it does not let this user in."`
	Audit    journalAudit  `cmd:"" help:"List who used these commands, when, and on what. Exit code 0: done, 1: failed, 3: nothing matched, 4: no agent runs or it does not let this user in, 5: some were skipped."`
}

// running names the agent.
type running struct {
	Config string `help:"Configuration file of the agent, which tells where it is." required:"" type:"path" placeholder:"FILE"`
	JSON   bool   `name:"json" help:"One JSON object a line, the summary last."`
}

// chosen names entries or items.
type chosen struct {
	IDs        []string `arg:"" optional:"" name:"id" help:"Number of an entry, such as 17, or of an item, such as i17."`
	Since      moment   `help:"Received or queued since: 2h (ago), 2026-03-14, 2026-03-14T08:00 or with a zone."`
	Until      moment   `help:"Received or queued before."`
	State      string   `help:"One of waiting, settled, ignored, set-aside, late." enum:",waiting,settled,ignored,set-aside,late" default:""`
	Feed       string   `help:"Name of the feed that it came by." placeholder:"NAME"`
	Sink       string   `help:"What is owed or was sent to that sink; lookups or corrections for those that the centre is owed, any for all." placeholder:"NAME"`
	ControlID  string   `name:"control-id" help:"MSH-10 of the message, or with --sink of what is sent." placeholder:"ID"`
	Attendance string   `help:"Id of the attendance." placeholder:"UUID"`
}

func (c chosen) filter(limit int) journal.Filter {
	return journal.Filter{IDs: c.IDs, Since: c.Since.Time, Until: c.Until.Time, State: c.State, Feed: c.Feed, Sink: c.Sink,
		ControlID: c.ControlID, Attendance: c.Attendance, Limit: limit}
}

// moment is a time as an operator gives it.
type moment struct{ time.Time }

// UnmarshalText reads how long ago, or a date with or without time and zone.
func (m *moment) UnmarshalText(text []byte) (err error) {
	s := string(text)
	if ago, err := time.ParseDuration(s); err == nil && ago >= 0 {
		m.Time = time.Now().Add(-ago)
		return nil
	}
	for _, layout := range []string{time.DateOnly, "2006-01-02T15:04", "2006-01-02T15:04:05", "2006-01-02 15:04", time.RFC3339} {
		if m.Time, err = time.ParseInLocation(layout, s, time.Local); err == nil {
			return nil
		}
	}
	return errors.New("want how long ago, such as 2h, or a time such as 2026-03-14T08:00")
}

type listEntries struct {
	chosen
	Limit  int  `help:"At most so many; 0 for all." default:"100"`
	Reveal bool `help:"Show patient data. It is written into the audit that you did."`
	running
}

func (c listEntries) Run() error {
	return c.do(journal.Request{Do: journal.List, Filter: c.filter(c.Limit), Reveal: c.Reveal})
}

type showEntry struct {
	IDs    []string `arg:"" name:"id" help:"Number of an entry, such as 17, or of an item, such as i17."`
	Reveal bool     `help:"Show patient data. It is written into the audit that you did."`
	Raw    bool     `help:"Write the message alone, byte by byte as it came. With --reveal."`
	running
}

func (c showEntry) Run() error {
	if c.Raw && !c.Reveal {
		return errors.New("--raw: want --reveal with it, as it masks nothing")
	}
	return c.ask(journal.Request{Do: journal.Show, Filter: journal.Filter{IDs: c.IDs}, Reveal: c.Reveal}, &printer{out: os.Stdout, json: c.JSON, whole: true, raw: c.Raw})
}

// change is a command that changes what it names.
type change struct {
	chosen
	DryRun bool `name:"dry-run" help:"Say what would be done, and do nothing."`
	running
}

func (c change) change(do journal.Verb) error {
	return c.do(journal.Request{Do: do, Filter: c.filter(0), DryRun: c.DryRun})
}

type replayEntries struct{ change }

func (c replayEntries) Run() error { return c.change.change(journal.Replay) }

type putAside struct{ change }

func (c putAside) Run() error { return c.change.change(journal.PutOff) }

type releaseAside struct{ change }

func (c releaseAside) Run() error { return c.change.change(journal.Release) }

type journalStats struct{ running }

func (c journalStats) Run() error { return c.do(journal.Request{Do: journal.Counts}) }

type journalAudit struct {
	Since moment `help:"Used since: 2h (ago), 2026-03-14, 2026-03-14T08:00 or with a zone."`
	Until moment `help:"Used before."`
	running
}

func (c journalAudit) Run() error {
	return c.do(journal.Request{Do: journal.Audits, Filter: journal.Filter{Since: c.Since.Time, Until: c.Until.Time}})
}

func (r running) do(request journal.Request) error {
	return r.ask(request, &printer{out: os.Stdout, json: r.JSON})
}

// ask asks the running agent, prints what it answers, and exits with what a
// script needs to know.
func (r running) ask(request journal.Request, p *printer) error {
	config, err := agent.LoadConfig(r.Config)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err = control.Call(ctx, control.Address(control.Agent, config.Data), "journal", request, p.take)
	p.flush()
	if err != nil && !errors.Is(err, control.ErrNotRunning) && !errors.Is(err, control.ErrDenied) {
		return err
	}
	if code := p.exit(err); code != 0 {
		if err != nil {
			fmt.Fprintln(os.Stderr, "safeguard-agent:", err)
		}
		os.Exit(code)
	}
	return nil
}

// printer prints results as they come.
type printer struct {
	out   io.Writer
	json  bool
	whole bool // each row in full
	raw   bool // nothing but the message

	table   *tabwriter.Writer
	rows    int
	stopped bool // intake is
	broken  bool // the audit is
	summary *journal.Summary
}

func (p *printer) exit(err error) int {
	switch {
	case err != nil:
		return exitNotRunning
	case p.stopped, p.broken:
		return 1
	case p.summary == nil:
		return 0
	case p.summary.Matched == 0:
		return exitNothing
	case p.summary.Skipped > 0:
		return exitSkipped
	}
	return 0
}

func (p *printer) take(raw json.RawMessage) error {
	var r journal.Result
	if err := json.Unmarshal(raw, &r); err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	p.summary = r.Summary
	p.stopped = p.stopped || r.Stats != nil && r.Stats.Intake != journal.IntakeOpen
	p.broken = p.broken || r.Audit != nil && !r.Audit.Whole
	if p.json {
		_, err := fmt.Fprintf(p.out, "%s\n", raw)
		return err
	}
	switch {
	case r.Row != nil && p.raw:
		_, err := p.out.Write(r.Row.Raw)
		return err
	case r.Row != nil && p.whole:
		return p.show(*r.Row)
	case r.Row != nil:
		return p.line(*r.Row)
	case r.Stats != nil:
		return p.stats(*r.Stats)
	case r.Audit != nil:
		return p.audit(*r.Audit)
	case r.Summary != nil:
		p.end(*r.Summary)
	}
	return nil
}

// tableRows is how many lines share their columns' widths.
const tableRows = 100

// columns writes a line of a table.
func (p *printer) columns(head string, cells ...string) error {
	if p.table == nil {
		p.table = tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
	}
	if p.rows%tableRows == 0 {
		p.flush()
		fmt.Fprintln(p.table, strings.ReplaceAll(head, " ", "\t"))
	}
	p.rows++
	for i := range cells {
		cells[i] = printable(cells[i])
		if cells[i] == "" {
			cells[i] = "-"
		}
	}
	_, err := fmt.Fprintln(p.table, strings.Join(cells, "\t"))
	return err
}

func (p *printer) flush() {
	if p.table != nil {
		_ = p.table.Flush()
	}
}

func (p *printer) line(r journal.Row) error {
	who := ""
	if r.Patient != nil {
		who = strings.Join([]string{r.Patient.Number, r.Patient.Identifier, r.Patient.Name, r.Patient.Born}, " ")
	}
	note := r.Reason
	for _, more := range []string{r.Text, r.Broken, r.Outcome} {
		if more != "" {
			note = more
		}
	}
	if r.Sink != "" {
		version := ""
		if r.Version > 0 {
			version = fmt.Sprintf("%s %d", r.Action, r.Version)
		}
		return p.columns("ID STATE QUEUED SINK ENTRY ALERT CONTROL-ID TRIES CODE ATTENDANCE NOTE PATIENT",
			r.ID, r.State, clock(r.At), r.Sink, fmt.Sprint(r.Entry), version, r.ControlID, fmt.Sprint(r.Tries), r.Code, r.Attendance, note, who)
	}
	return p.columns("ID STATE RECEIVED FEED EVENT CONTROL-ID ATTENDANCE NOTE PATIENT",
		r.ID, r.State, clock(r.At), r.Feed, r.Event, r.ControlID, r.Attendance, note, who)
}

func (p *printer) show(r journal.Row) error {
	var b strings.Builder
	add := func(name, value string) {
		if value != "" && value != "0" {
			fmt.Fprintf(&b, "%-12s %s\n", name, printable(value))
		}
	}
	add("id", r.ID)
	add("state", r.State)
	add("at", clock(r.At))
	add("settled", clock(r.Settled))
	add("feed", r.Feed)
	add("peer", r.Peer)
	add("sink", r.Sink)
	add("entry", fmt.Sprint(r.Entry))
	add("event", r.Event)
	add("control id", r.ControlID)
	add("attendance", r.Attendance)
	add("action", r.Action)
	add("version", fmt.Sprint(r.Version))
	add("due", clock(r.Due))
	add("tries", fmt.Sprint(r.Tries))
	add("code", r.Code)
	add("said", r.Text)
	add("reason", r.Reason)
	add("bytes", fmt.Sprint(r.Bytes))
	add("broken", r.Broken)
	if r.Patient != nil {
		add("nhs number", r.Patient.Number)
		add("identifier", r.Patient.Identifier)
		add("name", r.Patient.Name)
		add("born", r.Patient.Born)
	}
	for _, segment := range r.Message {
		fmt.Fprintf(&b, "  %s\n", printable(segment))
	}
	_, err := fmt.Fprintln(p.out, b.String())
	return err
}

func (p *printer) stats(r journal.Report) error {
	var b strings.Builder
	add := func(name string, value any) { fmt.Fprintf(&b, "%-20s %v\n", name, value) }
	add("intake", printable(r.Intake))
	if !r.Since.IsZero() {
		add("stopped since", clock(r.Since))
	}
	add("waiting", r.Waiting)
	if r.OldestAge != "" {
		add("oldest waiting", r.OldestAge)
	}
	add("set aside", r.SetAside)
	add("entries", r.Messages)
	add("repeats answered", r.Repeats)
	add("control ids reused", r.Reused)
	if r.Late > 0 {
		add("alerts too late", r.Late)
	}
	add("delivered", r.Delivered)
	for _, o := range r.Outboxes {
		add("owed to "+printable(o.Name), fmt.Sprintf("%d, oldest %s", o.Waiting, o.OldestAge))
	}
	add("size", fmt.Sprintf("%d MB, %d MB free on the disk", r.SizeMB, r.FreeMB))
	add("journal began", clock(r.Began))
	if !r.Mended.IsZero() {
		add("damaged and mended", fmt.Sprintf("%s, %d rows lost", clock(r.Mended), r.Lost))
	}
	_, err := io.WriteString(p.out, b.String())
	return err
}

func (p *printer) audit(a journal.Audit) error {
	whole := ""
	if !a.Whole {
		whole = "CHANGED, or one before it is missing"
	}
	return p.columns("ID AT WHO WHAT ON CHECK", fmt.Sprint(a.ID), clock(a.At), a.Who, a.What, a.Rows, whole)
}

// end says on the error stream what a table does not.
func (p *printer) end(s journal.Summary) {
	p.flush()
	switch {
	case s.Matched == 0:
		fmt.Fprintln(os.Stderr, "nothing matches")
	case s.Changed+s.Skipped > 0:
		fmt.Fprintf(os.Stderr, "%d matched, %d changed, %d skipped\n", s.Matched, s.Changed, s.Skipped)
	case s.More:
		fmt.Fprintf(os.Stderr, "the newest %d; there are more: see --limit, --since, --until\n", s.Matched)
	}
}

func clock(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format("2006-01-02 15:04:05")
}

// printable keeps what senders write from commanding the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '·'
	}, s)
}
