package adt_test

import (
	"bytes"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/hl7adapter/adt"
	"github.com/safeguard-edge/safeguard/hl7adapter/hl7"
)

// FuzzParse: whatever comes, Parse does not panic; it says the same twice; what
// it takes is complete for its kind; and what it says about what it can not use
// is made of our own words only.
func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/*.hl7")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body)
	}
	for _, e := range adt.Triggers() {
		f.Add(message(e.Event, "MRG-1", "H500109^^^RX1^MR", "MRG-5", "V1", "ZU1-27", "NSTS02", "PV2-8", "20260315", "PID-21", mum+"^^^NHS"))
	}
	site := trust(f)
	site.NHSNumber.Fields = []string{"PID-2", "PID-4", "PID-19"}
	f.Fuzz(func(t *testing.T, body []byte) { checkParse(t, site, body) })
}

// checkParse checks what holds of every message.
func checkParse(t *testing.T, site adt.Site, body []byte) {
	t.Helper()
	p := adt.Parser{Site: site}
	m, err := p.Parse(adt.Message{Body: body, Received: received})
	if again, err2 := p.Parse(adt.Message{Body: body, Received: received}); !reflect.DeepEqual(m, again) || (err == nil) != (err2 == nil) {
		t.Errorf("read twice, it says two things")
	}
	said := append([]string{m.Rule}, m.Doubts...)
	if err != nil {
		if !reflect.DeepEqual(m, adt.Movement{}) {
			t.Error("an error, and a movement")
		}
		said = append(said, err.Error())
	} else if m.Rule == "" {
		t.Error("no rule")
	}
	for _, text := range said {
		if word := foreign(t, text); word != "" {
			t.Errorf("%q is in %q, and not of our words", word, text)
		}
	}
	if err == nil {
		checkComplete(t, m)
	}
}

func checkComplete(t *testing.T, m adt.Movement) {
	t.Helper()
	a := m.Attendance
	named := !a.Patient.MRN.IsZero() || !a.Patient.Number.IsZero()
	switch m.Kind {
	case adt.Other:
	case adt.Register, adt.Update, adt.PreAdmission, adt.Discharge, adt.Reopen, adt.Cancel, adt.CancelPreAdmission, adt.Swap:
		if a.ID.IsZero() || a.Begun.IsZero() || a.Rule == "" {
			t.Errorf("%v: attendance %v begun %v by %q", m.Kind, a.ID, a.Begun, a.Rule)
		}
		if m.Kind == adt.PreAdmission && a.Purpose == safeguard.Unscheduled {
			t.Error("an unscheduled attendance before the patient is here")
		}
		if m.Kind == adt.Swap && m.Second.ID.IsZero() {
			t.Error("a swap with nobody")
		}
	case adt.PersonUpdate:
		if !named || !a.ID.IsZero() {
			t.Errorf("person update of %v, of a patient that is named: %v", a.ID, named)
		}
	case adt.Merge, adt.Change, adt.Move:
		if len(m.Replaced) == 0 {
			t.Errorf("%v replaces nothing", m.Kind)
		}
		for _, r := range m.Replaced {
			if r.Prior.IsZero() && r.Visit == (adt.ReplacedVisit{}) {
				t.Errorf("%v: a replacement of nothing", m.Kind)
			}
			for _, n := range r.Prior.Numbers {
				if n == r.Survivor.Number {
					t.Errorf("%v: the survivor is discarded", m.Kind)
				}
			}
		}
	}
	if m.Kind != adt.Other && (m.Order() == "" || len(m.Orders()) == 0) {
		t.Errorf("%v: in no order", m.Kind)
	}
}

// place is a path such as PID-3[2] or PID-3[2].1, and a short number.
var place = regexp.MustCompile(`^([A-Z][A-Z0-9]{2}-\d{1,3}(\[\d{1,6}\])?|ADT\^A\d\d|A\d\d|\d{1,6})$`)

// foreign returns the first word of text that our sources do not have.
func foreign(t testing.TB, text string) string {
	t.Helper()
	known := vocabulary()
	for _, word := range words(text) {
		if !known[word] && !place.MatchString(word) {
			return word
		}
	}
	return ""
}

func words(text string) []string {
	fields := strings.Fields(text)
	for i, w := range fields {
		fields[i] = strings.Trim(w, `:;,."'()`)
	}
	return fields
}

// vocabulary is every word in the string literals of the packages whose errors
// Parse returns, and in the names of the site's rules.
var vocabulary = sync.OnceValue(func() map[string]bool {
	known := map[string]bool{"": true, "virtual": true, "wards": true}
	for _, pattern := range []string{"*.go", "../hl7/*.go", "../../*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			panic("no sources in " + pattern)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
			if err != nil {
				panic(err)
			}
			ast.Inspect(parsed, func(n ast.Node) bool {
				if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
					if text, err := strconv.Unquote(lit.Value); err == nil {
						for _, w := range words(text) {
							known[w] = true
						}
					}
				}
				return true
			})
		}
	}
	return known
})

// corpus holds messages that others wrote, many of them wrong on purpose. It is
// not part of the module.
const corpus = "../../../shared/corpus"

// TestCorpus reads every message of the corpus, as the NHS default and as a site
// with a configuration: each is understood or refused with a reason that holds
// nothing of it.
func TestCorpus(t *testing.T) {
	if _, err := os.Stat(corpus); err != nil {
		t.Logf("left out, as the messages of others are not kept with the project: %v", err)
		return
	}
	messages, understood := 0, 0
	for _, folder := range []string{"adt", "hard"} {
		err := filepath.WalkDir(filepath.Join(corpus, folder), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			t.Run(strings.TrimPrefix(path, corpus+"/"), func(t *testing.T) {
				bodies := append(partsOf(t, text), text) // the file as it is, too
				for _, body := range bodies {
					messages++
					checkParse(t, adt.Site{}, body)
					checkParse(t, trust(t), body)
					if m, err := (adt.Parser{}).Parse(adt.Message{Body: body, Received: received}); err == nil && m.Kind != adt.Other {
						understood++
					}
				}
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d messages, %d of them say something", messages, understood)
	if understood < 100 {
		t.Errorf("%d of %d messages say something, want at least 100", understood, messages)
	}
}

func partsOf(t *testing.T, text []byte) [][]byte {
	var bodies [][]byte
	for b := hl7.NewBatch(bytes.NewReader(text), 32<<20); ; {
		part, err := b.Next()
		if errors.Is(err, io.EOF) {
			return bodies
		}
		if err != nil {
			t.Fatal(err)
		}
		bodies = append(bodies, part.Body)
	}
}

// BenchmarkParse reads a message of about a kilobyte, as a PAS sends one.
func BenchmarkParse(b *testing.B) {
	body, err := os.ReadFile("testdata/a04-emergency.hl7")
	if err != nil {
		b.Fatal(err)
	}
	body = append(bytes.TrimRight(body, "\n"), []byte("\n"+strings.Repeat("OBX|1|TX|100^Triage note^L||Walked in, alert, in some pain; seen by the nurse.||||||F\n", 6))...)
	p := adt.Parser{Site: trust(b)}
	in := adt.Message{Body: body, Received: received}
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Parse(in); err != nil {
			b.Fatal(err)
		}
	}
}
