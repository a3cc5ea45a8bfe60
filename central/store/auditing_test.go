package store_test

import (
	"bytes"
	"crypto/sha256"
	"database/sql"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/audit"
	"github.com/safeguard-edge/safeguard/central/store"
)

// kinds are the databases: each gives a way to open the same store again, and
// the database as someone has it who goes round the store.
var kinds = map[string]func(t *testing.T) (open func() *store.DB, raw *sql.DB){
	"sqlite": func(t *testing.T) (func() *store.DB, *sql.DB) {
		path, r := filepath.Join(t.TempDir(), "central.db"), ring(t)
		return func() *store.DB { return open(t, path, r) }, rawDatabase(t, "sqlite", path+"?_pragma=busy_timeout(10000)")
	},
	"postgres": func(t *testing.T) (func() *store.DB, *sql.DB) {
		dsn, r := database(t), ring(t)
		return func() *store.DB { return openPostgres(t, dsn, r) }, rawDatabase(t, "pgx", dsn)
	},
}

func rawDatabase(t *testing.T, driver, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func number(t testing.TB, s string) safeguard.NHSNumber {
	t.Helper()
	n, err := safeguard.ParseNHSNumber(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func code(t testing.TB, s string) safeguard.ODSCode {
	t.Helper()
	c, err := safeguard.ParseODSCode(s)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func look(t testing.TB, n safeguard.NHSNumber, visit string) store.Look {
	trust := code(t, "RX1")
	return store.Look{
		Access: store.Access{
			Number:       n,
			Organisation: trust,
			Attendance:   safeguard.NewAttendanceID(trust, visit),
			Site:         code(t, "RX1RA"),
			Setting:      safeguard.EmergencyDepartment,
			Device:       "agent one",
			Accountable:  safeguard.Accountable{Name: "Dr A Example", Role: "Named doctor"},
			At:           time.Now(),
			Recorded:     time.Now(),
		},
		Caller:  "spiffe://safeguard/agent/RX1/test",
		Purpose: safeguard.Refresh,
		Answer:  "none held",
	}
}

func verify(t testing.TB, s *store.DB, noted ...audit.Head) audit.Report {
	t.Helper()
	report, err := s.VerifyAudit(t.Context(), noted)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// Someone with the database, and without the keys, goes round the store: each
// way is found, and named by where it was.
func TestTamperingIsFound(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(x tampering)
		want []string // in one problem each
	}{
		{"nothing", func(tampering) {}, nil},
		{"an entry is changed", func(x tampering) {
			x.exec(`UPDATE audit SET body = $1 WHERE chain = $2 AND seq = 3`, []byte(strings.Replace(string(x.body(3)), "agent one", "agent two", 1)), x.first)
		}, []string{"entry 3 of chain FIRST: changed"}},
		{"an entry is changed, and its hash too", func(x tampering) {
			body := []byte(strings.Replace(string(x.body(3)), "agent one", "agent two", 1))
			hash := sha256.Sum256(body)
			x.exec(`UPDATE audit SET body = $1, hash = $2 WHERE chain = $3 AND seq = 3`, body, hash[:], x.first)
		}, []string{"entry 4 of chain FIRST: does not follow"}},
		{"an entry is removed", func(x tampering) { x.exec(`DELETE FROM audit WHERE chain = $1 AND seq = 3`, x.first) },
			[]string{"entry 3 of chain FIRST: removed"}},
		{"an entry is removed, and the others close ranks", func(x tampering) {
			x.exec(`DELETE FROM audit WHERE chain = $1 AND seq = 3`, x.first)
			x.exec(`UPDATE audit SET seq = 3 WHERE chain = $1 AND seq = 4`, x.first)
			x.exec(`UPDATE audit SET seq = 4 WHERE chain = $1 AND seq = 5`, x.first)
		}, []string{"entry 3 of chain FIRST: moved: what stands here was written as entry 4"}},
		{"two entries change places", func(x tampering) {
			x.exec(`UPDATE audit SET seq = 99 WHERE chain = $1 AND seq = 3`, x.first)
			x.exec(`UPDATE audit SET seq = 3 WHERE chain = $1 AND seq = 4`, x.first)
			x.exec(`UPDATE audit SET seq = 4 WHERE chain = $1 AND seq = 99`, x.first)
		}, []string{"entry 3 of chain FIRST: moved: what stands here was written as entry 4", "entry 4 of chain FIRST: moved: what stands here was written as entry 3"}},
		{"the end is cut off", func(x tampering) { x.exec(`DELETE FROM audit WHERE chain = $1 AND seq > 4`, x.first) },
			[]string{"entry 5 of chain FIRST: cut off", "entry 6 of chain FIRST: removed: entry 1 of chain SECOND saw it"}},
		{"the end is cut off, and the head put back", func(x tampering) {
			x.exec(`DELETE FROM audit WHERE chain = $1 AND seq > 4`, x.first)
			x.exec(`UPDATE audit_heads SET seq = 4, hash = (SELECT hash FROM audit WHERE chain = $1 AND seq = 4) WHERE chain = $1`, x.first)
		}, []string{"the chain's head was not written by this centre"}},
		{"a chain is removed", func(x tampering) {
			x.exec(`DELETE FROM audit WHERE chain = $1`, x.first)
			x.exec(`DELETE FROM audit_heads WHERE chain = $1`, x.first)
		}, []string{"entry 6 of chain FIRST: removed with its whole chain: entry 1 of chain SECOND saw it"}},
		{"a head is removed", func(x tampering) { x.exec(`DELETE FROM audit_heads WHERE chain = $1`, x.first) },
			[]string{"entry 6 of chain FIRST: the chain has no head"}},
		{"an entry leads to nobody", func(x tampering) {
			x.exec(`UPDATE audit SET subject = NULL, salt = NULL WHERE chain = $1 AND seq = 3`, x.first)
		}, []string{"entry 3 of chain FIRST: changed: leads to nobody"}},
		{"an entry leads to another", func(x tampering) {
			x.exec(`UPDATE audit SET subject = $1 WHERE chain = $2 AND seq = 3`, make([]byte, 32), x.first)
		}, []string{"entry 3 of chain FIRST: changed: leads to another person"}},
		{"everything is put back", func(x tampering) {
			x.exec(`DELETE FROM audit WHERE chain = $1`, x.second)
			x.exec(`DELETE FROM audit_heads WHERE chain = $1`, x.second)
		}, []string{"entry 3 of chain SECOND: removed with its whole chain: the head noted elsewhere saw it"}},
	} {
		for kind, create := range kinds {
			t.Run(tt.name+"/"+kind, func(t *testing.T) {
				x := newTampering(t, create)
				tt.do(x)
				s := x.open()
				var noted []audit.Head
				if strings.HasPrefix(tt.name, "everything") {
					noted = x.noted // what is in the database fits together
				}
				report := verify(t, s, noted...)
				if (len(report.Problems) == 0) != (len(tt.want) == 0) {
					t.Errorf("problems %v, want %v", report.Problems, tt.want)
				}
				names := strings.NewReplacer(x.first, "FIRST", x.second, "SECOND")
				text := names.Replace(fmt.Sprint(report.Problems))
				for _, want := range tt.want {
					if !strings.Contains(text, want) {
						t.Errorf("problems %s, want %q", text, want)
					}
				}
			})
		}
	}
}

// tampering is a store that two processes wrote to, one after the other: the
// first chain has six entries, of which four are looks, the second has three.
type tampering struct {
	*testing.T
	open          func() *store.DB
	raw           *sql.DB
	first, second string
	noted         []audit.Head
}

func newTampering(t *testing.T, create func(t *testing.T) (func() *store.DB, *sql.DB)) tampering {
	t.Helper()
	x := tampering{T: t}
	x.open, x.raw = create(t)
	for process, looks := range []int{4, 1} {
		s := x.open()
		for i := range looks {
			if err := s.Record(t.Context(), look(t, number(t, "9990000107"), fmt.Sprint(i))); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = x.open()
		x.noted = verify(t, s).Heads
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if process == 0 {
			x.first = x.noted[0].Chain
		}
	}
	for _, h := range x.noted {
		if h.Chain != x.first {
			x.second = h.Chain
		}
	}
	if strings.Contains(fmt.Sprintf("%T", x.raw.Driver()), "sqlite") {
		x.exec(`DROP TRIGGER audit_is_not_removed`)
		x.exec(`DROP TRIGGER audit_is_not_changed`)
	} else {
		x.exec(`DROP TRIGGER audit_is_append_only ON audit`)
	}
	return x
}

func (x tampering) exec(query string, args ...any) {
	x.Helper()
	result, err := x.raw.Exec(query, args...)
	if err != nil {
		x.Fatal(err)
	}
	if n, err := result.RowsAffected(); err != nil || n == 0 && !strings.HasPrefix(query, "DROP") {
		x.Fatalf("%s: %d rows, %v", query, n, err)
	}
}

func (x tampering) body(seq int) []byte {
	x.Helper()
	var body []byte
	if err := x.raw.QueryRow(`SELECT body FROM audit WHERE chain = $1 AND seq = $2`, x.first, seq).Scan(&body); err != nil {
		x.Fatal(err)
	}
	return body
}

// The database itself refuses what is no part of its life.
func TestAuditIsAppendOnly(t *testing.T) {
	for kind, create := range kinds {
		t.Run(kind, func(t *testing.T) {
			open, raw := create(t)
			if err := open().Record(t.Context(), look(t, number(t, "9990000107"), "1")); err != nil {
				t.Fatal(err)
			}
			for _, query := range []string{
				`DELETE FROM audit`, `UPDATE audit SET seq = 7`, `UPDATE audit SET body = hash`, `UPDATE audit SET subject = hash WHERE seq = 2`,
			} {
				if _, err := raw.Exec(query); err == nil || !strings.Contains(err.Error(), "append-only") {
					t.Errorf("%s: %v, want a refusal", query, err)
				}
			}
		})
	}
}

// An erased person is gone from the tables and from the keys, and the audit
// verifies as before.
func TestErasureLeavesTheAuditVerifiable(t *testing.T) {
	for kind, create := range kinds {
		t.Run(kind, func(t *testing.T) {
			open, raw := create(t)
			s := open()
			alice, bob := number(t, "9990000107"), number(t, "9990000115")
			authority := code(t, "206")
			flag := store.Flag{Plan: safeguard.ChildProtection, Start: safeguard.Date{Year: 2025, Month: 2, Day: 3}}
			if _, err := s.Apply(t.Context(), store.Upload{ID: "1", Authority: authority, Rows: 2, Changes: slices.Values([]store.Change{{Number: alice, Flag: flag}, {Number: bob, Flag: flag}})}); err != nil {
				t.Fatal(err)
			}
			for _, n := range []safeguard.NHSNumber{alice, bob} {
				if err := s.Settle(t.Context(), look(t, n, "1"), []safeguard.Notification{{Authority: authority, Setting: safeguard.Maternity}}); err != nil {
					t.Fatal(err)
				}
				if err := s.Record(t.Context(), look(t, n, "1")); err != nil {
					t.Fatal(err)
				}
			}
			removed, err := s.Erase(t.Context(), alice, "order of the court", audit.Who{Caller: "operator"})
			if want := (store.Removed{Persons: 1, Flags: 1, Accesses: 1, Notifications: 1, Asked: 1, Changes: 1, AuditEntries: 2}); err != nil || removed != want {
				t.Errorf("removed %+v, %v, want %+v", removed, err, want)
			}
			if flags, err := s.Flags(t.Context(), alice); err != nil || len(flags) != 0 {
				t.Errorf("flags %v, %v, want none", flags, err)
			}
			if flags, err := s.Flags(t.Context(), bob); err != nil || len(flags) != 1 {
				t.Errorf("another person's flags %v, %v, want one", flags, err)
			}
			if waiting, err := s.Waiting(t.Context(), authority, 0, 10); err != nil || len(waiting) != 1 || waiting[0].Notification.Number != bob {
				t.Errorf("notifications %v, %v, want bob's", waiting, err)
			}
			if r := verify(t, s); len(r.Problems) != 0 || r.Entries != 6 {
				t.Errorf("audit after the erasure: %+v", r)
			}
			var persons, subjects int
			if err := raw.QueryRow(`SELECT (SELECT count(*) FROM persons), (SELECT count(*) FROM audit WHERE subject IS NOT NULL)`).Scan(&persons, &subjects); err != nil || persons != 1 || subjects != 2 {
				t.Errorf("%d persons, %d entries that lead to one, %v, want 1 and 2", persons, subjects, err)
			}
			// Flagged anew, the person is a new one.
			if _, err := s.Apply(t.Context(), store.Upload{ID: "2", Authority: authority, Rows: 1, Changes: slices.Values([]store.Change{{Number: alice, Flag: flag}})}); err != nil {
				t.Fatal(err)
			}
			if flags, err := s.Flags(t.Context(), alice); err != nil || len(flags) != 1 {
				t.Errorf("flags after a new upload %v, %v, want one", flags, err)
			}
		})
	}
}

// Every table that has a column for a person is one that erasure clears.
func TestErasureKnowsEveryTable(t *testing.T) {
	open, raw := kinds["sqlite"](t)
	open()
	rows, err := raw.Query(`SELECT m.name FROM sqlite_schema m JOIN pragma_table_info(m.name) c WHERE m.type = 'table' AND c.name = 'person' ORDER BY m.name`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var tables []string
	for rows.Next() {
		var table string
		if err := rows.Scan(&table); err != nil {
			t.Fatal(err)
		}
		tables = append(tables, table)
	}
	if got, want := fmt.Sprint(tables), fmt.Sprint(store.TablesOfPersons()); got != want {
		t.Errorf("tables with a person: %s, cleared by erasure: %s", got, want)
	}
}

func TestAuditExport(t *testing.T) {
	for kind, create := range kinds {
		t.Run(kind, func(t *testing.T) {
			open, _ := create(t)
			s := open()
			for i := range 3 {
				if err := s.Record(t.Context(), look(t, number(t, "9990000107"), fmt.Sprint(i))); err != nil {
					t.Fatal(err)
				}
			}
			var out bytes.Buffer
			n, err := s.ExportAudit(t.Context(), &out, audit.Who{Caller: "operator"})
			if err != nil || n != 5 || strings.Count(out.String(), "\n") != n || strings.Contains(out.String(), "9990000107") {
				t.Errorf("%d entries, %v:\n%s", n, err, out.String())
			}
			for _, want := range []string{`"act":"chain opened"`, `"act":"looked"`, `"device":"agent one"`, `"site":"RX1RA"`, `"purpose":"refresh"`, `"caller":"spiffe`, `"act":"audit exported"`} {
				if !strings.Contains(out.String(), want) {
					t.Errorf("no %s in:\n%s", want, out.String())
				}
			}
		})
	}
}

// Several processes write to one database: each has a chain, each notes the
// others', and together they verify.
func TestSeveralProcessesOneDatabase(t *testing.T) {
	for kind, create := range kinds {
		t.Run(kind, func(t *testing.T) {
			open, _ := create(t)
			const processes, looks = 3, 20
			done := make(chan error, processes)
			for range processes {
				s := open()
				go func() {
					var err error
					for i := range looks {
						l := look(t, number(t, "9990000107"), fmt.Sprint(i))
						if i%2 == 0 {
							err = s.Record(t.Context(), l)
						} else {
							err = s.Settle(t.Context(), l, []safeguard.Notification{{Authority: code(t, "206"), Setting: safeguard.Maternity}})
						}
						if err != nil {
							break
						}
					}
					done <- err
				}()
			}
			for range processes {
				if err := <-done; err != nil {
					t.Error(err)
				}
			}
			s := open()
			waiting, err := s.Waiting(t.Context(), code(t, "206"), 0, 100)
			if err != nil || len(waiting) != looks/2 {
				t.Errorf("%d notifications, %v, want %d", len(waiting), err, looks/2)
			}
			if r := verify(t, s); len(r.Problems) != 0 || r.Chains != processes || r.Entries < processes*(looks+1) {
				t.Errorf("audit: %d chains, %d entries, %v", r.Chains, r.Entries, r.Problems)
			}
		})
	}
}
