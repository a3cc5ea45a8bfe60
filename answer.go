package safeguard

import (
	"context"
	"errors"
	"slices"
	"time"
)

// Status says what is known. The zero value is Unknown, so that a lookup that
// never happened can not read as "no flag".
type Status int

// The three answers.
const (
	Unknown Status = iota
	NoneHeld
	Held
)

var statuses = names{"unknown", "none held", "held"}

func (s Status) String() string { return statuses.name(int(s)) }

// Reason says why an answer is unknown.
type Reason int

// The reasons.
const (
	NoReason             Reason = iota
	CentreUnreachable           // no answer within the deadline, and none cached
	CentreRefused               // the centre answered, but not to this site or query
	NoNHSNumber                 // there is nothing to ask with
	NumberInConflict            // the hospital says that the number is not settled
	IdentityNotConfirmed        // the date of birth is another, or missing where it is needed
)

var reasons = names{"", "centre-unreachable", "centre-refused", "no-nhs-number", "number-in-conflict", "identity-not-confirmed"}

func (r Reason) String() string { return reasons.name(int(r)) }

// Source says where an answer is from.
type Source int

// The sources.
const (
	NoSource Source = iota
	FromCentre
	FromCache
)

var sources = names{"", "centre", "cache"}

func (s Source) String() string { return sources.name(int(s)) }

// Answer is what is known about a person's flags, and as of when.
type Answer struct {
	Status Status
	Reason Reason    // why Status is Unknown
	Flags  []Flag    // at least one when Held, else none
	AsOf   time.Time // when the centre said so, by the centre's clock
	Source Source
}

// UnknownBecause is the unknown answer.
func UnknownBecause(r Reason) Answer { return Answer{Reason: r} }

// WithMothers is the answer about an infant and the one about its mother, as one:
// what is held for either is held, and what is not known of either is unknown. Of
// the mother's flags only those of her unborn child are the infant's concern.
func (a Answer) WithMothers(m Answer) Answer {
	var hers []Flag
	for _, f := range m.Flags {
		if f.Plan == UnbornChild {
			f.Mothers = true
			hers = append(hers, f)
		}
	}
	if m.Status == Held && len(hers) == 0 {
		m.Status = NoneHeld
	}
	out := a
	switch {
	case a.Status == Held && m.Status == Held:
		out.Flags = append(slices.Clip(a.Flags), hers...)
	case a.Status == Held:
		return a
	case m.Status == Held:
		m.Flags = hers
		return m
	case a.Status == Unknown:
		return a
	case m.Status == Unknown:
		return m
	}
	if m.AsOf.Before(a.AsOf) {
		out.AsOf = m.AsOf
	}
	if m.Source == FromCache {
		out.Source = FromCache
	}
	return out
}

// ErrRefused means that a flag source understood a query and will not answer it.
// Any other error of a lookup means that no answer came, and one may yet.
var ErrRefused = errors.New("refused")

// FlagSource answers queries. The answer is meaningful only with a nil error;
// an error stands for Unknown.
type FlagSource interface {
	Lookup(ctx context.Context, q Query) (Answer, error)
}
