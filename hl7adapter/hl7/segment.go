package hl7

import (
	"bytes"
	"encoding/binary"
	"iter"
	"math/bits"
)

// Segment is one segment of a message, without its end.
type Segment struct {
	raw []byte
	sx  syntax
}

// isHeader says whether raw begins a segment whose first field is the field
// separator itself.
func isHeader(raw []byte) bool {
	if len(raw) < 4 || raw[0] != 'M' && raw[0] != 'B' && raw[0] != 'F' {
		return false
	}
	switch string(raw[:3]) {
	case "MSH", "BHS", "FHS":
		return delimits(raw[3])
	}
	return false
}

// Raw returns the bytes of the segment.
func (s Segment) Raw() []byte { return s.raw }

// Name returns what stands before the first field, normally three letters.
func (s Segment) Name() string { return string(s.name()) }

func (s Segment) name() []byte {
	if i := bytes.IndexByte(s.raw, s.sx.field); i >= 0 {
		return s.raw[:i]
	}
	return s.raw
}

// Is says whether the segment has that name.
func (s Segment) Is(name string) bool {
	n := len(name)
	return len(s.raw) >= n && string(s.raw[:n]) == name && (len(s.raw) == n || s.raw[n] == s.sx.field)
}

// Field returns field n, counted from 1 as the standard does: MSH-1 is the
// field separator, MSH-2 the other delimiters, MSH-3 the sending application.
// A field that was not sent is absent.
func (s Segment) Field(n int) Field {
	rest, ok := s.rest()
	if !ok || n < 1 {
		return Field{}
	}
	sx := s.sx
	if isHeader(s.raw) {
		if n == 1 {
			return Field{Value{s.raw[3:4], sx.literal()}}
		}
		if n--; n == 1 {
			sx = sx.literal()
		}
	}
	if rest, ok = after(rest, s.sx.field, n-1); !ok {
		return Field{Value{nil, sx}}
	}
	if i := bytes.IndexByte(rest, s.sx.field); i >= 0 {
		rest = rest[:i:i]
	}
	return Field{Value{rest, sx}}
}

// after returns what follows the n-th delimiter in text. It looks at eight bytes
// at once: most fields are shorter than that, and an attendance asks for many
// that stand far behind in their segment.
func after(text []byte, delimiter byte, n int) (rest []byte, ok bool) {
	const low = 0x7f7f7f7f7f7f7f7f
	pattern := uint64(delimiter) * 0x0101010101010101
	for n > 0 && len(text) >= 8 {
		x := binary.LittleEndian.Uint64(text) ^ pattern
		// The high bit of each byte that is the delimiter, and no other bit.
		found := ^((x&low + low) | x | low)
		if c := bits.OnesCount64(found); c < n {
			n -= c
			text = text[8:]
			continue
		}
		for ; n > 1; n-- {
			found &= found - 1
		}
		return text[bits.TrailingZeros64(found)/8+1:], true
	}
	for ; n > 0; n-- {
		i := bytes.IndexByte(text, delimiter)
		if i < 0 {
			return nil, false
		}
		text = text[i+1:]
	}
	return text, true
}

// rest returns what follows the name and its separator.
func (s Segment) rest() ([]byte, bool) {
	if sep := s.sx.field; len(s.raw) > 3 && s.raw[3] == sep && s.raw[0] != sep && s.raw[1] != sep && s.raw[2] != sep {
		return s.raw[4:], true // as nearly always
	}
	n := len(s.name())
	if n >= len(s.raw) {
		return nil, false
	}
	return s.raw[n+1:], true
}

// Fields goes through the fields with their numbers, absent ones included, up
// to the last that was sent.
func (s Segment) Fields() iter.Seq2[int, Field] {
	return func(yield func(int, Field) bool) { s.each(yield) }
}

func (s Segment) each(yield func(int, Field) bool) {
	rest, ok := s.rest()
	if !ok {
		return
	}
	n, sx := 1, s.sx
	if isHeader(s.raw) {
		if !yield(1, s.Field(1)) {
			return
		}
		n, sx = 2, sx.literal()
	}
	for {
		i := bytes.IndexByte(rest, s.sx.field)
		if i < 0 {
			yield(n, Field{Value{rest, sx}})
			return
		}
		if !yield(n, Field{Value{rest[:i:i], sx}}) {
			return
		}
		n, sx, rest = n+1, s.sx, rest[i+1:]
	}
}
