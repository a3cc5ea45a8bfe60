package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/identity"
	"github.com/safeguard-edge/safeguard/disk"
)

// Remote says what central operations may ask the agent to do. There is nothing
// else that they could.
type Remote struct {
	Allow []safeguard.RemoteDo `yaml:"allow"` // of check, refresh-cache, rotate-keys and support-bundle; none: nothing is done
}

// defaultRemote is what does no more than what happens by itself.
func defaultRemote() Remote {
	return Remote{Allow: []safeguard.RemoteDo{safeguard.RunCheck, safeguard.RefreshCache}}
}

func (r Remote) validate() error {
	for _, do := range r.Allow {
		if !slices.Contains(safeguard.RemoteDos, do) {
			return fmt.Errorf("allow: %q, want some of %v", do, safeguard.RemoteDos)
		}
	}
	return nil
}

// remote does what the centre asks for, as far as the site allows it.
type remote struct {
	centre interface {
		Commands(ctx context.Context) ([]safeguard.RemoteCommand, error)
		Answer(ctx context.Context, id string, a safeguard.RemoteAnswer) error
	}
	allow func() []safeguard.RemoteDo
	ours  func(agent string) bool // tells whether a command is for this agent
	audit func(ctx context.Context, who, what, rows string) error
	do    map[safeguard.RemoteDo]func(ctx context.Context) (text string, bundle []byte, err error)
	file  string               // the commands that were begun, and what came of each
	clock func() time.Duration // how far the centre's clock is ahead
	log   *slog.Logger

	called chan struct{}
}

const (
	remoteAgain = time.Minute // after the centre could not be told
	remoteTime  = 2 * time.Minute
	remoteTries = 5 // to tell what became of a command
)

// replied takes note of what the centre asks for. It does not wait.
func (r *remote) replied(reply safeguard.HeartbeatReply) {
	if len(reply.Commands) == 0 {
		return
	}
	select {
	case r.called <- struct{}{}:
	default:
	}
}

// Run does what is asked for, one after the other, until ctx ends.
func (r *remote) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.called:
		}
		commands, err := r.centre.Commands(ctx)
		if err != nil && ctx.Err() == nil {
			r.log.Warn("commands of the centre not fetched", "err", err) // the next heartbeat asks again
			continue
		}
		for _, c := range commands {
			r.one(ctx, c)
		}
	}
}

// one does a command, or refuses it, and answers.
func (r *remote) one(ctx context.Context, c safeguard.RemoteCommand) {
	answer := r.answer(ctx, c)
	if ctx.Err() != nil {
		return // the next start says that it was interrupted
	}
	r.log.Info("command of the centre", "command", c.Do, "id", c.ID, "by", c.By, "outcome", answer.Outcome)
	for try := 1; ; try++ {
		err := r.centre.Answer(ctx, c.ID, answer)
		if err == nil || errors.Is(err, safeguard.ErrRefused) || ctx.Err() != nil || try == remoteTries {
			if err != nil {
				r.log.Warn("command of the centre not answered", "id", c.ID, "err", err)
			}
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(remoteAgain):
		}
	}
}

// answer does a command at most once, whatever happens meanwhile: what is begun is
// on disk before, and what came of it after, for a centre that asks again because
// the answer was lost.
func (r *remote) answer(ctx context.Context, c safeguard.RemoteCommand) safeguard.RemoteAnswer {
	refuse := func(why string) safeguard.RemoteAnswer {
		_ = r.audit(ctx, r.who(c), "remote "+string(c.Do)+" "+c.ID, "refused: "+why)
		return safeguard.RemoteAnswer{Outcome: safeguard.CommandRefused, Text: why}
	}
	if !r.ours(c.Agent) {
		return refuse("the command is another agent's")
	}
	begun, err := r.begun()
	if err != nil {
		return failed("not begun: which commands were begun before can not be read")
	}
	if before, ok := begun[c.ID]; ok {
		return before.answer()
	}
	do := r.do[c.Do]
	now := time.Now().Add(r.clock())
	switch {
	case do == nil:
		return refuse("this agent does not know the command")
	case !slices.Contains(r.allow(), c.Do):
		return refuse("the site does not allow it: remote.allow in the agent's configuration")
	case now.After(c.Expires), c.Expires.After(now.Add(safeguard.LongestCommand + time.Hour)):
		return refuse("the command has expired, or is good for longer than any may be")
	}
	// Those that have long expired are forgotten: they are refused for that.
	maps.DeleteFunc(begun, func(_ string, b begunCommand) bool { return now.After(b.Expires.Add(24 * time.Hour)) })
	begun[c.ID] = begunCommand{Expires: c.Expires}
	if err := r.keep(begun); err != nil {
		return failed("not begun: it could not be noted that it is")
	}
	// Nothing is done that the site can not see afterwards.
	if err := r.audit(ctx, r.who(c), "remote "+string(c.Do)+" "+c.ID, "all"); err != nil {
		r.log.Warn("command of the centre not written into the audit", "id", c.ID, "err", err)
		return failed("not done: it could not be written into the agent's audit")
	}
	out := done(ctx, do)
	if ctx.Err() != nil {
		return out
	}
	begun[c.ID] = begunCommand{c.Expires, out.Outcome, out.Text, len(out.Bundle) > 0}
	if err := r.keep(begun); err != nil {
		r.log.Warn("what came of a command is not kept, and is lost if the answer is", "id", c.ID, "err", err)
	}
	return out
}

