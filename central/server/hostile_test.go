package server_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/status"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/client"
	"github.com/safeguard-edge/safeguard/central/identity"
)

// unchanged fails when anything was recorded, or is owed to anyone.
func (c *centre) unchanged() {
	c.Helper()
	for _, n := range []safeguard.NHSNumber{alice, bob} {
		if accesses, err := c.store.Accesses(c.Context(), n, 25); err != nil || len(accesses) != 0 {
			c.Errorf("%d accesses, %v, want none", len(accesses), err)
		}
	}
	for _, a := range []safeguard.Authority{middlesbrough, sheffield} {
		if got := c.waiting(a); len(got) != 0 {
			c.Errorf("%d notifications, want none", len(got))
		}
	}
}

// asIs sends bytes as they are.
type asIs struct{ encoding.Codec }

func (asIs) Name() string                  { return "proto" }
func (asIs) Marshal(v any) ([]byte, error) { return v.([]byte), nil }
func (asIs) Unmarshal([]byte, any) error   { return nil }

func TestMalformedMessages(t *testing.T) {
	c := start(t)
	c.upload(middlesbrough, row(alice, safeguard.ChildProtection, ago(0, 3, 0), safeguard.Date{}))
	for name, kind := range map[string]identity.Kind{"agent-RX1": identity.Agent, "authority-806": identity.Authority} {
		conn := c.raw(name, kind)
		for _, method := range []string{"Flags/Lookup", "Flags/Refresh", "Flags/Correct", "Notifications/Acknowledge", "Notifications/Erase"} {
			for what, body := range map[string][]byte{
				"nothing":  nil,
				"garbage":  bytes.Repeat([]byte{0xff}, 100),
				"cut off":  {0x0a, 0x7f, 'x'},
				"oversize": bytes.Repeat([]byte{0x0a, 0x00}, 1<<20),
			} {
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				err := conn.Invoke(ctx, "/safeguard.v1."+method, body, new([]byte), grpc.ForceCodec(asIs{}))
				cancel()
				s := status.Convert(err)
				switch {
				case method == "Notifications/Acknowledge" && kind == identity.Authority && what == "nothing":
					if err != nil {
						t.Errorf("%s of no ids: %v", method, err)
					}
				case err == nil, s.Code() == codes.DeadlineExceeded, s.Message() == "":
					t.Errorf("%s by %s of %s: %v, want a refusal with a reason", method, name, what, err)
				}
			}
		}
	}
	c.unchanged()
}

// tap passes a connection on, and keeps what the client sends.
type tap struct {
	net.Listener
	to string

	mu   sync.Mutex
	sent bytes.Buffer
}

func listenTap(t *testing.T, to string) *tap {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &tap{Listener: l, to: to}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { w.pass(from) })
		}
	})
	t.Cleanup(func() { _ = l.Close(); all.Wait() })
	return w
}

func (w *tap) pass(from net.Conn) {
	defer from.Close()
	to, err := net.Dial("tcp", w.to)
	if err != nil {
		return
	}
	defer to.Close()
	go func() {
		_, _ = io.Copy(from, to)
		_ = from.Close()
	}()
	_, _ = io.Copy(to, io.TeeReader(from, w))
}

func (w *tap) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.sent.Write(p)
}

// Who has recorded a connection can not say the same again.
func TestReplayedConnection(t *testing.T) {
	c := start(t)
	c.upload(middlesbrough, row(alice, safeguard.ChildProtection, ago(0, 3, 0), safeguard.Date{}))
	w := listenTap(t, c.server.Addr().String())
	agent, err := client.Dial(w.Addr().String(), c.tls("agent-RX1", identity.Agent), client.Deadline(20*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	q := query(alice, "visit 1")
	if _, err := agent.Lookup(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	_ = agent.Close()
	before, looked := c.server.Counts(), c.entries()
	w.mu.Lock()
	recorded := bytes.Clone(w.sent.Bytes())
	w.mu.Unlock()

	conn, err := net.Dial("tcp", c.server.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	_, _ = conn.Write(recorded)
	if _, err := io.ReadAll(conn); errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the centre goes on with a replayed connection: %v", err)
	}
	c.wantLog("connection refused")
	if after := c.server.Counts(); after != before || c.entries() != looked {
		t.Errorf("counts %+v, want %+v still", after, before)
	}
}

// entries is how many the audit has.
func (c *centre) entries() int {
	c.Helper()
	report, err := c.store.VerifyAudit(c.Context(), nil)
	if err != nil || len(report.Problems) != 0 {
		c.Fatalf("audit %+v, %v", report, err)
	}
	return report.Entries
}

// Clients that connect and say nothing, or stop halfway, keep nobody waiting, and
// are not kept for ever.
func TestSlowClients(t *testing.T) {
	c := start(t)
	var silent []net.Conn
	for i := range 50 {
		conn, err := net.Dial("tcp", c.server.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if i%2 == 1 {
			_, _ = conn.Write([]byte{0x16, 0x03, 0x01}) // as a TLS handshake begins
		}
		silent = append(silent, conn)
	}
	begun := time.Now()
	stalled := make(chan error, 2)
	for name, kind := range map[string]identity.Kind{"agent-RX1": identity.Agent, "authority-806": identity.Authority} {
		// A call that never says what it asks, for which the caller has all day.
		method := map[identity.Kind]string{identity.Agent: "Flags/Lookup", identity.Authority: "Notifications/Acknowledge"}[kind]
		conn := c.raw(name, kind)
		call, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true}, "/safeguard.v1."+method)
		if err != nil {
			t.Fatal(err)
		}
		go func() { stalled <- call.RecvMsg(new([]byte)) }()
	}
	if _, err := c.agent().Lookup(t.Context(), query(alice, "visit 1")); err != nil {
		t.Errorf("beside silent clients: %v", err)
	}
	for _, conn := range silent {
		_ = conn.SetReadDeadline(begun.Add(60 * time.Second))
		if _, err := io.ReadAll(conn); err != nil && strings.Contains(err.Error(), "timeout") {
			t.Fatal("a client that says nothing is still connected after a minute")
		}
	}
	for range cap(stalled) {
		select {
		case err := <-stalled:
			if status.Code(err) != codes.DeadlineExceeded {
				t.Errorf("a call that asks nothing ended with %v, want %v", err, codes.DeadlineExceeded)
			}
		case <-time.After(time.Until(begun.Add(60 * time.Second))):
			t.Fatal("a call that asks nothing is still waited for after a minute")
		}
	}
}
