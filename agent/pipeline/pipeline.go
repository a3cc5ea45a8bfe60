// Package pipeline is the path of one attendance: what the journal holds is
// read, asked about, decided and settled; what is owed to a sink is delivered.
// Intake and delivery are two functions, Process and Deliver, with the journal
// between them, so that neither waits for the other.
package pipeline

import (
	"context"
	"errors"
	"hash/maphash"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/agent/journal"
	"github.com/safeguard-edge/safeguard/hl7adapter/adt"
)

// Pipeline processes and delivers from Run. All fields are needed.
type Pipeline struct {
	Journal     *journal.Journal
	ADT         Parser
	Flags       Source
	Sinks       []Sink
	Rules       safeguard.Rules
	Device      string                // the author of lookups
	Accountable safeguard.Accountable // who answers for them
	Log         *slog.Logger
}

// Parser reads what a message says about attendances.
type Parser interface {
	Parse(e journal.Entry) (adt.Movement, error)
}

// Source answers a query within its own deadline. An answer that is not the
// centre's leaves the lookup owed.
type Source interface {
	Lookup(ctx context.Context, q safeguard.Query) safeguard.Answer
}

// Sink puts alerts into an EPR. An error means that the sink could not be
// reached or did not answer.
type Sink interface {
	Name() string
	Deliver(ctx context.Context, a safeguard.Alert) (safeguard.Receipt, error)
}

// workers is how many patients are processed at the same time; most of the time
// each waits for the centre.
const workers = 16

// window is how many entries are read ahead.
const window = 256

// Run processes and delivers until ctx ends. What is not settled by then is
// there again after a restart.
func (p *Pipeline) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return p.intake(ctx) })
	g.Go(func() error { return p.outbox(ctx, journal.Lookups, p.visit) })
	for _, sink := range p.Sinks {
		g.Go(func() error {
			return p.outbox(ctx, sink.Name(), func(ctx context.Context, item journal.Item) error { return p.Deliver(ctx, sink, item) })
		})
	}
	if err := g.Wait(); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// work is one entry on its way to the worker of its patient.
type work struct {
	entry    journal.Entry
	movement adt.Movement
	err      error // why the message was not understood
}

// intake hands each waiting entry to the worker of its patient, so that one
// patient's messages are processed in their order.
func (p *Pipeline) intake(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	queues := make([]chan work, workers)
	for i := range queues {
		queue := make(chan work, window/workers)
		queues[i] = queue
		g.Go(func() error { return p.work(ctx, queue) })
	}
	g.Go(func() error {
		seed := maphash.MakeSeed()
		var last journal.Seq
		for {
			var entries []journal.Entry
			if err := p.insist(ctx, func() (err error) {
				entries, err = p.Journal.Unsettled(ctx, last, window)
				return err
			}); err != nil {
				return err
			}
			for _, e := range entries {
				w := p.read(e)
				select {
				case queues[maphash.String(seed, w.movement.Order())%workers] <- w:
				case <-ctx.Done():
					return ctx.Err()
				}
				last = e.Turn
			}
			if len(entries) > 0 {
				continue
			}
			select {
			case <-p.Journal.Appended():
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	})
	return g.Wait()
}

func (p *Pipeline) read(e journal.Entry) work {
	if e.Broken != nil {
		return work{entry: e, err: e.Broken}
	}
	movement, err := p.ADT.Parse(e)
	return work{e, movement, err}
}

// work processes one patient's entries after the other. An entry that can not be
// settled holds its successors, because the journal itself does not answer.
func (p *Pipeline) work(ctx context.Context, queue <-chan work) error {
	for {
		select {
		case w := <-queue:
			if err := p.insist(ctx, func() error { return p.Process(ctx, w.entry, w.movement, w.err) }); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// insist tries until do succeeds or ctx ends.
func (p *Pipeline) insist(ctx context.Context, do func() error) error {
	for tries := 0; ; tries++ {
		err := do()
		if err == nil || ctx.Err() != nil {
			return ctx.Err()
		}
		p.Log.Error("journal does not answer, trying again", "err", err)
		if err := wait(ctx, backoff(tries)); err != nil {
			return err
		}
	}
}

// outbox hands each due item to deliver, in order.
func (p *Pipeline) outbox(ctx context.Context, name string, deliver func(context.Context, journal.Item) error) error {
	for {
		var item journal.Item
		var due time.Time
		if err := p.insist(ctx, func() (err error) {
			item, due, err = p.Journal.Next(ctx, name, time.Now())
			return err
		}); err != nil {
			return err
		}
		if item.ID != 0 {
			if err := p.insist(ctx, func() error { return deliver(ctx, item) }); err != nil {
				return err
			}
			continue
		}
		var timer <-chan time.Time
		if !due.IsZero() {
			timer = time.After(time.Until(due))
		}
		select {
		case <-p.Journal.Queued(name):
		case <-timer:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
