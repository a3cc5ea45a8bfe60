package upload

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/store"
)

// The people here are made up; their numbers are of the range for tests.
const (
	alice = "9990000107"
	bob   = "9990000115"
)

var rules = Rules{Today: safeguard.Date{Year: 2026, Month: time.March, Day: 1}}

// Up to which age a child's plan may begin is the centre's policy.
func TestPlanAfterTheEndOfChildhood(t *testing.T) {
	row := Row{Line: 7, NHSNumber: alice, DateOfBirth: "2007-06-07", Plan: "LAC", Start: "2025-07-01"} // at 18
	for adult, want := range map[int]string{0: Rejected, 18: Rejected, 19: Loaded, 25: Loaded} {
		rules := rules
		rules.Adult = adult
		if got := rules.read(row); got.code != want || want == Rejected && !strings.Contains(got.sentence, "18th birthday") {
			t.Errorf("childhood until %d: %s, %q, want %s", adult, got.code, got.sentence, want)
		}
	}
}

func TestRows(t *testing.T) {
	good := Row{Line: 7, NHSNumber: alice, DateOfBirth: "2015-06-07", Plan: "CPP", Start: "2025-01-02"}
	with := func(change func(*Row)) Row {
		row := good
		change(&row)
		return row
	}
	tests := []struct {
		name         string
		row          Row
		code, column string
		sentence     string // what it must say, or its notes
	}{
		{"good", good, Loaded, "", ""},
		{"number with spaces", with(func(r *Row) { r.NHSNumber = " 999 000 0107 " }), Loaded, "", ""},
		{"small letters", with(func(r *Row) { r.Plan = "cpp" }), Loaded, "", ""},
		{"ended", with(func(r *Row) { r.End = "2025-12-01" }), Loaded, "", ""},
		{"ends the day it starts", with(func(r *Row) { r.End = r.Start }), Loaded, "", ""},
		{"starts at birth", with(func(r *Row) { r.Start = r.DateOfBirth }), Loaded, "", ""},
		{"unborn child of an adult", with(func(r *Row) { r.Plan, r.DateOfBirth = "UCPP", "1995-06-07" }), Loaded, "", ""},
		{"withdrawn", with(func(r *Row) { r.Delete = "2026-03-01" }), Loaded, "", ""},

		{"no-break spaces", with(func(r *Row) { r.NHSNumber, r.Start = "999\u00a0000\u00a00107", "\u00a02025-01-02\ufeff" }), Loaded, "", ""},
		{"apostrophe", with(func(r *Row) { r.NHSNumber = "'" + alice }), Loaded, "", "nhs_number read without the apostrophe"},
		{"formula", with(func(r *Row) { r.NHSNumber = `="9990000107"` }), Loaded, "", "formula"},
		{"fraction", with(func(r *Row) { r.NHSNumber = alice + ".0" }), Loaded, "", ".0"},
		{"commas", with(func(r *Row) { r.NHSNumber = "9,990,000,107" }), Loaded, "", "commas"},
		{"all digits in a power", with(func(r *Row) { r.NHSNumber = "9.990000107E+09" }), Loaded, "", "no digit is missing"},
		{"British date", with(func(r *Row) { r.DateOfBirth = "07/06/2015" }), Loaded, "", "date_of_birth read as day/month/year"},
		{"dots", with(func(r *Row) { r.DateOfBirth = "7.6.2015" }), Loaded, "", "day/month/year"},
		{"with the time", with(func(r *Row) { r.Start = "2025-01-02 00:00:00" }), Loaded, "", "start read without the time"},
		{"British with the time", with(func(r *Row) { r.Start = "02/01/2025 00:00" }), Loaded, "", "day/month/year"},
		{"month by name", with(func(r *Row) { r.Start = "02-JAN-2025" }), Loaded, "", "day, month and year"},
		{"month by full name", with(func(r *Row) { r.Start = "2 January 2025" }), Loaded, "", "day, month and year"},
		{"no separators", with(func(r *Row) { r.Start = "20250102" }), Loaded, "", "YYYYMMDD"},
		{"year first", with(func(r *Row) { r.Start = "2025/01/02" }), Loaded, "", "year/month/day"},
		{"day number", with(func(r *Row) { r.DateOfBirth = "42162" }), Loaded, "", "number of a day"},
		{"day number with fraction", with(func(r *Row) { r.DateOfBirth = "42162.0" }), Loaded, "", "number of a day"},
		{"national plan code", with(func(r *Row) { r.Plan = "cppi" }), Loaded, "", "plan read as CPP"},

		{"no number", with(func(r *Row) { r.NHSNumber = " " }), NotANumber, "nhs_number", "no NHS number"},
		{"old format", with(func(r *Row) { r.NHSNumber = "ABCD 123" }), NotANumber, "nhs_number", "not a digit"},
		{"check digit", with(func(r *Row) { r.NHSNumber = "9990000108" }), NotANumber, "nhs_number", "check digit"},
		{"too short", with(func(r *Row) { r.NHSNumber = "999000010" }), NotANumber, "nhs_number", "9 digits"},
		{"spreadsheet's number", with(func(r *Row) { r.NHSNumber = "9.99E+09" }), NotANumber, "nhs_number", "text column"},
		{"spreadsheet's number, with a comma", with(func(r *Row) { r.NHSNumber = "9,99E+09" }), NotANumber, "nhs_number", "text column"},
		{"narrow column", with(func(r *Row) { r.NHSNumber = "######" }), NotANumber, "nhs_number", "wider"},
		{"test patient", with(func(r *Row) { r.NHSNumber = "999 000 0018" }), Rejected, "nhs_number", "test patient"},
		{"no date of birth", with(func(r *Row) { r.DateOfBirth = "" }), Rejected, "date_of_birth", "missing, want YYYY-MM-DD"},
		{"year of two digits", with(func(r *Row) { r.DateOfBirth = "07/06/15" }), Rejected, "date_of_birth", "two digits"},
		{"American date", with(func(r *Row) { r.DateOfBirth = "06/27/2015" }), Rejected, "date_of_birth", "day/month/year"},
		{"no such day", with(func(r *Row) { r.DateOfBirth = "2015-02-29" }), Rejected, "date_of_birth", "no day of the calendar"},
		{"no such British day", with(func(r *Row) { r.DateOfBirth = "29/02/2015" }), Rejected, "date_of_birth", "no day of the calendar"},
		{"year only", with(func(r *Row) { r.DateOfBirth = "2015" }), Rejected, "date_of_birth", "no day of the calendar"},
		{"narrow date column", with(func(r *Row) { r.DateOfBirth = "########" }), Rejected, "date_of_birth", "wider"},
		{"spreadsheet's zero", with(func(r *Row) { r.DateOfBirth = "1899-12-30" }), Rejected, "date_of_birth", "before 1900"},
		{"not born yet", with(func(r *Row) { r.DateOfBirth = "2026-03-02" }), Rejected, "date_of_birth", "mother's"},
		{"no plan", with(func(r *Row) { r.Plan = "" }), Rejected, "plan", "CPP, LAC or UCPP"},
		{"unknown plan", with(func(r *Row) { r.Plan = "CIN" }), Rejected, "plan", "CPP, LAC or UCPP"},
		{"no start", with(func(r *Row) { r.Start = "" }), Rejected, "start", "missing"},
		{"start before birth", with(func(r *Row) { r.Start = "2015-06-06" }), Rejected, "start", "UCPP"},
		{"start at 18", with(func(r *Row) { r.DateOfBirth, r.Start = "2007-01-02", "2025-01-02" }), Rejected, "start", "18th birthday"},
		{"end is no date", with(func(r *Row) { r.End = "soon" }), Rejected, "end", "nothing while the plan is active"},
		{"end before start", with(func(r *Row) { r.End = "2025-01-01" }), Rejected, "end", "before the start"},
		{"delete is no date", with(func(r *Row) { r.Delete = "yes" }), Rejected, "delete", "YYYY-MM-DD, or nothing"},
		{"delete later", with(func(r *Row) { r.Delete = "2026-03-02" }), Rejected, "delete", "after today"},
		{"unreadable", Row{Line: 7, Unreadable: "3 fields"}, Rejected, "", "3 fields"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := rules.read(tt.row)
			said := r.sentence + strings.Join(r.notes, ", ")
			if r.code != tt.code || r.column != tt.column || !strings.Contains(said, tt.sentence) || tt.sentence == "" && said != "" {
				t.Errorf("verdict %s %s %q, want %s %s %q", r.code, r.column, said, tt.code, tt.column, tt.sentence)
			}
			if want := rules.read(good).change; r.code == Loaded && len(r.notes) > 0 && r.change != want {
				t.Errorf("read as %+v, want %+v", r.change, want)
			}
		})
	}
	strict := rules
	strict.RefuseTest = true
	if r := strict.read(good); r.code != Rejected || !strings.Contains(r.sentence, "test number") {
		t.Errorf("a test number in production: %+v, want it rejected", r)
	}
}

