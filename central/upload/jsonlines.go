package upload

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// jsonReader reads JSON lines.
type jsonReader struct {
	lines *lines
	first line // read ahead to see whether this is such a file
	ahead bool
}

// newJSON reads a file with one JSON object on each line (jsonlines.org), whose
// members are the columns of CSV:
//
//	{"nhs_number":"9990000107","date_of_birth":"2015-06-07","plan":"CPP","start":"2025-01-02","end":null}
//
// Values are strings, numbers or null. A line that is no such object, or has a
// member that is not known or is there twice, spoils itself only.
func newJSON(r io.Reader) (*jsonReader, error) {
	j := &jsonReader{lines: newLines(r), ahead: true}
	var err error
	if j.first, err = j.lines.next(); errors.Is(err, io.EOF) {
		return nil, errors.New("line 1: the file is empty, want a JSON object on each line")
	} else if err != nil {
		return nil, err
	}
	if start := bytes.TrimSpace(j.first.text); !j.first.long && !bytes.HasPrefix(start, []byte("{")) {
		if bytes.HasPrefix(start, []byte("[")) {
			return nil, fmt.Errorf("line %d: a JSON array, want a JSON object on each line and nothing around them", j.first.number)
		}
		return nil, fmt.Errorf("line %d: no JSON object, want one on each line", j.first.number)
	}
	// An object spread over lines is the commonest way of getting this wrong.
	if !j.first.long && string(bytes.TrimSpace(j.first.text)) == "{" {
		return nil, fmt.Errorf("line %d: a JSON object spread over lines, want each on one line", j.first.number)
	}
	return j, nil
}

func (j *jsonReader) Header() Header { return Header{} }

func (j *jsonReader) Next() (Row, error) {
	l := j.first
	if !j.ahead {
		var err error
		if l, err = j.lines.next(); err != nil {
			return Row{}, err
		}
	}
	j.ahead = false
	row := Row{Line: l.number}
	if wrong := members(l, row.fields()); wrong != "" {
		row = Row{Line: l.number, Unreadable: wrong}
	}
	return row, nil
}

// members takes an object apart, or says why it can not.
func members(l line, into []*string) (wrong string) {
	switch {
	case l.long:
		return fmt.Sprintf("the line is longer than %d bytes", maxLine)
	case !utf8.Valid(l.text), bytes.IndexByte(l.text, 0) >= 0:
		return "the line is not UTF-8 text"
	}
	const notJSON = "the line is no JSON object"
	d := json.NewDecoder(bytes.NewReader(l.text))
	d.UseNumber()
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return notJSON
	}
	seen := make([]bool, len(columns))
	for d.More() {
		t, err := d.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			return notJSON
		}
		c := slices.Index(columns, canonical(name))
		if c < 0 {
			return "a member that is not known, want only " + strings.Join(columns, ", ") + "; leave out what is not asked for"
		}
		if seen[c] {
			return columns[c] + " is there twice, want it once"
		}
		seen[c] = true
		value, err := d.Token()
		if err != nil {
			return notJSON
		}
		switch v := value.(type) {
		case string:
			*into[c] = v
		case json.Number:
			*into[c] = v.String()
		case nil:
		default:
			return columns[c] + " is neither text nor a number nor null"
		}
	}
	if t, err := d.Token(); err != nil || t != json.Delim('}') {
		return notJSON
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return "more after the object, want one on each line"
	}
	return ""
}
