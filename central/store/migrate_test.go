package store_test

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/cache/keys"
	"github.com/safeguard-edge/safeguard/central/audit"
	"github.com/safeguard-edge/safeguard/central/store"
)

var dump = flag.String("dump", "", "a folder that the demonstration keeps running: write what its centre holds into testdata, as of this schema")

// fixture is what a centre of an earlier version has written, while an agent
// asked it about the made-up patients of the demonstration: its keys, and the rows
// of its tables, in an order in which they can be inserted.
type fixture struct {
	Version int64             `json:"version"`
	Master  []byte            `json:"master"` // the file of the master key
	Keys    map[string][]byte `json:"keys"`   // the files of the key ring
	rows    []fixtureRow
}

type fixtureRow struct {
	Table string         `json:"table"`
	Row   map[string]any `json:"row"` // a blob as {"bytes": base64}
}

// patients are some of those whom the demonstration registers.
var patients = map[string]safeguard.Plan{
	"9990000344": safeguard.ChildProtection,
	"9990000352": safeguard.LookedAfter,
	"9990000360": safeguard.UnbornChild,
}

func fixturePath(version int64) string {
	return filepath.Join("testdata", fmt.Sprintf("schema-%02d.jsonl", version))
}

func readFixture(t *testing.T, version int64) fixture {
	t.Helper()
	text, err := os.ReadFile(fixturePath(version))
	if err != nil {
		t.Fatalf("no data of schema %d: check out the commit before the migration to %d, run make demo KEEP=1, and go test ./central/store -run TestEarlierSchemas -dump FOLDER there: %v",
			version, version+1, err)
	}
	var f fixture
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if f.Version == 0 {
			err = json.Unmarshal(lines.Bytes(), &f)
		} else {
			var row fixtureRow
			d := json.NewDecoder(bytes.NewReader(lines.Bytes()))
			d.UseNumber()
			err = d.Decode(&row)
			f.rows = append(f.rows, row)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if f.Version != version || len(f.rows) == 0 || lines.Err() != nil {
		t.Fatalf("%s is of schema %d, with %d rows, %v", fixturePath(version), f.Version, len(f.rows), lines.Err())
	}
	return f
}

// ring opens the fixture's keys.
func (f fixture) ring(t *testing.T) *keys.Ring {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "ring"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range f.Keys {
		if err := os.WriteFile(filepath.Join(dir, "ring", name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "master.key"), f.Master, 0o600); err != nil {
		t.Fatal(err)
	}
	return ringAt(t, dir)
}

// load makes the tables as of the fixture's version, and puts its rows into them.
func (f fixture) load(t *testing.T, driver, source string) {
	t.Helper()
	db, err := sql.Open(driver, source)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := store.MigrateTo(t.Context(), driver, db, f.Version); err != nil {
		t.Fatal(err)
	}
	tables := map[string]bool{}
	for _, r := range f.rows {
		tables[r.Table] = true
		columns := slices.Sorted(maps.Keys(r.Row))
		values, marks := []any{}, []string{}
		for i, c := range columns {
			v := r.Row[c]
			switch is := v.(type) {
			case json.Number:
				v, err = is.Int64()
			case map[string]any:
				var b struct{ Bytes []byte }
				text, _ := json.Marshal(is)
				err = json.Unmarshal(text, &b)
				v = b.Bytes
			}
			if err != nil {
				t.Fatal(err)
			}
			values, marks = append(values, v), append(marks, fmt.Sprintf("$%d", i+1))
		}
		overriding := ""
		if driver == "pgx" {
			overriding = "OVERRIDING SYSTEM VALUE "
		}
		if _, err := db.Exec(`INSERT INTO `+r.Table+` (`+strings.Join(columns, ", ")+`) `+overriding+`VALUES (`+strings.Join(marks, ", ")+`)`, values...); err != nil {
			t.Fatalf("%s of schema %d: %v", r.Table, f.Version, err)
		}
	}
	if driver != "pgx" {
		return
	}
	// As if the rows had been numbered when they came.
	for table := range tables {
		_, err := db.Exec(`DO $$ DECLARE c text; BEGIN
			FOR c IN SELECT column_name FROM information_schema.columns WHERE table_schema = 'public' AND table_name = '` + table + `' AND is_identity = 'YES' LOOP
				EXECUTE format('SELECT setval(pg_get_serial_sequence(%L, %L), (SELECT MAX(%I) FROM %I))', '` + table + `', c, c, '` + table + `');
			END LOOP; END $$`)
		if err != nil {
			t.Fatal(err)
		}
	}
}

func (f fixture) count(table string) (n int) {
	for _, r := range f.rows {
		if r.Table == table {
			n++
		}
	}
	return n
}

// Whatever an earlier version has written is there after the tables were brought
// forward, opens under the keys, and goes on.
func TestEarlierSchemas(t *testing.T) {
	if *dump != "" {
		writeFixture(t, *dump)
		return
	}
	for version := range store.LatestMigration() {
		if version == 0 {
			continue
		}
		f := readFixture(t, version)
		t.Run(fmt.Sprintf("sqlite/%d", version), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "central.db")
			f.load(t, "sqlite", "file:"+path+"?_pragma=foreign_keys(1)&_pragma=synchronous(0)")
			goesOn(t, f, open(t, path, f.ring(t)))
		})
		t.Run(fmt.Sprintf("postgres/%d", version), func(t *testing.T) {
			if server == nil {
				t.Skip("no PostgreSQL server programs")
			}
			dsn, err := server.Empty(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			f.load(t, "pgx", dsn)
			goesOn(t, f, openPostgres(t, dsn, f.ring(t)))
		})
	}
}

// The numbers of both kinds of database go together, and none is left out.
func TestMigrationsGoTogether(t *testing.T) {
	for n := int64(1); n <= store.LatestMigration(); n++ {
		for _, kind := range []string{"sqlite", "postgres"} {
			if found, err := filepath.Glob(fmt.Sprintf("migrations/%s/%05d_*.sql", kind, n)); err != nil || len(found) != 1 {
				t.Errorf("%s has %d migrations of number %d, want one", kind, len(found), n)
			}
		}
	}
}

func goesOn(t *testing.T, f fixture, s *store.DB) {
	t.Helper()
	ctx := t.Context()
	council := code(t, "906")
	for patient, plan := range patients {
		flags, err := s.Flags(ctx, number(t, patient))
		if err != nil || len(flags) != 1 || flags[0].Plan != plan || flags[0].Authority != council {
			t.Errorf("flags: %v, %v, want one %v", flags, err, plan)
		}
		if accesses, err := s.Accesses(ctx, number(t, patient), 25); err != nil || len(accesses) == 0 || accesses[0].Site != code(t, "RX101") {
			t.Errorf("accesses to the %v: %v, %v", plan, accesses, err)
		}
	}
	waiting, err := s.Waiting(ctx, council, 0, 100)
	if err != nil || len(waiting) != f.count("notifications") {
		t.Fatalf("%d notifications wait, %v, want %d", len(waiting), err, f.count("notifications"))
	}
	last := waiting[len(waiting)-1]
	if n, err := s.Acknowledge(ctx, council, []string{last.Notification.ID}, "them", last.Notification.Recorded); err != nil || n != 1 {
		t.Errorf("acknowledge: %d, %v", n, err)
	}
	uploads, err := s.Uploads(ctx, store.UploadFilter{})
	if err != nil || len(uploads) != f.count("uploads") || uploads[0].State != store.Applied {
		t.Errorf("uploads: %+v, %v, want %d applied", uploads, err, f.count("uploads"))
	}
	if d, err := s.Directory(ctx, 0); err != nil || len(d.Sites) != 1 || len(d.Authorities) != 1 || d.Sites[0].Stage != store.Live {
		t.Errorf("directory: %+v, %v", d, err)
	}
	changed, err := s.Changed(ctx, store.ChangePoint{}, 100, last.Notification.Recorded.AddDate(0, 0, -1))
	if err != nil || len(changed) != f.count("changes") {
		t.Errorf("%d changes, %v, want %d", len(changed), err, f.count("changes"))
	}
	if agents, err := s.FleetAgents(ctx, last.Notification.Recorded.AddDate(0, 0, -1)); err != nil || len(agents) != f.count("fleet_agents") {
		t.Errorf("%d agents, %v, want %d", len(agents), err, f.count("fleet_agents"))
	}
	if certificates, err := s.Certificates(ctx, store.CertificateFilter{}); err != nil || len(certificates) != f.count("certificates") {
		t.Errorf("%d certificates, %v, want %d", len(certificates), err, f.count("certificates"))
	}

	// And it goes on behind what was there.
	child := number(t, "9990000344")
	l := look(t, child, "after the upgrade")
	if err := s.Settle(ctx, l, []safeguard.Notification{{Authority: council, Site: l.Site, Setting: l.Setting}}); err != nil {
		t.Fatal(err)
	}
	if again, err := s.Waiting(ctx, council, last.Position, 100); err != nil || len(again) != 1 {
		t.Errorf("%d notifications behind the last of before, %v, want 1", len(again), err)
	}
	flag := store.Flag{Plan: safeguard.LookedAfter, Start: safeguard.Date{Year: 2025, Month: 2, Day: 3}}
	if _, err := s.Apply(ctx, store.Upload{ID: "next", Authority: council, Rows: 1, Changes: slices.Values([]store.Change{{Number: child, Flag: flag}})}); err != nil {
		t.Fatal(err)
	}
	if flags, err := s.Flags(ctx, child); err != nil || len(flags) != 2 {
		t.Errorf("flags after an upload: %v, %v, want 2", flags, err)
	}
	report := verify(t, s)
	if len(report.Problems) != 0 || report.Entries < f.count("audit")+2 {
		t.Errorf("audit: %+v, want more than the %d entries of before, and no problem", report, f.count("audit"))
	}
	if _, err := s.Erase(ctx, child, "asked for", audit.Who{Caller: "operator"}); err != nil {
		t.Error(err)
	}
	if report := verify(t, s); len(report.Problems) != 0 {
		t.Errorf("audit after an erasure: %+v", report.Problems)
	}
}

// writeFixture writes what the centre of a kept demonstration holds.
func writeFixture(t *testing.T, folder string) {
	t.Helper()
	f := fixture{Version: store.LatestMigration(), Keys: map[string][]byte{}}
	var err error
	if f.Master, err = os.ReadFile(filepath.Join(folder, "keys", "central.key")); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(filepath.Join(folder, "central", "keys"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		if f.Keys[e.Name()], err = os.ReadFile(filepath.Join(folder, "central", "keys", e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	db, err := sql.Open("sqlite", "file:"+filepath.Join(folder, "central", "central.db")+"?mode=ro")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var out bytes.Buffer
	write := json.NewEncoder(&out)
	if err := write.Encode(f); err != nil {
		t.Fatal(err)
	}
	for _, table := range strings.Fields(one(t, db, `SELECT group_concat(name, ' ') FROM (SELECT name FROM sqlite_master
		WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name <> 'goose_db_version' ORDER BY rowid)`)) {
		rows, err := db.QueryContext(context.Background(), `SELECT * FROM `+table)
		if err != nil {
			t.Fatal(err)
		}
		columns, _ := rows.Columns()
		for rows.Next() {
			values, into := make([]any, len(columns)), make([]any, len(columns))
			for i := range values {
				into[i] = &values[i]
			}
			if err := rows.Scan(into...); err != nil {
				t.Fatal(err)
			}
			row := fixtureRow{table, map[string]any{}}
			for i, v := range values {
				if b, ok := v.([]byte); ok {
					v = map[string][]byte{"bytes": b}
				}
				if v != nil {
					row.Row[columns[i]] = v
				}
			}
			if err := write.Encode(row); err != nil {
				t.Fatal(err)
			}
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(fixturePath(f.Version), out.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

func one(t *testing.T, db *sql.DB, query string) (text string) {
	t.Helper()
	if err := db.QueryRowContext(t.Context(), query).Scan(&text); err != nil {
		t.Fatal(err)
	}
	return text
}
