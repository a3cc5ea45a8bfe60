package cpisxml

import (
	"bufio"
	"encoding/xml"
	"io"
	"strings"
)

// emitter writes elements in the order in which it is told to, which the schemas
// fix. The first error stays.
type emitter struct {
	out    *bufio.Writer
	indent int
	err    error
}

func newEmitter(w io.Writer) *emitter { return &emitter{out: bufio.NewWriter(w)} }

func (e *emitter) put(parts ...string) {
	for _, p := range parts {
		if e.err == nil {
			_, e.err = e.out.WriteString(p)
		}
	}
}

func (e *emitter) line() { e.put("\n", strings.Repeat("  ", e.indent)) }

// root opens the message; every element but contentId is of its namespace.
func (e *emitter) root(name string) {
	e.put(xml.Header[:len(xml.Header)-1], "\n<", name, ` xmlns="`, hl7Space, `" xmlns:npfitlc="`, npfitSpace, `">`)
	e.indent++
}

func (e *emitter) open(name string) {
	e.line()
	e.put("<", name, ">")
	e.indent++
}

func (e *emitter) close(name string) {
	e.indent--
	e.line()
	e.put("</", name, ">")
}

// leaf writes an empty element with attributes, given as names and values.
func (e *emitter) leaf(name string, attrs ...string) {
	e.line()
	e.tag(name, attrs)
	e.put("/>")
}

func (e *emitter) tag(name string, attrs []string) {
	e.put("<", name)
	for i := 0; i < len(attrs); i += 2 {
		e.put(" ", attrs[i], `="`)
		e.escape(attrs[i+1])
		e.put(`"`)
	}
}

// text writes an element with nothing but text in it.
func (e *emitter) text(name, text string) {
	e.line()
	e.put("<", name, ">")
	e.escape(text)
	e.put("</", name, ">")
}

// value writes the common shape of a wrapped value.
func (e *emitter) value(name string, attrs ...string) {
	e.open(name)
	e.leaf("value", attrs...)
	e.close(name)
}

// content names the template that follows.
func (e *emitter) content(template, element string) {
	e.leaf("npfitlc:contentId", "root", oidContent, "extension", template+"#"+element)
}

func (e *emitter) escape(text string) {
	if e.err == nil {
		e.err = xml.EscapeText(e.out, []byte(text))
	}
}

// end closes the message and gives the first error.
func (e *emitter) end(name string) error {
	e.close(name)
	e.put("\n")
	if e.err == nil {
		e.err = e.out.Flush()
	}
	return e.err
}
