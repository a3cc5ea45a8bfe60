package store

import (
	"context"
	"database/sql"
	"fmt"
	"slices"

	"github.com/pressly/goose/v3"
)

// TablesOfPersons are those that erasure clears.
func TablesOfPersons() []string {
	var tables []string
	for _, t := range ofPersons {
		tables = append(tables, t.table)
	}
	return slices.Sorted(slices.Values(tables))
}

// LimitPages lets the file grow to so many pages, and no less than it has.
func (s *DB) LimitPages(n int) error {
	_, err := s.engine.(*sqlite).conn.ExecContext(context.Background(), fmt.Sprintf("PRAGMA max_page_count(%d)", n))
	return err
}

// LatestMigration is the version that the tables are brought to.
func LatestMigration() int64 {
	latest, err := latestMigration()
	if err != nil {
		panic(err)
	}
	return latest
}

// MigrateTo makes the tables of an empty database as of an earlier version.
func MigrateTo(ctx context.Context, driver string, db *sql.DB, version int64) error {
	dialect := map[string]goose.Dialect{"sqlite": goose.DialectSQLite3, "pgx": goose.DialectPostgres}[driver]
	provider, err := providerOf(dialect, db)
	if err != nil {
		return err
	}
	_, err = provider.UpTo(ctx, version)
	return err
}

var WithoutSecrets = withoutSecrets
