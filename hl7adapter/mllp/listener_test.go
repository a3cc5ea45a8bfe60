package mllp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard/hl7adapter/feed"
	"github.com/safeguard-edge/safeguard/logging/loggingtest"
)

func TestListenerAcknowledgesInOrder(t *testing.T) {
	d := newDisk()
	l := listen(t, testConfig(), d.accept)
	p := connect(t, l.Addr())
	p.write(frame(a04("1")))
	p.wantAck("AA", "1")
	p.write(frame(a04("2")), frame(a04("3")), "\n\x00", frame(a04("4")))
	p.wantAck("AA", "2")
	p.wantAck("AA", "3")
	p.wantAck("AA", "4")
	if s := l.Stats(); s.Frames != 4 || s.Accepted != 4 || s.Acknowledged["AA"] != 4 || s.Open != 1 || len(s.Framing) != 0 {
		t.Errorf("got %+v", s)
	}
}

// An engine that leaves out the last CR of segment and frame waits for its
// answer like any other.
func TestListenerEndsAFrameBySilence(t *testing.T) {
	l := listen(t, testConfig(), newDisk().accept)
	p := connect(t, l.Addr())
	p.write("\v", strings.TrimSuffix(string(a04("1")), "\r"), "\x1c")
	p.wantAck("AA", "1")
	p.write("\r", frame(a04("2")))
	p.wantAck("AA", "2")
	if s := l.Stats(); len(s.Framing) != 0 {
		t.Errorf("got framing errors %v, want none", s.Framing)
	}
}

func TestListenerAnswersBytesOneByOne(t *testing.T) {
	l := listen(t, testConfig(), newDisk().accept)
	p := connect(t, l.Addr())
	for _, c := range frame(a04("1")) + "\n" + frame(a04("2")) {
		p.write(string(c))
	}
	p.wantAck("AA", "1")
	p.wantAck("AA", "2")
}

func TestListenerRefusesOverTheLimit(t *testing.T) {
	c := testConfig()
	c.MaxConnections = 2
	l := listen(t, c, newDisk().accept)
	first, second := connect(t, l.Addr()), connect(t, l.Addr())
	for _, p := range []*peer{first, second} {
		p.write(frame(a04("1")))
		p.wantAck("AA", "1")
	}
	connect(t, l.Addr()).wantClosed()
	if s := l.Stats(); s.Refused != 1 || s.Open != 2 {
		t.Errorf("refused %d with %d open, want 1 with 2", s.Refused, s.Open)
	}
	first.conn.Close()
	eventually(t, "a place is free", func() bool { return l.Stats().Open == 1 })
	eventually(t, "a third connection is served", func() bool {
		p := connect(t, l.Addr())
		p.write(frame(a04("3")))
		_, err := p.tryRead()
		return err == nil
	})
}

func TestListenerAllowsByNetwork(t *testing.T) {
	for _, c := range []struct {
		name  string
		allow []string
		taken bool
	}{
		{"anyone", nil, true},
		{"the network", []string{"10.0.0.0/8", "127.0.0.0/8"}, true},
		{"another network", []string{"10.0.0.0/8", "::1/128"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := testConfig()
			for _, a := range c.allow {
				config.Allow = append(config.Allow, netip.MustParsePrefix(a))
			}
			l := listen(t, config, newDisk().accept)
			p := connect(t, l.Addr())
			if c.taken {
				p.write(frame(a04("1")))
				p.wantAck("AA", "1")
				return
			}
			p.wantClosed()
			if s := l.Stats(); s.Denied != 1 || s.Opened != 0 {
				t.Errorf("denied %d, opened %d, want 1 and 0", s.Denied, s.Opened)
			}
		})
	}
}

func TestListenerClosesWhatStandsStill(t *testing.T) {
	for _, c := range []struct {
		name    string
		set     func(*Config)
		write   string
		framing string
	}{
		{"between frames", func(c *Config) { c.Idle = 20 * time.Millisecond }, "\n", ""},
		{"inside a frame", func(c *Config) { c.FrameIdle = 20 * time.Millisecond }, "\vMSH|", "missing-end"},
		{"after noise", func(c *Config) { c.Idle = 20 * time.Millisecond }, "hello", "noise"},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := testConfig()
			c.set(&config)
			l := listen(t, config, newDisk().accept)
			p := connect(t, l.Addr())
			p.write(c.write)
			p.wantClosed()
			eventually(t, "counted", func() bool { return l.Stats().Open == 0 })
			if s := l.Stats(); c.framing != "" && s.Framing[c.framing] != 1 {
				t.Errorf("got framing errors %v, want one %s", s.Framing, c.framing)
			}
		})
	}
}

