package survey

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/safeguard-edge/safeguard/hl7adapter/adt"
)

// Report is what a survey found.
type Report struct {
	Messages  int64    `json:"messages"`
	Bytes     int64    `json:"bytes"`
	Tables    []Table  `json:"tables"`
	Notes     []string `json:"notes"`     // what a person should look at
	Suggested string   `json:"suggested"` // configuration, as YAML
}

// Table is one thing that was counted.
type Table struct {
	Title string `json:"title"`
	Where string `json:"where"` // the field
	Rows  []Row  `json:"rows"`
}

// Row is one value.
type Row struct {
	Value string `json:"value"`
	Count int64  `json:"count"`
	Note  string `json:"note,omitempty"`
}

// Report says what was found so far.
func (s *Survey) Report() Report {
	r := Report{Messages: s.messages, Bytes: s.bytes}
	for _, t := range []Table{
		{"Versions", "MSH-12", s.versions.rows()},
		{"Events, and what follows", "MSH-9", s.events.rows()},
		{"Refused, and why", "", s.refused.rows()},
		{"Senders", "MSH-3, MSH-4", s.senders.rows()},
		{"Receivers", "MSH-5, MSH-6", s.receivers.rows()},
		{"Processing ids", "MSH-11", s.processing.rows()},
		{"Character sets declared, and what the bytes are", "MSH-18", s.charsets.rows()},
		{"Delimiters", "MSH-1, MSH-2", s.delimiters.rows()},
		{"Segment ends", "", s.lineEnds.rows()},
		{"Segments", "", s.segments.rows()},
		{"Identifiers of the patient", "PID-2, PID-3, PID-4, PID-19", s.identifierRows()},
		{"Statuses of the NHS number", "PID-32", s.statuses.rows()},
		{"Dates of birth", "PID-7", s.born.rows()},
		{"Sexes", "PID-8", s.sexes.rows()},
		{"Classes", "PV1-2", s.classes.rows()},
		{"Locations, and classes there", "PV1-3.1", s.locationRows()},
		{"Wards, as the ITK has them", "PV1-3.2", s.wards.rows()},
		{"Facilities", "PV1-3.4", s.facilities.rows()},
		{"Admission types", "PV1-4", s.admissions.rows()},
		{"Specialties", "PV1-10", s.specialties.rows()},
		{"Visit numbers", "PV1-19", s.visits.rows()},
		{"Attendances that begin, by rule and care setting", "", s.decisionRows()},
		{"Asked about", "", s.asked.rows()},
		{"Could not be used", "", s.doubts.rows()},
	} {
		if len(t.Rows) > 0 {
			r.Tables = append(r.Tables, t)
		}
	}
	r.Notes = s.notes()
	r.Suggested = s.suggest()
	return r
}

func fieldName(n int) string { return "PID-" + strconv.Itoa(n) }

func (s *Survey) identifierRows() []Row {
	var rows []Row
	for key, n := range s.identifiers.counts {
		row := Row{Value: key, Count: n}
		if d := s.details[key]; d != nil {
			row.Value = fmt.Sprintf("%s authority %s, type %s", fieldName(d.field), d.authority, d.typ)
			row.Note = d.note()
		}
		rows = append(rows, row)
	}
	sortRows(rows)
	return rows
}

func (s *Survey) locationRows() []Row {
	var rows []Row
	for key, n := range s.locations.counts {
		row := Row{Value: key, Count: n}
		if p := s.places[key]; p != nil {
			var classes []string
			for _, c := range p.classes.rows() {
				classes = append(classes, fmt.Sprintf("%s %d", c.Value, c.Count))
			}
			row.Note = strings.Join(classes, ", ")
		}
		rows = append(rows, row)
	}
	sortRows(rows)
	return rows
}

func (s *Survey) decisionRows() []Row {
	var rows []Row
	for key, n := range s.decisions.counts {
		rule, setting, _ := strings.Cut(key, sep)
		rows = append(rows, Row{rule + "; " + setting, n, s.ruled[key]})
	}
	sortRows(rows)
	return rows
}