// A shifted column puts an NHS number or a date of birth into any field: no
// verdict may repeat what a field holds.
func TestVerdictsRepeatNoField(t *testing.T) {
	const secret = "9434765919"
	for column := range 6 {
		row := Row{NHSNumber: alice, DateOfBirth: "2015-06-07", Plan: "CPP", Start: "2025-01-02"}
		*row.fields()[column] = secret + "7"
		if r := rules.read(row); r.code == Loaded || strings.Contains(r.sentence, "5919") {
			t.Errorf("column %d: verdict %+v", column, r)
		}
	}
	for _, file := range []string{
		secret + ",2015-06-07,CPP,2025-01-02\n",                        // no header
		"nhs_number;date_of_birth\n" + secret,                          // too few columns
		"nhs_number,date_of_birth,plan,start\n" + secret + "\"x\",a\n", // stray quotes
		"nhs_number,date_of_birth,plan,start\n" + secret + ",,,,,,\n",
		`{"` + secret + `":1}`,
		`{"nhs_number":{"` + secret + `":1}}`,
		`[` + secret + `]`,
		`<` + secret + `>`,
		`<File xmlns="urn:hl7-org:v3"><x` + secret + `/></File>`,
	} {
		r, err := Open(strings.NewReader(file), Detect)
		if err != nil {
			if strings.Contains(err.Error(), "5919") {
				t.Errorf("error %v", err)
			}
			continue
		}
		for row, err := range Rows(r) {
			if err != nil && strings.Contains(err.Error(), "5919") {
				t.Errorf("error %v", err)
			}
			if v := rules.read(row); strings.Contains(v.sentence, "5919") {
				t.Errorf("verdict %+v", v)
			}
		}
	}
}

