package epr_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/hl7adapter/epr"
	"github.com/safeguard-edge/safeguard/hl7adapter/epr/eprtest"
	"github.com/safeguard-edge/safeguard/test/interleave"
)

// BenchmarkDeliver is one alert after the other, each written anew and
// acknowledged: by a sink behind its guard, and in turn with it by a bare client
// that sends a ready message to the same EPR.
func BenchmarkDeliver(b *testing.B) {
	message, err := format(b, "epr", nil).Message(eprtest.Alert(1, safeguard.Raise))
	if err != nil {
		b.Fatal(err)
	}
	for name, sides := range map[string]func(*testing.B, []byte) (epr.Sink, func() error){
		"mllp": mllpSides, "folder": folderSides, "mqtt": mqttSides,
	} {
		b.Run(name, func(b *testing.B) {
			sink, bare := sides(b, message)
			interleave.Run(b, 1, "msg/s", delivers(b, sink), interleave.Side{Name: "bare", Do: func(int) error { return bare() }})
		})
	}
}

func delivers(b *testing.B, s epr.Sink) interleave.Side {
	c := epr.DefaultGuardConfig()
	c.ReleaseConfirmedBy, c.Rate = "nobody, this EPR is simulated", 0
	g, err := epr.NewGuard(s, c, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	a := eprtest.Alert(1, safeguard.Raise)
	return interleave.Side{Name: "safeguard", Do: func(int) error {
		a.Version, a.Decided = a.Version+1, a.Decided.Add(time.Millisecond)
		r, err := g.Deliver(b.Context(), a)
		if err == nil && r.Outcome != safeguard.Delivered {
			err = errors.New(r.Outcome.String())
		}
		return err
	}}
}

func mllpSides(b *testing.B, message []byte) (epr.Sink, func() error) {
	e := openMLLP(b, "oru-r01")
	conn, err := net.Dial("tcp", e.listener.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close() })
	frame := append(append([]byte{0x0b}, message...), 0x1c, '\r')
	in := bufio.NewReader(conn)
	return e.Sink(b, "epr", 30*time.Second, nil), func() error {
		if _, err := conn.Write(frame); err != nil {
			return err
		}
		ack, err := in.ReadBytes(0x1c)
		if err != nil || !bytes.Contains(ack, []byte("MSA|AA")) {
			return fmt.Errorf("%q: %w", ack, err)
		}
		_, err = in.ReadByte()
		return err
	}
}

// folderSides: what the bare client writes is on the disk like ours, the file and
// its name, but who reads the folder may see half of it.
func folderSides(b *testing.B, message []byte) (epr.Sink, func() error) {
	n := 0
	dir, err := os.Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { dir.Close() })
	return folderEPR{b, b.TempDir()}.Sink(b, "epr", 0, nil), func() error {
		n++
		f, err := os.Create(filepath.Join(dir.Name(), strconv.Itoa(n)))
		if err != nil {
			return err
		}
		defer f.Close()
		if _, err := f.Write(message); err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return err
		}
		return dir.Sync()
	}
}

func mqttSides(b *testing.B, message []byte) (epr.Sink, func() error) {
	broker := openBroker(b)
	client := paho.NewClient(paho.NewClientOptions().AddBroker("tcp://" + broker.address).SetClientID("bare").SetOrderMatters(false))
	publish := func(t paho.Token) error { t.Wait(); return t.Error() }
	if err := publish(client.Connect()); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { client.Disconnect(0) })
	return broker.Sink(b, "epr", 0, nil), func() error { return publish(client.Publish("safeguard/RX101/alerts", 1, false, message)) }
}
