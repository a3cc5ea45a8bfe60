package status

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/safeguard-edge/safeguard"
)

// Centre is told how the agent is. An error that is safeguard.ErrRefused says that
// it will not take this heartbeat.
type Centre interface {
	Heartbeat(ctx context.Context, h safeguard.Heartbeat, periods []safeguard.Period) (safeguard.HeartbeatReply, error)
}

const (
	beatEvery  = 30 * time.Second // give or take a tenth, so that not all agents come at once
	beatApart  = 2 * time.Second  // at least, however often the state changes
	beatTime   = 10 * time.Second // for one
	lastTime   = 2 * time.Second  // for the one that says that the agent stops
	mostUnsent = 100              // periods in one heartbeat
)

// beats tells the centre how the agent is, until ctx ends.
func (r *Reporter) beats(ctx context.Context) {
	for {
		r.beat(ctx, beatTime)
		next := time.After(beatEvery*9/10 + rand.N(beatEvery/5))
		select {
		case <-time.After(beatApart):
		case <-ctx.Done():
			return
		}
		select {
		case <-next:
		case <-r.changed:
		case <-ctx.Done():
			return
		}
	}
}

// beat sends one heartbeat. One that is not taken is not sent again: the next one
// says more.
func (r *Reporter) beat(ctx context.Context, patience time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	r.mu.Lock()
	r.report.Sequence++
	h := r.report
	h.At = time.Now()
	periods := r.unsent(h.At)
	r.mu.Unlock()
	sent := time.Now()
	reply, err := r.centre.Heartbeat(ctx, h, periods)
	if err != nil {
		if refused := errors.Is(err, safeguard.ErrRefused); refused && !r.refused {
			r.log.Warn("heartbeat refused by the centre", "err", err)
			r.refused = true
		}
		return
	}
	r.refused = false
	r.replied(sent, time.Now(), reply)
	if r.sources.Replied != nil {
		r.sources.Replied(reply)
	}
}

// unsent are the periods that are over and that the centre is not known to have.
// The caller holds mu.
func (r *Reporter) unsent(now time.Time) (periods []safeguard.Period) {
	if r.sent.After(now.Add(time.Hour)) {
		r.sent = time.Time{} // of a clock that was far ahead
	}
	for _, c := range r.columns {
		end := c.Start.Add(c.Length)
		if !end.After(now) && end.After(r.sent) && len(periods) < mostUnsent {
			c.Start = c.Start.Add(r.report.Clock.Offset).Round(column) // by the centre's clock
			periods = append(periods, c)
		}
	}
	return periods
}

// replied takes note of the centre's reply to a heartbeat that was sent then.
func (r *Reporter) replied(sent, received time.Time, reply safeguard.HeartbeatReply) {
	r.mu.Lock()
	defer r.mu.Unlock()
	trip := received.Sub(sent)
	r.report.Centre.Latency, r.report.Centre.Heard = trip, received
	clock := safeguard.ClockHealth{Offset: reply.At.Sub(sent.Add(trip / 2)), Within: trip / 2, Measured: received}
	// A slow trip tells little: an earlier, faster one is better, until it is old.
	if old := r.report.Clock; old.Measured.IsZero() || clock.Within <= old.Within || received.Sub(old.Measured) > 10*time.Minute ||
		(clock.Offset-old.Offset).Abs() > clock.Within+old.Within {
		r.report.Clock = clock
	}
	if kept := reply.Kept.Add(-r.report.Clock.Offset).Round(column); !reply.Kept.IsZero() && kept.After(r.sent) {
		r.sent = kept
	}
	c := r.current(received)
	c.Latency = max(c.Latency, trip)
}
