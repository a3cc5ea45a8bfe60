// Command safeguard-central is the flag service, and what its operators and
// local authorities do with it.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	_ "time/tzdata" // Windows has no time zones of its own

	"github.com/alecthomas/kong"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central"
	"github.com/safeguard-edge/safeguard/central/identity"
	"github.com/safeguard-edge/safeguard/control"
	"github.com/safeguard-edge/safeguard/installer"
	"github.com/safeguard-edge/safeguard/logging"
)

// version is set when the program is built.
var version = "development"

// The exit codes.
const (
	exitFailed   = 1
	exitRejected = 3 // some rows of an upload
	exitBroken   = 4 // the audit does not verify
	exitWaits    = 5 // an upload waits for a person
	exitFaults   = 6 // a system does not conform
)

var service = installer.Service{
	Name:        "safeguard-central",
	WindowsName: "SafeguardCentral",
	DisplayName: "Safeguard central",
	Description: "Flag service: child protection flags in, answers and notifications out",
	Config:      "central.yaml",
	Shred:       central.DestroyKeys,
}

type commands struct {
	Run struct {
		Config  string `required:"" type:"path" placeholder:"FILE" help:"The configuration, YAML."`
		Service bool   `hidden:"" help:"A service manager has started this."`
	} `cmd:"" help:"Run the flag service until it is told to stop."`

	Config configCommands `cmd:"" help:"Look at the configuration file, write one, or have the running centre take it."`

	Log control.LogCommands `cmd:"" help:"Look at the running centre's log, and have it say more for a while."`

	Upload  uploadCommand  `cmd:"" help:"Upload a local authority's flags. Exit code 0: all rows loaded, 3: some were rejected, 5: it waits for a person at the centre, 1: failed, nothing is changed."`
	Report  reportCommand  `cmd:"" help:"Get the report of an earlier upload again. Exit codes as for upload."`
	Uploads uploadsCommand `cmd:"" help:"What local authorities have uploaded, and what waits for a person."`

	InactiveNumbers inactiveCommands `cmd:"" name:"inactive-numbers" help:"NHS numbers that a local authority holds flags under and that are not in use any more."`

	Notifications notificationCommands `cmd:"" help:"Who attended where, for a local authority."`
	Accesses      accessesCommand      `cmd:"" help:"Who accessed the records of the persons for whom the local authority holds flags, told and taken over or not."`
	Webhook       webhookCommands      `cmd:"" help:"Pushing notifications to local authorities."`

	Conformance conformanceCommand `cmd:"" help:"Prove a local authority's system against a centre that is made for it. Exit code 0: it conforms, 6: it does not, 1: failed."`

	DevCA struct {
		Dir       string              `arg:"" type:"path" help:"Folder for the certificates; a CA that is there is used."`
		Agent     []safeguard.ODSCode `placeholder:"RX1" help:"Organisations that get a certificate for an agent."`
		Authority []safeguard.ODSCode `placeholder:"806" help:"Local authorities that get a certificate."`
		Host      []string            `placeholder:"NAME" help:"Names or addresses the centre is called by, besides localhost."`
	} `cmd:"" name:"dev-ca" help:"Make certificates for development and tests. Not for real patients."`

	Enrol       enrolCommands       `cmd:"" help:"Give agents, local authorities' systems and operators their first certificate."`
	Certificate certificateCommands `cmd:"" help:"Certificates that are in use, and their end."`
	CA          caCommands          `cmd:"" name:"ca" help:"The authority that issues certificates."`

	Site      siteCommands      `cmd:"" help:"Places that may ask."`
	Operator  operatorCommands  `cmd:"" help:"Who may sign in to the centre's pages by an account of its own."`
	Staff     staffCommands     `cmd:"" help:"Which members of staff are signed in, and ending that."`
	Authority authorityCommands `cmd:"" help:"Local authorities that hold flags."`
	Audit     auditCommands     `cmd:"" help:"Who looked at whose flags, and who did what to the centre."`

	Fleet fleetCommands `cmd:"" help:"How the agents, sites and local authorities are, and what is wrong with them."`

	Demographics demographicsCommand `cmd:"" help:"What a demographic service says of NHS numbers."`
	Erase        eraseCommand        `cmd:"" help:"Remove all that is kept about a person."`
	Retention    retentionCommands   `cmd:"" help:"What is older than it is to be kept."`

	Check checkCommand `cmd:"" help:"Look at everything that the centre depends on, and say what is wrong and what to do. Exit code 0: all passed, 6: warnings, 1: something fails."`

	Backup  backupCommand  `cmd:"" help:"Write a backup of the store, while the centre runs. The keys are not in it: back them up elsewhere."`
	Restore restoreCommand `cmd:"" help:"Put a backup in the place of the store, while no centre runs, under the keys that it was written under."`

	Service installer.Commands `cmd:"" help:"Run the centre as a service of this system."`

	Version struct{} `cmd:"" help:"Say which version this is."`
}

