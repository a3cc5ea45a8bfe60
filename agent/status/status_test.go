package status

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/safeguard-edge/safeguard"
)

// parts are an agent's parts, as a test has them.
type parts struct {
	mu     sync.Mutex
	feed   safeguard.FeedHealth
	sink   safeguard.SinkHealth
	kept   Journal
	away   time.Time
	broken error
}

func (p *parts) set(change func(p *parts)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(p)
}

func (p *parts) sources() Sources {
	return Sources{
		Failing: func() []string { return nil },
		Feeds: func() []safeguard.FeedHealth {
			p.mu.Lock()
			defer p.mu.Unlock()
			return []safeguard.FeedHealth{p.feed}
		},
		Journal: func(context.Context) (Journal, error) {
			p.mu.Lock()
			defer p.mu.Unlock()
			return p.kept, p.broken
		},
		Sinks: func() []safeguard.SinkHealth {
			p.mu.Lock()
			defer p.mu.Unlock()
			return []safeguard.SinkHealth{p.sink}
		},
		Unreachable: func() time.Time {
			p.mu.Lock()
			defer p.mu.Unlock()
			return p.away
		},
		Cache:       func() safeguard.CacheHealth { return safeguard.CacheHealth{State: safeguard.CacheReady} },
		Certificate: func() (safeguard.CertificateHealth, error) { return safeguard.CertificateHealth{}, errors.New("none") },
	}
}

// centre takes the heartbeats, with the given clock.
type centre struct {
	mu      sync.Mutex
	offset  time.Duration // of its clock
	trip    time.Duration
	err     error
	taken   []safeguard.Heartbeat
	at      []time.Time
	periods []safeguard.Period
}

func (c *centre) Heartbeat(_ context.Context, h safeguard.Heartbeat, periods []safeguard.Period) (safeguard.HeartbeatReply, error) {
	time.Sleep(c.trip / 2)
	defer time.Sleep(c.trip / 2)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return safeguard.HeartbeatReply{}, c.err
	}
	c.taken, c.at, c.periods = append(c.taken, h), append(c.at, time.Now()), append(c.periods, periods...)
	reply := safeguard.HeartbeatReply{At: time.Now().Add(c.offset)}
	if n := len(c.periods); n > 0 {
		reply.Kept = c.periods[n-1].Start.Add(c.periods[n-1].Length)
	}
	return reply, nil
}

func (c *centre) last() safeguard.Heartbeat {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.taken[len(c.taken)-1]
}

func running(t *testing.T, p *parts, c *centre, file string) (*Reporter, func()) {
	t.Helper()
	p.sink.Name, p.sink.Live, p.feed.Name = "epr", true, "pas"
	r := New(Agent{Device: "rx1-ed-1", Version: "1.2", Config: "abc", Zone: time.UTC, Limits: safeguard.DefaultLimits(), File: file}, p.sources(), c, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- r.Run(ctx) }()
	synctest.Wait()
	return r, func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// now is the report once the looks that are due are done.
func now(r *Reporter) safeguard.Heartbeat {
	synctest.Wait()
	return r.Report()
}

func TestAChangeOfStateIsToldAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, c := &parts{}, &centre{}
		r, stop := running(t, p, c, "")
		if got := c.last().State; got != safeguard.Working {
			t.Fatalf("got %s, want it told at once that the agent works", got)
		}
		time.Sleep(11 * time.Second)
		began := time.Now()
		p.set(func(p *parts) { p.away = began })
		time.Sleep(lookEvery + beatApart) // another heartbeat may just have gone
		if h := now(r); h.State != safeguard.Degraded || len(h.Warnings) != 0 || c.last().State != safeguard.Degraded {
			t.Errorf("got %s %v, and the centre was told of %s; want degraded at once, and a warning after its grace", h.State, h.Warnings, c.last().State)
		}
		time.Sleep(safeguard.CentreAway.Declared().Grace)
		if h := now(r); len(h.Warnings) != 1 || h.Warnings[0].Code != safeguard.CentreAway || !h.Warnings[0].Since.Equal(began) || len(c.last().Warnings) != 1 {
			t.Errorf("got %v, and the centre was told of %v", h.Warnings, c.last().Warnings)
		}
		p.set(func(p *parts) { p.sink.DownSince = time.Now() })
		time.Sleep(safeguard.SinkDown.Declared().Grace + 2*lookEvery)
		if h := now(r); h.State != safeguard.Failing || len(h.Warnings) != 2 {
			t.Errorf("got %s %v, want it to be failing", h.State, h.Warnings)
		}
		p.set(func(p *parts) { p.away, p.sink.DownSince = time.Time{}, time.Time{} })
		time.Sleep(2 * time.Minute)
		if h := now(r); h.State != safeguard.Working || len(h.Warnings) != 0 {
			t.Errorf("got %s %v, want the warnings closed by themselves", h.State, h.Warnings)
		}
		stop()
		if got := c.last().State; got != safeguard.Stopping {
			t.Errorf("got %s, want it told that the agent stops", got)
		}
	})
}

func TestHeartbeatsComeEveryHalfMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &centre{}
		_, stop := running(t, &parts{}, c, "")
		time.Sleep(time.Hour)
		stop()
		if n := len(c.taken); n < 115 || n > 130 {
			t.Errorf("got %d heartbeats in an hour", n)
		}
		different := map[time.Duration]bool{}
		for i := 2; i < len(c.at)-1; i++ {
			apart := c.at[i].Sub(c.at[i-1])
			different[apart] = true
			if apart < 27*time.Second || apart > 35*time.Second+beatApart {
				t.Errorf("got two heartbeats %v apart", apart)
			}
			if c.taken[i].Sequence != c.taken[i-1].Sequence+1 || c.taken[i].Boot != c.taken[0].Boot {
				t.Errorf("got sequence %d after %d", c.taken[i].Sequence, c.taken[i-1].Sequence)
			}
		}
		if len(different) < 50 {
			t.Errorf("got %d different times between heartbeats, want them to be spread", len(different))
		}
	})
}

// What the agent saw while the line was down, the centre learns afterwards, by its
// own clock, and each period once.
func TestPeriodsOutliveAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, c := &parts{}, &centre{offset: 20 * time.Minute}
		_, stop := running(t, p, c, "")
		time.Sleep(16 * time.Minute)
		c.mu.Lock()
		c.err = errors.New("no line")
		c.mu.Unlock()
		time.Sleep(time.Hour)
		c.mu.Lock()
		c.err = nil
		c.mu.Unlock()
		time.Sleep(10 * time.Minute)
		stop()
		if n := len(c.periods); n != 17 {
			t.Fatalf("got %d periods, want those of the 85 minutes that were over", n)
		}
		for i, q := range c.periods {
			if want := c.periods[0].Start.Add(time.Duration(i) * column); !q.Start.Equal(want) {
				t.Errorf("period %d starts at %v, want %v", i, q.Start, want)
			}
		}
	})
}

func TestAJournalThatDoesNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &parts{broken: errors.New("no")}
		r, stop := running(t, p, &centre{}, "")
		defer stop()
		time.Sleep(time.Minute)
		if h := now(r); h.State != safeguard.Failing || h.Journal.Stopped != "journal does not answer" {
			t.Errorf("got %s, %q", h.State, h.Journal.Stopped)
		}
	})
}

func TestTheLastDay(t *testing.T) {
	file := filepath.Join(t.TempDir(), "status", "day.json")
	synctest.Test(t, func(t *testing.T) {
		p := &parts{}
		r, stop := running(t, p, &centre{}, file)
		// 26 hours, a message a minute.
		for range 26 * 60 {
			p.set(func(p *parts) {
				p.feed.Messages++
				p.feed.LastMessage = time.Now()
				p.kept.Begun++
				p.sink.Delivered++
			})
			time.Sleep(time.Minute)
		}
		columns := r.Day()
		if n := len(columns); n < 288 || n > 289 {
			t.Errorf("got %d columns, want those of a day", n)
		}
		for _, c := range columns[:len(columns)-1] {
			if c.Feed("pas").Messages != 5 || c.Begun != 5 || c.Delivered != 5 || c.State != safeguard.Working {
				t.Fatalf("got %+v, want 5 messages and a working agent", c)
			}
		}
		h := now(r)
		if f := h.Feeds[0]; f.LastHour < 55 || f.LastHour > 60 || h.Attendances.Begun < 230 || h.Attendances.Begun > 240 {
			t.Errorf("got %d messages in the last hour and %d attendances in four", f.LastHour, h.Attendances.Begun)
		}
		stop()

		// After a restart, what is usual is still known, and the columns are there.
		time.Sleep(10 * time.Minute)
		again := &parts{}
		s, stop := running(t, again, &centre{}, file)
		defer stop()
		if got := len(s.Day()); got < 285 {
			t.Errorf("got %d columns after a restart", got)
		}
		if s.Report().Boot == r.Report().Boot {
			t.Error("two runs have one name")
		}
		time.Sleep(30 * time.Minute)
		h = now(s)
		if len(h.Warnings) != 1 || h.Warnings[0].Code != safeguard.FeedQuiet || !strings.Contains(h.Warnings[0].Detail, "messages usually come") {
			t.Errorf("got %v, want the feed to be quiet as far as is known of the day before", h.Warnings)
		}
	})
}

func TestTheClockIsComparedByTheFastestTrip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, stop := running(t, &parts{}, &centre{err: errors.New("no line")}, "")
		defer stop()
		reply := func(trip, offset time.Duration) {
			sent := time.Now()
			r.replied(sent, sent.Add(trip), safeguard.HeartbeatReply{At: sent.Add(trip/2 + offset)})
		}
		offset := func(name string, want, within time.Duration) {
			t.Helper()
			if c := now(r).Clock; c.Offset != want || c.Within != within {
				t.Errorf("%s: got %v within %v, want %v within %v", name, c.Offset, c.Within, want, within)
			}
		}
		reply(100*time.Millisecond, time.Second)
		offset("the first", time.Second, 50*time.Millisecond)
		reply(20*time.Millisecond, 990*time.Millisecond)
		offset("a faster one", 990*time.Millisecond, 10*time.Millisecond)
		reply(2*time.Second, 1500*time.Millisecond)
		offset("a slow one", 990*time.Millisecond, 10*time.Millisecond)
		reply(100*time.Millisecond, time.Minute)
		offset("a clock that was changed", time.Minute, 50*time.Millisecond)
	})
}
