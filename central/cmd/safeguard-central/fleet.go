package main

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central"
)

// exitCritical says that a critical warning is open.
const exitCritical = 7

// exitNotDone says that what an agent was asked for is not done, as far as was
// waited.
const exitNotDone = 8

// viewer are the flags of what looks at the fleet, on the machine of the centre or
// from another.
type viewer struct {
	Config string `type:"path" placeholder:"FILE" help:"The centre's configuration, on its machine. The centre may be running."`
	Server string `placeholder:"HOST:PORT" help:"Instead, from another computer: where the centre listens."`
	Cert   string `type:"path" placeholder:"FILE" help:"With --server: the operator's certificate, PEM, as 'enrol certificate' has written it."`
	Key    string `type:"path" placeholder:"FILE" help:"With --server: its key, PEM."`
	CA     string `name:"ca" type:"path" placeholder:"FILE" help:"With --server: whom to trust, PEM."`
}

func (v viewer) open() (central.Viewer, error) {
	asks := []string{v.Server, v.Cert, v.Key, v.CA}
	switch {
	case v.Config != "" && strings.Join(asks, "") == "":
		o, err := central.OpenOperator(v.Config)
		return o.Viewer(), err
	case v.Config == "" && !slices.Contains(asks, ""):
		return central.Caller{Server: v.Server, Certificate: v.Cert, Key: v.Key, CA: v.CA}.Viewer(), nil
	}
	return central.Viewer{}, errors.New("want --config on the machine of the centre, or from another --server, --cert, --key and --ca")
}

type fleetCommands struct {
	List struct {
		viewer
		Words string `arg:"" optional:"" help:"Only sites with these words in their name or codes."`
		JSON  bool   `help:"Write JSON: all of every site, agent and local authority."`
	} `cmd:"" help:"How the sites and local authorities are, what needs a person first. Exit code 0: nothing critical is open, 7: something is, 1: failed."`
	Show struct {
		viewer
		Name string `arg:"" help:"An agent such as RX1/a1, or a site such as RX1/RX101."`
		JSON bool   `help:"Write JSON."`
	} `cmd:"" help:"All of one agent, or of a site's agents: feeds, queues, sinks, versions, and the warnings of the last week."`
	Watch struct {
		viewer
		JSON  bool          `help:"Write JSON, a line each."`
		Every time.Duration `default:"5s" help:"How often to look."`
	} `cmd:"" help:"Write what is open, and then what opens and closes, until it is interrupted."`
	Acknowledge struct {
		operator
		Warning int64  `arg:"" help:"Number of the warning."`
		Note    string `help:"What is to be remembered; it names no patient."`
	} `cmd:"" help:"Take a warning on. It is audited who did."`
	Note struct {
		operator
		Warning int64  `arg:"" help:"Number of the warning."`
		Text    string `arg:"" help:"What is to be remembered; it names no patient."`
	} `cmd:"" help:"Note something about a warning. It is audited who did."`
	Intend struct {
		operator
		Agent         string `arg:"" help:"An agent such as RX1/a1."`
		AgentVersion  string `help:"The version it is to have; current for the one it has, empty for the centre's default."`
		Configuration string `help:"SHA-256 of the configuration it is to have; current for the one it has, empty for any."`
	} `cmd:"" help:"Say which version and configuration an agent is to have. It is audited who did."`
	Forget struct {
		operator
		Agent string `arg:"" help:"An agent such as RX1/a1."`
	} `cmd:"" help:"Forget an agent that is no more. It is audited who did."`
	Command struct {
		operator
		Agent   string             `arg:"" help:"An agent such as RX1/a1, or a site such as RX1/RX101 whose organisation has one agent."`
		Do      safeguard.RemoteDo `arg:"" name:"command" help:"check: say what the agent's own check finds. refresh-cache: ask again for kept answers that are due. rotate-keys: seal with new data keys from now on. support-bundle: send the support bundle. The site decides which it allows."`
		Expires time.Duration      `default:"1h" help:"After so long it is not done any more."`
		Wait    time.Duration      `placeholder:"2m" help:"Wait so long for the answer, and write it. Exit code 8: none came, or it is not done."`
	} `cmd:"" help:"Ask an agent to do something, of which there are only these few. It is audited at both ends, and done at most once."`
	Commands struct {
		operator
		Since time.Duration `default:"168h" help:"Ordered within so long."`
		JSON  bool          `help:"Write JSON."`
	} `cmd:"" help:"List what agents were asked to do, and what became of it."`
	Bundle struct {
		operator
		ID     string `arg:"" help:"Of the command, as fleet commands lists it."`
		Output string `required:"" type:"path" placeholder:"FILE" help:"A new file to write."`
	} `cmd:"" help:"Write the support bundle that an agent has sent. It is audited who took it."`
}

func (c *fleetCommands) run(ctx context.Context, command string) (code int, err error) {
	verb := verb(command)
	if look, ok := map[string]viewer{"list": c.List.viewer, "show": c.Show.viewer, "watch": c.Watch.viewer}[verb]; ok {
		v, err := look.open()
		if err != nil {
			return 0, err
		}
		return c.look(ctx, v, verb)
	}
	config := map[string]string{
		"acknowledge": c.Acknowledge.Config, "note": c.Note.Config, "intend": c.Intend.Config, "forget": c.Forget.Config,
		"command": c.Command.Config, "commands": c.Commands.Config, "bundle": c.Bundle.Config,
	}[verb]
	o, err := central.OpenOperator(config)
	if err != nil {
		return 0, err
	}
	switch verb {
	case "acknowledge":
		return 0, o.Acknowledge(ctx, c.Acknowledge.Warning, c.Acknowledge.Note, os.Stdout)
	case "note":
		return 0, o.Note(ctx, c.Note.Warning, c.Note.Text, os.Stdout)
	case "forget":
		return 0, o.Forget(ctx, c.Forget.Agent, os.Stdout)
	case "command":
		done, err := o.Command(ctx, c.Command.Agent, c.Command.Do, c.Command.Expires, c.Command.Wait, os.Stdout)
		if err == nil && !done {
			code = exitNotDone
		}
		return code, err
	case "commands":
		return 0, o.ListCommands(ctx, c.Commands.Since, c.Commands.JSON, os.Stdout)
	case "bundle":
		return 0, o.Bundle(ctx, c.Bundle.ID, c.Bundle.Output, os.Stdout)
	}
	return 0, o.Intend(ctx, c.Intend.Agent, c.Intend.AgentVersion, c.Intend.Configuration, os.Stdout)
}

// look is what changes nothing.
func (c *fleetCommands) look(ctx context.Context, v central.Viewer, verb string) (code int, err error) {
	switch verb {
	case "list":
		worst, err := v.ListFleet(ctx, c.List.Words, c.List.JSON, os.Stdout)
		if worst == safeguard.Critical {
			code = exitCritical
		}
		return code, err
	case "show":
		return 0, v.ShowFleet(ctx, c.Show.Name, c.Show.JSON, os.Stdout)
	}
	return 0, v.WatchFleet(ctx, c.Watch.JSON, c.Watch.Every, os.Stdout, os.Stderr)
}
