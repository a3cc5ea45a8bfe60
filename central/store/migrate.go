package store

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"
	"path"

	"github.com/pressly/goose/v3"
)

//go:embed migrations/sqlite/*.sql migrations/postgres/*.sql
var migrations embed.FS

// migrate brings the tables up to this version, and only ever forward. The
// numbers of both kinds of database go together.
func migrate(ctx context.Context, dialect goose.Dialect, db *sql.DB) error {
	provider, err := providerOf(dialect, db)
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	known, err := latestMigration()
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	for before := int64(-1); ; {
		found, err := provider.GetDBVersion(ctx)
		if err != nil {
			return fmt.Errorf("migrate: %w", err)
		}
		if found > known {
			return fmt.Errorf("its version is %d, this program knows up to %d; want the newer program that wrote it", found, known)
		}
		if found == known {
			return nil
		}
		// Another process may be doing the same: then this one fails where the
		// other has come further.
		if _, err := provider.Up(ctx); err != nil && found == before {
			return fmt.Errorf("migrate: %w", err)
		}
		before = found
	}
}

// latestMigration is the version that the tables are brought to.
func latestMigration() (latest int64, err error) {
	files, err := fs.Glob(migrations, "migrations/sqlite/*.sql")
	for _, file := range files {
		n, numbered := goose.NumericComponent(path.Base(file))
		if numbered != nil {
			return 0, numbered
		}
		latest = max(latest, n)
	}
	return latest, err
}

func providerOf(dialect goose.Dialect, db *sql.DB) (*goose.Provider, error) {
	folder := "migrations/postgres"
	if dialect == goose.DialectSQLite3 {
		folder = "migrations/sqlite"
	}
	dir, err := fs.Sub(migrations, folder)
	if err != nil {
		return nil, err
	}
	return goose.NewProvider(dialect, db, dir)
}
