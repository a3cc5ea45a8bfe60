package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central"
	"github.com/safeguard-edge/safeguard/central/client"
	"github.com/safeguard-edge/safeguard/central/cpisxml"
	"github.com/safeguard-edge/safeguard/central/store"
	"github.com/safeguard-edge/safeguard/central/upload"
)

type uploadCommand struct {
	caller
	File            string `arg:"" help:"CSV with the columns nhs_number,date_of_birth,plan,start and, if wanted, end,delete; JSON lines with the same members; or the national XML (REPC_MT000002GB01). - is standard input."`
	Format          string `enum:",csv,jsonl,xml" default:"" help:"csv, jsonl or xml; without it, what the file begins with tells."`
	Snapshot        bool   `help:"The file holds all flags that the authority has: one that is held and is not in it is ended today."`
	Sequence        int64  `placeholder:"N" help:"The authority's running number of its uploads, from 1, by which a repeat is known and a gap is noticed. The national XML has its own."`
	Acknowledgement string `type:"path" placeholder:"FILE" help:"A new file to write the national acknowledgement (REPC_MT000003GB01) to, for the national XML."`
	JSON            bool   `name:"json" help:"Write the report as JSON."`
}

func (c *uploadCommand) run(ctx context.Context) (code int, err error) {
	file := central.File{Path: c.File, Format: upload.Format(c.Format), Snapshot: c.Snapshot, Sequence: c.Sequence, Acknowledgement: c.Acknowledgement}
	bar := &progress{quiet: !terminal(os.Stderr)}
	report, err := central.Upload(ctx, c.to(), file, bar.show)
	bar.clear()
	// A file that is none has a report too, for whoever reads JSON.
	if report.State != "" && (err == nil || c.JSON) {
		err = errors.Join(err, central.WriteReport(os.Stdout, c.File, report, c.JSON))
	}
	return codeOf(report), err
}

type reportCommand struct {
	caller
	ID       string `arg:"" optional:"" help:"The centre's name for the upload, as its report has it."`
	Sequence int64  `placeholder:"N" help:"The authority's own number of the upload, instead."`
	JSON     bool   `name:"json" help:"Write JSON."`
}

func (c *reportCommand) run(ctx context.Context) (code int, err error) {
	report, err := central.UploadReport(ctx, c.to(), c.ID, c.Sequence)
	if err != nil {
		return 0, err
	}
	return codeOf(report), central.WriteReport(os.Stdout, "line", report, c.JSON)
}

func codeOf(r client.Report) int {
	switch {
	case r.State == client.Waits:
		return exitWaits
	case r.Rejected > 0:
		return exitRejected
	}
	return 0
}

// progress shows how far an upload is, on a terminal.
type progress struct {
	quiet bool
	shown time.Time
}

func (p *progress) show(sent, applied int) {
	if p.quiet || time.Since(p.shown) < 200*time.Millisecond {
		return
	}
	p.shown = time.Now()
	fmt.Fprintf(os.Stderr, "\r\033[K%d rows sent, %d applied", sent, applied)
}

func (p *progress) clear() {
	if !p.shown.IsZero() {
		fmt.Fprint(os.Stderr, "\r\033[K")
	}
}

func terminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

type uploadsCommand struct {
	List struct {
		operator
		Authority safeguard.ODSCode `help:"Only this local authority's."`
		Waiting   bool              `help:"Only those that wait for a person."`
		Since     time.Duration     `placeholder:"720h" help:"Only those of this long."`
		Limit     int               `default:"100" help:"At most so many; 0 is all."`
		JSON      bool              `name:"json" help:"Write JSON."`
	} `cmd:"" help:"List uploads, the latest first."`
	Show struct {
		operator
		ID   string `arg:"" help:"The upload."`
		JSON bool   `name:"json" help:"Write JSON."`
	} `cmd:"" help:"Show an upload and its report. It names nobody."`
	Release decisionCommand `cmd:"" help:"Apply a snapshot that waits, as if it had come when it did: where a later upload has said something of a flag, that stays."`
	Reject  decisionCommand `cmd:"" help:"End the waiting of a snapshot: nothing of it is applied."`
}

type decisionCommand struct {
	operator
	ID     string `arg:"" help:"The upload."`
	Reason string `required:"" help:"Why. It is kept, and the local authority reads it; it names no patient."`
}

