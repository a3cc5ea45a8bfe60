package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/safeguard-edge/safeguard"
)

// prefix tells what an agent says of itself from what the centre says of all
// agents: who scrapes both must not count things twice.
const prefix = "safeguard_edge_"

// all are the metrics that are read at a scrape, in the order of the page about
// them.
var all []*prometheus.Desc

func desc(name, help string, labels ...string) *prometheus.Desc {
	d := prometheus.NewDesc(prefix+name, help, labels, nil)
	all = append(all, d)
	return d
}

var (
	info     = desc("info", "1, with the agent's name for itself and the program's version.", "device", "version")
	state    = desc("state", "1 for the state that the agent is in: starting, working, stopping, degraded or failing.", "state")
	started  = desc("started_seconds", "Unix time of the agent's start.")
	reported = desc("report_seconds", "Unix time at which the agent last looked at its parts, which it does every 5 seconds.")
	warnings = desc("warnings_open", "Warnings that are open, by code (a section of the runbook), severity, and the feed or sink they are about.", "code", "severity", "part")

	feedConnections  = desc("feed_connections", "Connections that are open.", "feed", "transport")
	feedLast         = desc("feed_last_message_seconds", "Unix time of the feed's last message; absent before the first.", "feed")
	feedMessages     = desc("feed_messages_total", "Messages since the start.", "feed")
	feedErrors       = desc("feed_errors_total", "Messages that could not be read or were rejected, and broken frames.", "feed")
	feedHeld         = desc("feed_held", "1 while the feed waits for intake, and its sender for an acknowledgement.", "feed")
	feedAcknowledged = desc("feed_acknowledgements_total", "Acknowledgements sent, by code (HL7 table 0008).", "feed", "code")
	feedFraming      = desc("feed_framing_errors_total", "Broken frames, by kind.", "feed", "kind")
	feedRefused      = desc("feed_connections_refused_total", "Connections over the limit, from outside the allow-list, or without a good certificate.", "feed")

	intakeStopped = desc("intake_stopped", "1 while no message can be taken on.")
	waiting       = desc("journal_waiting", "Messages that wait to be processed.")
	waitingAge    = desc("journal_oldest_age_seconds", "How long the oldest message that waits has waited.")
	setAside      = desc("journal_set_aside", "Messages and items that wait for a person.")
	late          = desc("journal_late", "Alerts that are kept and came too late for their attendance.")
	size          = desc("journal_size_bytes", "Size of the journal's file.")
	lost          = desc("journal_lost_rows", "Rows that a damaged file took with it.")

	attendances   = desc("attendances_total", "Attendances that began, by what was known at first: not-eligible, held, none, unknown, or no-number.", "outcome")
	cached        = desc("attendances_cached_total", "Of those with held or none: answered by the cache.")
	unanswered    = desc("attendances_unanswered_total", "Attendances whose time to be asked about ended without an answer.")
	unknown       = desc("attendances_unknown", "Attendances that still wait for an answer.")
	unknownAge    = desc("attendances_unknown_oldest_age_seconds", "How long the oldest of them has waited.")
	echoes        = desc("echoes_total", "Messages of the agent's own that came back on a feed.")
	setAsideSince = desc("set_aside_total", "Messages and items that were set aside since the start.")

	owed           = desc("lookups_owed", "Lookups that are owed to the centre.")
	owedAge        = desc("lookups_owed_oldest_age_seconds", "How long the oldest of them has been owed.")
	corrections    = desc("corrections_owed", "Corrections that are owed to the centre.")
	correctionsAge = desc("corrections_owed_oldest_age_seconds", "How long the oldest of them has been owed.")

	centreAway    = desc("centre_unreachable", "1 while the centre does not answer lookups.")
	centreLatency = desc("centre_latency_seconds", "Round trip of the last heartbeat.")
	centreHeard   = desc("centre_heard_seconds", "Unix time of the centre's last reply to a heartbeat; absent before the first.")
	certificate   = desc("certificate_until_seconds", "Unix time at which the agent's certificate ends.")
	clockOffset   = desc("clock_offset_seconds", "What is to be added to the agent's time to have the centre's.")
	clockWithin   = desc("clock_offset_within_seconds", "The offset is known to that much.")

	cacheState   = desc("cache_state", "1 for the state that the cache is in: off, ready, read-only or unavailable.", "state")
	cacheEntries = desc("cache_entries", "Answers that are kept.")
	cacheAge     = desc("cache_oldest_age_seconds", "Since when the centre's oldest answer is kept.")
	cacheNewest  = desc("cache_newest_age_seconds", "Since when the centre's newest answer is kept.")

	sinkWaiting   = desc("sink_waiting", "Alerts that wait for the sink.", "sink")
	sinkAge       = desc("sink_oldest_age_seconds", "How long the oldest alert that waits for the sink has waited.", "sink")
	sinkDown      = desc("sink_down", "1 while the sink does not answer.", "sink")
	sinkLive      = desc("sink_live", "1 where the sink shows alerts, 0 where it observes.", "sink")
	sinkAnswered  = desc("sink_answered_seconds", "Unix time of the sink's last answer; absent before the first.", "sink")
	sinkDelivered = desc("sink_delivered_total", "Alerts that the EPR took.", "sink")
	sinkRefused   = desc("sink_refused_total", "Alerts that the EPR refused for good.", "sink")
	sinkFailed    = desc("sink_failed_total", "Tries that the EPR did not answer.", "sink")

	diskFree  = desc("disk_free_bytes", "Free on the disk of the agent's data.")
	diskFloor = desc("disk_floor_bytes", "Intake stops with less.")
	diskSync  = desc("disk_sync_seconds", "What a small write took to be on the disk.")
)

