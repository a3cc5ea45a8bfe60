// Package epr puts alerts into the electronic patient record, and reads what it
// answers.
//
// What a clinician reads is worded once (Wording, Notice). A Format writes it as an
// HL7 v2 message after a Template; a sink carries it: MLLP, Folder, MQTT. FHIR and
// CDS Hooks have packages of their own below this one. A Guard stands before each
// sink with what they have in common: whom it is for, how fast it may go, when it
// rests, and whether it may show anything at all.
package epr

import (
	"context"
	"fmt"
	"time"

	"github.com/safeguard-edge/safeguard"
)

// Sink puts alerts into one EPR, one version at a time. A nil error means that the
// EPR answered; the receipt says what. After an error it is not known whether the
// alert arrived: it is to be delivered again, and will be recognised as a repeat.
// No error holds anything about a patient. Methods may be called at the same time.
type Sink interface {
	Name() string
	Carrier() string // what carries its alerts, as the configuration names it
	Deliver(ctx context.Context, a safeguard.Alert) (safeguard.Receipt, error)
	// Preview is what would be sent for the alert, for people to read.
	Preview(a safeguard.Alert) (string, error)
	Close() error
}

// Later is an error or a refusal that names a time before which the EPR wants to
// hear no more.
type Later struct {
	After time.Duration
	Err   error
}

func (l *Later) Error() string {
	return fmt.Sprintf("%v: asks for a pause of %v", l.Err, l.After.Round(time.Second))
}

func (l *Later) Unwrap() error { return l.Err }
