// Package hl7 reads and writes the syntax of HL7 v2.x: segments, fields,
// escapes, character sets, times, acknowledgements and batches. It knows
// nothing of what a message means.
//
// # Reading
//
// Parse looks at the header only; everything else is found when it is asked
// for, in the caller's bytes, without a copy. Message, Segment, Field and the
// levels below are small values that refer to those bytes, so the caller must
// not change them while it reads. Bytes gives the message back exactly as it
// came, whatever was read from it.
//
// # Where a segment ends
//
// A carriage return always ends a segment. A line feed ends segments too in a
// message whose header is ended by one, that is, when the first line feed comes
// before the first carriage return. In every other message a line feed right
// after a carriage return belongs to the end (CRLF), and a line feed anywhere
// else is part of its field: free text that holds one never makes a segment.
//
// White space and NULs before a segment, and NULs and spaces at its end, are
// not part of it. Blank lines make no segment. A byte order mark, white space,
// NULs and a stray start block before MSH are skipped.
//
// # Absent and null
//
// A field that was not sent is absent; a field sent as "" is null, an order to
// delete. IsAbsent and IsNull tell them apart. Text is empty for both.
package hl7

import (
	"bytes"
	"fmt"
	"iter"
)

// Message is one HL7 message. It refers to the bytes that were parsed.
type Message struct {
	body  []byte
	start int // where MSH begins in body
	sx    syntax
}

// syntax is what a value must know to read itself: it travels with each one,
// so that no value points to its message. It is one word, each byte a part, and
// a value with it stays in registers.
type syntax uint64

// The parts of a syntax, by their lowest bit.
const (
	fieldPart = 8 * iota
	componentPart
	repetitionPart
	escapePart
	subPart
	truncationPart
	charsetPart
	feedPart
)

func (sx syntax) field() byte      { return byte(sx >> fieldPart) }
func (sx syntax) component() byte  { return byte(sx >> componentPart) }
func (sx syntax) repetition() byte { return byte(sx >> repetitionPart) }
func (sx syntax) escape() byte     { return byte(sx >> escapePart) }
func (sx syntax) sub() byte        { return byte(sx >> subPart) }
func (sx syntax) truncation() byte { return byte(sx >> truncationPart) }
func (sx syntax) charset() charset { return charset(sx >> charsetPart) }

// feedEnds says whether line feeds end segments.
func (sx syntax) feedEnds() bool { return sx>>feedPart != 0 }

// with returns sx with another part.
func (sx syntax) with(part int, value byte) syntax {
	return sx&^(0xff<<part) | syntax(value)<<part
}

// unused stands for a delimiter that MSH-2 does not name. It ends segments,
// so it is never found inside one.
const unused = '\r'

// literal reads a value without delimiters or escapes, as MSH-1 and MSH-2 are.
func (sx syntax) literal() syntax {
	for part := componentPart; part <= truncationPart; part += 8 {
		sx = sx.with(part, unused)
	}
	return sx
}

// Error says what is wrong with a message, where, and what would be right.
// It never holds any of the message's content.
type Error struct {
	Offset  int    // of the byte where the trouble is
	Problem string // what is there
	Want    string // what would be right
}

func (e *Error) Error() string {
	return fmt.Sprintf("parse hl7: byte %d: %s, want %s", e.Offset, e.Problem, e.Want)
}

// Parse reads the header of body and checks that body is one message. It does
// not allocate unless it refuses.
//
// What is refused: no MSH at the start, delimiters in MSH-1 and MSH-2 that can
// not delimit, and a second MSH, because all that follows it would be lost.
func Parse(body []byte) (Message, error) {
	m, err := ParseHeader(body)
	if err != nil {
		return Message{}, err
	}
	if i := m.secondHeader(); i >= 0 {
		return Message{}, &Error{i, "a second MSH", "one message"}
	}
	return m, nil
}

// ParseHeader is Parse without the check for a second message. It serves to
// acknowledge what Parse refused.
func ParseHeader(body []byte) (Message, error) {
	start := skipFiller(body)
	if err := checkStart(body, start); err != nil {
		return Message{}, err
	}
	sx, err := delimiters(body, start)
	if err != nil {
		return Message{}, err
	}
	head := body[start:]
	if i := bytes.IndexByte(head, '\r'); i >= 0 {
		head = head[:i]
	}
	if i := bytes.IndexByte(head, '\n'); i >= 0 {
		head, sx = head[:i], sx.with(feedPart, 1)
	}
	name, _ := Segment{head, sx}.Field(18).first()
	return Message{body, start, sx.with(charsetPart, byte(charsetOf(name)))}, nil
}

