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
	if i := bytes.IndexByte(s.raw, s.sx.field()); i >= 0 {
		return s.raw[:i]
	}
	return s.raw
}

// Is says whether the segment has that name.
func (s Segment) Is(name string) bool {
	n := len(name)
	return len(s.raw) >= n && string(s.raw[:n]) == name && (len(s.raw) == n || s.raw[n] == s.sx.field())
}

// Field returns field n, counted from 1 as the standard does: MSH-1 is the
// field separator, MSH-2 the other delimiters, MSH-3 the sending application.
// A field that was not sent is absent.
func (s Segment) Field(n int) Field {
	c := s.Cursor()
	return c.Field(n)
}

// Cursor is a segment for who reads several of its fields. It goes on from the
// field before, so that fields in the order of their numbers take one pass.
type Cursor struct {
	Segment
	n  int // of the field that begins at at; 0 before the first was asked for
	at int
}

// Cursor returns one at the start of the segment.
func (s Segment) Cursor() Cursor { return Cursor{Segment: s} }

// Field is Field of the segment.
func (c *Cursor) Field(n int) Field {
	if n < c.n || c.n == 0 {
		if c.rewind(); n < c.n || c.n == 0 {
			return c.beforeFirst(n)
		}
	}
	start, end, ok := span(c.raw, c.sx.field(), c.at, n-c.n)
	if !ok {
		return Field{Value{nil, c.sx}}
	}
	c.n, c.at = n, start
	sx := c.sx
	if n == 2 && isHeader(c.raw) {
		sx = sx.literal()
	}
	return Field{Value{c.raw[start:end:end], sx}}
}

// rewind goes to the first field that stands between separators. Where there is
// none, n stays 0.
func (c *Cursor) rewind() {
	raw, sep := c.raw, c.sx.field()
	c.n, c.at = 1, 4 // as nearly always
	if len(raw) < 4 || raw[3] != sep || raw[0] == sep || raw[1] == sep || raw[2] == sep {
		if c.at = bytes.IndexByte(raw, sep) + 1; c.at == 0 {
			c.n = 0
			return
		}
	}
	if isHeader(raw) {
		c.n = 2
	}
}

// beforeFirst is field 1 of a header, which is the separator, and nothing else.
func (c *Cursor) beforeFirst(n int) Field {
	if n == 1 && c.n == 2 {
		return Field{Value{c.raw[3:4], c.sx.literal()}}
	}
	return Field{}
}

// span returns where what stands behind n delimiters from at on begins, and where
// the next delimiter, or text, ends it.
func span(text []byte, delimiter byte, at, n int) (start, end int, ok bool) {
	start = at
	pattern := uint64(delimiter) * ones
	for ; at+8 <= len(text); at += 8 {
		found := among(text[at:at+8:at+8], pattern)
		if n > 0 {
			// The sum of its bytes, each 1 or 0, comes to stand in the highest.
			if c := int(found >> 7 * ones >> 56); c < n {
				n -= c
				continue
			}
			for ; n > 1; n-- {
				found &= found - 1
			}
			n, start = 0, at+bits.TrailingZeros64(found)/8+1
			found &= found - 1
		}
		if found != 0 {
			return start, at + bits.TrailingZeros64(found)/8, true
		}
	}
	for ; at < len(text); at++ {
		if text[at] != delimiter {
			continue
		}
		if n == 0 {
			return start, at, true
		}
		n, start = n-1, at+1
	}
	return start, len(text), n == 0
}

const ones = 0x0101010101010101

// among looks at eight bytes at once: most fields are shorter than that, and many
// that are asked for stand far behind. In the result, the high bit of each byte is
// set that is the delimiter, of which pattern has eight, and no other bit.
func among(eight []byte, pattern uint64) uint64 {
	const low = 0x7f * ones
	x := binary.LittleEndian.Uint64(eight) ^ pattern
	return ^((x&low + low) | x | low)
}

// marks writes where the first delimiters in text are, and returns how many.
func marks(text []byte, delimiter byte, to []int) int {
	pattern := uint64(delimiter) * ones
	n, at := 0, 0
	for ; at+8 <= len(text); at += 8 {
		for found := among(text[at:at+8:at+8], pattern); found != 0; found &= found - 1 {
			if n == len(to) {
				return n
			}
			to[n] = at + bits.TrailingZeros64(found)/8
			n++
		}
	}
	for ; at < len(text) && n < len(to); at++ {
		if text[at] == delimiter {
			to[n] = at
			n++
		}
	}
	return n
}

// Fields goes through the fields with their numbers, absent ones included, up
// to the last that was sent.
func (s Segment) Fields() iter.Seq2[int, Field] {
	return func(yield func(int, Field) bool) { s.each(yield) }
}

func (s Segment) each(yield func(int, Field) bool) {
	c := s.Cursor()
	c.rewind()
	if c.n == 0 {
		return
	}
	n, sx, rest := c.n, s.sx, s.raw[c.at:]
	if n == 2 {
		if !yield(1, c.beforeFirst(1)) {
			return
		}
		sx = sx.literal()
	}
	for {
		i := bytes.IndexByte(rest, s.sx.field())
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
