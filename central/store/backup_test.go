package store_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/audit"
	"github.com/safeguard-edge/safeguard/central/store"
)

// A backup that is made while lookups go on is a store of its own: it answers
// under the keys, and tells nothing without.
func TestBackup(t *testing.T) {
	dir, r := t.TempDir(), ring(t)
	s := open(t, filepath.Join(dir, "central.db"), r)
	alice := number(t, "9990000107")
	flag := store.Flag{Plan: safeguard.ChildProtection, Start: safeguard.Date{Year: 2025, Month: 2, Day: 3}}
	if _, err := s.Apply(t.Context(), store.Upload{ID: "1", Authority: code(t, "206"), Rows: 1, Changes: slices.Values([]store.Change{{Number: alice, Flag: flag}})}); err != nil {
		t.Fatal(err)
	}
	stop, stopped := make(chan struct{}), make(chan error, 1)
	recorded := make(chan struct{}, 1)
	go func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				stopped <- nil
				return
			default:
			}
			if err := s.Record(t.Context(), look(t, alice, fmt.Sprint(i))); err != nil {
				stopped <- err
				return
			}
			select {
			case recorded <- struct{}{}:
			default:
			}
		}
	}()
	<-recorded
	path := filepath.Join(dir, "backup.db")
	if err := s.Backup(t.Context(), path, audit.Who{Caller: "operator"}); err != nil {
		t.Fatal(err)
	}
	close(stop)
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
	if err := s.Backup(t.Context(), path, audit.Who{Caller: "operator"}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over a file that is there: %v, want a refusal", err)
	}
	info, err := os.Stat(path)
	if err != nil || os.PathSeparator == '/' && info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v, want 0600", info.Mode(), err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"9990000107", "2025-02-03", "CPP"} {
		if bytes.Contains(text, []byte(secret)) {
			t.Errorf("the backup holds %q", secret)
		}
	}
	if _, err := store.OpenSQLite(t.Context(), path, ring(t)); err == nil || !strings.Contains(err.Error(), "other keys") {
		t.Errorf("opened with other keys: %v, want a refusal", err)
	}

	restored := open(t, path, r)
	if flags, err := restored.Flags(t.Context(), alice); err != nil || len(flags) != 1 || flags[0].Start != flag.Start {
		t.Errorf("flags of the backup: %v, %v, want the one of before", flags, err)
	}
	if err := restored.Record(t.Context(), look(t, alice, "after")); err != nil {
		t.Error(err)
	}
	if report := verify(t, restored); len(report.Problems) != 0 || report.Chains != 2 {
		t.Errorf("audit of the backup: %+v, want the chain of before and its own", report)
	}
}

