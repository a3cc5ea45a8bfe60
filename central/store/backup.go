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

// Backup writes the store as it is at one moment into a new file at path, while
// others use it. The file is whole and on disk when Backup returns; one that is
// there already is left alone (fs.ErrExist). It tells nothing without the keys,
// which are not in it.
func (s *DB) Backup(ctx context.Context, path string, by audit.Who) error {
	entry := audit.Entry{At: time.Now(), Act: audit.BackedUp, Who: by}
	if err := s.audited(ctx, entry); err != nil {
		return fmt.Errorf("back up: %w", err)
	}
	if err := s.engine.backup(ctx, path); err != nil {
		return fmt.Errorf("back up to %s: %w", path, err)
	}
	return nil
}

// intoNewFile has write fill a new file at path, for its owner only. One that fails
// leaves none.
func intoNewFile(path string, write func(f *os.File) error) (err error) {
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
	return write(f)
}

func (e *sqlite) backup(ctx context.Context, path string) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	// SQLite writes into a file that is empty, with the permissions that it has.
	return intoNewFile(path, func(f *os.File) (err error) {
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
	})
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
