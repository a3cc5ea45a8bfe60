// Package status gathers how the agent is into one report: its status page shows
// it, its commands print it, and the centre is sent it. It keeps the last day in
// columns of five minutes, learns what is usual for the hospital, and says what
// is wrong.
package status

import (
	"context"
	"crypto/rand"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/safeguard-edge/safeguard"
)

// Sources are the parts of the agent. Each gives its section of the report, when
// it is asked.
type Sources struct {
	Feeds       func() []safeguard.FeedHealth // but for the last hour
	Journal     func(ctx context.Context) (Journal, error)
	Sinks       func() []safeguard.SinkHealth // but for what waits
	Unreachable func() time.Time              // since when the centre does not answer lookups; zero while it does
	Cache       func() safeguard.CacheHealth
	Certificate func() (safeguard.CertificateHealth, error)
	Failing     func() []string // what fails of the last check, by name

	// Replied, where there is one, is handed each of the centre's replies. It must
	// not wait.
	Replied func(safeguard.HeartbeatReply)
}

// Journal is the section of journal and pipeline.
type Journal struct {
	safeguard.JournalHealth
	Alerts      map[string]safeguard.Queue // by sink
	Lookups     safeguard.Queue
	Corrections safeguard.Queue
	Unknown     safeguard.Queue
	Free, Floor uint64 // of the disk, in bytes

	// Counted since the start, as in safeguard.AttendanceHealth.
	Begun, NotCompleted, NoNumber, Unanswered int
}

// Agent says which agent this is.
type Agent struct {
	Device  string
	Version string
	Config  string // digest
	Zone    *time.Location
	Limits  safeguard.Limits
	File    string // where the last day, and what is usual, are kept over a restart
}

const (
	lookEvery   = 5 * time.Second
	probeEvery  = column
	column      = 5 * time.Minute
	day         = 24 * time.Hour
	window      = 4 * time.Hour // of the attendances
	sourceTime  = 5 * time.Second
	columnsHour = int(time.Hour / column)
)

// Reporter gathers the report. Make one with New; its methods may be called
// concurrently.
type Reporter struct {
	agent   Agent
	sources Sources
	centre  Centre
	log     *slog.Logger
	changed chan struct{} // the state or a warning has
	refused bool          // the last heartbeat was; beats' own
	probed  time.Time     // look's own

	mu      sync.Mutex // guards the fields below
	report  safeguard.Heartbeat
	columns []safeguard.Period // of the last day, oldest first; the last is not over
	before  counted
	usual   safeguard.Usual
	watch   safeguard.Watch
	sent    time.Time // the centre has the periods that end by then
	news    bool      // the report has warnings or a state that changed does not tell of yet
}

// counted are the counters as of the last look.
type counted struct {
	feeds                         map[string]safeguard.FeedHealth
	delivered                     int
	begun, notCompleted, noNumber int
}

// New makes a reporter, which goes on with the last day that is kept. What is
// kept can be lost without harm: one that can not be read is begun anew.
func New(a Agent, s Sources, c Centre, log *slog.Logger) *Reporter {
	r := &Reporter{agent: a, sources: s, centre: c, log: log, changed: make(chan struct{}, 1)}
	now := time.Now()
	r.report = safeguard.Heartbeat{
		Boot: rand.Text(), At: now, State: safeguard.Starting, Since: now,
		Device: a.Device, Version: a.Version, Config: a.Config, Started: now,
	}
	r.before.feeds = map[string]safeguard.FeedHealth{}
	r.load(now)
	return r
}

// Run looks at all parts, and tells the centre how they are, until ctx ends. Then
// it tells the centre that the agent stops.
func (r *Reporter) Run(ctx context.Context) error {
	r.look(ctx)
	var beating sync.WaitGroup
	beating.Go(func() { r.beats(ctx) })
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-tick.C:
			r.look(ctx)
		case <-ctx.Done():
		}
	}
	beating.Wait()
	r.stop()
	r.beat(context.WithoutCancel(ctx), lastTime)
	return nil
}

// Configured says that another configuration is in force, by its digest.
func (r *Reporter) Configured(digest string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.report.Config = digest
}

// Report is the last one.
func (r *Reporter) Report() safeguard.Heartbeat {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.report
}

// Day is the last day in columns of five minutes, oldest first. The last column
// is not over. Where the agent did not run there is none.
func (r *Reporter) Day() []safeguard.Period {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.columns)
}

// look asks every part, and says what follows.
func (r *Reporter) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, sourceTime)
	defer cancel()
	kept, err := r.sources.Journal(ctx)
	if err != nil && ctx.Err() == nil {
		kept.Stopped = "journal does not answer"
	}
	unseen := err != nil && ctx.Err() != nil
	feeds, sinks := r.sources.Feeds(), r.sources.Sinks()
	certificate, err := r.sources.Certificate()
	if err != nil {
		certificate = safeguard.CertificateHealth{}
	}
	unreachable, cache := r.sources.Unreachable(), r.sources.Cache()
	sync := r.probe()

	r.mu.Lock()
	defer r.mu.Unlock()
	h, now := r.report, time.Now()
	h.At = now
	h.Feeds, h.Centre.Since, h.Cache, h.Certificate = feeds, unreachable, cache, certificate
	h.Failing = r.sources.Failing()
	if !unseen {
		h.Journal, h.Lookups, h.Corrections = kept.JournalHealth, kept.Lookups, kept.Corrections
		h.Disk.Free, h.Disk.Floor = kept.Free, kept.Floor
		h.Attendances.Unknown, h.Attendances.Unanswered = kept.Unknown, kept.Unanswered
		for i := range sinks {
			sinks[i].Waiting = kept.Alerts[sinks[i].Name]
		}
		h.Sinks = sinks
	}
	if sync > 0 {
		h.Disk.Sync = sync
	}
	if h.Journal.Stopped != "" && h.Journal.Since.IsZero() {
		h.Journal.Since = now
	}
	r.count(now, &h, kept, unseen)
	h.Warnings = r.watch.Open(now, h.Check(now.In(r.agent.Zone), r.agent.Limits, &r.usual))
	if state := h.Condition(); state != h.State {
		r.log.Info("agent's state changed", "from", h.State, "to", state)
		h.State, h.Since = state, now
		r.news = true
	}
	r.tell(r.report.Warnings, h.Warnings)
	c := r.current(now)
	c.State, c.Severity = max(c.State, h.State), max(c.Severity, h.Worst())
	r.report = h
	r.signal()
}

// tell logs what has opened and closed.
func (r *Reporter) tell(before, after []safeguard.Warning) {
	for _, w := range after {
		if !slices.ContainsFunc(before, same(w)) {
			r.news = true
			r.log.Warn("warning opened", "code", w.Code, "part", w.Part, "severity", w.Code.Declared().Severity, "warning", w.Sentence(), "remedy", w.Remedy())
		}
	}
	for _, w := range before {
		if !slices.ContainsFunc(after, same(w)) {
			r.news = true
			r.log.Info("warning closed", "code", w.Code, "part", w.Part, "open", time.Since(w.Since).Round(time.Second))
		}
	}
}

func same(w safeguard.Warning) func(safeguard.Warning) bool {
	return func(v safeguard.Warning) bool { return v.Code == w.Code && v.Part == w.Part }
}

func (r *Reporter) signal() {
	if !r.news {
		return
	}
	r.news = false
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

func (r *Reporter) stop() {
	r.mu.Lock()
	now := time.Now()
	r.report.At, r.report.State, r.report.Since = now, safeguard.Stopping, now
	r.mu.Unlock()
	r.save()
}
