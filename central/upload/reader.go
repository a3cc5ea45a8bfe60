package upload

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"

	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"

	"github.com/safeguard-edge/safeguard"
)

// Reader gives the rows of one file, in bounded memory however long it is.
type Reader interface {
	// Next gives the next row, and io.EOF after the last. Any other error says
	// what is wrong with the file as a whole, and is final.
	Next() (Row, error)

	// Header is what the file says of itself.
	Header() Header
}

// Header is what a file says of itself. In CSV and JSON lines that is nothing.
type Header struct {
	Sequence int64             // the authority's running number; 0 for none
	Name     string            // what stands for it where it is no number
	Sender   safeguard.ODSCode // the authority that the file says it is from
	Notices  []string          // what a person should know of the whole file
	National bool              // it is a national upload, which wants an acknowledgement
}

// Format is how a file is written.
type Format string

// The formats. Detect goes by what the file begins with.
const (
	Detect   Format = ""
	CSV      Format = "csv"   // see newCSV
	JSON     Format = "jsonl" // JSON lines, see newJSON
	National Format = "xml"   // REPC_MT000002GB01, see newNational
)

// Formats are those that there are.
var Formats = []Format{CSV, JSON, National}

// Open begins to read a file. An error says that this is no such file, in one
// sentence that repeats nothing of it; or it is that of reading.
func Open(r io.Reader, f Format) (Reader, error) {
	in := bufio.NewReaderSize(r, maxLine)
	if f == Detect {
		var err error
		if f, err = detect(in); err != nil {
			return nil, err
		}
	}
	switch f {
	case CSV:
		return orError(newCSV(text(in)))
	case JSON:
		return orError(newJSON(text(in)))
	case National:
		return orError(newNational(in))
	}
	return nil, fmt.Errorf("format %q: want one of %v", f, Formats)
}

func orError[R Reader](r R, err error) (Reader, error) {
	if err != nil {
		return nil, err
	}
	return r, nil
}

// detect looks at the first character that is not blank.
func detect(in *bufio.Reader) (Format, error) {
	start, err := in.Peek(512)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, bufio.ErrBufferFull) {
		return Detect, err
	}
	start = bytes.TrimPrefix(start, []byte("\ufeff"))
	for _, c := range start {
		switch c {
		case 0, ' ', '\t', '\r', '\n', 0xfe, 0xff: // those of UTF-16 too
		case '<':
			return National, nil
		case '{', '[':
			return JSON, nil
		default:
			return CSV, nil
		}
	}
	return CSV, nil
}

// text reads UTF-16, in which spreadsheets save "Unicode text", as UTF-8.
func text(in *bufio.Reader) io.Reader {
	start, err := in.Peek(2)
	if err != nil && !errors.Is(err, io.EOF) {
		return failing{err} // which the look ahead has used up
	}
	if bytes.Equal(start, []byte{0xff, 0xfe}) || bytes.Equal(start, []byte{0xfe, 0xff}) {
		return transform.NewReader(in, unicode.BOMOverride(unicode.UTF8.NewDecoder()))
	}
	return in
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// Rows gives what r reads. An error is the last.
func Rows(r Reader) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		for {
			row, err := r.Next()
			if errors.Is(err, io.EOF) || !yield(row, err) || err != nil {
				return
			}
		}
	}
}

// maxLine is the longest line that is read, in bytes. A good one has some 70.
const maxLine = 4096

// lines gives the lines that are not empty, without their ends.
type lines struct {
	in     *bufio.Reader
	number int // of the line read last
}

func newLines(r io.Reader) *lines { return &lines{in: bufio.NewReaderSize(r, maxLine)} }

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
		if len(bytes.Trim(out.text, ",; \t")) > 0 {
			return out, nil
		}
	}
}

// clip shortens what is quoted in an error.
func clip(s string) string {
	if r := []rune(s); len(r) > 30 {
		return string(r[:30]) + "…"
	}
	return s
}

// canonical is a column's name as it is documented, from one that a spreadsheet
// may have.
func canonical(name string) string {
	name = strings.NewReplacer(" ", "_", "-", "_").Replace(strings.ToLower(strings.TrimSpace(name)))
	switch name {
	case "nhsnumber", "nhs_no":
		return columnNumber
	case "dob", "dateofbirth", "birth_date", "birthdate":
		return columnBorn
	case "plan_type", "type":
		return columnPlan
	case "start_date", "startdate", "plan_start", "plan_start_date":
		return columnStart
	case "end_date", "enddate", "plan_end", "plan_end_date":
		return columnEnd
	case "delete_date", "deletedate", "plan_delete_date":
		return columnDelete
	}
	return name
}
