package pipeline

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/agent/journal"
)

// Stats is the pipeline's section of the health report. Nothing in it is about a
// person.
type Stats struct {
	Since Counters      // counted since the start of the process
	Now   Gauges        // as things stand
	Kept  journal.Stats // what Now was read from
}

// Counters only grow. Of the attendances that began, each is in one of NotEligible,
// Held, NoneHeld and Unknown, by what was known when it was first settled.
type Counters struct {
	Registered  int // attendances that began
	NotEligible int // nobody is asked about these
	Held        int
	NoneHeld    int
	Unknown     int
	NoNumber    int // of Unknown: without an NHS number that can be asked with
	Cached      int // of Held and NoneHeld: answered by the cache
	Echoes      int // messages of our own that came back on a feed
	SetAside    int // messages and items put aside for a person
	Late        int // alerts that came too late for their attendance
	Unanswered  int // attendances whose time to be asked about ended without an answer
}

// Gauges come from the journal, and so outlive a restart.
type Gauges struct {
	Messages    Queue            // accepted and not processed
	Lookups     Queue            // owed to the centre
	Corrections Queue            // owed to the centre
	Changes     Queue            // attendances to ask about again, as their flags changed
	Alerts      map[string]Queue // owed to each sink, by name; all sinks are there
	Unknown     Queue            // attendances of which nothing is known, and still is to be; since the message that began them
	NoNumber    Queue            // of Unknown: without an NHS number that can be asked with
	SetAside    int              // messages and items kept for a person
	Late        int              // alerts kept that came too late
}

// Queue is how much waits.
type Queue struct {
	Length int
	Oldest time.Time // since when the first of it waits; zero where nothing does
}

// Counters are what was counted since the start.
func (p *Pipeline) Counters() Counters { return p.counts.read() }

// Stats reads the counts. It takes some milliseconds, and nothing waits for it.
func (p *Pipeline) Stats(ctx context.Context) (Stats, error) {
	kept, err := p.Journal.Stats(ctx)
	if err != nil {
		return Stats{}, fmt.Errorf("count what is owed: %w", err)
	}
	queue := func(outbox string) Queue { return Queue{kept.Outboxes[outbox], kept.Longest[outbox]} }
	now := Gauges{
		Messages: Queue{kept.Waiting, kept.Oldest}, Lookups: queue(journal.Lookups), Corrections: queue(journal.Corrections), Changes: queue(journal.Changes),
		Alerts: map[string]Queue{}, SetAside: kept.SetAside, Late: kept.Late,
	}
	for _, sink := range p.Sinks {
		now.Alerts[sink.Name()] = queue(sink.Name())
	}
	for why, u := range kept.Unknown {
		now.Unknown.add(u)
		if numberless(why) {
			now.NoNumber.add(u)
		}
	}
	return Stats{p.counts.read(), now, kept}, nil
}

func (q *Queue) add(u journal.Unanswered) {
	if q.Length == 0 || u.Oldest.Before(q.Oldest) {
		q.Oldest = u.Oldest
	}
	q.Length += u.Attendances
}

// numberless tells whether there is no number to ask with.
func numberless(why safeguard.Reason) bool {
	return why == safeguard.NoNHSNumber || why == safeguard.NumberInConflict
}

// counts are the Counters while they are counted.
type counts struct {
	registered, notEligible, held, noneHeld, unknown, noNumber, cached atomic.Int64

	echoes, setAside, late, ended atomic.Int64
}

// first is what is known of an attendance when it begins.
type first struct {
	eligible bool
	answer   safeguard.Answer
}

func (c *counts) register(f first) {
	c.registered.Add(1)
	if !f.eligible {
		c.notEligible.Add(1)
		return
	}
	if f.answer.Status != safeguard.Unknown && f.answer.Source == safeguard.FromCache {
		c.cached.Add(1)
	}
	switch f.answer.Status {
	case safeguard.Held:
		c.held.Add(1)
	case safeguard.NoneHeld:
		c.noneHeld.Add(1)
	default:
		c.unknown.Add(1)
		if numberless(f.answer.Reason) {
			c.noNumber.Add(1)
		}
	}
}

func (c *counts) read() Counters {
	n := func(a *atomic.Int64) int { return int(a.Load()) }
	return Counters{
		Registered: n(&c.registered), NotEligible: n(&c.notEligible), Held: n(&c.held), NoneHeld: n(&c.noneHeld), Unknown: n(&c.unknown),
		NoNumber: n(&c.noNumber), Cached: n(&c.cached), Echoes: n(&c.echoes), SetAside: n(&c.setAside), Late: n(&c.late), Unanswered: n(&c.ended),
	}
}
