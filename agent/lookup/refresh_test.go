package lookup_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/agent/lookup"
)

// Refresh implements lookup.Centre.
func (c *centre) Refresh(ctx context.Context, queries []safeguard.Query) ([]safeguard.Refreshed, time.Duration, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls = append(c.calls, queries)
	if c.err != nil {
		return nil, 0, c.err
	}
	out := make([]safeguard.Refreshed, len(queries))
	for i, q := range queries {
		out[i] = safeguard.Refreshed{Answer: c.answer, Err: c.errs[q.Number]}
	}
	return out, c.pause, nil
}

// refresher is one that everything is always due to.
func refresher(c *centre, w *ward, due ...safeguard.Query) (*lookup.Refresher, *cache) {
	log := slog.New(slog.DiscardHandler)
	held := &cache{due: due, ok: true, answer: safeguard.Answer{Status: safeguard.Held, Flags: []safeguard.Flag{{}}}}
	open := func(context.Context, safeguard.AttendanceID) bool { return true }
	return &lookup.Refresher{Lookup: lookup.New(c, held, deadline, log), Kept: held, Attendances: w, Open: open, Log: log}, held
}

// during runs it for so long, and gives the calls that it made meanwhile.
func during(t *testing.T, r *lookup.Refresher, c *centre, d time.Duration) [][]safeguard.Query {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), d)
	defer stop()
	before := len(c.calls)
	if err := r.Run(ctx); err != nil {
		t.Error(err)
	}
	return c.calls[before:]
}

// visits are queries about as many persons, for one author or for two in turn.
func visits(t *testing.T, n int, sites ...string) []safeguard.Query {
	t.Helper()
	list := make([]safeguard.Query, n)
	for i := range list {
		site, err := safeguard.ParseODSCode(sites[i%len(sites)])
		if err != nil {
			t.Fatal(err)
		}
		list[i] = safeguard.Query{
			Number:     number(t, i),
			Author:     safeguard.Author{Site: site},
			Attendance: safeguard.NewAttendanceID(site, fmt.Sprint(i)),
			Purpose:    safeguard.Unscheduled,
		}
	}
	return list
}

// number is the i-th NHS number of those for tests.
func number(t *testing.T, i int) safeguard.NHSNumber {
	t.Helper()
	for digit := range 10 {
		if n, err := safeguard.ParseNHSNumber(fmt.Sprintf("999%06d%d", i, digit)); err == nil {
			return n
		}
	}
	return number(t, i+500_000) // of this one no digit is right
}

func TestRefresherAsksForManyAtOnceSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, w := &centre{answer: safeguard.Answer{Status: safeguard.NoneHeld}}, &ward{}
		r, held := refresher(c, w, visits(t, 120, "RX1RA", "RX1RB")...)
		calls := during(t, r, c, 10*time.Minute)
		if len(calls) < 16 || len(calls) > 120 {
			t.Errorf("%d calls in ten minutes, want some at each round, and never more than one a second or so", len(calls))
		}
		asked := 0
		for _, call := range calls {
			asked += len(call)
			if len(call) > 50 {
				t.Errorf("%d in one call, want at most 50", len(call))
			}
			for _, q := range call {
				if q.Author != call[0].Author || q.Purpose != safeguard.Refresh {
					t.Fatal("a call of several authors, or of another purpose than refresh")
				}
			}
		}
		if len(held.kept) != asked {
			t.Errorf("%d answers kept of %d", len(held.kept), asked)
		}
		if len(w.did) != asked {
			t.Errorf("attendances asked about again %d times, want each time that the answer was another", len(w.did))
		}
	})
}

func TestRefresherLeavesACentreAloneThatDoesNotAnswer(t *testing.T) {
	for name, err := range map[string]error{"no answer": errors.New("no connection"), "refused": safeguard.ErrRefused} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := &centre{err: err}
				r, held := refresher(c, &ward{}, visits(t, 500, "RX1RA")...)
				if calls := during(t, r, c, 10*time.Minute); len(calls) == 0 || len(calls) > 20 {
					t.Errorf("%d calls in ten minutes, want one a round", len(calls))
				}
				if len(held.kept) != 0 || held.outdated != 0 {
					t.Error("what is kept was touched")
				}
			})
		})
	}
}

func TestOneThatCanNotBeRefreshedHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		due := visits(t, 3, "RX1RA")
		c := &centre{
			answer: safeguard.Answer{Status: safeguard.NoneHeld},
			errs:   map[safeguard.NHSNumber]error{due[0].Number: errors.New("not now"), due[1].Number: safeguard.ErrRefused},
		}
		r, held := refresher(c, &ward{}, due...)
		asked := map[safeguard.NHSNumber]int{}
		for _, call := range during(t, r, c, 10*time.Minute) {
			for _, q := range call {
				asked[q.Number]++
			}
		}
		if asked[due[0].Number] < 5 {
			t.Error("the one that was not answered is not asked about again")
		}
		if asked[due[1].Number] != 1 {
			t.Errorf("the refused one was asked about %d times, want not again for an hour", asked[due[1].Number])
		}
		if n := asked[due[2].Number]; n < 5 || len(held.kept) != n {
			t.Errorf("the good one was asked about %d times and kept %d times", n, len(held.kept))
		}
	})
}

func TestRefresherWaitsAsLongAsTheCentreSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &centre{answer: safeguard.Answer{Status: safeguard.NoneHeld}, pause: time.Minute}
		r, _ := refresher(c, &ward{}, visits(t, 500, "RX1RA")...)
		if calls := during(t, r, c, 10*time.Minute); len(calls) < 3 || len(calls) > 10 {
			t.Errorf("%d calls in ten minutes, want at least a minute between two", len(calls))
		}
	})
}
