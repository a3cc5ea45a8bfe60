package store_test

import (
	"database/sql"
	"path/filepath"
	"strings"
	"testing"
)

func TestReady(t *testing.T) {
	check := func(t *testing.T, s interface{ Close() error }, ready func() error, driver, source string) {
		t.Helper()
		if err := ready(); err != nil {
			t.Errorf("a good store: %v", err)
		}
		db, err := sql.Open(driver, source)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if _, err := db.Exec(`DELETE FROM goose_db_version WHERE version_id > 1`); err != nil {
			t.Fatal(err)
		}
		if err := ready(); err == nil || !strings.Contains(err.Error(), "the store's tables are of version 1, want ") {
			t.Errorf("old tables: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if err := ready(); err == nil || err.Error() != "the store does not answer" {
			t.Errorf("a closed store: %v", err)
		}
	}
	t.Run("sqlite", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "central.db")
		s := open(t, path, ring(t))
		check(t, s, func() error { return s.Ready(t.Context()) }, "sqlite", "file:"+path+"?_pragma=busy_timeout(10000)")
	})
	t.Run("postgres", func(t *testing.T) {
		dsn := database(t)
		s := openPostgres(t, dsn, ring(t))
		check(t, s, func() error { return s.Ready(t.Context()) }, "pgx", dsn)
	})
}
