package mllp

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard/hl7adapter/feed"
	"github.com/safeguard-edge/safeguard/hl7adapter/feed/feedtest"
	"github.com/safeguard-edge/safeguard/hl7adapter/hl7"
	"github.com/safeguard-edge/safeguard/logging/loggingtest"
	"github.com/safeguard-edge/safeguard/test/loopback"
)

func TestTLS(t *testing.T) {
	ours, theirs := feedtest.NewAuthority(t, "ours"), feedtest.NewAuthority(t, "theirs")
	server, _ := ours.Issue("server")
	mutual := server
	mutual.CA = ours.CA()
	client, _ := ours.Issue("client")
	stranger, _ := theirs.Issue("stranger")
	with := func(t feed.TLS, ca, name string) *feed.TLS { t.CA, t.ServerName = ca, name; return &t }
	for _, c := range []struct {
		name     string
		listener feed.TLS
		sender   *feed.TLS
		ok       bool
	}{
		{"a client that trusts the listener", server, &feed.TLS{CA: ours.CA()}, true},
		{"a client that does not", server, &feed.TLS{CA: theirs.CA()}, false},
		{"the name that is asked for", server, &feed.TLS{CA: ours.CA(), ServerName: "server.test"}, true},
		{"another name", server, &feed.TLS{CA: ours.CA(), ServerName: "other.test"}, false},
		{"plain TCP to a TLS listener", server, nil, false},
		{"mutual", mutual, with(client, ours.CA(), ""), true},
		{"mutual, without a certificate", mutual, &feed.TLS{CA: ours.CA()}, false},
		{"mutual, with a stranger's certificate", mutual, with(stranger, ours.CA(), ""), false},
		{"a CA file that is none", server, &feed.TLS{CA: server.Key}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := testConfig()
			config.TLS = &c.listener
			d := newDisk()
			l := listen(t, config, d.accept)
			sc := DefaultSenderConfig()
			sc.Address, sc.TLS, sc.AckTimeout = l.Addr().String(), c.sender, deadline
			if c.sender == nil {
				sc.AckTimeout = 200 * time.Millisecond
			}
			s, err := NewSender(sc)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			got, err := s.Send(context.Background(), a04("1"))
			if ok := err == nil && got.Code == hl7.AA; ok != c.ok {
				t.Fatalf("got %s, %v, want it to work: %v", got.Code, err, c.ok)
			}
			if !c.ok && len(d.bodies) > 0 {
				t.Error("the message was accepted")
			}
		})
	}
}

func TestTLSIsNewEnough(t *testing.T) {
	ours := feedtest.NewAuthority(t, "ours")
	server, _ := ours.Issue("server")
	config := testConfig()
	config.TLS = &server
	l := listen(t, config, newDisk().accept)
	_, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10})
	if err == nil {
		t.Error("TLS 1.1 was accepted")
	}
	eventually(t, "counted as denied", func() bool { return l.Stats().Denied == 1 })
}

// A load balancer that only connects is not denied anything.
func TestTLSProbeIsAProbe(t *testing.T) {
	ours := feedtest.NewAuthority(t, "ours")
	server, _ := ours.Issue("server")
	config := testConfig()
	config.TLS = &server
	l := listen(t, config, newDisk().accept)
	connect(t, l.Addr()).conn.Close()
	eventually(t, "counted as a probe", func() bool { s := l.Stats(); return s.Probes == 1 && s.Denied == 0 })
}

func TestTLSIsReloaded(t *testing.T) {
	ours := feedtest.NewAuthority(t, "ours")
	server, first := ours.Issue("server")
	config := testConfig()
	config.TLS = &server
	l := listen(t, config, newDisk().accept)
	presents := func() int64 {
		conn, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	}
	if got := presents(); got != first {
		t.Fatalf("presents %d, want %d", got, first)
	}
	held, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()

	_, second := ours.Issue("server")
	if got := presents(); got != second {
		t.Errorf("after a new certificate it presents %d, want %d", got, second)
	}
	if err := os.WriteFile(server.Cert, []byte("half a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := presents(); got != second {
		t.Errorf("after a broken file it presents %d, want %d still", got, second)
	}
	_, third := ours.Issue("server")
	if got := presents(); got != third {
		t.Errorf("after the file was mended it presents %d, want %d", got, third)
	}
	// Connections that are there go on.
	held.SetDeadline(time.Now().Add(deadline))
	if _, err := held.Write(AppendFrame(nil, a04("1"))); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 1)
	if _, err := io.ReadFull(held, answer); err != nil || answer[0] != startBlock {
		t.Errorf("got %q, %v", answer, err)
	}
}

func TestClientDialsTLS(t *testing.T) {
	ours := feedtest.NewAuthority(t, "ours")
	server, _ := ours.Issue("server")
	client, _ := ours.Issue("client")
	client.CA = ours.CA()
	server.CA = ours.CA()
	files, err := server.Listening(quiet)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := tls.Listen("tcp", "127.0.0.1:0", files)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	config := testConfig()
	config.Address, config.TLS = ln.Addr().String(), &client
	c, err := NewClient(config, quiet)
	if err != nil {
		t.Fatal(err)
	}
	d := newDisk()
	run(t, c, d.accept)
	conn, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(deadline))
	p := accepted(t, conn)
	p.write(frame(a04("1")))
	p.wantAck("AA", "1")
}

// The client calls until the sender is there, and again when it has gone.
func TestClientComesBack(t *testing.T) {
	address, err := loopback.Free()
	if err != nil {
		t.Fatal(err)
	}
	config := testConfig()
	config.Address = address
	var log loggingtest.Log
	c, err := NewClient(config, textLog(&log))
	if err != nil {
		t.Fatal(err)
	}
	d := newDisk()
	run(t, c, d.accept)
	eventually(t, "it has called in vain", func() bool { return strings.Contains(log.String(), "not connected") })
	ln, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	for _, id := range []string{"1", "2", "3"} {
		conn, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(deadline))
		p := accepted(t, conn)
		p.write(frame(a04(id)))
		p.wantAck("AA", id)
		conn.Close()
	}
	if n := strings.Count(log.String(), "not connected"); n > 4 {
		t.Errorf("logged %d times that it is not connected, want once for each time:\n%s", n, log.String())
	}
	if s := c.Stats(); s.Accepted != 3 || s.Opened != 3 {
		t.Errorf("got %+v", s)
	}
}

func TestAppendFrameIsOneBuffer(t *testing.T) {
	got := AppendFrame([]byte("x"), []byte("MSH|\r"))
	if want := "x\vMSH|\r\x1c\r"; !bytes.Equal(got, []byte(want)) {
		t.Errorf("got %q, want %q", got, want)
	}
}
