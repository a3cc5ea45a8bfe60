package cache

import (
	"fmt"
	"time"

	"github.com/safeguard-edge/safeguard"
)

// Policy says whether answers may be kept, and how long they count. The zero
// value is off.
type Policy struct {
	// Agreement names the agreement of the data controllers under which this
	// site may keep answers. Without it the cache is off, and an outage of the
	// centre means unknown.
	Agreement string

	Held Ages // of an answer with flags
	None Ages // of an answer that none is held

	// Retention is how long an answer is kept after the last attendance that
	// asked for it, however often it is refreshed.
	Retention time.Duration
}

// Ages are the two ages of an answer, counted from its AsOf.
type Ages = safeguard.Ages

const day = 24 * time.Hour

// DefaultPolicy is the centre's usual ages, and off until Agreement is set.
func DefaultPolicy() Policy {
	return Policy{
		Held:      safeguard.DefaultCachePolicy.Held,
		None:      safeguard.DefaultCachePolicy.None,
		Retention: 14 * day,
	}
}

// as is p for a site for which the centre has decided. Without an agreement it
// stays off, whatever the centre says.
func (p Policy) as(c safeguard.CachePolicy) Policy {
	if c.Off {
		p.Agreement = ""
	}
	p.Held, p.None = c.Held, c.None
	return p
}

// maxUsable bounds what a policy may ask for.
const maxUsable = 90 * day

// Off tells whether nothing may be kept.
func (p Policy) Off() bool { return p.Agreement == "" }

// Validate names the first field that can not work, and what would. A policy
// that is off is valid.
func (p Policy) Validate() error {
	if p.Off() {
		return nil
	}
	for _, a := range []struct {
		name string
		Ages
	}{{"held", p.Held}, {"none", p.None}} {
		if a.Usable <= 0 || a.Usable > maxUsable {
			return fmt.Errorf("cache policy: %s usable %v: want more than 0 and at most %v", a.name, a.Usable, maxUsable)
		}
		if a.Fresh <= 0 || a.Fresh > a.Usable {
			return fmt.Errorf("cache policy: %s fresh %v: want more than 0 and at most usable, %v", a.name, a.Fresh, a.Usable)
		}
	}
	if p.None.Usable > p.Held.Usable {
		return fmt.Errorf("cache policy: none usable %v: want at most held usable, %v", p.None.Usable, p.Held.Usable)
	}
	if p.Retention <= 0 || p.Retention > maxUsable {
		return fmt.Errorf("cache policy: retention %v: want more than 0 and at most %v", p.Retention, maxUsable)
	}
	return nil
}

// ages are those of answers of that status; none for unknown.
func (p Policy) ages(s safeguard.Status) Ages {
	switch s {
	case safeguard.Held:
		return p.Held
	case safeguard.NoneHeld:
		return p.None
	}
	return Ages{}
}

// expiry is when a kept answer is of no more use, or may no longer be kept.
func (p Policy) expiry(k kept) time.Time {
	unusable, unattended := k.answer.AsOf.Add(p.ages(k.answer.Status).Usable), k.attended.Add(p.Retention)
	if unattended.Before(unusable) {
		return unattended
	}
	return unusable
}
