package upload

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/cpisxml"
)

func readAll(r Reader) (rows []Row, err error) {
	for row, err := range Rows(r) {
		if err != nil {
			return rows, err
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// nationalFile is an upload of made-up people in the national format.
func nationalFile(t testing.TB, sequence string, records ...cpisxml.Record) string {
	t.Helper()
	code, err := safeguard.ParseODSCode("806")
	if err != nil {
		t.Fatal(err)
	}
	h := cpisxml.Header{
		Created:  time.Date(2026, 3, 1, 21, 30, 0, 0, time.UTC),
		Sequence: sequence,
		Quantity: len(records),
		Sender:   cpisxml.Organisation{Code: code, Name: "Inventedshire", EmergencyDuty: "01632960806"},
	}
	var b bytes.Buffer
	err = cpisxml.WriteUpload(&b, h, func(yield func(cpisxml.Record, error) bool) {
		for _, r := range records {
			if !yield(r, nil) {
				return
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func person(number, born string, mother bool) cpisxml.Subject {
	return cpisxml.Subject{Mother: mother, NHSNumber: safeguard.Hide(number), Born: safeguard.Hide(born),
		Given: safeguard.Hide("Ina"), Family: safeguard.Hide("Vented")}
}

func TestDetect(t *testing.T) {
	for _, tt := range []struct {
		name, file string
		want       Format
	}{
		{"CSV", "nhs_number,plan", CSV},
		{"CSV in UTF-16", utf16("nhs_number\tplan"), CSV},
		{"nothing", "", CSV},
		{"JSON", "\n {\"a\":1}", JSON},
		{"JSON array", "[{}]", JSON},
		{"JSON with byte order mark", "\ufeff{}", JSON},
		{"XML", "<?xml version=\"1.0\"?><File/>", National},
		{"XML with byte order mark", "\ufeff\r\n<File/>", National},
		{"XML in UTF-16", utf16("<File/>"), National},
	} {
		if got, err := detect(bufio.NewReader(strings.NewReader(tt.file))); got != tt.want || err != nil {
			t.Errorf("%s: %q, %v, want %q", tt.name, got, err, tt.want)
		}
	}
	if _, err := Open(strings.NewReader(""), "xls"); err == nil || !strings.Contains(err.Error(), "want one of [csv jsonl xml]") {
		t.Errorf("format of another kind: %v", err)
	}
	broken := errors.New("cable pulled")
	if _, err := Open(iotest.ErrReader(broken), Detect); !errors.Is(err, broken) {
		t.Errorf("error %v, want the reader's", err)
	}
}

func TestJSONLines(t *testing.T) {
	one := Row{Line: 1, NHSNumber: alice, DateOfBirth: "2015-06-07", Plan: "CPP", Start: "2025-01-02"}
	at := func(line int) Row {
		row := one
		row.Line = line
		return row
	}
	const good = `{"nhs_number":"` + alice + `","date_of_birth":"2015-06-07","plan":"CPP","start":"2025-01-02","end":null}`
	for _, tt := range []struct {
		name, file string
		want       []Row
	}{
		{"plain", good + "\n", []Row{one}},
		{"CRLF, blanks and empty lines", "\ufeff\r\n " + good + " \r\n\r\n" + good, []Row{at(2), at(4)}},
		{"numbers", `{"NHS Number":9990000107,"dob":"2015-06-07","plan":"CPP","start":42000}`,
			[]Row{{Line: 1, NHSNumber: alice, DateOfBirth: "2015-06-07", Plan: "CPP", Start: "42000"}}},
		{"escapes", `{"nhs_number":"\u0039990000107"}`, []Row{{Line: 1, NHSNumber: alice}}},
		{"spoilt lines", good + "\n" + `{"nhs_number":"1"` + "\nx\n" + `{"surname":"x"}` + "\n" + `{"plan":"CPP","plan":"LAC"}` + "\n" +
			`{"plan":["CPP"]}` + "\n" + good + good + "\n" + good, []Row{one,
			{Line: 2, Unreadable: "the line is no JSON object"},
			{Line: 3, Unreadable: "the line is no JSON object"},
			{Line: 4, Unreadable: "a member that is not known, want only nhs_number, date_of_birth, plan, start, end, delete; leave out what is not asked for"},
			{Line: 5, Unreadable: "plan is there twice, want it once"},
			{Line: 6, Unreadable: "plan is neither text nor a number nor null"},
			{Line: 7, Unreadable: "more after the object, want one on each line"},
			at(8)}},
		{"long line", good + "\n{" + strings.Repeat(" ", 2*maxLine) + "}\n", []Row{one, {Line: 2, Unreadable: "the line is longer than 4096 bytes"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := Open(iotest.HalfReader(strings.NewReader(tt.file)), Detect)
			if err != nil {
				t.Fatal(err)
			}
			got, err := readAll(r)
			if err != nil || !slices.Equal(got, tt.want) {
				t.Errorf("rows %+v, %v, want %+v", got, err, tt.want)
			}
		})
	}
	for _, tt := range []struct{ name, file, want string }{
		{"empty", "\n", "the file is empty"},
		{"array", "[" + good + "]", "a JSON array"},
		{"spread", "{\n\"plan\":\"CPP\"\n}", "spread over lines"},
		{"text", "plan\n", "no JSON object"},
	} {
		if _, err := Open(strings.NewReader(tt.file), JSON); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}

func TestNational(t *testing.T) {
	file := nationalFile(t, "42",
		cpisxml.Record{Plans: []cpisxml.Plan{
			{Plan: safeguard.ChildProtection, Start: "202501020000", End: "202512010000"},
			{Plan: safeguard.LookedAfter, Start: "202512010930"},
		}, Subjects: []cpisxml.Subject{person(alice, "20150607", false)}},
		cpisxml.Record{Plans: []cpisxml.Plan{{Plan: safeguard.UnbornChild, Start: "202601150000", End: "202606300000"}},
			Subjects: []cpisxml.Subject{person(bob, "19970102", true)}},
		cpisxml.Record{Plans: []cpisxml.Plan{{Plan: safeguard.ChildProtection, Start: "202601150000", Delete: "202602010000"}},
			Subjects: []cpisxml.Subject{person(alice, "20150607", false), person(bob, "19970102", true)}},
		// From here on, each is wrong.
		cpisxml.Record{Plans: []cpisxml.Plan{{Plan: safeguard.UnbornChild, Start: "202601150000", End: "202606300000"}},
			Subjects: []cpisxml.Subject{person(bob, "19970102", false)}},
		cpisxml.Record{Plans: []cpisxml.Plan{{Plan: safeguard.LookedAfter, Start: "202601150000"}},
			Subjects: []cpisxml.Subject{person(bob, "19970102", true)}},
		cpisxml.Record{Plans: []cpisxml.Plan{{Plan: safeguard.LookedAfter, Start: "202601150000"}, {Plan: safeguard.LookedAfter, Start: "202601160000"}},
			Subjects: []cpisxml.Subject{person(alice, "20150607", false)}},
		cpisxml.Record{Plans: []cpisxml.Plan{{Plan: safeguard.LookedAfter, Start: "202601150000"}},
			Subjects: []cpisxml.Subject{person(alice, "20150607", false), person(bob, "20150607", false)}},
	)
	r, err := Open(strings.NewReader(file), Detect)
	if err != nil {
		t.Fatal(err)
	}
	if h := r.Header(); h.Sequence != 42 || h.Name != "" || h.Sender.String() != "806" || len(h.Notices) != 0 {
		t.Errorf("header %+v", h)
	}
	got, err := readAll(r)
	if err != nil {
		t.Fatal(err)
	}
	last := 0
	for i := range got {
		if got[i].Line <= last {
			t.Errorf("line %d after %d", got[i].Line, last)
		}
		last, got[i].Line = got[i].Line, 0
	}
	child := Row{NHSNumber: alice, DateOfBirth: "2015-06-07"}
	mother := Row{NHSNumber: bob, DateOfBirth: "1997-01-02"}
	with := func(row Row, plan, start, end, deleted, unreadable string) Row {
		row.Plan, row.Start, row.End, row.Delete, row.Unreadable = plan, start, end, deleted, unreadable
		return row
	}
	want := []Row{
		with(child, "CPP", "2025-01-02", "2025-12-01", "", ""),
		with(child, "LAC", "2025-12-01", "", "", ""),
		with(mother, "UCPP", "2026-01-15", "2026-06-30", "", ""),
		with(child, "CPP", "2026-01-15", "", "2026-02-01", ""),
		with(mother, "UCPP", "2026-01-15", "2026-06-30", "", "record 4: a plan for an unborn child without its mother (UnbornChild)"),
		with(mother, "LAC", "2026-01-15", "", "", "record 5: a child's plan without the child (Child)"),
		with(child, "LAC", "2026-01-15", "", "", "record 6: two plans of one type, want one of each"),
		with(child, "LAC", "2026-01-16", "", "", "record 6: two plans of one type, want one of each"),
		with(child, "LAC", "2026-01-15", "", "", "record 7: two subjects of one kind, want one"),
	}
	if !slices.Equal(got, want) {
		t.Errorf("rows\n%+v, want\n%+v", got, want)
	}

	// What the schema takes and is no date is told as it is in other formats.
	odd := strings.Replace(file, `value="202501020000"`, `value="202502310000"`, 1)
	odd = strings.Replace(odd, `value="20150607"`, `value="2015"`, 1)
	odd = strings.Replace(odd, `use="EC"`, `use="EC WP"`, 1)
	odd = strings.Replace(odd, `id extension="42"`, `id extension="42a"`, 1)
	if r, err = Open(strings.NewReader(odd), Detect); err != nil {
		t.Fatal(err)
	}
	if h := r.Header(); h.Sequence != 0 || h.Name != "42a" || len(h.Notices) != 2 {
		t.Errorf("header %+v, want two notices", h)
	}
	row, err := r.Next()
	if v := rules.read(row); err != nil || v.code != Rejected || v.column != columnBorn {
		t.Errorf("birth date of a year: %+v, %v", v, err)
	}

	short := strings.Replace(file, `Quantity value="7"`, `Quantity value="8"`, 1)
	if r, err = Open(strings.NewReader(short), Detect); err != nil {
		t.Fatal(err)
	}
	if _, err := readAll(r); err == nil || !strings.Contains(err.Error(), "7 records") {
		t.Errorf("count of another number: %v", err)
	}
}

// The example uploads that lie beside the project where it is developed.
func TestNationalExamples(t *testing.T) {
	for name, want := range map[string]int{"la-upload-minimal.xml": 1, "la-upload-full.xml": 5} {
		f, err := os.Open(filepath.Join("..", "..", "..", "shared", "data", "cpis-xml", name))
		if errors.Is(err, os.ErrNotExist) {
			t.Skip("the examples are not here")
		}
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		r, err := Open(f, Detect)
		if err != nil {
			t.Fatal(err)
		}
		got, err := readAll(r)
		if err != nil || len(got) != want {
			t.Fatalf("%s: %d rows, %v, want %d", name, len(got), err, want)
		}
		late := Rules{Today: safeguard.Date{Year: 2026, Month: 3, Day: 4}}
		for _, row := range got {
			if v := late.read(row); v.code != Loaded || len(v.notes) > 0 {
				t.Errorf("%s: line %d: %+v", name, row.Line, v)
			}
		}
	}
}

// A national set is read in the memory of a record.
func TestReadersAreBounded(t *testing.T) {
	const rows = 20_000
	line := []byte(alice + ",2015-06-07,CPP,2025-01-02\n")
	csv := io.MultiReader(strings.NewReader("nhs_number,date_of_birth,plan,start\n"), &repeat{text: line, times: rows})
	one := nationalFile(t, "1", cpisxml.Record{Plans: []cpisxml.Plan{{Plan: safeguard.ChildProtection, Start: "202501020000"}},
		Subjects: []cpisxml.Subject{person(alice, "20150607", false)}})
	begin, end := strings.Index(one, "<record>"), strings.Index(one, "</File>")
	xml := io.MultiReader(strings.NewReader(strings.Replace(one[:begin], `Quantity value="1"`, `Quantity value="20000"`, 1)),
		&repeat{text: []byte(one[begin:end]), times: rows}, strings.NewReader("</File>"))
	for name, file := range map[string]io.Reader{"CSV": csv, "XML": xml} {
		r, err := Open(file, Detect)
		if err != nil {
			t.Fatal(err)
		}
		n, before := 0, heap()
		for _, err := range Rows(r) {
			if err != nil {
				t.Fatal(err)
			}
			if n++; n%5000 == 0 && heap() > before+2<<20 {
				t.Fatalf("%s: %d bytes more after %d rows", name, heap()-before, n)
			}
		}
		if n != rows {
			t.Errorf("%s: %d rows, want %d", name, n, rows)
		}
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// repeat gives a text so many times.
type repeat struct {
	text  []byte
	at    int
	times int
}

func (r *repeat) Read(p []byte) (int, error) {
	if r.times == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.text[r.at:])
	if r.at += n; r.at == len(r.text) {
		r.at, r.times = 0, r.times-1
	}
	return n, nil
}

// FuzzOpen: whatever the file, no reader panics or gives a row after an error,
// errors are one line, and every row gets a verdict.
func FuzzOpen(f *testing.F) {
	f.Add("nhs_number,date_of_birth,plan,start,end\n"+alice+",07/06/2015,CPP,42000,\n", "")
	f.Add(`{"nhs_number":9.990000107E+09,"dob":"7.6.2015"}`, "jsonl")
	f.Add(nationalFile(f, "1", cpisxml.Record{Plans: []cpisxml.Plan{{Plan: safeguard.ChildProtection, Start: "202501020000"}},
		Subjects: []cpisxml.Subject{person(alice, "20150607", false)}}), "xml")
	f.Fuzz(func(t *testing.T, file, format string) {
		r, err := Open(strings.NewReader(file), Format(format))
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Fatalf("error of several lines: %q", err)
			}
			return
		}
		for {
			row, err := r.Next()
			if err != nil {
				if strings.Contains(err.Error(), "\n") {
					t.Fatalf("error of several lines: %q", err)
				}
				break
			}
			if v := rules.read(row); v.code == "" || v.code != Loaded && v.sentence == "" {
				t.Fatalf("row %+v: no verdict", row)
			}
		}
	})
}
