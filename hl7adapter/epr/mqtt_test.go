package epr_test

import (
	"context"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/hl7adapter/epr"
	"github.com/safeguard-edge/safeguard/hl7adapter/epr/eprtest"
	"github.com/safeguard-edge/safeguard/hl7adapter/feed"
	"github.com/safeguard-edge/safeguard/hl7adapter/mqtt"
	"github.com/safeguard-edge/safeguard/test/hospital"
	"github.com/safeguard-edge/safeguard/test/loopback"
)

// broker is mosquitto, with who listens to it.
type broker struct {
	t       testing.TB
	address string
	config  string
	cmd     *exec.Cmd

	mu   sync.Mutex // guards the fields below
	came []eprtest.Message
}

func openBroker(t testing.TB, topics ...string) *broker {
	t.Helper()
	address, err := loopback.Free()
	if err != nil {
		t.Fatal(err)
	}
	b := &broker{t: t, address: address}
	_, port, _ := net.SplitHostPort(b.address)
	dir := t.TempDir()
	b.config = filepath.Join(dir, "mosquitto.conf")
	text := "listener " + port + " 127.0.0.1\nallow_anonymous true\nlog_dest none\npersistence true\npersistence_location " + dir + "/\nautosave_on_changes true\nautosave_interval 1\n"
	if os.Getuid() == 0 {
		text += "user root\n" // else it could not write to the folder of the test
	}
	if err := os.WriteFile(b.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	b.start()
	t.Cleanup(b.stop)
	if len(topics) > 0 {
		b.listen(topics)
	}
	return b
}

func (b *broker) start() {
	program, err := exec.LookPath("mosquitto")
	if err != nil {
		if program, err = exec.LookPath("/usr/sbin/mosquitto"); err != nil {
			b.t.Skip("mosquitto is not installed: run make deps")
		}
	}
	b.cmd = exec.Command(program, "-c", b.config)
	if err := b.cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	eventually(b.t, "the broker", func() bool {
		conn, err := net.DialTimeout("tcp", b.address, time.Second)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

func (b *broker) stop() {
	if b.cmd != nil {
		_ = b.cmd.Process.Signal(os.Interrupt)
		_ = b.cmd.Wait()
		b.cmd = nil
	}
}

// listen subscribes, and returns when it hears.
func (b *broker) listen(topics []string) {
	c := mqtt.DefaultConfig()
	c.Name, c.Topics = "listener", topics
	c.Broker.Address, c.Broker.ClientID = b.address, "listener"
	c.Broker.RetryMin, c.Broker.RetryMax = 10*time.Millisecond, 50*time.Millisecond
	f, err := mqtt.New(c, slog.New(slog.DiscardHandler))
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		_ = f.Run(ctx, func(_ context.Context, m feed.Message) (feed.Ack, error) {
			b.mu.Lock()
			defer b.mu.Unlock()
			if id := hospital.Field(m.Body, "MSH", 10); id != "" {
				b.came = append(b.came, eprtest.Message{ID: id, Content: string(m.Body)})
			}
			return m.Ack, nil
		})
	})
	b.t.Cleanup(func() { cancel(); wg.Wait() })
	p, err := mqtt.NewPublisher(brokerOf(b.address, "greeter"))
	if err != nil {
		b.t.Fatal(err)
	}
	defer p.Close()
	hello := []byte("MSH|^~\\&|HELLO|||||| ADT^A01|HELLO|P|2.4\rPID|1\r")
	eventually(b.t, "the listener", func() bool {
		if err := p.Publish(context.Background(), strings.NewReplacer("{site}", "RX101", "#", "hello").Replace(topics[0]), hello, false); err != nil {
			return false
		}
		return len(b.heard()) > 0
	})
}

func brokerOf(address, id string) mqtt.Broker {
	c := mqtt.DefaultBroker()
	c.Address, c.ClientID = address, id
	return c
}

func (b *broker) heard() []eprtest.Message {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]eprtest.Message(nil), b.came...)
}

