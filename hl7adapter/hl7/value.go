package hl7

import (
	"bytes"
	"iter"
	"unicode/utf8"
)

// Value is what all levels of a segment share. Asked for its text, a value
// answers with that of its first repetition, component and subcomponent.
type Value struct {
	raw []byte
	sx  syntax
}

// Field is one field of a segment.
type Field struct{ Value }

// Repetition is one repetition of a field.
type Repetition struct{ Value }

// Component is one component of a repetition.
type Component struct{ Value }

// Sub is one subcomponent of a component.
type Sub struct{ Value }

// Raw returns the bytes as they came, delimiters and escapes included.
func (v Value) Raw() []byte { return v.raw }

// IsAbsent says whether nothing was sent: no bytes, or only delimiters.
func (v Value) IsAbsent() bool {
	for _, c := range v.raw {
		if c != v.sx.repetition() && c != v.sx.component() && c != v.sx.sub() {
			return false
		}
	}
	return true
}

// IsNull says whether "" was sent, the order to delete what is there.
func (v Value) IsNull() bool { return isNull(v.raw) }

func isNull(raw []byte) bool { return string(raw) == `""` }

// first returns the bytes of the first subcomponent, and whether they read as
// they stand: ASCII, and no escapes.
func (v Value) first() (raw []byte, plain bool) {
	plain = true
	for i, c := range v.raw {
		if !special[c] {
			continue
		}
		switch {
		case c == v.sx.component() || c == v.sx.repetition() || c == v.sx.sub():
			return v.raw[:i], plain
		case c == v.sx.escape() || c >= utf8.RuneSelf:
			plain = false
		}
	}
	return v.raw, plain
}

// special are the bytes that may mean something else than themselves: most of a
// value is letters and digits, which no delimiter need be compared to.
var special = func() (table [256]bool) {
	for c := range table {
		table[c] = delimits(byte(c)) || c >= utf8.RuneSelf
	}
	return table
}()

// Text returns the value as UTF-8 with its escapes decoded. It is empty for an
// absent value and for a null.
func (v Value) Text() string {
	raw, plain := v.first()
	switch {
	case isNull(raw):
		return ""
	case plain:
		return string(raw)
	}
	return string(v.appendText(nil, raw))
}

// WholeText is Text of everything the value holds, with the delimiters inside
// it as they stand: for free text whose sender did not escape them.
func (v Value) WholeText() string {
	if isNull(v.raw) {
		return ""
	}
	return string(v.appendText(nil, v.raw))
}

// AppendText appends Text to dst. It does not allocate when dst has room.
func (v Value) AppendText(dst []byte) []byte {
	raw, plain := v.first()
	switch {
	case isNull(raw):
		return dst
	case plain:
		return append(dst, raw...)
	}
	return v.appendText(dst, raw)
}

// Is says whether Text is s, without making it.
func (v Value) Is(s string) bool {
	raw, plain := v.first()
	switch {
	case isNull(raw):
		return s == ""
	case plain:
		return string(raw) == s
	}
	var room [64]byte
	return string(v.appendText(room[:0], raw)) == s
}

// Repetitions goes through the repetitions of the field. An absent field has
// none.
func (f Field) Repetitions() iter.Seq[Repetition] {
	return func(yield func(Repetition) bool) {
		f.split(f.sx.repetition(), func(v Value) bool { return yield(Repetition{v}) })
	}
}

// Repetition returns repetition n, counted from 1.
func (f Field) Repetition(n int) Repetition { return Repetition{f.nth(f.sx.repetition(), n)} }

// Component returns component n of the first repetition, counted from 1.
func (f Field) Component(n int) Component { return f.Repetition(1).Component(n) }

// Components goes through the components of the repetition.
func (r Repetition) Components() iter.Seq[Component] {
	return func(yield func(Component) bool) {
		r.split(r.sx.component(), func(v Value) bool { return yield(Component{v}) })
	}
}

// Component returns component n, counted from 1.
func (r Repetition) Component(n int) Component { return Component{r.nth(r.sx.component(), n)} }

// Subs goes through the subcomponents of the component.
func (c Component) Subs() iter.Seq[Sub] {
	return func(yield func(Sub) bool) {
		c.split(c.sx.sub(), func(v Value) bool { return yield(Sub{v}) })
	}
}

// Sub returns subcomponent n, counted from 1.
func (c Component) Sub(n int) Sub { return Sub{c.nth(c.sx.sub(), n)} }

// split goes through the parts of v between delimiters.
func (v Value) split(by byte, yield func(Value) bool) {
	if len(v.raw) == 0 {
		return
	}
	for rest := v.raw; ; {
		i := bytes.IndexByte(rest, by)
		if i < 0 {
			yield(Value{rest, v.sx})
			return
		}
		if !yield(Value{rest[:i:i], v.sx}) {
			return
		}
		rest = rest[i+1:]
	}
}

// nth returns part n of v between delimiters, counted from 1.
func (v Value) nth(by byte, n int) Value {
	if n < 1 {
		return Value{nil, v.sx}
	}
	start, end, ok := span(v.raw, by, 0, n-1)
	if !ok {
		return Value{nil, v.sx}
	}
	return Value{v.raw[start:end:end], v.sx}
}
