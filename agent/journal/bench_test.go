package journal_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard/agent/journal"
	"github.com/safeguard-edge/safeguard/hl7adapter/feed"
	"github.com/safeguard-edge/safeguard/hl7adapter/mllp"
	"github.com/safeguard-edge/safeguard/test/intake"
	"github.com/safeguard-edge/safeguard/test/interleave"
)

// BenchmarkIntake measures registrations a second from the sender's frame to the
// acknowledgement it reads, with the listener and the journal between, beside two
// floors that are written to without a listener: each record written and synced by
// itself, and a bare log whose writers share a write and a sync.
func BenchmarkIntake(b *testing.B) {
	for _, connections := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("connections=%d", connections), func(b *testing.B) {
			interleave.Run(b, connections, "msg/s", interleave.Side{Name: "mllp", Do: intake.NewSenders(b, listen(b), connections).Send}, intake.Floors(b)...)
		})
	}
}

// BenchmarkAppend leaves the listener out.
func BenchmarkAppend(b *testing.B) {
	for _, writers := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			interleave.Run(b, writers, "msg/s", interleave.Side{Name: "journal", Do: newDirect(b).append}, intake.Floors(b)...)
		})
	}
}

// direct appends without a listener.
type direct struct{ *journal.Journal }

func newDirect(b testing.TB) direct { return direct{newBench(b).open(b)} }

func (d direct) append(int) error {
	_, err := d.Append(context.Background(), feed.Message{Feed: "pas", Received: time.Now(), Body: intake.Next(), Ack: acknowledgement})
	return err
}

// listen is the address of a listener that accepts into a journal.
func listen(b testing.TB) string {
	j := newBench(b).open(b)
	config := mllp.DefaultConfig()
	config.Name, config.Address = "pas", "127.0.0.1:0"
	l, err := mllp.Listen(config, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx, j.Append) }()
	b.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			b.Error(err)
		}
	})
	return l.Addr().String()
}

var registration = intake.Registration

var acknowledgement = feed.Ack("MSH|^~\\&|SAFEGUARD|RX1|PAS|RX1|20260314101500||ACK^A04^ACK|0123456789|P|2.4\rMSA|AA|B0N0\r")