// A peer that sends byte after byte keeps a frame open for so long only.
func TestListenerGivesUpSlowFrames(t *testing.T) {
	c := testConfig()
	c.FrameTimeout = 50 * time.Millisecond
	l := listen(t, c, newDisk().accept)
	p := connect(t, l.Addr())
	p.write("\vMSH")
	eventually(t, "the connection ends", func() bool {
		_, err := p.conn.Write([]byte("|"))
		return err != nil
	})
	eventually(t, "counted", func() bool { return l.Stats().Framing["missing-end"] == 1 })
}

// A peer that does not read its acknowledgements blocks itself only.
func TestListenerGivesUpDeafPeers(t *testing.T) {
	c := testConfig()
	c.WriteTimeout = 50 * time.Millisecond
	l := listen(t, c, func(_ context.Context, m feed.Message) (feed.Ack, error) { return m.Ack, nil })
	p := connect(t, l.Addr())
	all := frame(a04(strings.Repeat("1", 64<<10))) // the answer is as long
	eventually(t, "the connection ends", func() bool {
		_, err := io.WriteString(p.conn, all)
		return err != nil
	})
	eventually(t, "the place is free", func() bool { return l.Stats().Open == 0 })
}

// While the journal is behind, the listener reads no more than it has room
// for; the sender waits, nothing is dropped, and all is answered in order.
func TestListenerPushesBack(t *testing.T) {
	d := newDisk()
	gate := make(chan struct{})
	l := listen(t, testConfig(), func(ctx context.Context, m feed.Message) (feed.Ack, error) {
		<-gate
		return d.accept(ctx, m)
	})
	p := connect(t, l.Addr())
	const count = 400
	pad := "NTE|1||" + strings.Repeat("x", 64<<10) + "\r"
	written := make(chan error, 1)
	go func() {
		for i := range count {
			if _, err := io.WriteString(p.conn, frame(append(a04(fmt.Sprint(i)), pad...))); err != nil {
				written <- err
				return
			}
		}
		written <- nil
	}()
	eventually(t, "the first message is there", func() bool { return l.Stats().Frames == 1 })
	select {
	case err := <-written:
		t.Fatalf("25 MB went somewhere while nothing was accepted, %v", err)
	case <-time.After(100 * time.Millisecond): // for what must not happen
	}
	if got := l.Stats().Frames; got != 1 {
		t.Errorf("read %d frames, want 1", got)
	}
	close(gate)
	for i := range count {
		p.wantAck("AA", fmt.Sprint(i))
	}
	if err := <-written; err != nil {
		t.Error(err)
	}
}

// While the disk is full, a sender that gives up and calls again does not leave
// its connections behind.
func TestListenerLetsGoOfWhoLeavesWhileOnHold(t *testing.T) {
	d := newDisk()
	d.fill(feed.ErrHold)
	l := listen(t, testConfig(), d.accept)
	for range 3 {
		p := connect(t, l.Addr())
		p.write(frame(a04("1")), frame(a04("2")))
		eventually(t, "it waits", func() bool { return l.Stats().Waiting > 0 })
		p.conn.Close()
	}
	stays := connect(t, l.Addr())
	stays.write(frame(a04("3")))
	eventually(t, "only the one that stays is left", func() bool {
		s := l.Stats()
		return s.Open == 1 && s.Waiting == 1 && s.Opened == 4
	})
	stays.write(frame(a04("4"))) // read ahead, and not lost
	d.fill(nil)
	stays.wantAck("AA", "3")
	stays.wantAck("AA", "4")
	if len(d.bodies) != 2 {
		t.Errorf("kept %d messages, want 2", len(d.bodies))
	}
}

// At a stop, what was acknowledged is exactly what was kept, and comes first.
func TestListenerDrains(t *testing.T) {
	d := newDisk()
	l, err := Listen(testConfig(), quiet)
	if err != nil {
		t.Fatal(err)
	}
	stop := run(t, l, d.accept)
	var peers []*peer
	for range 8 {
		p := connect(t, l.Addr())
		p.write(strings.Repeat(frame(a04("1")), 200), "\vMSH|half")
		peers = append(peers, p)
	}
	<-d.got
	stop()
	acked := 0
	for _, p := range peers {
		for {
			if _, err := p.tryRead(); err != nil {
				if errors.Is(err, os.ErrDeadlineExceeded) {
					t.Error("a connection is still open")
				}
				break
			}
			acked++
		}
	}
	if kept := len(d.bodies); acked != kept {
		t.Errorf("acknowledged %d, kept %d", acked, kept)
	}
	if _, err := net.Dial("tcp", l.Addr().String()); err == nil {
		t.Error("still listening")
	}
}

