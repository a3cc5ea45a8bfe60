package store_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/x509"
	"database/sql"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/cache/keys"
	"github.com/safeguard-edge/safeguard/central/audit"
	"github.com/safeguard-edge/safeguard/central/identity"
	"github.com/safeguard-edge/safeguard/central/store"
	"github.com/safeguard-edge/safeguard/central/store/storetest"
)

func ring(t testing.TB) *keys.Ring {
	t.Helper()
	return ringAt(t, t.TempDir())
}

// ringAt is a ring that another process can open, too.
func ringAt(t testing.TB, dir string) *keys.Ring {
	t.Helper()
	r, err := keys.Open(filepath.Join(dir, "ring"), keys.FileMaster(filepath.Join(dir, "master.key")))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func open(t testing.TB, path string, r *keys.Ring) *store.DB {
	t.Helper()
	s, err := store.OpenSQLite(t.Context(), path, r)
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

func TestSQLite(t *testing.T) {
	storetest.Run(t, func(t *testing.T) func() store.Store {
		path, r := filepath.Join(t.TempDir(), "central.db"), ring(t)
		return func() store.Store { return open(t, path, r) }
	})
}

func TestSQLiteRefusesOtherKeys(t *testing.T) {
	path := filepath.Join(t.TempDir(), "central.db")
	if err := open(t, path, ring(t)).Close(); err != nil {
		t.Fatal(err)
	}
	_, err := store.OpenSQLite(t.Context(), path, ring(t))
	if err == nil || !strings.Contains(err.Error(), "other keys") {
		t.Errorf("opened with other keys: %v, want a refusal", err)
	}
}

// Keys destroyed under a running centre: nobody would be found, and nothing may
// be answered.
func TestSQLiteWithDestroyedKeys(t *testing.T) {
	r := ring(t)
	s := open(t, filepath.Join(t.TempDir(), "central.db"), r)
	n, err := safeguard.ParseNHSNumber("9990000107")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Flags(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	if err := r.Destroy(); err != nil {
		t.Fatal(err)
	}
	if flags, err := s.Flags(t.Context(), n); err == nil {
		t.Errorf("flags %v, want an error", flags)
	}
	if err := s.Settle(t.Context(), store.Look{Access: store.Access{Number: n}}, nil); err == nil {
		t.Error("settled a lookup without keys")
	}
}

func TestSQLiteRefusesANewerStore(t *testing.T) {
	path, r := filepath.Join(t.TempDir(), "central.db"), ring(t)
	if err := open(t, path, r).Close(); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(`INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, 1)`); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = store.OpenSQLite(t.Context(), path, r)
	if err == nil || !strings.Contains(err.Error(), "9999") {
		t.Errorf("opened a newer store: %v, want a refusal", err)
	}
}

func TestSQLiteOddPath(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a b#c%20?d&e")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "central.db")
	open(t, path, ring(t))
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() == 0 || os.PathSeparator == '/' && info.Mode().Perm() != 0o600 {
		t.Errorf("%d bytes, mode %v, want the store itself, 0600", info.Size(), info.Mode())
	}
}

// A copy of the files must tell nothing about a person.
func TestSQLiteKeepsPersonsSealed(t *testing.T) {
	dir := t.TempDir()
	s := open(t, filepath.Join(dir, "central.db"), ring(t))
	n, err := safeguard.ParseNHSNumber("9990000107")
	if err != nil {
		t.Fatal(err)
	}
	trust, _ := safeguard.ParseODSCode("RX1")
	authority, _ := safeguard.ParseODSCode("206")
	born := safeguard.Hide(safeguard.Date{Year: 2015, Month: 6, Day: 7})
	flag := store.Flag{Plan: safeguard.ChildProtection, Start: safeguard.Date{Year: 2025, Month: 2, Day: 3}, Born: born}
	if _, err := s.Apply(t.Context(), store.Upload{ID: "1", Authority: authority, Rows: 1, Changes: slices.Values([]store.Change{{Number: n, Flag: flag}})}); err != nil {
		t.Fatal(err)
	}
	a := store.Access{Number: n, Organisation: trust, Attendance: safeguard.NewAttendanceID(trust, "1"), Accountable: safeguard.Accountable{Name: "Dr Example"}, At: time.Now(), Recorded: time.Now()}
	owed := []safeguard.Notification{{Authority: authority, Born: born, Plans: []safeguard.Plan{safeguard.ChildProtection}, SiteName: "Example Infirmary"}}
	if err := s.Settle(t.Context(), store.Look{Access: a}, owed); err != nil {
		t.Fatal(err)
	}
	// A snapshot that waits holds changes and whom it spares.
	moved := flag
	moved.Start = safeguard.Date{Year: 2025, Month: 3, Day: 4}
	waits := store.Upload{ID: "2", Authority: authority, Rows: 2, Changes: slices.Values([]store.Change{{Number: n, Flag: moved}}),
		Snapshot: &store.Snapshot{Day: safeguard.Date{Year: 2026, Month: 1, Day: 2}, Born: []safeguard.Date{{Year: 2014, Month: 5, Day: 6}}, Numbers: []safeguard.NHSNumber{safeguard.TestPatient}}}
	if k, err := s.Apply(t.Context(), waits); err != nil || k.State != store.Waits {
		t.Fatalf("snapshot %+v, %v, want it to wait", k, err)
	}
	tellsNothing(t, dir, "9990000107", "2015-06-07", "2025-02-03", "2025-03-04", "2014-05-06", "9990000018", "CPP", "Infirmary")
}

// tellsNothing wants none of the secrets in any of the files.
func tellsNothing(t *testing.T, dir string, secrets ...string) {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, f := range files {
		text, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range secrets {
			if bytes.Contains(text, []byte(secret)) {
				t.Errorf("%s holds %q", f.Name(), secret)
			}
		}
	}
}

// A copy of the files must let nobody issue certificates, enrol, sign in, or read
// what an agent has sent.
func TestSQLiteKeepsKeysSealed(t *testing.T) {
	dir := t.TempDir()
	s := open(t, filepath.Join(dir, "central.db"), ring(t))
	by := audit.Who{Caller: "operator"}
	ca, pair, err := identity.NewCA("Example authority", time.Now(), time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(pair.Key)
	if err := s.PutIssuer(t.Context(), store.Issuer{ID: "one", Chain: pair.Certificate, Root: pair.Certificate, Key: block.Bytes, Made: time.Now()}, by); err != nil {
		t.Fatal(err)
	}
	private, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	scalar, err := private.(*ecdsa.PrivateKey).Bytes()
	if err != nil {
		t.Fatal(err)
	}
	trust, _ := safeguard.ParseODSCode("RX1")
	secret := identity.NewSecret()
	token := store.EnrolToken{Hash: identity.SecretHash(secret), Identity: identity.Identity{Kind: identity.Agent, Code: trust, ID: "ed1"}, Site: trust, Made: time.Now(), Expires: time.Now().Add(time.Hour)}
	if err := s.PutToken(t.Context(), token, by); err != nil {
		t.Fatal(err)
	}
	if err := s.PutOperator(t.Context(), store.OperatorAccount{Name: "imogen", Role: store.Viewer, Password: "a hash", Factor: []byte("SECOND FACTOR OF IMOGEN")}, by); err != nil {
		t.Fatal(err)
	}
	agent := store.AgentKey{Organisation: trust, ID: "ed1"}
	if _, err := s.Beat(t.Context(), []store.Beat{{Agent: agent, Received: time.Now(), Report: safeguard.Heartbeat{Boot: "b", Sequence: 1}}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Order(t.Context(), safeguard.RemoteCommand{ID: "c1", Agent: agent.String(), Do: safeguard.SendBundle, Ordered: time.Now(), Expires: time.Now().Add(time.Hour)}, by); err != nil {
		t.Fatal(err)
	}
	if err := s.AnswerCommand(t.Context(), agent, "c1", safeguard.RemoteAnswer{Outcome: safeguard.CommandDone, Bundle: []byte("WHAT IS IN THE BUNDLE")}, time.Now()); err != nil {
		t.Fatal(err)
	}
	tellsNothing(t, dir, string(block.Bytes), string(scalar), string(secret), "SECOND FACTOR OF IMOGEN", "WHAT IS IN THE BUNDLE")
	kept, err := s.Issuers(t.Context())
	if err != nil || len(kept) != 1 {
		t.Fatalf("%d issuers, %v", len(kept), err)
	}
	if _, err := identity.OpenCA(ca.Certificate(), kept[0].Key); err != nil {
		t.Errorf("with the keys it does not issue either: %v", err)
	}
}

// A store that was closed is one file: whoever copies it then has all of it.
func TestSQLiteClosedIsOneFile(t *testing.T) {
	dir := t.TempDir()
	s := open(t, filepath.Join(dir, "central.db"), ring(t))
	n, err := safeguard.ParseNHSNumber("9990000107")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Flags(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	if err := s.Record(t.Context(), look(t, n, "1")); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 1 {
		t.Errorf("files %v, %v, want the store alone", files, err)
	}
}
