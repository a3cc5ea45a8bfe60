package feed

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/safeguard-edge/safeguard/hl7adapter/hl7"
)

var quiet = slog.New(slog.DiscardHandler)

// journal is an Accept that remembers, and fails as told.
type journal struct {
	mu   sync.Mutex
	kept []Message
	fail []error
}

func (j *journal) accept(_ context.Context, m Message) (Ack, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.fail) > 0 {
		err := j.fail[0]
		j.fail = j.fail[1:]
		if err != nil {
			return nil, err
		}
	}
	j.kept = append(j.kept, m)
	return m.Ack, nil
}

// header is a message of that type with those conditions in MSH-15 and MSH-16.
func header(kind, accept, application string) []byte {
	return []byte(`MSH|^~\&|PAS|RZZ01|SG|RZZ|20261123||` + kind + `|id1|P|2.4|||` + accept + "|" + application + "\rPID|1\r")
}

// codes tells the acknowledgements, as in CA AA.
func codes(acks []Ack) string {
	var out []string
	for _, a := range acks {
		r, err := hl7.ParseAck(a)
		if err != nil {
			return err.Error()
		}
		out = append(out, string(r.Code))
	}
	return strings.Join(out, " ")
}

// The acknowledgements for each outcome, by what the sender asks in MSH-15 and
// MSH-16 and by policy.
func TestAcknowledgements(t *testing.T) {
	for _, c := range []struct {
		accept, application     string
		mode                    Acknowledge
		taken, later, rejection string
	}{
		{"", "", AsAsked, "AA", "AE", "AR"},
		{`""`, `""`, AsAsked, "AA", "AE", "AR"},
		{"x", "", AsAsked, "AA", "AE", "AR"},
		{"AL", "NE", AsAsked, "CA", "CE", "CR"},
		{"AL", "", AsAsked, "CA", "CE", "CR"},
		{"AL", "AL", AsAsked, "CA", "CE", "CR"},
		{"NE", "AL", AsAsked, "AA", "AE", "AR"},
		{"", "AL", AsAsked, "AA", "AE", "AR"},
		{"NE", "NE", AsAsked, "", "", ""},
		{"NE", "", AsAsked, "", "", ""},
		{"ER", "NE", AsAsked, "", "CE", "CR"},
		{"SU", "NE", AsAsked, "CA", "", ""},
		{"ER", "AL", AsAsked, "AA", "CE", "CR"},
		{"SU", "ER", AsAsked, "CA", "AE", "AR"},
		{"ER", "SU", AsAsked, "AA", "CE", "CR"},
		{"AL", "AL", TwoPhase, "CA AA", "CE AE", "CR AR"},
		{"AL", "ER", TwoPhase, "CA", "CE AE", "CR AR"},
		{"ER", "AL", TwoPhase, "AA", "CE AE", "CR AR"},
		{"", "", TwoPhase, "AA", "AE", "AR"},
		{"NE", "NE", Original, "AA", "AE", "AR"},
		{"AL", "AL", Original, "AA", "AE", "AR"},
	} {
		t.Run(c.accept+","+c.application+","+string(c.mode), func(t *testing.T) {
			take := func(fail error) Reply {
				j := &journal{fail: []error{fail}}
				in := NewIntake("pas", Policy{Acknowledge: c.mode, Hold: Nack}, j.accept, new(Counters), quiet)
				r, err := in.Take(context.Background(), Message{Body: header("ADT^A04", c.accept, c.application), Received: time.Now()})
				if err != nil {
					t.Fatal(err)
				}
				for _, a := range r.Acks {
					if ack, _ := hl7.ParseAck(a); string(ack.ControlID) != "id1" {
						t.Errorf("acknowledges %q", ack.ControlID)
					}
				}
				return r
			}
			if got := take(nil); codes(got.Acks) != c.taken || got.Verdict != Accepted {
				t.Errorf("taken: got %q, %v, want %q", codes(got.Acks), got.Verdict, c.taken)
			}
			later, verdict := c.later, Postponed
			if later == "" { // nobody would hear it: the message waits, and is taken the second time
				later, verdict = c.taken, Accepted
			}
			if got := take(ErrHold); codes(got.Acks) != later || got.Verdict != verdict {
				t.Errorf("on hold: got %q, %v, want %q, %v", codes(got.Acks), got.Verdict, later, verdict)
			}
			if got := take(ErrRefuse); codes(got.Acks) != c.rejection || got.Verdict != Rejected {
				t.Errorf("refused: got %q, %v, want %q", codes(got.Acks), got.Verdict, c.rejection)
			}
		})
	}
}