func (b *broker) Sink(t testing.TB, name string, _ time.Duration, _ *slog.Logger) epr.Sink {
	c := epr.DefaultMQTTConfig()
	c.Broker = brokerOf(b.address, "sink-"+name)
	s, err := epr.NewMQTT(format(t, name, nil), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func (*broker) Script(...eprtest.Answer) {}

// Came waits for what is on its way: the broker confirms before it passes on.
func (b *broker) Came() (out []eprtest.Message) {
	p, err := mqtt.NewPublisher(brokerOf(b.address, "marker"))
	if err != nil {
		b.t.Fatal(err)
	}
	defer p.Close()
	id := time.Now().Format("MARK150405.000000000")
	if err := p.Publish(context.Background(), "safeguard/RX101/alerts", []byte("MSH|^~\\&|MARK||||||ADT^A01|"+id+"|P|2.4\rPID|1\r"), false); err != nil {
		b.t.Fatal(err)
	}
	eventually(b.t, "the marker", func() bool {
		for _, m := range b.heard() {
			if m.ID == id {
				return true
			}
		}
		return false
	})
	for _, m := range b.heard() {
		if !strings.HasPrefix(m.ID, "MARK") && m.ID != "HELLO" {
			out = append(out, m)
		}
	}
	return out
}

func (b *broker) Showing() (n int) {
	shows := map[string]bool{}
	for _, m := range b.Came() {
		key, gone := shown([]byte(m.Content))
		shows[key] = !gone
	}
	for _, s := range shows {
		if s {
			n++
		}
	}
	return n
}

func TestMQTTConforms(t *testing.T) {
	eprtest.Run(t, eprtest.Subject{Open: func(t testing.TB) eprtest.EPR { return openBroker(t, "safeguard/{site}/alerts") }})
}

func TestMQTTSurvivesItsBroker(t *testing.T) {
	b := openBroker(t, "safeguard/{site}/alerts")
	sink := b.Sink(t, "epr", 0, nil)
	if r, err := sink.Deliver(t.Context(), eprtest.Alert(1, safeguard.Raise)); err != nil || r.Outcome != safeguard.Delivered {
		t.Fatalf("%s: %v", r.Outcome, err)
	}
	b.stop()
	if r, err := sink.Deliver(t.Context(), eprtest.Alert(2, safeguard.Update)); err == nil || r.Outcome != safeguard.Retry || strings.Contains(err.Error(), "FERNSBY") {
		t.Fatalf("the broker is gone: got %s, %v", r.Outcome, err)
	}
	b.start()
	if r, err := sink.Deliver(t.Context(), eprtest.Alert(2, safeguard.Update)); err != nil || r.Outcome != safeguard.Delivered {
		t.Fatalf("the broker is back: got %s, %v", r.Outcome, err)
	}
}

func TestMQTTRetainsUnderATokenAndClearsOnWithdrawal(t *testing.T) {
	b := openBroker(t, "other/{site}/x")
	c := epr.DefaultMQTTConfig()
	c.Broker, c.Topic, c.Retained = brokerOf(b.address, "sink"), "safeguard/{site}/alerts/{token}", true
	sink, err := epr.NewMQTT(format(t, "epr", nil), c)
	if err != nil {
		t.Fatal(err)
	}
	defer sink.Close()
	for _, a := range []safeguard.Alert{eprtest.Alert(1, safeguard.Raise), eprtest.Other(), eprtest.Alert(2, safeguard.Withdraw)} {
		if r, err := sink.Deliver(t.Context(), a); err != nil || r.Outcome != safeguard.Delivered {
			t.Fatalf("%s: %v", r.Outcome, err)
		}
	}
	// Who comes later hears of what is in force, and of nothing else.
	late := openListener(t, b, "safeguard/{site}/alerts/#")
	eventually(t, "the retained alert", func() bool { return len(late.heard()) > 0 })
	if got := late.heard(); len(got) != 1 || got[0].ID != eprtest.Other().ControlID("epr") {
		t.Errorf("%d retained alerts, want the one that is in force: %v", len(got), got)
	}
}

func openListener(t testing.TB, b *broker, topic string) *broker {
	late := &broker{t: t, address: b.address}
	c := mqtt.DefaultConfig()
	c.Name, c.Topics = "late", []string{topic}
	c.Broker = brokerOf(b.address, "late")
	f, err := mqtt.New(c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		_ = f.Run(ctx, func(_ context.Context, m feed.Message) (feed.Ack, error) {
			late.mu.Lock()
			defer late.mu.Unlock()
			late.came = append(late.came, eprtest.Message{ID: hospital.Field(m.Body, "MSH", 10), Content: string(m.Body)})
			return m.Ack, nil
		})
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	return late
}

func TestMQTTTopicsTellNothing(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*epr.MQTTConfig)
		want   string
	}{
		"patient in a topic":   {func(c *epr.MQTTConfig) { c.Topic = "alerts/{nhs_number}" }, "topic"},
		"bed in a topic":       {func(c *epr.MQTTConfig) { c.Topic = "alerts/{location}" }, "{location}: want {site} or {token}"},
		"wildcard":             {func(c *epr.MQTTConfig) { c.Topic = "alerts/#" }, "without wildcards"},
		"retained for a place": {func(c *epr.MQTTConfig) { c.Retained = true }, "want {token} in topic"},
		"no broker":            {func(c *epr.MQTTConfig) { c.Broker.Address = "" }, "broker: address"},
	} {
		m := epr.DefaultMQTTConfig()
		m.Broker = brokerOf("broker.example:8883", "sink")
		c.change(&m)
		if err := m.Validate(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want one that says %s", name, err, c.want)
		}
	}
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("%s did not come", what)
		}
		time.Sleep(10 * time.Millisecond) // polls for an event; the deadline is above
	}
}
