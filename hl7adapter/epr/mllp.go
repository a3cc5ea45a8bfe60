package epr

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/hl7adapter/hl7"
	"github.com/safeguard-edge/safeguard/hl7adapter/mllp"
)

// MLLP is a sink over MLLP. Make one with NewMLLP.
type MLLP struct {
	format *Format
	sender *mllp.Sender
	acks   Acknowledgements
}

// NewMLLP makes a sink that understands acknowledgements as the standard has them,
// unless acks says otherwise. It connects when there is something to send.
func NewMLLP(f *Format, c mllp.SenderConfig, acks Acknowledgements) (*MLLP, error) {
	if err := acks.Validate(); err != nil {
		return nil, err
	}
	sender, err := mllp.NewSender(c)
	if err != nil {
		return nil, err
	}
	return &MLLP{f, sender, acks}, nil
}

// Preview is what would be sent for the alert.
func (s *MLLP) Preview(a safeguard.Alert) (string, error) { return s.format.Preview(a) }

// Name is the sink's name.
func (s *MLLP) Name() string { return s.format.Sink }

// Carrier is mllp.
func (s *MLLP) Carrier() string { return "mllp" }

// Close ends the connection.
func (s *MLLP) Close() error { return s.sender.Close() }

// Deliver sends the alert and waits for the EPR's acknowledgement.
func (s *MLLP) Deliver(ctx context.Context, a safeguard.Alert) (safeguard.Receipt, error) {
	message, err := s.format.Message(a)
	if err != nil {
		return safeguard.Receipt{}, err
	}
	reply, err := s.sender.Send(ctx, message)
	if err != nil {
		return safeguard.Receipt{}, err
	}
	return s.acks.receipt(reply, time.Now()), nil
}

// Acknowledgements is what a site's EPR means by its acknowledgements, where that
// is not what the standard says: by MSA-1, or by MSA-1 and an error code, such as
// AE or AR/205.
type Acknowledgements map[string]string

// The words for outcomes.
var outcomes = map[string]safeguard.Outcome{"delivered": safeguard.Delivered, "retry": safeguard.Retry, "refused": safeguard.Refused}

// standard reads MSA-1 (HL7 table 0008). What is not listed is tried again.
var standard = map[hl7.AckCode]safeguard.Outcome{
	hl7.AA: safeguard.Delivered,
	hl7.CA: safeguard.Delivered,
	hl7.AR: safeguard.Refused,
	hl7.CR: safeguard.Refused,
}

// Validate names the first entry that is wrong.
func (k Acknowledgements) Validate() error {
	for code, outcome := range k {
		ack, _, _ := strings.Cut(code, "/")
		known := false
		for _, c := range hl7.Codes {
			known = known || string(c) == ack
		}
		if !known {
			return fmt.Errorf("acknowledgements: %q, want a code such as AE, or AE/207 with the error's", code)
		}
		if _, ok := outcomes[outcome]; !ok {
			return fmt.Errorf("acknowledgements: %s: %q, want delivered, retry or refused", code, outcome)
		}
	}
	return nil
}

// receipt says what becomes of the delivery.
func (k Acknowledgements) receipt(reply hl7.Reply, at time.Time) safeguard.Receipt {
	r := safeguard.Receipt{Outcome: standard[reply.Code], Code: string(reply.Code), Text: reply.Text, At: at}
	if outcome, ok := outcomes[k[r.Code]]; ok {
		r.Outcome = outcome
	}
	for _, e := range reply.Errors {
		if outcome, ok := outcomes[k[string(reply.Code)+"/"+e.Code]]; ok {
			r.Outcome = outcome
		}
		if e.Text != "" && !strings.Contains(r.Text, e.Text) {
			r.Text = strings.TrimSpace(r.Text + " " + e.Text)
		}
	}
	// Of an error code only the digits are shown: it may be free text.
	if len(reply.Errors) > 0 && isCode(reply.Errors[0].Code) {
		r.Code += "/" + reply.Errors[0].Code
	}
	return r
}

func isCode(s string) bool {
	for _, c := range s {
		if c < '0' || c > '9' {
			return false
		}
	}
	return s != "" && len(s) <= 4
}
