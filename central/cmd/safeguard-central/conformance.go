package main

import (
	"context"
	"io"
	"os"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/conformance"
)

type conformanceCommand struct {
	Folder    string            `arg:"" type:"path" help:"A new folder: the certificate for the system, what it is to send, and what it writes."`
	Command   []string          `arg:"" optional:"" passthrough:"" help:"Does a step, and ends: the step's name is its last argument; CONFORMANCE_SERVER and CONFORMANCE_FOLDER are in its environment. Without it a person does each step as it is told, and the next begins when it is done."`
	Authority safeguard.ODSCode `default:"906" help:"The code of the local authority that the system speaks for."`
	Listen    string            `default:"127.0.0.1:0" placeholder:"HOST:PORT" help:"Where the centre listens; port 0 is any free one."`
	Host      []string          `placeholder:"NAME" help:"Names or addresses that the system calls the centre by, besides localhost."`
	Patience  time.Duration     `default:"15m" help:"How long a step may take."`
	Report    string            `type:"path" placeholder:"FILE" help:"A new file to write the report to; standard output without it."`
	JSON      bool              `name:"json" help:"Write the report as JSON."`
}

func (c *conformanceCommand) run(ctx context.Context) (code int, err error) {
	command := c.Command
	if len(command) > 0 && command[0] == "--" {
		command = command[1:]
	}
	report, err := conformance.Run{
		Folder: c.Folder, Listen: c.Listen, Hosts: c.Host, Authority: c.Authority, Patience: c.Patience, Command: command, Tell: os.Stderr,
	}.Do(ctx)
	if err != nil {
		return 0, err
	}
	if !report.Passed {
		code = exitFaults
	}
	return code, newFile(c.Report, func(out io.Writer) error { return report.Write(out, c.JSON) })
}