func (c *uploadsCommand) run(ctx context.Context, command string) error {
	switch verb(command) {
	case "list":
		o, err := central.OpenOperator(c.List.Config)
		if err != nil {
			return err
		}
		which := store.UploadFilter{Authority: c.List.Authority, Limit: c.List.Limit}
		if c.List.Waiting {
			which.State = store.Waits
		}
		if c.List.Since > 0 {
			which.Since = time.Now().Add(-c.List.Since)
		}
		return o.ListUploads(ctx, which, c.List.JSON, os.Stdout)
	case "show":
		o, err := central.OpenOperator(c.Show.Config)
		if err != nil {
			return err
		}
		return o.ShowUpload(ctx, c.Show.ID, c.Show.JSON, os.Stdout)
	case "release":
		return c.Release.run(ctx, true)
	default:
		return c.Reject.run(ctx, false)
	}
}

func (c *decisionCommand) run(ctx context.Context, release bool) error {
	o, err := central.OpenOperator(c.Config)
	if err != nil {
		return err
	}
	return o.DecideUpload(ctx, c.ID, release, c.Reason, os.Stdout)
}

type inactiveCommands struct {
	Export struct {
		caller
		Format      string            `enum:"csv,json,cpis-xml" default:"csv" help:"csv, json or cpis-xml (REPC_MT000005GB01)."`
		Authority   safeguard.ODSCode `help:"For cpis-xml: the local authority's code."`
		Name        string            `help:"For cpis-xml: its name."`
		Output      string            `type:"path" placeholder:"FILE" help:"A new file to write; standard output without it. It names patients."`
		Acknowledge bool              `help:"Acknowledge what was written: it is not given again."`
	} `cmd:"" help:"Write them, with their NHS numbers. Nothing is said of which number has taken another's place: a demographic service tells."`
	Ack struct {
		caller
		IDs []string `arg:"" name:"id" help:"What to take over."`
	} `cmd:"" help:"Acknowledge them: they are not given again."`
}

func (c *inactiveCommands) run(ctx context.Context, command string) error {
	if verb(command) == "ack" {
		return central.AcknowledgeInactive(ctx, c.Ack.to(), c.Ack.IDs, os.Stdout)
	}
	e := c.Export
	if e.Format == string(central.AsCPIS) && (e.Authority.IsZero() || e.Name == "") {
		return errors.New("inactive-numbers export: cpis-xml names its recipient, want --authority and --name")
	}
	var ids []string
	err := newFile(e.Output, func(out io.Writer) (err error) {
		ids, err = central.ExportInactive(ctx, e.to(), central.ExportFormat(e.Format), cpisxml.Organisation{Code: e.Authority, Name: e.Name}, out)
		return err
	})
	if err != nil || !e.Acknowledge || len(ids) == 0 {
		return err
	}
	// Only once what was written is there.
	return central.AcknowledgeInactive(ctx, e.to(), ids, os.Stderr)
}

type demographicsCommand struct {
	Import struct {
		operator
		File string `arg:"" type:"path" help:"CSV with the columns nhs_number,standing (not-found, inactive, superseded or sensitive); it takes the place of the list before."`
	} `cmd:"" help:"Import a list. Uploads are checked against it, and local authorities that hold flags under a number that is not in use any more are told."`
}

func (c *demographicsCommand) run(ctx context.Context) error {
	o, err := central.OpenOperator(c.Import.Config)
	if err != nil {
		return err
	}
	return o.ImportDemographics(ctx, c.Import.File, os.Stdout)
}

type eraseCommand struct {
	operator
	Reason string `required:"" help:"Why. The audit keeps it; it names no patient."`
}

func (c *eraseCommand) run(ctx context.Context) error {
	o, err := central.OpenOperator(c.Config)
	if err != nil {
		return err
	}
	if terminal(os.Stdin) {
		fmt.Fprint(os.Stderr, "NHS number of the person: ")
	}
	return o.Erase(ctx, os.Stdin, c.Reason, os.Stdout)
}

type retentionCommands struct {
	Run struct {
		operator
		DryRun bool `help:"Remove nothing; say how much would be."`
		JSON   bool `name:"json" help:"Write JSON."`
	} `cmd:"" help:"Remove now what is older than the configuration has it kept."`
	Report struct {
		operator
		Limit int  `default:"30" help:"The latest so many runs."`
		JSON  bool `name:"json" help:"Write JSON."`
	} `cmd:"" help:"Say what was removed when."`
}

func (c *retentionCommands) run(ctx context.Context, command string) error {
	if verb(command) == "report" {
		o, err := central.OpenOperator(c.Report.Config)
		if err != nil {
			return err
		}
		return o.ReportRetention(ctx, c.Report.Limit, c.Report.JSON, os.Stdout)
	}
	o, err := central.OpenOperator(c.Run.Config)
	if err != nil {
		return err
	}
	return o.Retain(ctx, central.Retaining{DryRun: c.Run.DryRun, JSON: c.Run.JSON}, os.Stdout)
}
