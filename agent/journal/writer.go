package journal

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// maxGroup bounds how many steps share one transaction.
const maxGroup = 512

// writer runs every change of the journal, one group at a time. Whoever comes
// while nothing is written writes at once; what comes meanwhile waits for a
// goroutine that drains it into one transaction with one sync, and then answers
// all of it. While the file is in doubt nothing is written, and it is verified
// again and again.
type writer struct {
	turn  sync.Mutex // held by who writes
	tx    *tx        // guarded by turn
	guard *guard
	steps chan *step
	jobs  chan *step    // to be run outside a transaction
	doubt chan struct{} // the file has come into doubt
	done  chan struct{}

	waiting atomic.Int64 // steps that are in line, or about to be

	mu     sync.RWMutex // guards closed against senders on steps
	closed bool
}

// step is one change and what came of it.
type step struct {
	do   func(*tx) error
	err  error
	done chan struct{} // closed when err is known; nil where nobody waits
}

var errClosed = errors.New("journal is closed")

// refusal is an error of a step that has written nothing: it spoils its own
// step only.
type refusal string

func (r refusal) Error() string { return string(r) }

func newWriter(t *tx, g *guard) *writer {
	w := &writer{tx: t, guard: g, steps: make(chan *step, maxGroup), jobs: make(chan *step), doubt: make(chan struct{}, 1), done: make(chan struct{})}
	go w.run()
	return w
}

// write returns once do is committed and on disk, or has changed nothing. do may
// be run more than once, so it must assign what it computes, not add to it.
func (w *writer) write(ctx context.Context, do func(*tx) error) error {
	if err, done := w.atOnce(do); done {
		return err
	}
	w.waiting.Add(1)
	defer w.waiting.Add(-1)
	return w.send(ctx, w.steps, do)
}

// atOnce runs do where nothing is written and nobody waits: handing it over and
// its outcome back would take as long as most steps do.
func (w *writer) atOnce(do func(*tx) error) (err error, done bool) {
	if w.waiting.Load() > 0 || !w.turn.TryLock() {
		return nil, false
	}
	defer w.turn.Unlock()
	w.mu.RLock()
	closed := w.closed
	w.mu.RUnlock()
	if closed {
		return errClosed, true
	}
	s := &step{do: do}
	w.do([]*step{s})
	return s.err, true
}

// alone runs do by itself and without a transaction.
func (w *writer) alone(ctx context.Context, do func(*tx) error) error {
	return w.send(ctx, w.jobs, do)
}

func (w *writer) send(ctx context.Context, to chan<- *step, do func(*tx) error) error {
	s := &step{do: do, done: make(chan struct{})}
	w.mu.RLock()
	if w.closed {
		w.mu.RUnlock()
		return errClosed
	}
	select {
	case to <- s:
		w.mu.RUnlock()
	case <-ctx.Done():
		w.mu.RUnlock()
		return ctx.Err()
	}
	// From here the step will be run, so its outcome is waited for even when
	// ctx ends: half an answer about durability would be none.
	<-s.done
	return s.err
}

// close lets what waits be written, and ends the writer.
func (w *writer) close() {
	w.mu.Lock()
	if !w.closed {
		w.closed = true
		close(w.steps)
	}
	w.mu.Unlock()
	<-w.done
}

func (w *writer) run() {
	defer close(w.done)
	verify := time.NewTimer(0)
	<-verify.C
	defer verify.Stop()
	for {
		select {
		case s, ok := <-w.steps:
			if !ok {
				return
			}
			w.turn.Lock()
			w.do(w.gather(s))
			w.turn.Unlock()
		case s := <-w.jobs:
			w.turn.Lock()
			w.job(s)
			w.turn.Unlock()
		case <-w.doubt:
			verify.Reset(w.guard.pause())
		case <-verify.C:
			w.turn.Lock()
			if !w.guard.verify(w.tx) {
				verify.Reset(w.guard.pause())
			}
			w.turn.Unlock()
		}
	}
}

// gather takes what waits into one group.
func (w *writer) gather(first *step) []*step {
	group := append(make([]*step, 0, 16), first)
	for len(group) < maxGroup {
		select {
		case s, ok := <-w.steps:
			if !ok {
				return group
			}
			group = append(group, s)
		default:
			return group
		}
	}
	return group
}

// do runs the group. One step that spoils it is found by running each alone, and
// only the guilty fails.
func (w *writer) do(group []*step) {
	if f := w.guard.doubted(); f != nil {
		answer(group, f)
		return
	}
	err := w.tx.commit(group)
	if err == nil || faultOf(err) != 0 || len(group) == 1 {
		w.suspect(err)
		answer(group, err)
		return
	}
	for i := range group {
		w.do(group[i : i+1])
	}
}