// done does it, and says what came of it.
func done(ctx context.Context, do func(ctx context.Context) (string, []byte, error)) safeguard.RemoteAnswer {
	ctx, cancel := context.WithTimeout(ctx, remoteTime)
	defer cancel()
	text, bundle, err := do(ctx)
	switch {
	case err != nil:
		return failed(err.Error())
	case len(bundle) > safeguard.MostRemoteBundle:
		return failed(fmt.Sprintf("the bundle has %d bytes, and %d can be sent: have the site send it", len(bundle), safeguard.MostRemoteBundle))
	}
	return safeguard.RemoteAnswer{Outcome: safeguard.CommandDone, Text: clipped(text), Bundle: bundle}
}

func failed(why string) safeguard.RemoteAnswer {
	return safeguard.RemoteAnswer{Outcome: safeguard.CommandFailed, Text: clipped(why)}
}

func (r *remote) who(c safeguard.RemoteCommand) string { return "centre, " + c.By }

// clipped is text as an answer may have it: what is not UTF-8 could not be sent.
func clipped(text string) string {
	return strings.ToValidUTF8(text[:min(len(text), safeguard.MostRemoteText)], "")
}

// begunCommand is what is on disk of a command that was begun.
type begunCommand struct {
	Expires time.Time               `json:"expires"`
	Outcome safeguard.RemoteOutcome `json:"outcome,omitempty"` // empty until it is over
	Text    string                  `json:"text,omitempty"`
	Bundle  bool                    `json:"bundle,omitempty"` // one was made, and is not kept
}

// answer is what is said of it when it is asked for again.
func (b begunCommand) answer() safeguard.RemoteAnswer {
	switch {
	case b.Outcome == "":
		return failed("it was begun, and the agent stopped before it was over; it is done at most once: order it again")
	case b.Bundle:
		return failed("the bundle was made, and did not arrive; it is made at most once: order it again")
	}
	return safeguard.RemoteAnswer{Outcome: b.Outcome, Text: b.Text}
}

// begun are the commands that were, by their ID.
func (r *remote) begun() (map[string]begunCommand, error) {
	all := map[string]begunCommand{}
	text, err := os.ReadFile(r.file)
	if errors.Is(err, fs.ErrNotExist) {
		return all, nil
	}
	if err != nil {
		return nil, err
	}
	return all, json.Unmarshal(text, &all)
}

func (r *remote) keep(begun map[string]begunCommand) error {
	text, err := json.Marshal(begun)
	if err != nil {
		return err
	}
	return disk.Replace(r.file, text)
}

// named tells whether the agent is meant, as its certificate names it. Where
// another authority has issued that, only the centre knows the whole name.
func named(own *identity.Own, organisation safeguard.ODSCode) func(agent string) bool {
	return func(agent string) bool {
		leaf := own.Leaf()
		if len(leaf.URIs) == 0 {
			return strings.HasPrefix(agent, organisation.String()+"/")
		}
		id, err := identity.Of(leaf)
		return err == nil && agent == id.Code.String()+"/"+id.ID
	}
}

// remoteCheck gives what the agent's own check finds, a line each.
func remoteCheck(check func(ctx context.Context, say func(Finding) error) error) func(ctx context.Context) (string, []byte, error) {
	return func(ctx context.Context) (string, []byte, error) {
		counts := map[Result]int{}
		var lines bytes.Buffer
		err := check(ctx, func(f Finding) error {
			counts[f.Result]++
			fmt.Fprintf(&lines, "%s %s: %s\n", f.Result, f.Check, f.Text)
			if f.Do != "" {
				fmt.Fprintf(&lines, "  do: %s\n", f.Do)
			}
			return ctx.Err()
		})
		return fmt.Sprintf("%d passed, %d warnings, %d failed\n%s", counts[Pass], counts[Warn], counts[Fail], lines.String()), nil, err
	}
}
