package sealed

import (
	"bufio"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	badger "github.com/dgraph-io/badger/v4"
)

// grown is a closed store of some tables.
func grown(t *testing.T) home {
	t.Helper()
	h := newHome(t)
	s := h.store(t)
	for i := range 4 {
		fill(t, s, i*500, (i+1)*500)
		must(t, s.Close())
		s = h.store(t)
	}
	must(t, s.Close())
	return h
}

func (h home) files(t *testing.T, pattern string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(h.badger(), pattern))
	must(t, err)
	if len(paths) == 0 {
		t.Fatalf("no %s in Badger's folder", pattern)
	}
	return paths
}

func edit(t *testing.T, path string, change func([]byte) []byte) {
	t.Helper()
	body, err := os.ReadFile(path)
	must(t, err)
	must(t, os.WriteFile(path, change(body), 0o600))
}

func cut(n int) func([]byte) []byte { return func(b []byte) []byte { return b[:len(b)-n] } }

func flip(at int) func([]byte) []byte {
	return func(b []byte) []byte {
		b[(at+len(b))%len(b)] ^= 0x10
		return b
	}
}

// Whatever happens to the files, a store either holds all that it held, or says
// that it began anew and holds nothing: it is never partly there. Badger ends
// the process for some damage; the start after that one begins anew.
func TestDamage(t *testing.T) {
	for name, c := range map[string]struct {
		damage   func(t *testing.T, h home)
		harmless bool // may come through unharmed
	}{
		"byte flipped in a table": {damage: func(t *testing.T, h home) { edit(t, h.files(t, "*.sst")[0], flip(5000)) }},
		"byte flipped in a table's index": {damage: func(t *testing.T, h home) {
			edit(t, h.files(t, "*.sst")[0], flip(-300))
		}},
		"byte flipped in the newest table": {damage: func(t *testing.T, h home) {
			paths := h.files(t, "*.sst")
			edit(t, paths[len(paths)-1], flip(200))
		}},
		"table cut":     {damage: func(t *testing.T, h home) { edit(t, h.files(t, "*.sst")[0], cut(1000)) }},
		"table empty":   {damage: func(t *testing.T, h home) { must(t, os.Truncate(h.files(t, "*.sst")[0], 0)) }},
		"table missing": {damage: func(t *testing.T, h home) { must(t, os.Remove(h.files(t, "*.sst")[0])) }},
		"newest table missing": {damage: func(t *testing.T, h home) {
			paths := h.files(t, "*.sst")
			must(t, os.Remove(paths[len(paths)-1]))
		}},
		"manifest missing": {damage: func(t *testing.T, h home) { must(t, os.Remove(filepath.Join(h.badger(), "MANIFEST"))) }},
		"manifest cut": {damage: func(t *testing.T, h home) {
			edit(t, filepath.Join(h.badger(), "MANIFEST"), cut(5))
		}},
		"manifest cut further": {damage: func(t *testing.T, h home) {
			edit(t, filepath.Join(h.badger(), "MANIFEST"), cut(60))
		}},
		"manifest flipped":  {damage: func(t *testing.T, h home) { edit(t, filepath.Join(h.badger(), "MANIFEST"), flip(-10)) }},
		"registry missing":  {damage: func(t *testing.T, h home) { must(t, os.Remove(filepath.Join(h.badger(), "KEYREGISTRY"))) }},
		"registry cut":      {damage: func(t *testing.T, h home) { edit(t, filepath.Join(h.badger(), "KEYREGISTRY"), cut(7)) }},
		"registry empty":    {damage: func(t *testing.T, h home) { must(t, os.Truncate(filepath.Join(h.badger(), "KEYREGISTRY"), 0)) }},
		"all files missing": {damage: func(t *testing.T, h home) { must(t, os.RemoveAll(h.badger())); must(t, os.Mkdir(h.badger(), 0o700)) }},
		"folder missing":    {damage: func(t *testing.T, h home) { must(t, os.RemoveAll(h.badger())) }},
		"memory file of no length": {harmless: true, damage: func(t *testing.T, h home) {
			must(t, os.WriteFile(filepath.Join(h.badger(), "00099.mem"), nil, 0o600))
		}},
		"checkpoint missing": {damage: func(t *testing.T, h home) { must(t, os.Remove(filepath.Join(h.dir(), checkpointName))) }},
		"checkpoint changed": {damage: func(t *testing.T, h home) { edit(t, filepath.Join(h.dir(), checkpointName), flip(20)) }},
		"other keys":         {damage: func(t *testing.T, h home) { must(t, h.keys(t).Destroy()) }},
		"died while opening": {damage: func(t *testing.T, h home) {
			must(t, os.WriteFile(filepath.Join(h.dir(), suspectName), nil, 0o600))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			h := grown(t)
			c.damage(t, h)

			out, err := h.child("open").CombinedOutput()
			died := err != nil
			if died {
				if out, err = h.child("open").CombinedOutput(); err != nil {
					t.Fatalf("a second start does not help: %v: %s", err, tail(out))
				}
			}
			line := strings.TrimSpace(string(out))
			t.Logf("died: %v, then: %s", died, line)
			whole, anew := line == "2000", strings.HasPrefix(line, "0 ") && len(line) > 2
			if !anew && (!c.harmless || !whole) {
				t.Errorf("opened as %q, want 0 values and a reason", line)
			}

			s := h.store(t) // serves from now on
			if s.BeganAnew() != "" {
				t.Errorf("began anew again: %s", s.BeganAnew())
			}
			fill(t, s, 0, 10)
			wantHeld(t, s, 0, 10)
		})
	}
}

