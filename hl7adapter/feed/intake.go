package feed

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/safeguard-edge/safeguard/hl7adapter/hl7"
)

// Intake is what stands between a feed's transport and Accept: it reads enough
// of a message to answer it, and does what the policy says.
type Intake struct {
	name     string
	policy   Policy
	accept   Accept
	counters *Counters
	log      *slog.Logger
}

// NewIntake returns the intake of the feed of that name, whose log names it. Many
// connections may use it at once.
func NewIntake(name string, p Policy, accept Accept, c *Counters, log *slog.Logger) *Intake {
	return &Intake{name, p, accept, c, log}
}

// Verdict is what became of a message.
type Verdict int

// The verdicts. Only Accepted means that the message is on disk.
const (
	Postponed Verdict = iota // not kept; the peer is to send it again
	Accepted                 // kept
	Rejected                 // not kept, and sending it again is of no use
	Ignored                  // not kept: an acknowledgement, which nobody answers
)

func (v Verdict) String() string {
	return [...]string{"postponed", "accepted", "rejected", "ignored"}[v]
}

// Reply is what a feed does about a message.
type Reply struct {
	Verdict Verdict
	Reason  string // why it was not accepted; it holds nothing of the message
	Acks    []Ack  // to be sent, in this order; none where the sender wants none
}

// Take offers m to Accept and returns what to answer. The feed sets peer, time
// and body; Take sets the rest. The body must not change any more.
//
// Where the policy is to wait, Take does not return before m is accepted or ctx
// is done: a feed that reads nothing more meanwhile pushes back on its sender.
// After an error m is not known to be kept, and must not be answered.
func (in *Intake) Take(ctx context.Context, m Message) (Reply, error) {
	m.Feed, m.Charset, m.Processing = in.name, in.policy.Charset, in.policy.Processing
	in.counters.received(m)
	r := read(m.Body, in.policy.Acknowledge)
	switch {
	case r.kind == acknowledgement:
		in.counters.ignored.Add(1)
		return Reply{Verdict: Ignored, Reason: "an acknowledgement"}, nil
	case r.kind == unreadable:
		in.counters.unreadable.Add(1)
		if in.policy.Unreadable == RejectUnreadable {
			return in.reject(m, r, r.fault), nil
		}
	case r.kind == other:
		in.counters.other.Add(1)
		if in.policy.Other == RejectOther {
			return in.reject(m, r, r.fault), nil
		}
	}
	return in.offer(ctx, m, r)
}

// TooLong answers a message that is longer than the feed takes. Of its body
// only the beginning is needed, to read whom to answer.
func (in *Intake) TooLong(m Message) Reply {
	in.counters.Framing(TooLong)
	in.counters.last.Store(m.Received.UnixNano())
	r := read(m.Body, in.policy.Acknowledge)
	if r.kind == acknowledgement {
		in.counters.ignored.Add(1)
		return Reply{Verdict: Ignored, Reason: "an acknowledgement"}
	}
	return in.reject(m, r, hl7.Ack{Error: hl7.Internal, Text: "message longer than this feed takes"})
}

func (in *Intake) reject(m Message, r reading, fault hl7.Ack) Reply {
	if fault.Text == "" {
		fault.Text = fault.Error.String()
	}
	in.counters.rejected.Add(1)
	return in.reply(Rejected, fault.Text, r.acks(hl7.AR, fault, m.Received))
}

// reply counts the acknowledgements.
func (in *Intake) reply(v Verdict, reason string, acks []Ack) Reply {
	if len(acks) == 0 {
		in.counters.silent.Add(1)
	}
	for _, a := range acks {
		in.counters.sent(a)
	}
	return Reply{v, reason, acks}
}

// offer gives m to Accept until it is taken, where the policy is to wait.
func (in *Intake) offer(ctx context.Context, m Message, r reading) (Reply, error) {
	proposed := r.acks(hl7.AA, hl7.Ack{}, m.Received)
	if len(proposed) > 0 {
		m.Ack = proposed[0]
	}
	ack, err := in.accept(ctx, m)
	// Who asks not to hear of errors would never send the message again.
	if err != nil && (in.policy.Hold != Nack || len(r.asks.codes(hl7.AE)) == 0) {
		ack, err = in.wait(ctx, m, err)
	}
	switch {
	case err == nil:
		in.counters.accepted.Add(1)
		if in.counters.nacking.Swap(false) {
			in.log.Info("intake no longer on hold")
		}
		return in.reply(Accepted, "", replace(proposed, ack)), nil
	case ctx.Err() != nil:
		return Reply{}, ctx.Err()
	case errors.Is(err, ErrRefuse):
		return in.reject(m, r, hl7.Ack{Error: hl7.Internal, Text: ErrRefuse.Error()}), nil
	}
	in.counters.postponed.Add(1)
	if !in.counters.nacking.Swap(true) {
		in.log.Warn("intake on hold, senders are told to send again", "err", err)
	}
	fault := hl7.Ack{Error: hl7.Internal, Text: "can not be kept now, send again"}
	return in.reply(Postponed, fault.Text, r.acks(hl7.AE, fault, m.Received)), nil
}

// replace puts what Accept returned in place of the first acknowledgement.
func replace(proposed []Ack, ack Ack) []Ack {
	if len(proposed) > 0 {
		proposed = proposed[1:]
	}
	if len(ack) == 0 {
		return proposed
	}
	return append([]Ack{ack}, proposed...)
}

// How often a message that waits is offered again.
const (
	firstWait   = 50 * time.Millisecond
	longestWait = 2 * time.Second
)

// wait offers m again and again while intake is on hold.
func (in *Intake) wait(ctx context.Context, m Message, err error) (Ack, error) {
	if errors.Is(err, ErrRefuse) || ctx.Err() != nil {
		return nil, err
	}
	if in.counters.hold(time.Now()) {
		in.log.Warn("intake on hold", "err", err)
	}
	defer func() {
		if in.counters.resume() {
			in.log.Info("intake no longer on hold")
		}
	}()
	pause := firstWait
	timer := time.NewTimer(pause)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-timer.C:
		}
		ack, err := in.accept(ctx, m)
		if err == nil || errors.Is(err, ErrRefuse) {
			return ack, err
		}
		pause = min(2*pause, longestWait)
		timer.Reset(pause)
	}
}
