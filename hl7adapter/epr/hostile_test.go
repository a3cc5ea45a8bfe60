package epr_test

import (
	"bufio"
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/hl7adapter/epr"
	"github.com/safeguard-edge/safeguard/hl7adapter/epr/eprtest"
	"github.com/safeguard-edge/safeguard/hl7adapter/mllp"
	"github.com/safeguard-edge/safeguard/test/hospital"
)

// mllpEPR is an EPR over MLLP that does as it is told. It shares no code with the
// product.
type mllpEPR struct {
	listener net.Listener
	format   string
	wg       sync.WaitGroup

	mu     sync.Mutex // guards the fields below
	script []eprtest.Answer
	came   []eprtest.Message
	shows  map[string]bool
	owed   []byte // a late acknowledgement
	conns  []net.Conn
	shut   bool
}

func openMLLP(t testing.TB, format string) *mllpEPR {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e := &mllpEPR{listener: l, format: format, shows: map[string]bool{}}
	e.wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			e.mu.Lock()
			if e.shut {
				conn.Close()
			} else {
				e.conns = append(e.conns, conn)
				e.wg.Go(func() { e.serve(conn) })
			}
			e.mu.Unlock()
		}
	})
	t.Cleanup(func() {
		l.Close()
		e.mu.Lock()
		e.shut = true
		for _, c := range e.conns {
			c.Close()
		}
		e.mu.Unlock()
		e.wg.Wait()
	})
	return e
}

func (e *mllpEPR) Sink(t testing.TB, name string, deadline time.Duration, _ *slog.Logger) epr.Sink {
	c := mllp.DefaultSenderConfig()
	c.Address, c.AckTimeout = e.listener.Addr().String(), deadline
	s, err := epr.NewMLLP(format(t, name, func(c *epr.MessageConfig) { c.Format = e.format }), c, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func (e *mllpEPR) Script(answers ...eprtest.Answer) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.script = append(e.script, answers...)
}

func (e *mllpEPR) Came() []eprtest.Message {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]eprtest.Message(nil), e.came...)
}

func (e *mllpEPR) Showing() (n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, shown := range e.shows {
		if shown {
			n++
		}
	}
	return n
}

func (e *mllpEPR) serve(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	for {
		if _, err := in.ReadBytes(0x0b); err != nil {
			return
		}
		message, err := in.ReadBytes(0x1c)
		if err != nil {
			return
		}
		message = bytes.TrimSuffix(message, []byte{0x1c})
		answer, owed := e.take(message)
		if owed != nil {
			_, _ = conn.Write(owed) // and no word on this one
			continue
		}
		id := hospital.Field(message, "MSH", 10)
		switch answer {
		case eprtest.Accept:
			_, err = conn.Write(ack("AA", id, ""))
		case eprtest.TryLater:
			_, err = conn.Write(ack("AE", id, "busy"))
		case eprtest.Refuse:
			_, err = conn.Write(ack("AR", id, "will not: "+strings.NewReplacer("|", " ", "^", " ", "&", " ", "~", " ", `\`, " ", "\r", " ").Replace(string(message))))
		case eprtest.HangUp:
			return
		case eprtest.Foreign:
			_, err = conn.Write(ack("AA", "SOMEONE-ELSES", ""))
		case eprtest.Twice:
			_, err = conn.Write(append(ack("AA", id, ""), ack("AA", id, "")...))
		case eprtest.Slow:
			for _, b := range ack("AA", id, "") {
				if _, err = conn.Write([]byte{b}); err != nil {
					return
				}
			}
		case eprtest.Garbage:
			_, err = conn.Write([]byte("\x0bHTTP/1.1 400 Bad Request\x1c\r"))
		}
		if err != nil {
			return
		}
	}
}

// take keeps the message, and tells what to do about it.
func (e *mllpEPR) take(message []byte) (answer eprtest.Answer, owed []byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	id := hospital.Field(message, "MSH", 10)
	e.came = append(e.came, eprtest.Message{ID: id, Content: string(message)})
	if len(e.script) > 0 {
		answer, e.script = e.script[0], e.script[1:]
	}
	if answer != eprtest.TryLater && answer != eprtest.Refuse {
		key, gone := shown(message)
		e.shows[key] = !gone
	}
	owed, e.owed = e.owed, nil
	if answer == eprtest.Late {
		e.owed = ack("AA", id, "")
	}
	return answer, owed
}

// shown is which alert a message is about, and whether it takes it away.
func shown(message []byte) (key string, gone bool) {
	switch {
	case hospital.Field(message, "OBR", 3) != "":
		return hospital.Field(message, "OBR", 3), hospital.Field(message, "OBR", 25) == "D"
	case hospital.Field(message, "TXA", 12) != "":
		return hospital.Field(message, "TXA", 12), hospital.Field(message, "TXA", 19) == "CA"
	}
	key, _, _ = strings.Cut(hospital.Field(message, "OBX", 4), "-")
	return key, hospital.Field(message, "OBX", 11) == "D"
}

func ack(code, id, text string) []byte {
	return fmt.Appendf(nil, "\x0bMSH|^~\\&|EPR||SAFEGUARD||20260614213005||ACK|E%s|P|2.4\rMSA|%s|%s|%s\r\x1c\r", id, code, id, text)
}

func TestMLLPConforms(t *testing.T) {
	eprtest.Run(t, eprtest.Subject{
		Open: func(t testing.TB) eprtest.EPR { return openMLLP(t, "oru-r01") },
		Answers: []eprtest.Answer{eprtest.TryLater, eprtest.Refuse, eprtest.Silent, eprtest.HangUp, eprtest.Foreign,
			eprtest.Late, eprtest.Twice, eprtest.Slow, eprtest.Garbage},
	})
}

// TestEveryFormatIsTakenAndWithdrawn looks at the other formats from the EPR's side.
func TestEveryFormatIsTakenAndWithdrawn(t *testing.T) {
	for _, name := range epr.Formats() {
		t.Run(name, func(t *testing.T) {
			e := openMLLP(t, name)
			sink := e.Sink(t, "epr", 30*time.Second, nil)
			for n, c := range []struct {
				action safeguard.Action
				want   int
			}{{safeguard.Raise, 1}, {safeguard.Update, 1}, {safeguard.Withdraw, 0}} {
				r, err := sink.Deliver(t.Context(), eprtest.Alert(n+1, c.action))
				if err != nil || r.Outcome != safeguard.Delivered {
					t.Fatalf("%s: %s: %v", c.action, r.Outcome, err)
				}
				if got := e.Showing(); got != c.want {
					t.Errorf("after %s: the EPR shows %d alerts, want %d", c.action, got, c.want)
				}
			}
		})
	}
}