// filler is skipped before a segment.
func filler(c byte) bool {
	return c == '\r' || c == '\n' || c == 0 || c == ' ' || c == '\t'
}

// skipFiller returns where the first segment of body may begin.
func skipFiller(body []byte) int {
	i := 0
	for i < len(body) {
		switch {
		case filler(body[i]) || body[i] == startBlock:
			i++
		case bytes.HasPrefix(body[i:], bom):
			i += len(bom)
		default:
			return i
		}
	}
	return i
}

// startBlock begins an MLLP frame; framed twice, a body begins with one.
const startBlock = 0x0b

var bom = []byte("\xef\xbb\xbf")

// checkStart tells why body does not begin with MSH.
func checkStart(body []byte, start int) error {
	rest := body[start:]
	switch {
	case len(rest) >= 5 && string(rest[:3]) == "MSH":
		return nil
	case len(rest) == 0:
		return &Error{start, "nothing", "MSH"}
	case bytes.HasPrefix(rest, []byte("\xff\xfe")), bytes.HasPrefix(rest, []byte("\xfe\xff")),
		len(rest) > 3 && rest[0] == 'M' && rest[1] == 0 && rest[2] == 'S':
		return &Error{start, "UTF-16", "a character set in which ASCII is one byte, such as UTF-8"}
	case isHeader(rest) && rest[0] != 'M':
		return &Error{start, "a batch header", "MSH"}
	case !bytes.HasPrefix(rest, []byte("MSH")):
		return &Error{start, "no MSH", "MSH and its delimiters"}
	}
	return &Error{start + len(rest), "the end", `MSH and its delimiters, such as MSH|^~\&`}
}

// delimiters reads MSH-1 and MSH-2.
func delimiters(body []byte, start int) (syntax, error) {
	field := body[start+3]
	if !delimits(field) {
		return 0, &Error{start + 3, "a field separator that is no punctuation", "one such as |"}
	}
	named := body[start+4:]
	sx := syntax(0).with(fieldPart, field)
	if len(named) > 4 && field == '|' && named[4] == '|' && string(named[:4]) == `^~\&` { // as nearly always
		return sx.with(componentPart, '^').with(repetitionPart, '~').with(escapePart, '\\').with(subPart, '&').with(truncationPart, unused), nil
	}
	sx = sx.literal()
	for i := range 5 {
		if i == len(named) || named[i] == field || named[i] == '\r' || named[i] == '\n' {
			if i == 0 {
				return 0, &Error{start + 4, "no delimiters in MSH-2", `1 to 5, such as ^~\&`}
			}
			return sx, nil
		}
		if !delimits(named[i]) {
			return 0, &Error{start + 4 + i, "a delimiter that is no punctuation", `punctuation, such as ^~\&`}
		}
		if bytes.IndexByte(named[:i], named[i]) >= 0 {
			return 0, &Error{start + 4 + i, "the same delimiter twice", `different ones, such as ^~\&`}
		}
		sx = sx.with(componentPart+8*i, named[i]) // in the order of MSH-2
	}
	if len(named) > 5 && named[5] != field && named[5] != '\r' && named[5] != '\n' {
		return 0, &Error{start + 9, "more than 5 delimiters in MSH-2", `1 to 5, such as ^~\&`}
	}
	return sx, nil
}

// delimits says whether c may be a delimiter. Letters, digits, white space,
// quotes (they write null), control and non-ASCII bytes are what values hold.
func delimits(c byte) bool {
	switch {
	case c <= ' ', c >= 0x7f, c == '"':
		return false
	case '0' <= c && c <= '9', 'A' <= c && c <= 'Z', 'a' <= c && c <= 'z':
		return false
	}
	return true
}