// job runs what needs no transaction.
func (w *writer) job(s *step) {
	err := error(nil)
	if f := w.guard.doubted(); f != nil {
		err = f
	} else {
		err = s.do(w.tx)
		w.suspect(err)
	}
	answer([]*step{s}, err)
}

// suspect has the file verified after a fault.
func (w *writer) suspect(err error) {
	if kind := faultOf(err); kind == 0 || !w.guard.close(kind, err) {
		return
	}
	select {
	case w.doubt <- struct{}{}:
	default:
	}
}

func answer(group []*step, err error) {
	for _, s := range group {
		if s.err == nil {
			s.err = err
		}
		if s.done != nil {
			close(s.done)
		}
	}
}

// tx is the writer's connection, on which every statement is prepared once.
type tx struct {
	db       *sql.DB
	conn     *sql.Conn
	prepared map[string]*sql.Stmt
	origins  origins
	numbers  // as of the last step
}

// numbers are what the next entry and item continue from. They outlive what is
// pruned, and a rollback gives them back.
type numbers struct {
	seq      Seq    // given to an entry, or as a turn
	numbered Seq    // up to here the file knows that they are given
	item     ItemID // given to an item
	received int64  // the latest
	moved    int    // origins of those that are moving
}

// numberAhead is how many numbers are written down as given at once. After a kill
// as many may be left out.
const numberAhead = 100

// number gives the next number of an entry or turn. It is written down before it
// is used, for many at once, so that none is used twice, also where the row that
// had it is pruned or lost.
func (t *tx) number() error {
	if t.seq++; t.seq <= t.numbered {
		return nil
	}
	t.numbered = t.seq + numberAhead
	_, err := t.exec(`UPDATE about SET given = ?`, t.numbered)
	return err
}

// unnumber takes back the numbers that were not used.
func (t *tx) unnumber() error {
	if t.conn == nil || t.numbered == t.seq {
		return nil
	}
	return t.commit([]*step{{do: func(t *tx) error {
		_, err := t.exec(`UPDATE about SET given = ?`, t.seq)
		return err
	}}})
}

// use makes db's one connection the writer's.
func (t *tx) use(db *sql.DB) error {
	conn, err := db.Conn(context.Background())
	if err != nil {
		return err
	}
	t.db, t.conn, t.prepared = db, conn, map[string]*sql.Stmt{}
	return nil
}

// commit runs the group in one transaction. A step that refuses keeps its error
// to itself.
func (t *tx) commit(group []*step) (err error) {
	if _, err := t.exec("BEGIN IMMEDIATE"); err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	before, filled, committed := t.numbers, len(t.origins.filling), false
	defer func() { // also of what panics
		if !committed {
			t.numbers = before
			t.origins.cut(filled)
			err = errors.Join(err, t.rollback())
		}
	}()
	if err := t.run(group); err != nil {
		return err
	}
	if _, err := t.exec("COMMIT"); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	committed = true
	t.moved = t.origins.moved(t.moved)
	return nil
}

func (t *tx) run(group []*step) (err error) {
	for _, s := range group {
		s.err = nil
		err := s.do(t)
		var refused refusal
		if errors.As(err, &refused) {
			s.err = err
		} else if err != nil {
			return err
		}
	}
	// Twice as many origins are moved as may have come.
	t.moved, err = t.origins.move(t, t.moved, 2*len(group))
	return err
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
	if t.conn == nil {
		return nil, errClosed
	}
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

// exec tells how many rows were changed.
func (t *tx) exec(query string, args ...any) (int64, error) {
	stmt, err := t.stmt(query)
	if err != nil {
		return 0, err
	}
	r, err := stmt.Exec(args...)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
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

// each calls do with every row.
func (t *tx) each(query string, args []any, do func(rows *sql.Rows) error) error {
	stmt, err := t.stmt(query)
	if err != nil {
		return err
	}
	rows, err := stmt.Query(args...)
	if err != nil {
		return err
	}
	return scan(rows, do)
}

func scan(rows *sql.Rows, do func(*sql.Rows) error) error {
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		if err := do(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

func (t *tx) close() error {
	if t.conn == nil {
		return nil
	}
	for _, stmt := range t.prepared {
		_ = stmt.Close()
	}
	err := errors.Join(t.conn.Close(), t.db.Close())
	t.db, t.conn, t.prepared = nil, nil, nil
	return err
}
