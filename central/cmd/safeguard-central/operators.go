package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/safeguard-edge/safeguard/central"
	"github.com/safeguard-edge/safeguard/central/store"
)

// operatorCommands are the accounts that the centre has itself.
type operatorCommands struct {
	Add struct {
		operator
		Name         string     `arg:"" help:"What the operator signs in as."`
		Role         store.Role `required:"" placeholder:"viewer" help:"viewer, operator or administrator."`
		PasswordFile string     `required:"" type:"path" placeholder:"FILE" help:"A file that holds the password, of at least 12 characters."`
	} `cmd:"" help:"Add an account, or give one a new password, second factor and role. Writes the secret for an authenticator app, once."`
	List struct {
		operator
		JSON bool `help:"Write JSON."`
	} `cmd:"" help:"List the accounts."`
	Remove struct {
		operator
		Name string `arg:"" help:"What the operator signs in as."`
	} `cmd:"" help:"Remove an account, and end its sessions."`
}

func (c *operatorCommands) run(ctx context.Context, command string) error {
	switch verb(command) {
	case "add":
		password, err := os.ReadFile(c.Add.PasswordFile)
		if err != nil {
			return fmt.Errorf("password file: %w", err)
		}
		o, err := central.OpenOperator(c.Add.Config)
		if err != nil {
			return err
		}
		return o.AddOperator(ctx, c.Add.Name, c.Add.Role, strings.TrimRight(string(password), "\r\n"), os.Stdout)
	case "list":
		o, err := central.OpenOperator(c.List.Config)
		if err != nil {
			return err
		}
		return o.ListOperators(ctx, c.List.JSON, os.Stdout)
	default:
		o, err := central.OpenOperator(c.Remove.Config)
		if err != nil {
			return err
		}
		return o.RemoveOperator(ctx, c.Remove.Name, os.Stdout)
	}
}
