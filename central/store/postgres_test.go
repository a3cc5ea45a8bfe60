package store_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/cache/keys"
	"github.com/safeguard-edge/safeguard/central/audit"
	"github.com/safeguard-edge/safeguard/central/store"
	"github.com/safeguard-edge/safeguard/central/store/storetest"
)

// server is nil where there is no PostgreSQL.
var server *storetest.Postgres

func TestMain(m *testing.M) { os.Exit(withPostgres(m)) }

func withPostgres(m *testing.M) int {
	if os.Getenv(childEnv) != "" {
		return m.Run() // it is told which database
	}
	var err error
	switch server, err = storetest.StartPostgres(false); {
	case errors.Is(err, storetest.ErrNoPostgres):
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		return 1
	default:
		defer func() {
			if err := server.Stop(); err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
		}()
	}
	return m.Run()
}

// database is one without content, whose tables are made: to make them anew for
// each test would take longer than most tests.
func database(t testing.TB) string {
	t.Helper()
	if server == nil {
		t.Skip(storetest.ErrNoPostgres)
	}
	template, err := withTables()
	if err != nil {
		t.Fatal(err)
	}
	dsn, err := server.Copy(t.Context(), template)
	if err != nil {
		t.Fatal(err)
	}
	return dsn
}

var withTables = sync.OnceValues(func() (dsn string, err error) {
	if dsn, err = server.Empty(context.Background()); err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", "safeguard-ring-")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	r, err := keys.Open(filepath.Join(dir, "ring"), keys.FileMaster(filepath.Join(dir, "master.key")))
	if err != nil {
		return "", err
	}
	s, err := store.OpenPostgres(context.Background(), dsn, r)
	if err != nil {
		return "", err
	}
	if err := s.Close(); err != nil {
		return "", err
	}
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		return "", err
	}
	_, err = db.Exec(`DELETE FROM meta`) // whose keys
	return dsn, errors.Join(err, db.Close())
})

func openPostgres(t testing.TB, dsn string, r *keys.Ring) *store.DB {
	t.Helper()
	s, err := store.OpenPostgres(t.Context(), dsn, r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestPostgres(t *testing.T) {
	storetest.Run(t, func(t *testing.T) func() store.Store {
		dsn, r := database(t), ring(t)
		return func() store.Store { return openPostgres(t, dsn, r) }
	})
}

func TestPostgresRefusesOtherKeys(t *testing.T) {
	dsn := database(t)
	openPostgres(t, dsn, ring(t))
	_, err := store.OpenPostgres(t.Context(), dsn, ring(t))
	if err == nil || !strings.Contains(err.Error(), "other keys") {
		t.Errorf("opened with other keys: %v, want a refusal", err)
	}
}

// The connection string holds a password.
func TestPostgresErrorsTellNoPassword(t *testing.T) {
	for _, dsn := range []string{
		"postgres://me:secret@127.0.0.1:1/nothing?sslmode=disable&connect_timeout=2",
		"postgres://me:secret@127.0.0.1:port/nothing",
		"host=127.0.0.1 password=secret sslmode=never",
	} {
		_, err := store.OpenPostgres(t.Context(), dsn, ring(t))
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%v, want an error without the password", err)
		}
	}
}

// The role that the centre works as needs no more than docs/central-store.md
// gives it: the tables are another's, and the audit can not be changed.
func TestPostgresLeastRights(t *testing.T) {
	dsn, r := database(t), ring(t)
	raw := rawDatabase(t, "pgx", dsn)
	grants, err := os.ReadFile("../../docs/central-store.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(grants), "<!-- grants -->\n```sql\n")
	text, _, found := strings.Cut(rest, "```")
	if !found {
		t.Fatal("docs/central-store.md: no grants")
	}
	for _, query := range []string{`CREATE ROLE safeguard_central LOGIN`, text} {
		if _, err := raw.Exec(query); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if _, err := raw.Exec(`DROP OWNED BY safeguard_central; DROP ROLE safeguard_central`); err != nil {
			t.Error(err)
		}
	})
	least := strings.Replace(dsn, "safeguard@", "safeguard_central@", 1)
	s := openPostgres(t, least, r)
	alice, authority := number(t, "9990000107"), code(t, "206")
	flag := store.Flag{Plan: safeguard.ChildProtection, Start: safeguard.Date{Year: 2025, Month: 2, Day: 3}}
	if _, err := s.Apply(t.Context(), store.Upload{ID: "1", Authority: authority, Rows: 1, Changes: slices.Values([]store.Change{{Number: alice, Flag: flag}})}); err != nil {
		t.Error(err)
	}
	if err := s.Settle(t.Context(), look(t, alice, "1"), []safeguard.Notification{{Authority: authority, Setting: safeguard.Maternity}}); err != nil {
		t.Error(err)
	}
	if flags, err := s.Flags(t.Context(), alice); err != nil || len(flags) != 1 {
		t.Errorf("flags %v, %v, want one", flags, err)
	}
	if _, err := s.Retain(t.Context(), store.Retention{Accesses: time.Now().Add(time.Hour)}, audit.Who{Caller: "operator"}); err != nil {
		t.Error(err)
	}
	if removed, err := s.Erase(t.Context(), alice, "asked for", audit.Who{Caller: "operator"}); err != nil || removed.AuditEntries != 1 {
		t.Errorf("erased %+v, %v", removed, err)
	}
	if report := verify(t, s); len(report.Problems) != 0 {
		t.Error(report.Problems)
	}
	as := rawDatabase(t, "pgx", least)
	for _, query := range []string{
		`DELETE FROM audit`, `UPDATE audit SET body = hash`, `TRUNCATE audit`, `DELETE FROM audit_heads`,
		`ALTER TABLE audit DISABLE TRIGGER ALL`, `DROP TABLE audit`, `UPDATE goose_db_version SET version_id = 1`, `CREATE TABLE own (id int)`,
	} {
		if _, err := as.Exec(query); err == nil || !strings.Contains(err.Error(), "permission denied") && !strings.Contains(err.Error(), "must be owner") {
			t.Errorf("%s: %v, want a refusal", query, err)
		}
	}
}

// A change that one store logs wakes the others on the database, at once and after
// their connection broke.
func TestPostgresWakes(t *testing.T) {
	dsn, r := database(t), ring(t)
	one, other := openPostgres(t, dsn, r), openPostgres(t, dsn, r)
	ctx, cancel := context.WithCancel(t.Context())
	woken, ended := make(chan struct{}, 64), make(chan struct{})
	go func() {
		defer close(ended)
		other.Wake(ctx, func() { woken <- struct{}{} })
	}()
	defer func() {
		cancel()
		<-ended
	}()
	wait := func(what string) {
		t.Helper()
		select {
		case <-woken:
		case <-time.After(30 * time.Second):
			t.Fatalf("not woken: %s", what)
		}
	}
	apply := func(id string) {
		t.Helper()
		flag := store.Flag{Plan: safeguard.ChildProtection, Start: safeguard.Date{Year: 2025, Month: 2, Day: len(id)}}
		if _, err := one.Apply(t.Context(), store.Upload{ID: id, Authority: code(t, "206"), Rows: 1, Changes: slices.Values([]store.Change{{Number: number(t, "9990000107"), Flag: flag}})}); err != nil {
			t.Fatal(err)
		}
	}
	wait("it listens")
	apply("1")
	wait("a change")
	admin, err := sql.Open("pgx", dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	if _, err := admin.ExecContext(t.Context(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'`); err != nil {
		t.Fatal(err)
	}
	wait("it listens again")
	apply("22")
	wait("a change after the connection broke")
}
