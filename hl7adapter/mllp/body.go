package mllp

import (
	"bytes"

	"github.com/safeguard-edge/safeguard/hl7adapter/feed"
)

// body gathers the message of one frame.
type body struct {
	bytes []byte
	limit int
	size  int // of the message, more than len(bytes) when it is too long
	last  byte
	long  bool
}

func (b *body) add(chunk []byte) {
	if len(chunk) == 0 {
		return
	}
	b.size += len(chunk)
	b.last = chunk[len(chunk)-1]
	if b.long {
		return
	}
	b.bytes = append(b.bytes, chunk...)
	if b.long = b.size > b.limit; b.long {
		b.bytes = bytes.Clone(b.bytes[:min(len(b.bytes), keptOfLong)])
	}
}

// complete says whether an end block that follows can only be the frame's.
func (b *body) complete() bool {
	return b.size == 0 || b.last == carriage || b.last == '\n' || b.commit() != 0
}

// commit returns the commit block that the body is, or 0.
func (b *body) commit() byte {
	if b.size == 1 && (b.last == commitAck || b.last == commitNak) {
		return b.last
	}
	return 0
}

func (b *body) frame() Frame {
	return Frame{Body: b.bytes, Long: b.long, Commit: b.commit()}
}

// noise is what stands between two frames.
type noise struct {
	bytes   int
	matched int // of MSH
	message bool
}

func (n *noise) add(chunk []byte) {
	for _, c := range chunk {
		switch c {
		case carriage, '\n', 0, ' ', '\t':
		default:
			n.bytes++
		}
		switch {
		case c == "MSH"[n.matched]:
			n.matched++
		case c == 'M':
			n.matched = 1
		default:
			n.matched = 0
		}
		if n.matched == 3 {
			n.message, n.matched = true, 0
		}
	}
}

func (n *noise) count(count func(feed.FramingError)) {
	switch {
	case n.message:
		count(feed.MissingStart)
	case n.bytes > 0:
		count(feed.Noise)
	}
}
