// Package central is the flag service put together: its configuration, its
// parts, and what its commands do.
package central

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/safeguard-edge/safeguard/cache/keys"
	"github.com/safeguard-edge/safeguard/central/alarm"
	"github.com/safeguard-edge/safeguard/central/audit"
	"github.com/safeguard-edge/safeguard/central/identity"
	"github.com/safeguard-edge/safeguard/central/inbox"
	"github.com/safeguard-edge/safeguard/central/metrics"
	"github.com/safeguard-edge/safeguard/central/server"
	"github.com/safeguard-edge/safeguard/central/store"
	"github.com/safeguard-edge/safeguard/central/webhook"
	"github.com/safeguard-edge/safeguard/control"
	"github.com/safeguard-edge/safeguard/logging"
	"github.com/safeguard-edge/safeguard/tracing"
)

// Run is the centre: it opens the keys and the store, listens, serves until ctx
// ends, and returns nil after a clean stop. The configuration must be valid.
// ready is called once it listens, with what tells whether the centre is alive.
func Run(ctx context.Context, c Config, log *slog.Logger, ready func(alive func(context.Context) error)) (err error) {
	sites, authorities, err := c.participants()
	if err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	targets, err := c.targets()
	if err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	logs := logging.Of(log)
	if logs != nil {
		if err := logs.Configure(c.Log); err != nil {
			log.Error("not logged as configured", "err", err)
		}
	}
	host, _ := os.Hostname()
	traces, err := tracing.Start(ctx, c.Traces, tracing.Program{Name: "safeguard-central", Instance: host}, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, traces.Close()) }()
	ring, err := c.openKeys()
	if err != nil {
		return err
	}
	entrance, err := identity.ServerTLS(c.TLS.files(), identity.ServerKey(ring), identity.Named(c.Certificates.named()))
	if err != nil {
		return err
	}
	held, err := c.openStoreWith(ctx, ring)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, held.Close()) }()
	if err := held.Import(ctx, sites, authorities, audit.Who{Caller: "configuration"}); err != nil {
		return err
	}
	who := participants{store: held, directory: server.NewDirectory(nil, nil), log: log}
	if err := who.read(ctx, time.Now()); err != nil {
		return err
	}

	// An address of the last run must not be taken for this one's.
	for _, file := range []string{c.AddressFile, c.Web.AddressFile, c.Staff.AddressFile} {
		if err := os.Remove(file); file != "" && err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("address file: %w", err)
		}
	}
	pusher, err := webhook.New(held, c.holder(), who.directory.Known, targets, log)
	if err != nil {
		return err
	}
	s, err := server.Listen(c.Listen, entrance, held, who.directory, c.serverPolicy(), log)
	if err != nil {
		return err
	}
	watcher, err := c.watcher(held, c.holder(), log)
	if err != nil {
		return err
	}
	routes, err := c.Fleet.routes()
	if err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	var shown *metrics.Server
	if c.Fleet.Metrics != "" {
		if shown, err = metrics.Listen(c.Fleet.Metrics, held, s.Counts, probes(held, s.Addr().String()), log); err != nil {
			return err
		}
	}
	pages, err := c.pages(held, entrance, log)
	if err != nil {
		return err
	}
	viewing, err := c.staffPages(held, entrance, s, log)
	if err != nil {
		return err
	}
	settings := &reloader{store: held, log: log, in: c}
	operators := c.operators(settings, log)
	teller := &alarm.Teller{Store: held, Holder: c.holder(), Routes: routes, Log: log}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.Run(ctx) })
	g.Go(func() error { return who.Run(ctx) })
	g.Go(func() error { return settings.Run(ctx) })
	if operators != nil {
		g.Go(func() error { return operators.Run(ctx) })
	}
	if logs != nil {
		g.Go(func() error { return logs.Run(ctx) })
	}
	g.Go(func() error { return pusher.Run(ctx) })
	g.Go(func() error { return watcher.Run(ctx) })
	g.Go(func() error { return teller.Run(ctx) })
	g.Go(func() error { return retaining{held, c.Retention, c.holder(), log}.Run(ctx) })
	if pages != nil {
		g.Go(func() error { return c.servePages(ctx, pages) })
	}
	if viewing != nil {
		g.Go(func() error { return c.serveStaff(ctx, viewing) })
	}
	if shown != nil {
		g.Go(func() error { return shown.Run(ctx) })
	}
	own := ownCertificate{store: held, entrance: entrance, place: identity.Place{Files: c.TLS.files(), Sealer: ring}, life: c.Certificates.Life, log: log}
	g.Go(func() error { return own.Run(ctx) })
	if c.Uploads.Folder != "" {
		folder := &inbox.Inbox{Folder: c.Uploads.Folder, Poll: c.Uploads.Poll, Settle: c.Uploads.Settle,
			Intake: s.Intake(), Store: held, Holder: c.holder(), Contact: who.directory.Authority, Log: log}
		g.Go(func() error { return folder.Run(ctx) })
	}
	if c.AddressFile != "" {
		g.Go(func() error { return writeWhole(c.AddressFile, s.Addr().String()+"\n") })
	}
	log.Info("central started", "address", s.Addr().String(), "data", c.Data, "sites", who.sites,
		"authorities", who.authorities, "production_checks", c.ProductionChecks)
	ready(func(ctx context.Context) error { return answers(ctx, s.Addr().String()) })
	err = g.Wait()
	log.Info("central stopped", "counts", s.Counts())
	return err
}

