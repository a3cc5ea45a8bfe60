// Package metrics shows how the fleet and the centre are to Prometheus. It is the
// door to its client library. No label and no value is about a patient.
package metrics

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/fleet"
	"github.com/safeguard-edge/safeguard/central/server"
	"github.com/safeguard-edge/safeguard/central/store"
)

// Server answers /metrics, /healthz and /readyz on an address of its own, without authentication: it is
// for loopback, or a network that only the monitoring reaches.
type Server struct {
	listener net.Listener
	http     *http.Server
}

const (
	scrapeTime = 10 * time.Second
	stopTime   = 3 * time.Second
)

// Probes tell whether the centre is alive, without which it is to be restarted, and
// whether it can serve, without which it is to be passed over. An error is shown to
// whoever asks: it says nothing that is secret.
type Probes struct {
	Alive, Ready func(context.Context) error
}

const probeTime = 5 * time.Second

// answer is 200, or 503 with the reason.
func answer(probe func(context.Context) error, good string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), probeTime)
		defer cancel()
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		said := good
		if err := probe(ctx); err != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
			said = err.Error()
		}
		_, _ = io.WriteString(w, said+"\n")
	}
}

// Listen takes the address.
func Listen(address string, source fleet.Source, counts func() server.Counts, probes Probes, log *slog.Logger) (*Server, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(&collector{source: source, counts: counts, log: log}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: 4, Timeout: scrapeTime}))
	mux.HandleFunc("GET /healthz", answer(probes.Alive, "alive"))
	mux.HandleFunc("GET /readyz", answer(probes.Ready, "ready"))
	return &Server{listener, &http.Server{Handler: mux, ReadHeaderTimeout: scrapeTime, ReadTimeout: scrapeTime, WriteTimeout: 2 * scrapeTime}}, nil
}

// Addr is where it listens.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Run answers until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	served := make(chan error, 1)
	go func() { served <- s.http.Serve(s.listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve metrics: %w", err)
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
	defer cancel()
	if err := s.http.Shutdown(last); err != nil {
		_ = s.http.Close()
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve metrics: %w", err)
	}
	return nil
}

// collector reads the fleet anew for each scrape: several centres on one store show
// the same.
type collector struct {
	source fleet.Source
	counts func() server.Counts
	log    *slog.Logger
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("safeguard_"+name, help, labels, nil)
}

var (
	up           = desc("fleet_readable", "1 where the store could be read for this scrape.")
	agentState   = desc("agent_state", "1 for the state that the agent is in.", "agent", "state")
	agentHeard   = desc("agent_heard_seconds", "Unix time of the agent's last heartbeat.", "agent")
	agentInfo    = desc("agent_info", "1, with the agent's version.", "agent", "version")
	agentStarted = desc("agent_started_seconds", "Unix time of the agent's start.", "agent")
	feedLast     = desc("feed_last_message_seconds", "Unix time of the feed's last message.", "agent", "feed")
	feedMessages = desc("feed_messages_total", "Messages since the agent started.", "agent", "feed")
	feedErrors   = desc("feed_errors_total", "Messages that could not be read or were rejected, and broken frames, since the agent started.", "agent", "feed")
	waiting      = desc("journal_waiting", "Messages that wait to be processed.", "agent")
	waitingAge   = desc("journal_oldest_age_seconds", "How long the oldest message that waits has waited.", "agent")
	setAside     = desc("journal_set_aside", "Messages and items that wait for a person.", "agent")
	undelivered  = desc("sink_waiting", "Alerts that wait for the sink.", "agent", "sink")
	sinkAge      = desc("sink_oldest_age_seconds", "How long the oldest alert that waits for the sink has waited.", "agent", "sink")
	sinkDown     = desc("sink_down", "1 where the sink does not answer.", "agent", "sink")
	owed         = desc("lookups_owed", "Lookups that are owed to the centre.", "agent")
	latency      = desc("agent_latency_seconds", "Round trip of the agent's last heartbeat.", "agent")
	offset       = desc("agent_clock_offset_seconds", "What is to be added to the agent's time to have the centre's.", "agent")
	diskFree     = desc("agent_disk_free_bytes", "Free on the disk of the agent's data.", "agent")
	certificate  = desc("agent_certificate_until_seconds", "Unix time at which the agent's certificate ends.", "agent")
	attendances  = desc("attendances_recent", "Attendances of the last four hours that somebody was to be asked about, by what became of the check.", "agent", "outcome")
	warnings     = desc("warnings_open", "Warnings that are open, by code, severity, subject and whether a person has taken them on.", "code", "severity", "kind", "subject", "acknowledged")
	sites        = desc("sites", "Sites by stage and state.", "stage", "state")
	uploaded     = desc("authority_uploaded_seconds", "Unix time of the local authority's last upload.", "authority")
	lookups      = desc("lookups_total", "Lookups answered by this process, by answer.", "answer")
	calls        = desc("calls_total", "Calls to this process, by outcome that is not an answer.", "outcome")
	beats        = desc("heartbeats_total", "Heartbeats that came to this process.", "outcome")
)

// Describe implements prometheus.Collector.
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{up, agentState, agentHeard, agentInfo, agentStarted, feedLast, feedMessages, feedErrors, waiting, waitingAge, setAside, undelivered,
		sinkAge, sinkDown, owed, latency, offset, diskFree, certificate, attendances, warnings, sites, uploaded, lookups, calls, beats} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	count := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
	}
	n := c.counts()
	for answer, v := range map[string]int64{"held": n.Held, "none": n.NoneHeld, "identity-not-confirmed": n.IdentityMismatch} {
		count(lookups, float64(v), answer)
	}
	for outcome, v := range map[string]int64{"refused": n.Refused, "failed": n.Failed} {
		count(calls, float64(v), outcome)
	}
	for outcome, v := range map[string]int64{"taken": n.Beats, "refused": n.Replayed} {
		count(beats, float64(v), outcome)
	}
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTime)
	defer cancel()
	now := time.Now()
	o, err := fleet.Look(ctx, c.source, now)
	if err != nil {
		c.log.Warn("fleet not read for metrics", "err", err)
		gauge(up, 0)
		return
	}
	gauge(up, 1)
	for _, a := range o.Agents {
		agent(a, now, gauge, count)
	}
	places := map[[2]string]int{}
	for _, s := range o.Sites {
		places[[2]string{s.Stage.String(), string(s.State)}]++
		open(gauge, s.Condition, store.AboutSite)
	}
	for labels, n := range places {
		gauge(sites, float64(n), labels[0], labels[1])
	}
	for _, a := range o.Authorities {
		moment(gauge, uploaded, a.Uploaded, a.Code.String())
		open(gauge, a.Condition, store.AboutAuthority)
	}
}

