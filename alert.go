package safeguard

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"slices"
	"time"
)

// AlertID names what one attendance shows about one NHS number.
type AlertID string

// Action is what a version of an alert does to the one before it.
type Action int

// The actions.
const (
	NoAction Action = iota
	Raise
	Update
	Withdraw
)

var actions = names{"none", "raise", "update", "withdraw"}

func (a Action) String() string { return actions.name(int(a)) }

// Alert is what is put before the clinician: one per attendance, with versions.
type Alert struct {
	ID         AlertID
	Version    int // 1, 2, …
	Action     Action
	Attendance Attendance
	Content    Content // of a withdrawal: what is withdrawn
	Gone       Told    // what earlier versions showed, and this one does not
	Decided    time.Time
	Rule       string
}

// ControlID is MSH-10 of the message that carries a to the sink, 20 characters
// at most (HL7 v2.4 chapter 2.16.9.10). It follows from what is sent, so that a
// repeat is recognised as one.
func (a Alert) ControlID(sink string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "safeguard control id|%s|%d|%s|%s", a.ID, a.Version, a.Action, sink))
	return base32.StdEncoding.EncodeToString(sum[:15])[:20]
}

// Content is what an alert says. The zero value says nothing.
type Content struct {
	Kind   Kind
	Reason Reason    // of CheckNotCompleted
	Flags  []Flag    // of FlagsHeld
	AsOf   time.Time // of FlagsHeld and NoneFound: when the centre said so
	Source Source    // of FlagsHeld and NoneFound
}

// Kind is what an alert is about.
type Kind int

// The kinds.
const (
	Nothing Kind = iota
	FlagsHeld
	CheckNotCompleted
	NoneFound // only where the site wants it said
)

var kinds = names{"nothing", "flags held", "check not completed", "none held"}

func (k Kind) String() string { return kinds.name(int(k)) }

// same tells whether a clinician would read the same: a later answer from the
// same source with the same flags is no news.
func (c Content) same(d Content) bool {
	return c.Kind == d.Kind && c.Reason == d.Reason && c.Source == d.Source && slices.Equal(c.Flags, d.Flags)
}

// Told is what an alert has shown, over all its versions. An EPR that keeps each
// part for itself is to be told of each that goes.
type Told struct {
	Kinds []Kind
	Flags []Flag // each plan of an authority once, as it was shown last
}

// with is t and what c shows.
func (t Told) with(c Content) Told {
	out := t.without(c)
	if c.Kind != Nothing {
		out.Kinds = append(out.Kinds, c.Kind)
	}
	out.Flags = append(out.Flags, c.Flags...)
	return out
}

// without is t without what c shows.
func (t Told) without(c Content) (out Told) {
	for _, k := range t.Kinds {
		if k != c.Kind {
			out.Kinds = append(out.Kinds, k)
		}
	}
	for _, f := range t.Flags {
		if !slices.ContainsFunc(c.Flags, func(g Flag) bool { return f.Plan == g.Plan && f.Authority == g.Authority }) {
			out.Flags = append(out.Flags, f)
		}
	}
	return out
}

// Receipt is one sink's answer to one version of an alert.
type Receipt struct {
	Outcome Outcome
	Code    string // the sink's own: MSA-1, an HTTP status
	Text    string // the sink's own words; not for logs
	At      time.Time
}

// Outcome is what becomes of a delivery.
type Outcome int

// The outcomes. The zero value is to try again.
const (
	Retry Outcome = iota
	Delivered
	Refused // for good: set aside for a person
)

var outcomes = names{"retry", "delivered", "refused"}

func (o Outcome) String() string { return outcomes.name(int(o)) }
