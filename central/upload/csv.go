package upload

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// columns are those a file may have, the required ones first.
var columns = []string{columnNumber, columnBorn, columnPlan, columnStart, columnEnd, columnDelete}

const required = 4

// csvReader reads CSV.
type csvReader struct {
	lines *lines
	order order
	comma byte
}

// newCSV reads a file of flags. Its first line names the columns, in any order:
//
//	nhs_number     ten digits, with or without spaces; of the mother for UCPP
//	date_of_birth  YYYY-MM-DD; of the mother for UCPP
//	plan           CPP, LAC or UCPP
//	start          YYYY-MM-DD
//	end            YYYY-MM-DD, or empty while the plan is active; may be left out
//	delete         YYYY-MM-DD, or empty: the flag should never have been there,
//	               and is withdrawn; may be left out
//
// The text is UTF-8, or UTF-16 with a byte order mark; a byte order mark is
// passed over, lines end in LF or CRLF, fields are separated by commas, or, as
// the first line shows, by semicolons or tabs, and may stand in double quotes.
// No field spans lines, so that a stray quote spoils its own line only: such a
// row comes with Unreadable set. Empty lines, and those of separators alone that
// spreadsheets write, are passed over.
func newCSV(r io.Reader) (*csvReader, error) {
	c := &csvReader{lines: newLines(r)}
	first, err := c.lines.next()
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if c.order, c.comma, err = header(first); err != nil {
		return nil, fmt.Errorf("line %d: %w", max(first.number, 1), err)
	}
	return c, nil
}

func (c *csvReader) Header() Header { return Header{} }

func (c *csvReader) Next() (Row, error) {
	line, err := c.lines.next()
	if err != nil {
		return Row{}, err
	}
	return c.order.row(line, c.comma), nil
}

// order says for each field of a line which column it is.
type order []int

// header reads the first line, and finds what separates the fields. It quotes a
// name only when the required ones are all there, for otherwise the line may
// well be a person's.
func header(first line) (order, byte, error) {
	want := "want a first line that names the columns: " + strings.Join(columns, ",")
	if first.number == 0 || len(first.text) == 0 && !first.long {
		return nil, 0, errors.New("the file is empty, " + want)
	}
	comma := byte(',')
	for _, c := range []byte(";\t") {
		if bytes.Count(first.text, []byte{c}) >= required-1 && bytes.IndexByte(first.text, ',') < 0 {
			comma = c
		}
	}
	fields, wrong := split(first, comma)
	if wrong != "" {
		return nil, 0, errors.New(wrong + "; " + want)
	}
	var order order
	var unknown []string
	for i, f := range fields {
		name := canonical(f)
		c := slices.Index(columns, name)
		if c >= 0 && slices.Contains(order, c) {
			return nil, 0, fmt.Errorf("column %d: %s is there twice, want it once", i+1, name)
		}
		if c < 0 {
			unknown = append(unknown, fmt.Sprintf("column %d: %q is not known, want only %s; leave out what is not asked for",
				i+1, clip(f), strings.Join(columns, ",")))
		}
		order = append(order, c)
	}
	for c, name := range columns[:required] {
		if !slices.Contains(order, c) {
			return nil, 0, fmt.Errorf("no column %s, %s", name, want)
		}
	}
	if len(unknown) > 0 {
		return nil, 0, errors.New(unknown[0])
	}
	return order, comma, nil
}

// row puts a line's fields where they belong.
func (o order) row(l line, comma byte) Row {
	fields, wrong := split(l, comma)
	if wrong == "" && len(fields) != len(o) {
		wrong = fmt.Sprintf("%d fields, want %d as the first line names", len(fields), len(o))
	}
	if wrong != "" {
		return Row{Line: l.number, Unreadable: wrong}
	}
	row := Row{Line: l.number}
	into := row.fields()
	for i, c := range o {
		*into[c] = fields[i]
	}
	return row
}

// split takes a line apart (RFC 4180, without fields of several lines), or says
// why it can not.
func split(l line, comma byte) (fields []string, wrong string) {
	switch {
	case l.long:
		return nil, fmt.Sprintf("the line is longer than %d bytes", maxLine)
	case !utf8.Valid(l.text), bytes.IndexByte(l.text, 0) >= 0:
		return nil, "the line is not UTF-8 text, want CSV saved as UTF-8"
	}
	text := string(l.text)
	// at is where rest begins, in characters from 1.
	at := func(rest string) int { return utf8.RuneCountInString(text[:len(text)-len(rest)]) + 1 }
	rest := text
	for {
		if trimmed := strings.TrimLeft(rest, " "); strings.HasPrefix(trimmed, `"`) {
			field, after, ok := quoted(trimmed[1:])
			if !ok {
				return nil, fmt.Sprintf("character %d: a double quote without its second", at(trimmed))
			}
			fields = append(fields, field)
			after = strings.TrimLeft(after, " ")
			if after == "" {
				return fields, ""
			}
			if after[0] != comma {
				return nil, fmt.Sprintf("character %d: more after a quoted field, want a comma", at(after))
			}
			rest = after[1:]
			continue
		}
		field, after, more := strings.Cut(rest, string(comma))
		// ="9990000107" is how some programs keep a spreadsheet from touching it.
		if i := strings.IndexByte(field, '"'); i >= 0 && !formula.MatchString(strings.TrimSpace(field)) {
			return nil, fmt.Sprintf("character %d: a double quote within a field, want the whole field in quotes", at(rest[i:]))
		}
		fields = append(fields, field)
		if !more {
			return fields, ""
		}
		rest = after
	}
}

// quoted reads up to the closing quote; two quotes stand for one.
func quoted(s string) (field, after string, ok bool) {
	var b strings.Builder
	for {
		part, rest, found := strings.Cut(s, `"`)
		b.WriteString(part)
		if !found {
			return "", "", false
		}
		if !strings.HasPrefix(rest, `"`) {
			return b.String(), rest, true
		}
		b.WriteByte('"')
		s = rest[1:]
	}
}
