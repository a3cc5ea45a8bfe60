// Package metrics shows how the agent is to Prometheus. It is the door to its
// client library. No label and no value is about a patient, and no label has more
// values than the configuration has feeds and sinks, or a standard has codes.
package metrics

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/agent/pipeline"
	"github.com/safeguard-edge/safeguard/hl7adapter/feed"
)

// Sources are asked at each scrape. None of them waits for a disk or a network.
type Sources struct {
	Report   func() safeguard.Heartbeat   // is a few seconds old
	Counters func() pipeline.Counters     // since the start
	Feeds    func() map[string]feed.Stats // by name
}

// Metrics are the agent's. Make them with New.
type Metrics struct {
	registry *prometheus.Registry
	lookups  *prometheus.HistogramVec
}

const scrapeTime = 10 * time.Second

// New makes metrics of the sources.
func New(s Sources) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry(), lookups: newLookups()}
	m.registry.MustRegister(collector{s}, m.lookups, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Handler answers a scrape.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: 4, Timeout: scrapeTime})
}

// Looked counts a lookup, with what it took until there was an answer or none.
func (m *Metrics) Looked(a safeguard.Answer, took time.Duration) {
	source := a.Source.String()
	if a.Status == safeguard.Unknown && a.Source != safeguard.FromCentre {
		source = "none"
	}
	m.lookups.WithLabelValues(answers[a.Status], source).Observe(took.Seconds())
}

var answers = map[safeguard.Status]string{safeguard.Held: "held", safeguard.NoneHeld: "none", safeguard.Unknown: "unknown"}

// newLookups has its buckets where the deadline is looked for, and where a hurried
// clinician notices.
func newLookups() *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: prefix + "lookup_seconds", Help: "How long lookups took, by answer, and by who gave it: the centre, the cache, or none.",
		Buckets: []float64{.002, .005, .01, .02, .05, .1, .2, .4, .8, 1.5, 3},
	}, []string{"answer", "source"})
}