// secondHeader returns where a second message begins, or -1. After a carriage
// return any MSH counts. After a line feed that ends no segment, only one with
// this message's own delimiters does: free text would have had to escape them.
func (m Message) secondHeader() int {
	own := m.body[m.start:]
	own = own[:min(len(own), 5)]
	for at := m.start + 3; ; {
		i := bytes.Index(m.body[at:], []byte("MSH"))
		if i < 0 {
			return -1
		}
		at += i
		after := m.body[at:]
		switch m.body[at-1] {
		case '\r', startBlock:
			if len(after) > 3 && delimits(after[3]) {
				return at
			}
		case '\n':
			if m.sx.feedEnds() || m.body[at-2] == '\r' {
				if len(after) > 3 && delimits(after[3]) {
					return at
				}
			} else if bytes.HasPrefix(after, own) {
				return at
			}
		}
		at += 3
	}
}

// Bytes returns the message exactly as it came.
func (m Message) Bytes() []byte { return m.body }

// IsZero says whether m holds no message at all.
func (m Message) IsZero() bool { return m.body == nil }

// Segments goes through the segments in order, MSH first.
func (m Message) Segments() iter.Seq[Segment] {
	return func(yield func(Segment) bool) { m.each(yield) }
}

func (m Message) each(yield func(Segment) bool) {
	body, sx := m.body, m.sx
	for at := m.start; ; {
		seg, next := segment(body, sx, at)
		if next < 0 || !yield(seg) {
			return
		}
		at = next
	}
}

// Segment returns the first segment of that name.
func (m Message) Segment(name string) (Segment, bool) {
	return m.Nth(name, 1)
}

// Nth returns the n-th segment of that name, counted from 1.
func (m Message) Nth(name string, n int) (Segment, bool) {
	for at := m.start; ; {
		seg, next := segment(m.body, m.sx, at)
		if next < 0 {
			return Segment{}, false
		}
		if seg.Is(name) {
			if n--; n == 0 {
				return seg, true
			}
		}
		at = next
	}
}

// header returns MSH.
func (m Message) header() Segment {
	if m.IsZero() {
		return Segment{}
	}
	seg, _ := segment(m.body, m.sx, m.start)
	return seg
}

// segment returns the first segment at or after at, and where to look for the
// one behind it: -1 when there was none.
func segment(body []byte, sx syntax, at int) (Segment, int) {
	for at < len(body) && filler(body[at]) {
		at++
	}
	if at == len(body) {
		return Segment{}, -1
	}
	next := segmentEnd(body, sx, at)
	end := next
	for end > at && (body[end-1] == 0 || body[end-1] == ' ') {
		end--
	}
	return Segment{body[at:end:end], sx}, next
}

// segmentEnd returns where the segment that begins at at ends. Each byte of a
// message is looked at once: searching for either end by itself could be quadratic.
func segmentEnd(body []byte, sx syntax, at int) int {
	if !sx.feedEnds() {
		if i := bytes.IndexByte(body[at:], '\r'); i >= 0 {
			return at + i
		}
		return len(body)
	}
	for i := at; i < len(body); i++ {
		if body[i] == '\r' || body[i] == '\n' {
			return i
		}
	}
	return len(body)
}

// WithCharset returns m read in the named character set, whatever MSH-18
// says. A name that is not known changes nothing; see KnownCharset.
func (m Message) WithCharset(name string) Message {
	if KnownCharset(name) {
		m.sx = m.sx.with(charsetPart, byte(charsetOf([]byte(name))))
	}
	return m
}

// Charset names the character set in which m is read. It is empty where each
// value is read as UTF-8 if it is valid UTF-8, and as Windows-1252 if not.
func (m Message) Charset() string { return m.sx.charset().name() }

// Delimiters returns those that m was written with.
func (m Message) Delimiters() Delimiters {
	named := func(c byte) byte {
		if c == unused {
			return 0
		}
		return c
	}
	return Delimiters{
		Field: m.sx.field(), Component: m.sx.component(), Repetition: named(m.sx.repetition()),
		Escape: named(m.sx.escape()), Sub: named(m.sx.sub()), Truncation: named(m.sx.truncation()),
	}
}

// Delimiters are the characters named by MSH-1 and MSH-2. One that is 0 is
// not used.
type Delimiters struct {
	Field, Component, Repetition, Escape, Sub, Truncation byte
}

// DefaultDelimiters returns |^~\&.
func DefaultDelimiters() Delimiters {
	return Delimiters{Field: '|', Component: '^', Repetition: '~', Escape: '\\', Sub: '&'}
}
