package central

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/safeguard-edge/safeguard/cache/keys"
	"github.com/safeguard-edge/safeguard/central/audit"
	"github.com/safeguard-edge/safeguard/central/signin"
	"github.com/safeguard-edge/safeguard/central/store"
)

// AddOperator adds an account for the centre's pages, or gives the one with its
// name a new password, second factor and role. What the operator needs to sign in
// is written once, and kept nowhere else.
func (o Operator) AddOperator(ctx context.Context, name string, role store.Role, password string, out io.Writer) error {
	if name == "" || len(name) > 64 || strings.ContainsFunc(name, func(c rune) bool { return c <= ' ' || c == ':' || c == 0x7f }) {
		return fmt.Errorf("operator %q: want a name of 1 to 64 characters, without spaces and colons", name)
	}
	if role == store.NoRole {
		return errors.New("operator: no role, want viewer, operator or administrator")
	}
	hash, err := keys.HashPassword(password)
	if err != nil {
		return err
	}
	secret, address, err := signin.NewFactor("Safeguard central", name)
	if err != nil {
		return err
	}
	return o.with(ctx, func(s store.Store, by audit.Who) error {
		if err := s.PutOperator(ctx, store.OperatorAccount{Name: name, Role: role, Password: hash, Factor: []byte(secret)}, by); err != nil {
			return err
		}
		_, err := fmt.Fprintf(out, "%s: %s\nsecret of the codes, for an authenticator app: %s\nthe same as an address: %s\n", name, role, secret, address)
		return err
	})
}

// RemoveOperator removes an account, and ends its sessions.
func (o Operator) RemoveOperator(ctx context.Context, name string, out io.Writer) error {
	return o.with(ctx, func(s store.Store, by audit.Who) error {
		if err := s.RemoveOperator(ctx, name, by); err != nil {
			return err
		}
		_, err := fmt.Fprintf(out, "%s: removed\n", name)
		return err
	})
}

// shownOperator is an account as JSON shows it.
type shownOperator struct {
	Name    string     `json:"name"`
	Role    store.Role `json:"role"`
	Added   time.Time  `json:"added"`
	AddedBy string     `json:"added_by"`
}

// ListOperators writes the accounts.
func (o Operator) ListOperators(ctx context.Context, asJSON bool, out io.Writer) error {
	return o.with(ctx, func(s store.Store, _ audit.Who) error {
		accounts, err := s.Operators(ctx)
		if err != nil {
			return err
		}
		list := []shownOperator{}
		for _, a := range accounts {
			list = append(list, shownOperator{a.Name, a.Role, a.Added, a.AddedBy})
		}
		if asJSON {
			return writeJSON(out, list)
		}
		w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "NAME\tROLE\tADDED\tBY")
		for _, a := range list {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", a.Name, a.Role, a.Added.UTC().Format("2006-01-02 15:04"), a.AddedBy)
		}
		return w.Flush()
	})
}
