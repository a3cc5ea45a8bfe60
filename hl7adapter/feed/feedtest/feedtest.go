// Package feedtest is what every feed must pass, whatever carries it: a
// message is acknowledged when it is kept and not before, with what Accept
// returned; what was not kept comes again; a stop loses nothing; and no peer
// can keep a feed from serving the next one.
package feedtest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard/hl7adapter/feed"
)

// Subject is a kind of feed.
type Subject struct {
	// Open makes a new place for a feed: a port, a folder, a topic.
	Open func(t testing.TB, p feed.Policy) Site
	// Answers says that peers see acknowledgement messages. Where they do
	// not, that a message has left the place is its acknowledgement.
	Answers bool
}

// Site is one place for a feed.
type Site interface {
	// Feed returns a feed at this place. It is called again after the feed
	// before it has ended, which is a restart.
	Feed() (Feed, error)
	// Peer returns a sender to this place.
	Peer() Peer
	// Misbehaviour is what peers of this kind may do wrong, by name. Each
	// returns when it has done it.
	Misbehaviour() map[string]func(context.Context) error
}

// Feed is what is under test.
type Feed interface {
	Run(ctx context.Context, accept feed.Accept) error
	Stats() feed.Stats
}

// Peer sends messages, one at a time.
type Peer interface {
	// Send hands body over and returns when the feed has taken it on, with
	// the acknowledgement as the peer sees it: nil where the transport has
	// none, or where body asks for none. After an error the peer still has
	// body, and will send it again.
	Send(ctx context.Context, body []byte) ([]byte, error)
	Close() error
}

// Run checks the feed against every case.
func Run(t *testing.T, s Subject) {
	for _, c := range cases {
		if c.answers && !s.Answers {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			if err := try(t, s, c); err != nil {
				t.Error(err)
			}
		})
	}
}

// kase is one demand. It returns how the feed falls short of it.
type kase struct {
	name    string
	answers bool // only for feeds that answer
	policy  feed.Policy
	check   func(context.Context, *scene) error
}

// patience is how long a case may take.
const patience = 60 * time.Second

func try(t testing.TB, s Subject, c kase) (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	sc := &scene{site: s.Open(t, c.policy), answers: s.Answers, journal: newJournal()}
	defer func() { err = errors.Join(err, sc.stop()) }()
	if err := sc.start(); err != nil {
		return err
	}
	return c.check(ctx, sc)
}

// scene is a feed, its journal, and what happens to them.
type scene struct {
	site    Site
	answers bool
	journal *journal
	running *running
}

// running is one life of the feed.
type running struct {
	feed   Feed
	cancel context.CancelFunc
	done   chan struct{}
	err    error // of Run, once done
}

func (s *scene) start() error {
	f, err := s.site.Feed()
	if err != nil {
		return fmt.Errorf("make feed: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{feed: f, cancel: cancel, done: make(chan struct{})}
	s.running = r
	s.journal.open()
	go func() {
		defer close(r.done)
		r.err = f.Run(ctx, s.journal.accept)
		s.journal.close()
	}()
	return nil
}

// stop ends the feed and waits for it.
func (s *scene) stop() error {
	r := s.running
	if r == nil {
		return nil
	}
	s.running = nil
	r.cancel()
	select {
	case <-r.done:
	case <-time.After(patience):
		return errors.New("run did not return after its context ended")
	}
	if r.err != nil {
		return fmt.Errorf("run returned %w after a clean stop, want nil", r.err)
	}
	return s.journal.late()
}

// send sends body until it is taken, as peers do, and returns the
// acknowledgement.
func (s *scene) send(ctx context.Context, p Peer, body []byte) ([]byte, error) {
	for {
		ack, err := p.Send(ctx, body)
		if err == nil {
			return ack, nil
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("message never taken: %w", err)
		}
		// The feed may be stopped, and come back.
		select {
		case <-ctx.Done():
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// sent is the outcome of a send that goes on meanwhile.
type sent struct {
	ack []byte
	err error
}

func later(ctx context.Context, send func(context.Context, Peer, []byte) ([]byte, error), p Peer, body []byte) <-chan sent {
	out := make(chan sent, 1)
	go func() {
		ack, err := send(ctx, p, body)
		out <- sent{ack, err}
	}()
	return out
}

// take waits for the next value, or the end of ctx.
func take[T any](ctx context.Context, what string, from <-chan T) (T, error) {
	select {
	case v := <-from:
		return v, nil
	case <-ctx.Done():
		var none T
		return none, fmt.Errorf("never: %s", what)
	}
}
