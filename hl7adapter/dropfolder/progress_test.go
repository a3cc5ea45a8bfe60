package dropfolder

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestProgressIsRemembered(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "progress")
	r := newReference(time.Now())
	rec, p, err := openRecord(dir, r)
	if err != nil || p != (progress{}) || rec.exists() {
		t.Fatalf("got %+v, %v", p, err)
	}
	for i := range int64(5) {
		want := progress{offset: i + 1, parts: 2, rejected: 3, ack: 4, failed: 5, reason: 6, complete: i == 4}
		if err := rec.save(want); err != nil {
			t.Fatal(err)
		}
		again, got, err := openRecord(dir, r)
		if err != nil || got != want {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
		again.close()
	}
	if err := rec.forget(); err != nil {
		t.Fatal(err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 0 {
		t.Errorf("%d files are left", len(entries))
	}
}

// Whatever a power failure leaves of the record that was being written, the one
// before it is still there.
func TestProgressSurvivesTornWrites(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for turn := range 200 {
		dir := t.TempDir()
		r := newReference(time.Now())
		rec, _, err := openRecord(dir, r)
		if err != nil {
			t.Fatal(err)
		}
		saves := 1 + turn%4
		for i := range saves {
			if err := rec.save(progress{offset: int64(100 * (i + 1))}); err != nil {
				t.Fatal(err)
			}
		}
		// The next record arrives in part, or as something else.
		next := progress{offset: 9999}.encode(rec.turn + 1)
		for i := random.IntN(len(next)); i < len(next); i++ {
			next[i] = byte(random.Int())
		}
		if _, err := rec.file.WriteAt(next, int64((rec.turn+1)%2)*slotSize); err != nil {
			t.Fatal(err)
		}
		rec.close()
		again, got, err := openRecord(dir, r)
		if err != nil || got.offset != int64(100*saves) {
			t.Fatalf("after %d saves and a torn one got %d, %v", saves, got.offset, err)
		}
		if err := again.save(progress{offset: 7}); err != nil {
			t.Fatal(err)
		}
		again.close()
		if last, got, err := openRecord(dir, r); err != nil || got.offset != 7 {
			t.Fatalf("after the next save got %d, %v", got.offset, err)
		} else {
			last.close()
		}
	}
}

// Progress of a file that is no longer there is forgotten, any other is not.
func TestProgressOfWhatHasGone(t *testing.T) {
	c := testConfig(t)
	here, gone := newReference(time.Now()), newReference(time.Now())
	if err := os.Mkdir(filepath.Join(c.Folder, taking), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, r := range []reference{here, gone} {
		rec, _, err := openRecord(c.Progress, r)
		if err != nil {
			t.Fatal(err)
		}
		if err := rec.save(progress{offset: 5}); err != nil {
			t.Fatal(err)
		}
		rec.close()
	}
	if err := os.WriteFile(filepath.Join(c.Folder, taking, here.claim("a.hl7")), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := c.sweep(time.Now())
	if err == nil {
		err = sweepProgress(c.Progress, s.taking)
	}
	if err != nil {
		t.Fatal(err)
	}
	entries, _ := os.ReadDir(c.Progress)
	if len(entries) != 1 || entries[0].Name() != string(here)+progressSuffix {
		t.Errorf("left %v", entries)
	}
}

// FuzzDecodeProgress: what is taken for a record is one, and is written the same.
func FuzzDecodeProgress(f *testing.F) {
	f.Add(progress{offset: 1, parts: 2, complete: true}.encode(7))
	f.Add([]byte(progressMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, turn, ok := decodeProgress(b)
		if ok && p.complete && string(p.encode(turn)) != string(b[:recordSize]) {
			t.Errorf("%x is read as %+v", b, p)
		}
	})
}
