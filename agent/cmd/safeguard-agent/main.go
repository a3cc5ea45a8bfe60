// Safeguard-agent runs in a hospital: it listens to the attendance feeds, asks the
// central flag service, and puts alerts into the EPR.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"time"
	_ "time/tzdata" // Windows has no time zones of its own

	"github.com/alecthomas/kong"

	"github.com/safeguard-edge/safeguard/agent"
	"github.com/safeguard-edge/safeguard/control"
	"github.com/safeguard-edge/safeguard/installer"
	"github.com/safeguard-edge/safeguard/logging"
)

// version is set by the build.
var version = "dev"

var service = installer.Service{
	Name:        "safeguard-agent",
	WindowsName: "SafeguardAgent",
	DisplayName: "Safeguard agent",
	Description: "Puts child protection flags before the clinician when a patient attends",
	Config:      "agent.yaml",
	Token:       filepath.Join("certificates", agent.TokenLeft),
	Shred:       shred,
}

type commands struct {
	Run     run                 `cmd:"" help:"Run the agent until it is stopped."`
	Check   check               `cmd:"" help:"Look at everything the agent depends on: configuration, keys, disk, folders, certificates, the way to the centre and a round trip, clock, feeds, EPR sinks. Through the agent where it runs. Each line says what was found, and what to do. Nothing is shown to a clinician, and nobody is notified. Exit code 0: all passed, 1: something fails, 4: the agent does not let this user in, 6: warnings only."`
	Status  statusCommands      `cmd:"" help:"Show how the running agent is, in the terminal."`
	Config  configCommands      `cmd:"" help:"Look at the configuration file, write one, and have the running agent take it."`
	Enrol   enrol               `cmd:"" help:"Get the agent's certificate with a token from central operations. The key is made here and never leaves this machine."`
	HL7     hl7Commands         `cmd:"" name:"hl7" help:"Look at HL7 messages as the agent reads them."`
	Feeds   feedCounters        `cmd:"" help:"Show what each feed of the running agent has counted since it started: messages, acknowledgements by code, framing errors by kind, connections. Exit code 0: all take messages, 1: failed, 4: no agent runs or it does not let this user in, 5: a feed is on hold or does not listen."`
	Journal journalCommands     `cmd:"" help:"Look at the journal of the running agent, and act on what is in it."`
	Log     control.LogCommands `cmd:"" help:"Look at the running agent's log, and have it say more for a while."`
	Keys    keyCommands         `cmd:"" help:"Look after the keys that seal what the agent keeps."`
	EPR     eprCommands         `cmd:"" name:"epr" help:"Try what is put into the EPR, and see how its sinks are."`

	Support supportCommands `cmd:"" help:"Gather what whoever helps needs to know."`

	Attendances listAttendances    `cmd:"" help:"List attendances with alerts, those that could not be checked, and those whose alert came too late. Exit code 0: done, 1: failed, 3: nothing to list, 4: no agent runs or it does not let this user in."`
	Attendance  attendanceCommands `cmd:"" help:"Act on one attendance."`

	Service installer.Commands `cmd:"" help:"Run the agent as a service of this system."`

	Version printed `cmd:"" help:"Print the version."`
}

type run struct {
	Config  string `help:"Configuration file." required:"" type:"path" placeholder:"FILE"`
	Service bool   `help:"A service manager has started this." hidden:""`
}

// Run reads the configuration as the service too, so that what is wrong with it
// is said where an administrator looks.
func (r run) Run() error {
	modest()
	logs := logging.Start(logging.System{Managed: r.Service, Source: service.WindowsName})
	defer func() { _ = logs.Close() }()
	log := logs.Logger()
	slog.SetDefault(log) // of libraries
	return service.Run(context.Background(), r.Service, log, func(ctx context.Context, ready installer.Ready) error {
		config, err := agent.LoadOrLastGood(r.Config, log)
		if err != nil {
			return err
		}
		config.Version = version
		return agent.Run(ctx, config, log, ready)
	})
}

// modest has rather more collections than more memory, which a hospital's server has
// other use for. The limit bounds what is collected late, not what is needed: when
// much waits, it costs processor time. The runtime's own variables (GOGC, GOMEMLIMIT)
// come first.
func modest() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(28 << 20)
	}
}

type enrol struct {
	Config    string `help:"Configuration file: it names the organisation and its sites, and where the certificate, its key and whom to trust are put." required:"" type:"path" placeholder:"FILE"`
	TokenFile string `help:"The token. The file is removed when it has done its work." required:"" type:"path" placeholder:"FILE"`
}

func (e enrol) Run() error {
	config, err := agent.LoadConfig(e.Config)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	leaf, err := config.Enrol(ctx, e.TokenFile)
	if err != nil {
		return err
	}
	fmt.Printf("enrolled as %s, until %s; the agent renews it by itself\n", leaf.URIs[0], leaf.NotAfter.UTC().Format(time.RFC3339))
	return nil
}

type printed struct{}

func (printed) Run() error {
	fmt.Println("safeguard-agent", version)
	return nil
}

func main() {
	var c commands
	parser := kong.Must(&c, kong.Name("safeguard-agent"), kong.UsageOnError(), kong.Exit(os.Exit),
		kong.Description("Puts child protection flags before the clinician when a patient attends."))
	command, err := parser.Parse(os.Args[1:])
	parser.FatalIfErrorf(err)
	if err := command.Run(service, control.Agent); err != nil {
		fmt.Fprintln(os.Stderr, "safeguard-agent:", err)
		var state *installer.StatusError
		if errors.As(err, &state) {
			os.Exit(state.Code)
		}
		os.Exit(control.ExitCode(err))
	}
}
