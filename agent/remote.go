package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
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
	allow []safeguard.RemoteDo
	self  func() (string, error) // as the certificate names the agent
	audit func(ctx context.Context, who, what, rows string) error
	do    map[safeguard.RemoteDo]func(ctx context.Context) (text string, bundle []byte, err error)
	file  string               // the commands that were begun, so that none is done twice
	clock func() time.Duration // how far the centre's clock is ahead
	log   *slog.Logger

	called chan struct{}
}

const (
	remoteAgain = time.Minute // after the centre could not be asked, or told
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
// on disk before.
func (r *remote) answer(ctx context.Context, c safeguard.RemoteCommand) safeguard.RemoteAnswer {
	refuse := func(why string) safeguard.RemoteAnswer {
		_ = r.audit(ctx, r.who(c), "remote "+string(c.Do)+" "+c.ID, "refused: "+why)
		return safeguard.RemoteAnswer{Outcome: safeguard.CommandRefused, Text: why}
	}
	self, err := r.self()
	do := r.do[c.Do]
	now := time.Now().Add(r.clock())
	switch {
	case err != nil || c.Agent != self:
		return refuse("the command is another agent's")
	case do == nil:
		return refuse("this agent does not know the command")
	case !slices.Contains(r.allow, c.Do):
		return refuse("the site does not allow it: remote.allow in the agent's configuration")
	case now.After(c.Expires), c.Expires.After(now.Add(safeguard.LongestCommand + time.Hour)):
		return refuse("the command has expired, or is good for longer than any may be")
	}
	begun, err := r.begin(c, now)
	if err != nil {
		return safeguard.RemoteAnswer{Outcome: safeguard.CommandFailed, Text: "not begun: it could not be noted that it is"}
	}
	if begun {
		return refuse("it was begun before, and is done at most once: the agent's log has what came of it")
	}
	// Nothing is done that the site can not see afterwards.
	if err := r.audit(ctx, r.who(c), "remote "+string(c.Do)+" "+c.ID, "all"); err != nil {
		r.log.Warn("command of the centre not written into the audit", "id", c.ID, "err", err)
		return safeguard.RemoteAnswer{Outcome: safeguard.CommandFailed, Text: "not done: it could not be written into the agent's audit"}
	}
	limited, cancel := context.WithTimeout(ctx, remoteTime)
	defer cancel()
	text, bundle, err := do(limited)
	switch {
	case err != nil:
		return safeguard.RemoteAnswer{Outcome: safeguard.CommandFailed, Text: clipped(err.Error())}
	case len(bundle) > safeguard.MostRemoteBundle:
		return safeguard.RemoteAnswer{Outcome: safeguard.CommandFailed, Text: fmt.Sprintf("the bundle has %d bytes, and %d can be sent: have the site send it", len(bundle), safeguard.MostRemoteBundle)}
	}
	return safeguard.RemoteAnswer{Outcome: safeguard.CommandDone, Text: clipped(text), Bundle: bundle}
}

func (r *remote) who(c safeguard.RemoteCommand) string { return "centre, " + c.By }

func clipped(text string) string { return text[:min(len(text), safeguard.MostRemoteText)] }

// begin notes on disk that a command is begun, and tells whether it was before.
// Those that have long expired are forgotten: they are refused for that.
func (r *remote) begin(c safeguard.RemoteCommand, now time.Time) (before bool, err error) {
	known := map[string]time.Time{}
	text, err := os.ReadFile(r.file)
	if err == nil {
		err = json.Unmarshal(text, &known)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err // which begun ones there were is not known
	}
	if _, before = known[c.ID]; before {
		return true, nil
	}
	for id, expires := range known {
		if now.After(expires.Add(24 * time.Hour)) {
			delete(known, id)
		}
	}
	known[c.ID] = c.Expires
	if text, err = json.Marshal(known); err != nil {
		return false, err
	}
	return false, disk.Replace(r.file, text)
}

// named is the agent as its certificate names it.
func named(own *identity.Own) func() (string, error) {
	return func() (string, error) {
		id, err := identity.Of(own.Leaf())
		return id.Code.String() + "/" + id.ID, err
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
