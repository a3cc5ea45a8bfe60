package hl7

import (
	"bytes"
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
	w := ackWriter{d: DefaultDelimiters(), charset: m.sx.charset()}
	if !m.IsZero() {
		w.d = m.Delimiters()
	}
	h := m.Header()
	version := versionOf(h.Version)
	w.out = make([]byte, 0, 256+len(h.ControlID)+len(a.Text))
	a.header(&w, h, version)
	w.segment("MSA")
	w.text(string(a.Code))
	w.raw(h.ControlID)
	w.text(a.Text)
	if a.Error != 0 && version < 2_05_00 {
		w.skip(2)
		w.coded(a.Error)
	}
	w.end()
	if a.Error != 0 {
		a.error(&w, version)
	}
	return w.out
}

func (a Ack) header(w *ackWriter, h Header, version int) {
	w.segment("MSH")
	w.out = append(w.out, w.d.Field)
	w.out = w.d.appendNamed(w.out)
	for _, f := range [...]Field{h.ReceivingApplication, h.ReceivingFacility, h.Application, h.Facility} {
		w.raw(f.raw)
	}
	w.text(FormatTime(a.Time))
	w.skip(1)
	w.text("ACK")
	if event, _ := h.Event.first(); len(event) > 0 {
		w.out = append(append(w.out, w.d.Component), event...)
		if version >= 2_03_01 {
			w.out = append(append(w.out, w.d.Component), "ACK"...)
		}
	}
	w.text(a.ControlID)
	// These two are required, should the sender have left them out.
	w.rawOr(h.Processing, "P")
	w.rawOr(h.Version, "2.4")
	w.skip(5)
	w.raw(h.Charset.raw)
	w.end()
}

// error writes ERR: as ELD in ERR-1 up to 2.4, in ERR-2 to ERR-8 since 2.5.
func (a Ack) error(w *ackWriter, version int) {
	w.segment("ERR")
	if version < 2_05_00 {
		w.skip(1)
		w.flush()
		w.location(a.At, 2)
		w.out = append(w.out, w.d.Component)
		w.out = strconv.AppendInt(w.out, int64(a.Error), 10)
		if w.d.Sub != 0 {
			w.out = append(append(w.out, w.d.Sub), a.Error.String()...)
			w.out = append(append(w.out, w.d.Sub), "HL70357"...)
		}
		w.end()
		return
	}
	w.skip(1)
	if w.skip(1); a.At.Segment != "" {
		w.flush()
		w.location(a.At, 5)
		w.out = bytes.TrimRight(w.out, string(w.d.Component))
	}
	w.coded(a.Error)
	w.text("E")
	w.skip(3)
	w.text(a.Text)
	w.end()
}

// ackWriter writes segments. Separators are written before the next value
// that is there, so that none stands at the end of a segment.
type ackWriter struct {
	out     []byte
	d       Delimiters
	charset charset
	pending int // separators not yet written
}

func (w *ackWriter) segment(name string) { w.out = append(w.out, name...) }

func (w *ackWriter) skip(fields int) { w.pending += fields }

func (w *ackWriter) flush() {
	for ; w.pending > 0; w.pending-- {
		w.out = append(w.out, w.d.Field)
	}
}

// raw writes a field as the sender wrote it.
func (w *ackWriter) raw(value []byte) {
	if w.pending++; len(value) > 0 {
		w.flush()
		w.out = append(w.out, value...)
	}
}

func (w *ackWriter) rawOr(f Field, preset string) {
	if f.IsAbsent() {
		w.text(preset)
		return
	}
	w.raw(f.raw)
}

func (w *ackWriter) text(value string) {
	if w.pending++; value != "" {
		w.flush()
		w.out = w.charset.fromUTF8(w.out, string(w.d.AppendEscaped(nil, value)))
	}
}

// coded writes an error as CE or CWE.
func (w *ackWriter) coded(e ErrorCode) {
	w.skip(1)
	w.flush()
	w.out = strconv.AppendInt(w.out, int64(e), 10)
	w.out = append(append(w.out, w.d.Component), e.String()...)
	w.out = append(append(w.out, w.d.Component), "HL70357"...)
}

// location writes the segment of p and so many of its numbers.
func (w *ackWriter) location(p Path, numbers int) {
	w.out = append(w.out, p.Segment...)
	if p.Segment != "" {
		p.Occurrence = max(p.Occurrence, 1)
	}
	for i, n := range [...]int{p.Occurrence, p.Field, p.Repetition, p.Component, p.Sub} {
		if i == numbers {
			return
		}
		w.out = append(w.out, w.d.Component)
		if n > 0 {
			w.out = strconv.AppendInt(w.out, int64(n), 10)
		}
	}
}

// end ends the segment.
func (w *ackWriter) end() {
	w.pending = 0
	// A frame ends with FS and CR: raw bytes that end with FS must not make
	// one. Spaces and NULs at the end of a segment are cut off by some.
	switch w.out[len(w.out)-1] {
	case fileSeparator, ' ', 0:
		w.out = append(w.out, w.d.Field)
	}
	w.out = append(w.out, '\r')
}

// versionOf reads MSH-12.1: 2.3.1 is 2_03_01. It is 0 for what is no version.
func versionOf(f Field) int {
	version, part := 0, 0
	parts := 0
	raw, _ := f.first()
	for _, c := range raw {
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
