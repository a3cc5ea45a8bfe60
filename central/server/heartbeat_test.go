package server_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/client"
	"github.com/safeguard-edge/safeguard/central/flagpb"
	"github.com/safeguard-edge/safeguard/central/server"
)

// full is a heartbeat in which everything is said.
func full(at time.Time) safeguard.Heartbeat {
	ago := func(d time.Duration) time.Time { return at.Add(-d) }
	queue := safeguard.Queue{Length: 3, Oldest: ago(7 * time.Second)}
	return safeguard.Heartbeat{
		Boot: "BOOT", Sequence: 1, At: at, State: safeguard.Degraded, Since: ago(time.Minute),
		Device: "rx1-ed-1", Version: "1.2.3", Config: strings.Repeat("ab", 32), Started: ago(50 * time.Hour),
		Feeds:   []safeguard.FeedHealth{{Name: "pas", Transport: "mllp", Connections: 2, LastMessage: ago(3 * time.Second), Messages: 120_000, Errors: 4, LastHour: 900, HourErrors: 1, HeldSince: ago(time.Second), Fault: "address already in use"}},
		Failing: []string{"feed pas", "keys"},
		Journal: safeguard.JournalHealth{Stopped: "disk full", Since: ago(9 * time.Second), Waiting: queue, SetAside: 2, Late: 1, Size: 1 << 30, Lost: 5},
		Sinks:   []safeguard.SinkHealth{{Name: "epr", Carrier: "mllp", Took: ago(3 * time.Minute), Error: "no answer in time", Live: true, Waiting: queue, DownSince: ago(time.Minute), Answered: ago(2 * time.Minute), Delivered: 55, Refused: 1, Failed: 9}},
		Lookups: queue, Corrections: queue,
		Centre:      safeguard.CentreHealth{Since: ago(time.Hour), Latency: 12 * time.Millisecond, Heard: at},
		Cache:       safeguard.CacheHealth{State: safeguard.CacheReady, Entries: 20_000, Oldest: ago(300 * time.Hour), Newest: ago(time.Minute)},
		Certificate: safeguard.CertificateHealth{From: ago(100 * time.Hour), Until: ago(-100 * time.Hour)},
		Clock:       safeguard.ClockHealth{Offset: -1500 * time.Millisecond, Within: 3 * time.Millisecond, Measured: ago(30 * time.Second)},
		Disk:        safeguard.DiskHealth{Free: 40 << 30, Floor: 512 << 20, Sync: 4 * time.Millisecond},
		Attendances: safeguard.AttendanceHealth{Window: 4 * time.Hour, Begun: 80, NotCompleted: 3, NoNumber: 4, Unknown: queue, Unanswered: 6},
		Warnings:    []safeguard.Warning{{Code: safeguard.SinkDown, Part: "epr", Since: ago(time.Minute), Detail: "3 waiting"}},
	}
}

func TestHeartbeatIsTakenByTheCentresClock(t *testing.T) {
	c := start(t)
	agent := c.agent()
	// The agent's clock is a day and more ahead.
	sent := time.Now().Truncate(time.Second)
	h := full(sent.Add(30 * time.Hour))
	period := safeguard.Period{Start: sent.UTC().Truncate(5 * time.Minute).Add(-5 * time.Minute), Length: 5 * time.Minute, State: safeguard.Working, Severity: safeguard.Notice, Feeds: []safeguard.FeedPeriod{{Name: "pas", Messages: 5, Errors: 1}},
		Waiting: 1, Oldest: time.Second, Undelivered: 2, Lookups: 3, Latency: time.Millisecond, Delivered: 4, Begun: 5, NotCompleted: 6, NoNumber: 7}
	future := period
	future.Start = period.Start.Add(30 * time.Hour)
	reply, err := agent.Heartbeat(t.Context(), h, []safeguard.Period{period, future})
	if err != nil {
		t.Fatal(err)
	}
	if off := time.Since(reply.At).Abs(); off > time.Minute || !reply.Kept.Equal(period.Start.Add(period.Length)) {
		t.Errorf("got %+v, want the centre's time, and the one period kept", reply)
	}
	list, err := c.store.FleetAgents(t.Context(), time.Time{})
	if err != nil || len(list) != 1 {
		t.Fatalf("got %+v, %v", list, err)
	}
	got := list[0].Report
	if lag := got.At.Sub(sent); lag < 0 || lag > time.Minute {
		t.Errorf("it was written at %v by what is kept, want when it was received, about %v", got.At, sent)
	}
	want := full(got.At)
	want.Certificate = h.Certificate // is the certificate's own
	got.Certificate = safeguard.CertificateHealth{From: got.Certificate.From.Local(), Until: got.Certificate.Until.Local()}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	hours, err := c.store.FleetHours(t.Context(), list[0].Key, sent.Add(-2*time.Hour))
	if err != nil || len(hours) != 1 || !reflect.DeepEqual(hours[0].Periods, []safeguard.Period{period}) {
		t.Errorf("got %+v, %v, want %+v", hours, err, period)
	}
}

