package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"time"

	"github.com/safeguard-edge/safeguard/agent"
)

type supportCommands struct {
	Bundle supportBundle `cmd:"" help:"Write an archive for whoever helps: configuration without secrets, versions, status, checks, metrics, the latest lines of the log, and a manifest. Nothing in it is about a patient. Made by the agent where it runs, else of what can be had without it. Exit code 0: written, 1: failed, 4: the agent does not let this user in."`
}

type supportBundle struct {
	Config string `help:"Configuration file of the agent." required:"" type:"path" placeholder:"FILE"`
	Output string `help:"A new file to write; without it, one in this folder that has the time in its name." type:"path" placeholder:"FILE"`
}

func (c supportBundle) Run() (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	output := c.Output
	if output == "" {
		output = "safeguard-agent-support-" + time.Now().UTC().Format("20060102T150405Z") + ".zip"
	}
	f, err := os.OpenFile(output, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	running, err := agent.SupportBundle(ctx, c.Config, version, f)
	if err = errors.Join(err, f.Close()); err != nil {
		_ = os.Remove(output)
		return err
	}
	fmt.Println(output)
	if !running {
		fmt.Fprintln(os.Stderr, "the agent does not run here: the bundle has what could be had without it")
	}
	return nil
}
