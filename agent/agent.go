package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/agent/journal"
	"github.com/safeguard-edge/safeguard/agent/lookup"
	"github.com/safeguard-edge/safeguard/agent/metrics"
	"github.com/safeguard-edge/safeguard/agent/pipeline"
	"github.com/safeguard-edge/safeguard/agent/status"
	"github.com/safeguard-edge/safeguard/agent/statuspage"
	"github.com/safeguard-edge/safeguard/cache"
	"github.com/safeguard-edge/safeguard/cache/keys"
	"github.com/safeguard-edge/safeguard/central/client"
	"github.com/safeguard-edge/safeguard/central/identity"
	"github.com/safeguard-edge/safeguard/control"
	"github.com/safeguard-edge/safeguard/hl7adapter/adt"
	"github.com/safeguard-edge/safeguard/hl7adapter/epr/cdshooks"
	"github.com/safeguard-edge/safeguard/logging"
	"github.com/safeguard-edge/safeguard/tracing"
)

// Run runs the agent until ctx ends: first what it owes, then what it takes on.
// What is not settled at the end is there again at the next start. ready is called
// once the feeds listen, with what tells whether the agent is alive.
func Run(ctx context.Context, c Config, log *slog.Logger, ready func(alive func(context.Context) error)) (err error) {
	zone, err := c.Zone()
	if err != nil {
		return err
	}
	logs := logging.Of(log)
	if logs != nil {
		if err := logs.Configure(c.Log); err != nil {
			// Patients are looked after all the same.
			log.Error("not logged as configured", "err", err)
		}
	}
	if err := os.MkdirAll(c.Data, 0o700); err != nil {
		return fmt.Errorf("make data folder: %w", err)
	}
	ring, err := keys.Open(c.keysFolder(), keys.SystemMaster(c.MasterKey))
	if err != nil {
		return fmt.Errorf("open keys: %w", err)
	}
	if err := c.enrolLeft(ctx, ring, log); err != nil {
		return err
	}
	own, err := identity.OpenOwn(c.place(ring), identity.Agent)
	if err != nil {
		return fmt.Errorf("central link: %w", err)
	}
	centre, err := client.Dial(c.Central.Address, nil, client.Others(c.Central.Others...), client.Renewed(own.Config))
	if err != nil {
		return err
	}
	defer closing(&err, centre.Close)
	policy := cache.DefaultPolicy()
	policy.Agreement = c.Cache.Agreement
	answers, err := cache.Open(filepath.Join(c.Data, "cache"), ring, policy, cache.WithLog(log))
	if err != nil {
		return fmt.Errorf("open cache: %w", err)
	}
	defer closing(&err, answers.Close)
	entries, err := journal.Open(filepath.Join(c.Data, "journal"), ring, journal.WithPolicy(c.Journal), journal.WithLog(log))
	if err != nil {
		return err
	}
	defer closing(&err, entries.Close)
	traces, err := c.trace(ctx, entries, log)
	if err != nil {
		return err
	}
	defer closing(&err, traces.Close)
	handlers := map[string]control.Handler{"journal": entries.Operate, "keys": handleKeys(ring, log)}
	operators, err := control.Listen(control.Address(control.Agent, c.Data), handlers, log)
	if err != nil {
		return err
	}
	defer closing(&err, operators.Close)

	sinks, err := c.openLiveSinks(log)
	if err != nil {
		return err
	}
	defer closing(&err, sinks.Close)
	flags := lookup.New(centre, answers, c.Central.Deadline, log)
	p := &pipeline.Pipeline{
		Journal:     entries,
		Flags:       flags,
		Centre:      centre,
		Sinks:       sinks.pipeline(),
		Rules:       c.rules(),
		Device:      c.Device,
		Accountable: safeguard.Accountable(c.Accountable),
		Silent:      c.Observe.silent(),
		Released:    sinks.released,
		Log:         log,
	}
	handlers["observed"], handlers["reconcile"] = p.Observed, p.Reconcile
	follower := &lookup.Follower{
		Changes: c.changes(centre), Lookup: flags, Kept: answers, Attendances: p, File: filepath.Join(c.Data, "changes", "resume"), Log: log,
	}
	refresh := make(chan struct{}, 1)
	refresher := &lookup.Refresher{Lookup: flags, Kept: answers, Attendances: p, Open: isOpen(entries), Now: refresh, Log: log}

	var hooks *cdshooks.Service
	if c.CDSHooks != nil {
		asked := c.CDSHooks.Config
		asked.Delivery.SiteObserves = c.Observe.Enabled
		if hooks, err = cdshooks.Listen(asked, c.Wording, zone, inForce{entries}, log); err != nil {
			return fmt.Errorf("cds_hooks: %w", err)
		}
		defer func() { _ = hooks.Close() }() // Run has closed it already, where it ran
	}

	// Feeds bind last, so that nothing is taken on by an agent that can not start.
	feeds, err := openFeeds(c, zone, log)
	if err != nil {
		return err
	}
	p.ADT = feeds
	if err := c.keepLastGood(); err != nil {
		log.Warn("last good configuration not kept for the next start", "err", err)
	}
	settings := newLive(c, feeds, sinks, log)
	handlers["feeds"] = operateFeeds(feeds) // before operators runs
	handlers["epr"] = operateSinks(settings, hooks)
	handlers["config"] = settings.operate
	look := checker{config: c, feeds: feeds, sinks: sinks, keys: func() (KeysStatus, error) { return operateKeys(ring, StatusOfKeys) }}
	handlers["log"] = control.HandleLog(log)
	handlers["check"] = settings.operateCheck(look)
	handlers["attendances"] = p.Operate
	all := parts{config: c, feeds: feeds, pipeline: p, sinks: sinks, lookup: flags, cache: answers, own: own, settings: settings}
	sources := all.sources()
	asked := &remote{
		centre: centre, allow: func() []safeguard.RemoteDo { return settings.current().Remote.Allow }, ours: named(own, c.Organisation),
		audit: entries.Audit, file: filepath.Join(c.Data, "commands", "known.json"), log: log, called: make(chan struct{}, 1),
	}
	sources.Replied = asked.replied
	reporter := status.New(c.reportOn(zone), sources, centre, log)
	settings.taken = reporter.Configured
	numbers := metrics.New(metrics.Sources{Report: reporter.Report, Counters: p.Counters, Feeds: all.feedStats})
	flags.Looked = numbers.Looked
	shown := statuspage.New(c.Status, statuspage.Parts{Report: reporter.Report, Day: reporter.Day, Alive: entries.Alive, Zone: zone, Metrics: numbers.Handler()}, log)
	gather := bundler{
		version: c.Version, file: c.file, config: func() (Config, error) { return settings.current(), nil },
		check: func(ctx context.Context, say func(Finding) error) error { return settings.check(ctx, look, say) },
		shown: func() any { return shown.Shown() }, journal: entries, feeds: feeds, keys: look.keys, metrics: numbers.Handler(), log: log,
	}
	handlers["support"] = gather.operate
	asked.clock = func() time.Duration { return reporter.Report().Clock.Offset }
	asked.do = map[safeguard.RemoteDo]func(context.Context) (string, []byte, error){
		safeguard.RunCheck: remoteCheck(gather.check),
		safeguard.RefreshCache: func(context.Context) (string, []byte, error) {
			select {
			case refresh <- struct{}{}:
			default: // is about to
			}
			return "what is due is asked again", nil, nil
		},
		safeguard.RotateKeys: func(context.Context) (string, []byte, error) {
			_, err := operateKeys(ring, RotateKeys)
			return "new data keys seal from now on", nil, err
		},
		safeguard.SendBundle: func(ctx context.Context) (string, []byte, error) {
			var bundle bytes.Buffer
			err := gather.write(ctx, &bundle)
			return "the bundle is with this answer", bundle.Bytes(), err
		},
	}
	handlers["status"] = func(_ context.Context, _ string, _ json.RawMessage, send func(any) error) error {
		return send(shown.Shown())
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return entries.Run(ctx) })
	g.Go(func() error { return operators.Run(ctx) })
	g.Go(func() error { return answers.Run(ctx) })
	g.Go(func() error { return p.Run(ctx) })
	if hooks != nil {
		g.Go(func() error { return hooks.Run(ctx) })
	}
	g.Go(func() error { return renewer{c.place(ring), own, c.Central, log}.Run(ctx) })
	g.Go(func() error { return follower.Run(ctx) })
	g.Go(func() error { return refresher.Run(ctx) })
	g.Go(func() error { return reporter.Run(ctx) })
	g.Go(func() error { return shown.Run(ctx) })
	g.Go(func() error { return asked.Run(ctx) })
	g.Go(func() error { return settings.Run(ctx) })
	if logs != nil {
		g.Go(func() error { return logs.Run(ctx) })
	}
	g.Go(func() error { return feeds.Run(ctx, entries.Append) })
	if c.Observe.Enabled {
		log.Warn("the site observes: nothing is delivered", "lookups_silent", c.Observe.silent())
	}
	log.Info("agent started", "device", c.Device, "organisation", c.Organisation)
	ready(entries.Alive)
	g.Go(func() error {
		return settings.keepChecked(ctx, look)
	})
	err = g.Wait()
	log.Info("agent stopped")
	return err
}