type set func(d *prometheus.Desc, v float64, labels ...string)

func agent(a fleet.Agent, now time.Time, gauge, count set) {
	key, h := a.Key.String(), a.Report
	gauge(agentState, 1, key, string(a.State))
	gauge(agentInfo, 1, key, h.Version)
	moment(gauge, agentHeard, a.Heard, key)
	moment(gauge, agentStarted, h.Started, key)
	moment(gauge, certificate, h.Certificate.Until, key)
	seen := map[string]bool{}
	for _, f := range h.Feeds {
		if seen[f.Name] {
			continue // two of one name can not both be shown
		}
		seen[f.Name] = true
		moment(gauge, feedLast, f.LastMessage, key, f.Name)
		count(feedMessages, float64(f.Messages), key, f.Name)
		count(feedErrors, float64(f.Errors), key, f.Name)
	}
	gauge(waiting, float64(h.Journal.Waiting.Length), key)
	gauge(waitingAge, h.Journal.Waiting.Age(h.At).Seconds(), key)
	gauge(setAside, float64(h.Journal.SetAside), key)
	seen = map[string]bool{}
	for _, s := range h.Sinks {
		if seen[s.Name] {
			continue
		}
		seen[s.Name] = true
		gauge(undelivered, float64(s.Waiting.Length), key, s.Name)
		gauge(sinkAge, s.Waiting.Age(h.At).Seconds(), key, s.Name)
		down := 0.0
		if !s.DownSince.IsZero() {
			down = 1
		}
		gauge(sinkDown, down, key, s.Name)
	}
	gauge(owed, float64(h.Lookups.Length), key)
	gauge(latency, h.Centre.Latency.Seconds(), key)
	gauge(offset, h.Clock.Offset.Seconds(), key)
	gauge(diskFree, float64(h.Disk.Free), key)
	at := h.Attendances
	gauge(attendances, float64(at.Begun-at.NotCompleted-at.NoNumber), key, "completed")
	gauge(attendances, float64(at.NotCompleted), key, "not-completed")
	gauge(attendances, float64(at.NoNumber), key, "no-number")
	open(gauge, a.Condition, store.AboutAgent)
}

// open shows the warnings of one subject; a site's are its own alone.
func open(gauge set, c fleet.Condition, kind store.SubjectKind) {
	type key struct {
		code, subject string
		acknowledged  bool
	}
	counts := map[key]int{}
	for _, w := range c.Warnings {
		if w.Subject.Kind == kind {
			counts[key{string(w.Code), w.Subject.Name, !w.Acknowledged.IsZero()}]++
		}
	}
	for k, n := range counts {
		gauge(warnings, float64(n), k.code, safeguard.WarningCode(k.code).Declared().Severity.String(), string(kind), k.subject, fmt.Sprint(k.acknowledged))
	}
}

func moment(gauge set, d *prometheus.Desc, t time.Time, labels ...string) {
	if !t.IsZero() {
		gauge(d, float64(t.UnixMilli())/1000, labels...)
	}
}
