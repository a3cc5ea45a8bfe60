package main

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/agent"
	"github.com/safeguard-edge/safeguard/agent/pipeline"
	"github.com/safeguard-edge/safeguard/control"
)

type observedEPR struct {
	Since   moment `help:"Shown since: 24h (ago), 2026-03-14, 2026-03-14T08:00 or with a zone." default:"24h"`
	Until   moment `help:"Shown before."`
	Sink    string `help:"That sink only." placeholder:"NAME"`
	Compare string `help:"What the present process showed: a CSV file with the columns visit or nhs_number, or both, and time, named in its first line." type:"path" placeholder:"FILE"`
	Reveal  bool   `help:"Show who they are, and the plans. It is written into the audit that you did."`
	running
}

func (c observedEPR) Run() error {
	config, err := agent.LoadConfig(c.Config)
	if err != nil {
		return err
	}
	request := pipeline.ObservedRequest{Since: c.Since.Time, Until: c.Until.Time, Sink: c.Sink, Reveal: c.Reveal}
	if c.Compare != "" {
		zone, err := time.LoadLocation(config.TimeZone)
		if err != nil {
			return err
		}
		if request.Theirs, err = theirs(c.Compare, zone); err != nil {
			return fmt.Errorf("read %s: %w", c.Compare, err)
		}
		request.Compare = true
	}
	p := &observedPrinter{out: os.Stdout, err: os.Stderr, json: c.JSON, compare: request.Compare}
	if err := operated(config, "observed", request, p.take); err != nil {
		return err
	}
	p.end()
	if p.rows == 0 {
		os.Exit(exitNothing)
	}
	return nil
}

// operated calls the running agent, until it is interrupted.
func operated(config agent.Config, command string, request any, take func(json.RawMessage) error) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	return control.Call(ctx, control.Address(control.Agent, config.Data), command, request, take)
}

// theirs reads the list of the present process. No error repeats what is in it.
func theirs(file string, zone *time.Location) ([]pipeline.Theirs, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return readTheirs(f, zone)
}

func readTheirs(in io.Reader, zone *time.Location) (all []pipeline.Theirs, err error) {
	r := csv.NewReader(in)
	head, err := r.Read()
	if err != nil {
		return nil, fmt.Errorf("first line: %w", csvError(err))
	}
	column := map[string]int{"visit": -1, "nhs_number": -1, "time": -1}
	for i, name := range head {
		name = strings.ToLower(strings.TrimSpace(strings.TrimPrefix(name, "\ufeff"))) // Excel writes a mark
		if _, wanted := column[name]; wanted {
			column[name] = i
		}
	}
	if column["time"] < 0 || column["visit"] < 0 && column["nhs_number"] < 0 {
		return nil, errors.New("first line: want the names of the columns: time, and visit or nhs_number")
	}
	for {
		fields, err := r.Read()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, csvError(err)
		}
		line, _ := r.FieldPos(0)
		get := func(name string) string {
			if i := column[name]; i >= 0 {
				return strings.TrimSpace(fields[i])
			}
			return ""
		}
		t := pipeline.Theirs{Line: line, Visit: get("visit")}
		if number := get("nhs_number"); number != "" {
			n, err := safeguard.ParseNHSNumber(number)
			if err != nil {
				return nil, fmt.Errorf("line %d: nhs_number: %w", line, err)
			}
			t.Number = n.Reveal()
		}
		if t.Visit == "" && t.Number == "" {
			return nil, fmt.Errorf("line %d: want a visit or an NHS number", line)
		}
		if t.At, err = listedTime(get("time"), zone); err != nil {
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
		all = append(all, t)
	}
}

// csvError is err without what is in the line.
func csvError(err error) error {
	if e := (*csv.ParseError)(nil); errors.As(err, &e) {
		return fmt.Errorf("line %d: %w", e.Line, e.Err)
	}
	return err
}

// listedTime reads what spreadsheets write; without a zone, in the site's.
func listedTime(s string, zone *time.Location) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02 15:04:05", "2006-01-02 15:04", "02/01/2006 15:04:05", "02/01/2006 15:04"} {
		if t, err := time.ParseInLocation(layout, s, zone); err == nil {
			return t, nil
		}
	}
	return time.Time{}, errors.New("time: want one such as 2026-11-02T14:30 or 02/11/2026 14:30")
}

// observedPrinter prints rows as they come.
type observedPrinter struct {
	out, err io.Writer
	json     bool
	compare  bool

	table *tabwriter.Writer
	rows  int
}

func (p *observedPrinter) take(raw json.RawMessage) error {
	var r pipeline.ObservedResult
	if err := json.Unmarshal(raw, &r); err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	if r.Row != nil {
		p.rows++
	}
	if p.json {
		_, err := fmt.Fprintf(p.out, "%s\n", raw)
		return err
	}
	switch {
	case r.Row != nil:
		p.line(*r.Row)
	case r.Summary != nil:
		p.end()
		s := r.Summary
		fmt.Fprintf(p.err, "%d attendances: %d would have shown flags, %d only that the check was not completed\n", s.Attendances, s.Held, s.Unknown)
		if p.compare {
			fmt.Fprintf(p.err, "%d shown by both, %d only by us, %d only by the present process; %d lines repeat another, %d are of another time\n",
				s.Both, s.Ours, s.Theirs, s.Repeats, s.Outside)
			if s.Both > 0 {
				fmt.Fprintf(p.err, "where both did, ours was %s, as the median\n", lead(s.Lead))
			}
		}
	}
	return nil
}

// lead is by how much ours was earlier, in words.
func lead(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second)).Round(time.Second)
	if d < 0 {
		return (-d).String() + " later"
	}
	return d.String() + " earlier"
}

func (p *observedPrinter) line(r pipeline.ObservedRow) {
	if p.table == nil {
		p.table = tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(p.table, "SHOWN BY\tWHAT\tOURS\tAFTER\tTHEIRS\tOURS WAS\tBEGUN\tSITE\tWHERE\tNOTE\tATTENDANCE\tPATIENT")
	}
	var notes []string
	if r.Why != "" {
		notes = append(notes, r.Why)
	}
	if !r.Gone.IsZero() {
		notes = append(notes, "taken away "+clock(r.Gone))
	}
	if r.Line > 0 {
		notes = append(notes, fmt.Sprintf("line %d", r.Line))
	}
	notes = append(notes, r.Plans...)
	after, was, who := "", "", ""
	if !r.Ours.IsZero() {
		after = (time.Duration(r.Took * float64(time.Second))).Round(time.Second).String()
	}
	if r.Shown == pipeline.Both {
		was = lead(r.Lead)
	}
	if r.Patient != nil {
		who = strings.Join(slices.DeleteFunc([]string{r.Patient.Number, r.Patient.MRN, r.Patient.Born, r.Visit}, func(s string) bool { return s == "" }), " ")
	}
	row(p.table, r.Shown, r.Kind, clock(r.Ours), after, clock(r.Theirs), was, clock(r.Begun), r.Site, r.Location, strings.Join(notes, "; "), r.ID, who)
}

// row is a line of a table. What is not there shows as a dash.
func row(w io.Writer, cells ...string) {
	for i, c := range cells {
		if cells[i] = printable(c); c == "" {
			cells[i] = "-"
		}
	}
	fmt.Fprintln(w, strings.Join(cells, "\t"))
}

func (p *observedPrinter) end() {
	if p.table != nil {
		_ = p.table.Flush()
	}
}
