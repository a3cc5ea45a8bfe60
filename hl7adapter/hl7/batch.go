package hl7

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// Batch reads a stream of messages, with or without the batch protocol: one
// message, many behind each other, FHS and BHS batches, or MLLP frames written
// to a file. It holds one message at a time.
//
// A message begins with a line that begins with MSH and ends before the next
// such line, before a batch header or trailer, or at the end of an MLLP frame.
// Lines end as segments do in Parse, by the first end in the stream; besides, a
// line feed before MSH and the delimiters of the first message begins a message
// in any stream, since free text would have had to escape them.
type Batch struct {
	in   *bufio.Reader
	max  int
	next *line // that was read and not used

	feedEnds, ended bool   // how lines end, and whether that is known
	own             []byte // MSH and the delimiters of the first message

	offset  int64 // of the next byte of in
	counts  counts
	problem error
}

type counts struct {
	files, batches, messages int // ended or begun so far
	inFile, inBatch          int // batches in this file, messages in this batch
	openFile, openBatch      bool
}

// Part is what Next returns.
type Part struct {
	Body   []byte
	Offset int64 // of its first byte in the stream
	Kind   PartKind
	Cut    bool // Body is only the beginning of what is longer than the limit
}

// PartKind says what a part is.
type PartKind int

// The kinds of parts.
const (
	// MessagePart is a message, as Parse may take or refuse it.
	MessagePart PartKind = iota
	// StrayPart belongs to no message. Blank lines and framing are left out.
	StrayPart
	// LongPart is the beginning of a message longer than the limit, and Cut. The
	// rest of it was skipped.
	LongPart
)

// NewBatch reads r. A message may have up to max bytes.
func NewBatch(r io.Reader, max int) *Batch {
	return &Batch{in: bufio.NewReaderSize(r, 64<<10), max: max}
}

// Next returns the next part, or io.EOF behind the last. The part is the
// caller's to keep. A bad message does not stop the ones behind it; an error
// of the stream does.
func (b *Batch) Next() (Part, error) {
	for {
		l, err := b.line()
		if err != nil {
			if err == io.EOF {
				b.finish()
			}
			return Part{}, err
		}
		lead := skipFiller(l.text)
		head := l.text[lead:]
		if bytes.HasSuffix(l.text[:lead], bom) {
			lead -= len(bom) // stays with the message it stands before
		}
		l = line{l.text[lead:], l.at + int64(lead), l.cut}
		switch {
		case framing(head) && !l.cut:
		case b.control(head):
		case begins(head, "MSH"):
			b.begin(head)
			return b.gather(l, MessagePart)
		default:
			return b.gather(l, StrayPart)
		}
	}
}

// line is one line of the stream, with its end.
type line struct {
	text []byte
	at   int64 // of its first byte in the stream
	cut  bool  // text is only its beginning
}

// framing says whether line is nothing but MLLP's end block.
func framing(line []byte) bool {
	return len(bytes.TrimLeft(line, "\x1c\x00\r\n \t")) == 0
}

// begins says whether line is a segment of that name.
func begins(line []byte, name string) bool {
	return bytes.HasPrefix(line, []byte(name)) &&
		(len(line) == len(name) || delimits(line[len(name)]) || filler(line[len(name)]))
}

// begin takes note of the first line of a message.
func (b *Batch) begin(head []byte) {
	if b.own == nil && len(head) > 4 {
		end := 4
		for end < len(head) && end < 9 && delimits(head[end]) && head[end] != head[3] {
			end++
		}
		b.own = bytes.Clone(head[:end])
	}
	b.counts.messages++
	b.counts.inBatch++
}

// gather reads lines up to one that begins something else.
func (b *Batch) gather(l line, kind PartKind) (Part, error) {
	part := Part{Offset: l.at, Kind: kind}
	for {
		// An end block ends the part, whatever its line ends with.
		body := bytes.TrimRight(l.text, "\r\n\x00 ")
		if n := len(body); n > 0 && body[n-1] == fileSeparator && !l.cut {
			l.text = body[:n-1]
			part.add(l, b.max)
			return part, nil
		}
		part.add(l, b.max)
		next, err := b.line()
		if err == io.EOF {
			return part, nil
		}
		if err != nil {
			return Part{}, err
		}
		lead := skipFiller(next.text)
		head := next.text[lead:]
		if begins(head, "MSH") || isControl(head) || bytes.IndexByte(next.text[:lead], startBlock) >= 0 {
			b.next = &next
			return part, nil
		}
		l = next
	}
}

// add appends the line to the part, up to max bytes, and nothing behind what is
// left out.
func (p *Part) add(l line, max int) {
	if p.Cut {
		return
	}
	room := max - len(p.Body)
	p.Cut = l.cut || len(l.text) > room
	p.Body = append(p.Body, l.text[:min(room, len(l.text))]...)
	if p.Cut && p.Kind == MessagePart {
		p.Kind = LongPart
	}
}

func isControl(line []byte) bool {
	return begins(line, "FHS") || begins(line, "BHS") || begins(line, "BTS") || begins(line, "FTS")
}

