package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central"
	"github.com/safeguard-edge/safeguard/central/cpisxml"
	"github.com/safeguard-edge/safeguard/central/webhook"
)

type notificationCommands struct {
	List struct {
		caller
		JSON   bool `name:"json" help:"Write JSON."`
		Reveal bool `help:"Show NHS numbers and dates of birth in full."`
		Limit  int  `help:"At most so many; 0 is all."`
	} `cmd:"" help:"List the notifications that wait for the local authority."`
	Pull struct {
		caller
		Into   string        `required:"" type:"path" placeholder:"FOLDER" help:"Where the files go. They name patients."`
		Format string        `enum:"csv,json" default:"csv" help:"csv or json."`
		Follow time.Duration `placeholder:"5s" help:"Go on, looking again after each pause of this length, until it is told to stop."`
	} `cmd:"" help:"Take over what waits, into files: what is written is acknowledged once it is on disk. Writes the path of each file."`
	Export struct {
		caller
		Format    string            `enum:"csv,json,cpis-xml" default:"csv" help:"csv, json or cpis-xml (REPC_MT000004GB01), which has no corrections."`
		Output    string            `type:"path" placeholder:"FILE" help:"A new file to write; standard output without it. It names patients."`
		Authority safeguard.ODSCode `help:"For cpis-xml: the local authority's code."`
		Name      string            `help:"For cpis-xml: its name."`
		ASID      string            `name:"asid" placeholder:"000000000000" help:"For cpis-xml: the accredited system id that stands for the centre, twelve digits."`
		RoleCode  string            `placeholder:"NR0050" help:"For cpis-xml: the job role of whoever answers for a lookup; without it no person is named."`
		Upload    string            `default:"0" help:"For cpis-xml: the sequence number of an upload, which stands in a notification that does not say which upload its flag came from."`
	} `cmd:"" help:"Write what waits, and acknowledge nothing."`
	Ack struct {
		caller
		IDs []string `arg:"" optional:"" name:"id" help:"What to take over."`
		All bool     `help:"Take over everything that waits."`
	} `cmd:"" help:"Acknowledge notifications: they are not given again."`
}

func (c *notificationCommands) run(ctx context.Context, command string) error {
	switch verb(command) {
	case "list":
		how := central.Listing{JSON: c.List.JSON, Reveal: c.List.Reveal, Limit: c.List.Limit}
		return central.ListNotifications(ctx, c.List.to(), how, os.Stdout)
	case "pull":
		how := central.Pull{Into: c.Pull.Into, Follow: c.Pull.Follow, NotificationFormat: central.NotificationFormat{ExportFormat: central.ExportFormat(c.Pull.Format)}}
		return central.PullNotifications(ctx, c.Pull.to(), how, os.Stdout)
	case "export":
		return c.export(ctx)
	default:
		return central.AcknowledgeNotifications(ctx, c.Ack.to(), c.Ack.IDs, c.Ack.All, os.Stdout)
	}
}

var asid = regexp.MustCompile(`^[0-9]{12}$`)

func (c *notificationCommands) export(ctx context.Context) error {
	e := c.Export
	format := central.NotificationFormat{ExportFormat: central.ExportFormat(e.Format)}
	if format.ExportFormat == central.AsCPIS {
		if e.Authority.IsZero() || e.Name == "" || !asid.MatchString(e.ASID) {
			return errors.New("notifications export: cpis-xml names recipient and system, want --authority, --name and --asid of twelve digits")
		}
		format.National = central.AccessExport{
			Recipient: cpisxml.Organisation{Code: e.Authority, Name: e.Name}, ASID: e.ASID, RoleCode: e.RoleCode, Upload: e.Upload,
		}
	}
	return newFile(e.Output, func(out io.Writer) error {
		left, err := central.ExportNotifications(ctx, e.to(), format, out)
		if left > 0 {
			fmt.Fprintf(os.Stderr, "safeguard-central: %d corrections are left out: the national format has none\n", left)
		}
		return err
	})
}

// newFile has write write a file that was not there, and that is not there when it
// fails, or standard output where no path is given.
func newFile(path string, write func(out io.Writer) error) error {
	if path == "" {
		return write(os.Stdout)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("output: %w", err)
	}
	if err := errors.Join(write(f), f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

type accessesCommand struct {
	caller
	Person bool      `help:"Of one person only, whose NHS number is read from standard input."`
	From   time.Time `format:"2006-01-02" placeholder:"YYYY-MM-DD" help:"Recorded on this day (UTC) or later."`
	Until  time.Time `format:"2006-01-02" placeholder:"YYYY-MM-DD" help:"Recorded before this day (UTC)."`
	Format string    `enum:"csv,json" default:"csv" help:"csv, or json for JSON lines."`
	Output string    `type:"path" placeholder:"FILE" help:"A new file to write; standard output without it. It names patients."`
}

func (c *accessesCommand) run(ctx context.Context) error {
	which := central.Accesses{ExportFormat: central.ExportFormat(c.Format), From: c.From, Until: c.Until}
	if c.Person {
		if terminal(os.Stdin) {
			fmt.Fprint(os.Stderr, "NHS number of the person: ")
		}
		text, err := io.ReadAll(io.LimitReader(os.Stdin, 100))
		if err != nil {
			return fmt.Errorf("accesses: %w", err)
		}
		if which.Number, err = safeguard.ParseNHSNumber(strings.TrimSpace(string(text))); err != nil {
			return fmt.Errorf("accesses: standard input: %w", err)
		}
	}
	return newFile(c.Output, func(out io.Writer) error { return central.ListAccesses(ctx, c.to(), which, out) })
}

type webhookCommands struct {
	Secret struct {
		File string `arg:"" type:"path" help:"A new file, readable by its owner only. Give its line to the local authority on a safe way."`
	} `cmd:"" help:"Make a secret that signs. To change one, put the new one into the file as a second line, and take the old one out when the receiver knows the new."`
	Test struct {
		operator
		Authority safeguard.ODSCode `arg:"" help:"The local authority's code."`
	} `cmd:"" help:"Send a request of the type test, which is about nobody."`
}

func (c *webhookCommands) run(ctx context.Context, command string) error {
	if verb(command) == "secret" {
		return newFile(c.Secret.File, func(out io.Writer) error {
			_, err := fmt.Fprintln(out, webhook.NewSecret())
			return err
		})
	}
	o, err := central.OpenOperator(c.Test.Config)
	if err != nil {
		return err
	}
	return o.TestWebhook(ctx, c.Test.Authority, os.Stdout)
}
