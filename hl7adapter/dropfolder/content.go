package dropfolder

import (
	"bytes"
	"errors"
	"io"

	"github.com/safeguard-edge/safeguard/hl7adapter/hl7"
)

// content reads the messages of one file: one message, many, batches, or MLLP
// frames. It holds two messages at most: one, and the next, since the first
// must be known to be alone to be kept as it is.
type content struct {
	file  source
	batch *hl7.Batch
	max   int
	ahead *part // the next part, once read
	err   error // behind it
	first bool  // none was returned yet
	read  int64 // bytes
}

// source is an open file.
type source interface {
	io.Reader
	io.ReaderAt
}

// part is a message, or what else stands in a file.
type part struct {
	body   []byte
	offset int64 // of its first byte in the file
	end    int64 // of the next part, or of the file
	long   bool  // body is only the beginning of what is longer than allowed
	last   bool
}

func newContent(file source, max int) *content {
	c := &content{file: file, max: max, first: true}
	c.batch = hl7.NewBatch(counting{c}, max)
	return c
}

// counting counts what is read.
type counting struct{ c *content }

func (r counting) Read(b []byte) (int, error) {
	n, err := r.c.file.Read(b)
	r.c.read += int64(n)
	return n, err
}

// next returns the next part, or io.EOF behind the last.
func (c *content) next() (part, error) {
	if c.ahead == nil {
		if c.ahead, c.err = c.fetch(); c.err != nil {
			return part{}, c.err
		}
	}
	p := *c.ahead
	if c.ahead, c.err = c.fetch(); c.err != nil && c.err != io.EOF {
		// The part may be cut off where the file could not be read on.
		return part{}, c.err
	}
	p.last = c.err == io.EOF
	if p.end = c.read; !p.last {
		p.end = c.ahead.offset
	}
	if c.first && p.last {
		c.whole(&p)
	}
	c.first = false
	return p, nil
}

func (c *content) fetch() (*part, error) {
	if c.err != nil {
		return nil, c.err
	}
	b, err := c.batch.Next()
	if err != nil {
		return nil, err
	}
	return &part{body: b.Body, offset: b.Offset, long: b.Cut}, nil
}

// whole makes the only part of a file the file itself, where nothing but white
// space and a byte order mark is before it: a message is kept as it came.
func (c *content) whole(p *part) {
	const mostLead = 4 << 10
	if p.long || p.offset > mostLead || p.offset+int64(len(p.body)) != c.read || int(c.read) > c.max {
		return
	}
	lead := make([]byte, p.offset)
	if _, err := c.file.ReadAt(lead, 0); err != nil && !errors.Is(err, io.EOF) {
		return
	}
	if len(bytes.Trim(bytes.ReplaceAll(lead, []byte("\xef\xbb\xbf"), nil), " \t\r\n\x00")) > 0 {
		return
	}
	p.body, p.offset = append(lead, p.body...), 0
}

// check tells what is wrong with headers, trailers and counts. It is complete
// behind the last part.
func (c *content) check() error { return c.batch.Check() }
