package keys

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// home is the two folders of a ring.
type home struct {
	t      testing.TB
	data   string
	master string
}

func newHome(t testing.TB) home {
	return home{t, filepath.Join(t.TempDir(), "keys"), filepath.Join(t.TempDir(), "etc", "master.key")}
}

func (h home) open() *Ring {
	h.t.Helper()
	r, err := Open(h.data, FileMaster(h.master))
	if err != nil {
		h.t.Fatal(err)
	}
	return r
}

func (h home) wantRefused(want error) {
	h.t.Helper()
	if _, err := Open(h.data, FileMaster(h.master)); !errors.Is(err, want) {
		h.t.Errorf("Open = %v, want %v", err, want)
	}
}

func seal(t testing.TB, r *Ring, plain, ad string) []byte {
	t.Helper()
	sealed, err := r.Seal([]byte(plain), []byte(ad))
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

func wantOpens(t testing.TB, r *Ring, sealed []byte, ad, want string) {
	t.Helper()
	if got, err := r.Open(sealed, []byte(ad)); err != nil || string(got) != want {
		t.Errorf("Open = %q, %v, want %q", got, err, want)
	}
}

func TestSealedValueOpensAfterReopening(t *testing.T) {
	h := newHome(t)
	first := h.open()
	sealed := seal(t, first, "plain", "row 1")
	if len(sealed) != len("plain")+Overhead {
		t.Errorf("sealed is %d bytes longer, want %d", len(sealed)-len("plain"), Overhead)
	}
	second := h.open()
	wantOpens(t, second, sealed, "row 1", "plain")
	if first.ID() != second.ID() || len(first.ID()) != 16 {
		t.Errorf("ring %q reopened as %q", first.ID(), second.ID())
	}
	if !bytes.Equal(first.Token("a", []byte("v")), second.Token("a", []byte("v"))) {
		t.Error("a token changed with reopening")
	}
}

func TestMovedOrChangedValueIsRefused(t *testing.T) {
	r := newHome(t).open()
	sealed := seal(t, r, "plain", "row 1")
	flipped := bytes.Clone(sealed)
	flipped[len(flipped)-1] ^= 1
	for name, c := range map[string]struct {
		sealed []byte
		ad     string
	}{
		"moved to another row":  {sealed, "row 2"},
		"one bit flipped":       {flipped, "row 1"},
		"cut":                   {sealed[:len(sealed)-1], "row 1"},
		"empty":                 {nil, "row 1"},
		"sealed by another":     {seal(t, newHome(t).open(), "plain", "row 1"), "row 1"},
		"without its own place": {sealed, ""},
	} {
		if _, err := r.Open(c.sealed, []byte(c.ad)); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: Open = %v, want %v", name, err, ErrRefused)
		}
	}
}

func TestTokens(t *testing.T) {
	r := newHome(t).open()
	base := r.Token("nhs number", []byte("9990000018"))
	if len(base) != TokenSize {
		t.Errorf("token of %d bytes, want %d", len(base), TokenSize)
	}
	for name, other := range map[string][]byte{
		"other value":               r.Token("nhs number", []byte("9990000026")),
		"other domain":              r.Token("mrn", []byte("9990000018")),
		"border moved":              r.Token("nhs number9", []byte("990000018")),
		"other ring":                newHome(t).open().Token("nhs number", []byte("9990000018")),
		"no value":                  r.Token("nhs number", nil),
		"value run into the domain": r.Token("", []byte("nhs number9990000018")),
	} {
		if bytes.Equal(base, other) {
			t.Errorf("%s: same token", name)
		}
	}
}

func TestMissingMasterIsNeverMadeAnew(t *testing.T) {
	h := newHome(t)
	h.open()
	if err := os.Remove(h.master); err != nil {
		t.Fatal(err)
	}
	h.wantRefused(ErrMasterMissing)
	if _, err := os.Stat(h.master); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a master key was made where one was missing: %v", err)
	}
	if err := os.Remove(filepath.Join(h.data, ringName)); err != nil {
		t.Fatal(err)
	}
	h.wantRefused(ErrMasterMissing) // the copy tells that there was a ring
}
