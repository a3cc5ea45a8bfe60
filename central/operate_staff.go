package central

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/audit"
	"github.com/safeguard-edge/safeguard/central/signin"
	"github.com/safeguard-edge/safeguard/central/store"
)

// shownStaff is a session of a member of staff as JSON shows it.
type shownStaff struct {
	Subject      string            `json:"subject"`
	Name         string            `json:"name"`
	Role         string            `json:"role"`
	Organisation safeguard.ODSCode `json:"organisation"`
	Rights       string            `json:"rights"`
	Source       string            `json:"source"`
	Opened       time.Time         `json:"opened"`
	Seen         time.Time         `json:"seen"`
}

// signedIn are the sessions of staff that have not ended.
func (o Operator) signedIn(ctx context.Context, s store.Staff) (open []store.StaffSession, err error) {
	list, err := s.StaffSessions(ctx)
	limits := signin.Limits{Idle: o.Config.Staff.Idle, Absolute: o.Config.Staff.Absolute}
	for _, n := range list {
		if !limits.Over(n.Opened, n.Seen, time.Now()) {
			open = append(open, n)
		}
	}
	return open, err
}

// ListStaff writes which members of staff are signed in.
func (o Operator) ListStaff(ctx context.Context, asJSON bool, out io.Writer) error {
	return o.with(ctx, func(s store.Store, _ audit.Who) error {
		open, err := o.signedIn(ctx, s)
		if err != nil {
			return err
		}
		if asJSON {
			list := []shownStaff{}
			for _, n := range open {
				list = append(list, shownStaff{n.Subject, n.Name, n.Role, n.Organisation, n.Rights.String(), n.Source, n.Opened, n.Seen})
			}
			return writeJSON(out, list)
		}
		w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "SUBJECT\tNAME\tROLE\tORGANISATION\tRIGHTS\tSINCE\tLAST USED")
		for _, n := range open {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", n.Subject, n.Name, n.Role, n.Organisation, n.Rights, n.Opened.UTC().Format("2006-01-02 15:04"), n.Seen.UTC().Format("15:04"))
		}
		return w.Flush()
	})
}

// SignOutStaff ends all sessions of one person, by the provider's own name for them,
// or by their name where only one who is signed in has it. The session at the
// provider goes on: by it the person may sign in again.
func (o Operator) SignOutStaff(ctx context.Context, person string, out io.Writer) error {
	return o.with(ctx, func(s store.Store, by audit.Who) error {
		open, err := o.signedIn(ctx, s)
		if err != nil {
			return err
		}
		var theirs, named []store.StaffSession
		people := map[string]bool{}
		for _, n := range open {
			switch {
			case n.Subject == person:
				theirs = append(theirs, n)
			case strings.EqualFold(n.Name, person):
				named = append(named, n)
				people[n.Source+" "+n.Subject] = true
			}
		}
		if len(theirs) == 0 {
			theirs = named
		}
		switch {
		case len(theirs) == 0:
			return fmt.Errorf("%s is not signed in: safeguard-central staff list says who is", person)
		case len(theirs) == len(named) && len(people) > 1:
			return fmt.Errorf("%d who are signed in are called %s: want the subject, as safeguard-central staff list has it", len(people), person)
		}
		for _, n := range theirs {
			if err := s.EndStaffSession(ctx, n.ID, by); err != nil && !errors.Is(err, store.ErrNoSession) {
				return err
			}
		}
		_, err = fmt.Fprintf(out, "%s: signed out of %d sessions\n", theirs[0].Subject, len(theirs))
		return err
	})
}
