package epr_test

import (
	"bufio"
	"bytes"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/hl7adapter/epr"
	"github.com/safeguard-edge/safeguard/hl7adapter/epr/eprtest"
)

// BenchmarkDeliver is one alert after the other, each acknowledged, to the same EPR:
// by a sink behind its guard, and by a bare client that sends a ready message.
func BenchmarkDeliver(b *testing.B) {
	guarded := func(b *testing.B, s epr.Sink) {
		c := epr.DefaultGuardConfig()
		c.ReleaseConfirmedBy, c.Rate = "nobody, this EPR is simulated", 0
		g, err := epr.NewGuard(s, c, slog.New(slog.DiscardHandler))
		if err != nil {
			b.Fatal(err)
		}
		n := 0
		for b.Loop() {
			a := eprtest.Alert(1, safeguard.Raise)
			n++
			a.Version, a.Decided = n, a.Decided.Add(time.Duration(n))
			if r, err := g.Deliver(b.Context(), a); err != nil || r.Outcome != safeguard.Delivered {
				b.Fatalf("%s: %v", r.Outcome, err)
			}
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
	}
	message := func(b *testing.B) []byte {
		m, err := format(b, "epr", nil).Message(eprtest.Alert(1, safeguard.Raise))
		if err != nil {
			b.Fatal(err)
		}
		return m
	}
	b.Run("mllp/safeguard", func(b *testing.B) {
		guarded(b, openMLLP(b, "oru-r01").Sink(b, "epr", 30*time.Second, nil))
	})
	b.Run("mllp/bare", func(b *testing.B) {
		conn, err := net.Dial("tcp", openMLLP(b, "oru-r01").listener.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		defer conn.Close()
		frame := append(append([]byte{0x0b}, message(b)...), 0x1c, '\r')
		in := bufio.NewReader(conn)
		for b.Loop() {
			if _, err := conn.Write(frame); err != nil {
				b.Fatal(err)
			}
			if ack, err := in.ReadBytes(0x1c); err != nil || !bytes.Contains(ack, []byte("MSA|AA")) {
				b.Fatalf("%q: %v", ack, err)
			}
			if _, err := in.ReadByte(); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
	})
	b.Run("folder/safeguard", func(b *testing.B) {
		guarded(b, folderEPR{b, b.TempDir()}.Sink(b, "epr", 0, nil))
	})
	b.Run("folder/bare", func(b *testing.B) {
		dir, m := b.TempDir(), message(b)
		n := 0
		for b.Loop() {
			n++
			f, err := os.Create(filepath.Join(dir, strconv.Itoa(n)))
			if err != nil {
				b.Fatal(err)
			}
			if _, err := f.Write(m); err != nil {
				b.Fatal(err)
			}
			if err := f.Sync(); err != nil {
				b.Fatal(err)
			}
			f.Close()
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
	})
}
