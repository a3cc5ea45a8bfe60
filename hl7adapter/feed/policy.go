package feed

import (
	"fmt"
	"slices"
	"strings"

	"github.com/safeguard-edge/safeguard/hl7adapter/hl7"
)

// Policy is how a feed treats what is not a plain ADT message on a good day.
// Its zero value is the default: take everything, and hold when nothing can be
// kept.
type Policy struct {
	Unreadable  Unreadable  `yaml:"unreadable"`  // messages that can not be read
	Other       Other       `yaml:"other"`       // messages that are not ADT
	Hold        Hold        `yaml:"hold"`        // while intake is on hold
	Acknowledge Acknowledge `yaml:"acknowledge"` // which acknowledgements are sent
	Charset     string      `yaml:"charset"`     // instead of MSH-18, such as WINDOWS-1252
	Processing  string      `yaml:"processing"`  // instead of MSH-11: P, T or D
}

// Unreadable says what becomes of a message that can not be read.
type Unreadable string

const (
	// SetAside accepts it, so that it is kept for a person. The default.
	SetAside Unreadable = "set-aside"
	// RejectUnreadable answers AR or CR and keeps nothing.
	RejectUnreadable Unreadable = "reject"
)

// Other says what becomes of a message that is not ADT.
type Other string

const (
	// Ignore accepts it, and nothing is made of it. The default.
	Ignore Other = "ignore"
	// RejectOther answers AR or CR with error 200 (type) or 201 (event).
	RejectOther Other = "reject"
)

// Hold says what a feed does while intake can not be made durable.
type Hold string

const (
	// Wait stops reading and answers nothing; the sender queues. The default.
	Wait Hold = "hold"
	// Nack answers AE or CE at once; the sender must send again.
	Nack Hold = "nack"
)

// Acknowledge says which acknowledgements are sent.
type Acknowledge string

const (
	// AsAsked follows MSH-15 and MSH-16 and sends one acknowledgement at most:
	// CA, CE or CR where MSH-15 asks for it, else AA, AE or AR. The default,
	// since most senders wait for one and take a second for the next message's.
	AsAsked Acknowledge = "as-asked"
	// TwoPhase follows MSH-15 and MSH-16 to the letter: both where both ask.
	TwoPhase Acknowledge = "two-phase"
	// Original always sends AA, AE or AR, whatever the sender asks.
	Original Acknowledge = "original"
)

// Validate names the first setting that is wrong.
func (p Policy) Validate() error {
	if err := oneOf("unreadable", p.Unreadable, SetAside, RejectUnreadable); err != nil {
		return err
	}
	if err := oneOf("other", p.Other, Ignore, RejectOther); err != nil {
		return err
	}
	if err := oneOf("hold", p.Hold, Wait, Nack); err != nil {
		return err
	}
	if err := oneOf("acknowledge", p.Acknowledge, AsAsked, TwoPhase, Original); err != nil {
		return err
	}
	if p.Charset != "" && !hl7.KnownCharset(p.Charset) {
		return fmt.Errorf("charset: %q is not known, want one such as UTF-8 or Windows-1252", p.Charset)
	}
	switch p.Processing {
	case "", "P", "T", "D":
		return nil
	}
	return fmt.Errorf("processing: %q, want P, T or D, or nothing to follow MSH-11", p.Processing)
}

// oneOf checks that a setting is empty or one of the names.
func oneOf[T ~string](field string, got T, names ...T) error {
	if got == "" || slices.Contains(names, got) {
		return nil
	}
	var list strings.Builder
	for i, name := range names {
		switch {
		case i > 0 && i == len(names)-1:
			list.WriteString(" or ")
		case i > 0:
			list.WriteString(", ")
		}
		list.WriteString(string(name))
	}
	return fmt.Errorf("%s: %q, want %s", field, got, &list)
}
