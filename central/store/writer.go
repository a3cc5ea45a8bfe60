package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/safeguard-edge/safeguard/central/audit"
)

// errClosed is what a write meets after Close.
var errClosed = errors.New("store is closed")

// work is one caller's writing. It may be tried twice, each time in a
// transaction of which nothing else is left.
type work struct {
	ctx  context.Context
	done chan error

	// Either all of these, of which any may be missing ...
	person    []byte                               // whom it is about
	looking   *looking                             // what comes before, and gives what follows
	candidate *candidate                           // for the person's key, which write needs
	write     func(k dataKey) ([]statement, error) // what to write
	owes      bool                                 // a notification, among that
	entry     *audit.Entry                         // what to append to the audit
	asked     *asking                              // what to note besides
	// ... or a transaction of its own.
	alone func(ctx context.Context, tx transaction) ([]audit.Entry, error)
}

func newWork(ctx context.Context) *work { return &work{ctx: ctx, done: make(chan error, 1)} }

const (
	batch     = 256              // callers that share a commit, about at most
	writeTime = 30 * time.Second // for what is written for several
)

// commit has w done, possibly in one transaction with that of other callers, and
// returns when it is on disk. When ctx ends first, it may or may not be done.
func (s *DB) commit(ctx context.Context, w *work) error {
	return submit(ctx, s, s.work, []*work{w}, w)
}

// submit sends what holds w, and waits until that is done.
func submit[T any](ctx context.Context, s *DB, to chan<- T, what T, w *work) error {
	select {
	case to <- what:
	case <-ctx.Done():
		return ctx.Err()
	case <-s.closing:
		return errClosed
	}
	select {
	case err := <-w.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// audited appends an entry to the audit.
func (s *DB) audited(ctx context.Context, entry audit.Entry) error {
	w := newWork(ctx)
	w.entry = &entry
	return s.commit(ctx, w)
}

// alone has do done in a transaction of the writer, with the audit entries that
// it gives.
func (s *DB) alone(ctx context.Context, do func(ctx context.Context, tx transaction) ([]audit.Entry, error)) error {
	w := newWork(ctx)
	w.alone = do
	return s.commit(ctx, w)
}

// beside has do done in a transaction that may take long: beside the writer's
// where the database lets it, else in its turn.
func (s *DB) beside(ctx context.Context, do func(ctx context.Context, tx transaction) error) error {
	if !s.engine.parallel() {
		return s.alone(ctx, func(ctx context.Context, tx transaction) ([]audit.Entry, error) { return nil, do(ctx, tx) })
	}
	select {
	case <-s.closing:
		return errClosed
	default:
	}
	tx, err := s.engine.begin(ctx)
	if err != nil {
		return err
	}
	if err := do(ctx, tx); err != nil {
		tx.rollback()
		return err
	}
	return tx.commit(ctx)
}

// writer is the only one that appends to the audit. It takes what is waiting
// into one transaction, so that many lookups share one sync, and answers all of
// them after it.
func (s *DB) writer() {
	defer close(s.closed)
	for {
		select {
		case group := <-s.work:
			runtime.Gosched() // as take does
			for more := true; more && len(group) < batch; {
				select {
				case g := <-s.work:
					group = append(group, g...)
				default:
					more = false
				}
			}
			s.settle(group)
		case <-s.closing:
			s.err = s.endTrail()
			return
		}
	}
}

// settle does what is waiting: together where that can be, and when something in
// it fails, each alone, so that one caller's failure is not another's.
func (s *DB) settle(group []*work) {
	var shared []*work
	for _, w := range group {
		if w.alone == nil {
			shared = append(shared, w)
		} else {
			w.done <- s.apart(w)
		}
	}
	if len(shared) == 0 {
		return
	}
	if err := s.together(shared); err == nil || len(shared) == 1 {
		for _, w := range shared {
			w.done <- err
		}
		return
	}
	for _, w := range shared {
		w.done <- s.together([]*work{w})
	}
}

// apart is one caller's to cancel.
func (s *DB) apart(w *work) error {
	return s.turn(w.ctx, func(tx transaction) ([]statement, []audit.Entry, error) {
		entries, err := w.alone(w.ctx, tx)
		return nil, entries, err
	})
}

func (s *DB) together(group []*work) error {
	if len(group) == 1 && group[0].ctx.Err() != nil {
		return group[0].ctx.Err() // nobody waits for it any more
	}
	ctx, cancel := context.WithTimeout(context.Background(), writeTime)
	defer cancel()
	if err := s.sameKeys(); err != nil {
		return err
	}
	var candidates []candidate
	var entries []audit.Entry
	var notes []asking
	for _, w := range group {
		if w.candidate != nil {
			candidates = append(candidates, *w.candidate)
		}
		if w.entry != nil {
			entries = append(entries, *w.entry)
		}
		if w.asked != nil {
			notes = append(notes, *w.asked)
		}
	}
	// First of all: erasing takes the person's row last.
	first := s.engine.noteAsked(oncePer(notes))
	if len(candidates) == 0 && s.trail.ready() {
		// As for most lookups: nothing to read.
		return s.appendTrail(entries, func(last []statement) error { return s.engine.atomically(ctx, append(first, last...)...) })
	}
	return s.turn(ctx, func(tx transaction) ([]statement, []audit.Entry, error) {
		statements, err := s.gather(ctx, tx, group, candidates)
		return append(first, statements...), entries, err
	})
}

// gather gives what a group writes under its persons' keys, by person, so that
// two processes do not wait for each other.
func (s *DB) gather(ctx context.Context, tx transaction, group []*work, candidates []candidate) ([]statement, error) {
	known, err := s.ensure(ctx, tx, candidates)
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(group, func(w *work) bool { return w.owes }) {
		if err := s.lockNotifications(ctx, tx); err != nil {
			return nil, err
		}
	}
	group = slices.Clone(group)
	slices.SortStableFunc(group, func(a, b *work) int { return bytes.Compare(a.person, b.person) })
	var statements []statement
	for _, w := range group {
		if w.write == nil {
			continue
		}
		own, err := w.write(known[string(w.person)])
		if err != nil {
			return nil, err
		}
		statements = append(statements, own...)
	}
	return statements, nil
}

// turn is one transaction of the writer: what do does in it, the statements that
// it leaves for the end, and the audit.
func (s *DB) turn(ctx context.Context, do func(tx transaction) ([]statement, []audit.Entry, error)) error {
	tx, err := s.engine.begin(ctx)
	if err != nil {
		return err
	}
	statements, entries, err := do(tx)
	if err == nil && len(entries) > 0 {
		entries, err = s.leadTrail(ctx, tx, entries)
	}
	if err != nil {
		tx.rollback()
		return err
	}
	if len(entries) == 0 {
		return tx.commit(ctx, statements...)
	}
	return s.appendTrail(entries, func(last []statement) error { return tx.commit(ctx, append(statements, last...)...) })
}

// endTrail is the last of the audit chain. One without it was killed.
func (s *DB) endTrail() error {
	if !s.trail.opened {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), writeTime)
	defer cancel()
	s.trail.anchored = time.Time{} // the others' heads are noted once more
	err := s.turn(ctx, func(transaction) ([]statement, []audit.Entry, error) {
		return nil, []audit.Entry{{At: time.Now(), Act: audit.Closed, Who: self()}}, nil
	})
	if err != nil {
		return fmt.Errorf("close audit chain: %w", err)
	}
	return nil
}
