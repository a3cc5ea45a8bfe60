package client

import (
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/safeguard-edge/safeguard"
)

// A heartbeat of an agent with two feeds and two sinks is far less than a packet,
// also with one period of the last minutes.
func TestHeartbeatIsSmall(t *testing.T) {
	now := time.Now()
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	feed := safeguard.FeedHealth{Name: "pas-emergency", Transport: "mllp", Connections: 2, LastMessage: ago(3 * time.Second), Messages: 120_000, Errors: 4, LastHour: 900}
	sink := safeguard.SinkHealth{Name: "epr", Carrier: "mllp", Took: ago(2 * time.Minute), Live: true, Answered: ago(2 * time.Minute), Delivered: 55}
	h := safeguard.Heartbeat{
		Boot: "ABCDEFGHIJKLMNOPQRSTUVWXYZ", Sequence: 100_000, At: now, State: safeguard.Working, Since: ago(50 * time.Hour), Device: "rx1-ed-1",
		Version: "1.2.3", Config: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", Started: ago(50 * time.Hour),
		Feeds: []safeguard.FeedHealth{feed, feed}, Sinks: []safeguard.SinkHealth{sink, sink},
		Journal:     safeguard.JournalHealth{Size: 1 << 30},
		Centre:      safeguard.CentreHealth{Latency: 12 * time.Millisecond},
		Cache:       safeguard.CacheHealth{State: safeguard.CacheReady, Entries: 20_000, Oldest: ago(300 * time.Hour), Newest: ago(time.Minute)},
		Certificate: safeguard.CertificateHealth{From: ago(100 * time.Hour), Until: ago(-100 * time.Hour)},
		Clock:       safeguard.ClockHealth{Offset: -1500 * time.Microsecond, Within: 3 * time.Millisecond, Measured: ago(30 * time.Second)},
		Disk:        safeguard.DiskHealth{Free: 40 << 30, Floor: 512 << 20, Sync: 4 * time.Millisecond},
		Attendances: safeguard.AttendanceHealth{Window: 4 * time.Hour, Begun: 80, NotCompleted: 3, NoNumber: 4},
	}
	period := safeguard.Period{Start: now.Truncate(5 * time.Minute), Length: 5 * time.Minute, State: safeguard.Working, Feeds: []safeguard.FeedPeriod{{Name: "pas-emergency", Messages: 75}, {Name: "pas-emergency", Messages: 75}}, Begun: 9}
	alone, with := proto.Size(heartbeat(h, nil)), proto.Size(heartbeat(h, []safeguard.Period{period}))
	t.Logf("%d bytes, %d with a period", alone, with)
	if alone > 400 || with > 500 {
		t.Errorf("a heartbeat has %d bytes, and %d with a period", alone, with)
	}
}
