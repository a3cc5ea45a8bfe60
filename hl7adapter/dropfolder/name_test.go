package dropfolder

import (
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestCompareNames(t *testing.T) {
	want := []string{"", "01", "1", "a", "a.hl7", "a1.hl7", "a02.hl7", "a2.hl7", "a9.hl7", "a10.hl7", "a10b2", "a10b10", "a99999999999999999999998", "a99999999999999999999999", "b"}
	got := slices.Clone(want)
	slices.Reverse(got)
	slices.SortFunc(got, compareNames)
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// FuzzCompareNames: it is an order, in which only the same name is equal.
func FuzzCompareNames(f *testing.F) {
	f.Add("a1", "a01", "a10")
	f.Add("0", "00", "")
	f.Add("x9y", "x10", "x09y")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		if (compareNames(a, b) == 0) != (a == b) {
			t.Errorf("%q and %q compare as %d", a, b, compareNames(a, b))
		}
		if compareNames(a, b) != -compareNames(b, a) {
			t.Errorf("%q and %q are in two orders", a, b)
		}
		if compareNames(a, b) <= 0 && compareNames(b, c) <= 0 && compareNames(a, c) > 0 {
			t.Errorf("%q <= %q <= %q, but not the first and the last", a, b, c)
		}
	})
}

func TestReference(t *testing.T) {
	now := time.Date(2026, 11, 23, 10, 15, 2, 5e8, time.FixedZone("", 3600))
	r := newReference(now)
	if !strings.HasPrefix(string(r), "20261123T091502Z-") || !r.taken().Equal(now.Truncate(time.Second)) {
		t.Errorf("got %s, taken %v", r, r.taken())
	}
	if newReference(now) == r {
		t.Error("the same reference twice")
	}
	for _, bad := range []string{"", "20261123T091502Z", "20261123T091502Z-12345", "20261199T091502Z-12345678", "20261123T091502Z_12345678", "20261123T091502Z-1234567G"} {
		if _, _, ok := referenceOf(bad); ok {
			t.Errorf("%q is taken for a reference", bad)
		}
	}
}

// FuzzClaim: the claimed name says which reference and which name it has, and
// no file system finds it too long.
func FuzzClaim(f *testing.F) {
	for _, s := range []string{"a.hl7", "~", "", strings.Repeat("ż", 200) + ".hl7", strings.Repeat("\xff", 300), "20261123T091502Z-12345678~x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		r := newReference(time.Now())
		claimed := r.claim(name)
		got, original, ok := claimOf(claimed)
		if !ok || got != r || !strings.HasSuffix(name, original) {
			t.Fatalf("%q becomes %q, which is read as %q", name, claimed, original)
		}
		if len(claimed) > longestName || len(name) < 200 && original != name {
			t.Errorf("%q becomes %q", name, claimed)
		}
		if utf8.ValidString(name) && !utf8.ValidString(original) {
			t.Errorf("%q is cut inside a character", name)
		}
	})
}
