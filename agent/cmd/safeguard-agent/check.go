package main

import (
	"context"
	"os"
	"os/signal"

	"github.com/safeguard-edge/safeguard/agent"
	"github.com/safeguard-edge/safeguard/findings"
)

type check struct {
	Config string `help:"Configuration file." required:"" type:"path" placeholder:"FILE"`
	JSON   bool   `help:"Write JSON lines." name:"json"`
}

// exitWarnings says that nothing fails and something should be seen to.
const exitWarnings = 6

func (c check) Run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	printer := findings.Printer{Out: os.Stdout, JSON: c.JSON}
	err := agent.Check(ctx, c.Config, printer.Print)
	if err != nil {
		return err
	}
	worst, err := printer.End()
	switch worst {
	case findings.Fail:
		os.Exit(1)
	case findings.Warn:
		os.Exit(exitWarnings)
	}
	return err
}
