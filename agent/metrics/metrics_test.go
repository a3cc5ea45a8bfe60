package metrics_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/agent/metrics"
	"github.com/safeguard-edge/safeguard/agent/pipeline"
	"github.com/safeguard-edge/safeguard/hl7adapter/feed"
	"github.com/safeguard-edge/safeguard/hl7adapter/hl7"
	"github.com/safeguard-edge/safeguard/test/exposition"
)

var update = flag.Bool("update", false, "write the tables of docs/metrics.md")

var at = time.Unix(1_700_000_000, 0)

// report has something of everything.
func report() safeguard.Heartbeat {
	pas := safeguard.FeedHealth{Name: "pas", Transport: "mllp", Connections: 2, Messages: 42, Errors: 3, LastMessage: at, HeldSince: at}
	epr := safeguard.SinkHealth{Name: "epr", Live: true, DownSince: at, Answered: at, Delivered: 7, Refused: 1, Failed: 2, Waiting: safeguard.Queue{Length: 3, Oldest: time.Now().Add(-time.Minute)}}
	return safeguard.Heartbeat{
		At: at, State: safeguard.Failing, Device: "rx1-ed-1", Version: "1.2", Started: at,
		Feeds: []safeguard.FeedHealth{pas, pas}, Sinks: []safeguard.SinkHealth{epr}, // two of one name as no configuration has
		Journal:     safeguard.JournalHealth{Stopped: "disk full", Waiting: safeguard.Queue{Length: 5, Oldest: at}, SetAside: 1, Late: 1, Size: 1 << 20, Lost: 1},
		Lookups:     safeguard.Queue{Length: 4, Oldest: at},
		Corrections: safeguard.Queue{Length: 1, Oldest: at},
		Centre:      safeguard.CentreHealth{Since: at, Latency: 20 * time.Millisecond, Heard: at},
		Cache:       safeguard.CacheHealth{State: safeguard.CacheReady, Entries: 9, Oldest: at, Newest: at},
		Certificate: safeguard.CertificateHealth{Until: at},
		Clock:       safeguard.ClockHealth{Offset: -time.Second, Within: time.Millisecond, Measured: at},
		Disk:        safeguard.DiskHealth{Free: 10, Floor: 5, Sync: time.Millisecond},
		Attendances: safeguard.AttendanceHealth{Unknown: safeguard.Queue{Length: 2, Oldest: at}},
		Warnings:    []safeguard.Warning{{Code: safeguard.SinkDown, Part: "epr"}, {Code: safeguard.DiskLow}},
	}
}

func source(h safeguard.Heartbeat) metrics.Sources {
	return metrics.Sources{
		Report: func() safeguard.Heartbeat { return h },
		Counters: func() pipeline.Counters {
			return pipeline.Counters{NotEligible: 1, Held: 2, Unknown: 5, NoNumber: 4, Cached: 1}
		},
		Feeds: func() map[string]feed.Stats {
			return map[string]feed.Stats{"pas": {Acknowledged: map[hl7.AckCode]uint64{hl7.AA: 40}, Framing: map[string]uint64{"too-long": 1}, Denied: 2}}
		},
	}
}

func scrape(t *testing.T, m *metrics.Metrics) string {
	t.Helper()
	s := httptest.NewServer(m.Handler())
	defer s.Close()
	response, err := (&http.Client{Timeout: 30 * time.Second}).Get(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatal(response.Status, err, string(text))
	}
	return string(text)
}

func full(t *testing.T) string {
	t.Helper()
	m := metrics.New(source(report()))
	m.Looked(safeguard.Answer{Status: safeguard.Held, Source: safeguard.FromCentre}, 30*time.Millisecond)
	m.Looked(safeguard.Answer{Status: safeguard.NoneHeld, Source: safeguard.FromCache}, time.Millisecond)
	m.Looked(safeguard.UnknownBecause(safeguard.CentreUnreachable), 800*time.Millisecond)
	return scrape(t, m)
}

func TestMetrics(t *testing.T) {
	text := full(t)
	for _, line := range []string{
		`safeguard_edge_info{device="rx1-ed-1",version="1.2"} 1`,
		`safeguard_edge_state{state="failing"} 1`,
		`safeguard_edge_warnings_open{code="sink-down",part="epr",severity="critical"} 1`,
		`safeguard_edge_feed_connections{feed="pas",transport="mllp"} 2`,
		`safeguard_edge_feed_messages_total{feed="pas"} 42`,
		`safeguard_edge_feed_held{feed="pas"} 1`,
		`safeguard_edge_feed_acknowledgements_total{code="AA",feed="pas"} 40`,
		`safeguard_edge_feed_framing_errors_total{feed="pas",kind="too-long"} 1`,
		`safeguard_edge_feed_connections_refused_total{feed="pas"} 2`,
		`safeguard_edge_intake_stopped 1`,
		`safeguard_edge_journal_waiting 5`,
		`safeguard_edge_lookup_seconds_bucket{answer="held",source="centre",le="0.05"} 1`,
		`safeguard_edge_lookup_seconds_count{answer="none",source="cache"} 1`,
		`safeguard_edge_lookup_seconds_count{answer="unknown",source="none"} 1`,
		`safeguard_edge_lookups_owed 4`,
		`safeguard_edge_attendances_total{outcome="unknown"} 1`,
		`safeguard_edge_attendances_total{outcome="no-number"} 4`,
		`safeguard_edge_sink_down{sink="epr"} 1`,
		`safeguard_edge_sink_delivered_total{sink="epr"} 7`,
		`safeguard_edge_certificate_until_seconds 1.7e+09`,
		`safeguard_edge_clock_offset_seconds -1`,
		`safeguard_edge_cache_state{state="ready"} 1`,
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no %s in\n%s", line, text)
		}
	}
}

