package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/safeguard-edge/safeguard/configs"
	"github.com/safeguard-edge/safeguard/control"
	"github.com/safeguard-edge/safeguard/disk"
	"github.com/safeguard-edge/safeguard/logging"
)

// Reloaded tells what became of a configuration that was read again.
type Reloaded struct {
	control.Reloaded
	File    string    `json:"file"`
	At      time.Time `json:"at"`
	Fault   string    `json:"fault,omitempty"`
	Since   time.Time `json:"since"`             // what is in force, is since then
	Aside   string    `json:"aside,omitempty"`   // why the agent started with the last good configuration instead of the file
	InForce []byte    `json:"inforce,omitempty"` // of "show": the configuration, YAML
}

// live is the configuration of a running agent, and what it is applied to.
type live struct {
	log   *slog.Logger
	feeds *liveFeeds
	sinks *liveSinks
	taken func(digest string) // is told what is in force now

	mu    sync.Mutex // guards the fields below; held over a whole change
	in    Config
	last  Reloaded
	since time.Time

	checked sync.Mutex // guards the field below
	fails   []string   // of the last check, by name
}

func newLive(c Config, feeds *liveFeeds, sinks *liveSinks, log *slog.Logger) *live {
	now := time.Now()
	return &live{log: log, feeds: feeds, sinks: sinks, in: c, since: now, last: Reloaded{File: c.file, Since: now, Aside: c.aside}}
}

// current is the configuration in force.
func (l *live) current() Config {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.in
}

// Run reads the configuration again at each SIGHUP, until ctx ends.
func (l *live) Run(ctx context.Context) error {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	for {
		select {
		case <-hangup:
			_, _ = l.reload("SIGHUP") // has logged what is wrong
		case <-ctx.Done():
			return nil
		}
	}
}

// reload reads the file again and applies it. It is checked whole before anything
// changes; what is in force stays so if anything is wrong.
func (l *live) reload(by string) (Reloaded, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := Reloaded{File: l.in.file, At: time.Now(), Since: l.since}
	next, err := LoadConfig(l.in.file)
	if err == nil {
		err = l.apply(next, &r)
	}
	if err != nil {
		r.Fault = err.Error()
		l.log.Error("configuration not taken, the last good one stays in force", "by", by, "since", l.since, "err", err)
	} else {
		l.since, r.Since = r.At, r.At
		l.log.Info("configuration taken", "by", by, "applied", r.Applied, "needs_restart", r.Restart)
	}
	l.last = r
	return r, err
}

// apply changes what can be changed now, and says what can not.
func (l *live) apply(next Config, r *Reloaded) error {
	merged := next.withRestartKeysOf(l.in)
	if r.Restart = configs.Diff(merged, next); len(r.Restart) > 0 {
		if err := merged.Validate(); err != nil {
			return fmt.Errorf("needs a restart for %s, and without them it is not valid: %w", strings.Join(r.Restart, ", "), err)
		}
	}
	zone, err := merged.Zone()
	if err != nil {
		return err
	}
	logs, err := l.logAs(merged.Log)
	if err != nil {
		return err
	}
	feeds, err := l.feeds.apply(merged, zone)
	if err != nil {
		_, back := l.logAs(l.in.Log)
		return errors.Join(err, back)
	}
	sinks, err := l.sinks.apply(l.in, merged)
	if err != nil {
		_, back := l.feeds.apply(l.in, zone)
		_, again := l.logAs(l.in.Log)
		return errors.Join(err, back, again)
	}
	if logs {
		r.Applied = append(r.Applied, "log")
	}
	for _, name := range feeds {
		r.Applied = append(r.Applied, "feed "+name)
	}
	for _, name := range sinks {
		r.Applied = append(r.Applied, "sink "+name)
	}
	if !slices.Equal(l.in.Remote.Allow, merged.Remote.Allow) {
		r.Applied = append(r.Applied, "remote")
	}
	l.in = merged
	if l.taken != nil {
		l.taken(merged.Digest)
	}
	if len(r.Restart) == 0 {
		if err := next.keepLastGood(); err != nil {
			l.log.Warn("last good configuration not kept for the next start", "err", err)
		}
	}
	return nil
}

// logAs logs as the configuration says from now on, and tells whether that is
// another way.
func (l *live) logAs(c logging.Config) (changed bool, err error) {
	logs := logging.Of(l.log)
	if logs == nil || logs.Config() == c {
		return false, nil
	}
	return true, logs.Configure(c)
}

// withRestartKeysOf is c with everything that a running agent can not change as
// the old configuration has it: all but feeds, how sinks work and word, what central
// operations may ask for, and the log.
func (c Config) withRestartKeysOf(old Config) Config {
	merged := old
	merged.Feeds, merged.Wording, merged.Remote, merged.Log = c.Feeds, c.Wording, c.Remote, c.Log
	merged.file, merged.text, merged.Digest = c.file, c.text, c.Digest
	if slices.EqualFunc(old.Sinks, c.Sinks, func(a, b Sink) bool { return a.Name == b.Name }) {
		merged.Sinks = c.Sinks
	}
	return merged
}

// operate answers the config commands.
func (l *live) operate(_ context.Context, who string, args json.RawMessage, send func(any) error) error {
	var do string
	if err := json.Unmarshal(args, &do); err != nil {
		return errors.New("config: want one word")
	}
	switch do {
	case "reload":
		r, err := l.reload(who)
		if err != nil {
			return fmt.Errorf("%w; what was in force stays in force", err)
		}
		return send(r)
	case "show":
		l.mu.Lock()
		c, r := l.in, l.last
		l.mu.Unlock()
		var err error
		if r.InForce, err = configs.Show(c); err != nil {
			return err
		}
		return send(r)
	}
	return fmt.Errorf("config %q: want reload or show", do)
}

// InForce asks the agent that runs with the file what is in force. The file may be
// bad: only its data folder is needed.
func InForce(ctx context.Context, file string) (r Reloaded, err error) {
	err = control.CallOf(ctx, control.Agent, file, "config", "show", func(row json.RawMessage) error { return json.Unmarshal(row, &r) })
	return r, err
}

// The last good configuration is kept beside what the agent keeps, so that a file
// that was left half edited does not keep the agent from starting.
func lastGood(data string) string { return filepath.Join(data, "config", "last-good.yaml") }

// keepLastGood keeps the text of the file, for the next start.
func (c Config) keepLastGood() error {
	if c.text == nil {
		return nil
	}
	return disk.Replace(lastGood(c.Data), c.text)
}

// LoadOrLastGood reads the file as LoadConfig does. If it is bad it takes the
// configuration that the agent last ran with instead, and says so; there must be
// a data folder in the file to find it by.
func LoadOrLastGood(file string, log *slog.Logger) (Config, error) {
	c, bad := LoadConfig(file)
	if bad == nil {
		return c, nil
	}
	data, err := configs.DataFolder(file)
	if err != nil {
		return Config{}, bad
	}
	kept, err := os.ReadFile(lastGood(data))
	if err != nil {
		return Config{}, bad
	}
	if c, err = parseConfig(file, kept); err != nil {
		return Config{}, bad
	}
	c.aside = bad.Error()
	log.Error("configuration is bad, started with the last good one", "err", bad, "last_good", lastGood(data))
	return c, nil
}
