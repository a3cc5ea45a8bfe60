package mllp

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard/hl7adapter/feed"
	"github.com/safeguard-edge/safeguard/hl7adapter/feed/feedtest"
	"github.com/safeguard-edge/safeguard/hl7adapter/hl7"
)

func TestListenerConforms(t *testing.T) {
	feedtest.Run(t, feedtest.Subject{Answers: true, Open: func(_ testing.TB, p feed.Policy) feedtest.Site {
		c := testConfig()
		c.Policy, c.MaxFrame = p, 1<<20
		return &listenerSite{config: c}
	}})
}

func TestClientConforms(t *testing.T) {
	feedtest.Run(t, feedtest.Subject{Answers: true, Open: func(t testing.TB, p feed.Policy) feedtest.Site {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { ln.Close() })
		c := testConfig()
		c.Policy, c.Address, c.MaxFrame = p, ln.Addr().String(), 1<<20
		s := &clientSite{config: c, ln: ln.(*net.TCPListener)}
		s.shared.connect = s.answer
		return s
	}})
}

// listenerSite is a port.
type listenerSite struct{ config Config }

func (s *listenerSite) Feed() (feedtest.Feed, error) {
	l, err := Listen(s.config, quiet)
	if err == nil && strings.HasSuffix(s.config.Address, ":0") {
		s.config.Address = l.Addr().String() // to come back to after a restart
	}
	return l, err
}

func (s *listenerSite) Peer() feedtest.Peer {
	return &wire{connect: func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", s.config.Address)
	}}
}

func (s *listenerSite) Misbehaviour() map[string]func(context.Context) error {
	return misbehaviour(func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", s.config.Address)
	})
}

// clientSite is a sender that waits to be called. It has one connection at a
// time, which its peers share.
type clientSite struct {
	config Config
	ln     *net.TCPListener
	shared wire
	users  atomic.Int32
}

func (s *clientSite) Feed() (feedtest.Feed, error) { return NewClient(s.config, quiet) }

func (s *clientSite) Peer() feedtest.Peer {
	s.users.Add(1)
	return sharing{&s.shared, s}
}

// sharing is a peer on the shared connection. The last one closes it.
type sharing struct {
	*wire
	site *clientSite
}

func (p sharing) Close() error {
	if p.site.users.Add(-1) > 0 {
		return nil
	}
	return p.wire.Close()
}

func (s *clientSite) answer(ctx context.Context) (net.Conn, error) {
	for ctx.Err() == nil {
		s.ln.SetDeadline(time.Now().Add(50 * time.Millisecond))
		if conn, err := s.ln.Accept(); err == nil {
			return conn, nil
		}
	}
	return nil, ctx.Err()
}

func (s *clientSite) Misbehaviour() map[string]func(context.Context) error {
	return misbehaviour(func(ctx context.Context) (net.Conn, error) {
		s.shared.Close()
		return s.answer(ctx)
	})
}

// wire is a peer that keeps its connection while all is well.
type wire struct {
	connect func(context.Context) (net.Conn, error)
	mu      sync.Mutex // guards conn, and the turn on it
	conn    net.Conn
	in      *bufio.Reader
}

func (w *wire) Send(ctx context.Context, body []byte) (ack []byte, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.conn == nil {
		if w.conn, err = w.connect(ctx); err != nil {
			return nil, err
		}
		w.in = bufio.NewReader(w.conn)
	}
	conn := w.conn
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(longAgo) })()
	defer func() {
		if err != nil {
			w.conn.Close()
			w.conn = nil
		}
	}()
	if _, err = conn.Write(AppendFrame(nil, body)); err != nil || silent(body) {
		return nil, err
	}
	got, err := (&peer{in: w.in}).tryRead()
	return []byte(got), err
}

// silent says whether body asks for no acknowledgement.
func silent(body []byte) bool {
	m, err := hl7.Parse(body)
	return err == nil && (m.Get("MSH-9.1").Is("ACK") || m.Get("MSH-15").Is("NE") && m.Get("MSH-16").Is("NE"))
}

func (w *wire) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.conn != nil {
		w.conn.Close()
		w.conn = nil
	}
	return nil
}

// misbehaviour is what peers on a connection do wrong.
func misbehaviour(connect func(context.Context) (net.Conn, error)) map[string]func(context.Context) error {
	good := string(feedtest.ADT("odd"))
	say := func(what ...string) func(context.Context) error {
		return func(ctx context.Context) error {
			conn, err := connect(ctx)
			if err != nil {
				return err
			}
			defer conn.Close()
			for _, s := range what {
				// The feed may close first; that is its right.
				if _, err := io.WriteString(conn, s); err != nil {
					return nil
				}
			}
			return nil
		}
	}
	m := map[string]func(context.Context) error{
		"a probe":                   say(),
		"noise":                     say("hello?\r\n"),
		"an HTTP request":           say("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
		"a TLS hello":               say("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
		"two megabytes of noise":    say(strings.Repeat("noise", 400_000)),
		"half a frame":              say("\v" + good[:40]),
		"half a frame, then whole":  say("\v"+good[:40], frame([]byte(good))),
		"a frame over the limit":    say("\v", good, strings.Repeat("x", 3<<20), "\r\x1c\r"),
		"no end to a frame":         say("\v", strings.Repeat("x", 3<<20)),
		"an empty frame":            say("\v\x1c\r"),
		"two start blocks":          say("\v" + frame([]byte(good))),
		"two end blocks":            say(frame([]byte(good)) + "\x1c\r"),
		"only end blocks":           say(strings.Repeat("\x1c\r", 1000)),
		"only start blocks":         say(strings.Repeat("\v", 100_000)),
		"a frame without a start":   say(good + "\x1c\r"),
		"surplus acknowledgements":  say(frame([]byte("MSH|^~\\&|A|B|C|D|2026||ACK|9|P|2.4\rMSA|AA|1\r")) + "\v\x06\x1c\r\v\x15\x1c\r"),
		"answers it does not read":  say(strings.Repeat(frame([]byte(good)), 2000)),
		"a message without fields":  say("\vMSH|^~\\&\r\x1c\r"),
		"a message of separators":   say("\vMSH|^~\\&|" + strings.Repeat("|^~&\\", 10000) + "\r\x1c\r"),
		"NULs and line feeds about": say("\x00\n\r\n", frame([]byte(good)), "\n\x00\x00\n", frame([]byte(good)), "\n"),
	}
	m["bytes one by one, and a reset"] = func(ctx context.Context) error {
		conn, err := connect(ctx)
		if err != nil {
			return err
		}
		defer conn.Close()
		conn.(*net.TCPConn).SetNoDelay(true)
		conn.(*net.TCPConn).SetLinger(0)
		for _, c := range []byte(frame([]byte(good)) + "\vMSH|") {
			if _, err := conn.Write([]byte{c}); err != nil {
				return fmt.Errorf("write: %w", err)
			}
		}
		return nil
	}
	return m
}
