package upload

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxLine is the longest line that is read, in bytes. A good one has some 70.
const maxLine = 4096

// columns are those a file may have, the required ones first.
var columns = []string{columnNumber, columnBorn, columnPlan, columnStart, columnEnd, columnDelete}

const required = 4

// CSV reads a file of flags. Its first line names the columns, in any order:
//
//	nhs_number     ten digits, with or without spaces; of the mother for UCPP
//	date_of_birth  YYYY-MM-DD; of the mother for UCPP
//	plan           CPP, LAC or UCPP
//	start          YYYY-MM-DD
//	end            YYYY-MM-DD, or empty while the plan is active; may be left out
//	delete         YYYY-MM-DD, or empty: the flag should never have been there,
//	               and is withdrawn; may be left out
//
// The text is UTF-8, a byte order mark is passed over, lines end in LF or CRLF,
// fields are separated by commas and may stand in double quotes. No field
// spans lines, so that a stray quote spoils its own line only: such a row comes
// with Unreadable set. Empty lines, and those of
// commas alone that spreadsheets write, are passed over.
//
// An error of CSV is about the first line, and says that this is no such file;
// one of a row is that of reading, and the last.
func CSV(r io.Reader) (iter.Seq2[Row, error], error) {
	lines := &lines{in: bufio.NewReaderSize(r, maxLine)}
	first, err := lines.next()
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	order, err := header(first)
	if err != nil {
		return nil, fmt.Errorf("line %d: %w", max(first.number, 1), err)
	}
	return func(yield func(Row, error) bool) {
		for {
			line, err := lines.next()
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				yield(Row{}, err)
				return
			}
			if !yield(order.row(line), nil) {
				return
			}
		}
	}, nil
}

// lines gives the lines that are not empty, without their ends.
type lines struct {
	in     *bufio.Reader
	number int // of the line read last
}

// line is valid until the next is read.
type line struct {
	number int
	text   []byte
	long   bool // too long to be kept; there is no text
}

func (l *lines) next() (line, error) {
	for {
		text, err := l.in.ReadSlice('\n')
		l.number++
		out := line{number: l.number}
		for errors.Is(err, bufio.ErrBufferFull) {
			out.long = true
			_, err = l.in.ReadSlice('\n')
		}
		switch {
		case err != nil && !errors.Is(err, io.EOF):
			return line{}, fmt.Errorf("line %d: %w", l.number, err)
		case out.long:
			return out, nil
		case err != nil && len(text) == 0:
			return line{}, io.EOF
		}
		if l.number == 1 {
			text = bytes.TrimPrefix(text, []byte("\ufeff"))
		}
		out.text = bytes.TrimRight(text, "\r\n")
		if len(bytes.Trim(out.text, ", \t")) > 0 {
			return out, nil
		}
	}
}

// order says for each field of a line which column it is.
type order []int

// header reads the first line. It quotes a name only when the required ones are
// all there, for otherwise the line may well be a person's.
func header(first line) (order, error) {
	want := "want a first line that names the columns: " + strings.Join(columns, ",")
	if first.number == 0 {
		return nil, errors.New("the file is empty, " + want)
	}
	fields, wrong := split(first)
	if wrong != "" {
		return nil, errors.New(wrong + "; " + want)
	}
	var order order
	var unknown []string
	for i, f := range fields {
		name := strings.NewReplacer(" ", "_", "-", "_").Replace(strings.ToLower(strings.TrimSpace(f)))
		c := slices.Index(columns, name)
		if c >= 0 && slices.Contains(order, c) {
			return nil, fmt.Errorf("column %d: %s is there twice, want it once", i+1, name)
		}
		if c < 0 {
			unknown = append(unknown, fmt.Sprintf("column %d: %q is not known, want only %s; leave out what is not asked for",
				i+1, clip(f), strings.Join(columns, ",")))
		}
		order = append(order, c)
	}
	for c, name := range columns[:required] {
		if !slices.Contains(order, c) {
			hint := ""
			if bytes.ContainsAny(first.text, ";\t") {
				hint = "; fields must be separated by commas"
			}
			return nil, fmt.Errorf("no column %s, %s%s", name, want, hint)
		}
	}
	if len(unknown) > 0 {
		return nil, errors.New(unknown[0])
	}
	return order, nil
}

func clip(s string) string {
	if r := []rune(s); len(r) > 30 {
		return string(r[:30]) + "…"
	}
	return s
}

// row puts a line's fields where they belong.
func (o order) row(l line) Row {
	fields, wrong := split(l)
	if wrong == "" && len(fields) != len(o) {
		wrong = fmt.Sprintf("%d fields, want %d as the first line names", len(fields), len(o))
	}
	if wrong != "" {
		return Row{Line: l.number, Unreadable: wrong}
	}
	row := Row{Line: l.number}
	into := []*string{&row.NHSNumber, &row.DateOfBirth, &row.Plan, &row.Start, &row.End, &row.Delete}
	for i, c := range o {
		*into[c] = fields[i]
	}
	return row
}

// split takes a line apart (RFC 4180, without fields of several lines), or says
// why it can not.
func split(l line) (fields []string, wrong string) {
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
			if after[0] != ',' {
				return nil, fmt.Sprintf("character %d: more after a quoted field, want a comma", at(after))
			}
			rest = after[1:]
			continue
		}
		field, after, more := strings.Cut(rest, ",")
		if i := strings.IndexByte(field, '"'); i >= 0 {
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
