package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/safeguard-edge/safeguard/agent"
	"github.com/safeguard-edge/safeguard/agent/pipeline"
)

type reconcileEPR struct {
	Sink       string `help:"That sink only." placeholder:"NAME"`
	Attendance string `help:"That attendance only, by its id." placeholder:"ID"`
	Since      moment `help:"Attendances that begun or changed since: 24h (ago), 2026-03-14, 2026-03-14T08:00 or with a zone. All that are kept without it."`
	All        bool   `help:"List those too that were withdrawn, and are gone."`
	Apply      bool   `help:"Repair: send the last version again, or the withdrawal. Without it nothing is changed."`
	Again      bool   `help:"Send again also what is believed to be shown, as after an EPR was brought back from a backup."`
	Unknown    bool   `help:"With --apply: withdraw also what the EPR shows of alerts that the journal does not know. Not where another agent writes to the same EPR."`
	Reveal     bool   `help:"Show who they are. It is written into the audit that you did."`
	running
}

func (c reconcileEPR) Run() error {
	config, err := agent.LoadConfig(c.Config)
	if err != nil {
		return err
	}
	p := &eprPrinter{out: os.Stdout, err: os.Stderr, json: c.JSON, apply: c.Apply}
	request := pipeline.ReconcileRequest{Since: c.Since.Time, Sink: c.Sink, Attendance: c.Attendance, All: c.All, Apply: c.Apply, Again: c.Again, Unknown: c.Unknown, Reveal: c.Reveal}
	if err := operated(config, "reconcile", request, p.take); err != nil {
		return err
	}
	switch s := p.summary; {
	case s.Listed == 0:
		os.Exit(exitNothing)
	case p.wrong > 0:
		os.Exit(exitSkipped)
	}
	return nil
}

// eprPrinter prints rows as they come.
type eprPrinter struct {
	out, err io.Writer
	json     bool
	apply    bool

	table   *tabwriter.Writer
	summary pipeline.EPRSummary
	wrong   int // rows that are not as they should be, and were not repaired
}

func (p *eprPrinter) take(raw json.RawMessage) error {
	var r pipeline.EPRResult
	if err := json.Unmarshal(raw, &r); err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	if r.Row != nil && r.Row.Needs != "" && r.Row.Done != pipeline.Queued && r.Row.Done != pipeline.Withdrawn {
		p.wrong++
	}
	if r.Summary != nil {
		p.summary = *r.Summary
	}
	if p.json {
		_, err := fmt.Fprintf(p.out, "%s\n", raw)
		return err
	}
	switch {
	case r.Row != nil:
		p.line(*r.Row)
	case r.Summary != nil:
		p.end(*r.Summary)
	}
	return nil
}

func (p *eprPrinter) line(r pipeline.EPRRow) {
	if p.table == nil {
		p.table = tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(p.table, "SINK\tEPR SHOWS\tWHAT\tVERSION\tSINCE\tREAD\tNEEDS\tDONE\tOPEN\tSITE\tWHERE\tATTENDANCE\tPATIENT")
	}
	word := map[bool]string{true: "yes", false: "no"}
	version, who := "", ""
	if r.Version > 0 {
		version = fmt.Sprint(r.Version)
	}
	if r.Patient != nil {
		who = strings.TrimSpace(strings.Join([]string{r.Patient.Number, r.Patient.MRN, r.Patient.Born, r.Visit}, " "))
	}
	row(p.table, r.Sink, r.Shows, r.Kind, version, clock(r.Since), word[r.Read], r.Needs, r.Done, word[r.Open], r.Site, r.Location, r.Attendance, who)
}

func (p *eprPrinter) end(s pipeline.EPRSummary) {
	if p.table != nil {
		_ = p.table.Flush()
	}
	fmt.Fprintf(p.err, "%d listed: %d shown, %d not as they should be, %d sent again\n", s.Listed, s.Shown, s.Needs, s.Repaired)
	if s.Needs > 0 && !p.apply {
		fmt.Fprintln(p.err, "nothing was changed: --apply repairs")
	}
}
