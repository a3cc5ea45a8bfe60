package server

import (
	"context"
	"log/slog"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/store"
)

// turns has logged as changed what a new day changes: nobody uploads anything when
// a plan begins, or is visible no more.
type turns struct {
	store   turner
	policy  Policy
	changed func() // called when something was
	log     *slog.Logger
}

// turner is what turns needs of a store.
type turner interface {
	Turn(ctx context.Context, day safeguard.Date, shown func(f store.Flag, on safeguard.Date) bool) (int, error)
}

const (
	turnEvery = 5 * time.Second
	// turnAfter is how long after midnight the day is turned to: a lookup that was
	// answered by the day before has noted by then that its site asked.
	turnAfter = followAgain
	turnTime  = 10 * time.Minute // for reading all that is held for whomever somebody asked about
	turnAgain = time.Minute      // after an error
)

// run turns to the day when it starts and when a new one has begun, until ctx ends.
func (t *turns) run(ctx context.Context) {
	tick := time.NewTicker(turnEvery)
	defer tick.Stop()
	var done safeguard.Date
	var next time.Time
	for {
		if day := safeguard.DateOf(time.Now().Add(-turnAfter)); day != done && !time.Now().Before(next) {
			if err := t.turn(ctx, day); err == nil {
				done = day
			} else if ctx.Err() == nil {
				next = time.Now().Add(turnAgain)
				t.log.Warn("sites not told of plans that begin or end with the day, trying again", "in", turnAgain, "err", err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (t *turns) turn(ctx context.Context, day safeguard.Date) error {
	ctx, cancel := context.WithTimeout(ctx, turnTime)
	defer cancel()
	n, err := t.store.Turn(ctx, day, t.policy.shows)
	if err != nil {
		return err
	}
	if n > 0 {
		t.changed()
	}
	return nil
}

// shows tells whether the flag is shown on the day to whoever asks with the date of
// birth that it came with.
func (p Policy) shows(f store.Flag, on safeguard.Date) bool {
	return safeguard.Flag{Plan: f.Plan, Start: f.Start, End: f.End}.Visible(on, f.Born.Reveal(), p.Tails)
}
