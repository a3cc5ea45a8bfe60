package journal

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// The files of a mending.
const (
	mendingName   = "mending.db" // not complete: worth nothing
	damagedPrefix = "damaged-"   // what could not be read is in it still
)

// mend copies what can be read of a damaged file into a new one, which takes its
// place. The damaged one is kept aside for as long as a message may be kept.
// Only a file whose rows can not be reached at all is left as it is.
func (j *Journal) mend(t *tx) error {
	j.files.Lock()
	defer j.files.Unlock()
	_ = t.close()
	_ = j.closeReader()
	// A full disk is what mending needs to be put right, not what is wrong: the
	// file stays damaged until it is mended.
	lost, err := j.rescue(t)
	if err != nil {
		return fmt.Errorf("mend: %v", err)
	}
	aside, err := j.replace()
	if err != nil {
		return fmt.Errorf("mend: %v", err)
	}
	if err := j.connect(t); err != nil {
		return err
	}
	j.log.Error("journal mended", "lost", lost.rows, "entries", lost.entries(), "kept", aside,
		"remedy", "ask the senders to repeat what they sent then, and look at the disk")
	return nil
}

// losses are the rows that could not be read.
type losses struct {
	rows        int64
	first, last int64     // of the entries
	from, to    time.Time // when their neighbours were received
}

func (l losses) entries() string {
	if l.first == 0 {
		return "none"
	}
	return fmt.Sprintf("up to %d to %d, received between %s and %s", l.first, l.last, l.from.Format(time.RFC3339), l.to.Format(time.RFC3339))
}

// rescue makes the complete new file.
func (j *Journal) rescue(t *tx) (l losses, err error) {
	path := filepath.Join(j.dir, mendingName)
	if err := removeDatabase(path); err != nil {
		return l, err
	}
	db, err := database(path, 1, append([]string{"synchronous(OFF)"}, rescuePragmas...))
	if err != nil {
		return l, err
	}
	n := new(tx)
	if err := n.use(db); err != nil {
		return l, errors.Join(err, db.Close())
	}
	if err = create(n, j.ring.ID(), j.now()); err == nil {
		l, err = j.copyAll(n, t.numbers)
	}
	if err == nil {
		_, err = n.conn.ExecContext(context.Background(), "DETACH old; PRAGMA synchronous = FULL; PRAGMA wal_checkpoint(TRUNCATE); PRAGMA journal_mode = DELETE")
	}
	if err = errors.Join(err, n.close()); err != nil {
		return l, err
	}
	// Closed without a log, the file alone is all there is; now it may be complete.
	if err := syncFile(path); err != nil {
		return l, err
	}
	return l, os.Rename(path, filepath.Join(j.dir, mendedName))
}

var rescuePragmas = []string{"auto_vacuum(INCREMENTAL)", "journal_mode(WAL)", "temp_store(MEMORY)", "cache_size(-4096)"}

func (j *Journal) copyAll(n *tx, given numbers) (l losses, err error) {
	if _, err := n.conn.ExecContext(context.Background(), "ATTACH ? AS old", filepath.Join(j.dir, fileName)); err != nil {
		return l, err
	}
	for _, c := range []struct {
		table, key string
		last       int64
	}{
		{"entries", "seq", int64(given.seq)}, {"outbox", "id", int64(given.item)}, {"attendances", "id", 0}, {"continued", "id", 0}, {"named", "id", 0}, {"audit", "id", 0},
	} {
		last := c.last
		if last == 0 {
			if last, err = n.highest(c.table); err != nil {
				return l, err
			}
		}
		w := wreck{tx: n, table: c.table, copy: fmt.Sprintf(`INSERT INTO main.%[1]s SELECT * FROM old.%[1]s WHERE %[2]s BETWEEN ? AND ?`, c.table, c.key)}
		const stride = 4096
		for from := int64(1); from <= last; from += stride {
			if err := w.rescue(from, min(from+stride-1, last)); err != nil {
				return l, err
			}
		}
		if l.rows += w.lost; c.table != "entries" {
			continue
		}
		l.first, l.last = w.first, w.last
		if _, err := n.exec(`UPDATE about SET given = ?`, last); err != nil {
			return l, err
		}
	}
	// Of senders only the finding by control id depends.
	if _, err := n.exec(`INSERT INTO main.senders SELECT * FROM old.senders`); err != nil && !unreadable(err) {
		return l, err
	}
	return l, n.finish(&l, j.now())
}

// highest is up to where the old table's numbers go, at most. Two places tell it
// of the entries, in case one can not be read.
func (t *tx) highest(table string) (n int64, err error) {
	if table != "entries" {
		_, err = t.get(`SELECT seq FROM old.sqlite_sequence WHERE name = ?`, []any{table}, &n)
	} else if _, err = t.get(`SELECT COALESCE(MAX(seq), 0) FROM old.entries`, nil, &n); err != nil && unreadable(err) {
		_, err = t.get(`SELECT given FROM old.about`, nil, &n)
	}
	if err != nil && !unreadable(err) {
		return 0, err
	}
	return n, nil
}