func TestHeartbeatsThatAreRefused(t *testing.T) {
	c := start(t)
	agent := c.agent()
	beat := func(boot string, sequence uint64) error {
		_, err := agent.Heartbeat(t.Context(), safeguard.Heartbeat{Boot: boot, Sequence: sequence, At: time.Now()}, nil)
		return err
	}
	for _, tt := range []struct {
		name     string
		boot     string
		sequence uint64
		want     string // empty: taken
	}{
		{"the first", "one", 1, ""},
		{"replayed", "one", 1, "was taken already"},
		{"later", "one", 5, ""},
		{"out of order", "one", 3, "was taken already"},
		{"after a restart", "two", 1, ""},
		{"replayed from before the restart", "one", 6, "another run of the agent has followed this one"},
		{"no run", "", 1, "boot and sequence"},
		{"no number", "two", 0, "boot and sequence"},
		{"a long run", strings.Repeat("x", 65), 1, "boot and sequence"},
	} {
		err := beat(tt.boot, tt.sequence)
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("%s: %v", tt.name, err)
		case tt.want != "" && (!errors.Is(err, safeguard.ErrRefused) || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%s: got %v, want it refused: %s", tt.name, err, tt.want)
		}
	}
	if n := c.server.Counts(); n.Replayed != 3 || n.Beats != 3 {
		t.Errorf("got %d replayed, %d taken", n.Replayed, n.Beats)
	}
	var refused *client.Refused
	if _, err := c.authority(middlesbrough).Heartbeat(t.Context(), full(time.Now()), nil); !errors.As(err, &refused) || refused.Code != "PermissionDenied" {
		t.Errorf("got %v for a local authority", err)
	}
	c.directory.Set(nil, nil)
	if err := beat("two", 2); !errors.As(err, &refused) || !strings.Contains(err.Error(), "no site of organisation RX1 is registered") {
		t.Errorf("got %v for an organisation without a site", err)
	}
}

// FuzzHeartbeat: whatever an agent sends, what is kept of it can be shown on one
// line, is not from the future, and has not more parts than there may be.
func FuzzHeartbeat(f *testing.F) {
	whole, err := proto.Marshal(&flagpb.HeartbeatRequest{
		Boot: "one", Sequence: 1, WrittenAt: timestamppb.Now(), State: flagpb.AgentState_AGENT_STATE_WORKING, StateAge: 9, Device: "a\nb",
		Feeds:   []*flagpb.FeedHealth{{Name: "pas", LastAge: 4}},
		Periods: []*flagpb.Period{{Start: &timestamppb.Timestamp{Seconds: 1_799_999_700}, Length: 300, Feeds: []*flagpb.FeedPeriod{{Name: "pas", Messages: 5}}}},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add([]byte{})
	at := time.Unix(1_800_000_000, 0)
	f.Fuzz(func(t *testing.T, raw []byte) {
		var r flagpb.HeartbeatRequest
		if proto.Unmarshal(raw, &r) != nil {
			return
		}
		h := server.ReportOf(&r, at)
		for _, s := range []string{h.Device, h.Version, h.Journal.Stopped, h.Cache.State} {
			if strings.ContainsAny(s, "\n\r\x1b\x00") || len(s) > 200 {
				t.Errorf("kept %q", s)
			}
		}
		for _, when := range []time.Time{h.Since, h.Started, h.Journal.Since, h.Lookups.Oldest, h.Clock.Measured} {
			if when.After(at) {
				t.Errorf("kept %v, after it was received", when)
			}
		}
		if h.State < safeguard.UnknownAgent || h.State > safeguard.Failing {
			t.Errorf("kept state %d", h.State)
		}
		for _, p := range r.GetPeriods() {
			if q, ok := server.PeriodOf(p, at); ok && (q.Start.After(at.Add(time.Hour)) || q.Start.Before(at.AddDate(0, 0, -2)) || q.Length < time.Minute) {
				t.Errorf("kept period %+v", q)
			}
		}
	})
}
