package pipeline

import (
	"context"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/agent/journal"
	"github.com/safeguard-edge/safeguard/hl7adapter/adt"
	"github.com/safeguard-edge/safeguard/tracing"
)

// outlet is one outbox with what its items are for.
type outlet struct {
	name     string
	parallel int                  // items of different attendances at the same time
	pace     func() time.Duration // from one to the next; nil for at once
	poison   int                  // after how many tries an item is set aside; 0 for never
	asks     bool                 // the centre about attendances, so in order with the messages about them
	handle   func(ctx context.Context, item journal.Item) (try, error)
}

// try is what came of an item. The zero value is that it is settled.
type try struct {
	failed bool
	away   bool   // nobody answered: the others would fail too
	code   string // of who answered
	text   string // with the code; may hold anything
	after  time.Duration
}

// tries is after how many an item is set aside for a person. A try counts only
// where the others get through meanwhile: while a receiver is away, or takes
// nothing at all, everything is kept for it.
const tries = 20

func (p *Pipeline) outlets() []outlet {
	all := []outlet{
		{journal.Lookups, 8, p.between, 0, true, p.lookup},
		{journal.Graces, 4, nil, 0, true, p.grace},
		{journal.Changes, 4, p.between, 0, true, p.changed},
		{journal.Corrections, 2, p.between, tries, true, p.correct},
	}
	for _, sink := range p.Sinks {
		parallel := 1
		if s, ok := sink.(interface{ Parallel() int }); ok {
			parallel = max(1, s.Parallel())
		}
		all = append(all, outlet{sink.Name(), parallel, nil, tries, false, func(ctx context.Context, i journal.Item) (try, error) { return p.Deliver(ctx, sink, i) }})
	}
	return all
}

// backoff is how long to wait after so many tries that nobody answered.
func (o outlet) backoff(tries int) time.Duration {
	if o.asks {
		return doubling(tries, centres)
	}
	return backoff(tries)
}

// ended is an item whose try is over.
type ended struct {
	item journal.Item
	try  try
}

// mark is how an item failed so far.
type mark struct {
	fails   int // since the start, whether they count or not
	through int // how many others had got through at the last of them
}

// drain hands each due item to its receiver, those of one attendance in order.
// While the receiver is away it is tried with one item at a time, and less and
// less often.
func (p *Pipeline) drain(ctx context.Context, o outlet) error {
	var (
		busy    = map[journal.ItemID]bool{}
		over    = make(chan ended)
		resume  time.Time // nothing is begun before
		away    int       // tries in a row that nobody answered
		through int       // items that got through
		marks   = map[journal.ItemID]mark{}
	)
	for {
		var wake time.Time
		free := o.parallel - len(busy)
		if away > 0 {
			free = min(free, 1-len(busy))
		}
		switch now := time.Now(); {
		case free <= 0:
		case now.Before(resume):
			wake = resume
		default:
			var items []journal.Item
			if err := p.insist(ctx, func() (err error) {
				items, wake, err = p.Journal.Due(ctx, o.name, now, o.parallel)
				return err
			}); err != nil {
				return finish(busy, over, err)
			}
			for _, item := range items {
				if busy[item.ID] {
					continue
				}
				if free == 0 || time.Now().Before(resume) {
					break
				}
				busy[item.ID] = true
				free--
				if o.pace != nil {
					resume = time.Now().Add(o.pace())
					wake = resume
				}
				m := marks[item.ID]
				counts := through > m.through
				go func() { over <- ended{item, p.attempt(ctx, o, item, m.fails, counts)} }()
			}
		}
		var timer <-chan time.Time
		if !wake.IsZero() {
			timer = time.After(time.Until(wake))
		}
		select {
		case e := <-over:
			delete(busy, e.item.ID)
			if !e.try.failed {
				delete(marks, e.item.ID)
				through, away = through+1, 0
				break
			}
			marks[e.item.ID] = mark{marks[e.item.ID].fails + 1, through}
			if away++; !e.try.away {
				away = 0
			} else {
				resume = time.Now().Add(o.backoff(away - 1))
			}
		case <-p.Journal.Queued(o.name):
		case <-timer:
		case <-ctx.Done():
			return finish(busy, over, ctx.Err())
		}
	}
}

// finish waits for what is under way.
func finish(busy map[journal.ItemID]bool, over <-chan ended, err error) error {
	for range busy {
		<-over
	}
	return err
}

// attempt tries an item once, and puts it off, or aside, if that fails.
func (p *Pipeline) attempt(ctx context.Context, o outlet, item journal.Item, fails int, counts bool) (t try) {
	ctx = tracing.WithEntry(ctx, int64(item.Entry))
	if o.asks {
		turn := p.order.enter([]string{adt.VisitOrder(item.Attendance)})
		defer turn.leave()
		if turn.wait(ctx) != nil {
			return try{failed: true}
		}
	}
	err := p.safely(ctx, func() (err error) {
		if item.Broken != nil {
			p.counts.setAside.Add(1)
			p.Log.ErrorContext(ctx, "item set aside, as it can not be read", "outbox", o.name, "item", item.ID, "err", item.Broken)
			return p.Journal.End(ctx, item.ID, journal.SetAside, "unreadable")
		}
		ctx, span := tracing.Begin(ctx, "deliver", tracing.Outbox.Is(o.name))
		defer func() { span.End(err != nil || t.failed) }()
		t, err = o.handle(ctx, item)
		return err
	})
	if ctx.Err() != nil {
		return try{failed: true}
	}
	if err != nil {
		p.Log.ErrorContext(ctx, "item not settled, trying again", "outbox", o.name, "item", item.ID, "err", err)
		t = try{failed: true, code: "fault"}
	}
	if !t.failed {
		return t
	}
	failed := item.Tries
	if counts {
		failed++
	}
	poisoned := o.poison > 0 && failed >= o.poison
	if poisoned {
		p.counts.setAside.Add(1)
		p.Log.ErrorContext(ctx, "item set aside, as it fails while others get through", "outbox", o.name, "item", item.ID, "tries", failed, "code", t.code)
	}
	_ = p.insist(ctx, func() error {
		if poisoned {
			return p.Journal.Done(ctx, item.ID, safeguard.Receipt{Outcome: safeguard.Refused, Code: t.code, Text: t.text, At: time.Now()})
		}
		after := t.after
		if after == 0 {
			after = doubling(fails, patience)
		}
		if t.away {
			after = o.backoff(fails)
		}
		return p.Journal.Postpone(ctx, item.ID, t.code, time.Now().Add(after), counts)
	})
	return t
}