// wreck is a table that can not be read everywhere.
type wreck struct {
	*tx
	table, copy string
	lost        int64
	first, last int64
}

// rescue copies the rows from one key to another. Where that fails it halves the
// range, down to the rows that can not be read.
func (w *wreck) rescue(from, to int64) error {
	_, err := w.exec(w.copy, from, to)
	switch {
	case err == nil:
		return nil
	case !unreadable(err):
		return err
	case from == to:
		if w.lost++; w.first == 0 {
			w.first = from
		}
		w.last = to
		return nil
	}
	middle := from + (to-from)/2
	return errors.Join(w.rescue(from, middle), w.rescue(middle+1, to))
}

// unreadable tells whether a row could not be read, as against not be written.
func unreadable(err error) bool {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Code() {
	case sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_IOERR_SHORT_READ, sqlite3.SQLITE_IOERR_CORRUPTFS:
		return true
	}
	code := e.Code() & 0xff
	return code == sqlite3.SQLITE_CORRUPT || code == sqlite3.SQLITE_NOTADB || code == sqlite3.SQLITE_CONSTRAINT || code == sqlite3.SQLITE_MISMATCH
}

// finish writes what follows from the rows, and what was lost.
func (t *tx) finish(l *losses, now time.Time) error {
	for _, change := range []string{
		`INSERT INTO origins (origin, seq) SELECT origin, seq FROM entries WHERE origin IS NOT NULL ORDER BY origin, seq`,
		`UPDATE about SET indexed = COALESCE((SELECT MAX(seq) FROM entries), 0)`,
		`UPDATE about SET given = MAX(given, COALESCE((SELECT MAX(turn) FROM entries WHERE state = 0), 0))`,
		`UPDATE outbox AS o SET head = ` + isFirst + ` WHERE state = 0`,
	} {
		if _, err := t.exec(change); err != nil {
			return err
		}
	}
	var began, lost, stamp, numbered int64
	if _, err := t.get(`SELECT began, lost, stamp, given FROM old.about`, nil, &began, &lost, &stamp, &numbered); err == nil {
		if _, err := t.exec(`UPDATE about SET began = ?, lost = ?, stamp = ?, given = MAX(given, ?)`, began, lost, stamp, numbered); err != nil {
			return err
		}
	}
	if _, err := t.exec(`UPDATE about SET lost = lost + ?, mended = ?`, l.rows, now.UnixMilli()); err != nil {
		return err
	}
	before, after := sql.NullInt64{}, sql.NullInt64{}
	if _, err := t.get(`SELECT (SELECT received FROM entries WHERE seq < ?1 ORDER BY seq DESC LIMIT 1), (SELECT received FROM entries WHERE seq > ?2 ORDER BY seq LIMIT 1)`,
		[]any{l.first, l.last}, &before, &after); err != nil {
		return err
	}
	l.from, l.to = time.UnixMilli(began), now
	if before.Valid {
		l.from = time.UnixMilli(before.Int64)
	}
	if after.Valid {
		l.to = time.UnixMilli(after.Int64)
	}
	return nil
}

// replace puts the mended file in the place of the damaged one. It can be
// interrupted anywhere, and called again.
func (j *Journal) replace() (aside string, err error) {
	file := filepath.Join(j.dir, fileName)
	aside = filepath.Join(j.dir, damagedPrefix+j.now().UTC().Format("20060102T150405Z")+".db")
	// The log goes first: beside another file it would be taken for its own.
	for _, ending := range []string{"-wal", ""} {
		if err := os.Rename(file+ending, aside+ending); err != nil && !errors.Is(err, os.ErrNotExist) {
			return "", err
		}
	}
	if err := os.Remove(file + "-shm"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	if err := os.Rename(filepath.Join(j.dir, mendedName), file); err != nil {
		return "", err
	}
	return filepath.Base(aside), syncDir(j.dir)
}

// dropDamaged removes the damaged files whose messages have had their time.
func (j *Journal) dropDamaged() {
	files, _ := filepath.Glob(filepath.Join(j.dir, damagedPrefix+"*"))
	for _, path := range files {
		stamp, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(path), damagedPrefix), ".")
		at, err := time.Parse("20060102T150405Z", stamp)
		if err == nil && j.now().Sub(at) > j.policy.SetAside {
			err = os.Remove(path)
		}
		if err != nil {
			j.log.Warn("damaged file not removed", "file", filepath.Base(path), "err", err)
		}
	}
}

func removeDatabase(path string) error {
	for _, ending := range []string{"", "-wal", "-shm", "-journal"} {
		if err := os.Remove(path + ending); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
