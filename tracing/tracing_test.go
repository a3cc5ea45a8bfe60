package tracing_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/safeguard-edge/safeguard/logging"
	"github.com/safeguard-edge/safeguard/tracing"
	"github.com/safeguard-edge/safeguard/tracing/tracingtest"
)

func start(t *testing.T, r *tracingtest.Receiver, share float64, p tracing.Program) *tracing.Traces {
	t.Helper()
	traces, err := tracing.Start(t.Context(), tracing.Config{Endpoint: r.URL, Share: share}, p, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return traces
}

var agent = tracing.Program{Name: "safeguard-agent", Instance: "rx1-ed-1", Journal: "2026-11-27"}

// follow is what an agent does about an entry, and a centre that it asks.
func follow(ctx context.Context, entry int64) {
	ctx, span := tracing.Begin(tracing.WithEntry(ctx, entry), "process", tracing.Feed.Is("pas"))
	called, call := tracing.Call(ctx, "/Lookup")
	sent := tracing.Send(called)
	_, served := tracing.Serve(tracing.Receive(context.Background(), sent), "/Lookup", "agent")
	served.End(false)
	call.End(true)
	span.Set(tracing.Answer.Is("held"))
	span.End(false)
}

// All spans of an entry are of one trace, and so is what a restarted agent does.
func TestAnEntryIsOneTrace(t *testing.T) {
	r := tracingtest.Listen(t)
	traces := start(t, r, 1, agent)
	tracing.Accepted(t.Context(), 17, "pas", time.Now(), false)
	tracing.Accepted(t.Context(), 17, "pas", time.Now(), true)
	tracing.Accepted(t.Context(), 18, "pas", time.Now(), false)
	follow(t.Context(), 17)
	if err := traces.Close(); err != nil {
		t.Fatal(err)
	}
	traces = start(t, r, 1, agent)
	follow(t.Context(), 17)
	if err := traces.Close(); err != nil {
		t.Fatal(err)
	}
	byID, roots, trace := map[string]tracingtest.Span{}, map[string]tracingtest.Span{}, ""
	for _, s := range r.Spans() {
		byID[s.ID] = s
		if s.Parent == "" {
			roots[s.Trace] = s
		}
		if s.Name == "process" {
			trace = s.Trace
		}
	}
	if len(byID) != 9 || len(roots) != 2 || roots[trace].Name != "accept" {
		t.Fatalf("got %+v", r.Spans())
	}
	for _, s := range byID {
		for s.Parent != "" {
			up, there := byID[s.Parent]
			if !there || up.Trace != s.Trace {
				t.Fatalf("%+v follows from nothing of its trace", s)
			}
			s = up
		}
		if s.Name != "accept" {
			t.Errorf("%+v is the first of its trace", s)
		}
	}
	for _, s := range r.Spans() {
		if s.Name == "call" && (!s.Failed || s.Attributes["rpc.method"] != "/Lookup" || s.Attributes["safeguard.entry"] != "17") {
			t.Errorf("got %+v", s)
		}
		if s.Name == "process" && s.Attributes["safeguard.answer"] != "held" {
			t.Errorf("got %+v", s)
		}
	}
}

// Another agent's, or another journal's, entry 17 is another message.
func TestEntriesOfOtherJournalsAreOtherTraces(t *testing.T) {
	r := tracingtest.Listen(t)
	other, anew := agent, agent
	other.Instance, anew.Journal = "rx1-ed-2", "2026-11-28"
	for _, p := range []tracing.Program{agent, other, anew} {
		traces := start(t, r, 1, p)
		follow(t.Context(), 17)
		if err := traces.Close(); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[string]bool{}
	for _, s := range r.Spans() {
		seen[s.Trace] = true
	}
	if len(seen) != 3 {
		t.Errorf("%d traces, want 3", len(seen))
	}
}

// Of a share of the messages all spans are sent, of the others none.
func TestAShareOfTheMessages(t *testing.T) {
	r := tracingtest.Listen(t)
	traces := start(t, r, .5, agent)
	for entry := range int64(200) {
		tracing.Accepted(t.Context(), entry+1, "pas", time.Now(), false)
		follow(t.Context(), entry+1)
	}
	if err := traces.Close(); err != nil {
		t.Fatal(err)
	}
	spans := map[string]int{}
	for _, s := range r.Spans() {
		spans[s.Trace]++
	}
	if len(spans) < 60 || len(spans) > 140 {
		t.Errorf("%d of 200 messages are traced, want about half", len(spans))
	}
	for trace, n := range spans {
		if n != 4 {
			t.Errorf("trace %s has %d spans, want 4", trace, n)
		}
	}
}

func TestNothingIsTracedWithoutAnEndpoint(t *testing.T) {
	traces, err := tracing.Start(t.Context(), tracing.DefaultConfig(), agent, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx := tracing.WithEntry(t.Context(), 17)
	if tracing.Send(ctx) != "" || logging.Entry(ctx) != "17" {
		t.Error("something is traced, or the log does not have the entry")
	}
	follow(ctx, 17)
	if err := traces.Close(); err != nil {
		t.Error(err)
	}
}

// A receiver that is away holds nobody up, and is told of in the log.
func TestAReceiverThatIsAway(t *testing.T) {
	var said strings.Builder
	traces, err := tracing.Start(t.Context(), tracing.Config{Endpoint: "http://127.0.0.1:1/v1/traces", Share: 1}, agent, slog.New(slog.NewTextHandler(&said, nil)))
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for entry := range int64(10_000) {
		follow(t.Context(), entry+1)
	}
	_ = traces.Close()
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("took %v", took)
	}
}

func TestConfigurationsThatCanNotWork(t *testing.T) {
	for want, c := range map[string]tracing.Config{
		"endpoint": {Endpoint: "127.0.0.1:4318"},
		"share":    {Endpoint: "http://127.0.0.1:4318", Share: 2},
	} {
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: got %v", want, err)
		}
	}
	if err := (tracing.Config{Endpoint: "http://u:secret@h/"}).Validate(); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("got %v", err)
	}
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, ca := range []string{file, file + ".absent"} {
		if _, err := tracing.Start(t.Context(), tracing.Config{Endpoint: "https://127.0.0.1:1", CA: ca}, agent, slog.New(slog.DiscardHandler)); err == nil {
			t.Errorf("%s is taken", ca)
		}
	}
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
