package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/agent/status"
	"github.com/safeguard-edge/safeguard/central/client"
	"github.com/safeguard-edge/safeguard/central/identity"
	"github.com/safeguard-edge/safeguard/central/store/storetest"
	"github.com/safeguard-edge/safeguard/test/world"
)

var fleetMeasured bool

// BenchmarkFleet measures a centre, as it is built, that 1,500 agents tell how they
// are: each with a certificate and a connection of its own and the code that the
// agent reports with, but without feeds. The memory and the processor are the
// centre's; the latency is what the agents see; and on the embedded store one agent
// dies without a word.
func BenchmarkFleet(b *testing.B) {
	if fleetMeasured {
		b.Skip("measured already")
	}
	fleetMeasured = true
	const agents = 1500
	b.Run(fmt.Sprintf("agents=%d", agents), func(b *testing.B) {
		f := newFleet(b, agents, "")
		f.measure(b)
		b.ReportMetric(f.death(b).Seconds(), "s-to-warning")
	})
	b.Run(fmt.Sprintf("postgres/agents=%d", agents), func(b *testing.B) {
		db := startPostgres(b, func() (*storetest.Postgres, error) { return storetest.StartPostgres(true) })
		dsn, err := db.Empty(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		newFleet(b, agents, dsn).measure(b)
	})
}

// reporting is a fleet of agents, and the centre that they report to.
type reporting struct {
	*world.World
	metrics string
	links   []*link

	mu        sync.Mutex
	latencies []time.Duration
}

// link is one agent's way to the centre, which can be cut.
type link struct {
	*client.Client
	fleet *reporting
	cut   func()
	dead  chan struct{}
	told  chan struct{} // closed once the centre has taken a heartbeat
	once  sync.Once
}

// Heartbeat is the client's, measured.
func (l *link) Heartbeat(ctx context.Context, h safeguard.Heartbeat, periods []safeguard.Period) (safeguard.HeartbeatReply, error) {
	select {
	case <-l.dead:
		return safeguard.HeartbeatReply{}, context.Canceled // who is dead says no farewell
	default:
	}
	begun := time.Now()
	reply, err := l.Client.Heartbeat(ctx, h, periods)
	if err == nil {
		l.fleet.mu.Lock()
		l.fleet.latencies = append(l.fleet.latencies, time.Since(begun))
		l.fleet.mu.Unlock()
		l.once.Do(func() { close(l.told) })
	}
	return reply, err
}

func fleetCode(i int) string { return fmt.Sprintf("F%04d", i) }

// newFleet is one whose centre has a PostgreSQL database, or where dsn is empty the
// embedded store.
func newFleet(b *testing.B, agents int, dsn string) *reporting {
	b.Helper()
	w, err := world.New(b.Context(), b.TempDir(), programs)
	b.Cleanup(func() { finish(b, w) })
	if err != nil {
		b.Fatal(err)
	}
	f := &reporting{World: w}
	if f.metrics, err = world.FreeAddress(); err != nil {
		b.Fatal(err)
	}
	var codes []safeguard.ODSCode
	var sites strings.Builder
	for i := range agents {
		code, err := safeguard.ParseODSCode(fleetCode(i))
		if err != nil {
			b.Fatal(err)
		}
		codes = append(codes, code)
		fmt.Fprintf(&sites, "  - {organisation: %s, site: %s, name: Hospital %d, care_settings: [emergency-department]}\n", code, code, i)
	}
	text, err := os.ReadFile(w.Path("central.yaml"))
	if err != nil {
		b.Fatal(err)
	}
	text = bytes.Replace(text, []byte("sites:\n"), []byte("fleet: {metrics: "+f.metrics+"}\nsites:\n"+sites.String()), 1)
	if err := os.WriteFile(w.Path("central.yaml"), text, 0o600); err != nil {
		b.Fatal(err)
	}
	if _, err := identity.WriteDevelopment(w.Path("certificates"), identity.Development{Agents: codes}); err != nil {
		b.Fatal(err)
	}
	if dsn != "" {
		if err := w.Share(b.Context(), dsn); err != nil {
			b.Fatal(err)
		}
	}
	if err := w.StartCentral(b.Context()); err != nil {
		b.Fatal(err)
	}
	for i := range agents {
		f.join(b, i)
	}
	return f
}

// join has one more agent report.
func (f *reporting) join(b *testing.B, i int) {
	b.Helper()
	name := f.Path("certificates", "agent-"+fleetCode(i))
	config, err := identity.ClientTLS(identity.Files{Certificate: name + ".pem", Key: name + "-key.pem", CA: f.Path("certificates", "ca.pem")}, identity.Agent)
	if err != nil {
		b.Fatal(err)
	}
	c, err := client.Dial(f.Central, config)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	l := &link{Client: c, fleet: f, cut: cancel, dead: make(chan struct{}), told: make(chan struct{})}
	sources := status.Sources{
		Feeds: func() []safeguard.FeedHealth {
			return []safeguard.FeedHealth{{Name: "pas", Transport: "mllp", Connections: 1, LastMessage: time.Now(), Messages: 100}}
		},
		Journal: func(context.Context) (status.Journal, error) {
			return status.Journal{Free: 9 << 30, Floor: 1 << 20}, nil
		},
		Sinks:       func() []safeguard.SinkHealth { return []safeguard.SinkHealth{{Name: "epr", Live: true}} },
		Unreachable: func() time.Time { return time.Time{} },
		Cache:       func() safeguard.CacheHealth { return safeguard.CacheHealth{State: safeguard.CacheReady} },
		Certificate: func() (safeguard.CertificateHealth, error) {
			return safeguard.CertificateHealth{From: time.Now().Add(-time.Hour), Until: time.Now().Add(1000 * time.Hour)}, nil
		},
		Failing: func() []string { return nil },
	}
	r := status.New(status.Agent{Device: fleetCode(i), Version: "1.0", Zone: time.UTC, Limits: safeguard.DefaultLimits()}, sources, l, slog.New(slog.DiscardHandler))
	ended := make(chan struct{})
	go func() { defer close(ended); _ = r.Run(ctx) }()
	f.links = append(f.links, l)
	b.Cleanup(func() {
		cancel()
		<-ended
		_ = c.Close()
	})
}

// measure reports what the centre needs for a minute of them.
func (f *reporting) measure(b *testing.B) {
	b.Helper()
	f.settle(b)
	before, begun := processor(b, f.CentralProcess()), time.Now()
	f.forget()
	<-time.After(time.Minute) // two heartbeats of each
	took := time.Since(begun)
	used := processor(b, f.CentralProcess()) - before
	latencies := f.heard()
	if n := len(latencies); n < len(f.links)*3/2 {
		b.Errorf("the centre took %d heartbeats of %d agents in a minute", n, len(f.links))
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(memory(b, f.CentralProcess(), "VmRSS:"), "MB")
	b.ReportMetric(100*used.Seconds()/took.Seconds(), "%cpu")
	b.ReportMetric(float64(latencies[len(latencies)/2].Microseconds())/1000, "ms-p50")
	b.ReportMetric(float64(latencies[len(latencies)*99/100].Microseconds())/1000, "ms-p99")
}

// settle waits until the centre has heard from all.
func (f *reporting) settle(b *testing.B) {
	b.Helper()
	patience := time.After(3 * time.Minute)
	for i, l := range f.links {
		select {
		case <-l.told:
		case <-patience:
			b.Fatalf("the centre has not heard from agent %d", i)
		}
	}
}

func (f *reporting) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.latencies = nil
}

// heard are the latencies since, the shortest first.
func (f *reporting) heard() []time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Sorted(slices.Values(f.latencies))
}

