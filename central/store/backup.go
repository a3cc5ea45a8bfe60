package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/safeguard-edge/safeguard/central/audit"
)

// ErrOwnBackup says that the database is one that has its own tools for backups.
var ErrOwnBackup = errors.New("the store is in PostgreSQL, want a backup by its own tools, such as pg_dump or a base backup")

// Backup writes the store as it is at one moment into a new file at path, while
// others use it. The file is whole and on disk when Backup returns; one that is
// there already is left alone (fs.ErrExist). It tells nothing without the keys,
// which are not in it. A store in PostgreSQL is ErrOwnBackup.
func (s *DB) Backup(ctx context.Context, path string, by audit.Who) error {
	e, embedded := s.engine.(*sqlite)
	if !embedded {
		return fmt.Errorf("back up: %w", ErrOwnBackup)
	}
	entry := audit.Entry{At: time.Now(), Act: audit.BackedUp, Who: by}
	if err := s.audited(ctx, entry); err != nil {
		return fmt.Errorf("back up: %w", err)
	}
	if err := e.backup(ctx, path); err != nil {
		return fmt.Errorf("back up to %s: %w", path, err)
	}
	return nil
}

func (e *sqlite) backup(ctx context.Context, path string) (err error) {
	path, err = filepath.Abs(path)
	if err != nil {
		return err
	}
	// SQLite writes into a file that is empty, with the permissions that it has.
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%w: want a new file", fs.ErrExist)
	}
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			_ = os.Remove(path) // a part of a backup must not be taken for one
		}
	}()
	source, err := sql.Open("sqlite", dataSource(e.path, ""))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	if _, err := source.ExecContext(ctx, `VACUUM INTO ?`, path); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return checkFile(ctx, path)
}

// checkFile reads the file at path through.
func checkFile(ctx context.Context, path string) (err error) {
	db, err := sql.Open("sqlite", fileURL(path)+"?mode=ro")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	var said string
	if err := db.QueryRowContext(ctx, `PRAGMA quick_check(1)`).Scan(&said); err != nil {
		return err
	}
	if said != "ok" {
		return fmt.Errorf("the copy is damaged: %s", said)
	}
	return nil
}
