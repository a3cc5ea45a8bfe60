package metrics_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/metrics"
	"github.com/safeguard-edge/safeguard/central/server"
	"github.com/safeguard-edge/safeguard/central/store"
	"github.com/safeguard-edge/safeguard/test/exposition"
)

var update = flag.Bool("update", false, "write the tables of docs/metrics.md")

// fleet is a source of one agent, one site, and what is wrong with them.
type fleet struct{ err error }

var heard = time.Unix(1_700_000_000, 0)

func code(s string) safeguard.ODSCode {
	c, err := safeguard.ParseODSCode(s)
	if err != nil {
		panic(err)
	}
	return c
}

func (f fleet) FleetAgents(context.Context, time.Time) ([]store.FleetAgent, error) {
	feed := safeguard.FeedHealth{Name: "pas", Messages: 42, Errors: 2, LastMessage: heard.Add(-time.Second)}
	return []store.FleetAgent{{Key: store.AgentKey{Organisation: code("RX1"), ID: "a1"}, Heard: heard, Report: safeguard.Heartbeat{
		At: heard, State: safeguard.Working, Version: "1.2", Started: heard.Add(-time.Hour),
		Feeds:       []safeguard.FeedHealth{feed, feed}, // as no agent should have
		Sinks:       []safeguard.SinkHealth{{Name: "epr", DownSince: heard, Waiting: safeguard.Queue{Length: 3, Oldest: heard.Add(-time.Minute)}}},
		Certificate: safeguard.CertificateHealth{Until: heard},
		Attendances: safeguard.AttendanceHealth{Begun: 10, NotCompleted: 2, NoNumber: 1},
	}}}, f.err
}

func (fleet) FleetWarnings(context.Context, store.WarningFilter) ([]store.FleetWarning, error) {
	agent := store.Subject{Kind: store.AboutAgent, Name: "RX1/a1"}
	return []store.FleetWarning{
		{ID: 1, Subject: agent, Warning: safeguard.Warning{Code: safeguard.SinkDown, Part: "epr"}},
		{ID: 2, Subject: agent, Warning: safeguard.Warning{Code: safeguard.DiskLow}, Acknowledged: heard},
	}, nil
}

func (fleet) Directory(context.Context, int64) (store.Directory, error) {
	return store.Directory{Sites: []store.Site{{Organisation: code("RX1"), Code: code("RX101"), Stage: store.Live}}, Authorities: []store.Authority{{Authority: safeguard.Authority{Code: code("906")}}}}, nil
}

func (fleet) Uploaded(context.Context) (map[safeguard.ODSCode]time.Time, error) {
	return map[safeguard.ODSCode]time.Time{code("906"): heard}, nil
}

func scrape(t *testing.T, f fleet) string {
	t.Helper()
	text, status := get(t, f, "/metrics")
	if status != http.StatusOK {
		t.Fatal(status)
	}
	return text
}

// probes are those of a centre whose database is away.
var probes = metrics.Probes{
	Alive: func(context.Context) error { return nil },
	Ready: func(context.Context) error { return errors.New("the store does not answer") },
}

func TestProbes(t *testing.T) {
	for path, want := range map[string]string{"/healthz": "200 alive\n", "/readyz": "503 the store does not answer\n"} {
		if text, status := get(t, fleet{}, path); fmt.Sprint(status, " ", text) != want {
			t.Errorf("%s: %d %q, want %q", path, status, text, want)
		}
	}
}

func get(t *testing.T, f fleet, path string) (text string, status int) {
	t.Helper()
	s, err := metrics.Listen("127.0.0.1:0", f, func() server.Counts { return server.Counts{Held: 5, Beats: 7, Replayed: 1} }, probes, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	defer func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	client := http.Client{Timeout: 30 * time.Second}
	response, err := client.Get("http://" + s.Addr().String() + path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body), response.StatusCode
}

func TestMetrics(t *testing.T) {
	text := scrape(t, fleet{})
	for _, line := range []string{
		`safeguard_fleet_readable 1`,
		`safeguard_agent_state{agent="RX1/a1",state="silent"} 1`,
		`safeguard_agent_heard_seconds{agent="RX1/a1"} 1.7e+09`,
		`safeguard_agent_info{agent="RX1/a1",version="1.2"} 1`,
		`safeguard_feed_messages_total{agent="RX1/a1",feed="pas"} 42`,
		`safeguard_sink_down{agent="RX1/a1",sink="epr"} 1`,
		`safeguard_sink_waiting{agent="RX1/a1",sink="epr"} 3`,
		`safeguard_sink_oldest_age_seconds{agent="RX1/a1",sink="epr"} 60`,
		`safeguard_attendances_recent{agent="RX1/a1",outcome="completed"} 7`,
		`safeguard_warnings_open{acknowledged="false",code="sink-down",kind="agent",severity="critical",subject="RX1/a1"} 1`,
		`safeguard_warnings_open{acknowledged="true",code="disk-low",kind="agent",severity="critical",subject="RX1/a1"} 1`,
		`safeguard_sites{stage="live",state="silent"} 1`,
		`safeguard_authority_uploaded_seconds{authority="906"} 1.7e+09`,
		`safeguard_lookups_total{answer="held"} 5`,
		`safeguard_heartbeats_total{outcome="refused"} 1`,
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no %s in\n%s", line, text)
		}
	}
}

func TestMetricsOfAStoreThatDoesNotAnswer(t *testing.T) {
	text := scrape(t, fleet{errors.New("no")})
	if !strings.Contains(text, "safeguard_fleet_readable 0\n") || !strings.Contains(text, `safeguard_lookups_total{answer="held"} 5`) {
		t.Errorf("got\n%s", text)
	}
}

func TestTheDocumentationIsThatOfTheMetrics(t *testing.T) {
	exposition.Documented(t, "central", exposition.Parse(scrape(t, fleet{})), *update)
}

// Rules and dashboard ask for nothing that is not there.
func TestRulesAndDashboardAskForWhatThereIs(t *testing.T) {
	text := scrape(t, fleet{})
	name := regexp.MustCompile(`safeguard_[a-z_]+`)
	there := map[string]bool{}
	for _, n := range name.FindAllString(text, -1) {
		there[n] = true
	}
	for _, file := range []string{"central.rules.yaml", "central.dashboard.json"} {
		content, err := os.ReadFile(filepath.Join("..", "..", "configs", file))
		if err != nil {
			t.Fatal(err)
		}
		asked := name.FindAllString(string(content), -1)
		if len(asked) < 5 {
			t.Errorf("%s asks for %v only", file, asked)
		}
		for _, n := range asked {
			if !there[n] {
				t.Errorf("%s asks for %s, which there is not", file, n)
			}
		}
	}
}
