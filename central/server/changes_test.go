package server_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/client"
	"github.com/safeguard-edge/safeguard/central/identity"
	"github.com/safeguard-edge/safeguard/central/store"
)

// stream is an agent that follows changes.
type stream struct {
	*testing.T
	changes chan client.Change
	failed  chan error
	stop    context.CancelFunc
	resume  string // of what was taken
}

// follow follows from the resume point until the test ends, or stop.
func (c *centre) follow(agent *client.Client, resume string, sites ...string) *stream {
	c.Helper()
	ctx, stop := context.WithCancel(c.Context())
	s := &stream{T: c.T, changes: make(chan client.Change), failed: make(chan error, 1), stop: stop, resume: resume}
	var codes []safeguard.ODSCode
	for _, site := range sites {
		codes = append(codes, code(site))
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for change, err := range agent.Changes(ctx, codes, resume) {
			if err != nil {
				s.failed <- err
				return
			}
			select {
			case s.changes <- change:
			case <-ctx.Done():
				return
			}
		}
	}()
	c.Cleanup(func() { stop(); <-ended })
	return s
}

// next takes the next change that names someone, or says that some were missed.
func (s *stream) next() client.Change {
	s.Helper()
	for {
		select {
		case change := <-s.changes:
			if change.Resume != "" {
				s.resume = change.Resume
			}
			if change.Missed || !change.Number.IsZero() {
				return change
			}
		case err := <-s.failed:
			s.Fatalf("the stream ended: %v", err)
		case <-time.After(30 * time.Second):
			s.Fatal("nothing was told")
		}
	}
}

// end waits for the error that ends the stream.
func (s *stream) end() error {
	s.Helper()
	for deadline := time.After(30 * time.Second); ; {
		select {
		case <-s.changes:
		case err := <-s.failed:
			return err
		case <-deadline:
			s.Fatal("the stream did not end")
		}
	}
}

// begin takes what a stream without a resume point begins with.
func (s *stream) begin() *stream {
	s.Helper()
	if change := s.next(); !change.Missed || s.resume == "" {
		s.Fatalf("a stream without a resume point began with %+v", change)
	}
	return s
}

func (s *stream) want(n safeguard.NHSNumber) {
	s.Helper()
	if change := s.next(); change.Number != n || change.Missed {
		s.Errorf("told of %q, missed %v, want %q", change.Number.Reveal(), change.Missed, n.Reveal())
	}
}

func (c *centre) asks(n safeguard.NHSNumber, purpose safeguard.Purpose) {
	c.Helper()
	q := query(n, "visit "+n.Reveal())
	q.Purpose = purpose
	c.lookup(q)
}

