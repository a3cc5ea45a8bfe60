package safeguard

import (
	"cmp"
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

	// What else the centre says with an answer of its own.
	Data      []DataAge     // how old the data behind it are, where that matters
	Policy    *CachePolicy  // what the site may keep of it; nil when the centre does not say
	OwedPause time.Duration // to leave between two owed lookups that are paid late; 0 when the centre does not say

	// History is who asked before for unscheduled care, latest first. It is for
	// showing and never written down, which is why no encoding has it.
	History []PastAccess `json:"-"`
}

// DataAge is how old a local authority's data are.
type DataAge struct {
	Authority ODSCode
	Name      string
	Uploaded  time.Time // its last complete upload; zero when there was none
	Overdue   bool      // longer ago than the centre expects: what it holds may have changed since
}

// CachePolicy is what the centre lets a site keep. Answers are kept only where
// the site's own configuration, which names the controllers' agreement, says so
// too.
type CachePolicy struct {
	Off  bool // keep nothing, and drop what is kept
	Held Ages // of answers with flags
	None Ages // of answers that none is held
}

// Ages are how long a kept answer counts, from its AsOf on.
type Ages struct {
	Fresh  time.Duration // until then there is no need to ask again
	Usable time.Duration // until then it may stand in for the centre
}

// DefaultCachePolicy is what a centre says that decided nothing else. Flags change
// slowly and are dangerous to miss, so they count for long; a child without a
// flag may have one tomorrow, so that counts for a day.
var DefaultCachePolicy = CachePolicy{
	Held: Ages{Fresh: 24 * time.Hour, Usable: 14 * 24 * time.Hour},
	None: Ages{Fresh: 6 * time.Hour, Usable: 24 * time.Hour},
}

// PastAccess is one earlier lookup for unscheduled care. Of one whose location is
// sensitive, another site learns when, and in what type of place; the rest is
// empty.
type PastAccess struct {
	At               time.Time // of the attendance
	Setting          CareSetting
	Organisation     ODSCode
	OrganisationName string
	Site             ODSCode
	SiteName         string
	Accountable      Accountable
	Sensitive        bool
	Viewed           bool // by a member of staff, at At: it is no arrival
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
	m.History = nil // of her own attendances
	a.Data = MergeData(a.Data, m.Data)
	m.Data, m.Policy, m.OwedPause = a.Data, cmp.Or(a.Policy, m.Policy), max(a.OwedPause, m.OwedPause)
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

// MergeData gives each authority once, as a says where both do.
func MergeData(a, b []DataAge) []DataAge {
	out := slices.Clip(a)
	for _, d := range b {
		if !slices.ContainsFunc(a, func(e DataAge) bool { return e.Authority == d.Authority }) {
			out = append(out, d)
		}
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

// Refreshed is what became of one query of several: an answer, or why there is none.
type Refreshed struct {
	Answer Answer
	Err    error // as that of FlagSource's Lookup
}
