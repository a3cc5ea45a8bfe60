package e2e

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard/test/hospital"
	"github.com/safeguard-edge/safeguard/test/world"
)

// TestBrokerLeadsToAnAlert publishes a registration to a broker while the agent is
// not there. The broker keeps it, the agent takes it when it comes back.
func TestBrokerLeadsToAnAlert(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	broker := startBroker(ctx, t)
	w := newWorld(t, `mqtt: {topics: ["adt/{site}"], broker: {address: "`+broker+`", client_id: agent}}`)
	published := func(who hospital.Person, visit string) {
		t.Helper()
		publish(t, broker, "adt/RX101", w.PAS.Message("A04", who, visit, time.Now()))
	}
	alerted := func(visit string) {
		t.Helper()
		if _, _, err := w.EPR.Wait(ctx, 0, func(r hospital.Received) bool { return visitOf(r) == visit }); err != nil {
			t.Fatalf("%s: %v", visit, err)
		}
	}
	await(ctx, t, "the agent subscribes", func() bool {
		log, _ := os.ReadFile(w.Path("safeguard-agent.log"))
		return bytes.Contains(log, []byte("msg=connected feed=feed1"))
	})
	published(hospital.Plan, "V-THERE")
	alerted("V-THERE")
	if err := w.StopAgent(); err != nil {
		t.Fatal(err)
	}
	published(hospital.LookedAfter, "V-AWAY")
	if err := w.StartAgent(ctx); err != nil {
		t.Fatal(err)
	}
	alerted("V-AWAY")
}

// await waits until ok, which others bring about.
func await(ctx context.Context, t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("never: %s", what)
		}
	}
}

// startBroker starts mosquitto, which ends with the test.
func startBroker(ctx context.Context, t *testing.T) (address string) {
	t.Helper()
	program, err := exec.LookPath("mosquitto")
	if err != nil {
		if program, err = exec.LookPath("/usr/sbin/mosquitto"); err != nil {
			t.Skip("mosquitto is not installed: run make deps")
		}
	}
	if address, err = world.FreeAddress(); err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(address)
	config := filepath.Join(t.TempDir(), "mosquitto.conf")
	if err := os.WriteFile(config, []byte("listener "+port+" 127.0.0.1\nallow_anonymous true\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-c", config)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // says that it was killed
	})
	await(ctx, t, "the broker listens", func() bool {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	return address
}

// publish sends one message with QoS 1 to a broker of MQTT 3.1.1, and waits until
// the broker has it.
func publish(t *testing.T, broker, topic string, message []byte) {
	t.Helper()
	conn, err := net.Dial("tcp", broker)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	text := func(s string) []byte { return append(binary.BigEndian.AppendUint16(nil, uint16(len(s))), s...) }
	packet := func(kind byte, parts ...[]byte) []byte {
		var body []byte
		for _, p := range parts {
			body = append(body, p...)
		}
		out := []byte{kind}
		for n := len(body); ; n >>= 7 {
			if n < 0x80 {
				return append(append(out, byte(n)), body...)
			}
			out = append(out, byte(n)|0x80)
		}
	}
	connect := packet(0x10, text("MQTT"), []byte{4, 2, 0, 60}, text("sender")) // clean session, keep alive 60 s
	for _, step := range []struct{ send, want []byte }{
		{connect, []byte{0x20, 2, 0, 0}},
		{packet(0x32, text(topic), []byte{0, 1}, message), []byte{0x40, 2, 0, 1}},
	} {
		if _, err := conn.Write(step.send); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(step.want))
		if _, err := io.ReadFull(conn, got); err != nil || string(got) != string(step.want) {
			t.Fatal(fmt.Errorf("broker answers %x, want %x: %w", got, step.want, err))
		}
	}
}