// death ends one agent without a word, and measures how long it takes until the
// centre warns of it, and of no other.
func (f *reporting) death(b *testing.B) time.Duration {
	b.Helper()
	died := time.Now()
	close(f.links[0].dead)
	_ = f.links[0].Close()
	want := `code="agent-silent",kind="agent",severity="critical",subject="` + fleetCode(0) + `/dev"`
	for time.Since(died) < 5*time.Minute {
		<-time.After(time.Second)
		text := f.scrape(b)
		if strings.Contains(text, want) {
			if n := strings.Count(text, `code="agent-silent"`); n != 1 {
				b.Errorf("%d agents are silent, want the one that died", n)
			}
			return time.Since(died)
		}
	}
	b.Fatal("the centre does not warn of a dead agent")
	return 0
}

func (f *reporting) scrape(b *testing.B) string {
	b.Helper()
	response, err := (&http.Client{Timeout: 30 * time.Second}).Get("http://" + f.metrics + "/metrics")
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		b.Fatal(err)
	}
	return string(text)
}

// processor is what a process has used of the processors so far (proc(5)).
func processor(b *testing.B, pid int) time.Duration {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Skip("only Linux tells what another process uses: ", err)
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	ticks := 0
	for _, i := range []int{11, 12} { // utime and stime, in hundredths of a second
		n, err := strconv.Atoi(fields[i])
		if err != nil {
			b.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}
