package upload

import (
	"regexp"
	"strings"
	"time"
	"unicode"

	"github.com/safeguard-edge/safeguard"
)

// What spreadsheets make of text, dates and long numbers.
var (
	formula    = regexp.MustCompile(`^="([^"]*)"$`)
	scientific = regexp.MustCompile(`^(\d)(?:[.,](\d+))?[eE]\+?0?9$`)
	anyPower   = regexp.MustCompile(`^\d(?:[.,]\d+)?[eE][+-]?\d+$`)
	grouped    = regexp.MustCompile(`^\d{1,3}(,\d{3})+$`)
	fraction   = regexp.MustCompile(`^(\d+)[.,]0+$`)
	dayNumber  = regexp.MustCompile(`^(\d{5})([.,]\d+)?$`)
	slashed    = regexp.MustCompile(`^(\d{1,2})[/.\-](\d{1,2})[/.\-](\d{4})$`)
	yearFirst  = regexp.MustCompile(`^(\d{4})[/.](\d{1,2})[/.](\d{1,2})$`)
	shortYear  = regexp.MustCompile(`^\d{1,2}[/.\-]\d{1,2}[/.\-]\d{2}$`)
	named      = regexp.MustCompile(`^(\d{1,2})[ \-]([A-Za-z]{3,9})[ \-](\d{4})$`)
	clock      = regexp.MustCompile(`^(.*\d)[ T]+(\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})?)$`)
	narrow     = regexp.MustCompile(`^#+$`)
)

// tidy takes off what a spreadsheet or its user put around a value, and says so
// where it was more than blanks.
func tidy(s string) (value, note string) {
	s = strings.TrimFunc(s, blank)
	if m := formula.FindStringSubmatch(s); m != nil {
		return strings.TrimFunc(m[1], blank), "read without the formula around it"
	}
	if rest := strings.TrimLeft(s, "'’‘`"); rest != s {
		return strings.TrimFunc(rest, blank), "read without the apostrophe before it"
	}
	return s, ""
}

// blank tells what does not show, no-break and zero-width spaces included.
func blank(r rune) bool { return unicode.IsSpace(r) || r == '\u200b' || r == '\ufeff' }

// readNumber reads an NHS number, or says what is wrong with it. It never
// guesses a digit: what a spreadsheet has rounded is lost.
func readNumber(s string) (n safeguard.NHSNumber, note, wrong string) {
	s, note = tidy(s)
	if s == "" {
		return n, "", "no NHS number, want ten digits"
	}
	s = strings.Map(func(r rune) rune {
		switch {
		case blank(r):
			return -1
		case r == '‐', r == '‑', r == '–':
			return '-'
		}
		return r
	}, s)
	switch m := scientific.FindStringSubmatch(s); {
	case m != nil && len(m[2]) == 9:
		s, note = m[1]+m[2], "read from the form 9.990000107E+09, of which no digit is missing"
	case m != nil || anyPower.MatchString(s):
		return n, "", "a spreadsheet has shortened it to the form 9.9E+09, want ten digits; make the column a text column"
	case narrow.MatchString(s):
		return n, "", "a spreadsheet has written ### for want of room, want ten digits; make the column wider"
	case grouped.MatchString(s):
		s, note = strings.ReplaceAll(s, ",", ""), "read without the commas in it"
	}
	if m := fraction.FindStringSubmatch(s); m != nil {
		s, note = m[1], "read without the .0 behind it"
	}
	n, err := safeguard.ParseNHSNumber(s)
	if err != nil {
		return n, "", strings.TrimPrefix(err.Error(), "NHS number: ")
	}
	return n, note, ""
}

// day is a date that was read.
type day struct {
	safeguard.Date
	note      string // how, where it was not written YYYY-MM-DD
	wrong     string // what is wrong with it
	ambiguous bool   // another date, if it was month/day
	american  bool   // no date, unless it was month/day
}

// readDay reads a date, or says what is wrong with it.
func readDay(s string) day {
	s, note := tidy(s)
	if s == "" {
		return day{wrong: "is missing, want YYYY-MM-DD"}
	}
	if m := clock.FindStringSubmatch(s); m != nil {
		s, note = m[1], "read without the time behind it"
	}
	if d, err := safeguard.ParseDate(s); err == nil {
		return day{Date: d, note: note}
	}
	part := func(text, layout, note string) day {
		if t, err := time.Parse(layout, text); err == nil {
			return day{Date: safeguard.DateOf(t), note: note}
		}
		return day{wrong: "is no day of the calendar, want YYYY-MM-DD"}
	}
	switch {
	case slashed.MatchString(s):
		m := slashed.FindStringSubmatch(s)
		d := part(m[1]+"/"+m[2]+"/"+m[3], "2/1/2006", "read as day/month/year")
		swapped := part(m[2]+"/"+m[1]+"/"+m[3], "2/1/2006", "")
		d.american = d.wrong != "" && swapped.wrong == ""
		d.ambiguous = d.wrong == "" && swapped.wrong == "" && d.Date != swapped.Date
		if d.wrong != "" {
			d.wrong = "is no day of the calendar as day/month/year, want YYYY-MM-DD"
		}
		return d
	case yearFirst.MatchString(s):
		m := yearFirst.FindStringSubmatch(s)
		return part(m[1]+"/"+m[2]+"/"+m[3], "2006/1/2", "read as year/month/day")
	case named.MatchString(s):
		m := named.FindStringSubmatch(s)
		text := m[1] + " " + strings.ToUpper(m[2][:1]) + strings.ToLower(m[2][1:]) + " " + m[3]
		if d := part(text, "2 Jan 2006", "read as day, month and year"); d.wrong == "" {
			return d
		}
		return part(text, "2 January 2006", "read as day, month and year")
	case len(s) == 8 && strings.Trim(s, "0123456789") == "":
		return part(s, "20060102", "read as YYYYMMDD")
	case dayNumber.MatchString(s):
		// Excel's days since 30 December 1899; 1904-based sheets are too rare, and
		// a date of birth that is off by four years confirms no identity.
		n := 0
		for _, c := range s[:5] {
			n = 10*n + int(c-'0')
		}
		return day{Date: safeguard.Date{Year: 1899, Month: 12, Day: 30}.Add(0, 0, n), note: "read as a spreadsheet's number of a day"}
	case shortYear.MatchString(s):
		return day{wrong: "has a year of two digits, want YYYY-MM-DD"}
	case narrow.MatchString(s):
		return day{wrong: "is ###, for want of room in a spreadsheet, want YYYY-MM-DD; make the column wider"}
	}
	return day{wrong: "is no day of the calendar, want YYYY-MM-DD"}
}

// planWords are the ways in which a plan is written.
var planWords = map[string]safeguard.Plan{
	"CPP": safeguard.ChildProtection, "CPPI": safeguard.ChildProtection,
	"LAC": safeguard.LookedAfter, "LACI": safeguard.LookedAfter, "CLA": safeguard.LookedAfter,
	"UCPP": safeguard.UnbornChild, "UCPI": safeguard.UnbornChild, "UCP": safeguard.UnbornChild,
}

func readPlan(s string) (p safeguard.Plan, note, wrong string) {
	s, note = tidy(s)
	s = strings.ToUpper(s)
	p = planWords[s]
	switch {
	case p == safeguard.UnknownPlan:
		return p, "", "want CPP, LAC or UCPP"
	case p.String() != s:
		note = "read as " + p.String()
	}
	return p, note, ""
}
