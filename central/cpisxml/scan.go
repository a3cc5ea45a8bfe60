package cpisxml

import (
	"bufio"
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"
)

// The bounds of what is read. A good record has some 1,200 bytes and 30
// elements at a depth of 10.
const (
	maxGap   = 64 << 10 // bytes between two tokens
	maxDepth = 40
	maxNodes = 400     // elements of one unit
	maxUnit  = 1 << 16 // characters of text and attributes in one unit
)

// node is an element, with what is in it.
type node struct {
	space, name  string
	attrs        []xml.Attr
	kids         []*node
	text         string
	line, column int
}

func (n *node) attr(name string) string {
	if n == nil {
		return ""
	}
	for _, a := range n.attrs {
		if a.Name.Local == name && a.Name.Space == "" {
			return strings.TrimSpace(a.Value)
		}
	}
	return ""
}

// null tells whether the element says that it holds nothing.
func (n *node) null() bool {
	for _, a := range n.attrs {
		if a.Name.Local == "nil" && a.Name.Space == xsiSpace {
			v := strings.TrimSpace(a.Value)
			return v == "true" || v == "1"
		}
	}
	return false
}

// all gives the children of that name which hold something.
func (n *node) all(name string) []*node {
	if n == nil {
		return nil
	}
	var out []*node
	for _, k := range n.kids {
		if k.name == name && !k.null() {
			out = append(out, k)
		}
	}
	return out
}

// first follows the names down, and gives nil where one is missing.
func (n *node) first(names ...string) *node {
	for _, name := range names {
		if found := n.all(name); len(found) > 0 {
			n = found[0]
		} else {
			return nil
		}
	}
	return n
}

// words is the text without blanks around it.
func (n *node) words() string {
	if n == nil {
		return ""
	}
	return strings.TrimSpace(n.text)
}

// scanner gives the parts of a message, each as a whole, in the order in which
// they stand. Only one is in memory at a time.
type scanner struct {
	dec  *xml.Decoder
	gap  *gapReader
	root string
	// inner are elements that are walked into rather than given.
	inner map[string]bool

	depth int // of what is open
	base  int // depth of the root; 0 before it
	ended bool
}

// newScanner looks for the element root, at the top or within wrappers.
func newScanner(r io.Reader, root string, inner ...string) (*scanner, error) {
	s := &scanner{root: root, inner: map[string]bool{}}
	for _, name := range inner {
		s.inner[name] = true
	}
	buffered := bufio.NewReader(r)
	utf16 := false
	if start, _ := buffered.Peek(2); bytes.Equal(start, []byte{0xff, 0xfe}) || bytes.Equal(start, []byte{0xfe, 0xff}) {
		utf16 = true
		r = transform.NewReader(buffered, unicode.BOMOverride(unicode.UTF8.NewDecoder()))
	} else {
		r = buffered
	}
	s.gap = &gapReader{in: r}
	s.dec = xml.NewDecoder(s.gap)
	s.dec.CharsetReader = func(label string, in io.Reader) (io.Reader, error) {
		switch label = strings.ToLower(label); {
		case label == "us-ascii", label == "ascii", utf16 && strings.HasPrefix(label, "utf-16"):
			return in, nil
		case label == "iso-8859-1", label == "latin1":
			return charmap.ISO8859_1.NewDecoder().Reader(in), nil
		case label == "iso-8859-15":
			return charmap.ISO8859_15.NewDecoder().Reader(in), nil
		case label == "windows-1252":
			return charmap.Windows1252.NewDecoder().Reader(in), nil
		}
		return nil, errEncoding
	}
	for {
		t, err := s.token()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = fmt.Errorf("it holds no element %s", root)
			}
			return nil, err
		}
		if start, ok := t.(xml.StartElement); ok && start.Name.Local == root && start.Name.Space == hl7Space {
			s.base = s.depth
			return s, nil
		}
	}
}