func sortRows(rows []Row) {
	slices.SortFunc(rows, func(a, b Row) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Value, b.Value))
	})
}

// share says how many of how many, in words that a table has room for.
func share(n, of int64) string {
	if of == 0 {
		return "0"
	}
	return fmt.Sprintf("%d (%d %%)", n, n*100/of)
}

// notes are what a person should look at.
func (s *Survey) notes() []string {
	var out []string
	c := s.seen
	note := func(n, of int64, format string) {
		if n > 0 {
			out = append(out, fmt.Sprintf(format, share(n, of)))
		}
	}
	rules := adt.DefaultRules()
	var undecided int64
	for key, n := range s.decisions.counts {
		if strings.HasPrefix(key, rules[len(rules)-1].Name+sep) {
			undecided += n
		}
	}
	note(c.noNumber, c.attending, "%s have no NHS number that is recognised: their checks stay uncompleted until one is entered")
	note(c.noStatus, c.attending, "%s have an NHS number without a status (PID-32, ZU1-27): their alerts say that it is not confirmed as verified")
	note(undecided, c.beginning, "%s of the attendances that begin are decided by no class or location, and taken as scheduled: nobody is notified of them. List their locations, or write a rule")
	note(c.noVisit, c.attending, "%s have no visit number in PV1-19: they are told by hospital number, admit time and site")
	note(c.noAdmit, c.attending, "%s have no admit time in PV1-44: the time of the event is taken")
	note(c.noFacility, c.attending, "%s name no site in PV1-3.4: the feed's is taken")
	note(c.test, c.attending, "%s are test traffic and would not be looked up (MSH-11, or numbers of the 999 range under production checks)")
	note(c.testNumber, c.attending, "%s have an NHS number of the 999 range, which is for tests")
	note(c.unknownSet, s.messages, "%s declare a character set that is not known: they are read as UTF-8 where valid, else as Windows-1252")
	note(c.badCharset, s.messages, "%s declare a character set of one byte a character and are UTF-8: names would be misread; see the suggested configuration")
	note(c.mother, c.attending, "%s name the mother in PID-21: of infants under 28 days she is asked about too")
	note(c.arriving, s.messages, "%s are A10: if a patient's arrival is told by A10 and not by A01 or A04, write arriving: register")
	if c.beginning > 0 && c.discharges == 0 {
		out = append(out, "no discharges (A03) are in the sample: without them an emergency attendance is open for 24 h, an inpatient's for 30 days")
	}
	if c.attending > 0 && c.merges == 0 {
		out = append(out, "no merges (A40, A34 …) are in the sample: ask whether they are sent")
	}
	if c.beginning == 0 && s.messages > 0 {
		out = append(out, "no message of the sample begins an attendance (A01, A04)")
	}
	note(s.strays, s.messages+s.strays, "%s pieces of the files belong to no message")
	note(s.long, s.messages+s.long, "%s messages are longer than the survey reads")
	return out
}

// WriteText writes the report for a person to read.
func (r Report) WriteText(w io.Writer) error {
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "%d messages, %d bytes\n", r.Messages, r.Bytes)
	for _, t := range r.Tables {
		title := t.Title
		if t.Where != "" {
			title += " (" + t.Where + ")"
		}
		fmt.Fprintf(b, "\n%s\n", title)
		for i, row := range t.Rows {
			if i == shownRows {
				fmt.Fprintf(b, "  %8s  and %d more\n", "", len(t.Rows)-i)
				break
			}
			fmt.Fprintln(b, strings.TrimRight(fmt.Sprintf("  %8d  %-40s %s", row.Count, row.Value, row.Note), " "))
		}
	}
	if len(r.Notes) > 0 {
		fmt.Fprintf(b, "\nTo look at\n")
		for _, n := range r.Notes {
			fmt.Fprintf(b, "  %s\n", n)
		}
	}
	fmt.Fprintf(b, "\nSuggested configuration\n\n%s", r.Suggested)
	return b.Flush()
}

// shownRows is how much of a table a person reads; JSON has all of it.
const shownRows = 40
