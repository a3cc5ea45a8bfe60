package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central"
	"github.com/safeguard-edge/safeguard/central/store"
)

// operator are the flags of every command that works on the store itself.
type operator struct {
	Config string `required:"" type:"path" placeholder:"FILE" help:"The centre's configuration. The centre may be running."`
}

type siteCommands struct {
	Add struct {
		operator
		Organisation     safeguard.ODSCode       `arg:"" help:"ODS code, as in the certificates of its agents."`
		Site             safeguard.ODSCode       `arg:"" help:"ODS code."`
		Name             string                  `required:"" help:"The name that local authorities are to read."`
		OrganisationName string                  `help:"The organisation's name."`
		Region           string                  `help:"The region, as operations group sites."`
		Setting          []safeguard.CareSetting `required:"" placeholder:"emergency-department" help:"A type of care that is given there; may be repeated."`
		Accountable      string                  `help:"Who answers for lookups that name nobody."`
		Role             string                  `help:"Their role."`
		sitePolicy
		Stage store.Stage `default:"invited" help:"Of a new one: invited, testing, observe or live."`
	} `cmd:"" help:"Add a site, or change what is said of it."`
	List struct {
		operator
		JSON bool `help:"Write JSON."`
	} `cmd:"" help:"List the sites."`
	Stage struct {
		operator
		Organisation safeguard.ODSCode `arg:"" help:"ODS code."`
		Site         safeguard.ODSCode `arg:"" help:"ODS code."`
		Stage        store.Stage       `arg:"" help:"invited, testing, observe or live."`
	} `cmd:"" help:"Move a site to a stage. One that is invited may not ask."`
}

type sitePolicy struct {
	NoCache    bool          `help:"The site may keep no answer: an outage then means unknown."`
	HeldFresh  time.Duration `placeholder:"24h" help:"How long there is no need to ask again after an answer with flags; 0 is the centre's default."`
	HeldUsable time.Duration `placeholder:"336h" help:"How long such an answer may stand in for the centre."`
	NoneFresh  time.Duration `placeholder:"6h" help:"--held-fresh of an answer without flags."`
	NoneUsable time.Duration `placeholder:"24h" help:"--held-usable of an answer without flags."`
	History    bool          `help:"The site may see who accessed before."`
	Declared   bool          `help:"The site has declared that nobody else notifies local authorities for it: at the stage observe, its unscheduled lookups are recorded and notify."`
}

func (p sitePolicy) policy() store.SitePolicy {
	return store.SitePolicy{
		NoCache: p.NoCache, History: p.History, Declared: p.Declared,
		Held: safeguard.Ages{Fresh: p.HeldFresh, Usable: p.HeldUsable},
		None: safeguard.Ages{Fresh: p.NoneFresh, Usable: p.NoneUsable},
	}
}

func (c *siteCommands) run(ctx context.Context, command string) error {
	switch verb(command) {
	case "add":
		o, err := central.OpenOperator(c.Add.Config)
		if err != nil {
			return err
		}
		return o.AddSite(ctx, store.Site{
			Organisation:     c.Add.Organisation,
			OrganisationName: c.Add.OrganisationName,
			Code:             c.Add.Site,
			Name:             c.Add.Name,
			Region:           c.Add.Region,
			Settings:         c.Add.Setting,
			Accountable:      safeguard.Accountable{Name: c.Add.Accountable, Role: c.Add.Role},
			Policy:           c.Add.policy(),
			Stage:            c.Add.Stage,
		}, os.Stdout)
	case "list":
		o, err := central.OpenOperator(c.List.Config)
		if err != nil {
			return err
		}
		return o.ListSites(ctx, c.List.JSON, os.Stdout)
	default:
		o, err := central.OpenOperator(c.Stage.Config)
		if err != nil {
			return err
		}
		return o.StageSite(ctx, c.Stage.Organisation, c.Stage.Site, c.Stage.Stage, os.Stdout)
	}
}

type authorityCommands struct {
	Add struct {
		operator
		Code               safeguard.ODSCode   `arg:"" help:"ODS code, as in its certificate."`
		Name               string              `required:"" help:"The name that clinicians are to read."`
		GSS                string              `name:"gss" placeholder:"E06000002" help:"Code of the Government Statistical Service."`
		EmergencyDutyPhone string              `required:"" help:"The number to call outside office hours."`
		OfficeHoursPhone   string              `help:"The number to call in office hours."`
		Opened             safeguard.Date      `placeholder:"YYYY-MM-DD" help:"Its first day."`
		Closed             safeguard.Date      `placeholder:"YYYY-MM-DD" help:"The first day of being no more."`
		Successor          []safeguard.ODSCode `help:"Who has followed it; may be repeated."`
		Stage              store.Stage         `default:"invited" help:"Of a new one: invited, testing, observe or live."`
	} `cmd:"" help:"Add a local authority, or change what is said of it."`
	List struct {
		operator
		JSON bool `help:"Write JSON."`
	} `cmd:"" help:"List the local authorities."`
	Stage struct {
		operator
		Code  safeguard.ODSCode `arg:"" help:"ODS code."`
		Stage store.Stage       `arg:"" help:"invited, testing, observe or live."`
	} `cmd:"" help:"Move a local authority to a stage. One that is invited may not upload."`
}

