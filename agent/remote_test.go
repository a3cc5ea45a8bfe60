package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard"
)

// asking is a remote whose centre is the test.
type asking struct {
	remote
	done    int
	audited []string
	fails   error
}

func newAsking(t *testing.T, file string) *asking {
	t.Helper()
	a := &asking{}
	a.remote = remote{
		allow: []safeguard.RemoteDo{safeguard.RunCheck}, self: func() (string, error) { return "RX1/a1", nil }, file: file,
		audit: func(_ context.Context, who, what, rows string) error {
			if a.fails != nil {
				return a.fails
			}
			a.audited = append(a.audited, fmt.Sprintf("%s: %s: %s", who, what, rows))
			return nil
		},
		do: map[safeguard.RemoteDo]func(context.Context) (string, []byte, error){
			safeguard.RunCheck:   func(context.Context) (string, []byte, error) { a.done++; return "all well", nil, nil },
			safeguard.RotateKeys: func(context.Context) (string, []byte, error) { a.done++; return "", nil, nil },
		},
		clock: func() time.Duration { return 0 }, log: slog.New(slog.DiscardHandler), called: make(chan struct{}, 1),
	}
	return a
}

func command(id string) safeguard.RemoteCommand {
	now := time.Now()
	return safeguard.RemoteCommand{ID: id, Agent: "RX1/a1", Do: safeguard.RunCheck, By: "operator ada", Ordered: now, Expires: now.Add(time.Hour)}
}

func TestOnlyWhatTheSiteAllowsIsDone(t *testing.T) {
	for name, c := range map[string]struct {
		change func(a *asking, c *safeguard.RemoteCommand)
		want   string
	}{
		"another agent's":        {func(_ *asking, c *safeguard.RemoteCommand) { c.Agent = "RX2/a1" }, "another agent's"},
		"not allowed":            {func(_ *asking, c *safeguard.RemoteCommand) { c.Do = safeguard.RotateKeys }, "the site does not allow it"},
		"nothing is allowed":     {func(a *asking, _ *safeguard.RemoteCommand) { a.allow = nil }, "the site does not allow it"},
		"not known":              {func(_ *asking, c *safeguard.RemoteCommand) { c.Do = "run-a-shell" }, "does not know the command"},
		"expired":                {func(_ *asking, c *safeguard.RemoteCommand) { c.Expires = time.Now().Add(-time.Second) }, "has expired"},
		"expired by their clock": {func(a *asking, _ *safeguard.RemoteCommand) { a.clock = func() time.Duration { return 2 * time.Hour } }, "has expired"},
		"good for ever":          {func(_ *asking, c *safeguard.RemoteCommand) { c.Expires = time.Now().AddDate(1, 0, 0) }, "good for longer"},
		"a certificate not read": {func(a *asking, _ *safeguard.RemoteCommand) {
			a.self = func() (string, error) { return "", errors.New("none") }
		}, "another agent's"},
	} {
		a := newAsking(t, filepath.Join(t.TempDir(), "begun.json"))
		asked := command("c1")
		c.change(a, &asked)
		got := a.answer(t.Context(), asked)
		if got.Outcome != safeguard.CommandRefused || !strings.Contains(got.Text, c.want) || a.done != 0 {
			t.Errorf("%s: got %s %q, done %d times", name, got.Outcome, got.Text, a.done)
		}
		if len(a.audited) != 1 || !strings.Contains(a.audited[0], "centre, operator ada: remote ") || !strings.Contains(a.audited[0], "refused") {
			t.Errorf("%s: audit %q", name, a.audited)
		}
	}
}

func TestACommandIsDoneOnceAlsoAfterARestart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "commands", "begun.json")
	a := newAsking(t, file)
	if got := a.answer(t.Context(), command("c1")); got.Outcome != safeguard.CommandDone || got.Text != "all well" || a.done != 1 {
		t.Fatalf("got %+v, done %d times", got, a.done)
	}
	b := newAsking(t, file)
	if got := b.answer(t.Context(), command("c1")); got.Outcome != safeguard.CommandRefused || b.done != 0 {
		t.Errorf("replayed: got %+v, done %d times", got, b.done)
	}
	if got := b.answer(t.Context(), command("c2")); got.Outcome != safeguard.CommandDone || b.done != 1 {
		t.Errorf("another: got %+v, done %d times", got, b.done)
	}
}

func TestNothingIsDoneUnseen(t *testing.T) {
	a := newAsking(t, filepath.Join(t.TempDir(), "begun.json"))
	a.fails = errors.New("disk full")
	if got := a.answer(t.Context(), command("c1")); got.Outcome != safeguard.CommandFailed || a.done != 0 {
		t.Errorf("without an audit: got %+v, done %d times", got, a.done)
	}
}
