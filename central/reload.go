package central

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/safeguard-edge/safeguard/central/audit"
	"github.com/safeguard-edge/safeguard/central/store"
	"github.com/safeguard-edge/safeguard/configs"
	"github.com/safeguard-edge/safeguard/control"
	"github.com/safeguard-edge/safeguard/logging"
)

// reloader takes the configuration file again when a command or a SIGHUP says so:
// new and changed sites and authorities take part at once, and the log is written
// as it says. It is checked whole before anything changes, and what needs a restart
// is said by name.
type reloader struct {
	store store.Store
	log   *slog.Logger

	mu sync.Mutex // guards the field below; held over a whole change
	in Config
}

// live are the sections that a running centre takes.
var live = []string{"sites", "authorities"}

// Run waits for SIGHUP until ctx ends.
func (r *reloader) Run(ctx context.Context) error {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	for {
		select {
		case <-hangup:
			_, _ = r.reload(ctx, "SIGHUP") // has logged what is wrong
		case <-ctx.Done():
			return nil
		}
	}
}

// operate answers the config commands of the control channel.
func (r *reloader) operate(ctx context.Context, who string, args json.RawMessage, send func(any) error) error {
	var do string
	if err := json.Unmarshal(args, &do); err != nil || do != "reload" {
		return errors.New("config: want reload")
	}
	done, err := r.reload(ctx, who)
	if err != nil {
		return fmt.Errorf("%w; what was in force stays in force", err)
	}
	return send(done)
}

// reload takes what can be taken, and logs what became of it. An error means that
// nothing has changed.
func (r *reloader) reload(ctx context.Context, by string) (done control.Reloaded, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if done.Applied, done.Restart, err = r.apply(ctx); err != nil {
		r.log.Error("configuration not taken, the last good one stays in force", "by", by, "err", err)
		return control.Reloaded{}, err
	}
	r.log.Info("configuration taken", "by", by, "applied", done.Applied, "needs_restart", done.Restart)
	return done, nil
}

func (r *reloader) apply(ctx context.Context) (applied, restart []string, err error) {
	next, err := Load(r.in.file)
	if err != nil {
		return nil, nil, err
	}
	if _, err := next.targets(); err != nil {
		return nil, nil, fmt.Errorf("configuration %s: %w", r.in.file, err)
	}
	if logs := logging.Of(r.log); logs != nil && logs.Config() != next.Log {
		if err := logs.Configure(next.Log); err != nil {
			return nil, nil, fmt.Errorf("configuration %s: %w", r.in.file, err)
		}
		r.in.Log = next.Log
		applied = append(applied, "log")
	}
	participants := false
	for _, key := range configs.Diff(r.in, next) {
		if slices.Contains(live, key) {
			applied, participants = append(applied, key), true
		} else {
			restart = append(restart, key)
		}
	}
	if participants {
		sites, authorities, err := next.participants()
		if err != nil {
			return nil, nil, err
		}
		if err := r.store.Import(ctx, sites, authorities, audit.Who{Caller: "configuration"}); err != nil {
			return nil, nil, err
		}
		r.in.Sites, r.in.Authorities = next.Sites, next.Authorities
	}
	return applied, restart, nil
}

// Initial is what a new configuration file is told. What is empty is that of the
// sample.
type Initial struct {
	Listen           string // host:port
	PublicAddress    string // host:port
	Data             string // folder
	MasterKey        string // file
	Certificate, Key string // files
	TestNumbers      bool   // of the range 999 are taken as any others
	ClientsCA        string // file; empty for no authority but the centre's own
}

// Write writes a file that loads, at path, and not over one that is there. Nobody
// takes part yet: who does is an operator's to say.
func (i Initial) Write(path string) error {
	text, err := configs.Sample("central", "")
	if err != nil {
		return err
	}
	for _, set := range []struct{ path, value string }{
		{"listen", i.Listen},
		{"public_address", i.PublicAddress},
		{"data", i.Data},
		{"master_key", i.MasterKey},
		{"tls.certificate", i.Certificate},
		{"tls.key", i.Key},
		{"tls.clients_ca", i.ClientsCA},
	} {
		if set.value == "" {
			continue
		}
		changed, ok := configs.Set(text, set.path, set.value)
		if !ok {
			return errors.New("the sample has no " + set.path)
		}
		text = changed
	}
	if i.Data != "" {
		text, _ = configs.Set(text, "uploads.folder", i.Data+"/uploads")
	}
	if i.ClientsCA == "" {
		text = strings.Replace(text, "\n  clients_ca:", "\n# clients_ca:", 1)
	}
	text, _, found := strings.Cut(text, "\nsites:")
	if !found {
		return errors.New("the sample has no sites")
	}
	_, rest, _ := strings.Cut(text, "\n")
	if i.TestNumbers {
		rest = "\nproduction_checks: false                      # a test environment: NHS numbers of the test range (999) are patients' as any others\n" + rest
	}
	text = "# Written by safeguard-central config init. Paths are relative to this file's folder.\n" + rest +
		"\n# Who takes part is told to the running centre: safeguard-central site add, safeguard-central authority add.\n"
	return configs.WriteNew(path, text, func(path string) error {
		_, err := Load(path)
		return err
	})
}
