package feedtest

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard/hl7adapter/feed"
	"github.com/safeguard-edge/safeguard/hl7adapter/hl7"
)

// room is a place in memory: a peer hands a message straight to the feed.
type room struct {
	policy feed.Policy
	in     chan delivery
	fault  string // what the feed does wrong
}

type delivery struct {
	body  []byte
	reply chan<- sent
}

func open(fault string) func(testing.TB, feed.Policy) Site {
	return func(_ testing.TB, p feed.Policy) Site {
		return &room{policy: p, in: make(chan delivery), fault: fault}
	}
}

func (r *room) Feed() (Feed, error) { return &roomFeed{room: r}, nil }
func (r *room) Peer() Peer          { return r }
func (r *room) Close() error        { return nil }

func (r *room) Misbehaviour() map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"leaving before the answer": func(ctx context.Context) error {
			select {
			case r.in <- delivery{ADT("left"), make(chan sent, 1)}:
			case <-ctx.Done():
			}
			return ctx.Err()
		},
	}
}

func (r *room) Send(ctx context.Context, body []byte) ([]byte, error) {
	reply := make(chan sent, 1)
	select {
	case r.in <- delivery{body, reply}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case got := <-reply:
		return got.ack, got.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

type roomFeed struct {
	*room
	counters feed.Counters
}

func (f *roomFeed) Stats() feed.Stats { return f.counters.Snapshot() }

func (f *roomFeed) Run(ctx context.Context, accept feed.Accept) error {
	if f.fault != "stops in the middle" {
		var undrain func()
		accept, undrain = feed.Drain(ctx, time.Second, accept)
		defer undrain()
	}
	in := feed.NewIntake("room", f.policy, accept, &f.counters, slog.New(slog.DiscardHandler))
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		select {
		case <-ctx.Done():
			return nil
		case d := <-f.in:
			wg.Go(func() { f.serve(ctx, in, d) })
		}
	}
}

var errStopped = errors.New("stopped")

func (f *roomFeed) serve(ctx context.Context, in *feed.Intake, d delivery) {
	m := feed.Message{Peer: "peer", Received: time.Now(), Body: d.body}
	hasty := hl7.Ack{Code: hl7.AA, ControlID: "X", Time: m.Received}
	switch f.fault {
	case "acknowledges at once":
		parsed, _ := hl7.ParseHeader(d.body)
		d.reply <- sent{ack: hasty.To(parsed)}
	case "changes line ends":
		m.Body = append([]byte(nil), d.body...)
		for i, c := range m.Body {
			if c == '\n' {
				m.Body[i] = '\r'
			}
		}
	}
	reply, err := in.Take(ctx, m)
	if err != nil {
		d.reply <- sent{err: errStopped}
		return
	}
	out := sent{}
	if len(reply.Acks) > 0 {
		out.ack = reply.Acks[0]
	}
	switch parsed, err := hl7.ParseHeader(d.body); {
	case f.fault == "answers with its own" && err == nil && len(out.ack) > 0:
		out.ack = hasty.To(parsed)
	case f.fault == "always answers" && err == nil:
		out.ack = hasty.To(parsed)
	}
	select {
	case d.reply <- out:
	default:
	}
}

func TestGoodFeedPasses(t *testing.T) {
	Run(t, Subject{Open: open(""), Answers: true})
}

func TestSilentFeedPasses(t *testing.T) {
	Run(t, Subject{Open: open(""), Answers: false})
}

// Each fault is found by the case that is there for it.
func TestBadFeedsFail(t *testing.T) {
	for fault, found := range map[string]string{
		"acknowledges at once": "acknowledges only what is kept",
		"answers with its own": "sends the acknowledgement that accept returns",
		"always answers":       "sends none where none is asked for",
		"changes line ends":    "keeps every byte",
		"stops in the middle":  "answers at a stop what is in hand",
	} {
		t.Run(fault, func(t *testing.T) {
			for _, c := range cases {
				if c.name != found {
					continue
				}
				// "stops in the middle" leaves it to chance whether the
				// cancelled context or the journal is looked at first.
				for range 50 {
					if err := try(t, Subject{Open: open(fault), Answers: true}, c); err != nil {
						return
					}
				}
				t.Error("the fault was not found")
			}
		})
	}
}
