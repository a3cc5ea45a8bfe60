package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"text/tabwriter"

	"github.com/safeguard-edge/safeguard/agent"
)

type keyCommands struct {
	Status  keyStatus  `cmd:"" help:"Say which keys there are, since when, and where the master key is. Exit code 0: done, 1: failed, 3: there are none, 4: the agent does not let this user in."`
	Rotate  keyRotate  `cmd:"" help:"Make a new data key, which seals from now on, also in the running agent; what older ones sealed still opens. Exit code 0: done, 1: failed, 3: there are none, 4: the agent does not let this user in."`
	Rewrap  keyRewrap  `cmd:"" help:"Put another master key in the place of the one in use: for a file it is made, and the old one shredded; a systemd credential is changed by its administrator first. Exit code 0: done, 1: failed, 3: there are none, 4: the agent does not let this user in."`
	Destroy keyDestroy `cmd:"" help:"Shred the keys of an agent that is stopped. Nothing that it kept can be read any more, here or in a backup. Exit code 0: done, 1: failed, 3: there are none, 4: the agent does not let this user in."`
}

type keyStatus struct{ running }

func (k keyStatus) Run() error { return k.keys(agent.StatusOfKeys) }

type keyRotate struct{ running }

func (k keyRotate) Run() error { return k.keys(agent.RotateKeys) }

type keyRewrap struct{ running }

func (k keyRewrap) Run() error { return k.keys(agent.RewrapKeys) }

type keyDestroy struct {
	Config  string `help:"Configuration file of the agent." required:"" type:"path" placeholder:"FILE"`
	Confirm string `help:"The name of the key ring, as keys status shows it." required:"" placeholder:"RING"`
}

func (k keyDestroy) Run() error {
	config, err := agent.LoadConfig(k.Config)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := config.DestroyKeys(ctx, k.Confirm); err != nil {
		return exitKeys(err)
	}
	fmt.Println("keys destroyed: what they sealed can not be read any more")
	return nil
}

// shred destroys the keys of a stopped agent that is removed for good.
func shred(file string) error {
	config, err := agent.LoadConfig(file)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	status, err := config.OperateKeys(ctx, agent.StatusOfKeys)
	if errors.Is(err, agent.ErrNoKeys) {
		return nil
	}
	// Keys that can not be opened are destroyed all the same.
	return config.DestroyKeys(ctx, status.Ring)
}

// keys does it with the agent's keys, and shows them as they are then.
func (r running) keys(do string) error {
	config, err := agent.LoadConfig(r.Config)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	s, err := config.OperateKeys(ctx, do)
	if err != nil {
		return exitKeys(err)
	}
	if r.JSON {
		return json.NewEncoder(os.Stdout).Encode(s)
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	for _, line := range [][2]string{
		{"key ring", s.Ring},
		{"data keys", fmt.Sprint(s.DataKeys)},
		{"made", clock(s.Made)},
		{"rotated", clock(s.Rotated)},
		{"rewrapped", clock(s.Rewrapped)},
		{"master key", s.MasterID + " in " + s.Master},
	} {
		fmt.Fprintf(w, "%s\t%s\n", line[0], line[1])
	}
	if s.RewrapDue {
		fmt.Fprintln(w, "\ta newer master key stands first: keys rewrap takes it into use")
	}
	return w.Flush()
}

// exitKeys exits with what a script needs to know, where that is more than that
// it failed.
func exitKeys(err error) error {
	if !errors.Is(err, agent.ErrNoKeys) {
		return err
	}
	fmt.Fprintln(os.Stderr, "safeguard-agent:", err)
	os.Exit(exitNothing)
	return nil
}
