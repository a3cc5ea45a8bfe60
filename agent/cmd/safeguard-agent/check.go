package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"

	"github.com/safeguard-edge/safeguard/agent"
	"github.com/safeguard-edge/safeguard/agent/control"
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
	counts := map[agent.Result]int{}
	err := agent.Check(ctx, c.Config, func(f agent.Finding) error {
		counts[f.Result]++
		return c.print(f)
	})
	if errors.Is(err, control.ErrDenied) {
		return exitNoAgent(err)
	}
	if err != nil {
		return err
	}
	if !c.JSON {
		fmt.Printf("%d passed, %d warnings, %d failed\n", counts[agent.Pass], counts[agent.Warn], counts[agent.Fail])
	}
	switch {
	case counts[agent.Fail] > 0:
		os.Exit(1)
	case counts[agent.Warn] > 0:
		os.Exit(exitWarnings)
	}
	return nil
}

func (c check) print(f agent.Finding) error {
	if c.JSON {
		return json.NewEncoder(os.Stdout).Encode(f)
	}
	fmt.Printf("%-4s  %s: %s\n", strings.ToUpper(string(f.Result)), f.Check, f.Text)
	if f.Do != "" {
		fmt.Printf("      do: %s\n", f.Do)
	}
	return nil
}
