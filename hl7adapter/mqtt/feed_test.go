package mqtt

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard/hl7adapter/feed"
	"github.com/safeguard-edge/safeguard/hl7adapter/feed/feedtest"
)

// connected waits until the feed is.
func connected(t testing.TB, f *Feed) {
	t.Helper()
	eventually(t, "the feed is connected", func() bool { return f.Stats().Open == 1 })
}

func ids(messages []feed.Message) string {
	var out []string
	for _, m := range messages {
		out = append(out, strings.Split(string(m.Body), "|")[9])
	}
	return strings.Join(out, " ")
}

func TestTellsTheSite(t *testing.T) {
	b := startBroker(t)
	c := testConfig(b.address)
	session(t, c)
	var d disk
	start(t, c, &d, quiet)
	s := newSender(t, testBroker(b.address))
	s.publish("adt/RZZ01/a04", feedtest.ADT("one"))
	s.publish("adt/robin marlowe/a04", feedtest.ADT("two"))
	eventually(t, "both are kept", func() bool { return len(d.kept()) == 2 })
	if got := d.kept(); got[0].Site != "RZZ01" || got[1].Site != "" || got[0].Peer != b.address {
		t.Errorf("got %q and %q from %q", got[0].Site, got[1].Site, got[0].Peer)
	}
}

// What is published while the agent is away comes when it is back, in order; and
// so it does when the broker was away, or both.
func TestNothingIsLostOverOutages(t *testing.T) {
	b := startBroker(t)
	c := testConfig(b.address)
	session(t, c)
	var d disk
	s := newSender(t, testBroker(b.address))
	var want []string
	publish := func(n int) {
		for range n {
			id := fmt.Sprintf("M%03d", len(want))
			want = append(want, id)
			s.publish("adt/RZZ01", feedtest.ADT(id))
		}
	}
	publish(30)
	_, stop := start(t, c, &d, quiet)
	eventually(t, "what waited is kept", func() bool { return len(d.kept()) >= 30 })
	stop()
	publish(30)
	b.stop() // writes what it keeps, as at a reboot
	f, _ := start(t, c, &d, quiet)
	b.run()
	s.link.close()
	s.connect()
	connected(t, f)
	publish(30)
	eventually(t, "all are kept", func() bool { return len(d.kept()) >= len(want) })
	if got := ids(d.kept()); got != strings.Join(want, " ") {
		t.Errorf("got %s, want each in order and, since nothing was cut, once", got)
	}
}

// An acknowledgement that does not arrive brings the message again: never less
// than once.
func TestLostAcknowledgementBringsTheMessageAgain(t *testing.T) {
	b := startBroker(t)
	p := startProxy(t, b.address)
	c := testConfig(p.address())
	session(t, c)
	p.mu.Lock()
	p.deaf = func(n int) bool { return n == 2 }
	p.mu.Unlock()
	var d disk
	start(t, c, &d, quiet)
	s := newSender(t, testBroker(b.address))
	for i := range 3 {
		s.publish("adt/RZZ01", feedtest.ADT(fmt.Sprint("A", i)))
	}
	eventually(t, "the second comes again", func() bool { return strings.Count(ids(d.kept()), "A1") == 2 })
	eventually(t, "all are acknowledged", func() bool {
		return p.acknowledged(feedtest.ADT("A0")) > 0 && p.acknowledged(feedtest.ADT("A1")) > 0 && p.acknowledged(feedtest.ADT("A2")) > 0
	})
}