// What becomes of each kind of message, by policy.
func TestPolicy(t *testing.T) {
	reject := Policy{Unreadable: RejectUnreadable, Other: RejectOther}
	for _, c := range []struct {
		name    string
		body    []byte
		policy  Policy
		verdict Verdict
		codes   string
		error   string // of the acknowledgement
		reason  string
	}{
		{"ADT", header("ADT^A04", "", ""), reject, Accepted, "AA", "", ""},
		{"A01", header("ADT^A01^ADT_A01", "", ""), reject, Accepted, "AA", "", ""},
		{"A62", header("ADT^A62", "", ""), reject, Accepted, "AA", "", ""},
		{"ADT without an event", header("ADT", "", ""), reject, Accepted, "AA", "", ""},
		{"ORU", header("ORU^R01", "", ""), Policy{}, Accepted, "AA", "", ""},
		{"ORU rejected", header("ORU^R01", "", ""), reject, Rejected, "AR", "200", "Unsupported message type"},
		{"ORU rejected in enhanced mode", header("ORU^R01", "AL", "NE"), reject, Rejected, "CR", "200", "Unsupported message type"},
		{"A63", header("ADT^A63", "", ""), Policy{}, Accepted, "AA", "", ""},
		{"A63 rejected", header("ADT^A63", "", ""), reject, Rejected, "AR", "201", "Unsupported event code"},
		{"A00 rejected", header("ADT^A00", "", ""), reject, Rejected, "AR", "201", "Unsupported event code"},
		{"an odd event rejected", header("ADT^R01X", "", ""), reject, Rejected, "AR", "201", "Unsupported event code"},
		{"no type", header("", "", ""), Policy{}, Accepted, "AA", "", ""},
		{"no type rejected", header("", "", ""), reject, Rejected, "AR", "101", "MSH-9 is absent"},
		{"no HL7", []byte("hello"), Policy{}, Accepted, "AA", "", ""},
		{"no HL7 rejected", []byte("hello"), reject, Rejected, "AR", "100", "parse hl7: byte 0: no MSH, want MSH and its delimiters"},
		{"two messages", append(header("ADT^A04", "AL", ""), header("ADT^A04", "", "")...), Policy{}, Accepted, "CA", "", ""},
		{"two messages rejected", append(header("ADT^A04", "AL", ""), header("ADT^A04", "", "")...), reject, Rejected, "CR", "100", "parse hl7: byte 66: a second MSH, want one message"},
		{"an acknowledgement", header("ACK", "AL", "AL"), Policy{}, Ignored, "", "", "an acknowledgement"},
		{"an acknowledgement of an event", header("ACK^A04^ACK", "", ""), reject, Ignored, "", "", "an acknowledgement"},
		{"a delayed acknowledgement", header("MCF", "", ""), Policy{}, Ignored, "", "", "an acknowledgement"},
		{"an acknowledgement without a type", []byte("MSH|^~\\&|PAS\rMSA|AA|1\r"), reject, Ignored, "", "", "an acknowledgement"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var j journal
			in := NewIntake("pas", c.policy, j.accept, new(Counters), quiet)
			got, err := in.Take(context.Background(), Message{Body: c.body, Peer: "p", Received: time.Now()})
			if err != nil {
				t.Fatal(err)
			}
			if got.Verdict != c.verdict || got.Reason != c.reason || codes(got.Acks) != c.codes {
				t.Errorf("got %v, %q, %q; want %v, %q, %q", got.Verdict, got.Reason, codes(got.Acks), c.verdict, c.reason, c.codes)
			}
			if c.error != "" {
				if ack, err := hl7.ParseAck(got.Acks[0]); err != nil || ack.Errors[0].Code != c.error {
					t.Errorf("got errors %v, %v, want %s", ack.Errors, err, c.error)
				}
			}
			if kept := len(j.kept); (kept == 1) != (c.verdict == Accepted) {
				t.Fatalf("kept %d messages", kept)
			}
			if len(j.kept) == 1 && (!bytes.Equal(j.kept[0].Body, c.body) || j.kept[0].Feed != "pas" || j.kept[0].Peer != "p") {
				t.Errorf("kept %+v", j.kept[0])
			}
		})
	}
}

func TestTakeHandsOnTheOverrides(t *testing.T) {
	var j journal
	in := NewIntake("pas", Policy{Charset: "8859/1", Processing: "T"}, j.accept, new(Counters), quiet)
	if _, err := in.Take(context.Background(), Message{Body: header("ADT^A04", "", "")}); err != nil {
		t.Fatal(err)
	}
	if m := j.kept[0]; m.Charset != "8859/1" || m.Processing != "T" {
		t.Errorf("got %+v", m)
	}
}

