package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"github.com/safeguard-edge/safeguard/cache/keys"
	"github.com/safeguard-edge/safeguard/central/audit"
)

// Restored is what a restore came to.
type Restored struct {
	AsOf     time.Time // of the last that the backup holds
	Tokens   int       // for enrolment, that were not used by then: they were withdrawn
	Sessions int       // at the centre's pages, that were ended
}

// RestoreSQLite puts the backup in the file from in the place of the store at path,
// where there must be none (fs.ErrExist). It is verified first, and under other keys,
// or of a newer version, refused; nothing is at path then.
func RestoreSQLite(ctx context.Context, from, path string, ring *keys.Ring, by audit.Who) (r Restored, err error) {
	for _, there := range []string{path, path + "-wal", path + "-shm"} {
		if _, err := os.Lstat(there); !errors.Is(err, fs.ErrNotExist) {
			return Restored{}, fmt.Errorf("restore: %w: %s; move it away, with its -wal and -shm, when the centre is stopped", fs.ErrExist, there)
		}
	}
	aside := path + ".restoring"
	defer func() {
		if err != nil {
			for _, end := range []string{"", "-wal", "-shm"} {
				_ = os.Remove(aside + end)
			}
		}
	}()
	if err := copyFile(from, aside); err != nil {
		return Restored{}, fmt.Errorf("restore: %w", err)
	}
	if err := checkFile(ctx, aside); err != nil {
		return Restored{}, fmt.Errorf("restore %s: it is no whole backup of an embedded store: %w", from, err)
	}
	s, err := OpenSQLite(ctx, aside, ring)
	if err != nil {
		return Restored{}, fmt.Errorf("restore %s: %w", from, err)
	}
	r, err = s.PutBack(ctx, time.Time{}, by)
	if err = errors.Join(err, s.Close()); err != nil {
		return Restored{}, fmt.Errorf("restore: %w", err)
	}
	if err := wholeInFile(ctx, aside); err != nil {
		return Restored{}, fmt.Errorf("restore: %w", err)
	}
	if err := os.Rename(aside, path); err != nil {
		return Restored{}, fmt.Errorf("restore: %w", err)
	}
	return r, syncFolderOf(path)
}

func copyFile(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Sync(), out.Close())
}

// wholeInFile leaves no log beside the file, which is to be renamed.
func wholeInFile(ctx context.Context, path string) (err error) {
	db, err := sql.Open("sqlite", dataSource(path, ""))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	var busy, log, done int
	if err := db.QueryRowContext(ctx, `PRAGMA wal_checkpoint(TRUNCATE)`).Scan(&busy, &log, &done); err != nil {
		return err
	}
	if busy != 0 {
		return errors.New("someone else has it open")
	}
	return nil
}

// PutBack does what follows from the store having been put back to an earlier
// moment, by a backup or by a standby that was behind: to the last that it holds, or
// where asOf is given, to then. The log of changes is begun anew, so that whoever
// follows it learns that it may have missed some, and since when the centre has lost
// what it was told. What could have been ended since is ended: enrolment tokens that
// are not used, sessions, leases.
func (s *DB) PutBack(ctx context.Context, asOf time.Time, by audit.Who) (Restored, error) {
	var r Restored
	err := s.alone(ctx, func(ctx context.Context, tx transaction) ([]audit.Entry, error) {
		r = Restored{AsOf: asOf}
		if asOf.IsZero() {
			err := tx.query(ctx, func(row scanner) error {
				var last *int64
				err := row.Scan(&last)
				if err == nil && last == nil {
					err = errors.New("its audit is empty: it is no store that was in use")
				}
				if err == nil {
					r.AsOf = fromMillis(*last)
				}
				return err
			}, stmt(`SELECT MAX(at) FROM audit`))
			if err != nil {
				return nil, err
			}
		}
		if err := s.engine.lock(ctx, tx, "changes"); err != nil {
			return nil, err
		}
		// The points of before are none of the new log, whose first position is one
		// that the log before did not have; it is old enough to begin from.
		now, begun := time.Now(), millis(time.Now().Add(-time.Hour))
		_, err := tx.exec(ctx,
			stmt(`INSERT INTO changes (person, at) VALUES (NULL, ?)`, begun),
			stmt(`INSERT INTO changes (person, at) VALUES (NULL, ?)`, begun),
			stmt(`DELETE FROM changes WHERE position < (SELECT MAX(position) FROM changes)`),
			stmt(`DELETE FROM leases`),
			stmt(`INSERT INTO meta (name, value) VALUES ('put_back', ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value`, strconv.FormatInt(millis(r.AsOf), 10)))
		if err != nil {
			return nil, err
		}
		touched, err := tx.exec(ctx,
			stmt(`UPDATE enrol_tokens SET withdrawn_at = ? WHERE used_at IS NULL AND withdrawn_at IS NULL`, millis(now)),
			stmt(`DELETE FROM operator_sessions`), stmt(`DELETE FROM staff_sessions`))
		if err != nil {
			return nil, err
		}
		r.Tokens, r.Sessions = int(touched[0]), int(touched[1])
		if _, err := tx.exec(ctx, s.engine.announce()...); err != nil {
			return nil, err
		}
		return []audit.Entry{{At: now, Act: audit.PutBack, Who: by, Details: map[string]string{
			"as_of": r.AsOf.UTC().Format(time.RFC3339Nano), "tokens": strconv.Itoa(r.Tokens), "sessions": strconv.Itoa(r.Sessions),
		}}}, nil
	})
	if err != nil {
		return Restored{}, fmt.Errorf("put store back: %w", err)
	}
	return r, nil
}

// PutBackTo implements Store.
func (s *DB) PutBackTo(ctx context.Context) (at time.Time, err error) {
	err = s.engine.query(ctx, func(row scanner) error {
		var text string
		if err := row.Scan(&text); err != nil {
			return err
		}
		ms, err := strconv.ParseInt(text, 10, 64)
		at = fromMillis(ms)
		return err
	}, stmt(`SELECT value FROM meta WHERE name = 'put_back'`))
	if err != nil {
		return time.Time{}, fmt.Errorf("read when the store was put back: %w", err)
	}
	return at, nil
}

// syncFolderOf has the name of a file survive a power cut, where the system lets a
// folder be synced.
func syncFolderOf(path string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
