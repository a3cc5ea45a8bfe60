package hl7

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// Builder makes a message to send. It escapes what it is given, and writes
// nothing that was not set: empty values at the end of a field, a segment or
// a repetition leave no delimiters, and "" is written only by Null.
type Builder struct {
	delimiters Delimiters
	charset    charset
	segments   []*SegmentBuilder
	text       []byte // all values, as they are sent, in the order in which they were set
	err        error  // the first that occurred
}

// NewBuilder begins a message with the usual delimiters, in UTF-8. Its first
// segment is MSH, to be had from Header. MSH-18 is set by Charset only.
func NewBuilder() *Builder { return NewBuilderWith(DefaultDelimiters()) }

// NewBuilderWith begins a message with those delimiters.
func NewBuilderWith(d Delimiters) *Builder {
	b := &Builder{delimiters: d}
	if err := d.check(); err != nil {
		b.fail(err)
	}
	b.add("MSH")
	return b
}

// Reset begins another message with the same delimiters, in UTF-8, in the memory
// of the one before. What Build returned stays as it is.
func (b *Builder) Reset() *Builder {
	b.segments, b.text, b.charset, b.err = b.segments[:0], b.text[:0], 0, b.delimiters.check()
	b.add("MSH")
	return b
}

// add begins a segment, in the memory of one of an earlier message where there is.
func (b *Builder) add(name string) *SegmentBuilder {
	n := len(b.segments)
	b.segments = slices.Grow(b.segments, 1)[:n+1]
	s := b.segments[n]
	if s == nil {
		s = &SegmentBuilder{b: b}
		b.segments[n] = s
	}
	s.name, s.values, s.strewn = name, s.values[:0], false
	return s
}

func (d Delimiters) check() error {
	all := []byte{d.Field, d.Component, d.Repetition, d.Escape, d.Sub, d.Truncation}
	for i, c := range all {
		if c == 0 && i > 1 {
			if all[i-1] != 0 && !bytes.Equal(all[i:], make([]byte, len(all)-i)) {
				return errors.New("build hl7: a delimiter is named behind one that is not used")
			}
			continue
		}
		if !delimits(c) || bytes.IndexByte(all[:i], c) >= 0 {
			return errors.New(`build hl7: delimiters must be different punctuation, such as |^~\&`)
		}
	}
	return nil
}

// appendNamed appends MSH-2.
func (d Delimiters) appendNamed(out []byte) []byte {
	for _, c := range [...]byte{d.Component, d.Repetition, d.Escape, d.Sub, d.Truncation} {
		if c != 0 {
			out = append(out, c)
		}
	}
	return out
}

// Charset writes the message in the named character set, and the name in
// MSH-18. Characters that it does not have become question marks.
func (b *Builder) Charset(name string) *Builder {
	if !KnownCharset(name) {
		b.fail(fmt.Errorf("build hl7: charset %q is not known", name))
		return b
	}
	b.charset = charsetOf([]byte(name))
	b.Header().Set(18, name)
	return b
}

// Header returns MSH. Its fields 1 and 2 are written by themselves.
func (b *Builder) Header() *SegmentBuilder { return b.segments[0] }

// Add begins one more segment.
func (b *Builder) Add(name string) *SegmentBuilder {
	if !segmentName(name) || name == "MSH" {
		b.fail(fmt.Errorf("build hl7: segment %q: want three capitals or digits, not MSH", name))
	}
	return b.add(name)
}

func (b *Builder) fail(err error) {
	if b.err == nil {
		b.err = err
	}
}

// Build returns the message, or the first error that making it met.
func (b *Builder) Build() ([]byte, error) {
	if b.err != nil {
		return nil, b.err
	}
	out := make([]byte, 0, len(b.text)+len(b.segments)*32) // the names and delimiters that a segment usually has
	for _, s := range b.segments {
		out = s.append(out)
	}
	return out, nil
}

// SegmentBuilder makes one segment.
type SegmentBuilder struct {
	b      *Builder
	name   string
	values []placed
	strewn bool // they do not lie in the order in which they are sent
}

// placed is a value at its place in the segment, and in the builder's text.
type placed struct {
	place
	from, to int
}

// place is a field, repetition, component and subcomponent, 16 bits of each, so
// that places compare as values are sent.
type place uint64

func placeOf(field, repetition, component, sub int) place {
	return place(field)<<48 | place(repetition)<<32 | place(component)<<16 | place(sub)
}

func (p place) parts() (field, repetition, component, sub int) {
	return int(p >> 48), int(p >> 32 & 0xffff), int(p >> 16 & 0xffff), int(p & 0xffff)
}

// Set sets field n to one repetition of those components. Empty ones are
// absent; a field of empty ones only is not sent.
func (s *SegmentBuilder) Set(n int, components ...string) *SegmentBuilder {
	s.clear(n)
	return s.Repeat(n, components...)
}

