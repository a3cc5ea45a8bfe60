package journal

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
)

// maxGroup bounds how many steps share one transaction.
const maxGroup = 512

// writer runs every change of the journal in one goroutine. It drains what is
// waiting into one transaction with one sync, then answers all of it.
type writer struct {
	db    *sql.DB
	tx    *tx
	steps chan *step
	done  chan struct{}

	mu     sync.RWMutex // guards closed against senders on steps
	closed bool
}

// step is one change and what came of it.
type step struct {
	do   func(*tx) error
	done chan error
}

var errClosed = errors.New("journal is closed")

func newWriter(db *sql.DB) (*writer, error) {
	conn, err := db.Conn(context.Background())
	if err != nil {
		return nil, err
	}
	w := &writer{db: db, tx: &tx{conn, map[string]*sql.Stmt{}}, steps: make(chan *step, maxGroup), done: make(chan struct{})}
	go w.run()
	return w, nil
}

// write returns once do is committed and on disk, or has changed nothing. do may
// be run more than once, so it must assign what it computes, not add to it.
func (w *writer) write(ctx context.Context, do func(*tx) error) error {
	s := &step{do, make(chan error, 1)}
	w.mu.RLock()
	if w.closed {
		w.mu.RUnlock()
		return errClosed
	}
	select {
	case w.steps <- s:
		w.mu.RUnlock()
	case <-ctx.Done():
		w.mu.RUnlock()
		return ctx.Err()
	}
	// From here the step will be run, so its outcome is waited for even when
	// ctx ends: half an answer about durability would be none.
	return <-s.done
}

func (w *writer) close() error {
	w.mu.Lock()
	if !w.closed {
		w.closed = true
		close(w.steps)
	}
	w.mu.Unlock()
	<-w.done
	return errors.Join(w.tx.close(), w.db.Close())
}

func (w *writer) run() {
	defer close(w.done)
	for s := range w.steps {
		group := append(make([]*step, 0, 16), s)
	drain:
		for len(group) < maxGroup {
			select {
			case s, ok := <-w.steps:
				if !ok {
					break drain
				}
				group = append(group, s)
			default:
				break drain
			}
		}
		if err := w.tx.commit(group); err == nil || len(group) == 1 {
			answer(group, err)
			continue
		}
		// One step spoiled the group: each runs alone, and only the guilty fails.
		for i := range group {
			answer(group[i:i+1], w.tx.commit(group[i:i+1]))
		}
	}
}

func answer(group []*step, err error) {
	for _, s := range group {
		s.done <- err
	}
}

// tx is the writer's connection, on which every statement is prepared once.
type tx struct {
	conn     *sql.Conn
	prepared map[string]*sql.Stmt
}

// commit runs the group in one transaction.
func (t *tx) commit(group []*step) error {
	if _, err := t.exec("BEGIN IMMEDIATE"); err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	for _, step := range group {
		if err := step.do(t); err != nil {
			return errors.Join(err, t.rollback())
		}
	}
	if _, err := t.exec("COMMIT"); err != nil {
		return errors.Join(fmt.Errorf("commit: %w", err), t.rollback())
	}
	return nil
}

// rollback ends the transaction, unless SQLite has done so by itself.
func (t *tx) rollback() error {
	_, err := t.exec("ROLLBACK")
	if err != nil && strings.Contains(err.Error(), "no transaction is active") {
		return nil
	}
	return err
}

func (t *tx) stmt(query string) (*sql.Stmt, error) {
	stmt, ok := t.prepared[query]
	if !ok {
		var err error
		if stmt, err = t.conn.PrepareContext(context.Background(), query); err != nil {
			return nil, err
		}
		t.prepared[query] = stmt
	}
	return stmt, nil
}

func (t *tx) exec(query string, args ...any) (sql.Result, error) {
	stmt, err := t.stmt(query)
	if err != nil {
		return nil, err
	}
	return stmt.Exec(args...)
}

// get scans the one row into dest, and tells whether there was one.
func (t *tx) get(query string, args []any, dest ...any) (bool, error) {
	stmt, err := t.stmt(query)
	if err != nil {
		return false, err
	}
	err = stmt.QueryRow(args...).Scan(dest...)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

func (t *tx) close() error {
	for _, stmt := range t.prepared {
		_ = stmt.Close()
	}
	return t.conn.Close()
}