// next gives the next part, and io.EOF after the last, when all that follows was
// read too.
func (s *scanner) next() (*node, error) {
	for {
		if s.ended {
			return nil, s.rest()
		}
		t, err := s.token()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = errors.New("it breaks off")
			}
			return nil, err
		}
		switch t := t.(type) {
		case xml.StartElement:
			if s.inner[t.Name.Local] {
				continue
			}
			return s.whole(t)
		case xml.EndElement:
			if s.depth < s.base {
				s.ended = true
			}
		}
	}
}

// rest reads what follows the message, in which there must be no other.
func (s *scanner) rest() error {
	for {
		t, err := s.token()
		if err != nil {
			return err
		}
		if start, ok := t.(xml.StartElement); ok && start.Name.Local == s.root {
			return s.at(errors.New("a second message follows the first, want one"))
		}
	}
}

// whole reads an element to its end.
func (s *scanner) whole(start xml.StartElement) (*node, error) {
	size, count := 0, 0
	open := func(t xml.StartElement) (*node, error) {
		n := &node{space: t.Name.Space, name: t.Name.Local, attrs: t.Copy().Attr}
		n.line, n.column = s.dec.InputPos()
		for _, a := range t.Attr {
			size += len(a.Name.Local) + len(a.Value)
		}
		if count++; count > maxNodes {
			return nil, s.at(fmt.Errorf("more than %d elements in one part", maxNodes))
		}
		return n, nil
	}
	top, err := open(start)
	if err != nil {
		return nil, err
	}
	stack := []*node{top}
	for len(stack) > 0 {
		t, err := s.token()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = errors.New("it breaks off")
			}
			return nil, err
		}
		last := stack[len(stack)-1]
		switch t := t.(type) {
		case xml.StartElement:
			n, err := open(t)
			if err != nil {
				return nil, err
			}
			last.kids = append(last.kids, n)
			stack = append(stack, n)
		case xml.EndElement:
			stack = stack[:len(stack)-1]
		case xml.CharData:
			size += len(t)
			last.text += string(t)
		}
		if size > maxUnit {
			return nil, s.at(fmt.Errorf("more than %d characters in one part", maxUnit))
		}
	}
	return top, nil
}

// token gives the next token, and refuses what no message may hold.
func (s *scanner) token() (xml.Token, error) {
	s.gap.left = maxGap
	t, err := s.dec.Token()
	if err != nil {
		if errors.Is(err, io.EOF) {
			return nil, io.EOF
		}
		if errors.Is(err, errEncoding) {
			return nil, errEncoding // without the name that the file gives
		}
		var syntax *xml.SyntaxError
		if errors.As(err, &syntax) {
			// Its own words would repeat names and values of the file.
			err = errors.New("it is not well-formed XML")
			if s.depth > 0 && strings.Contains(syntax.Msg, "unexpected EOF") {
				err = errors.New("it breaks off")
			}
		}
		return nil, s.at(err)
	}
	switch t.(type) {
	case xml.Directive:
		return nil, s.at(errors.New("a document type or another directive, want none"))
	case xml.StartElement:
		if s.depth++; s.depth > maxDepth {
			return nil, s.at(fmt.Errorf("elements more than %d deep", maxDepth))
		}
	case xml.EndElement:
		s.depth--
	}
	return t, nil
}

// at says where the reading is.
func (s *scanner) at(err error) error {
	line, column := s.dec.InputPos()
	return fmt.Errorf("line %d, column %d: %w", line, column, err)
}

var errEncoding = errors.New("its character encoding is not known, want UTF-8")

// errGap is for a tag or text that goes on for ever.
var errGap = fmt.Errorf("more than %d bytes without a tag", maxGap)

// gapReader gives no more than left bytes until it is set anew, so that one
// token can not fill the memory.
type gapReader struct {
	in   io.Reader
	left int
}

func (g *gapReader) Read(p []byte) (int, error) {
	if g.left <= 0 {
		return 0, errGap
	}
	// The decoder reads ahead: what it holds is at most one of its buffers.
	n, err := g.in.Read(p[:min(len(p), g.left)])
	g.left -= n
	return n, err
}
