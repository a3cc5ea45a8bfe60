package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// errClosed is what a write meets after Close.
var errClosed = errors.New("store is closed")

// work is one caller's writing. do may be called twice, each time in a
// transaction of which nothing else is left.
type work struct {
	ctx  context.Context
	do   func(tx *sql.Tx) error
	done chan error
}

// batch is how many callers share a commit, at most.
const batch = 64

// commit has do done in a transaction, possibly together with that of other
// callers, and returns when it is on disk. When ctx ends first, it may or may
// not be done.
func (s *SQLite) commit(ctx context.Context, do func(tx *sql.Tx) error) error {
	w := work{ctx, do, make(chan error, 1)}
	select {
	case s.work <- w:
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

// writer is the only one that writes. It takes what is waiting into one
// transaction, so that many lookups share one sync, and answers all of them
// after it.
func (s *SQLite) writer() {
	defer close(s.closed)
	for {
		var group []work
		select {
		case w := <-s.work:
			group = append(group, w)
		case <-s.closing:
			return
		}
	more:
		for len(group) < batch {
			select {
			case w := <-s.work:
				group = append(group, w)
			default:
				break more
			}
		}
		s.settle(group)
	}
}

// settle commits a group, or, when something in it fails, each of it alone, so
// that one caller's failure is not another's.
func (s *SQLite) settle(group []work) {
	if err := s.together(group); err == nil || len(group) == 1 {
		for _, w := range group {
			w.done <- err
		}
		return
	}
	for _, w := range group {
		w.done <- s.together([]work{w})
	}
}

func (s *SQLite) together(group []work) error {
	// Begun for all, the transaction is no single caller's to cancel.
	tx, err := s.write.BeginTx(context.Background(), nil)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	for _, w := range group {
		if len(group) == 1 && w.ctx.Err() != nil {
			err = w.ctx.Err() // nobody waits for it any more
		} else {
			err = w.do(tx)
		}
		if err != nil {
			return errors.Join(err, tx.Rollback())
		}
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}
