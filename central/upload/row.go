package upload

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/store"
)

// Row is one row, each field as the local authority wrote it.
type Row struct {
	Line        int // in the file, from 1
	NHSNumber   string
	DateOfBirth string
	Plan        string
	Start       string
	End         string
	Delete      string

	// Unreadable is why the row could not be taken apart, if so: it is rejected,
	// and fields that could be read all the same say whose it was.
	Unreadable string
}

// fields are the columns, in the order of columns.
func (r *Row) fields() []*string {
	return []*string{&r.NHSNumber, &r.DateOfBirth, &r.Plan, &r.Start, &r.End, &r.Delete}
}

// The columns, as a file's first line names them.
const (
	columnNumber = "nhs_number"
	columnBorn   = "date_of_birth"
	columnPlan   = "plan"
	columnStart  = "start"
	columnEnd    = "end"
	columnDelete = "delete"
)

// oldest is the earliest date of birth that is believed.
var oldest = safeguard.Date{Year: 1900, Month: 1, Day: 1}

// Rules are what a row is held against.
type Rules struct {
	Today      safeguard.Date
	RefuseTest bool // numbers of the 999 range, in production
	OnlyTest   bool // no others, while the local authority tests
	Adult      int  // age in years at which CPP and LAC end; 0 is safeguard.Adulthood
}

// reading is what came of a row.
type reading struct {
	change    store.Change
	code      string // Loaded, or why not
	column    string // at fault
	sentence  string // what is wrong
	notes     []string
	ambiguous string // the first column that could be month/day
	american  bool   // a column can only be month/day
}

func (r *reading) reject(code, column, sentence string) reading {
	r.code, r.column, r.sentence = code, column, sentence
	return *r
}

func (r *reading) note(column, note string) {
	if note != "" {
		r.notes = append(r.notes, column+" "+note)
	}
}

// take keeps what is to be said of a date.
func (r *reading) take(column string, d day) {
	r.note(column, d.note)
	r.american = r.american || d.american
	if d.ambiguous && r.ambiguous == "" {
		r.ambiguous = column
	}
}

// read makes a change of a row, or says what is wrong with it. What could be
// read of the number and the date of birth is there in any case: it says who is
// not to be taken for missing.
func (rules Rules) read(row Row) reading {
	r := reading{code: Loaded}
	c := &r.change
	number, note, wrongNumber := readNumber(row.NHSNumber)
	c.Number = number
	r.note(columnNumber, note)
	born := readDay(row.DateOfBirth)
	r.take(columnBorn, born)
	if born.wrong == "" {
		c.Flag.Born = safeguard.Hide(born.Date)
	}
	if row.Unreadable != "" {
		return r.reject(Rejected, "", row.Unreadable)
	}
	switch {
	case wrongNumber != "":
		return r.reject(NotANumber, columnNumber, wrongNumber)
	case number == safeguard.TestPatient:
		return r.reject(Rejected, columnNumber, "the number of the test patient, which can hold no flag")
	case rules.RefuseTest && number.IsTest():
		return r.reject(Rejected, columnNumber, "a test number (999), which a centre with production checks does not take")
	case rules.OnlyTest && !number.IsTest():
		return r.reject(Rejected, columnNumber, "not a test number (999), and the local authority is at the stage testing, at which the centre takes no others")
	case born.wrong != "":
		return r.reject(Rejected, columnBorn, born.wrong)
	case rules.Today.Before(born.Date):
		return r.reject(Rejected, columnBorn, "is after today; of an unborn child, want the mother's")
	case born.Before(oldest):
		return r.reject(Rejected, columnBorn, "is before 1900, want the date of birth")
	}
	plan, note, wrong := readPlan(row.Plan)
	if wrong != "" {
		return r.reject(Rejected, columnPlan, wrong)
	}
	r.note(columnPlan, note)
	c.Flag.Plan = plan
	return rules.readDates(r, row, born.Date)
}

// readDates reads the plan's own dates.
func (rules Rules) readDates(r reading, row Row, born safeguard.Date) reading {
	f := &r.change.Flag
	start, adult := readDay(row.Start), cmp.Or(rules.Adult, safeguard.Adulthood)
	r.take(columnStart, start)
	switch {
	case start.wrong != "":
		return r.reject(Rejected, columnStart, start.wrong)
	case start.Before(born):
		return r.reject(Rejected, columnStart, "is before the date of birth; a plan for an unborn child is UCPP, with the mother's number and date of birth")
	case f.Plan != safeguard.UnbornChild && born.YearsAt(start.Date) >= adult:
		return r.reject(Rejected, columnStart, fmt.Sprintf("is after the %dth birthday, when CPP and LAC end; a plan for an unborn child is UCPP", adult))
	}
	f.Start = start.Date

	if strings.TrimFunc(row.End, blank) != "" {
		end := readDay(row.End)
		r.take(columnEnd, end)
		if end.wrong != "" {
			return r.reject(Rejected, columnEnd, end.wrong+", or nothing while the plan is active")
		}
		if end.Before(start.Date) {
			return r.reject(Rejected, columnEnd, "is before the start")
		}
		f.End = end.Date
	}

	if strings.TrimFunc(row.Delete, blank) != "" {
		on := readDay(row.Delete)
		r.take(columnDelete, on)
		if on.wrong != "" {
			return r.reject(Rejected, columnDelete, on.wrong+", or nothing")
		}
		if rules.Today.Before(on.Date) {
			return r.reject(Rejected, columnDelete, "is after today; a flag is withdrawn at once, and a plan that ends has an end")
		}
		r.change.Withdraw = true
	}
	return r
}