// fake applies nothing, and has the given effects.
type fake struct {
	effects []store.Effect
	err     error
	got     store.Upload
}

func (f *fake) Apply(_ context.Context, u store.Upload) (store.Kept, error) {
	f.got = u
	k := store.Kept{ID: u.ID, Authority: u.Authority, State: store.Applied, Rows: u.Rows, Verdicts: u.Verdicts, Effects: f.effects}
	for _, e := range f.effects {
		if e != store.NotHeld {
			k.Loaded++
		}
	}
	return k, f.err
}

// begin begins an upload that is applied to k.
func begin(t *testing.T, k Keeper, d Demographics, s Sending) *Batch {
	t.Helper()
	i := &Intake{Store: k, Demographics: d, Policy: Policy{Share: DefaultShare}, Log: slog.New(slog.DiscardHandler),
		Admit: func(safeguard.ODSCode) error { return nil }}
	b, done, err := i.Begin(middlesbrough, s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(done)
	b.rules = rules
	return b
}

func add(t *testing.T, b *Batch, rows ...Row) {
	t.Helper()
	for _, r := range rows {
		if err := b.Add(r); err != nil {
			t.Fatal(err)
		}
	}
}

func each(t *testing.T, r Report) (list []Verdict) {
	t.Helper()
	for v, err := range r.Each {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, v)
	}
	return list
}