// On hold, a message is offered again with growing pauses, up to two seconds.
func TestTakeWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := errors.New("no space left")
		j := &journal{fail: []error{ErrHold, disk, ErrHold, ErrHold, ErrHold, ErrHold, ErrHold, ErrHold}}
		var counters Counters
		var log bytes.Buffer
		in := NewIntake("pas", Policy{}, j.accept, &counters, slog.New(slog.NewTextHandler(&log, nil)))
		begun := time.Now()
		type outcome struct {
			Reply
			error
		}
		done := make(chan outcome)
		go func() {
			r, err := in.Take(context.Background(), Message{Body: header("ADT^A04", "", ""), Received: begun})
			done <- outcome{r, err}
		}()
		synctest.Wait()
		if s := counters.Snapshot(); s.Waiting != 1 || !s.HeldSince.Equal(begun) {
			t.Errorf("got %d waiting since %v, want 1 since %v", s.Waiting, s.HeldSince, begun)
		}
		got := <-done
		if got.error != nil || got.Verdict != Accepted || codes(got.Acks) != "AA" {
			t.Fatalf("got %v, %v", got.Reply, got.error)
		}
		// 50, 100, 200, 400, 800, 1600, 2000, 2000 ms
		if waited, want := time.Since(begun), 7150*time.Millisecond; waited != want {
			t.Errorf("waited %v, want %v", waited, want)
		}
		if s := counters.Snapshot(); s.Waiting != 0 || !s.HeldSince.IsZero() || s.Accepted != 1 {
			t.Errorf("got %+v", s)
		}
		if n := strings.Count(log.String(), "\n"); n != 2 {
			t.Errorf("got %d log lines, want one for each change:\n%s", n, log.String())
		}
	})
}

// A message that waits goes back to its peer at a stop.
func TestTakeStopsWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		in := NewIntake("pas", Policy{}, func(context.Context, Message) (Ack, error) { return nil, ErrHold }, new(Counters), quiet)
		done := make(chan error)
		go func() {
			_, err := in.Take(ctx, Message{Body: header("ADT^A04", "", "")})
			done <- err
		}()
		time.Sleep(time.Minute)
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}

// A refusal while it waits ends the wait.
func TestTakeStopsWaitingForWhatIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{fail: []error{ErrHold, ErrRefuse}}
		in := NewIntake("pas", Policy{}, j.accept, new(Counters), quiet)
		r, err := in.Take(context.Background(), Message{Body: header("ADT^A04", "", "")})
		if err != nil || r.Verdict != Rejected || codes(r.Acks) != "AR" {
			t.Errorf("got %v %s, %v", r.Verdict, codes(r.Acks), err)
		}
	})
}

// While nacking, the log tells the change and not each message.
func TestNackLogsOnce(t *testing.T) {
	var log bytes.Buffer
	j := &journal{fail: []error{ErrHold, ErrHold, ErrHold}}
	in := NewIntake("pas", Policy{Hold: Nack}, j.accept, new(Counters), slog.New(slog.NewTextHandler(&log, nil)))
	for range 5 {
		if _, err := in.Take(context.Background(), Message{Body: header("ADT^A04", "", "")}); err != nil {
			t.Fatal(err)
		}
	}
	if n := strings.Count(log.String(), "\n"); n != 2 {
		t.Errorf("got %d log lines, want 2:\n%s", n, log.String())
	}
}

// A duplicate gets the acknowledgement of the first time.
func TestTakeSendsWhatAcceptReturns(t *testing.T) {
	kept := hl7.Ack{Code: hl7.AA, ControlID: "KEPT"}.To(hl7.Message{})
	in := NewIntake("pas", Policy{}, func(context.Context, Message) (Ack, error) { return kept, nil }, new(Counters), quiet)
	r, err := in.Take(context.Background(), Message{Body: header("ADT^A04", "", "")})
	if err != nil || len(r.Acks) != 1 || !bytes.Equal(r.Acks[0], kept) {
		t.Errorf("got %q, %v, want %q", r.Acks, err, kept)
	}
}

func TestTooLong(t *testing.T) {
	var j journal
	var counters Counters
	in := NewIntake("pas", Policy{}, j.accept, &counters, quiet)
	r := in.TooLong(Message{Body: append(header("ADT^A04", "", ""), "OBX|1|ED|1||JVBER"...)})
	if ack, err := hl7.ParseAck(r.Acks[0]); err != nil || ack.Code != hl7.AR || string(ack.ControlID) != "id1" {
		t.Errorf("got %v, %v", ack, err)
	}
	if r := in.TooLong(Message{Body: header("ACK", "", "")}); len(r.Acks) > 0 {
		t.Error("answered an acknowledgement")
	}
	if s := counters.Snapshot(); s.Framing["too-long"] != 2 || s.Rejected != 1 || s.Ignored != 1 || len(j.kept) > 0 {
		t.Errorf("got %+v", s)
	}
}