// collector reads the sources anew for each scrape.
type collector struct{ Sources }

// Describe implements prometheus.Collector.
func (c collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range all {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(out chan<- prometheus.Metric) {
	s := scrape{out: out, h: c.Report(), now: time.Now()}
	s.whole()
	s.feeds(c)
	s.journal()
	s.sinks()
	n := c.Counters()
	for outcome, v := range map[string]int{
		"not-eligible": n.NotEligible, "held": n.Held, "none": n.NoneHeld, "unknown": n.Unknown - n.NoNumber, "no-number": n.NoNumber,
	} {
		s.count(attendances, float64(v), outcome)
	}
	s.count(cached, float64(n.Cached))
	s.count(unanswered, float64(n.Unanswered))
	s.count(echoes, float64(n.Echoes))
	s.count(setAsideSince, float64(n.SetAside))
}

// scrape is one reading.
type scrape struct {
	out chan<- prometheus.Metric
	h   safeguard.Heartbeat
	now time.Time
}

func (s scrape) gauge(d *prometheus.Desc, v float64, labels ...string) {
	s.out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func (s scrape) count(d *prometheus.Desc, v float64, labels ...string) {
	s.out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
}

// moment is absent where there was none: 1970 would look like an old one.
func (s scrape) moment(d *prometheus.Desc, t time.Time, labels ...string) {
	if !t.IsZero() {
		s.gauge(d, float64(t.UnixMilli())/1000, labels...)
	}
}

func (s scrape) age(d *prometheus.Desc, since time.Time, labels ...string) {
	age := 0.0
	if !since.IsZero() {
		age = max(0, s.now.Sub(since).Seconds())
	}
	s.gauge(d, age, labels...)
}

func (s scrape) yes(d *prometheus.Desc, is bool, labels ...string) {
	v := 0.0
	if is {
		v = 1
	}
	s.gauge(d, v, labels...)
}

func (s scrape) whole() {
	h := s.h
	s.gauge(info, 1, h.Device, h.Version)
	s.gauge(state, 1, h.State.String())
	s.moment(started, h.Started)
	s.moment(reported, h.At)
	type label struct{ code, severity, part string }
	open := map[label]int{}
	for _, w := range h.Warnings {
		open[label{string(w.Code), w.Code.Declared().Severity.String(), w.Part}]++
	}
	for l, n := range open {
		s.gauge(warnings, float64(n), l.code, l.severity, l.part)
	}
	s.yes(centreAway, !h.Centre.Since.IsZero())
	s.gauge(centreLatency, h.Centre.Latency.Seconds())
	s.moment(centreHeard, h.Centre.Heard)
	s.moment(certificate, h.Certificate.Until)
	if !h.Clock.Measured.IsZero() {
		s.gauge(clockOffset, h.Clock.Offset.Seconds())
		s.gauge(clockWithin, h.Clock.Within.Seconds())
	}
	if h.Cache.State != "" {
		s.gauge(cacheState, 1, h.Cache.State)
	}
	s.gauge(cacheEntries, float64(h.Cache.Entries))
	s.age(cacheAge, h.Cache.Oldest)
	s.age(cacheNewest, h.Cache.Newest)
	s.gauge(diskFree, float64(h.Disk.Free))
	s.gauge(diskFloor, float64(h.Disk.Floor))
	s.gauge(diskSync, h.Disk.Sync.Seconds())
}

func (s scrape) feeds(c collector) {
	stats := c.Feeds()
	seen := map[string]bool{}
	for _, f := range s.h.Feeds {
		if seen[f.Name] {
			continue
		}
		seen[f.Name] = true
		s.gauge(feedConnections, float64(f.Connections), f.Name, f.Transport)
		s.moment(feedLast, f.LastMessage, f.Name)
		s.count(feedMessages, float64(f.Messages), f.Name)
		s.count(feedErrors, float64(f.Errors), f.Name)
		s.yes(feedHeld, !f.HeldSince.IsZero(), f.Name)
		for code, n := range stats[f.Name].Acknowledged {
			s.count(feedAcknowledged, float64(n), f.Name, string(code))
		}
		for kind, n := range stats[f.Name].Framing {
			s.count(feedFraming, float64(n), f.Name, kind)
		}
		s.count(feedRefused, float64(stats[f.Name].Refused+stats[f.Name].Denied), f.Name)
	}
}

func (s scrape) journal() {
	j, at := s.h.Journal, s.h.Attendances
	s.yes(intakeStopped, j.Stopped != "")
	s.gauge(waiting, float64(j.Waiting.Length))
	s.age(waitingAge, j.Waiting.Oldest)
	s.gauge(setAside, float64(j.SetAside))
	s.gauge(late, float64(j.Late))
	s.gauge(size, float64(j.Size))
	s.gauge(lost, float64(j.Lost))
	s.gauge(owed, float64(s.h.Lookups.Length))
	s.age(owedAge, s.h.Lookups.Oldest)
	s.gauge(corrections, float64(s.h.Corrections.Length))
	s.age(correctionsAge, s.h.Corrections.Oldest)
	s.gauge(unknown, float64(at.Unknown.Length))
	s.age(unknownAge, at.Unknown.Oldest)
}

func (s scrape) sinks() {
	seen := map[string]bool{}
	for _, k := range s.h.Sinks {
		if seen[k.Name] {
			continue
		}
		seen[k.Name] = true
		s.gauge(sinkWaiting, float64(k.Waiting.Length), k.Name)
		s.age(sinkAge, k.Waiting.Oldest, k.Name)
		s.yes(sinkDown, !k.DownSince.IsZero(), k.Name)
		s.yes(sinkLive, k.Live, k.Name)
		s.moment(sinkAnswered, k.Answered, k.Name)
		s.count(sinkDelivered, float64(k.Delivered), k.Name)
		s.count(sinkRefused, float64(k.Refused), k.Name)
		s.count(sinkFailed, float64(k.Failed), k.Name)
	}
}