func TestListenerStopsWhileIdle(t *testing.T) {
	l, err := Listen(testConfig(), quiet)
	if err != nil {
		t.Fatal(err)
	}
	stop := run(t, l, newDisk().accept)
	idle, half := connect(t, l.Addr()), connect(t, l.Addr())
	half.write("\vMSH|^~\\&|")
	eventually(t, "both are open", func() bool { return l.Stats().Open == 2 })
	go idle.conn.Close()
	go half.conn.Close()
	stop()
	if s := l.Stats(); s.Open != 0 {
		t.Errorf("%d connections left open", s.Open)
	}
}

// Who takes the address over must not find it held by a close under way.
func TestListenerHasLetGoWhenRunReturns(t *testing.T) {
	c := testConfig()
	for i := range 300 {
		l, err := Listen(c, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatalf("time %d: %v", i, err)
		}
		c.Address = l.Addr().String()
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- l.Run(ctx, newDisk().accept) }()
		stop()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	}
}

func TestListenerRejectsTooLong(t *testing.T) {
	c := testConfig()
	c.MaxFrame = 4 << 10
	d := newDisk()
	l := listen(t, c, d.accept)
	p := connect(t, l.Addr())
	p.write("\v", string(a04("long")), strings.Repeat("x", 1<<20), "\r\x1c\r", frame(a04("next")))
	p.wantAck("AR", "long")
	p.wantAck("AA", "next")
	if s := l.Stats(); s.Framing["too-long"] != 1 || s.Rejected != 1 || len(d.bodies) != 1 {
		t.Errorf("got %+v", s)
	}
}

func TestListenerSendsCommitBlocks(t *testing.T) {
	c := testConfig()
	c.Release2, c.Policy.Hold = true, feed.Nack
	d := newDisk()
	l := listen(t, c, d.accept)
	p := connect(t, l.Addr())
	p.write(frame(a04("1")))
	if got := p.read(); got != "\x06" {
		t.Fatalf("got %q, want a commit acknowledgement", got)
	}
	p.wantAck("AA", "1")
	p.write("\v\x06\x1c\r") // the receipt for our acknowledgement
	d.fill(feed.ErrHold)
	p.write(frame(a04("2")))
	if got := p.read(); got != "\x15" {
		t.Fatalf("got %q, want a negative commit acknowledgement", got)
	}
	p.wantAck("AE", "2")
}

func TestListenerTwoPhase(t *testing.T) {
	c := testConfig()
	c.Policy.Acknowledge = feed.TwoPhase
	l := listen(t, c, newDisk().accept)
	p := connect(t, l.Addr())
	p.write(frame(bytes.Replace(a04("1"), []byte("|2.4\r"), []byte("|2.4|||AL|AL\r"), 1)))
	p.wantAck("CA", "1")
	p.wantAck("AA", "1")
}

// Probes and scanners are counted, and are no reason to wake anyone.
func TestListenerKeepsQuietAboutProbes(t *testing.T) {
	var log loggingtest.Log
	l, err := Listen(testConfig(), slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn})))
	if err != nil {
		t.Fatal(err)
	}
	run(t, l, newDisk().accept)
	for range 50 {
		connect(t, l.Addr()).conn.Close()
		p := connect(t, l.Addr())
		p.write("GET / HTTP/1.0\r\n\r\n")
		p.conn.Close()
		p = connect(t, l.Addr())
		p.conn.(*net.TCPConn).SetLinger(0)
		p.conn.Close()
	}
	eventually(t, "all are counted", func() bool {
		s := l.Stats()
		return s.Probes == 100 && s.Framing["noise"] == 50 && s.Open == 0
	})
	if got := log.String(); got != "" {
		t.Errorf("logged %s", got)
	}
}

