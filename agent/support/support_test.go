package support_test

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard/agent/support"
)

func TestMask(t *testing.T) {
	for in, want := range map[string]string{
		"lookup of 9990000018 failed":   "lookup of 0000000000 failed",
		"999 000 0018":                  "000 000 0000",
		"999-000-0018":                  "000-000-0000",
		`{"n":9990000018}`:              `{"n":0000000000}`,
		"n9990000018x":                  "n0000000000x",
		"123 9990000018":                "123 0000000000",
		"9990000018,9990000018":         "0000000000,0000000000",
		"9990000019 has no check digit": "9990000019 has no check digit",
		"99900000181 is longer":         "99900000181 is longer",
		"2026-11-27T03:10:56Z":          "2026-11-27T03:10:56Z",
		"":                              "",
	} {
		if got, _ := support.Mask([]byte(in)); string(got) != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

// Nothing of what is left reads as an NHS number, and nothing else has changed.
func FuzzMask(f *testing.F) {
	for _, seed := range []string{"9990000018", "1239990000018", "999 000 0018 999 000 0018", "99 900 000 18"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		got, count := support.Mask([]byte(in))
		if len(got) != len(in) {
			t.Fatalf("%q became %q", in, got)
		}
		changed := 0
		for i := range got {
			if got[i] != in[i] {
				changed++
				if got[i] != '0' || in[i] < '0' || in[i] > '9' {
					t.Fatalf("%q became %q", in, got)
				}
			}
		}
		if changed > 10*count {
			t.Fatalf("%q became %q for %d numbers", in, got, count)
		}
		if again, n := support.Mask(got); n > 0 && !bytes.Equal(again, got) {
			t.Fatalf("%q has %d more numbers in %q", in, n, got)
		}
	})
}

func read(t *testing.T, bundle []byte) map[string]string {
	t.Helper()
	r, err := zip.NewReader(bytes.NewReader(bundle), int64(len(bundle)))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, f := range r.File {
		in, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		files[f.Name] = string(text)
	}
	return files
}

func TestTheManifestTellsWhatIsInABundle(t *testing.T) {
	var out bytes.Buffer
	made := time.Date(2026, 3, 14, 8, 0, 0, 0, time.UTC)
	err := support.Write(t.Context(), &out, support.Manifest{Made: made, Program: "safeguard-agent 1.4.0", Running: true}, []support.Item{
		{Name: "log.jsonl", What: "the log", Make: func(context.Context) ([]byte, error) { return []byte("about 9990000018\n"), nil }},
		{Name: "metrics.txt", What: "metrics", Make: func(context.Context) ([]byte, error) { return nil, errors.New("no answer about 999 000 0018") }},
	})
	if err != nil {
		t.Fatal(err)
	}
	files := read(t, out.Bytes())
	var m support.Manifest
	if err := json.Unmarshal([]byte(files["manifest.json"]), &m); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(files["log.jsonl"]))
	if len(files) != 3 || len(m.Files) != 2 || m.Files[0].SHA256 != hex.EncodeToString(sum[:]) || m.Files[0].Masked != 1 || m.Files[1].Missing == "" || !m.Running || !m.Made.Equal(made) {
		t.Errorf("got %d files, manifest %+v", len(files), m)
	}
	if all := strings.Join([]string{files["log.jsonl"], files["manifest.json"], files["README.txt"]}, "\n"); strings.Contains(all, "9990000018") || strings.Contains(all, "999 000 0018") {
		t.Error("an NHS number is left")
	}
	for _, want := range append([]string{"metrics.txt", "NOT IN IT: no answer", "2026-03-14T08:00:00Z"}, support.Never...) {
		if !strings.Contains(files["README.txt"], want) {
			t.Errorf("the readme does not say %q", want)
		}
	}
}
