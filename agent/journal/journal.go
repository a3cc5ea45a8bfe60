// Package journal keeps on disk what a hospital's feeds hand over and what
// follows from it, until each is settled. It is the agent's only store that may
// never lose anything, and its only door to SQLite.
//
// A message is appended before it is acknowledged. Settling it updates the
// attendance and writes the outbox items that follow, in one transaction.
// Whatever could tell something about a person is sealed, with the row's
// identity as additional data; what is indexed is a number, a time, a state or
// a keyed hash. DESIGN.md says what is guaranteed, and what each fault does.
package journal

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	_ "modernc.org/sqlite" // registers the driver

	"github.com/safeguard-edge/safeguard/cache/keys"
)

// Journal is open from Open to Close. Its methods may be called at the same time.
type Journal struct {
	dir     string
	ring    *keys.Ring
	policy  Policy
	log     *slog.Logger
	now     func() time.Time
	lock    *os.File
	guard   *guard
	writer  *writer
	about   about
	entries *signal      // set when there is an entry to take
	outbox  sync.Map     // by outbox: the *signal set when an item was written
	senders sync.Map     // by application and facility: those that are in the file
	repeats atomic.Int64 // messages that came again since Open

	files  sync.RWMutex // guards reader and its statements; held to exchange them
	reader *sql.DB
	reads  sync.Map // by query: the *sql.Stmt
}

var (
	// ErrInUse means that another agent has the folder.
	ErrInUse = errors.New("in use by another agent: stop it, or give this one a folder of its own")

	// ErrOtherKeys means that other keys than the ring's seal the journal.
	ErrOtherKeys = errors.New("sealed by other keys: bring back the key folder and the master key that belong to it; " +
		"only if they are lost, move the journal folder away and begin anew, without what it owed")

	// ErrUnreadable means that the file is none of ours, or too damaged to begin with.
	ErrUnreadable = errors.New("not readable as a journal: bring the file back, " +
		"or move the journal folder away and begin anew, without what it owed")

	// ErrConflict means that the attendance changed since it was read: read it
	// again, decide again.
	ErrConflict error = refusal("attendance was changed meanwhile")

	// ErrNotWaiting means that the entry was settled or set aside meanwhile: there
	// is nothing left to do about it.
	ErrNotWaiting error = refusal("entry does not wait any more")
)

//go:embed schema.sql
var schema string

// schemaVersion is that of schema.sql.
const schemaVersion = 7

// The files in the folder, besides what SQLite adds to them.
const (
	fileName   = "journal.db"
	mendedName = "mended.db" // complete, and to take the place of the file
	lockName   = "journal.lock"
)

// Option is how Open is told what it seldom needs to know.
type Option func(*Journal)

// WithLog is where changes of state are logged; slog.Default without it.
func WithLog(log *slog.Logger) Option { return func(j *Journal) { j.log = log } }

// WithPolicy replaces DefaultPolicy.
func WithPolicy(p Policy) Option { return func(j *Journal) { j.policy = p } }

// Open opens the journal in the folder, which it makes if it must. It reads no
// entries, so it takes as long with many waiting as with none. Call Run, and
// Close in the end.
func Open(dir string, ring *keys.Ring, options ...Option) (*Journal, error) {
	j := &Journal{dir: dir, ring: ring, policy: DefaultPolicy(), log: slog.Default(), now: time.Now, entries: newSignal()}
	for _, o := range options {
		o(j)
	}
	if err := j.open(); err != nil {
		return nil, fmt.Errorf("open journal %s: %w", dir, err)
	}
	return j, nil
}

func (j *Journal) open() (err error) {
	if err := j.policy.Validate(); err != nil {
		return err
	}
	if err := os.MkdirAll(j.dir, 0o700); err != nil {
		return err
	}
	if j.lock, err = lockFile(filepath.Join(j.dir, lockName)); err != nil {
		return err
	}
	t := new(tx)
	defer func() {
		if err != nil {
			_ = errors.Join(t.close(), j.closeReader(), j.lock.Close())
		}
	}()
	describe(j.lock)
	fresh, err := j.place()
	if err != nil {
		return err
	}
	err = j.connect(t)
	if faultOf(err) == Damaged {
		if err = j.mend(t); err != nil {
			err = fmt.Errorf("%w: %w", ErrUnreadable, err)
		}
	}
	if err != nil {
		return err
	}
	if fresh {
		if err := errors.Join(syncDir(j.dir), syncDir(filepath.Dir(j.dir))); err != nil {
			return err
		}
		// Where a journal was before, everything that it owed is gone.
		j.log.Warn("journal began anew, which is right at the first start only", "folder", j.dir)
	}
	if j.about.lost > 0 {
		j.log.Warn("journal was damaged and has been mended", "lost", j.about.lost, "at", j.about.mended)
	}
	if err := j.startClock(t); err != nil {
		return err
	}
	j.guard = &guard{dir: j.dir, floor: uint64(j.policy.MinFreeMB) << 20, ring: j.ring, log: j.log, reopen: j.reconnect, mend: j.mend}
	j.writer = newWriter(t, j.guard)
	return nil
}

