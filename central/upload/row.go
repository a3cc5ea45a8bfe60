package upload

import (
	"strings"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/store"
)

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

var plans = map[string]safeguard.Plan{
	"CPP":  safeguard.ChildProtection,
	"LAC":  safeguard.LookedAfter,
	"UCPP": safeguard.UnbornChild,
}

// read makes a change of a row, or says what is wrong with it.
func (r Rules) read(row Row) (store.Change, Verdict) {
	if row.Unreadable != "" {
		return store.Change{}, Verdict{Code: Rejected, Sentence: row.Unreadable}
	}
	reject := func(column, sentence string) (store.Change, Verdict) {
		return store.Change{}, Verdict{Code: Rejected, Column: column, Sentence: sentence}
	}

	text := strings.TrimSpace(row.NHSNumber)
	number, err := safeguard.ParseNHSNumber(text)
	switch {
	case text == "":
		return store.Change{}, Verdict{Code: NotANumber, Column: columnNumber, Sentence: "no NHS number, want ten digits"}
	case err != nil && strings.ContainsAny(text, "eE") && strings.Contains(text, "+"):
		return store.Change{}, Verdict{Code: NotANumber, Column: columnNumber,
			Sentence: "a spreadsheet has shortened it to the form 9.9E+09, want ten digits; make the column a text column"}
	case err != nil:
		return store.Change{}, Verdict{Code: NotANumber, Column: columnNumber, Sentence: strings.TrimPrefix(err.Error(), "NHS number: ")}
	case number == safeguard.TestPatient:
		return reject(columnNumber, "the number of the test patient, which can hold no flag")
	case r.RefuseTest && number.IsTest():
		return reject(columnNumber, "a test number (999), which a centre with production checks does not take")
	}

	born, wrong := date(row.DateOfBirth)
	switch {
	case wrong != "":
		return reject(columnBorn, wrong)
	case r.Today.Before(born):
		return reject(columnBorn, "is after today; of an unborn child, want the mother's")
	case born.Before(oldest):
		return reject(columnBorn, "is before 1900, want the date of birth")
	}

	plan := plans[strings.ToUpper(strings.TrimSpace(row.Plan))]
	if plan == safeguard.UnknownPlan {
		return reject(columnPlan, "want CPP, LAC or UCPP")
	}

	start, wrong := date(row.Start)
	switch {
	case wrong != "":
		return reject(columnStart, wrong)
	case start.Before(born):
		return reject(columnStart, "is before the date of birth; a plan for an unborn child is UCPP, with the mother's number and date of birth")
	case plan != safeguard.UnbornChild && born.YearsAt(start) >= 18:
		return reject(columnStart, "is after the 18th birthday, when CPP and LAC end; a plan for an unborn child is UCPP")
	}

	var end safeguard.Date
	if strings.TrimSpace(row.End) != "" {
		if end, wrong = date(row.End); wrong != "" {
			return reject(columnEnd, wrong+", or nothing while the plan is active")
		}
		if end.Before(start) {
			return reject(columnEnd, "is before the start")
		}
	}

	withdraw := strings.TrimSpace(row.Delete) != ""
	if withdraw {
		on, wrong := date(row.Delete)
		if wrong != "" {
			return reject(columnDelete, wrong+", or nothing")
		}
		if r.Today.Before(on) {
			return reject(columnDelete, "is after today; a flag is withdrawn at once, and a plan that ends has an end")
		}
	}
	flag := store.Flag{Plan: plan, Start: start, End: end, Born: safeguard.Hide(born)}
	return store.Change{Number: number, Flag: flag, Withdraw: withdraw}, Verdict{Code: Loaded}
}

// date reads a day, or says what is wrong with it.
func date(s string) (d safeguard.Date, wrong string) {
	s = strings.TrimSpace(s)
	d, err := safeguard.ParseDate(s)
	switch {
	case err == nil:
		return d, ""
	case s == "":
		return d, "is missing, want YYYY-MM-DD"
	case strings.Contains(s, "/"):
		return d, "has slashes, want YYYY-MM-DD; make the column a text column"
	}
	return d, "is no day of the calendar, want YYYY-MM-DD"
}