var middlesbrough = func() safeguard.ODSCode {
	c, err := safeguard.ParseODSCode("806")
	if err != nil {
		panic(err)
	}
	return c
}()

func goodRow(line int, number string) Row {
	return Row{Line: line, NHSNumber: number, DateOfBirth: "2015-06-07", Plan: "CPP", Start: "2025-01-02"}
}

func TestBatch(t *testing.T) {
	tests := []struct {
		name    string
		rows    []Row
		effects []store.Effect
		want    string // verdict, counts, codes
	}{
		{"all", []Row{goodRow(2, alice), goodRow(3, bob)}, []store.Effect{store.Added, store.Replaced}, "CPF02 2 of 2: CPR06 CPR06"},
		{"some", []Row{goodRow(2, alice), goodRow(3, "1"), goodRow(4, bob)}, []store.Effect{store.Unchanged, store.Withdrawn}, "CPF03 2 of 3: CPR06 CPR04 CPR06"},
		{"nothing to withdraw", []Row{goodRow(2, alice), goodRow(3, bob)}, []store.Effect{store.NotHeld, store.Added}, "CPF03 1 of 2: CPR07 CPR06"},
		{"none", []Row{goodRow(2, "1"), goodRow(3, "2")}, nil, "CPF04 0 of 2: CPR04 CPR04"},
		{"no rows", nil, nil, "CPF02 0 of 0:"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := &fake{effects: tt.effects}
			b := begin(t, s, nil, Sending{By: "me"})
			add(t, b, tt.rows...)
			r, err := b.Apply(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			got := fmt.Sprintf("%s %d of %d:", r.Verdict, r.Loaded, r.Rows)
			for i, v := range each(t, r) {
				got += " " + v.Code
				if v.Line != tt.rows[i].Line || v.Sentence == "" {
					t.Errorf("verdict %+v, want line %d and a sentence", v, tt.rows[i].Line)
				}
			}
			if got != tt.want || r.Rejected != r.Rows-r.Loaded {
				t.Errorf("report %s, want %s", got, tt.want)
			}
			if s.got.Rows != len(tt.rows) || s.got.Authority != middlesbrough || s.got.ID == "" || s.got.ID != r.ID {
				t.Errorf("stored %+v", s.got)
			}
		})
	}
	broken := errors.New("disk full")
	if _, err := begin(t, &fake{err: broken}, nil, Sending{}).Apply(t.Context(), nil); !errors.Is(err, broken) {
		t.Errorf("error %v, want the store's", err)
	}
}

