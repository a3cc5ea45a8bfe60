package mllp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard/hl7adapter/feed"
	"github.com/safeguard-edge/safeguard/hl7adapter/hl7"
)

// receiver is the other end of a sender: each connection is served by a script.
type receiver struct {
	ln    net.Listener
	conns atomic.Int32
	wg    sync.WaitGroup
}

func receive(t testing.TB, script func(p *peer, n int)) *receiver {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &receiver{ln: ln}
	r.wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			n := int(r.conns.Add(1))
			r.wg.Go(func() {
				defer conn.Close()
				conn.SetDeadline(time.Now().Add(deadline))
				script(accepted(t, conn), n)
			})
		}
	})
	t.Cleanup(func() { ln.Close(); r.wg.Wait() })
	return r
}

func (r *receiver) sender(t testing.TB, timeout time.Duration) *Sender {
	t.Helper()
	c := DefaultSenderConfig()
	c.Address, c.AckTimeout = r.ln.Addr().String(), timeout
	s, err := NewSender(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// ack is an acknowledgement as an EPR writes it.
func ack(code, id string) string {
	return frame([]byte("MSH|^~\\&|EPR|RZZ|SAFEGUARD|RZZ|20261123101501||ACK^A04^ACK|77|P|2.4\rMSA|" + code + "|" + id + "|made of it\r"))
}

// idOf returns MSH-10 of a message.
func idOf(body string) string {
	m, err := hl7.Parse([]byte(body))
	if err != nil {
		return "?"
	}
	return string(m.Header().ControlID)
}

// each answers every message with what is written for its control id.
func each(answer func(id string) []string) func(*peer, int) {
	return func(p *peer, _ int) {
		for {
			body, err := p.tryRead()
			if err != nil {
				return
			}
			for _, a := range answer(idOf(body)) {
				if _, err := io.WriteString(p.conn, a); err != nil {
					return
				}
			}
		}
	}
}

func TestSenderReadsReplies(t *testing.T) {
	enhanced := func(id string) []byte {
		return []byte(strings.Replace(string(a04(id)), "|2.4\r", "|2.4|||AL|AL\r", 1))
	}
	committed := func(id string) []byte {
		return []byte(strings.Replace(string(a04(id)), "|2.4\r", "|2.4|||AL|NE\r", 1))
	}
	for _, c := range []struct {
		name    string
		message []byte
		answer  []string
		want    hl7.AckCode
	}{
		{"AA", a04("1"), []string{ack("AA", "1")}, hl7.AA},
		{"AE", a04("1"), []string{ack("AE", "1")}, hl7.AE},
		{"AR", a04("1"), []string{ack("AR", "1")}, hl7.AR},
		{"CA in original mode", a04("1"), []string{ack("CA", "1")}, hl7.CA},
		{"CA, and no more asked", committed("1"), []string{ack("CA", "1")}, hl7.CA},
		{"CA then AA", enhanced("1"), []string{ack("CA", "1"), ack("AA", "1")}, hl7.AA},
		{"CA then AR", enhanced("1"), []string{ack("CA", "1"), ack("AR", "1")}, hl7.AR},
		{"CE", enhanced("1"), []string{ack("CE", "1")}, hl7.CE},
		{"noise around", a04("1"), []string{"\n\x00hello", ack("AA", "1"), "\n"}, hl7.AA},
		{"an empty frame before", a04("1"), []string{"\v\x1c\r", ack("AA", "1")}, hl7.AA},
		{"a message before", a04("1"), []string{frame(a04("theirs")), ack("AA", "1")}, hl7.AA},
		{"spaces behind the id", a04("1"), []string{ack("AA", "1   ")}, hl7.AA},
		{"no CR behind FS", a04("1"), []string{strings.TrimSuffix(ack("AA", "1"), "\r")}, hl7.AA},
		{"LF between segments", a04("1"), []string{strings.ReplaceAll(ack("AA", "1"), "\rMSA", "\nMSA")}, hl7.AA},
		{"byte by byte", a04("1"), strings.Split(ack("AA", "1"), ""), hl7.AA},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := receive(t, each(func(string) []string { return c.answer }))
			got, err := r.sender(t, deadline).Send(context.Background(), c.message)
			if err != nil {
				t.Fatal(err)
			}
			if got.Code != c.want || got.Text != "made of it" {
				t.Errorf("got %s %q, want %s", got.Code, got.Text, c.want)
			}
		})
	}
}

