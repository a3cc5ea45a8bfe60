package mqtt

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"go.uber.org/goleak"

	"github.com/safeguard-edge/safeguard/hl7adapter/feed"
	"github.com/safeguard-edge/safeguard/hl7adapter/feed/feedtest"
	"github.com/safeguard-edge/safeguard/logging/loggingtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// deadline is how long a test waits for what must come.
const deadline = time.Minute

var quiet = slog.New(slog.DiscardHandler)

var clients atomic.Int64

func newClientID(what string) string { return fmt.Sprintf("test-%s-%d", what, clients.Add(1)) }

func testBroker(address string) Broker {
	b := DefaultBroker()
	b.Address, b.ClientID = address, newClientID("feed")
	b.RetryMin, b.RetryMax = 5*time.Millisecond, 50*time.Millisecond
	return b
}

func testConfig(address string) Config {
	c := DefaultConfig()
	c.Name, c.Broker, c.Topics = "pas", testBroker(address), []string{"adt/{site}/#"}
	return c
}

// session makes the broker keep the feed's session from now on.
func session(t testing.TB, c Config) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	l, err := c.Broker.connect(ctx, longestPacket, func(paho.Message) {})
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	f, err := New(c, quiet)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.subscribe(f.filters); err != nil {
		t.Fatal(err)
	}
}

// sender publishes to a broker.
type sender struct {
	t      testing.TB
	link   *link
	broker Broker
	heard  chan paho.Message
}

// newSender connects a sender, which hears what is published to the topics.
func newSender(t testing.TB, b Broker, topics ...string) *sender {
	t.Helper()
	b.ClientID = newClientID("sender")
	s := &sender{t: t, broker: b, heard: make(chan paho.Message, 10_000)}
	s.connect(topics...)
	t.Cleanup(func() { s.link.close() })
	return s
}

func (s *sender) connect(topics ...string) {
	s.t.Helper()
	var filters []filter
	for _, topic := range topics {
		f, err := parseFilter(topic)
		if err != nil {
			s.t.Fatal(err)
		}
		filters = append(filters, f)
	}
	eventually(s.t, "the sender is connected", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), deadline)
		defer cancel()
		l, err := s.broker.connect(ctx, longestPacket, func(m paho.Message) {
			s.heard <- m
			m.Ack()
		})
		if err != nil {
			return false
		}
		if len(filters) > 0 {
			if err := l.subscribe(filters); err != nil {
				s.t.Errorf("subscribe: %v", err)
			}
		}
		s.link = l
		return true
	})
}

func (s *sender) publish(topic string, payload []byte) {
	s.t.Helper()
	if err := s.link.wait(s.link.publish(topic, payload)); err != nil {
		s.t.Fatalf("publish: %v", err)
	}
}

// disk is an Accept that remembers.
type disk struct {
	mu       sync.Mutex // guards the fields below
	messages []feed.Message
	answer   func(feed.Message) error // nil for yes
	offers   int
}

func (d *disk) accept(_ context.Context, m feed.Message) (feed.Ack, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.offers++
	if d.answer != nil {
		if err := d.answer(m); err != nil {
			return nil, err
		}
	}
	d.messages = append(d.messages, m)
	return m.Ack, nil
}

func (d *disk) answerWith(answer func(feed.Message) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.answer = answer
}

func (d *disk) kept() []feed.Message {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]feed.Message(nil), d.messages...)
}

func (d *disk) offered() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.offers
}

// start runs a feed; it must end cleanly when the test does, or before.
func start(t testing.TB, c Config, d *disk, log *slog.Logger) (f *Feed, stop func()) {
	t.Helper()
	f, err := New(c, log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx, d.accept) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("run: %v", err)
			}
		case <-time.After(deadline):
			t.Error("run did not end")
		}
	})
	t.Cleanup(stop)
	return f, stop
}

var eventually = feedtest.Eventually

type lockedBuffer = loggingtest.Log

var textLog = feedtest.TextLog