// trace sends spans where the configuration says.
func (c Config) trace(ctx context.Context, entries *journal.Journal, log *slog.Logger) (*tracing.Traces, error) {
	if c.Traces.Endpoint == "" {
		return nil, nil
	}
	kept, err := entries.Stats(ctx)
	if err != nil {
		return nil, err
	}
	return tracing.Start(ctx, c.Traces, tracing.Program{
		Name: "safeguard-agent", Version: c.Version, Instance: c.Device, Journal: kept.Began.UTC().Format(time.RFC3339Nano),
	}, log)
}

// changes follows the centre for the agent's sites.
func (c Config) changes(centre *client.Client) lookup.Changes {
	return func(ctx context.Context, resume string) iter.Seq2[lookup.Change, error] {
		return func(yield func(lookup.Change, error) bool) {
			for change, err := range centre.Changes(ctx, c.Sites, resume) {
				if !yield(lookup.Change(change), err) {
					return
				}
			}
		}
	}
}

// isOpen tells whether an attendance has not ended, as far as the hospital says.
func isOpen(j *journal.Journal) func(context.Context, safeguard.AttendanceID) bool {
	return func(ctx context.Context, id safeguard.AttendanceID) bool {
		record, known, err := j.Record(ctx, id)
		return err == nil && known && record.Attendance.State == safeguard.Open
	}
}

func (c Config) parsers(zone *time.Location) parsers {
	p := parsers{}
	for _, f := range c.Feeds {
		p[f.Name] = adt.Parser{Site: f.site(c, zone)}
	}
	return p
}

// closing closes a part at the end, and reports its error if there is no other.
func closing(err *error, do func() error) {
	*err = errors.Join(*err, do())
}

// parsers reads each feed's messages as its site says.
type parsers map[string]adt.Parser

// Parse reads the entry. The feed it came from may since have left the
// configuration.
func (p parsers) Parse(e journal.Entry) (adt.Movement, error) {
	parser, ok := p[e.Feed]
	if !ok {
		return adt.Movement{}, fmt.Errorf("feed %q is no longer configured: configure it again, or settle this by hand", e.Feed)
	}
	return parser.Parse(adt.Message{Body: e.Body, Received: e.Received, Charset: e.Charset, Processing: e.Processing, Site: e.Site})
}