// What never was is absent: a rule on its age would see 1970.
func TestAnAgentThatHasSeenNothingYet(t *testing.T) {
	text := scrape(t, metrics.New(source(safeguard.Heartbeat{Feeds: []safeguard.FeedHealth{{Name: "pas"}}, Sinks: []safeguard.SinkHealth{{Name: "epr"}}})))
	for _, absent := range []string{"feed_last_message_seconds{", "sink_answered_seconds{", "centre_heard_seconds ", "certificate_until_seconds ", "clock_offset_seconds ", "report_seconds "} {
		if strings.Contains(text, "\nsafeguard_edge_"+absent) {
			t.Errorf("%s is there", absent)
		}
	}
	if !strings.Contains(text, "safeguard_edge_journal_oldest_age_seconds 0\n") {
		t.Error("an empty journal has an age")
	}
}

func TestTheDocumentationIsThatOfTheMetrics(t *testing.T) {
	exposition.Documented(t, "agent", exposition.Parse(full(t)), *update)
}

// rules are the expressions of a file of alert rules, by name, with where each
// leads to.
func rules(t *testing.T, file string) (expressions, runbooks map[string]string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var content struct {
		Groups []struct {
			Rules []struct {
				Alert, Expr string
				Labels      map[string]string
				Annotations map[string]string
			}
		}
	}
	if err := yaml.Unmarshal(text, &content); err != nil {
		t.Fatal(err)
	}
	expressions, runbooks = map[string]string{}, map[string]string{}
	for _, g := range content.Groups {
		for _, r := range g.Rules {
			if r.Labels["severity"] == "" || r.Annotations["summary"] == "" {
				t.Errorf("%s has no severity or summary", r.Alert)
			}
			expressions[r.Alert], runbooks[r.Alert] = r.Expr, r.Annotations["runbook"]
		}
	}
	return expressions, runbooks
}

// expressions of the dashboard, by panel.
func panels(t *testing.T, file string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var content struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &content); err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, p := range content.Panels {
		for i, target := range p.Targets {
			all[fmt.Sprintf("%s %d", p.Title, i)] = target.Expr
		}
	}
	return all
}

// Rules and dashboard ask for nothing that is not there, by no label that it does
// not have, and each rule leads to a section of the runbook.
func TestRulesAndDashboardAskForWhatThereIs(t *testing.T) {
	var names []string
	labels := map[string][]string{}
	for _, m := range exposition.Parse(full(t)) {
		names, labels[m.Name] = append(names, m.Name), m.Labels
	}
	configs := filepath.Join("..", "..", "configs")
	expressions, runbooks := rules(t, filepath.Join(configs, "agent.rules.yaml"))
	if len(expressions) < 8 {
		t.Fatalf("%d rules", len(expressions))
	}
	runbook, err := os.ReadFile(filepath.Join("..", "..", "docs", "runbook.md"))
	if err != nil {
		t.Fatal(err)
	}
	for alert, link := range runbooks {
		section, ok := strings.CutPrefix(link, "docs/runbook.md#")
		if section == "{{ $labels.code }}" {
			continue // the codes are its sections
		}
		if !ok || !strings.Contains(string(runbook), "\n## "+section+"\n") {
			t.Errorf("%s leads to %q, which there is not", alert, link)
		}
	}
	asked := panels(t, filepath.Join(configs, "agent.dashboard.json"))
	if len(asked) < 20 {
		t.Fatalf("%d expressions in the dashboard", len(asked))
	}
	for alert, e := range expressions {
		asked["rule "+alert] = e
	}
	metric := regexp.MustCompile(`(safeguard_[a-z_]+)(?:\{([^}]*)\})?`)
	label := regexp.MustCompile(`([a-z_]+)(?:=~|!=|=)`)
	grouped := regexp.MustCompile(`(?:by|on) \(([^)]*)\)`)
	used := map[string]bool{}
	for where, e := range asked {
		may := []string{"instance", "job", "le"}
		for _, m := range metric.FindAllStringSubmatch(e, -1) {
			name := m[1]
			if !slices.Contains(names, name) {
				name = regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(name, "")
			}
			if !slices.Contains(names, name) {
				t.Errorf("%s asks for %s, which there is not", where, m[1])
			}
			used[name] = true
			may = append(may, labels[name]...)
			for _, l := range label.FindAllStringSubmatch(m[2], -1) {
				if l[1] != "instance" && !slices.Contains(labels[name], l[1]) {
					t.Errorf("%s asks for %s by %s, which it has not", where, name, l[1])
				}
			}
		}
		for _, g := range grouped.FindAllStringSubmatch(e, -1) {
			for l := range strings.SplitSeq(g[1], ", ") {
				if !slices.Contains(may, l) {
					t.Errorf("%s groups by %s, which nothing has", where, l)
				}
			}
		}
	}
	if len(used) < 20 {
		t.Errorf("only %d metrics are shown anywhere", len(used))
	}
}
