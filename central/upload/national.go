package upload

import (
	"fmt"
	"io"
	"strconv"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/cpisxml"
)

// nationalReader reads the national XML.
type nationalReader struct {
	upload *cpisxml.Upload
	header Header
	rows   []Row // of the record read last, that are still to be given
}

// newNational reads an upload of the national service (REPC_MT000002GB01), as
// package cpisxml says. Each plan of a record is a row: plans are loaded or
// rejected one by one, as the national service does it, which cuts a file into
// single uploads. A row's line is that of the plan.
func newNational(r io.Reader) (*nationalReader, error) {
	u, err := cpisxml.ReadUpload(r)
	if err != nil {
		return nil, err
	}
	n := &nationalReader{upload: u, header: Header{Sender: u.Header.Sender.Code, National: true}}
	// The schema does not ask for a number. What is none still tells a repeat.
	if n.header.Sequence, err = strconv.ParseInt(u.Header.Sequence, 10, 64); err != nil || n.header.Sequence < 1 {
		n.header.Sequence, n.header.Name = 0, u.Header.Sequence
		n.header.Notices = append(n.header.Notices, "the id of the file is no number from 1, so that gaps can not be told")
	}
	if u.Header.Sender.EmergencyDuty == "" {
		n.header.Notices = append(n.header.Notices, "the file names no emergency duty telephone (telecom with use EC); that of the centre's directory counts")
	}
	return n, nil
}

func (n *nationalReader) Header() Header { return n.header }

func (n *nationalReader) Next() (Row, error) {
	for len(n.rows) == 0 {
		record, err := n.upload.Next()
		if err != nil {
			return Row{}, err
		}
		n.rows = recordRows(record)
	}
	row := n.rows[0]
	n.rows = n.rows[1:]
	return row, nil
}

// recordRows makes rows of a record, at least one.
func recordRows(r cpisxml.Record) []Row {
	if len(r.Plans) == 0 {
		row := Row{Line: r.Line, Unreadable: fmt.Sprintf("record %d: no plan, want one to three", r.Position)}
		if len(r.Subjects) > 0 {
			row.NHSNumber = r.Subjects[0].NHSNumber.Reveal()
		}
		return []Row{row}
	}
	rows := make([]Row, len(r.Plans))
	for i, p := range r.Plans {
		s, wrong := subjectOf(r, p.Plan)
		if count(r.Plans, func(q cpisxml.Plan) bool { return q.Plan == p.Plan }) > 1 {
			wrong = "two plans of one type, want one of each"
		}
		if r.Fault != "" {
			wrong = r.Fault
		}
		row := Row{
			Line:        p.Line,
			NHSNumber:   s.NHSNumber.Reveal(),
			DateOfBirth: plainDay(s.Born.Reveal()),
			Plan:        p.Plan.String(),
			Start:       plainDay(p.Start),
			End:         plainDay(p.End),
			Delete:      plainDay(p.Delete),
		}
		if wrong != "" {
			row.Unreadable = fmt.Sprintf("record %d: %s", r.Position, wrong)
		}
		rows[i] = row
	}
	return rows
}

// subjectOf finds whose plan it is: a child's own, or the mother's of an unborn
// child.
func subjectOf(r cpisxml.Record, plan safeguard.Plan) (s cpisxml.Subject, wrong string) {
	mother := plan == safeguard.UnbornChild
	switch count(r.Subjects, func(s cpisxml.Subject) bool { return s.Mother == mother }) {
	case 0:
		if len(r.Subjects) > 0 {
			s = r.Subjects[0]
		}
		if mother {
			return s, "a plan for an unborn child without its mother (UnbornChild)"
		}
		return s, "a child's plan without the child (Child)"
	case 1:
	default:
		wrong = "two subjects of one kind, want one"
	}
	for _, s := range r.Subjects {
		if s.Mother == mother {
			return s, wrong
		}
	}
	return s, wrong
}

func count[T any](list []T, is func(T) bool) int {
	n := 0
	for _, v := range list {
		if is(v) {
			n++
		}
	}
	return n
}

// plainDay writes a day of the messages as the other formats have it; what is
// none stays as it is, for the verdict.
func plainDay(s string) string {
	if d, err := cpisxml.ParseDay(s); err == nil {
		return d.String()
	}
	return s
}
