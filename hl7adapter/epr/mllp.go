package epr

import (
	"context"
	"fmt"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/hl7adapter/hl7"
	"github.com/safeguard-edge/safeguard/hl7adapter/mllp"
)

// MLLP is an EPR that takes HL7 v2 messages over MLLP. Make one with NewMLLP.
type MLLP struct {
	name   string
	to     Receiver
	sender *mllp.Sender
}

// NewMLLP makes a sink of that name. It connects when there is something to send.
func NewMLLP(name string, to Receiver, c mllp.SenderConfig) (*MLLP, error) {
	sender, err := mllp.NewSender(c)
	if err != nil {
		return nil, fmt.Errorf("sink %s: %w", name, err)
	}
	return &MLLP{name, to, sender}, nil
}

// Name is the sink's name.
func (s *MLLP) Name() string { return s.name }

// Close ends the connection.
func (s *MLLP) Close() error { return s.sender.Close() }

// Deliver sends the alert and waits for the EPR's acknowledgement. An error means
// that none came, so that the alert is to be sent again as it is.
func (s *MLLP) Deliver(ctx context.Context, a safeguard.Alert) (safeguard.Receipt, error) {
	message, err := Message(a, s.name, s.to)
	if err != nil {
		return safeguard.Receipt{}, err
	}
	reply, err := s.sender.Send(ctx, message)
	if err != nil {
		return safeguard.Receipt{}, err
	}
	return safeguard.Receipt{Outcome: outcome[reply.Code], Code: string(reply.Code), Text: reply.Text, At: time.Now()}, nil
}

// outcome reads MSA-1 (HL7 table 0008). What is not listed is tried again.
var outcome = map[hl7.AckCode]safeguard.Outcome{
	hl7.AA: safeguard.Delivered,
	hl7.CA: safeguard.Delivered,
	hl7.AR: safeguard.Refused,
	hl7.CR: safeguard.Refused,
}