// control takes note of a batch header or trailer.
func (b *Batch) control(line []byte) bool {
	c := &b.counts
	switch {
	case begins(line, "FHS"):
		b.closeBatch("a file header")
		b.closeFile("another")
		c.openFile, c.inFile = true, 0
	case begins(line, "BHS"):
		b.closeBatch("another")
		c.openBatch, c.inBatch = true, 0
		c.inFile++
	case begins(line, "BTS"):
		b.compare("BTS", "messages", line, c.inBatch)
		c.batches++
		c.openBatch, c.inBatch = false, 0
	case begins(line, "FTS"):
		b.closeBatch("a file trailer")
		b.compare("FTS", "batches", line, c.inFile)
		c.files++
		c.openFile, c.inFile = false, 0
	default:
		return false
	}
	return true
}

// closeBatch notes a batch that ended without its trailer.
func (b *Batch) closeBatch(by string) {
	if b.counts.openBatch {
		b.note(fmt.Errorf("batch without BTS before %s", by))
		b.counts.openBatch = false
		b.counts.batches++
	}
}

func (b *Batch) closeFile(by string) {
	if b.counts.openFile {
		b.note(fmt.Errorf("file without FTS before %s", by))
		b.counts.openFile = false
		b.counts.files++
	}
}

func (b *Batch) finish() {
	b.closeBatch("the end")
	b.closeFile("the end")
}

// compare checks the count in field 1 of a trailer, where one was sent.
func (b *Batch) compare(name, what string, line []byte, got int) {
	if len(line) < 5 {
		return
	}
	count := line[4:]
	if i := bytes.IndexByte(count, line[3]); i >= 0 {
		count = count[:i]
	}
	if count = bytes.TrimRight(count, "\r\n\x00\x1c "); len(count) == 0 {
		return
	}
	want := 0
	for _, c := range count {
		if c < '0' || c > '9' || want > 1<<30 {
			b.note(fmt.Errorf("%s-1 is no number", name))
			return
		}
		want = 10*want + int(c-'0')
	}
	if want != got {
		b.note(fmt.Errorf("%s-1 says %d %s, found %d", name, want, what, got))
	}
}

func (b *Batch) note(err error) {
	b.problem = errors.Join(b.problem, err)
}

// Check returns what was wrong with headers, trailers and counts so far, or
// nil. It is complete when Next has returned io.EOF.
func (b *Batch) Check() error { return b.problem }

// Messages returns how many messages have begun so far.
func (b *Batch) Messages() int { return b.counts.messages }

// line returns the next line, or io.EOF. Of a line longer than a message may
// be only the beginning comes, and the rest is skipped.
func (b *Batch) line() (line, error) {
	if b.next != nil {
		l := *b.next
		b.next = nil
		return l, nil
	}
	l := line{at: b.offset}
	for done := false; !done; {
		// One byte more than what cut may leave, so that each turn moves on.
		_, err := b.in.Peek(len(b.own) + 2)
		chunk, _ := b.in.Peek(b.in.Buffered())
		if len(chunk) == 0 {
			if len(l.text) > 0 && err == io.EOF {
				return l, nil
			}
			return line{}, err
		}
		var n int
		n, done = b.cut(chunk, len(l.text) > 0, err != nil)
		keep := min(n, max(b.max+1-len(l.text), 0))
		l.text, l.cut = append(l.text, chunk[:keep]...), l.cut || keep < n
		b.offset += int64(n)
		b.in.Discard(n) // can not fail: the bytes are buffered
	}
	return l, nil
}

// cut returns how much of chunk belongs to the line, and whether the line ends
// there. The last chunk is taken whole; of others, what may be half of a line
// end, or the start of a message, is left until more is there.
func (b *Batch) cut(chunk []byte, begun, last bool) (n int, done bool) {
	if b.feedEnds || !b.ended {
		for i, c := range chunk {
			if c == '\n' {
				b.feedEnds, b.ended = true, true
				return i + 1, true
			}
			if c == '\r' {
				b.ended = true
				return pastCR(chunk, i, last)
			}
		}
		return len(chunk), false
	}
	n = len(chunk)
	if i := bytes.IndexByte(chunk, '\r'); i >= 0 {
		n, done = pastCR(chunk, i, last)
	}
	at := 1
	if !begun {
		at++ // a line feed that begins the line has ended the one before
	}
	for ; len(b.own) > 0 && at < n; at++ {
		i := bytes.Index(chunk[at:n], b.own)
		if i < 0 {
			break
		}
		if at += i; chunk[at-1] == '\n' || chunk[at-1] == startBlock {
			return at - 1, true
		}
	}
	if !done && !last {
		n -= min(len(b.own), n-1)
	}
	return n, done
}

// pastCR returns where the line ends whose CR is at i: behind the CR, or the LF
// that follows it. A CR at the end of chunk is left until that is known.
func pastCR(chunk []byte, i int, last bool) (n int, done bool) {
	switch {
	case i+1 < len(chunk) && chunk[i+1] == '\n':
		return i + 2, true
	case i+1 == len(chunk) && !last:
		return i, false
	}
	return i + 1, true
}