func TestSenderKeepsItsConnection(t *testing.T) {
	r := receive(t, each(func(id string) []string { return []string{ack("AA", id)} }))
	s := r.sender(t, deadline)
	for i := range 5 {
		if _, err := s.Send(context.Background(), a04(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	if n := r.conns.Load(); n != 1 {
		t.Errorf("dialled %d times, want once", n)
	}
}

// There is a server that answers the n-th message n times.
func TestSenderPassesOverSurplus(t *testing.T) {
	n := 0
	r := receive(t, each(func(id string) []string {
		n++
		var out []string
		for range n {
			out = append(out, ack("AA", id))
		}
		return out
	}))
	s := r.sender(t, deadline)
	for i := range 10 {
		id := fmt.Sprint(i)
		got, err := s.Send(context.Background(), a04(id))
		if err != nil || string(got.ControlID) != id {
			t.Fatalf("message %s: got %q, %v", id, got.ControlID, err)
		}
	}
	if n := r.conns.Load(); n != 1 {
		t.Errorf("dialled %d times, want once", n)
	}
}

// The acknowledgement of the first message comes when the second is waiting
// for its own.
func TestSenderDropsTheConnectionOfALateReply(t *testing.T) {
	release := make(chan struct{})
	r := receive(t, func(p *peer, n int) {
		first, err := p.tryRead()
		if err != nil {
			return
		}
		if n == 1 {
			<-release
			io.WriteString(p.conn, ack("AA", idOf(first))+ack("AA", "2"))
			return
		}
		io.WriteString(p.conn, ack("AE", idOf(first)))
		p.tryRead()
	})
	s := r.sender(t, 50*time.Millisecond)
	if _, err := s.Send(context.Background(), a04("1")); !errors.Is(err, ErrNoReply) {
		t.Fatalf("got %v, want no reply", err)
	}
	close(release)
	got, err := s.Send(context.Background(), a04("2"))
	if err != nil || got.Code != hl7.AE {
		t.Errorf("got %s, %v, want AE from the second connection", got.Code, err)
	}
	if n := r.conns.Load(); n != 2 {
		t.Errorf("dialled %d times, want 2", n)
	}
}

func TestSenderDropsTheConnectionOfAForeignReply(t *testing.T) {
	for _, id := range []string{"other", "", "11"} {
		r := receive(t, func(p *peer, n int) {
			each(func(got string) []string {
				if n == 1 {
					return []string{ack("AA", id)}
				}
				return []string{ack("AA", got)}
			})(p, n)
		})
		s := r.sender(t, deadline)
		if _, err := s.Send(context.Background(), a04("1")); !errors.Is(err, ErrForeign) {
			t.Fatalf("got %v, want a foreign acknowledgement", err)
		}
		if got, err := s.Send(context.Background(), a04("1")); err != nil || got.Code != hl7.AA {
			t.Errorf("got %s, %v, want AA on a new connection", got.Code, err)
		}
	}
}

// Several servers close after each answer, without a word.
func TestSenderRedialsWhatWasClosed(t *testing.T) {
	r := receive(t, func(p *peer, _ int) {
		if body, err := p.tryRead(); err == nil {
			io.WriteString(p.conn, ack("AA", idOf(body)))
		}
	})
	s := r.sender(t, deadline)
	for i := range 5 {
		if _, err := s.Send(context.Background(), a04(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSenderTellsWhyThereIsNoReply(t *testing.T) {
	closing := receive(t, func(p *peer, _ int) { p.tryRead() })
	deaf := receive(t, func(p *peer, _ int) { io.Copy(io.Discard, p.conn) })
	unread := receive(t, func(p *peer, _ int) { io.ReadFull(p.in, make([]byte, 1)) })
	gone := receive(t, nil)
	gone.ln.Close()
	for _, c := range []struct {
		name    string
		to      *receiver
		message []byte
		is      error
		want    string
	}{
		{"closed", closing, a04("1"), ErrNoReply, "no acknowledgement: EOF"},
		{"silent", deaf, a04("1"), ErrNoReply, "no acknowledgement"},
		{"reset", unread, a04("1"), ErrNoReply, "no acknowledgement"},
		{"not there", gone, a04("1"), nil, "refused"},
		{"no message", deaf, []byte("MARLOWE"), nil, "send: parse hl7: byte 0: no MSH, want MSH and its delimiters"},
		{"no control id", deaf, a04(""), nil, "no control id in MSH-10"},
		{"no acknowledgement wanted", deaf, []byte(strings.Replace(string(a04("1")), "|2.4\r", "|2.4|||NE|ER\r", 1)), nil, "ask for no acknowledgement"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := c.to.sender(t, 100*time.Millisecond).Send(context.Background(), c.message)
			if err == nil || c.is != nil && !errors.Is(err, c.is) {
				t.Fatalf("got %v, want %v", err, c.is)
			}
			// Windows says refused in other words.
			if got := err.Error(); !strings.Contains(got, c.want) && c.want != "refused" || strings.Contains(got, "MARLOWE") {
				t.Errorf("got %q, want %q in it", got, c.want)
			}
		})
	}
}

func TestSenderStopsWaiting(t *testing.T) {
	read := make(chan struct{})
	r := receive(t, func(p *peer, _ int) {
		p.tryRead()
		close(read)
		io.Copy(io.Discard, p.conn)
	})
	ctx, cancel := context.WithCancel(context.Background())
	go func() { <-read; cancel() }()
	if _, err := r.sender(t, deadline).Send(ctx, a04("1")); !errors.Is(err, ErrNoReply) {
		t.Errorf("got %v, want no reply", err)
	}
}

func TestSenderGivesEachItsOwn(t *testing.T) {
	r := receive(t, each(func(id string) []string { return []string{ack("AA", id)} }))
	s := r.sender(t, deadline)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := range 20 {
				id := fmt.Sprintf("%d-%d", i, n)
				if got, err := s.Send(context.Background(), a04(id)); err != nil || string(got.ControlID) != id {
					t.Errorf("message %s: got %q, %v", id, got.ControlID, err)
				}
			}
		})
	}
	wg.Wait()
}

func TestSenderWaitsForCommitBlocks(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer []string
		want   error
	}{
		{"kept", []string{"\v\x06\x1c\r", ack("AA", "1")}, nil},
		{"not kept", []string{"\v\x15\x1c\r"}, ErrNak},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := receive(t, each(func(string) []string { return c.answer }))
			s := r.sender(t, deadline)
			s.config.Release2 = true
			if _, err := s.Send(context.Background(), a04("1")); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

func TestSenderConfigIsChecked(t *testing.T) {
	for want, set := range map[string]func(*SenderConfig){
		"address":     func(c *SenderConfig) { c.Address = "epr" },
		"ack_timeout": func(c *SenderConfig) { c.AckTimeout = 0 },
		"keep_alive":  func(c *SenderConfig) { c.KeepAlive = -1 },
		"tls":         func(c *SenderConfig) { c.TLS = &feed.TLS{Key: "x"} },
	} {
		c := DefaultSenderConfig()
		c.Address = "127.0.0.1:1"
		set(&c)
		if _, err := NewSender(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s named", err, want)
		}
	}
}
