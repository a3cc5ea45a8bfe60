package pipeline

import (
	"math/rand/v2"
	"time"
)

// A retry waits a quarter of a second, then twice as long each time. An EPR that
// was away is tried again within longest of its return. The centre is asked again
// within centres, because its connection has to come back first (1.2 s after an attempt has failed) and
// the breaker to let a lookup through (1.2 s): all in all within five seconds.
const (
	shortest = 250 * time.Millisecond
	longest  = 4 * time.Second
	centres  = 2 * time.Second
)

// backoff is how long to wait after that many failed tries, less up to a
// quarter, so that many who wait do not come back at once.
func backoff(tries int) time.Duration { return doubling(tries, longest) }

// patience is how long an item waits at most that its receiver answers, but does
// not take.
const patience = time.Minute

func doubling(tries int, most time.Duration) time.Duration {
	d := most
	if tries < 10 {
		d = min(most, shortest<<max(tries, 0))
	}
	return d - rand.N(d/4)
}

// reask is how long to wait before asking again what the centre answered but did
// not tell: only a person's correction there can change it.
const reask = 10 * time.Minute