// A process killed while it writes leaves values in Badger's write-ahead log
// only. Damage there costs the latest of them or all, never one in between.
func TestDamagedLog(t *testing.T) {
	h := newHome(t)
	cmd := h.child("write")
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	for lines := bufio.NewScanner(out); lines.Scan() && lines.Text() != "450"; {
	}
	must(t, cmd.Process.Kill())
	_ = cmd.Wait()
	kept := filepath.Join(h.root, "kept")
	must(t, os.CopyFS(kept, os.DirFS(h.dir())))

	counts := make(map[int]int)
	for at := 50; at < 300_000; at += 9_973 {
		must(t, os.RemoveAll(h.dir()))
		must(t, os.CopyFS(h.dir(), os.DirFS(kept)))
		edit(t, h.files(t, "*.mem")[0], flip(at))
		s := h.store(t)
		n := s.Len()
		if n == 0 && s.BeganAnew() == "" || n > 0 && n < 400 {
			t.Errorf("byte %d: opened with %d values of 450 and more, 400 of them checkpointed, anew for %q", at, n, s.BeganAnew())
		}
		wantHeld(t, s, 0, n)
		must(t, s.Close())
		counts[n]++
	}
	t.Logf("values left, and how often: %v", counts)
}

// A folder restored from before its checkpoint is noticed.
func TestOlderFolderIsNoticed(t *testing.T) {
	h := newHome(t)
	s := h.store(t)
	fill(t, s, 0, 100)
	must(t, s.Close())
	kept := filepath.Join(h.root, "kept")
	must(t, os.CopyFS(kept, os.DirFS(h.badger())))
	s = h.store(t)
	must(t, s.Delete(key(1)))
	must(t, s.Close())
	must(t, os.RemoveAll(h.badger()))
	must(t, os.Rename(kept, h.badger()))

	s = h.store(t)
	if s.BeganAnew() != errOld.Error() || s.Len() != 0 {
		t.Errorf("opened with %d values, anew for %q, want %q", s.Len(), s.BeganAnew(), errOld)
	}
}

// Damage that comes while the store is open: it is given up, answers ErrLost,
// and is begun anew at the next Open.
func TestGivenUpWhileOpen(t *testing.T) {
	for name, damage := range map[string]func(s *Store) error{
		"a key swallowed": func(s *Store) error {
			return s.db.Update(func(txn *badger.Txn) error { return txn.Delete(key(3).row()) })
		},
		"a value changed": func(s *Store) error { return overwrite(s, 3, func(b []byte) []byte { b[20] ^= 1; return b }) },
		"a value of another key": func(s *Store) error {
			other, err := s.read(key(4))
			if err != nil {
				return err
			}
			return overwrite(s, 3, func([]byte) []byte { return other })
		},
		"an older value": func(s *Store) error {
			old, err := s.read(key(3))
			if err != nil {
				return err
			}
			if err := s.Put(key(3), value(3), start.Add(1e9), later); err != nil {
				return err
			}
			return overwrite(s, 3, func([]byte) []byte { return old })
		},
	} {
		t.Run(name, func(t *testing.T) {
			for how, find := range map[string]func(s *Store) error{
				"found by Get":    func(s *Store) error { _, err := s.Get(key(3), start); return err },
				"found by Verify": func(s *Store) error { return s.Verify(context.Background()) },
			} {
				h := newHome(t)
				s := h.store(t)
				fill(t, s, 0, 10)
				must(t, damage(s))
				if err := find(s); !errors.Is(err, ErrLost) || s.Lost() == "" {
					t.Fatalf("%s: %v, lost for %q, want %v", how, err, s.Lost(), ErrLost)
				}
				if _, err := s.Get(key(5), start); !errors.Is(err, ErrLost) {
					t.Errorf("%s: Get of another = %v, want %v", how, err, ErrLost)
				}
				if err := s.Put(key(5), nil, start, later); !errors.Is(err, ErrLost) {
					t.Errorf("%s: Put = %v, want %v", how, err, ErrLost)
				}
				why := s.Lost()
				must(t, s.Close())
				s = h.store(t)
				if s.BeganAnew() != why || s.Len() != 0 {
					t.Errorf("%s: reopened with %d values, anew for %q, want %q", how, s.Len(), s.BeganAnew(), why)
				}
				must(t, s.Close())
			}
		})
	}
}

func overwrite(s *Store, i int, change func([]byte) []byte) error {
	blob, err := s.read(key(i))
	if err != nil {
		return err
	}
	return s.db.Update(func(txn *badger.Txn) error { return txn.Set(key(i).row(), change(blob)) })
}

func TestOneFolderIsKeptAside(t *testing.T) {
	h := newHome(t)
	for range 3 {
		must(t, h.store(t).Close())
		must(t, os.WriteFile(filepath.Join(h.dir(), suspectName), []byte("test"), 0o600))
	}
	must(t, h.store(t).Close())
	aside, err := filepath.Glob(filepath.Join(h.dir(), asidePrefix+"*"))
	must(t, err)
	if len(aside) != 1 {
		t.Errorf("kept aside: %d folders, want 1", len(aside))
	}
}
