package safeguard_test

import (
	"encoding/csv"
	"os"
	"strings"
	"testing"

	"github.com/safeguard-edge/safeguard"
)

func TestParseNHSNumber(t *testing.T) {
	for _, c := range []struct{ name, in, want, err string }{
		{"plain", "9990000344", "9990000344", ""},
		{"spaced", "999 000 0344", "9990000344", ""},
		{"hyphens", "999-000-0344", "9990000344", ""},
		{"check digit zero", "9990000050", "9990000050", ""},
		{"wrong check digit", "9990000345", "", "NHS number: wrong check digit"},
		{"ten equal digits", "3333333333", "", "NHS number: ten equal digits, want a number that was issued"},
		{"nine digits", "999000034", "", "NHS number: 9 digits, want ten"},
		{"eleven digits", "99900003444", "", "NHS number: more than ten digits, want ten"},
		{"letter", "99900O0344", "", "NHS number: character 6 is not a digit, want ten digits"},
		{"empty", "", "", "NHS number: 0 digits, want ten"},
		{"full-width digits", "９９９００００３４４", "", "NHS number: character 1 is not a digit, want ten digits"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n, err := safeguard.ParseNHSNumber(c.in)
			if c.err != "" {
				if err == nil || err.Error() != c.err {
					t.Errorf("error %v, want %s", err, c.err)
				}
			} else if err != nil {
				t.Error(err)
			}
			if n.Reveal() != c.want {
				t.Errorf("got another number than wanted")
			}
		})
	}
}

func FuzzParseNHSNumber(f *testing.F) {
	f.Add("999 000 0344")
	f.Add("9990000345")
	f.Fuzz(func(t *testing.T, s string) {
		n, err := safeguard.ParseNHSNumber(s)
		if err != nil {
			if !n.IsZero() {
				t.Error("an error must come with no number")
			}
			if digits := strings.Map(onlyDigits, s); len(digits) > 3 && strings.Contains(err.Error(), digits) {
				t.Error("the error repeats the input")
			}
			return
		}
		if again, err := safeguard.ParseNHSNumber(n.Reveal()); err != nil || again != n {
			t.Error("what is revealed does not read back as the same number")
		}
	})
}

func notASCII(r rune) bool { return r > 127 }

func onlyDigits(r rune) rune {
	if r >= '0' && r <= '9' {
		return r
	}
	return -1
}

// TestNHSNumberVectors runs the shared vectors where they are there. Each row is
// input, how, valid, standard form, region. They take ten equal digits for valid,
// and the digits of other scripts, which no hospital system sends.
func TestNHSNumberVectors(t *testing.T) {
	f, err := os.Open("../shared/data/nhs-number-vectors.csv")
	if err != nil {
		t.Skipf("no vectors beside the project: %v", err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	bad := 0
	for i, row := range rows[1:] {
		n, err := safeguard.ParseNHSNumber(row[0])
		want := row[2] == "1" && strings.Count(row[3], row[3][:1]) != len(row[3]) && !strings.ContainsFunc(row[0], notASCII)
		if (err == nil) != want || want && n.Reveal() != row[3] {
			if bad++; bad <= 10 {
				t.Errorf("row %d (%s): valid %v, want %v: %v", i+2, row[1], err == nil, want, err)
			}
		}
	}
	t.Logf("%d vectors, %d wrong", len(rows)-1, bad)
}
