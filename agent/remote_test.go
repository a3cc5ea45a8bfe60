package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

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
		ours: func(agent string) bool { return agent == "RX1/a1" }, file: file,
		allow: func() []safeguard.RemoteDo { return []safeguard.RemoteDo{safeguard.RunCheck} },
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
		"another agent's": {func(_ *asking, c *safeguard.RemoteCommand) { c.Agent = "RX2/a1" }, "another agent's"},
		"not allowed":     {func(_ *asking, c *safeguard.RemoteCommand) { c.Do = safeguard.RotateKeys }, "the site does not allow it"},
		"nothing is allowed": {func(a *asking, _ *safeguard.RemoteCommand) {
			a.allow = func() []safeguard.RemoteDo { return nil }
		}, "the site does not allow it"},
		"not known":              {func(_ *asking, c *safeguard.RemoteCommand) { c.Do = "run-a-shell" }, "does not know the command"},
		"expired":                {func(_ *asking, c *safeguard.RemoteCommand) { c.Expires = time.Now().Add(-time.Second) }, "has expired"},
		"expired by their clock": {func(a *asking, _ *safeguard.RemoteCommand) { a.clock = func() time.Duration { return 2 * time.Hour } }, "has expired"},
		"good for ever":          {func(_ *asking, c *safeguard.RemoteCommand) { c.Expires = time.Now().AddDate(1, 0, 0) }, "good for longer"},
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

// Asked again, because the answer was lost or the agent restarted, it says what came
// of the command, and does nothing.
func TestACommandIsDoneOnceAlsoAfterARestart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "commands", "known.json")
	a := newAsking(t, file)
	a.do[safeguard.SendBundle] = func(context.Context) (string, []byte, error) { a.done++; return "with this", []byte("zip"), nil }
	a.do[safeguard.RotateKeys] = func(context.Context) (string, []byte, error) { return "", nil, errors.New("no room") }
	a.allow = func() []safeguard.RemoteDo { return safeguard.RemoteDos }
	of := func(id string, do safeguard.RemoteDo) safeguard.RemoteCommand {
		c := command(id)
		c.Do = do
		return c
	}
	stopped, stop := context.WithCancel(t.Context())
	a.do[safeguard.RefreshCache] = func(context.Context) (string, []byte, error) { stop(); return "", nil, stopped.Err() }
	for _, c := range []struct {
		ctx          context.Context
		of           safeguard.RemoteCommand
		first, again safeguard.RemoteOutcome
		text         string // that it has when asked for again
	}{
		{t.Context(), of("c1", safeguard.RunCheck), safeguard.CommandDone, safeguard.CommandDone, "all well"},
		{t.Context(), of("c2", safeguard.RotateKeys), safeguard.CommandFailed, safeguard.CommandFailed, "no room"},
		{t.Context(), of("c3", safeguard.SendBundle), safeguard.CommandDone, safeguard.CommandFailed, "order it again"},
		{stopped, of("c4", safeguard.RefreshCache), safeguard.CommandFailed, safeguard.CommandFailed, "stopped before it was over"},
	} {
		if got := a.answer(c.ctx, c.of); got.Outcome != c.first {
			t.Errorf("%s: got %+v", c.of.Do, got)
		}
		b := newAsking(t, file) // which does not allow most of them any more
		if got := b.answer(t.Context(), c.of); got.Outcome != c.again || !strings.Contains(got.Text, c.text) || b.done != 0 {
			t.Errorf("%s, replayed: got %+v, done %d times", c.of.Do, got, b.done)
		}
	}
	if got := newAsking(t, file).answer(t.Context(), command("c5")); got.Outcome != safeguard.CommandDone {
		t.Errorf("another: got %+v", got)
	}
	if err := os.WriteFile(file, []byte("cut o"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := newAsking(t, file).answer(t.Context(), command("c6")); got.Outcome != safeguard.CommandFailed || !strings.Contains(got.Text, "not begun") {
		t.Errorf("what was begun is not known: got %+v", got)
	}
}

func TestAnAnswerCanBeSent(t *testing.T) {
	a := newAsking(t, filepath.Join(t.TempDir(), "known.json"))
	a.do[safeguard.RunCheck] = func(context.Context) (string, []byte, error) { return "x" + strings.Repeat("ä", 40_000), nil, nil }
	got := a.answer(t.Context(), command("c1"))
	if !utf8.ValidString(got.Text) || len(got.Text) > safeguard.MostRemoteText || len(got.Text) < safeguard.MostRemoteText-2 {
		t.Errorf("%d bytes, UTF-8 %t", len(got.Text), utf8.ValidString(got.Text))
	}
}

func TestNothingIsDoneUnseen(t *testing.T) {
	a := newAsking(t, filepath.Join(t.TempDir(), "begun.json"))
	a.fails = errors.New("disk full")
	if got := a.answer(t.Context(), command("c1")); got.Outcome != safeguard.CommandFailed || a.done != 0 {
		t.Errorf("without an audit: got %+v, done %d times", got, a.done)
	}
}
