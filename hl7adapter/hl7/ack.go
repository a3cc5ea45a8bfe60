package hl7

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// AckCode is what MSA-1 says. In original mode it is AA, AE or AR; in enhanced
// mode CA, CE or CR say whether the message was kept, and AA, AE or AR what the
// application made of it.
type AckCode string

// The acknowledgement codes of table 0008.
const (
	AA AckCode = "AA" // done
	AE AckCode = "AE" // an error, perhaps not for good
	AR AckCode = "AR" // rejected, sending it again is of no use
	CA AckCode = "CA"
	CE AckCode = "CE"
	CR AckCode = "CR"
)

// Codes lists them all.
var Codes = [...]AckCode{AA, AE, AR, CA, CE, CR}

// Positive says whether the code is AA or CA.
func (c AckCode) Positive() bool { return c == AA || c == CA }

// Commit says whether the code is one of enhanced mode's CA, CE and CR.
func (c AckCode) Commit() bool { return c == CA || c == CE || c == CR }

// ErrorCode is a code of table 0357.
type ErrorCode int

// The error codes of table 0357. The zero value says that there is no error.
const (
	SegmentSequence       ErrorCode = 100
	RequiredField         ErrorCode = 101
	DataType              ErrorCode = 102
	TableValue            ErrorCode = 103
	UnsupportedType       ErrorCode = 200
	UnsupportedEvent      ErrorCode = 201
	UnsupportedProcessing ErrorCode = 202
	UnsupportedVersion    ErrorCode = 203
	UnknownKey            ErrorCode = 204
	DuplicateKey          ErrorCode = 205
	Locked                ErrorCode = 206
	Internal              ErrorCode = 207
)

func (c ErrorCode) String() string {
	switch c {
	case 0:
		return "Message accepted"
	case SegmentSequence:
		return "Segment sequence error"
	case RequiredField:
		return "Required field missing"
	case DataType:
		return "Data type error"
	case TableValue:
		return "Table value not found"
	case UnsupportedType:
		return "Unsupported message type"
	case UnsupportedEvent:
		return "Unsupported event code"
	case UnsupportedProcessing:
		return "Unsupported processing id"
	case UnsupportedVersion:
		return "Unsupported version id"
	case UnknownKey:
		return "Unknown key identifier"
	case DuplicateKey:
		return "Duplicate key identifier"
	case Locked:
		return "Application record locked"
	case Internal:
		return "Application internal error"
	}
	return "Error " + strconv.Itoa(int(c))
}

// Ack is an acknowledgement to write.
type Ack struct {
	Code      AckCode
	ControlID string    // MSH-10 of the acknowledgement itself
	Time      time.Time // MSH-7
	Text      string    // MSA-3, for a person; never content of the message
	Error     ErrorCode
	At        Path // where the error is; its zero value is the whole message
}

// To writes the acknowledgement of m: in m's delimiters, version, processing id
// and character set, from m's receiver to m's sender, with MSH-10 verbatim. It
// tells an error as m's version does. The zero Message stands for one whose
// header could not be read.
func (a Ack) To(m Message) []byte {
	b := NewBuilder()
	if !m.IsZero() {
		b = NewBuilderWith(m.Delimiters())
		b.charset = m.sx.charset
	}
	h := m.Header()
	a.header(b.Header(), m, h)
	msa := b.Add("MSA").Set(1, string(a.Code)).SetRaw(2, h.ControlID).Set(3, a.Text)
	if a.Error != 0 {
		a.error(b, msa, versionOf(h.Version))
	}
	out, err := b.Build()
	if err != nil {
		// All that comes from m is whole fields of m in its own delimiters,
		// and a message without a delimiter gets no parts that need one.
		panic("hl7: acknowledgement: " + err.Error())
	}
	return out
}

func (a Ack) header(msh *SegmentBuilder, m Message, h Header) {
	msh.SetRaw(3, h.ReceivingApplication.Raw()).SetRaw(4, h.ReceivingFacility.Raw())
	msh.SetRaw(5, h.Application.Raw()).SetRaw(6, h.Facility.Raw())
	msh.Set(7, FormatTime(a.Time))
	version := versionOf(h.Version)
	switch event := h.Event.Text(); {
	case version >= 2_03_01 && event != "":
		msh.Set(9, "ACK", event, "ACK")
	default:
		msh.Set(9, "ACK", event)
	}
	msh.Set(10, a.ControlID)
	msh.Set(11, "P").Set(12, "2.4") // required, should the sender have left them out
	if !h.Processing.IsAbsent() {
		msh.SetRaw(11, h.Processing.Raw())
	}
	if !h.Version.IsAbsent() {
		msh.SetRaw(12, h.Version.Raw())
	}
	msh.SetRaw(18, h.Charset.Raw())
}

// error writes ERR: as ELD in ERR-1 up to 2.4, in ERR-2 to ERR-8 since 2.5.
func (a Ack) error(b *Builder, msa *SegmentBuilder, version int) {
	code := strconv.Itoa(int(a.Error))
	seq, field := "", ""
	if a.At.Segment != "" {
		seq = strconv.Itoa(max(a.At.Occurrence, 1))
		if a.At.Field > 0 {
			field = strconv.Itoa(a.At.Field)
		}
	}
	err := b.Add("ERR")
	if version >= 2_05_00 {
		err.Set(2, a.At.Segment, seq, field)
		for i, n := range []int{a.At.Repetition, a.At.Component, a.At.Sub} {
			if n > 0 {
				err.Put(Path{Field: 2, Component: 4 + i}, strconv.Itoa(n))
			}
		}
		err.Set(3, code, a.Error.String(), "HL70357").Set(4, "E").Set(8, a.Text)
		return
	}
	msa.Set(6, code, a.Error.String(), "HL70357")
	err.Set(1, a.At.Segment, seq, field, code)
	if b.delimiters.Sub != 0 {
		err.Put(Path{Field: 1, Component: 4, Sub: 2}, a.Error.String())
		err.Put(Path{Field: 1, Component: 4, Sub: 3}, "HL70357")
	}
}

// versionOf reads MSH-12.1: 2.3.1 is 2_03_01. It is 0 for what is no version.
func versionOf(f Field) int {
	version, part := 0, 0
	parts := 0
	for _, c := range f.first() {
		switch {
		case '0' <= c && c <= '9' && part < 10:
			part = 10*part + int(c-'0')
		case c == '.' && parts < 2:
			version, part, parts = 100*version+part, 0, parts+1
		default:
			return 0
		}
	}
	version = 100*version + part
	for ; parts < 2; parts++ {
		version *= 100
	}
	return version
}

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
