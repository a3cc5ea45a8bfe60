package main

import (
	"context"
	"os"

	"github.com/safeguard-edge/safeguard/central"
)

// staffCommands are about who is signed in on the pages for staff.
type staffCommands struct {
	List struct {
		operator
		JSON bool `help:"Write JSON."`
	} `cmd:"" help:"List who is signed in."`
	SignOut struct {
		operator
		Person string `arg:"" help:"The subject, as staff list has it, or the name where only one has it."`
	} `cmd:"" name:"sign-out" help:"End a person's sessions at the centre. The one at their provider goes on: to keep somebody out, take the right away there."`
}

func (c *staffCommands) run(ctx context.Context, command string) error {
	if verb(command) == "list" {
		o, err := central.OpenOperator(c.List.Config)
		if err != nil {
			return err
		}
		return o.ListStaff(ctx, c.List.JSON, os.Stdout)
	}
	o, err := central.OpenOperator(c.SignOut.Config)
	if err != nil {
		return err
	}
	return o.SignOutStaff(ctx, c.SignOut.Person, os.Stdout)
}
