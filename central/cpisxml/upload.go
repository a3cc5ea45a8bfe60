package cpisxml

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"
	"time"
)

// Header is what an upload says of itself (File in REPC_MT000002GB01).
type Header struct {
	Created  time.Time
	Sequence string // id: the authority's own running number
	Quantity int    // transmissionQuantity: the number of records
	Sender   Organisation
}

// Upload is an upload that is being read.
type Upload struct {
	Header Header

	scan    *scanner
	waiting *node // the first record, which ended the header
	count   int
	err     error
}

// ReadUpload reads the head of an upload; its records follow by Next. An error
// is one sentence that begins with the place, and repeats nothing of the file.
func ReadUpload(r io.Reader) (*Upload, error) {
	s, err := newScanner(r, "File")
	if err != nil {
		return nil, err
	}
	u := &Upload{scan: s}
	seen := map[string]bool{}
	for {
		n, err := s.next()
		if errors.Is(err, io.EOF) {
			return nil, errors.New("it holds no record, want at least one")
		}
		if err != nil {
			return nil, err
		}
		if n.name == "record" {
			u.waiting = n
			break
		}
		if err := u.head(n); err != nil {
			return nil, fmt.Errorf("line %d, column %d: %w", n.line, n.column, err)
		}
		seen[n.name] = true
	}
	for _, name := range []string{"creationTime", "id", "transmissionQuantity", "communicationFunctionSnd"} {
		if !seen[name] {
			return nil, fmt.Errorf("line %d: no %s before the first record", u.waiting.line, name)
		}
	}
	return u, nil
}

func (u *Upload) head(n *node) (err error) {
	h := &u.Header
	switch n.name {
	case "creationTime":
		if h.Created, err = parseMoment(n.attr("value")); err != nil {
			return fmt.Errorf("creationTime: %w", err)
		}
	case "id":
		if h.Sequence = n.attr("extension"); h.Sequence == "" || len(h.Sequence) > 64 {
			return errors.New("id: no extension, want the number of the file")
		}
	case "transmissionQuantity":
		if h.Quantity, err = strconv.Atoi(n.attr("value")); err != nil {
			return errors.New("transmissionQuantity: is no number, want the number of records")
		}
	case "communicationFunctionSnd":
		h.Sender = readOrganisation(n.first("organisation"))
		if h.Sender.Code.IsZero() {
			return errors.New("communicationFunctionSnd: no organisation code, want the local authority's")
		}
	default:
		return errors.New("an element that is not known, want the head of a file and records")
	}
	return nil
}

// Next gives the next record, and io.EOF after the last when the file is whole
// and holds as many records as it says. Any other error is final.
func (u *Upload) Next() (Record, error) {
	if u.err != nil {
		return Record{}, u.err
	}
	r, err := u.next()
	u.err = err
	return r, err
}

func (u *Upload) next() (Record, error) {
	n := u.waiting
	u.waiting = nil
	if n == nil {
		var err error
		n, err = u.scan.next()
		if errors.Is(err, io.EOF) {
			if u.count != u.Header.Quantity {
				return Record{}, fmt.Errorf("%d records, and transmissionQuantity says %d", u.count, u.Header.Quantity)
			}
			return Record{}, io.EOF
		}
		if err != nil {
			return Record{}, err
		}
	}
	if n.name != "record" {
		return Record{}, fmt.Errorf("line %d, column %d: an element that is not known among the records", n.line, n.column)
	}
	u.count++
	inner := n.all("CP-ISRecord")
	if len(inner) != 1 {
		return Record{Position: u.count, Line: n.line, Column: n.column, Fault: fmt.Sprintf("%d CP-ISRecord in one record, want one", len(inner))}, nil
	}
	record := readRecord(inner[0])
	record.Position, record.Line, record.Column = u.count, n.line, n.column
	return record, nil
}

// Records gives the records that are left.
func (u *Upload) Records() iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		for {
			r, err := u.Next()
			if errors.Is(err, io.EOF) || !yield(r, err) || err != nil {
				return
			}
		}
	}
}

// WriteUpload writes an upload as a local authority's system does; h.Quantity
// must be the number of records.
func WriteUpload(w io.Writer, h Header, records iter.Seq2[Record, error]) error {
	if err := h.Sender.checkAuthority(); err != nil {
		return fmt.Errorf("write upload: %w", err)
	}
	if strings.TrimSpace(h.Sequence) == "" {
		return errors.New("write upload: no sequence number")
	}
	e := newEmitter(w)
	e.root("File")
	e.leaf("creationTime", "value", moment(h.Created))
	e.leaf("id", "extension", h.Sequence)
	e.leaf("transmissionQuantity", "value", strconv.Itoa(h.Quantity))
	e.authority("communicationFunctionSnd", h.Sender)
	count := 0
	for r, err := range records {
		if err != nil {
			return fmt.Errorf("write upload: %w", err)
		}
		count++
		if err := r.writable(true); err != nil {
			return fmt.Errorf("write upload: record %d: %w", count, err)
		}
		e.open("record")
		e.open("CP-ISRecord")
		e.plans(r.Plans)
		e.subjects(r.Subjects)
		e.close("CP-ISRecord")
		e.close("record")
	}
	if count != h.Quantity || count == 0 {
		return fmt.Errorf("write upload: %d records, want %d and at least one", count, h.Quantity)
	}
	if err := e.end("File"); err != nil {
		return fmt.Errorf("write upload: %w", err)
	}
	return nil
}
