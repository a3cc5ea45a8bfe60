package hl7

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares got with testdata/name.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func samples(t testing.TB) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob("testdata/*.hl7")
	if err != nil || len(files) == 0 {
		t.Fatalf("got %d samples, %v", len(files), err)
	}
	out := make(map[string][]byte)
	for _, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		out[strings.TrimSuffix(filepath.Base(file), ".hl7")] = body
	}
	return out
}

// What is read from each sample is what its .want says.
func TestSamples(t *testing.T) {
	for name, body := range samples(t) {
		t.Run(name, func(t *testing.T) {
			m, err := Parse(body)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, name+".want", dump(m))
		})
	}
}

// dump writes each value that was sent on a line.
func dump(m Message) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "charset %q\n", m.Charset())
	count := make(map[string]int)
	for seg := range m.Segments() {
		count[seg.Name()]++
		for n, f := range seg.Fields() {
			p := Path{Segment: seg.Name(), Occurrence: count[seg.Name()], Field: n}
			dumpField(&b, p, f)
		}
	}
	return b.Bytes()
}

func dumpField(b *bytes.Buffer, p Path, f Field) {
	for r := range f.Repetitions() {
		if !bytes.Equal(r.Raw(), f.Raw()) {
			p.Repetition++
		}
		p.Component = 0
		for c := range r.Components() {
			if !bytes.Equal(c.Raw(), r.Raw()) {
				p.Component++
			}
			p.Sub = 0
			for s := range c.Subs() {
				if !bytes.Equal(s.Raw(), c.Raw()) {
					p.Sub++
				}
				switch {
				case s.IsNull():
					fmt.Fprintf(b, "%s null\n", p)
				case !s.IsAbsent():
					fmt.Fprintf(b, "%s %q\n", p, s.Text())
				}
			}
		}
	}
}
