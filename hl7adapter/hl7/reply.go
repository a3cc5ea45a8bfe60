package hl7

import (
	"bytes"
	"errors"
	"fmt"
)

// Reply is an acknowledgement that was received.
type Reply struct {
	Code      AckCode
	ControlID []byte // MSA-2 verbatim: of the message acknowledged
	Text      string // MSA-3; may hold content of the message
	Errors    []ReplyError
}

// ReplyError is one error that an acknowledgement tells of.
type ReplyError struct {
	Code     string // of table 0357 or the receiver's own
	Text     string
	Location string // segment, occurrence and field, as written
	Severity string // E, W or I since 2.5
}

// ErrNotAck is returned by ParseAck for a message that acknowledges nothing.
var ErrNotAck = errors.New("parse acknowledgement: no MSA with a code of table 0008")

// ParseAck reads an acknowledgement of any version.
func ParseAck(body []byte) (Reply, error) {
	m, err := Parse(body)
	if err != nil {
		return Reply{}, fmt.Errorf("parse acknowledgement: %w", err)
	}
	msa, ok := m.Segment("MSA")
	if !ok {
		return Reply{}, ErrNotAck
	}
	r := Reply{ControlID: msa.Field(2).Raw(), Text: msa.Field(3).WholeText()}
	for _, c := range Codes {
		if msa.Field(1).Is(string(c)) {
			r.Code = c
		}
	}
	if r.Code == "" {
		return Reply{}, ErrNotAck
	}
	if f := msa.Field(6); !f.IsAbsent() {
		r.Errors = append(r.Errors, ReplyError{Code: f.Text(), Text: f.Component(2).Text()})
	}
	for seg := range m.Segments() {
		if seg.Is("ERR") {
			r.Errors = appendErrors(r.Errors, seg)
		}
	}
	return r, nil
}

func appendErrors(to []ReplyError, seg Segment) []ReplyError {
	for rep := range seg.Field(1).Repetitions() {
		code := rep.Component(4)
		to = append(to, ReplyError{
			Code:     code.Sub(1).Text(),
			Text:     code.Sub(2).Text(),
			Location: location(rep.Component(1), rep.Component(2), rep.Component(3)),
		})
	}
	if f := seg.Field(3); !f.IsAbsent() {
		text := seg.Field(8).WholeText()
		for _, other := range []string{seg.Field(7).WholeText(), f.Component(2).Text()} {
			if text == "" {
				text = other
			}
		}
		at := seg.Field(2)
		to = append(to, ReplyError{
			Code:     f.Text(),
			Text:     text,
			Location: location(at.Component(1), at.Component(2), at.Component(3)),
			Severity: seg.Field(4).Text(),
		})
	}
	return to
}

// location joins the parts of ELD and ERL.
func location(parts ...Component) string {
	var out []byte
	for i, p := range parts {
		if i > 0 {
			out = append(out, '^')
		}
		out = p.AppendText(out)
	}
	return string(bytes.TrimRight(out, "^"))
}
