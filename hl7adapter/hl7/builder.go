package hl7

import (
	"bytes"
	"errors"
	"fmt"
)

// Builder makes a message to send. It escapes what it is given, and writes
// nothing that was not set: empty values at the end of a field, a segment or
// a repetition leave no delimiters, and "" is written only by Null.
type Builder struct {
	delimiters Delimiters
	charset    charset
	segments   []*SegmentBuilder
	err        error // the first that occurred
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
	b.segments = []*SegmentBuilder{{b: b, name: "MSH"}}
	return b
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
	s := &SegmentBuilder{b: b, name: name}
	b.segments = append(b.segments, s)
	return s
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
	var out []byte
	for _, s := range b.segments {
		out = s.append(out)
	}
	return out, nil
}

// SegmentBuilder makes one segment.
type SegmentBuilder struct {
	b      *Builder
	name   string
	fields [][][][][]byte // field, repetition, component, subcomponent
}

// Set sets field n to one repetition of those components. Empty ones are
// absent; a field of empty ones only is not sent.
func (s *SegmentBuilder) Set(n int, components ...string) *SegmentBuilder {
	if !s.room(n) {
		return s
	}
	s.fields[n] = nil
	return s.Repeat(n, components...)
}

// Repeat adds a repetition to field n.
func (s *SegmentBuilder) Repeat(n int, components ...string) *SegmentBuilder {
	if !s.room(n) {
		return s
	}
	rep := max(len(s.fields[n]), 1) // element 0 is not used
	for i, text := range components {
		if text != "" {
			s.put(n, rep, i+1, 1, s.b.encode(text))
		}
	}
	return s
}

// Put sets one value in the segment. Of p, only the numbers count.
func (s *SegmentBuilder) Put(p Path, text string) *SegmentBuilder {
	if text != "" {
		s.put(p.Field, max(p.Repetition, 1), max(p.Component, 1), max(p.Sub, 1), s.b.encode(text))
	}
	return s
}

// Null orders the receiver to delete what it holds in field n.
func (s *SegmentBuilder) Null(n int) *SegmentBuilder {
	if s.room(n) {
		s.fields[n] = nil
		s.put(n, 1, 1, 1, []byte(`""`))
	}
	return s
}

// SetRaw sets field n to bytes that are already escaped and encoded, as taken
// from another message with the same delimiters.
func (s *SegmentBuilder) SetRaw(n int, raw []byte) *SegmentBuilder {
	if bytes.ContainsAny(raw, "\r\n") || bytes.IndexByte(raw, s.b.delimiters.Field) >= 0 {
		s.b.fail(fmt.Errorf("build hl7: %s-%d: raw bytes must be one field", s.name, n))
		return s
	}
	if s.room(n) {
		s.fields[n] = nil
		if len(raw) > 0 {
			s.put(n, 1, 1, 1, bytes.Clone(raw))
		}
	}
	return s
}

// encode escapes text and puts it into the character set of the message.
func (b *Builder) encode(text string) []byte {
	return b.charset.fromUTF8(nil, string(b.delimiters.AppendEscaped(nil, text)))
}

const (
	mostFields = 9999
	mostParts  = 999
)

// room makes field n exist.
func (s *SegmentBuilder) room(n int) bool {
	if n < 1 || n > mostFields || s.name == "MSH" && n < 3 {
		s.b.fail(fmt.Errorf("build hl7: %s has no field %d to set", s.name, n))
		return false
	}
	s.fields = grown(s.fields, n)
	return true
}

func (s *SegmentBuilder) put(field, rep, component, sub int, raw []byte) {
	if !s.room(field) {
		return
	}
	if max(rep, component, sub) > mostParts {
		s.b.fail(fmt.Errorf("build hl7: %s-%d: more than %d parts", s.name, field, mostParts))
		return
	}
	d := s.b.delimiters
	if rep > 1 && d.Repetition == 0 || sub > 1 && d.Sub == 0 {
		s.b.fail(fmt.Errorf("build hl7: %s-%d: no delimiter for its parts", s.name, field))
		return
	}
	f := grown(s.fields[field], rep)
	r := grown(f[rep], component)
	c := grown(r[component], sub)
	c[sub] = raw
	r[component], f[rep], s.fields[field] = c, r, f
}

// grown returns list with an element n, counted from 1; element 0 is not used.
func grown[T any](list []T, n int) []T {
	for len(list) <= n {
		var none T
		list = append(list, none)
	}
	return list
}

func (s *SegmentBuilder) append(out []byte) []byte {
	d := s.b.delimiters
	out = append(out, s.name...)
	first := 1
	if s.name == "MSH" {
		out = append(out, d.Field)
		out = d.appendNamed(out)
		first = 3
	}
	end := len(out) // behind the last byte that is not a delimiter
	for n := first; n < len(s.fields); n++ {
		out = append(out, d.Field)
		out = joined(out, s.fields[n], d.Repetition, func(out []byte, rep [][][]byte) []byte {
			return joined(out, rep, d.Component, func(out []byte, c [][]byte) []byte {
				return joined(out, c, d.Sub, func(out, raw []byte) []byte { return append(out, raw...) })
			})
		})
		if out[len(out)-1] != d.Field {
			end = len(out)
		}
	}
	// A frame end is FS and CR: raw bytes that end with FS must not make one.
	if out[end-1] == fileSeparator {
		return append(out[:end], d.Field, '\r')
	}
	return append(out[:end], '\r')
}

const fileSeparator = 0x1c

// joined appends the parts of list from 1 on, without delimiters at the end.
func joined[T any](out []byte, list []T, by byte, add func([]byte, T) []byte) []byte {
	end := len(out)
	for i := 1; i < len(list); i++ {
		if i > 1 {
			out = append(out, by)
		}
		before := len(out)
		if out = add(out, list[i]); len(out) > before {
			end = len(out)
		}
	}
	return out[:end]
}
