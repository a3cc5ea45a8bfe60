package feed

import (
	"sync/atomic"
	"time"

	"github.com/safeguard-edge/safeguard/hl7adapter/hl7"
)

// FramingError is a kind of trouble with what a peer sends, apart from what
// its messages say.
type FramingError int

// The kinds of framing errors.
const (
	Noise        FramingError = iota // bytes outside any frame
	MissingStart                     // a message without a start block
	MissingEnd                       // a frame that never ended
	DoubleStart                      // a start block right after another
	Empty                            // a frame, or file, with nothing in it
	TooLong                          // longer than the limit
	BadCount                         // a batch trailer that counts otherwise
	framingErrors
)

func (e FramingError) String() string {
	return [...]string{"noise", "missing-start", "missing-end", "double-start", "empty", "too-long", "bad-count"}[e]
}

// Counters count what a feed does. All methods may be called at once.
type Counters struct {
	frames, bytes                          atomic.Uint64
	accepted, rejected, postponed, ignored atomic.Uint64
	unreadable, other, silent              atomic.Uint64
	last                                   atomic.Int64 // Unix nanoseconds, 0 for never

	acknowledged [len(hl7.Codes)]atomic.Uint64
	framing      [framingErrors]atomic.Uint64

	open                            atomic.Int64
	opened, refused, denied, probes atomic.Uint64
	nacking                         atomic.Bool // the last message was postponed
	waiting, heldSince              atomic.Int64
}

// Stats is what the counters said at one moment.
type Stats struct {
	Frames       uint64                 `json:"frames"`                // complete messages read
	Bytes        uint64                 `json:"bytes"`                 // in them
	Accepted     uint64                 `json:"accepted"`              // on disk
	Rejected     uint64                 `json:"rejected"`              // refused for good, nothing kept
	Postponed    uint64                 `json:"postponed"`             // answered with AE or CE, to be sent again
	Ignored      uint64                 `json:"ignored"`               // acknowledgements that came in as messages
	Unreadable   uint64                 `json:"unreadable"`            // of those accepted or rejected
	Other        uint64                 `json:"other"`                 // not ADT, of those accepted or rejected
	Silent       uint64                 `json:"silent"`                // whose sender asked for no acknowledgement
	Acknowledged map[hl7.AckCode]uint64 `json:"acknowledged"`          // sent, by code
	Framing      map[string]uint64      `json:"framing_errors"`        // by kind
	LastMessage  time.Time              `json:"last_message,omitzero"` // zero for never

	Open    int    `json:"open"`    // connections now
	Opened  uint64 `json:"opened"`  // connections taken
	Refused uint64 `json:"refused"` // connections over the limit
	Denied  uint64 `json:"denied"`  // connections from outside the allow-list, or without a good certificate
	Probes  uint64 `json:"probes"`  // connections closed without a byte sent

	Waiting   int       `json:"waiting"`             // messages that wait for intake to be durable
	HeldSince time.Time `json:"held_since,omitzero"` // zero while none waits
}

// Snapshot returns what has been counted so far.
func (c *Counters) Snapshot() Stats {
	s := Stats{
		Frames: c.frames.Load(), Bytes: c.bytes.Load(),
		Accepted: c.accepted.Load(), Rejected: c.rejected.Load(), Postponed: c.postponed.Load(), Ignored: c.ignored.Load(),
		Unreadable: c.unreadable.Load(), Other: c.other.Load(), Silent: c.silent.Load(),
		Open: int(c.open.Load()), Opened: c.opened.Load(), Refused: c.refused.Load(), Denied: c.denied.Load(), Probes: c.probes.Load(),
		Acknowledged: make(map[hl7.AckCode]uint64), Framing: make(map[string]uint64),
		Waiting: int(c.waiting.Load()), HeldSince: moment(c.heldSince.Load()), LastMessage: moment(c.last.Load()),
	}
	for i, code := range hl7.Codes {
		if n := c.acknowledged[i].Load(); n > 0 {
			s.Acknowledged[code] = n
		}
	}
	for kind := range framingErrors {
		if n := c.framing[kind].Load(); n > 0 {
			s.Framing[kind.String()] = n
		}
	}
	return s
}

func moment(nanoseconds int64) time.Time {
	if nanoseconds == 0 {
		return time.Time{}
	}
	return time.Unix(0, nanoseconds)
}

// Framing counts a framing error.
func (c *Counters) Framing(kind FramingError) { c.framing[kind].Add(1) }

// Opened counts a connection that was taken, Closed its end.
func (c *Counters) Opened() { c.opened.Add(1); c.open.Add(1) }

// Closed counts the end of a connection.
func (c *Counters) Closed() { c.open.Add(-1) }

// Refused counts a connection over the limit.
func (c *Counters) Refused() { c.refused.Add(1) }

// Denied counts a connection from one who may not connect.
func (c *Counters) Denied() { c.denied.Add(1) }

// Probe counts a connection that was closed without a byte sent.
func (c *Counters) Probe() { c.probes.Add(1) }

func (c *Counters) received(m Message) {
	c.frames.Add(1)
	c.bytes.Add(uint64(len(m.Body)))
	c.last.Store(m.Received.UnixNano())
}

// sent counts an acknowledgement by its code.
func (c *Counters) sent(a Ack) {
	m, err := hl7.ParseHeader(a)
	if err != nil {
		return
	}
	msa, _ := m.Segment("MSA")
	for i, code := range hl7.Codes {
		if msa.Field(1).Is(string(code)) {
			c.acknowledged[i].Add(1)
		}
	}
}

// hold counts a message that begins to wait. It is true for the first.
func (c *Counters) hold(now time.Time) bool {
	if c.waiting.Add(1) > 1 {
		return false
	}
	c.heldSince.Store(now.UnixNano())
	return true
}

// resume counts the end of a wait. It is true for the last.
func (c *Counters) resume() bool {
	if c.waiting.Add(-1) > 0 {
		return false
	}
	c.heldSince.Store(0)
	return true
}
