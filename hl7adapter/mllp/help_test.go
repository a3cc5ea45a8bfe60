package mllp

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/safeguard-edge/safeguard/hl7adapter/feed"
	"github.com/safeguard-edge/safeguard/hl7adapter/feed/feedtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// deadline is how long a test waits for what must come.
const deadline = time.Minute

var quiet = slog.New(slog.DiscardHandler)

func testConfig() Config {
	c := DefaultConfig()
	c.Name, c.Address = "pas", "127.0.0.1:0"
	c.RetryMin, c.RetryMax = 5*time.Millisecond, 20*time.Millisecond
	return c
}

// a04 is a registration in the emergency department of a made-up person.
func a04(id string) []byte {
	return []byte(strings.ReplaceAll("MSH|^~\\&|PAS|RZZ01|SAFEGUARD|RZZ|20261123101500||ADT^A04^ADT_A01|"+id+"|P|2.4\r"+
		"EVN||20261123101500|||||20261123101400\r"+
		"PID|1||9990000018^^^NHS~44001^^^RZZ^MR||MARLOWE^ROBIN||20190412|2\r"+
		"PV1|1|E|ED^^^RZZ01||21||||||||||||||V^^^VISITID\r", "V^^^VISITID", id+"^^^VISITID"))
}

// disk is an Accept that remembers.
type disk struct {
	mu     sync.Mutex
	bodies []string
	full   error // what Accept returns instead
	got    chan string
}

func newDisk() *disk { return &disk{got: make(chan string, 10000)} }

func (d *disk) accept(_ context.Context, m feed.Message) (feed.Ack, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.full != nil {
		return nil, d.full
	}
	d.bodies = append(d.bodies, string(m.Body))
	d.got <- string(m.Body)
	return m.Ack, nil
}

func (d *disk) fill(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.full = err
}

// run starts a feed; it must end cleanly when the test does.
func run(t testing.TB, f interface {
	Run(context.Context, feed.Accept) error
}, accept feed.Accept) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx, accept) }()
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
	return stop
}

func listen(t testing.TB, c Config, accept feed.Accept) *Listener {
	t.Helper()
	l, err := Listen(c, quiet)
	if err != nil {
		t.Fatal(err)
	}
	run(t, l, accept)
	return l
}

// peer is the other end of a connection, bare.
type peer struct {
	t    testing.TB
	conn net.Conn
	in   *bufio.Reader
}

func connect(t testing.TB, addr net.Addr) *peer {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr.String(), deadline)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(deadline))
	return &peer{t, conn, bufio.NewReader(conn)}
}

// accepted is a peer at the listening end.
func accepted(t testing.TB, conn net.Conn) *peer {
	return &peer{t, conn, bufio.NewReader(conn)}
}

func (p *peer) write(b ...string) {
	p.t.Helper()
	if _, err := io.WriteString(p.conn, strings.Join(b, "")); err != nil {
		p.t.Fatalf("write: %v", err)
	}
}

// read returns the body of the next frame.
func (p *peer) read() string {
	p.t.Helper()
	body, err := p.tryRead()
	if err != nil {
		p.t.Fatalf("read frame: %v", err)
	}
	return body
}

func (p *peer) tryRead() (string, error) {
	c, err := p.in.ReadByte()
	if err != nil {
		return "", err
	}
	if c != startBlock {
		return "", fmt.Errorf("frame begins with %#x", c)
	}
	body, err := p.in.ReadString(endBlock)
	if err != nil {
		return "", err
	}
	if c, err = p.in.ReadByte(); err != nil || c != carriage {
		return "", fmt.Errorf("frame ends with %#x, %v", c, err)
	}
	return strings.TrimSuffix(body, "\x1c"), nil
}

// wantAck reads an acknowledgement and checks it.
func (p *peer) wantAck(code, id string) {
	p.t.Helper()
	got := p.read()
	if want := "MSA|" + code + "|" + id; !strings.Contains(got, "\r"+want+"\r") && !strings.Contains(got, "\r"+want+"|") {
		p.t.Fatalf("got %q, want %s", got, want)
	}
}

// wantClosed checks that nothing more comes.
func (p *peer) wantClosed() {
	p.t.Helper()
	if body, err := p.tryRead(); err == nil {
		p.t.Fatalf("got %q, want the end", body)
	} else if nerr, ok := err.(net.Error); ok && nerr.Timeout() {
		p.t.Fatal("still open")
	}
}

func frame(body []byte) string { return string(AppendFrame(nil, body)) }

var eventually = feedtest.Eventually

var textLog = feedtest.TextLog
