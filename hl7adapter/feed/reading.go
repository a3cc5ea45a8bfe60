package feed

import (
	"strconv"
	"sync/atomic"
	"time"

	"github.com/safeguard-edge/safeguard/hl7adapter/hl7"
)

// reading is what a feed must know of a message to answer it.
type reading struct {
	message hl7.Message // zero where the header could not be read
	kind    kind
	fault   hl7.Ack // code, text and place of what is wrong, to be completed
	asks    asks
}

type kind int

const (
	unreadable kind = iota
	adt
	other           // well formed, but not for us
	acknowledgement // must never be acknowledged: two systems would not stop
)

// read tells what body is.
func read(body []byte, mode Acknowledge) reading {
	var r reading
	m, err := hl7.Parse(body)
	if err != nil {
		// What Parse refused may still have a header to answer to.
		m, _ = hl7.ParseHeader(body)
		r.fault = hl7.Ack{Text: err.Error(), Error: hl7.SegmentSequence}
	}
	h := m.Header()
	r.message, r.asks = m, asksOf(h, mode)
	if err != nil {
		return r
	}
	switch {
	case h.Type.Is("ADT"):
		r.kind = adt
		if !h.Event.IsAbsent() && !adtEvent(h.Event) {
			r.kind = other
			r.fault = hl7.Ack{Error: hl7.UnsupportedEvent, At: hl7.Path{Segment: "MSH", Field: 9, Component: 2}}
		}
	case h.Type.Is("ACK") || h.Type.Is("MCF"):
		r.kind = acknowledgement
	case h.Type.IsAbsent():
		r.fault = hl7.Ack{Text: "MSH-9 is absent", Error: hl7.RequiredField, At: hl7.Path{Segment: "MSH", Field: 9}}
		if _, ok := m.Segment("MSA"); ok {
			r.kind = acknowledgement
		}
	default:
		r.kind = other
		r.fault = hl7.Ack{Error: hl7.UnsupportedType, At: hl7.Path{Segment: "MSH", Field: 9, Component: 1}}
	}
	return r
}

// adtEvent says whether the event is one of A01 to A62.
func adtEvent(event hl7.Component) bool {
	var room [4]byte
	e := event.AppendText(room[:0])
	if len(e) != 3 || e[0] != 'A' || e[1] < '0' || e[1] > '9' || e[2] < '0' || e[2] > '9' {
		return false
	}
	n := 10*int(e[1]-'0') + int(e[2]-'0')
	return 1 <= n && n <= 62
}

// asks is what the sender wants to hear.
type asks struct {
	enhanced            bool
	commit, application condition
	two                 bool // may get both
}

// condition is a value of table 0155: AL, NE, ER or SU.
type condition string

// wants says whether an outcome is to be acknowledged.
func (c condition) wants(positive bool) bool {
	switch c {
	case "AL":
		return true
	case "ER":
		return !positive
	case "SU":
		return positive
	}
	return false
}

// asksOf reads MSH-15 and MSH-16. Where both are absent or null the sender
// uses original mode, and a value that is none of table 0155 is as good as absent.
func asksOf(h hl7.Header, mode Acknowledge) asks {
	a := asks{two: mode == TwoPhase}
	if mode == Original {
		return a
	}
	for _, c := range []condition{"AL", "NE", "ER", "SU"} {
		if h.AcceptAcknowledgement.Is(string(c)) {
			a.commit = c
		}
		if h.Acknowledgement.Is(string(c)) {
			a.application = c
		}
	}
	a.enhanced = a.commit != "" || a.application != ""
	return a
}

// codes returns which acknowledgements the sender gets, in order.
func (a asks) codes(application hl7.AckCode) []hl7.AckCode {
	if !a.enhanced {
		return []hl7.AckCode{application}
	}
	var out []hl7.AckCode
	positive := application.Positive()
	if a.commit.wants(positive) {
		out = append(out, commitOf(application))
	}
	if a.application.wants(positive) && (a.two || len(out) == 0) {
		out = append(out, application)
	}
	return out
}

func commitOf(c hl7.AckCode) hl7.AckCode {
	switch c {
	case hl7.AA:
		return hl7.CA
	case hl7.AE:
		return hl7.CE
	}
	return hl7.CR
}

// acks writes the acknowledgements of one outcome.
func (r reading) acks(application hl7.AckCode, fault hl7.Ack, at time.Time) []Ack {
	var out []Ack
	for _, code := range r.asks.codes(application) {
		fault.Code, fault.ControlID, fault.Time = code, newControlID(), at
		out = append(out, fault.To(r.message))
	}
	return out
}

// lastID makes the control ids of our acknowledgements: unique in this process,
// and since it begins with the time, unlike those of the one before.
var lastID atomic.Uint64

func init() { lastID.Store(uint64(time.Now().UnixMicro())) }

func newControlID() string {
	return "SG" + strconv.FormatUint(lastID.Add(1), 36)
}
