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

func TestPostgresHasItsOwnBackup(t *testing.T) {
	s := openPostgres(t, database(t), ring(t))
	if err := s.Backup(t.Context(), filepath.Join(t.TempDir(), "backup"), audit.Who{}); !errors.Is(err, store.ErrOwnBackup) {
		t.Errorf("%v, want %v", err, store.ErrOwnBackup)
	}
}
