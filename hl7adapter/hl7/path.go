package hl7

import (
	"fmt"
	"strconv"
	"strings"
)

// Path names a place in a message, as in PID-3[2].4.1 or OBX[2]-5. All numbers
// count from 1; one that is 0 stands for the whole of that level.
type Path struct {
	Segment    string
	Occurrence int // which segment of that name
	Field      int
	Repetition int
	Component  int
	Sub        int
}

// ParsePath reads a path. It takes PID-3.4 as well as PID.3.4.
func ParsePath(text string) (Path, error) {
	p := Path{Occurrence: 1}
	rest := text
	if len(rest) < 3 {
		return Path{}, badPath(text)
	}
	p.Segment, rest = rest[:3], rest[3:]
	if !segmentName(p.Segment) {
		return Path{}, badPath(text)
	}
	var ok bool
	if p.Occurrence, rest, ok = index(rest, 1); !ok {
		return Path{}, badPath(text)
	}
	for i, to := range []*int{&p.Field, &p.Component, &p.Sub} {
		if rest == "" {
			return p, nil
		}
		if rest[0] != '.' && (i > 0 || rest[0] != '-') {
			return Path{}, badPath(text)
		}
		if *to, rest, ok = number(rest[1:]); !ok {
			return Path{}, badPath(text)
		}
		if i == 0 {
			if p.Repetition, rest, ok = index(rest, 0); !ok {
				return Path{}, badPath(text)
			}
		}
	}
	if rest != "" {
		return Path{}, badPath(text)
	}
	return p, nil
}

func badPath(text string) error {
	return fmt.Errorf("parse path %q: want one such as PID-3[2].4.1", text)
}

func segmentName(name string) bool {
	if len(name) != 3 || name[0] < 'A' || name[0] > 'Z' {
		return false
	}
	for _, c := range []byte(name) {
		if (c < 'A' || c > 'Z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

// index reads [n] at the start of text, if there is one.
func index(text string, none int) (n int, rest string, ok bool) {
	if !strings.HasPrefix(text, "[") {
		return none, text, true
	}
	if n, rest, ok = number(text[1:]); !ok || !strings.HasPrefix(rest, "]") {
		return 0, "", false
	}
	return n, rest[1:], true
}

// number reads a number of 1 to 9999 at the start of text.
func number(text string) (n int, rest string, ok bool) {
	i := 0
	for i < len(text) && i < 4 && '0' <= text[i] && text[i] <= '9' {
		n = 10*n + int(text[i]-'0')
		i++
	}
	return n, text[i:], n > 0
}

// String writes the path as ParsePath reads it.
func (p Path) String() string {
	var b strings.Builder
	b.WriteString(p.Segment)
	if p.Occurrence > 1 {
		b.WriteString("[" + strconv.Itoa(p.Occurrence) + "]")
	}
	if p.Field > 0 {
		b.WriteString("-" + strconv.Itoa(p.Field))
	}
	if p.Repetition > 0 {
		b.WriteString("[" + strconv.Itoa(p.Repetition) + "]")
	}
	for _, n := range []int{p.Component, p.Sub} {
		if n > 0 {
			b.WriteString("." + strconv.Itoa(n))
		}
	}
	return b.String()
}

// At returns what is at p. It is absent when nothing is there.
func (m Message) At(p Path) Value {
	seg, ok := m.Nth(p.Segment, max(p.Occurrence, 1))
	if !ok {
		return Value{}
	}
	if p.Field == 0 {
		return Value{seg.raw, seg.sx.literal()}
	}
	f := seg.Field(p.Field)
	switch {
	case p.Repetition == 0 && p.Component == 0:
		return f.Value
	case p.Component == 0:
		return f.Repetition(p.Repetition).Value
	}
	c := f.Repetition(max(p.Repetition, 1)).Component(p.Component)
	if p.Sub == 0 {
		return c.Value
	}
	return c.Sub(p.Sub).Value
}

// Get returns what is at a path written as ParsePath reads it. For a path that
// it can not read, as for a place with nothing in it, Get returns an absent
// value: check paths that come from outside with ParsePath.
func (m Message) Get(path string) Value {
	p, err := ParsePath(path)
	if err != nil {
		return Value{}
	}
	return m.At(p)
}