// holder tells who has the lock file, as far as it says.
func holder(f *os.File) string {
	text := make([]byte, 64)
	n, err := f.ReadAt(text, 0)
	if n == 0 || err != nil && !errors.Is(err, io.EOF) {
		return ""
	}
	return " (" + string(text[:n]) + ")"
}

// describe writes down who has the lock file. It is a courtesy, so its failing
// is no reason to stop.
func describe(f *os.File) {
	if f.Truncate(0) == nil {
		_, _ = f.WriteAt(fmt.Appendf(nil, "process %d", os.Getpid()), 0)
	}
}

// place finishes a mending that was interrupted, and tells whether there is no
// journal yet.
func (j *Journal) place() (fresh bool, err error) {
	if _, err := os.Stat(filepath.Join(j.dir, mendedName)); err == nil {
		_, err := j.replace()
		return false, err
	}
	file := filepath.Join(j.dir, fileName)
	if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
		return false, err
	}
	// A log without its file holds what was acknowledged, and would be thrown away.
	if _, err := os.Stat(file + "-wal"); err == nil {
		return false, fmt.Errorf("%w: %s is missing and its log is there", ErrUnreadable, fileName)
	}
	return true, nil
}

// connect opens the file for the writer and for readers, and checks that it is
// what this program and these keys wrote.
func (j *Journal) connect(t *tx) error {
	path := filepath.Join(j.dir, fileName)
	write, err := database(path, 1, writerPragmas)
	if err != nil {
		return err
	}
	if err := t.use(write); err != nil {
		return errors.Join(err, write.Close())
	}
	if err := j.prepare(t); err != nil {
		return errors.Join(err, t.close())
	}
	read, err := database(path, readers, readerPragmas)
	if err != nil {
		return errors.Join(err, t.close())
	}
	j.reader = read
	return nil
}

// readers is how many may read at the same time.
const readers = 3

var (
	writerPragmas = []string{
		"auto_vacuum(INCREMENTAL)", // pruning gives room back
		"journal_mode(WAL)",
		"synchronous(FULL)", // a commit is on disk when it returns
		"secure_delete(ON)", // what is destroyed does not stay in unused pages
		"busy_timeout(5000)",
		"temp_store(MEMORY)", // no temporary file
		"cache_size(-4096)",
	}
	readerPragmas = []string{"busy_timeout(5000)", "temp_store(MEMORY)", "cache_size(-1024)", "query_only(ON)"}
)

func database(path string, connections int, pragmas []string) (*sql.DB, error) {
	query := url.Values{"_pragma": pragmas, "_txlock": {"immediate"}}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: filepath.ToSlash(path)}).EscapedPath()+"?"+query.Encode())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	return db, nil
}

// prepare makes the tables in a new file, and reads what the file says about itself.
func (j *Journal) prepare(t *tx) error {
	var version int
	if err := t.conn.QueryRowContext(context.Background(), "PRAGMA user_version").Scan(&version); err != nil {
		return err
	}
	switch version {
	case schemaVersion:
	case 0:
		if err := create(t, j.ring.ID(), j.now()); err != nil {
			return err
		}
	default:
		return fmt.Errorf("written by a version with schema %d, this one knows %d: install that version again", version, schemaVersion)
	}
	if err := j.about.read(t); err != nil {
		return err
	}
	if j.about.ring != j.ring.ID() {
		return fmt.Errorf("%w (key ring %s, here is %s)", ErrOtherKeys, j.about.ring, j.ring.ID())
	}
	return t.count()
}

func create(t *tx, ring string, now time.Time) error {
	_, err := t.conn.ExecContext(context.Background(), "BEGIN IMMEDIATE;"+schema+fmt.Sprintf("PRAGMA user_version = %d;"+
		"INSERT INTO about (one, ring, began, stamp, probe, indexed, given, lost) VALUES (1, '%s', %d, %[3]d, 0, 0, 0, 0); COMMIT;", schemaVersion, ring, now.UnixMilli()))
	return err
}

// about is what the file says about itself.
type about struct {
	ring   string
	began  time.Time
	stamp  int64
	lost   int64
	mended time.Time
}

func (a *about) read(t *tx) error {
	var began int64
	var mended sql.NullInt64
	if _, err := t.get(`SELECT ring, began, stamp, lost, mended FROM about`, nil, &a.ring, &began, &a.stamp, &a.lost, &mended); err != nil {
		return err
	}
	a.began = time.UnixMilli(began)
	if mended.Valid {
		a.mended = time.UnixMilli(mended.Int64)
	}
	return nil
}

