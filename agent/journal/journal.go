// Package journal keeps on disk what a hospital's feeds hand over and what
// follows from it, until each is settled. It is the agent's only store that may
// never lose anything, and its only door to SQLite.
//
// A message is appended before it is acknowledged. Settling it updates the
// attendance and writes the outbox items that follow, in one transaction.
// Whatever could tell something about a person is sealed, with the row's
// identity as additional data; what is indexed is a number, a time, a state or
// a keyed hash.
package journal

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	_ "modernc.org/sqlite" // registers the driver

	"github.com/safeguard-edge/safeguard/cache/keys"
)

// Journal is open from Open to Close. Its methods may be called at the same time.
type Journal struct {
	ring    *keys.Ring
	writer  *writer
	reader  *sql.DB
	entries *signal  // set when an entry was appended
	outbox  sync.Map // by outbox: the *signal set when an item was written
}

// ErrConflict means that the attendance changed since it was read: read it
// again, decide again.
var ErrConflict = errors.New("attendance was changed meanwhile")

//go:embed schema.sql
var schema string

// schemaVersion is that of schema.sql.
const schemaVersion = 1

// Open opens the journal in the folder, which it makes if it must.
func Open(dir string, ring *keys.Ring) (*Journal, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make journal folder: %w", err)
	}
	path := filepath.Join(dir, "journal.db")
	j, err := openFile(path, ring)
	if err != nil {
		return nil, fmt.Errorf("open journal %s: %w", path, err)
	}
	return j, nil
}

func openFile(path string, ring *keys.Ring) (_ *Journal, err error) {
	write, err := open(path, 1)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = write.Close()
		}
	}()
	if err := migrate(write); err != nil {
		return nil, err
	}
	read, err := open(path, 4)
	if err != nil {
		return nil, err
	}
	writer, err := newWriter(write)
	if err != nil {
		_ = read.Close()
		return nil, err
	}
	return &Journal{ring: ring, writer: writer, reader: read, entries: newSignal()}, nil
}

func open(path string, connections int) (*sql.DB, error) {
	pragmas := url.Values{"_pragma": {
		"journal_mode(WAL)",
		"synchronous(FULL)", // a commit is on disk when it returns
		"busy_timeout(10000)",
		"temp_store(MEMORY)",
		"cache_size(-4096)",
	}, "_txlock": {"immediate"}}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?"+pragmas.Encode())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(connections)
	return db, nil
}

func migrate(db *sql.DB) error {
	var version int
	if err := db.QueryRow("PRAGMA user_version").Scan(&version); err != nil {
		return err
	}
	switch version {
	case schemaVersion:
		return nil
	case 0:
		_, err := db.Exec("BEGIN IMMEDIATE;" + schema + fmt.Sprintf("PRAGMA user_version = %d; COMMIT;", schemaVersion))
		return err
	}
	return fmt.Errorf("written by a version with schema %d, this one knows %d: install that version again", version, schemaVersion)
}

// Close waits for what is being written, and closes the files.
func (j *Journal) Close() error {
	return errors.Join(j.writer.close(), j.reader.Close())
}

// Appended is ready to receive from after entries were appended.
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

// Stats counts what waits.
type Stats struct {
	Waiting   int            // entries not settled
	Oldest    time.Time      // when the oldest of them was received; zero when none
	SetAside  int            // entries and items kept for a person
	Outboxes  map[string]int // items not settled, by outbox
	Reused    int            // entries whose control id came before with another body
	Messages  int            // entries there are
	Delivered int            // items delivered
}

// Stats reads the counts.
func (j *Journal) Stats(ctx context.Context) (Stats, error) {
	s := Stats{Outboxes: map[string]int{}}
	var oldest sql.NullInt64
	err := j.reader.QueryRowContext(ctx, `SELECT COUNT(*) FILTER (WHERE state = 0), MIN(received) FILTER (WHERE state = 0),
		COUNT(*) FILTER (WHERE state = 3), COUNT(*) FILTER (WHERE reused), COUNT(*) FROM entries`).
		Scan(&s.Waiting, &oldest, &s.SetAside, &s.Reused, &s.Messages)
	if err != nil {
		return s, fmt.Errorf("count entries: %w", err)
	}
	if oldest.Valid {
		s.Oldest = time.UnixMilli(oldest.Int64)
	}
	rows, err := j.reader.QueryContext(ctx, `SELECT outbox, state, COUNT(*) FROM outbox GROUP BY outbox, state`)
	if err != nil {
		return s, fmt.Errorf("count outbox items: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var outbox string
		var state State
		var n int
		if err := rows.Scan(&outbox, &state, &n); err != nil {
			return s, fmt.Errorf("count outbox items: %w", err)
		}
		switch state {
		case Waiting:
			s.Outboxes[outbox] += n
		case SetAside:
			s.SetAside += n
		case Settled:
			s.Delivered += n
		}
	}
	return s, rows.Err()
}
