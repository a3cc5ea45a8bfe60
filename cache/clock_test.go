package cache

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestClock(t *testing.T) {
	want := func(t *testing.T, c *clock, now, want time.Time, wantOK bool) {
		t.Helper()
		if got, ok := c.at(now); ok != wantOK || ok && !got.Equal(want) {
			t.Errorf("at %v = %v, %v, want %v, %v", now, got, ok, want, wantOK)
		}
	}
	t.Run("nothing heard", func(t *testing.T) {
		want(t, new(clock), then, then, true)
	})
	t.Run("set back while running", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := new(clock)
			c.hear(then)
			time.Sleep(15 * day) // of the bubble
			want(t, c, then.Add(day), then.Add(15*day), true)
			want(t, c, then.Add(-1000*day), then.Add(15*day), true)
			want(t, c, then.Add(16*day), then.Add(16*day), true)
		})
	})
	t.Run("set back before a restart", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := new(clock)
			c.restart(then)
			want(t, c, then.Add(-skew), then, true)
			want(t, c, then.Add(-skew-1), time.Time{}, false)
			want(t, c, then.Add(day), then.Add(day), true)
			c.hear(then.Add(day)) // now it is known again
			time.Sleep(time.Hour)
			want(t, c, then.Add(-day), then.Add(day+time.Hour), true)
		})
	})
	t.Run("overtaken answer", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := new(clock)
			c.hear(then)
			c.hear(then.Add(-time.Minute))
			want(t, c, then.Add(-time.Minute), then, true)
		})
	})
	t.Run("the centre's clock was wrong once", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := new(clock)
			c.hear(then.Add(1000 * day))
			c.hear(then)
			want(t, c, then.Add(time.Minute), then.Add(time.Minute), true)
		})
	})
}

func TestClockSetBackMakesNothingYounger(t *testing.T) {
	h := newHome(t)
	c := h.open(t)
	old, young := number(t, someone), number(t, another)
	put(t, c, old, none(then))
	put(t, c, young, none(then.Add(20*time.Hour)))
	wantUnknown(t, c, old, then.Add(25*time.Hour))
	// Set back by nine hours: at 16:00 the old answer would pass for sixteen
	// hours old.
	c.clock.heard = c.clock.heard.Add(-5 * time.Hour)
	wantUnknown(t, c, old, then.Add(16*time.Hour))
	wantGiven(t, c, young, then.Add(16*time.Hour), none(then.Add(20*time.Hour)))
	must(t, c.Close())

	c = h.open(t) // how long we were down is unknown, so a clock behind makes all unknown
	wantUnknown(t, c, old, then.Add(16*time.Hour))
	wantUnknown(t, c, young, then.Add(16*time.Hour))
	wantGiven(t, c, young, then.Add(26*time.Hour), none(then.Add(20*time.Hour)))
	put(t, c, number(t, "999 000 0034"), none(then.Add(26*time.Hour)))
	wantGiven(t, c, young, then.Add(16*time.Hour), none(then.Add(20*time.Hour)))
}

// A centre whose clock was once far ahead must not spoil the cache for ever.
func TestAnswerFromTheFutureGivesWay(t *testing.T) {
	c := newHome(t).open(t)
	n := number(t, someone)
	put(t, c, n, held(then.Add(1000*day)))
	put(t, c, number(t, another), none(then))
	wantUnknown(t, c, n, then)
	put(t, c, n, none(then.Add(time.Minute)))
	wantGiven(t, c, n, then.Add(time.Minute), none(then.Add(time.Minute)))
	if st := c.Stats(); !st.Newest.Before(then.Add(day)) {
		t.Errorf("newest answer is of %v", st.Newest)
	}
	wantUnknown(t, c, n, then.Add(2*day))
}