// count reads where numbers continue. A number that was given out in this
// process is not given out again, whatever the file says.
func (t *tx) count() error {
	var n numbers
	// Who knows what was given needs no more than what a commit that failed may have
	// left; at the start only what was written down ahead is certain.
	if _, err := t.get(`SELECT CASE WHEN ? THEN MAX(COALESCE((SELECT MAX(seq) FROM entries), 0), COALESCE((SELECT MAX(turn) FROM entries WHERE state = 0), 0))
		ELSE given END, given FROM about`, []any{t.seq > 0}, &n.seq, &n.numbered); err != nil {
		return err
	}
	if _, err := t.get(`SELECT seq FROM sqlite_sequence WHERE name = 'outbox'`, nil, &n.item); err != nil {
		return err
	}
	if _, err := t.get(`SELECT received FROM entries ORDER BY seq DESC LIMIT 1`, nil, &n.received); err != nil {
		return err
	}
	t.seq = max(t.seq, n.seq)
	t.numbered = n.numbered
	t.item = max(t.item, n.item)
	t.received = max(t.received, n.received)
	t.moved = 0
	return t.origins.load(t)
}

// reconnect closes every connection and opens them again.
func (j *Journal) reconnect(t *tx) error {
	j.files.Lock()
	defer j.files.Unlock()
	_ = t.close() // whatever fails here, fails again below
	_ = j.closeReader()
	return j.connect(t)
}

func (j *Journal) closeReader() error {
	if j.reader == nil {
		return nil
	}
	j.reads.Range(func(query, stmt any) bool {
		_ = stmt.(*sql.Stmt).Close()
		j.reads.Delete(query)
		return true
	})
	err := j.reader.Close()
	j.reader = nil
	return err
}

// Close waits for what is being written, and closes the files.
func (j *Journal) Close() error {
	j.writer.close()
	j.files.Lock()
	defer j.files.Unlock()
	j.writer.turn.Lock()
	defer j.writer.turn.Unlock()
	if j.guard.doubted() == nil {
		_ = j.writer.tx.unnumber() // else some numbers are left out
	}
	return errors.Join(j.closeReader(), j.writer.tx.close(), j.lock.Close())
}

// Alive gives an error unless the writer answers before ctx ends. A journal that
// refuses, for its disk is full or broken, is alive: a restart would mend nothing.
func (j *Journal) Alive(ctx context.Context) error {
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		_ = j.writer.alone(ctx, func(*tx) error { return nil })
	}()
	select {
	case <-answered:
		// So it is too when ctx ended before the writer took it.
		if ctx.Err() == nil {
			return nil
		}
	case <-ctx.Done():
	}
	return fmt.Errorf("journal: writer does not answer: %w", ctx.Err())
}

// each reads the rows of a query. A read that fails puts the file in doubt, as a
// write does.
func (j *Journal) each(ctx context.Context, query string, args []any, do func(*sql.Rows) error) error {
	err := j.read(ctx, query, args, do)
	if faultOf(err) != 0 {
		_ = j.writer.write(ctx, func(*tx) error { return err })
	}
	return err
}

func (j *Journal) read(ctx context.Context, query string, args []any, do func(*sql.Rows) error) error {
	j.files.RLock()
	defer j.files.RUnlock()
	if j.reader == nil {
		return errClosed
	}
	stmt, ok := j.reads.Load(query)
	if !ok {
		made, err := j.reader.PrepareContext(ctx, query)
		if err != nil {
			return err
		}
		if stmt, ok = j.reads.LoadOrStore(query, made); ok {
			_ = made.Close() // another was quicker
		}
	}
	rows, err := stmt.(*sql.Stmt).QueryContext(ctx, args...)
	if err != nil {
		return err
	}
	return scan(rows, do)
}

// one scans the one row into dest, and tells whether there was one.
func (j *Journal) one(ctx context.Context, query string, args []any, dest ...any) (found bool, err error) {
	err = j.each(ctx, query, args, func(rows *sql.Rows) error {
		found = true
		return rows.Scan(dest...)
	})
	return found, err
}

// key is how what names something is found without being readable.
func (j *Journal) key(domain string, value []byte) []byte {
	return j.ring.Token("journal "+domain, value)[:keySize]
}

// keySize is enough that two keys are never the same by chance.
const keySize = 16

// Appended is ready to receive from after there are more entries to take.
func (j *Journal) Appended() <-chan struct{} { return j.entries.ch }

// Queued is ready to receive from after items were written into the outbox. It
// wakes one reader.
func (j *Journal) Queued(outbox string) <-chan struct{} { return j.queued(outbox).ch }

func (j *Journal) queued(outbox string) *signal {
	s, _ := j.outbox.LoadOrStore(outbox, newSignal())
	return s.(*signal)
}

// signal tells one waiter that something happened, however often it did.
type signal struct{ ch chan struct{} }

func newSignal() *signal { return &signal{make(chan struct{}, 1)} }

func (s *signal) set() {
	select {
	case s.ch <- struct{}{}:
	default:
	}
}
