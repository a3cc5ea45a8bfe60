package store

import (
	"database/sql"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/cache/keys"
)

// A store of the first version, with a person who has a flag and one who was
// only looked up, is the same after opening: only sealed by keys of their own.
func TestMigratesWhatTheFirstVersionWrote(t *testing.T) {
	ring, err := keys.Open(filepath.Join(t.TempDir(), "ring"), keys.FileMaster(filepath.Join(t.TempDir(), "master.key")))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "central.db")
	old := firstVersion(t, path, ring)
	alice, bob := old.number("9990000107"), old.number("9990000115")
	morning := time.Date(2026, 3, 1, 9, 30, 0, 0, time.UTC)
	flag := sealedFlag{Plan: safeguard.ChildProtection, Start: old.date("2025-01-02"), Born: old.date("2015-06-07")}
	authority, trust := old.code("206"), old.code("RX1")
	attendance := safeguard.NewAttendanceID(trust, "visit 1")
	person, other := old.token(alice), old.token(bob)

	old.exec(`INSERT INTO persons VALUES (?, ?)`, person, old.seal(alice.Reveal(), key("person", string(person))))
	old.exec(`INSERT INTO uploads VALUES ('one', '206', 'me', 1, 1, 1)`)
	old.exec(`INSERT INTO flags (person, authority, content, recorded_at, recorded_by) VALUES (?, '206', ?, 5, 'one')`,
		person, old.seal(flag, flagAD(person, authority)))
	for _, p := range []struct {
		token  []byte
		number safeguard.NHSNumber
	}{{person, alice}, {other, bob}} {
		old.exec(`INSERT INTO lookups (organisation, attendance, person, content, recorded_at) VALUES ('RX1', ?, ?, ?, ?)`, attendance[:], p.token,
			old.seal(sealedAccess{Number: p.number.Reveal(), Device: "agent one", Setting: safeguard.Maternity, At: morning}, accessAD(p.token, trust, attendance)), morning.UnixMilli())
	}
	old.exec(`INSERT INTO notifications (id, organisation, attendance, person, authority, content, recorded_at) VALUES ('n1', 'RX1', ?, ?, '206', ?, 7)`,
		attendance[:], person, old.seal(sealedNotification{Number: alice.Reveal(), SiteName: "Example Infirmary", Setting: safeguard.Maternity}, key("notification", "n1", "206")))
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}

	for range 2 { // the second finds nothing to do
		s, err := OpenSQLite(t.Context(), path, ring)
		if err != nil {
			t.Fatal(err)
		}
		flags, err := s.Flags(t.Context(), alice)
		if err != nil || len(flags) != 1 || flags[0].Plan != flag.Plan || flags[0].Start != flag.Start || flags[0].Born.Reveal() != flag.Born || flags[0].Authority != authority {
			t.Errorf("flags %v, %v, want the one of before", flags, err)
		}
		for _, n := range []safeguard.NHSNumber{alice, bob} {
			accesses, err := s.Accesses(t.Context(), n, 25)
			if err != nil || len(accesses) != 1 || accesses[0].Device != "agent one" || accesses[0].Number != n || !accesses[0].At.Equal(morning) {
				t.Errorf("accesses %v, %v, want the one of before", accesses, err)
			}
		}
		waiting, err := s.Waiting(t.Context(), authority, 0, 10)
		if err != nil || len(waiting) != 1 || waiting[0].Notification.Number != alice || waiting[0].Notification.SiteName != "Example Infirmary" {
			t.Errorf("notifications %v, %v, want the one of before", waiting, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestMigrationThatFailsLeavesTheStoreAsItWas(t *testing.T) {
	ring, err := keys.Open(filepath.Join(t.TempDir(), "ring"), keys.FileMaster(filepath.Join(t.TempDir(), "master.key")))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "central.db")
	old := firstVersion(t, path, ring)
	person := old.token(old.number("9990000107"))
	old.exec(`INSERT INTO persons VALUES (?, x'00')`, person)
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := OpenSQLite(t.Context(), path, ring); err == nil || !strings.Contains(err.Error(), "persons") {
			t.Errorf("opened: %v, want what can not be sealed anew", err)
		}
	}
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var number []byte
	if err := db.QueryRow(`SELECT number FROM persons`).Scan(&number); err != nil || len(number) != 1 {
		t.Errorf("number %x, %v, want it untouched", number, err)
	}
}

// oldStore is a store as the first version wrote it.
type oldStore struct {
	*testing.T
	*sql.DB
	vault
}

func firstVersion(t *testing.T, path string, ring *keys.Ring) oldStore {
	t.Helper()
	text, err := os.ReadFile("migrations/sqlite/00001_first.sql")
	if err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	o := oldStore{t, db, newVault(ring)}
	o.exec(string(text))
	o.exec(`CREATE TABLE goose_db_version (id INTEGER PRIMARY KEY AUTOINCREMENT, version_id INTEGER NOT NULL, is_applied INTEGER NOT NULL, tstamp TIMESTAMP DEFAULT (datetime('now')))`)
	o.exec(`INSERT INTO goose_db_version (version_id, is_applied) VALUES (0, 1), (1, 1)`)
	return o
}

func (o oldStore) exec(query string, args ...any) {
	o.Helper()
	if _, err := o.DB.Exec(query, args...); err != nil {
		o.Fatal(err)
	}
}

// seal is as the first version did it: by the ring.
func (o oldStore) seal(value any, ad []byte) []byte {
	o.Helper()
	plain, err := json.Marshal(value)
	if err != nil {
		o.Fatal(err)
	}
	sealed, err := o.ring.Seal(plain, ad)
	if err != nil {
		o.Fatal(err)
	}
	return sealed
}

func (o oldStore) token(n safeguard.NHSNumber) []byte {
	o.Helper()
	token, err := o.person(n)
	if err != nil {
		o.Fatal(err)
	}
	return token
}

func (o oldStore) number(s string) safeguard.NHSNumber {
	o.Helper()
	n, err := safeguard.ParseNHSNumber(s)
	if err != nil {
		o.Fatal(err)
	}
	return n
}

func (o oldStore) date(s string) safeguard.Date {
	o.Helper()
	d, err := safeguard.ParseDate(s)
	if err != nil {
		o.Fatal(err)
	}
	return d
}

func (o oldStore) code(s string) safeguard.ODSCode {
	o.Helper()
	c, err := safeguard.ParseODSCode(s)
	if err != nil {
		o.Fatal(err)
	}
	return c
}
