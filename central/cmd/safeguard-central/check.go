package main

import (
	"context"
	"os"

	"github.com/safeguard-edge/safeguard/central"
	"github.com/safeguard-edge/safeguard/findings"
)

type checkCommand struct {
	Config string `required:"" type:"path" placeholder:"FILE" help:"The centre's configuration. The centre may be running, or not have been started yet."`
	JSON   bool   `name:"json" help:"Write JSON lines."`
}

// exitWarnings says that nothing fails and something should be seen to.
const exitWarnings = 6

func (c *checkCommand) run(ctx context.Context) (code int, err error) {
	printer := findings.Printer{Out: os.Stdout, JSON: c.JSON}
	if err := central.Check(ctx, c.Config, printer.Print); err != nil {
		return 0, err
	}
	worst, err := printer.End()
	switch worst {
	case findings.Fail:
		code = exitFailed
	case findings.Warn:
		code = exitWarnings
	}
	return code, err
}