func TestChangesReachWhoAskedAndNoOther(t *testing.T) {
	c := start(t)
	plan := func(n safeguard.NHSNumber, months int) client.Row {
		return row(n, safeguard.ChildProtection, ago(0, months, 0), safeguard.Date{})
	}
	own := c.follow(c.agent(), "", "RX1RA").begin()
	other := c.follow(c.agent(), "", "RX1RB").begin()
	elsewhere := c.follow(c.dial(c.tls("agent-RX2", identity.Agent)), "", "RX2RA").begin()

	c.asks(alice, safeguard.Refresh)
	c.upload(middlesbrough, plan(alice, 3))
	own.want(alice)
	c.upload(middlesbrough, plan(alice, 3)) // says nothing new
	c.asks(bob, safeguard.Unscheduled)
	c.upload(sheffield, plan(bob, 2))
	own.want(bob)

	// Whoever did not ask hears first of whom it did ask about, later.
	q := query(alice, "walk-in")
	q.Author.Site, q.Author.Setting, q.Purpose = code("RX1RB"), safeguard.WalkInCentre, safeguard.Scheduled
	c.lookup(q)
	q = query(bob, "elsewhere")
	q.Author.Organisation, q.Author.Site = code("RX2"), code("RX2RA")
	if _, err := c.dial(c.tls("agent-RX2", identity.Agent)).Lookup(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	c.upload(sheffield, plan(alice, 1), plan(bob, 1))
	other.want(alice)
	elsewhere.want(bob)
	if a, b := own.next().Number, own.next().Number; a == b || a != alice && a != bob || b != alice && b != bob {
		t.Errorf("told of %q and %q, want of both", a.Reveal(), b.Reveal())
	}
	if told := c.server.Counts().Told; told != 6 {
		t.Errorf("%d tellings, want 6: two sites of four that ask about each", told)
	}
}

func TestWhoAskedIsToldWhenAPlanBegins(t *testing.T) {
	c := start(t)
	s := c.follow(c.agent(), "", "RX1RA").begin()
	c.asks(alice, safeguard.Refresh)
	c.upload(middlesbrough, row(alice, safeguard.ChildProtection, safeguard.DateOf(time.Now()).Add(0, 0, 2), safeguard.Date{}))
	s.want(alice) // the upload; it is answered with none as yet
	for days := range 3 {
		if err := c.server.TurnTo(t.Context(), safeguard.DateOf(time.Now()).Add(0, 0, days+1)); err != nil {
			t.Fatal(err)
		}
	}
	s.want(alice)
	if told := c.server.Counts().Told; told != 2 {
		t.Errorf("%d tellings, want the upload's and that of the day on which the plan begins", told)
	}
}

func TestChangesAreNotToldToWhoAskedTooLongAgo(t *testing.T) {
	c := start(t)
	s := c.follow(c.agent(), "", "RX1RA").begin()
	for n, ago := range map[safeguard.NHSNumber]time.Duration{alice: 15 * 24 * time.Hour, bob: 13 * 24 * time.Hour} {
		q := query(n, "visit")
		err := c.store.Record(t.Context(), store.Look{Purpose: q.Purpose, Access: store.Access{
			Number: n, Organisation: trust, Site: infirmary, Attendance: q.Attendance, At: q.At, Recorded: time.Now().Add(-ago)}})
		if err != nil {
			t.Fatal(err)
		}
	}
	c.upload(middlesbrough, row(alice, safeguard.ChildProtection, ago(0, 3, 0), safeguard.Date{}))
	c.upload(middlesbrough, row(bob, safeguard.ChildProtection, ago(0, 3, 0), safeguard.Date{}))
	s.want(bob)
}

func TestFollowingGoesOnAfterRestarts(t *testing.T) {
	c := start(t)
	c.asks(alice, safeguard.Unscheduled)
	c.asks(bob, safeguard.Unscheduled)
	s := c.follow(c.agent(), "", "RX1RA", "RX1RB").begin()
	s.stop()
	upload := func(months int) {
		c.upload(middlesbrough, row(alice, safeguard.ChildProtection, ago(0, months, 0), safeguard.Date{}))
	}
	upload(1) // while nobody follows

	s = c.follow(c.agent(), s.resume, "RX1RA")
	s.want(alice)
	c.halt() // the centre goes, and comes again at another address
	if err := s.end(); !errors.Is(err, client.ErrUnreachable) {
		t.Errorf("the centre went: %v, want %v", err, client.ErrUnreachable)
	}
	c.listen("127.0.0.1:0")
	upload(2)
	s = c.follow(c.agent(), s.resume, "RX1RA")
	s.want(alice) // again, for it was not long ago
	s.want(alice)

	// Another centre on the same store has it too.
	first := *c
	c.listen("127.0.0.1:0")
	defer first.halt()
	c.upload(middlesbrough, row(bob, safeguard.ChildProtection, ago(0, 3, 0), safeguard.Date{}))
	s.want(bob)
}

func TestWhoMissedChangesIsTold(t *testing.T) {
	c := start(t)
	c.asks(alice, safeguard.Unscheduled)
	c.upload(middlesbrough, row(alice, safeguard.ChildProtection, ago(0, 1, 0), safeguard.Date{}))
	for name, resume := range map[string]string{"none": "", "not one": "yesterday", "of a log that is longer": "77.1764547200000", "of another log": "1.1764547200000"} {
		s := c.follow(c.agent(), resume, "RX1RA")
		if change := s.next(); !change.Missed || change.Resume == "" || change.Resume == resume {
			t.Errorf("%s: %+v, want that changes were missed, and from where to go on", name, change)
		}
		s.stop()
	}
}

func TestWhoMayFollow(t *testing.T) {
	c := start(t)
	many := strings.Split(strings.Repeat("RX1RA ", 201), " ")[:201]
	for _, tt := range []struct {
		name  string
		as    string
		kind  identity.Kind
		sites []string
		want  string
	}{
		{"a local authority", "authority-806", identity.Authority, []string{"RX1RA"}, "kind"},
		{"for another organisation's site", "agent-RX1", identity.Agent, []string{"RX1RA", "RX2RA"}, "RX2RA is not registered under organisation RX1"},
		{"for a site that is invited", "agent-RX1", identity.Agent, []string{"RX1RC"}, "invited"},
		{"for no site", "agent-RX1", identity.Agent, nil, "want 1 to 200"},
		{"for too many", "agent-RX1", identity.Agent, many, "want 1 to 200"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := c.follow(c.dial(c.tls(tt.as, tt.kind)), "", tt.sites...)
			var refused *client.Refused
			select {
			case err := <-s.failed:
				if !errors.As(err, &refused) || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("%v, want a refusal that says %q", err, tt.want)
				}
			case change := <-s.changes:
				t.Errorf("told %+v", change)
			case <-time.After(30 * time.Second):
				t.Error("neither refused nor told")
			}
		})
	}
}
