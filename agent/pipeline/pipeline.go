// Package pipeline is the path of one attendance: what the journal holds is
// read, asked about, decided and settled; what is owed to a sink or to the
// centre is delivered. Intake and delivery are two functions, Process and
// Deliver, with the journal between them, so that neither waits for the other.
package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/agent/journal"
	"github.com/safeguard-edge/safeguard/hl7adapter/adt"
	"github.com/safeguard-edge/safeguard/tracing"
)

// Pipeline processes and delivers from Run. All exported fields but
// Silent and Released are needed.
type Pipeline struct {
	Journal     *journal.Journal
	ADT         Parser
	Flags       Source
	Centre      Corrector
	Sinks       []Sink
	Rules       safeguard.Rules
	Device      string                // the author of lookups
	Accountable safeguard.Accountable // who answers for them
	Silent      bool                  // the site observes: nothing that is asked is recorded or notifies, and no lookup stays owed
	Released    <-chan struct{}       // ready when a sink may have become live; nil for never
	Log         *slog.Logger

	order  fence
	locks  locks
	asking asking
	pace   atomic.Int64 // between two owed lookups, as the centre said last, in nanoseconds
	counts counts
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

// Corrector takes back an unscheduled lookup. An error means that the centre did
// not answer, or with safeguard.ErrRefused that it will not.
type Corrector interface {
	Correct(ctx context.Context, c safeguard.Correction) (safeguard.Corrected, error)
}

// Sink puts alerts into an EPR. An error means that the sink could not be
// reached or did not answer. One that also has Parallel() int is handed alerts
// of so many attendances at the same time, others one after the other.
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
	g.Go(func() error { return p.reviews(ctx) })
	g.Go(func() error { return p.catchUp(ctx) })
	for _, o := range p.outlets() {
		g.Go(func() error { return p.drain(ctx, o) })
	}
	if err := g.Wait(); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// work is one entry on its way.
type work struct {
	entry    journal.Entry
	movement adt.Movement
	err      error // why the message was not understood
}

// intake reads the waiting entries in their order. Those of one patient are
// processed one after the other, others at the same time.
func (p *Pipeline) intake(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	ahead := make(chan struct{}, window)
	busy := make(chan struct{}, workers)
	g.Go(func() error {
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
				select {
				case ahead <- struct{}{}:
				case <-ctx.Done():
					return ctx.Err()
				}
				w := p.read(e)
				t := p.order.enter(w.keys())
				g.Go(func() error {
					defer func() { <-ahead }()
					defer t.leave()
					if err := t.wait(ctx); err != nil {
						return err
					}
					busy <- struct{}{}
					defer func() { <-busy }()
					return p.take(ctx, w)
				})
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

// keys are what the entry has to be in order with: nothing, if it changes nothing.
func (w work) keys() []string {
	if w.err != nil || !concerns[w.movement.Kind] {
		return nil
	}
	return w.movement.Orders()
}

// read understands the message. One that makes the reader fail is one that can
// not be read.
func (p *Pipeline) read(e journal.Entry) work {
	if e.Broken != nil {
		return work{entry: e, err: e.Broken}
	}
	var m adt.Movement
	err := p.safely(tracing.WithEntry(context.Background(), int64(e.Seq)), func() (err error) {
		m, err = p.ADT.Parse(e)
		return err
	})
	if err != nil {
		return work{entry: e, err: err}
	}
	return work{entry: e, movement: m}
}

// poisoned is after how many tries an entry is set aside that fails while the
// journal is well.
const poisoned = 10

// take processes the entry until it is settled. While the journal does not
// answer it holds its successors; an entry that fails by itself is set aside.
func (p *Pipeline) take(ctx context.Context, w work) error {
	ctx = tracing.WithEntry(ctx, int64(w.entry.Seq))
	for tries := 1; ; tries++ {
		err := p.safely(ctx, func() (err error) {
			ctx, span := tracing.Begin(ctx, "process", tracing.Feed.Is(w.entry.Feed))
			defer func() { span.End(err != nil || w.err != nil) }()
			return p.Process(ctx, w.entry, w.movement, w.err)
		})
		if err == nil || ctx.Err() != nil {
			return ctx.Err()
		}
		var fault *journal.Fault
		if tries >= poisoned && !errors.As(err, &fault) {
			p.Log.ErrorContext(ctx, "message set aside, as it can not be processed", "feed", w.entry.Feed, "tries", tries, "err", err)
			w.err = fmt.Errorf("can not be processed, tried %d times: %w", tries, err)
		} else {
			p.Log.ErrorContext(ctx, "message not processed, trying again", "feed", w.entry.Feed, "err", err)
		}
		if err := wait(ctx, backoff(tries)); err != nil {
			return err
		}
	}
}

// safely makes an error of a panic, so that what is wrong with one message or
// item does not stop all others.
func (p *Pipeline) safely(ctx context.Context, do func() error) (err error) {
	defer func() {
		if fault := recover(); fault != nil {
			p.Log.ErrorContext(ctx, "processing failed", "fault", fmt.Sprintf("%T", fault), "stack", string(debug.Stack()))
			err = errors.New("a fault of the program: see the agent's log")
		}
	}()
	return do()
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

// reviews looks at attendances when their time has come although nothing
// happens: they end by themselves, and so does the asking.
func (p *Pipeline) reviews(ctx context.Context) error {
	for {
		var due time.Time
		if err := p.insist(ctx, func() error {
			return again(func() (err error) {
				due, err = p.review(ctx)
				return err
			})
		}); err != nil {
			return err
		}
		var timer <-chan time.Time
		if !due.IsZero() {
			timer = time.After(time.Until(due))
		}
		select {
		case <-p.Journal.Queued(journal.Reviews):
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