// caller are the flags of every command that speaks for a local authority.
type caller struct {
	Server string `required:"" placeholder:"HOST:PORT" help:"Where the centre listens."`
	Cert   string `required:"" type:"path" placeholder:"FILE" help:"The local authority's certificate, PEM."`
	Key    string `required:"" type:"path" placeholder:"FILE" help:"Its key, PEM."`
	CA     string `required:"" name:"ca" type:"path" placeholder:"FILE" help:"Certificate of the authority that issued the centre's."`
}

func (c caller) to() central.Caller {
	return central.Caller{Server: c.Server, Certificate: c.Cert, Key: c.Key, CA: c.CA}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var c commands
	line := kong.Parse(&c, kong.Name("safeguard-central"), kong.Description("The flag service of Safeguard."),
		kong.Exit(func(code int) {
			if code != 0 {
				code = exitFailed // kong has its own for a command line it can not read
			}
			os.Exit(code)
		}))
	var code int
	var err error
	if words := strings.Fields(line.Command()); words[0] == "service" || words[0] == "log" || slices.Equal(words[:min(2, len(words))], []string{"config", "reload"}) {
		err = line.Run(service, control.Centre)
	} else {
		code, err = do(ctx, line.Command(), &c)
	}
	var state *installer.StatusError
	if errors.As(err, &state) {
		fmt.Fprintln(os.Stderr, "safeguard-central: "+err.Error())
		code = state.Code
	} else if err != nil {
		fmt.Fprintln(os.Stderr, "safeguard-central: "+err.Error())
		code = control.ExitCode(err)
	}
	os.Exit(code)
}

// do gives the exit code of a command that did not fail.
func do(ctx context.Context, command string, c *commands) (code int, err error) {
	switch strings.Fields(command)[0] {
	case "run":
		logs := logging.Start(logging.System{Managed: c.Run.Service, Source: service.WindowsName})
		defer func() { _ = logs.Close() }()
		log := logs.Logger()
		slog.SetDefault(log) // of libraries
		return 0, service.Run(ctx, c.Run.Service, log, func(ctx context.Context, ready installer.Ready) error {
			config, err := central.Load(c.Run.Config)
			if err != nil {
				return err
			}
			return central.Run(ctx, config, log, ready)
		})
	case "config":
		return 0, c.Config.run(strings.Join(strings.Fields(command)[:2], " "))
	case "upload":
		return c.Upload.run(ctx)
	case "report":
		return c.Report.run(ctx)
	case "uploads":
		return 0, c.Uploads.run(ctx, command)
	case "inactive-numbers":
		return 0, c.InactiveNumbers.run(ctx, command)
	case "fleet":
		return c.Fleet.run(ctx, command)
	case "demographics":
		return 0, c.Demographics.run(ctx)
	case "erase":
		return 0, c.Erase.run(ctx)
	case "backup":
		return 0, c.Backup.run(ctx)
	case "check":
		return c.Check.run(ctx)
	case "restore":
		return 0, c.Restore.run(ctx)
	case "retention":
		return 0, c.Retention.run(ctx, command)
	case "notifications":
		return 0, c.Notifications.run(ctx, command)
	case "accesses":
		return 0, c.Accesses.run(ctx)
	case "webhook":
		return 0, c.Webhook.run(ctx, command)
	case "conformance":
		return c.Conformance.run(ctx)
	case "enrol":
		return 0, c.Enrol.run(ctx, command)
	case "certificate":
		return 0, c.Certificate.run(ctx, command)
	case "ca":
		return 0, c.CA.run(ctx, command)
	case "site":
		return 0, c.Site.run(ctx, command)
	case "staff":
		return 0, c.Staff.run(ctx, command)
	case "operator":
		return 0, c.Operator.run(ctx, command)
	case "authority":
		return 0, c.Authority.run(ctx, command)
	case "audit":
		broken, err := c.Audit.run(ctx, command)
		if broken {
			code = exitBroken
		}
		return code, err
	case "dev-ca":
		d := identity.Development{Hosts: c.DevCA.Host, Agents: c.DevCA.Agent, Authorities: c.DevCA.Authority}
		return 0, central.WriteDevelopmentCA(c.DevCA.Dir, d, os.Stdout)
	case "version":
		_, err := fmt.Println("safeguard-central " + version + " " + revision())
		return 0, err
	}
	return 0, fmt.Errorf("unknown command %q", command)
}

// revision is the commit that the program was built from, where that is known.
func revision() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return ""
}