// Repeat adds a repetition to field n.
func (s *SegmentBuilder) Repeat(n int, components ...string) *SegmentBuilder {
	if !s.has(n) {
		return s
	}
	rep := 1
	for _, v := range s.values {
		if field, last, _, _ := v.parts(); field == n {
			rep = max(rep, last+1)
		}
	}
	for i, text := range components {
		s.Put(Path{Field: n, Repetition: rep, Component: i + 1}, text)
	}
	return s
}

// Put sets one value in the segment. Of p, only the numbers count.
func (s *SegmentBuilder) Put(p Path, text string) *SegmentBuilder {
	if text != "" {
		from := len(s.b.text)
		s.b.encode(text)
		s.put(p, from)
	}
	return s
}

// Null orders the receiver to delete what it holds in field n.
func (s *SegmentBuilder) Null(n int) *SegmentBuilder { return s.SetRaw(n, []byte(`""`)) }

// SetRaw sets field n to bytes that are already escaped and encoded, as taken
// from another message with the same delimiters.
func (s *SegmentBuilder) SetRaw(n int, raw []byte) *SegmentBuilder {
	if bytes.ContainsAny(raw, "\r\n") || bytes.IndexByte(raw, s.b.delimiters.Field) >= 0 {
		s.b.fail(fmt.Errorf("build hl7: %s-%d: raw bytes must be one field", s.name, n))
		return s
	}
	s.clear(n)
	if s.has(n) && len(raw) > 0 {
		from := len(s.b.text)
		s.b.text = append(s.b.text, raw...)
		s.put(Path{Field: n}, from)
	}
	return s
}

// encode appends text, escaped and in the character set of the message.
func (b *Builder) encode(text string) {
	if b.charset == 0 { // UTF-8, as text is
		b.text = b.delimiters.AppendEscaped(b.text, text)
		return
	}
	b.text = b.charset.fromUTF8(b.text, string(b.delimiters.AppendEscaped(nil, text)))
}

const (
	mostFields = 9999
	mostParts  = 999
)

// has tells whether field n can be set.
func (s *SegmentBuilder) has(n int) bool {
	if n < 1 || n > mostFields || s.name == "MSH" && n < 3 {
		s.b.fail(fmt.Errorf("build hl7: %s has no field %d to set", s.name, n))
		return false
	}
	return true
}

func (s *SegmentBuilder) clear(n int) {
	s.values = slices.DeleteFunc(s.values, func(v placed) bool { return int(v.place>>48) == n })
}

// put places what the builder's text has since from.
func (s *SegmentBuilder) put(p Path, from int) {
	rep, component, sub := max(p.Repetition, 1), max(p.Component, 1), max(p.Sub, 1)
	if !s.has(p.Field) {
		return
	}
	if max(rep, component, sub) > mostParts {
		s.b.fail(fmt.Errorf("build hl7: %s-%d: more than %d parts", s.name, p.Field, mostParts))
		return
	}
	d := s.b.delimiters
	if rep > 1 && d.Repetition == 0 || sub > 1 && d.Sub == 0 {
		s.b.fail(fmt.Errorf("build hl7: %s-%d: no delimiter for its parts", s.name, p.Field))
		return
	}
	v := placed{placeOf(p.Field, rep, component, sub), from, len(s.b.text)}
	if n := len(s.values); n > 0 && s.values[n-1].place >= v.place {
		s.strewn = true
	}
	s.values = append(s.values, v)
}

// append writes the segment. No delimiter follows the last value of anything.
func (s *SegmentBuilder) append(out []byte) []byte {
	d := s.b.delimiters
	out = append(out, s.name...)
	field, rep, component, sub := 0, 1, 1, 1
	if s.name == "MSH" {
		out = append(out, d.Field)
		out = d.appendNamed(out)
		field = 2
	}
	if s.strewn {
		slices.SortStableFunc(s.values, func(v, w placed) int { return cmp.Compare(v.place, w.place) })
	}
	for i, v := range s.values {
		if i+1 < len(s.values) && v.place == s.values[i+1].place {
			continue // set again
		}
		toField, toRep, toComponent, toSub := v.parts()
		for ; field < toField; field++ {
			out = append(out, d.Field)
			rep, component, sub = 1, 1, 1
		}
		for ; rep < toRep; rep++ {
			out = append(out, d.Repetition)
			component, sub = 1, 1
		}
		for ; component < toComponent; component++ {
			out = append(out, d.Component)
			sub = 1
		}
		for ; sub < toSub; sub++ {
			out = append(out, d.Sub)
		}
		out = append(out, s.b.text[v.from:v.to]...)
	}
	// A frame end is FS and CR: raw bytes that end with FS must not make one.
	if out[len(out)-1] == fileSeparator {
		out = append(out, d.Field)
	}
	return append(out, '\r')
}

const fileSeparator = 0x1c
