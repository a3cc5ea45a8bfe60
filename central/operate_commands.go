package central

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/audit"
	"github.com/safeguard-edge/safeguard/central/fleet"
	"github.com/safeguard-edge/safeguard/central/store"
)

const answerEach = time.Second // that an answer is looked for

// Command asks an agent to do something, and waits so long for what becomes of it.
// done is false where that was waited for, and it is not done.
func (o Operator) Command(ctx context.Context, agent string, do safeguard.RemoteDo, expires, wait time.Duration, out io.Writer) (done bool, err error) {
	if expires <= 0 || expires > safeguard.LongestCommand {
		return false, fmt.Errorf("--expires %v: want more than 0, and at most %v", expires, safeguard.LongestCommand)
	}
	err = o.with(ctx, func(s store.Store, by audit.Who) error {
		key, err := oneAgent(ctx, s, agent)
		if err != nil {
			return err
		}
		c, err := fleet.Order(ctx, s, key, do, expires, by)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(out, "%s: %s is asked for %s, until %s\n", c.ID, c.Agent, c.Do, c.Expires.UTC().Format(time.RFC3339)); err != nil || wait <= 0 {
			done = true
			return err
		}
		answer, err := awaited(ctx, s, c, wait)
		if err != nil || answer.Answered.IsZero() {
			return err
		}
		done = answer.Outcome == safeguard.CommandDone
		_, err = fmt.Fprintf(out, "%s: %s\n", answer.Outcome, answer.Text)
		return err
	})
	return done, err
}

// oneAgent finds the agent by its own name, or by a site of its organisation.
func oneAgent(ctx context.Context, s store.Store, name string) (store.AgentKey, error) {
	key, err := store.ParseAgentKey(name)
	if err != nil {
		return key, err
	}
	agents, err := s.FleetAgents(ctx, time.Time{})
	if err != nil {
		return key, err
	}
	var others []string
	for _, a := range agents {
		if a.Key == key {
			return key, nil
		}
		if a.Key.Organisation == key.Organisation {
			others = append(others, a.Key.String())
		}
	}
	directory, err := s.Directory(ctx, 0)
	if err != nil {
		return key, err
	}
	for _, site := range directory.Sites {
		if site.Organisation == key.Organisation && site.Code.String() == key.ID && len(others) == 1 {
			return store.ParseAgentKey(others[0])
		}
	}
	if len(others) == 0 {
		return key, fmt.Errorf("%s: no agent of %s was ever heard from", name, key.Organisation)
	}
	return key, fmt.Errorf("%s: no such agent, want one of %s", name, strings.Join(others, ", "))
}

// awaited is the command with its answer, or without one after so long.
func awaited(ctx context.Context, s store.Store, c safeguard.RemoteCommand, wait time.Duration) (store.OrderedCommand, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for {
		list, err := s.OrderedCommands(ctx, store.CommandFilter{Since: c.Ordered.Add(-time.Second)})
		if err != nil && ctx.Err() == nil {
			return store.OrderedCommand{}, err
		}
		for _, o := range list {
			if o.ID == c.ID && !o.Answered.IsZero() {
				return o, nil
			}
		}
		select {
		case <-ctx.Done():
			return store.OrderedCommand{}, nil
		case <-time.After(answerEach):
		}
	}
}

// ListCommands writes what agents were asked to do lately, and what became of it.
func (o Operator) ListCommands(ctx context.Context, within time.Duration, asJSON bool, out io.Writer) error {
	return o.with(ctx, func(s store.Store, _ audit.Who) error {
		now := time.Now()
		list, err := s.OrderedCommands(ctx, store.CommandFilter{Since: now.Add(-within)})
		if err != nil {
			return err
		}
		if asJSON {
			if list == nil {
				list = []store.OrderedCommand{}
			}
			return writeJSON(out, list)
		}
		w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "ID\tAGENT\tCOMMAND\tORDERED\tBY\tOUTCOME\tSAID")
		for _, c := range list {
			outcome := string(c.Outcome)
			switch {
			case outcome == "" && now.After(c.Expires):
				outcome = "expired"
			case outcome == "":
				outcome = "waits"
			}
			said, more, _ := strings.Cut(c.Text, "\n")
			if more != "" {
				said += " …"
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", c.ID, c.Agent, c.Do, c.Ordered.UTC().Format("2006-01-02 15:04"), c.By, outcome, said)
		}
		return w.Flush()
	})
}

// Bundle writes the support bundle that was sent to a command into a new file.
func (o Operator) Bundle(ctx context.Context, id, output string, out io.Writer) error {
	return o.with(ctx, func(s store.Store, by audit.Who) (err error) {
		bundle, err := s.CommandBundle(ctx, id, by)
		if errors.Is(err, store.ErrUnknown) {
			return fmt.Errorf("command %s: there is no bundle; fleet commands lists what there is", id)
		}
		if err != nil {
			return err
		}
		f, err := os.OpenFile(output, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		_, err = f.Write(bundle)
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
		_, err = fmt.Fprintf(out, "%s: %d bytes\n", output, len(bundle))
		return err
	})
}