// A backup that can not be finished leaves nothing that could be taken for one.
func TestBackupThatFails(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "central.db"), ring(t))
	path := filepath.Join(t.TempDir(), "no such folder", "backup.db")
	if err := s.Backup(t.Context(), path, audit.Who{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("into a folder that is not there: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "backup.db")
	if err := s.Backup(t.Context(), path, audit.Who{}); err == nil {
		t.Error("a closed store was backed up")
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v, want no file", err)
	}
}

// A backup of a restored store is restored again, in either kind of database: what
// was there is there, the audit goes on, the log of changes does not, and says since
// when something is lost.
func TestRestoredTwice(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) {
		dir, r := t.TempDir(), ring(t)
		last := ""
		restoredTwice(t, open(t, filepath.Join(dir, "central.db"), r), func(from string, n int) (*store.DB, store.Restored, error) {
			last = from
			path := filepath.Join(dir, fmt.Sprint("restored", n, ".db"))
			done, err := store.RestoreSQLite(t.Context(), from, path, r, audit.Who{Caller: "operator"})
			if err != nil {
				return nil, done, err
			}
			if _, err := store.RestoreSQLite(t.Context(), from, path, r, audit.Who{Caller: "operator"}); !errors.Is(err, fs.ErrExist) {
				t.Errorf("over a store that is there: %v, want a refusal", err)
			}
			if left, _ := filepath.Glob(path + ".restoring*"); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
			if info, err := os.Stat(path); err != nil || os.PathSeparator == '/' && info.Mode().Perm() != 0o600 {
				t.Errorf("mode %v, %v, want 0600", info.Mode(), err)
			}
			return open(t, path, r), done, nil
		})
		other := filepath.Join(dir, "other.db")
		if _, err := store.RestoreSQLite(t.Context(), last, other, ring(t), audit.Who{}); err == nil || !strings.Contains(err.Error(), "other keys") {
			t.Errorf("under other keys: %v, want a refusal", err)
		}
		if left, _ := filepath.Glob(other + "*"); len(left) > 0 {
			t.Errorf("a refused restore left %v", left)
		}
		broken := filepath.Join(dir, "broken")
		text, err := os.ReadFile(last)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(broken, text[:len(text)/2], 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := store.RestoreSQLite(t.Context(), broken, other, r, audit.Who{}); err == nil || !strings.Contains(err.Error(), "no whole backup") {
			t.Errorf("half a backup: %v, want a refusal", err)
		}
	})
	t.Run("postgres", func(t *testing.T) {
		dsn, r := database(t), ring(t)
		from := ""
		restoredTwice(t, openPostgres(t, dsn, r), func(backup string, n int) (*store.DB, store.Restored, error) {
			from = backup
			empty, err := server.Empty(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			done, err := store.RestorePostgres(t.Context(), backup, empty, r, audit.Who{Caller: "operator"})
			if err != nil {
				return nil, done, err
			}
			if _, err := store.RestorePostgres(t.Context(), backup, empty, r, audit.Who{}); !errors.Is(err, fs.ErrExist) {
				t.Errorf("over a store that is there: %v, want a refusal", err)
			}
			return openPostgres(t, empty, r), done, nil
		})
		empty, err := server.Empty(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := store.RestorePostgres(t.Context(), from, empty, ring(t), audit.Who{}); err == nil || !strings.Contains(err.Error(), "other keys") {
			t.Errorf("under other keys: %v, want a refusal", err)
		}
		// Nothing was written: it can still be restored under the right ones.
		if _, err := store.RestorePostgres(t.Context(), from, empty, r, audit.Who{}); err != nil {
			t.Error(err)
		}
	})
}

func restoredTwice(t *testing.T, s *store.DB, restore func(from string, n int) (*store.DB, store.Restored, error)) {
	t.Helper()
	ctx, dir := t.Context(), t.TempDir()
	alice, council := number(t, "9990000107"), code(t, "206")
	var points []store.ChangePoint
	for n := 1; n <= 2; n++ {
		flag := store.Flag{Plan: safeguard.ChildProtection, Start: safeguard.Date{Year: 2025, Month: 2, Day: n}}
		if _, err := s.Apply(ctx, store.Upload{ID: fmt.Sprint(n), Authority: council, Rows: 1, Changes: slices.Values([]store.Change{{Number: alice, Flag: flag}})}); err != nil {
			t.Fatal(err)
		}
		if err := s.Settle(ctx, look(t, alice, fmt.Sprint("kept ", n)), []safeguard.Notification{{Organisation: code(t, "RX1"), Authority: council, Site: code(t, "RX1RA"), Setting: safeguard.EmergencyDepartment}}); err != nil {
			t.Fatal(err)
		}
		before := time.Now()
		backup := filepath.Join(dir, fmt.Sprint("backup", n))
		if err := s.Backup(ctx, backup, audit.Who{Caller: "operator"}); err != nil {
			t.Fatal(err)
		}
		if err := s.Settle(ctx, look(t, alice, fmt.Sprint("lost ", n)), nil); err != nil {
			t.Fatal(err)
		}
		last, err := s.LastChange(ctx, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		points = append(points, last)
		restored, done, err := restore(backup, n)
		if err != nil {
			t.Fatal(err)
		}
		s = restored
		if done.AsOf.After(time.Now()) || before.Sub(done.AsOf) > time.Minute {
			t.Errorf("restored to %v, want about %v", done.AsOf, before)
		}
		if at, err := s.PutBackTo(ctx); err != nil || !at.Equal(done.AsOf) {
			t.Errorf("put back to %v, %v, want %v", at, err, done.AsOf)
		}
		if flags, err := s.Flags(ctx, alice); err != nil || len(flags) != n {
			t.Errorf("restored %d times: flags %v, %v, want %d", n, flags, err, n)
		}
		if accesses, err := s.Accesses(ctx, alice, 10); err != nil || len(accesses) != n {
			t.Errorf("restored %d times: %d accesses, %v, want the %d that were backed up", n, len(accesses), err, n)
		}
		for _, p := range append(points, store.ChangePoint{}) {
			if _, err := s.Changed(ctx, p, 10, before.AddDate(0, 0, -1)); !errors.Is(err, store.ErrGap) {
				t.Errorf("restored %d times: changes from %+v: %v, want %v", n, p, err, store.ErrGap)
			}
		}
		begin, err := s.LastChange(ctx, time.Now().Add(-time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		if list, err := s.Changed(ctx, begin, 10, before); err != nil || len(list) != 0 {
			t.Errorf("the new log: %v, %v, want nothing behind its beginning", list, err)
		}
		if report := verify(t, s); len(report.Problems) != 0 {
			t.Errorf("restored %d times: audit: %+v", n, report.Problems)
		}
		// What was told since is told again, and is the same.
		if err := s.Settle(ctx, look(t, alice, fmt.Sprint("kept ", n)), []safeguard.Notification{{Organisation: code(t, "RX1"), Authority: council, Site: code(t, "RX1RA"), Setting: safeguard.EmergencyDepartment}}); err != nil {
			t.Fatal(err)
		}
		if waiting, err := s.Waiting(ctx, council, 0, 10); err != nil || len(waiting) != n {
			t.Errorf("restored %d times: %d notifications wait, %v, want %d", n, len(waiting), err, n)
		}
	}
}

// No argument of a program that others see holds a password, and none that it does
// not know.
func TestConnectionStringsOfTools(t *testing.T) {
	for dsn, want := range map[string]string{
		"postgres://me:secret@db:5432/safeguard?sslmode=verify-full&pool_max_conns=30":          "postgres://me@db:5432/safeguard?sslmode=verify-full",
		"postgres://me@db1:5432,db2:5432/safeguard?password=secret&target_session_attrs=any":    "postgres://me@db1:5432,db2:5432/safeguard?target_session_attrs=any",
		"host=db user=me password='sec ret\\'s' dbname=safeguard pool_max_conns=4":              "host=db user=me  dbname=safeguard ",
		"host=db user=me password = secret sslpassword=secret dbname=safeguard sslmode=require": "host=db user=me   dbname=safeguard sslmode=require",
	} {
		if got := store.WithoutSecrets(dsn); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