// While the journal refuses, the feed takes no more ahead than it is told to, and
// loses nothing.
func TestPushesBack(t *testing.T) {
	b := startBroker(t, "allow_anonymous true", "max_inflight_messages 0")
	p := startProxy(t, b.address)
	c := testConfig(p.address())
	c.Ahead = 4
	session(t, c)
	var d disk
	d.answerWith(func(feed.Message) error { return feed.ErrHold })
	f, _ := start(t, c, &d, quiet)
	s := newSender(t, testBroker(b.address))
	const count = 200
	for i := range count {
		s.publish("adt/RZZ01", feedtest.ADT(fmt.Sprintf("P%03d", i)))
	}
	eventually(t, "the first is offered again and again", func() bool { return d.offered() > 3 })
	if st := f.Stats(); st.Waiting != 1 || st.Frames != 1 {
		t.Errorf("%d wait of %d read, want 1 of 1", st.Waiting, st.Frames)
	}
	for i := range count {
		if p.acknowledged(feedtest.ADT(fmt.Sprintf("P%03d", i))) > 0 {
			t.Fatalf("message %d is acknowledged and not kept", i)
		}
	}
	d.answerWith(nil)
	eventually(t, "all are kept", func() bool { return len(d.kept()) >= count })
}

// A line on which nothing passes any more is given up and made anew.
func TestGivesUpASilentLine(t *testing.T) {
	b := startBroker(t)
	p := startProxy(t, b.address)
	c := testConfig(p.address())
	c.Broker.KeepAlive, c.Broker.WriteTimeout = time.Second, time.Second
	session(t, c)
	var d disk
	f, _ := start(t, c, &d, quiet)
	connected(t, f)
	p.hang()
	eventually(t, "the feed gives up", func() bool { return f.Stats().Open == 0 })
	p.resume()
	s := newSender(t, testBroker(b.address))
	s.publish("adt/RZZ01", feedtest.ADT("after"))
	eventually(t, "it serves again", func() bool { return strings.Contains(ids(d.kept()), "after") })
}

func TestTLSWithClientCertificate(t *testing.T) {
	authority, stranger := feedtest.NewAuthority(t, "hospital"), feedtest.NewAuthority(t, "stranger")
	server, _ := authority.Issue("broker")
	b := startBroker(t, "allow_anonymous true", "cafile "+authority.CA(), "certfile "+server.Cert, "keyfile "+server.Key,
		"require_certificate true", "tls_version tlsv1.2")
	client, _ := authority.Issue("feed")
	client.CA = authority.CA()
	foreign, _ := stranger.Issue("feed")
	foreign.CA = authority.CA()
	trusting := client
	trusting.CA = stranger.CA()
	misnamed := client
	misnamed.ServerName = "other.test"
	for _, c := range []struct {
		name string
		tls  *feed.TLS
		want string // in the log; empty for a connection
	}{
		{"as it should be", &client, ""},
		{"a client of another authority", &foreign, "tls"},
		{"no client certificate", &feed.TLS{CA: authority.CA()}, "tls"},
		{"a broker of another authority", &trusting, "certificate signed by unknown authority"},
		{"a broker of another name", &misnamed, "certificate is valid for"},
		{"no TLS", nil, "not connected"},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := testConfig(b.address)
			config.Broker.TLS = c.tls
			config.Broker.ConnectTimeout = 5 * time.Second
			var d disk
			var log lockedBuffer
			f, stop := start(t, config, &d, textLog(&log))
			defer stop()
			if c.want != "" {
				eventually(t, "the log says why not", func() bool { return strings.Contains(log.String(), c.want) })
				return
			}
			connected(t, f)
			s := newSender(t, config.Broker)
			eventually(t, "the subscription is there", func() bool {
				s.publish("adt/RZZ01", feedtest.ADT("secure"))
				return len(d.kept()) > 0
			})
		})
	}
}