func TestCSV(t *testing.T) {
	const head = "nhs_number,date_of_birth,plan,start,end\n"
	one := Row{Line: 2, NHSNumber: alice, DateOfBirth: "2015-06-07", Plan: "CPP", Start: "2025-01-02"}
	tests := []struct {
		name, file string
		want       []Row
	}{
		{"plain", head + alice + ",2015-06-07,CPP,2025-01-02,\n", []Row{one}},
		{"no last newline", head + alice + ",2015-06-07,CPP,2025-01-02,", []Row{one}},
		{"byte order mark, CRLF", "\ufeff" + strings.ReplaceAll(head+alice+",2015-06-07,CPP,2025-01-02,\n", "\n", "\r\n"), []Row{one}},
		{"other order, other spelling", "Start, Plan,NHS Number,date-of-birth\n2025-01-02,CPP," + alice + ",2015-06-07\n", []Row{one}},
		{"quotes", head + `"` + alice + `", "2015-06-07" ,"CPP",2025-01-02,""` + "\n", []Row{one}},
		{"a quote quoted", head + `"a ""b"" c",,,,` + "\n", []Row{{Line: 2, NHSNumber: `a "b" c`}}},
		{"empty lines", head + "\n  \n,,,,\n" + alice + ",2015-06-07,CPP,2025-01-02,\n\n", []Row{{Line: 5, NHSNumber: alice, DateOfBirth: "2015-06-07", Plan: "CPP", Start: "2025-01-02"}}},
		{"a stray quote spoils its line only", head + "\"1,2,3,4,5\n" + alice + ",2015-06-07,CPP,2025-01-02,\n",
			[]Row{{Line: 2, Unreadable: "character 1: a double quote without its second"}, {Line: 3, NHSNumber: alice, DateOfBirth: "2015-06-07", Plan: "CPP", Start: "2025-01-02"}}},
		{"a quote within", head + "1,é2\"3,4,5,6\n", []Row{{Line: 2, Unreadable: "character 5: a double quote within a field, want the whole field in quotes"}}},
		{"more after quotes", head + "1,\"2\"x,4,5,6\n", []Row{{Line: 2, Unreadable: "character 6: more after a quoted field, want a comma"}}},
		{"too few fields", head + "1,2,3\n", []Row{{Line: 2, Unreadable: "3 fields, want 5 as the first line names"}}},
		{"too many fields", head + "1,2,3,4,5,6\n", []Row{{Line: 2, Unreadable: "6 fields, want 5 as the first line names"}}},
		{"not UTF-8", head + "1,2,3,4,\xff\n", []Row{{Line: 2, Unreadable: "the line is not UTF-8 text, want CSV saved as UTF-8"}}},
		{"long line", head + strings.Repeat("x", 3*maxLine) + "\n" + alice + ",2015-06-07,CPP,2025-01-02,\n",
			[]Row{{Line: 2, Unreadable: "the line is longer than 4096 bytes"}, {Line: 3, NHSNumber: alice, DateOfBirth: "2015-06-07", Plan: "CPP", Start: "2025-01-02"}}},
		{"semicolons", strings.ReplaceAll(head+alice+",2015-06-07,CPP,2025-01-02,\n", ",", ";"), []Row{one}},
		{"tabs", strings.ReplaceAll(head+alice+",2015-06-07,CPP,2025-01-02,\n", ",", "\t"), []Row{one}},
		{"UTF-16", utf16(strings.ReplaceAll(head+alice+",2015-06-07,CPP,2025-01-02,\n", ",", "\t")), []Row{one}},
		{"names of a spreadsheet", "NHS No,DOB,Plan Type,Start Date,End Date\n" + alice + ",2015-06-07,CPP,2025-01-02,\n", []Row{one}},
		{"formula", head + `="` + alice + `",2015-06-07,CPP,2025-01-02,` + "\n", []Row{{Line: 2, NHSNumber: `="` + alice + `"`, DateOfBirth: "2015-06-07", Plan: "CPP", Start: "2025-01-02"}}},
		{"header only", head, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rows, err := Open(iotest.OneByteReader(strings.NewReader(tt.file)), CSV)
			if err != nil {
				t.Fatal(err)
			}
			var got []Row
			for row, err := range Rows(rows) {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, row)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("rows %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestCSVHeader(t *testing.T) {
	tests := []struct{ name, file, want string }{
		{"empty", "", "line 1: the file is empty"},
		{"blank", "\n \n", "line 1: the file is empty"},
		{"no header", alice + ",2015-06-07,CPP,2025-01-02\n", "line 1: no column nhs_number, want a first line"},
		{"column missing", "nhs_number,plan,start\n", "no column date_of_birth"},
		{"column twice", "nhs_number,NHS Number,plan\n", "column 2: nhs_number is there twice"},
		{"unknown column", "nhs_number,date_of_birth,plan,start,surname\n", `column 5: "surname" is not known, want only nhs_number`},
		{"UTF-16 of something else", "\xff\xfen\x00h\x00s\x00", "no column nhs_number"},
		{"program", "MZ\x90\x00\x03\n", "not UTF-8 text"},
		{"long", strings.Repeat("x", 2*maxLine), "longer than"},
		{"after empty lines", "\n\nplan\n", "line 3: no column"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Open(strings.NewReader(tt.file), CSV)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

func TestCSVReadError(t *testing.T) {
	broken := errors.New("cable pulled")
	if _, err := Open(iotest.ErrReader(broken), CSV); !errors.Is(err, broken) {
		t.Errorf("first line: %v, want the reader's error", err)
	}
	half := iotest.TimeoutReader(iotest.OneByteReader(strings.NewReader("nhs")))
	if _, err := Open(half, CSV); !errors.Is(err, iotest.ErrTimeout) {
		t.Errorf("first line: %v, want the reader's error", err)
	}
	file := strings.NewReader("nhs_number,date_of_birth,plan,start\n1,2,3,4\n")
	rows, err := Open(iotest.DataErrReader(&thenError{file, broken}), CSV)
	if err != nil {
		t.Fatal(err)
	}
	var last error
	n := 0
	for _, err := range Rows(rows) {
		n, last = n+1, err
	}
	if n != 2 || !errors.Is(last, broken) {
		t.Errorf("%d rows, the last with %v, want 2 and the reader's error", n, last)
	}
}

// thenError ends with an error where another reader ends.
type thenError struct {
	r   *strings.Reader
	err error
}

func (t *thenError) Read(p []byte) (int, error) {
	if t.r.Len() == 0 {
		return 0, t.err
	}
	return t.r.Read(p)
}

// FuzzCSV: the reader never panics, gives each line at most one row, in order,
// with fields that hold no line end and are UTF-8; and what it accepts reads the
// same when written back.
func FuzzCSV(f *testing.F) {
	f.Add("nhs_number,date_of_birth,plan,start,end\n" + alice + ",2015-06-07,CPP,2025-01-02,\n")
	f.Add("\ufeffplan,\"start\",nhs_number,date_of_birth,delete\r\n\"a\"\"b\", \"c\" ,,\"\",x\r\n\"\n")
	f.Fuzz(func(t *testing.T, file string) {
		rows, err := Open(strings.NewReader(file), CSV)
		if err != nil {
			return
		}
		var accepted []Row
		var back strings.Builder
		back.WriteString(strings.Join(columns, ",") + "\n")
		last := 1
		for row, err := range Rows(rows) {
			if err != nil {
				t.Fatal(err)
			}
			if row.Line <= last {
				t.Fatalf("line %d after %d", row.Line, last)
			}
			last = row.Line
			rules.read(row)
			fields := []string{row.NHSNumber, row.DateOfBirth, row.Plan, row.Start, row.End, row.Delete}
			all := strings.Join(fields, "")
			if row.Unreadable != "" && all != "" || strings.ContainsAny(all, "\n") || strings.ToValidUTF8(all, "") != all {
				t.Fatalf("row %+v", row)
			}
			if row.Unreadable != "" || strings.Trim(strings.Join(fields, ""), ",; \t\r") == "" {
				continue
			}
			row.Line = 0
			accepted = append(accepted, row)
			for i, field := range fields {
				fields[i] = `"` + strings.ReplaceAll(field, `"`, `""`) + `"`
			}
			back.WriteString(strings.Join(fields, ",") + "\n")
		}
		if last > strings.Count(file, "\n")+1 {
			t.Fatalf("line %d of a file with %d", last, strings.Count(file, "\n")+1)
		}
		again, err := Open(strings.NewReader(back.String()), CSV)
		if err != nil {
			t.Fatal(err)
		}
		var read []Row
		for row, err := range Rows(again) {
			if err != nil {
				t.Fatal(err)
			}
			if row.Unreadable == "the line is longer than 4096 bytes" {
				return // quotes made it longer
			}
			row.Line = 0
			read = append(read, row)
		}
		if !slices.Equal(read, accepted) {
			t.Fatalf("read back %+v, want %+v", read, accepted)
		}
	})
}

func utf16(s string) string {
	out := []byte{0xff, 0xfe}
	for _, r := range s {
		out = append(out, byte(r), byte(r>>8))
	}
	return string(out)
}