// Whatever goes wrong, nothing of a message reaches a log or an error.
func TestListenerLogsNoContent(t *testing.T) {
	var log loggingtest.Log
	c := testConfig()
	c.MaxFrame, c.FrameIdle = 2<<10, 50*time.Millisecond
	l, err := Listen(c, textLog(&log))
	if err != nil {
		t.Fatal(err)
	}
	d := newDisk()
	stop := run(t, l, d.accept)
	d.fill(fmt.Errorf("append to journal: %w", feed.ErrHold))
	secret := string(a04("SECRET"))
	for _, s := range []string{
		secret, "\v" + secret, frame([]byte(secret)), frame([]byte(secret + strings.Repeat("SECRET", 1000))),
		frame([]byte(strings.Replace(secret, "MSH|^~", "MSH|SECRET", 1))), frame([]byte(secret + secret)),
	} {
		p := connect(t, l.Addr())
		p.write(s)
		p.conn.Close()
	}
	eventually(t, "all came in", func() bool { return l.Stats().Opened == 6 && l.Stats().Waiting > 0 })
	stop()
	for _, word := range []string{"SECRET", "MARLOWE", "999000", "RZZ01"} {
		if strings.Contains(log.String(), word) {
			t.Errorf("%s is in the log:\n%s", word, log.String())
		}
	}
}

func TestListenRefuses(t *testing.T) {
	taken := listen(t, testConfig(), newDisk().accept)
	for _, c := range []struct {
		name string
		set  func(*Config)
		want string
	}{
		{"an address without a host", func(c *Config) { c.Address = ":6661" }, `address: ":6661" has no host, want one such as 10.1.2.3:6661, or 0.0.0.0:6661`},
		{"an address without a port", func(c *Config) { c.Address = "10.1.2.3" }, `address: "10.1.2.3", want host and port`},
		{"an address in use", func(c *Config) { c.Address = taken.Addr().String() }, "in use"},
		{"no name", func(c *Config) { c.Name = "" }, "name: empty"},
		{"no connections", func(c *Config) { c.MaxConnections = 0 }, "max_connections: 0, want 1 or more"},
		{"a limit too small for a header", func(c *Config) { c.MaxFrame = 10 }, "max_frame: 10, want 1024 or more"},
		{"no time", func(c *Config) { c.FrameIdle = 0 }, "frame_idle: 0s, want more than 0"},
		{"retries that shrink", func(c *Config) { c.RetryMin = time.Hour }, "retry_max"},
		{"a charset nobody knows", func(c *Config) { c.Policy.Charset = "EBCDIC" }, `policy: charset: "EBCDIC" is not known`},
		{"tls without a certificate", func(c *Config) { c.TLS = &feed.TLS{} }, "tls: cert: empty"},
		{"half a key pair", func(c *Config) { c.TLS = &feed.TLS{Cert: "x"} }, "tls: cert and key: one is empty"},
		{"no such certificate", func(c *Config) { c.TLS = &feed.TLS{Cert: "none.pem", Key: "none.pem"} }, "load certificate"},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := testConfig()
			c.set(&config)
			l, err := Listen(config, quiet)
			if err == nil {
				l.Close()
				t.Fatal("got no error")
			}
			// Windows tells an address in use in other words.
			if !strings.Contains(err.Error(), c.want) && c.want != "in use" || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %q, want %q", err, c.want)
			}
		})
	}
}

// Every file of the corpus in a frame gets exactly one answer, unless it is an
// acknowledgement itself.
func TestListenerOnCorpus(t *testing.T) {
	const corpus = "../../../shared/corpus"
	if _, err := os.Stat(corpus); err != nil {
		t.Logf("left out, as the messages of others are not kept with the project: %v", err)
		return
	}
	l := listen(t, testConfig(), newDisk().accept)
	p := connect(t, l.Addr())
	p.conn.SetDeadline(time.Now().Add(6 * deadline))
	files, answers := 0, 0
	err := filepath.WalkDir(corpus, func(name string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		files++
		stream := frame(body)
		if body[0] == startBlock {
			stream = string(body)
		}
		before := l.Stats()
		p.write(stream, frame(a04("sentinel")))
		for {
			got := p.read()
			if strings.Contains(got, "|sentinel") && strings.Contains(got, "|SAFEGUARD|RZZ|PAS|RZZ01|") {
				break
			}
			answers++
		}
		s := l.Stats()
		now := func(s feed.Stats) uint64 { return s.Accepted + s.Rejected + s.Ignored + s.Silent }
		if now(s)-now(before) < 2 {
			t.Errorf("%s: got no answer", name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	s := l.Stats()
	if want := files - int(s.Ignored) - int(s.Silent); answers != want || len(s.Framing) != 0 {
		t.Errorf("%d files: got %d answers, want %d; framing errors %v", files, answers, want, s.Framing)
	}
	t.Logf("%d files, %d answers, %d acknowledgements ignored, %d asked for no answer", files, answers, s.Ignored, s.Silent)
}