// The password is read from its file at each connection, and the log has neither
// password nor patient.
func TestPasswordFromAFile(t *testing.T) {
	b := startBroker(t, "allow_anonymous false", "password_file "+passwords(t, "feed", "correct horse"))
	c := testConfig(b.address)
	c.Broker.User, c.Broker.PasswordFile = "feed", filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(c.Broker.PasswordFile, []byte("battery staple\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var d disk
	var log lockedBuffer
	f, _ := start(t, c, &d, textLog(&log))
	eventually(t, "the wrong one is refused", func() bool { return strings.Contains(log.String(), "not connected") })
	if err := os.WriteFile(c.Broker.PasswordFile, []byte("correct horse\r\nnot this\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	connected(t, f)
	s := newSender(t, c.Broker)
	eventually(t, "the subscription is there", func() bool {
		s.publish("adt/robin-marlowe/a04", feedtest.ADT("secret"))
		return len(d.kept()) > 0
	})
	for _, secret := range []string{"correct horse", "battery", "marlowe", "MARLOWE", "9990000018"} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("the log has %q:\n%s", secret, log.String())
		}
	}
	if !strings.Contains(log.String(), "the password crosses the network unprotected") {
		t.Error("nothing said of a password without TLS")
	}
}

// A broker that grants less than was asked for is not taken for one that sends.
func TestRefusedSubscriptionIsSaid(t *testing.T) {
	for name, granted := range map[string]byte{"refused": 0x80, "QoS 0": 0} {
		t.Run(name, func(t *testing.T) {
			b := startBroker(t)
			p := startProxy(t, b.address)
			p.edit = func(packet []byte) {
				if packet[0]>>4 == 9 { // SUBACK
					packet[len(packet)-1] = granted
				}
			}
			var d disk
			var log lockedBuffer
			f, _ := start(t, testConfig(p.address()), &d, textLog(&log))
			eventually(t, "the log says so", func() bool { return strings.Contains(log.String(), "refused by the broker, want its access rules") })
			eventually(t, "it tries again", func() bool { return f.Stats().Opened > 1 })
		})
	}
}

// A reply comes for each message, and again the same when the message does.
func TestReplies(t *testing.T) {
	b := startBroker(t)
	p := startProxy(t, b.address)
	c := testConfig(p.address())
	c.Reply = "ack/{site}"
	session(t, c)
	var d disk
	d.answerWith(func(m feed.Message) error {
		if bytes.Contains(m.Body, []byte("|never|")) {
			return feed.ErrRefuse
		}
		return nil
	})
	start(t, c, &d, quiet)
	s := newSender(t, testBroker(b.address), "ack/RZZ01")
	for _, id := range []string{"yes", "never"} {
		s.publish("adt/RZZ01", feedtest.ADT(id))
		select {
		case m := <-s.heard:
			want := map[string]string{"yes": "MSA|AA|yes", "never": "MSA|AR|never"}[id]
			if !bytes.Contains(m.Payload(), []byte(want)) || m.Qos() != 1 || m.Retained() {
				t.Errorf("%s: got %q, QoS %d", id, m.Payload(), m.Qos())
			}
		case <-time.After(deadline):
			t.Fatalf("%s: no reply", id)
		}
	}
}

// With nack, what nobody could hear of is not acknowledged to the broker either.
func TestNackWithoutAReplyTopicComesAgain(t *testing.T) {
	b := startBroker(t)
	p := startProxy(t, b.address)
	c := testConfig(p.address())
	c.Reply, c.Policy.Hold = "ack/{site}", feed.Nack
	session(t, c)
	var d disk
	d.answerWith(func(feed.Message) error { return errors.New("no space left on device") })
	start(t, c, &d, quiet)
	s := newSender(t, testBroker(b.address))
	s.publish("adt/-", feedtest.ADT("nowhere"))
	eventually(t, "it is offered again", func() bool { return d.offered() > 1 })
	if p.acknowledged(feedtest.ADT("nowhere")) > 0 {
		t.Error("acknowledged, and not kept")
	}
	d.answerWith(nil)
	eventually(t, "it is kept", func() bool { return len(d.kept()) > 0 })
}

func TestClientsOfTheSameName(t *testing.T) {
	b := startBroker(t)
	c := testConfig(b.address)
	session(t, c)
	var d disk
	var log lockedBuffer
	start(t, c, &d, textLog(&log))
	start(t, c, &d, quiet)
	eventually(t, "the log suspects it", func() bool { return strings.Contains(log.String(), "does another client use our client id?") })
}
