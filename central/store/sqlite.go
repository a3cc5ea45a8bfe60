package store

import (
	"context"
	"database/sql"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/pressly/goose/v3"
	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/safeguard-edge/safeguard/cache/keys"
)

//go:embed migrations/sqlite/*.sql
var sqliteMigrations embed.FS

// SQLite is the store that needs nothing: one file, in WAL mode, each commit
// synced before it counts.
type SQLite struct {
	vault
	read  *sql.DB
	write *sql.DB // of one connection, which the writer alone uses

	stmt statements

	work    chan work
	closing chan struct{}
	closed  chan struct{}
	once    sync.Once
	err     error // of closing
}

var _ Store = (*SQLite)(nil)

// statements are those that a busy day repeats.
type statements struct {
	held                                     *sql.Stmt // on read
	lookup, notification, find, person, flag *sql.Stmt // on write
}

// readers is how many lookups read at the same time.
const readers = 8

// OpenSQLite opens the store in the file at path, which it makes, readable by
// its owner only, when there is none; its folder must exist. A store whose
// persons are sealed under other keys, or that a newer version wrote, is
// refused.
func OpenSQLite(ctx context.Context, path string, ring *keys.Ring) (*SQLite, error) {
	s := &SQLite{vault: newVault(ring), work: make(chan work), closing: make(chan struct{}), closed: make(chan struct{})}
	if err := s.open(ctx, path); err != nil {
		s.closeFiles()
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	go s.writer()
	return s, nil
}

func (s *SQLite) open(ctx context.Context, path string) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	// SQLite gives its log the permissions of the file it belongs to.
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if s.write, err = sql.Open("sqlite", dataSource(path, "_txlock=immediate")); err != nil {
		return err
	}
	s.write.SetMaxOpenConns(1)
	if err := migrate(ctx, s.write); err != nil {
		return err
	}
	if err := s.checkRing(ctx); err != nil {
		return err
	}
	if s.read, err = sql.Open("sqlite", dataSource(path, "_pragma=query_only(1)")); err != nil {
		return err
	}
	s.read.SetMaxOpenConns(readers)
	s.read.SetMaxIdleConns(readers)
	return s.prepare(ctx)
}

func (s *SQLite) prepare(ctx context.Context) error {
	for _, p := range []struct {
		db   *sql.DB
		into **sql.Stmt
		text string
	}{
		{s.read, &s.stmt.held, `SELECT authority, content FROM flags WHERE person = ? AND closed_at IS NULL ORDER BY id`},
		{s.write, &s.stmt.lookup, `INSERT INTO lookups (organisation, attendance, person, content, recorded_at)
			VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`},
		{s.write, &s.stmt.notification, `INSERT INTO notifications (id, organisation, attendance, person, authority, content, recorded_at)
			VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`},
		{s.write, &s.stmt.find, `SELECT id, content, closed_as FROM flags WHERE person = ? AND authority = ? ORDER BY id`},
		{s.write, &s.stmt.person, `INSERT INTO persons (token, number) VALUES (?, ?) ON CONFLICT DO NOTHING`},
		{s.write, &s.stmt.flag, `INSERT INTO flags (person, authority, content, recorded_at, recorded_by) VALUES (?, ?, ?, ?, ?)`},
	} {
		var err error
		if *p.into, err = p.db.PrepareContext(ctx, p.text); err != nil {
			return err
		}
	}
	return nil
}

// dataSource names the file at path so that no character of it is taken for
// something else.
func dataSource(path, more string) string {
	path = filepath.ToSlash(path)
	if !strings.HasPrefix(path, "/") {
		path = "/" + path // C:/data
	}
	file := url.URL{Scheme: "file", Path: path}
	return file.String() + "?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=foreign_keys(1)&" + more
}

// migrate brings the tables up to this version, and only ever forward.
func migrate(ctx context.Context, db *sql.DB) error {
	dir, err := fs.Sub(sqliteMigrations, "migrations/sqlite")
	if err != nil {
		return err
	}
	provider, err := goose.NewProvider(goose.DialectSQLite3, db, dir)
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	sources := provider.ListSources()
	known := sources[len(sources)-1].Version
	found, err := provider.GetDBVersion(ctx)
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	if found > known {
		return fmt.Errorf("its version is %d, this program knows up to %d; want the newer program that wrote it", found, known)
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	return nil
}

// checkRing writes down which keys the store belongs to, or compares. Under
// other keys every person would seem to have no flag.
func (s *SQLite) checkRing(ctx context.Context) error {
	mark := hex.EncodeToString(s.mark)
	if _, err := s.write.ExecContext(ctx, `INSERT INTO meta (name, value) VALUES ('key_ring', ?), ('key_mark', ?) ON CONFLICT DO NOTHING`, s.ring.ID(), mark); err != nil {
		return err
	}
	for name, own := range map[string]string{"key_ring": s.ring.ID(), "key_mark": mark} {
		var have string
		if err := s.write.QueryRowContext(ctx, `SELECT value FROM meta WHERE name = ?`, name).Scan(&have); err != nil {
			return err
		}
		if have != own {
			return fmt.Errorf("it was written under other keys (key ring %s here); want the keys from the same backup as the store", s.ring.ID())
		}
	}
	return nil
}

// Close waits for what is being written, and closes the file.
func (s *SQLite) Close() error {
	s.once.Do(func() {
		close(s.closing)
		<-s.closed
		s.err = s.closeFiles()
	})
	return s.err
}

func (s *SQLite) closeFiles() error {
	var errs []error
	for _, db := range []*sql.DB{s.read, s.write} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	return errors.Join(errs...)
}

// millis is a moment as the tables have it.
func millis(t time.Time) int64 { return t.UnixMilli() }

func fromMillis(ms int64) time.Time { return time.UnixMilli(ms).UTC() }