func (c *authorityCommands) run(ctx context.Context, command string) error {
	switch verb(command) {
	case "add":
		o, err := central.OpenOperator(c.Add.Config)
		if err != nil {
			return err
		}
		return o.AddAuthority(ctx, store.Authority{
			Authority: safeguard.Authority{
				Code:               c.Add.Code,
				Name:               c.Add.Name,
				EmergencyDutyPhone: c.Add.EmergencyDutyPhone,
				OfficeHoursPhone:   c.Add.OfficeHoursPhone,
			},
			GSS:        c.Add.GSS,
			Opened:     c.Add.Opened,
			Closed:     c.Add.Closed,
			Successors: c.Add.Successor,
			Stage:      c.Add.Stage,
		}, os.Stdout)
	case "list":
		o, err := central.OpenOperator(c.List.Config)
		if err != nil {
			return err
		}
		return o.ListAuthorities(ctx, c.List.JSON, os.Stdout)
	default:
		o, err := central.OpenOperator(c.Stage.Config)
		if err != nil {
			return err
		}
		return o.StageAuthority(ctx, c.Stage.Code, c.Stage.Stage, os.Stdout)
	}
}

type auditCommands struct {
	Verify struct {
		Config string `type:"path" xor:"what" placeholder:"FILE" help:"The centre's configuration: verify what is in the store."`
		File   string `type:"path" xor:"what" placeholder:"FILE" help:"Verify an export instead."`
		Noted  string `type:"path" placeholder:"FILE" help:"An earlier report (--json), kept elsewhere: what it saw must still be there."`
		JSON   bool   `help:"Write the report as JSON. Keep it elsewhere, for --noted."`
	} `cmd:"" help:"Verify the audit. Exit code 0: it is whole, 4: it is not, 1: failed."`
	Export struct {
		operator
		Output string `type:"path" placeholder:"FILE" help:"A new file to write; standard output without it."`
	} `cmd:"" help:"Write the audit as JSON lines. It names no patient."`
}

func (c *auditCommands) run(ctx context.Context, command string) (broken bool, err error) {
	if verb(command) == "export" {
		return false, c.export(ctx)
	}
	how := central.Verification{JSON: c.Verify.JSON, Noted: c.Verify.Noted}
	if c.Verify.File != "" {
		report, err := central.VerifyAuditExport(c.Verify.File, how, os.Stdout)
		return len(report.Problems) > 0, err
	}
	if c.Verify.Config == "" {
		return false, errors.New("verify audit: want --config for the store, or --file for an export")
	}
	o, err := central.OpenOperator(c.Verify.Config)
	if err != nil {
		return false, err
	}
	report, err := o.VerifyAudit(ctx, how, os.Stdout)
	return len(report.Problems) > 0, err
}

func (c *auditCommands) export(ctx context.Context) (err error) {
	o, err := central.OpenOperator(c.Export.Config)
	if err != nil {
		return err
	}
	if c.Export.Output == "" {
		return o.ExportAudit(ctx, os.Stdout)
	}
	f, err := os.OpenFile(c.Export.Output, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("export audit: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return o.ExportAudit(ctx, f)
}

type backupCommand struct {
	operator
	Output string `required:"" type:"path" placeholder:"FILE" help:"A new file to write."`
}

func (c *backupCommand) run(ctx context.Context) error {
	o, err := central.OpenOperator(c.Config)
	if err != nil {
		return err
	}
	return o.Backup(ctx, c.Output, os.Stdout)
}

// verb is the second word of a command.
func verb(command string) string { return strings.Fields(command)[1] }

type restoreCommand struct {
	operator
	Input   string    `xor:"what" required:"" type:"path" placeholder:"FILE" help:"What backup has written."`
	Already bool      `xor:"what" required:"" help:"The database was put back by other means, or a standby was promoted that was behind: do only what follows from that."`
	AsOf    time.Time `format:"2006-01-02T15:04:05Z07:00" placeholder:"2026-03-01T02:00:00Z" help:"With --already: what the database holds is of then; its last entry in the audit without it."`
}

func (c *restoreCommand) run(ctx context.Context) error {
	o, err := central.OpenOperator(c.Config)
	if err != nil {
		return err
	}
	return o.Restore(ctx, central.Restoring{From: c.Input, Already: c.Already, AsOf: c.AsOf}, os.Stdout)
}