// operators is the control channel: nil when it can not be had, as for the second
// process on a machine, which needs it less than to run.
func (c Config) operators(settings *reloader, log *slog.Logger) *control.Server {
	s, err := control.Listen(control.Address(control.Centre, c.Data), map[string]control.Handler{"config": settings.operate, "log": control.HandleLog(log)}, log)
	if err != nil {
		log.Warn("commands do not reach this process", "commands", "config reload, log", "err", err)
		return nil
	}
	return s
}

// probes tell monitoring, or a load balancer, whether to restart this process, and
// whether to send callers to it.
func probes(s *store.DB, address string) metrics.Probes {
	alive := func(ctx context.Context) error { return answers(ctx, address) }
	return metrics.Probes{Alive: alive, Ready: func(ctx context.Context) error {
		if err := s.Ready(ctx); err != nil {
			return err
		}
		return alive(ctx)
	}}
}

// answers gives an error unless the centre takes a connection and shows its
// certificate. It asks nothing: a database that is away is mended by no restart.
func answers(ctx context.Context, address string) error {
	dialer := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("the centre does not answer itself: %w", err)
	}
	_ = conn.Close()
	return nil
}

// holder names this process among those that share a store. An embedded store is
// of one process: what it held when it was killed is its own again when it is back.
func (c Config) holder() string {
	if c.Store.Postgres.DSNFile == "" {
		return "embedded"
	}
	host, _ := os.Hostname()
	return fmt.Sprintf("process %d on %s, %s", os.Getpid(), host, rand.Text())
}

// openKeys opens the keys that persons in the store, and other secrets, are sealed
// under.
func (c Config) openKeys() (*keys.Ring, error) {
	if err := os.MkdirAll(c.Data, 0o700); err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	ring, err := keys.Open(filepath.Join(c.Data, "keys"), keys.SystemMaster(c.MasterKey))
	if err != nil {
		return nil, fmt.Errorf("open keys: %w", err)
	}
	return ring, nil
}

// openStore opens the store, and first its keys.
func (c Config) openStore(ctx context.Context) (*store.DB, error) {
	ring, err := c.openKeys()
	if err != nil {
		return nil, err
	}
	return c.openStoreWith(ctx, ring)
}

func (c Config) openStoreWith(ctx context.Context, ring *keys.Ring) (*store.DB, error) {
	if c.Store.Postgres.DSNFile == "" {
		return store.OpenSQLite(ctx, c.databaseFile(), ring)
	}
	dsn, err := c.dsn()
	if err != nil {
		return nil, err
	}
	return store.OpenPostgres(ctx, dsn, ring)
}

// databaseFile is that of the embedded store.
func (c Config) databaseFile() string { return filepath.Join(c.Data, "central.db") }

func (c Config) dsn() (string, error) {
	dsn, err := os.ReadFile(c.Store.Postgres.DSNFile)
	if err != nil {
		return "", fmt.Errorf("store.postgres.dsn_file: %w", err)
	}
	return strings.TrimSpace(string(dsn)), nil
}

// DestroyKeys shreds the keys of a stopped centre that is removed for good: no
// person in its store can be read any more, here or in a backup of it.
func DestroyKeys(file string) error {
	c, err := Load(file)
	if err != nil {
		return err
	}
	folder := filepath.Join(c.Data, "keys")
	if _, err := os.Stat(folder); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return keys.Destroy(folder, keys.SystemMaster(c.MasterKey))
}

// writeWhole writes a file so that a reader sees all of it or nothing.
func writeWhole(path, text string) error {
	aside := path + ".new"
	if err := os.WriteFile(aside, []byte(text), 0o644); err != nil {
		return fmt.Errorf("address file: %w", err)
	}
	if err := os.Rename(aside, path); err != nil {
		return fmt.Errorf("address file: %w", err)
	}
	return nil
}