// Acknowledgements have control ids of their own, of 20 characters at most.
func TestControlIDs(t *testing.T) {
	seen := make(map[string]bool)
	for range 1000 {
		id := newControlID()
		if seen[id] || len(id) > 20 {
			t.Fatalf("got %q", id)
		}
		seen[id] = true
	}
}

func TestPolicyIsChecked(t *testing.T) {
	for _, ok := range []Policy{
		{}, {Unreadable: SetAside, Other: Ignore, Hold: Wait, Acknowledge: AsAsked, Charset: "UTF-8", Processing: "P"},
		{Unreadable: RejectUnreadable, Other: RejectOther, Hold: Nack, Acknowledge: TwoPhase}, {Acknowledge: Original},
	} {
		if err := ok.Validate(); err != nil {
			t.Errorf("%+v: %v", ok, err)
		}
	}
	for want, bad := range map[string]Policy{
		`unreadable: "drop", want set-aside or reject`:                           {Unreadable: "drop"},
		`other: "drop", want ignore or reject`:                                   {Other: "drop"},
		`hold: "drop", want hold or nack`:                                        {Hold: "drop"},
		`acknowledge: "never", want as-asked, two-phase or original`:             {Acknowledge: "never"},
		`charset: "EBCDIC" is not known, want one such as UTF-8 or Windows-1252`: {Charset: "EBCDIC"},
		`processing: "X", want P, T or D, or nothing to follow MSH-11`:           {Processing: "X"},
	} {
		if err := bad.Validate(); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestCounters(t *testing.T) {
	var c Counters
	now := time.Now()
	c.received(Message{Body: []byte("12345"), Received: now})
	c.sent(hl7.Ack{Code: hl7.CE}.To(hl7.Message{}))
	c.sent(Ack("no acknowledgement"))
	c.Framing(Noise)
	c.Opened()
	c.Opened()
	c.Closed()
	c.Refused()
	c.Denied()
	c.Probe()
	s := c.Snapshot()
	if s.Frames != 1 || s.Bytes != 5 || !s.LastMessage.Equal(now) || s.Acknowledged[hl7.CE] != 1 || len(s.Acknowledged) != 1 ||
		s.Framing["noise"] != 1 || len(s.Framing) != 1 || s.Open != 1 || s.Opened != 2 || s.Refused != 1 || s.Denied != 1 || s.Probes != 1 {
		t.Errorf("got %+v", s)
	}
	for kind := range framingErrors {
		if kind.String() == "" {
			t.Errorf("kind %d has no name", kind)
		}
	}
}

// What is in hand at a stop has the grace to end; what hangs is cut off.
func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.WithValue(context.Background(), key{}, "kept"))
		accept, stop := Drain(ctx, 5*time.Second, func(ctx context.Context, m Message) (Ack, error) {
			if ctx.Value(key{}) != "kept" {
				t.Error("the context has lost its values")
			}
			select {
			case <-time.After(3 * time.Second):
				return Ack("kept"), nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		})
		defer stop()
		cancel()
		if ack, err := accept(ctx, Message{}); err != nil || string(ack) != "kept" {
			t.Errorf("got %q, %v, want it to end in its own time", ack, err)
		}
		if _, err := accept(ctx, Message{}); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want the end of the grace", err)
		}
	})
}

type key struct{}

// FuzzTake: whatever comes in, it is kept or answered as the policy says, and
// the answer is one message that names the control id that was sent.
func FuzzTake(f *testing.F) {
	f.Add(header("ADT^A04", "", ""), false)
	f.Add(header("ADT^A04", "AL", "AL"), true)
	f.Add([]byte("hello"), true)
	f.Fuzz(func(t *testing.T, body []byte, strict bool) {
		p := Policy{Acknowledge: TwoPhase}
		if strict {
			p.Unreadable, p.Other = RejectUnreadable, RejectOther
		}
		var j journal
		in := NewIntake("pas", p, j.accept, new(Counters), quiet)
		r, err := in.Take(context.Background(), Message{Body: body, Received: time.Now()})
		if err != nil {
			t.Fatal(err)
		}
		if (len(j.kept) == 1) != (r.Verdict == Accepted) {
			t.Fatalf("%v, but %d kept", r.Verdict, len(j.kept))
		}
		m, _ := hl7.ParseHeader(body)
		for _, a := range r.Acks {
			ack, err := hl7.ParseAck(a)
			if err != nil || ack.Code.Positive() != (r.Verdict == Accepted) || !bytes.Equal(ack.ControlID, m.Header().ControlID) {
				t.Fatalf("%v, answered %q, %v", r.Verdict, a, err)
			}
		}
	})
}
