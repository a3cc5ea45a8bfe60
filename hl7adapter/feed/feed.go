// Package feed is the contract between the hospital's side of the wire and the
// agent: what a feed hands over, and when it may acknowledge. It holds the
// policy that all feeds share, so that a feed is only its transport.
package feed

import (
	"context"
	"errors"
	"time"
)

// Message is one HL7 message as it came off the wire.
type Message struct {
	Feed       string    // the feed's name in the configuration
	Peer       string    // who sent it: an address, a file's reference; never what may name a patient
	Site       string    // ODS code of the site, where the transport tells it
	Source     string    // names this very message, where the transport can: the same Source is the same message
	Received   time.Time // when its last byte was read
	Charset    string    // the feed's override of MSH-18; empty means none
	Processing string    // the feed's override of MSH-11; empty means none
	Body       []byte    // the exact bytes, without framing; Accept may keep them
	Ack        Ack       // the acknowledgement the feed proposes, should Body be accepted
}

// Ack is an acknowledgement message, without framing. It is empty where the
// sender asked for none.
type Ack []byte

// Accept takes responsibility for m. A nil error means m is on disk, and
// only then may the feed send the acknowledgement that Accept returns: the
// proposed one, or for a duplicate the one that was sent the first time.
//
// Any error but ErrRefuse means: not now. The feed offers m again, or lets its
// peer do so.
type Accept func(ctx context.Context, m Message) (Ack, error)

// ErrHold is returned by Accept while intake can not be made durable. The feed
// does what its policy says: hold (stop reading, answer nothing), or nack.
var ErrHold = errors.New("intake is on hold")

// ErrRefuse is returned by Accept for a message that it will never take, such
// as one larger than it stores. The feed rejects it, so that it does not stop
// those behind it.
var ErrRefuse = errors.New("message refused")
