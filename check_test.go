package safeguard_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard"
)

// Monday, in the hours of a working day.
var monday = time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)

// well is the report of an agent with which nothing is wrong.
func well() safeguard.Heartbeat {
	return safeguard.Heartbeat{
		At: monday, State: safeguard.Working, Started: monday.Add(-10 * 24 * time.Hour),
		Feeds:       []safeguard.FeedHealth{{Name: "pas", Connections: 1, LastMessage: monday.Add(-time.Minute), Messages: 9000, LastHour: 60}},
		Sinks:       []safeguard.SinkHealth{{Name: "epr", Live: true, Answered: monday, Delivered: 12}},
		Cache:       safeguard.CacheHealth{State: safeguard.CacheReady, Entries: 100, Oldest: monday.Add(-9 * 24 * time.Hour), Newest: monday.Add(-time.Minute)},
		Certificate: safeguard.CertificateHealth{From: monday.Add(-10 * 24 * time.Hour), Until: monday.Add(80 * 24 * time.Hour)},
		Clock:       safeguard.ClockHealth{Offset: 40 * time.Millisecond, Within: 10 * time.Millisecond, Measured: monday},
		Disk:        safeguard.DiskHealth{Free: 40 << 30, Floor: 512 << 20, Sync: 4 * time.Millisecond},
		Attendances: safeguard.AttendanceHealth{Window: 4 * time.Hour, Begun: 100, NotCompleted: 2, NoNumber: 6},
	}
}

// usual is what three weeks of 60 messages an hour by day, and one by night, teach.
func usual() *safeguard.Usual {
	u := &safeguard.Usual{}
	for hour := monday.AddDate(0, 0, -21).Truncate(24 * time.Hour); hour.Before(monday); hour = hour.Add(time.Hour) {
		n := 1
		if hour.Hour() >= 8 && hour.Hour() < 20 {
			n = 60
		}
		u.Learn(safeguard.Period{Start: hour, Feeds: []safeguard.FeedPeriod{{Name: "pas", Messages: n}}, Begun: 10, NoNumber: 1}, safeguard.Limits{})
	}
	return u
}

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(h *safeguard.Heartbeat)
		want   string // codes and parts
		says   string
	}{
		{"all is well", func(*safeguard.Heartbeat) {}, "", ""},
		{"the centre is away", func(h *safeguard.Heartbeat) { h.Centre.Since = monday.Add(-time.Hour) }, "centre-unreachable", ""},
		{"owed lookups follow from that", func(h *safeguard.Heartbeat) {
			h.Centre.Since = monday.Add(-2 * time.Hour)
			h.Lookups = safeguard.Queue{Length: 40, Oldest: monday.Add(-2 * time.Hour)}
			h.Attendances.NotCompleted = 60
		}, "centre-unreachable", ""},
		{"lookups are owed though the centre answers", func(h *safeguard.Heartbeat) {
			h.Lookups = safeguard.Queue{Length: 40, Oldest: monday.Add(-2 * time.Hour)}
		}, "lookups-owed", "40 owed, the oldest for 2 h"},
		{"corrections are owed", func(h *safeguard.Heartbeat) {
			h.Corrections = safeguard.Queue{Length: 1, Oldest: monday.Add(-2 * time.Hour)}
		}, "lookups-owed corrections", "1 corrections owed"},
		{"intake is stopped", func(h *safeguard.Heartbeat) {
			h.Journal.Stopped, h.Journal.Since = "disk full", monday.Add(-time.Minute)
		}, "intake-stopped", "disk full"},
		{"a feed is not quiet while intake is stopped", func(h *safeguard.Heartbeat) {
			h.Journal.Stopped, h.Journal.Since = "disk full", monday.Add(-3*time.Hour)
			h.Feeds[0].LastMessage = monday.Add(-3 * time.Hour)
		}, "intake-stopped", ""},
		{"a feed that takes no messages is not quiet too", func(h *safeguard.Heartbeat) {
			h.Feeds[0].Fault, h.Feeds[0].LastMessage = "address already in use", monday.Add(-3*time.Hour)
			h.Failing = []string{"feed pas"}
		}, "feed-down pas", "Feed pas takes no messages: address already in use."},
		{"checks fail", func(h *safeguard.Heartbeat) { h.Failing = []string{"keys", "central TLS"} }, "check-fails", "finds what fails: keys, central TLS."},
		{"what fails follows from the centre's being away", func(h *safeguard.Heartbeat) {
			h.Centre.Since = monday.Add(-time.Hour)
			h.Failing = []string{"central connection", "round trip RX101"}
		}, "centre-unreachable", ""},
		{"what fails is a sink that is down, and more", func(h *safeguard.Heartbeat) {
			h.Sinks[0].DownSince = monday.Add(-5 * time.Minute)
			h.Failing = []string{"sink epr", "data folder"}
		}, "sink-down epr, check-fails", "finds what fails: data folder."},
		{"a quarter of an hour is nothing", func(h *safeguard.Heartbeat) { h.Feeds[0].LastMessage = monday.Add(-14 * time.Minute) }, "", ""},
		{"a feed is quiet by day", func(h *safeguard.Heartbeat) { h.Feeds[0].LastMessage = monday.Add(-20 * time.Minute) }, "feed-quiet pas", "nothing for 20 min, in which 20 messages usually come"},
		{"a feed was quiet before the agent started", func(h *safeguard.Heartbeat) {
			h.Feeds[0].LastMessage, h.Started = time.Time{}, monday.Add(-time.Hour)
		}, "feed-quiet pas", "nothing for 60 min"},
		{"more than usual can not be read", func(h *safeguard.Heartbeat) { h.Feeds[0].HourErrors = 9 }, "feed-errors pas", "9 of 60 in the last hour"},
		{"of few messages a share says nothing", func(h *safeguard.Heartbeat) { h.Feeds[0].LastHour, h.Feeds[0].HourErrors = 10, 5 }, "", ""},
		{"messages wait", func(h *safeguard.Heartbeat) {
			h.Journal.Waiting = safeguard.Queue{Length: 900, Oldest: monday.Add(-time.Minute)}
		}, "journal-deep", "900 waiting"},
		{"messages have waited for long", func(h *safeguard.Heartbeat) {
			h.Journal.Waiting = safeguard.Queue{Length: 900, Oldest: monday.Add(-10 * time.Minute)}
		}, "journal-old", "the oldest for 10 min"},
		{"messages were set aside", func(h *safeguard.Heartbeat) { h.Journal.SetAside = 3 }, "messages-set-aside", "3"},
		{"alerts wait", func(h *safeguard.Heartbeat) {
			h.Sinks[0].Waiting = safeguard.Queue{Length: 2, Oldest: monday.Add(-5 * time.Minute)}
		}, "alerts-undelivered epr", "2 waiting, the oldest for 5 min"},
		{"the EPR is down, and alerts wait because of that", func(h *safeguard.Heartbeat) {
			h.Sinks[0].DownSince = monday.Add(-5 * time.Minute)
			h.Sinks[0].Waiting = safeguard.Queue{Length: 2, Oldest: monday.Add(-5 * time.Minute)}
		}, "sink-down epr", "2 waiting"},
		{"a sink observes", func(h *safeguard.Heartbeat) { h.Sinks[0].Live = false }, "sink-observing epr", ""},
		{"checks are not completed", func(h *safeguard.Heartbeat) { h.Attendances.NotCompleted = 20 }, "checks-not-completed", "20 of 100 in 4 h"},
		{"numbers are missing", func(h *safeguard.Heartbeat) { h.Attendances.NoNumber = 40 }, "numbers-missing", "40 of 100"},
		{"as many numbers are missing as usual", func(h *safeguard.Heartbeat) { h.Attendances.NoNumber = 16 }, "", ""},
		{"the cache is away", func(h *safeguard.Heartbeat) { h.Cache = safeguard.CacheHealth{State: safeguard.CacheAway} }, "cache-unavailable", "unavailable"},
		{"the cache is off", func(h *safeguard.Heartbeat) { h.Cache = safeguard.CacheHealth{State: safeguard.CacheOff} }, "", ""},
		{"the cache grows old", func(h *safeguard.Heartbeat) { h.Cache.Newest = monday.Add(-13 * time.Hour) }, "cache-ageing", "the newest is 13 h old"},
		{"the certificate ends soon", func(h *safeguard.Heartbeat) { h.Certificate.Until = monday.Add(48 * time.Hour) }, "certificate-ending", "in 47 h"},
		{"a short certificate has most of its life", func(h *safeguard.Heartbeat) {
			h.Certificate = safeguard.CertificateHealth{From: monday.Add(-time.Hour), Until: monday.Add(24 * time.Hour)}
		}, "", ""},
		{"the certificate has ended", func(h *safeguard.Heartbeat) { h.Certificate.Until = monday.Add(-time.Hour) }, "certificate-ended", "60 min ago"},
		{"the certificate has ended by the centre's clock", func(h *safeguard.Heartbeat) {
			h.Certificate.Until, h.Clock.Offset = monday.Add(10*time.Second), 20*time.Second
		}, "certificate-ended", ""},
		{"the clock is behind", func(h *safeguard.Heartbeat) { h.Clock.Offset = 5 * time.Minute }, "clock-off", "5 min behind"},
		{"the clock is ahead", func(h *safeguard.Heartbeat) { h.Clock.Offset = -5 * time.Minute }, "clock-off", "5 min ahead"},
		{"the clock is not known well enough", func(h *safeguard.Heartbeat) {
			h.Clock.Offset, h.Clock.Within = 35*time.Second, 10*time.Second
		}, "", ""},
		{"the disk is nearly full", func(h *safeguard.Heartbeat) { h.Disk.Free = 900 << 20 }, "disk-low", "900 MB free, intake stops below 512 MB"},
		{"the disk is slow", func(h *safeguard.Heartbeat) { h.Disk.Sync = 700 * time.Millisecond }, "disk-slow", "a small write takes 700 ms"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := well()
			c.change(&h)
			var got, said []string
			for _, w := range h.Check(h.At, safeguard.DefaultLimits(), usual()) {
				got = append(got, strings.TrimSpace(fmt.Sprint(w.Code, " ", w.Part)))
				said = append(said, w.Sentence())
			}
			if g := strings.Join(got, ", "); g != c.want || !strings.Contains(strings.Join(said, " "), c.says) {
				t.Errorf("got %q, saying %q, want %q, saying %q", g, said, c.want, c.says)
			}
		})
	}
}

// A night without messages is nothing to wake someone for.
func TestQuietAtNight(t *testing.T) {
	night := monday.Add(-7 * time.Hour) // three o'clock
	h := well()
	h.At, h.Feeds[0].LastMessage = night, night.Add(-4*time.Hour)
	if got := h.Check(night, safeguard.DefaultLimits(), usual()); slices.ContainsFunc(got, quiet) {
		t.Errorf("got %v after four quiet hours of the night", got)
	}
	morning := monday.Add(-time.Hour)
	h.At = morning
	if got := h.Check(morning, safeguard.DefaultLimits(), usual()); !slices.ContainsFunc(got, quiet) {
		t.Errorf("got %v after ten quiet hours, want the feed to be quiet", got)
	}
}

func quiet(w safeguard.Warning) bool { return w.Code == safeguard.FeedQuiet }

// Before anything is learnt, half a day is too long.
func TestQuietBeforeAnythingIsLearnt(t *testing.T) {
	h := well()
	for hours, want := range map[int]bool{11: false, 12: true} {
		h.Feeds[0].LastMessage = monday.Add(-time.Duration(hours) * time.Hour)
		if got := h.Check(monday, safeguard.DefaultLimits(), &safeguard.Usual{}); slices.ContainsFunc(got, quiet) != want {
			t.Errorf("got %v after %d hours, want quiet %t", got, hours, want)
		}
	}
}

func TestRhythm(t *testing.T) {
	var r safeguard.Rhythm
	learn := func(weeks, count int) {
		for range weeks {
			r.Learn(monday, count)
			monday = monday.AddDate(0, 0, 7)
		}
	}
	before := monday
	defer func() { monday = before }()
	expect := func(name string, low, high float64) {
		t.Helper()
		got, known := r.Expected(monday, monday.Add(time.Hour), nil)
		if !known || got < low || got > high {
			t.Errorf("%s: got %.1f, known %t, want %.1f to %.1f", name, got, known, low, high)
		}
	}
	if _, known := r.Expected(monday, monday.Add(time.Hour), nil); known {
		t.Error("something is expected before anything was learnt")
	}
	learn(1, 40)
	expect("the first week counts", 40, 40)
	learn(8, 60)
	expect("it follows", 55, 60)
	learn(1, 0)
	expect("an outage is hardly learnt", 50, 60)
	learn(40, 0)
	expect("what is over for good is learnt", 0, 6)
	r.Learn(before, 1000)
	expect("an hour is learnt once, and in order", 0, 6)

	tuesday := monday.AddDate(0, 0, 1)
	r = safeguard.Rhythm{}
	learn(1, 40)
	if got, known := r.Expected(tuesday, tuesday.Add(30*time.Minute), nil); !known || got != 10 {
		t.Errorf("got %.1f, %t of half an hour of a day that was not seen yet, want half of the other day's", got, known)
	}
}

// On a bank holiday as much is expected as on a Sunday, and nothing is learnt.
func TestAHolidayIsLikeASunday(t *testing.T) {
	holiday := func(at time.Time) bool { return at.Format(time.DateOnly) == "2026-05-04" } // a Monday
	monday := time.Date(2026, 5, 4, 10, 0, 0, 0, time.UTC)
	var u safeguard.Usual
	hour := func(at time.Time, messages int) safeguard.Period {
		return safeguard.Period{Start: at.Truncate(time.Hour), Feeds: []safeguard.FeedPeriod{{Name: "pas", Messages: messages}}}
	}
	limits := safeguard.DefaultLimits()
	limits.Holiday = holiday
	for at := monday.AddDate(0, 0, -28); at.Before(monday.AddDate(0, 0, 1)); at = at.Add(time.Hour) {
		switch {
		case holiday(at):
			u.Learn(hour(at, 0), limits)
		case at.Weekday() == time.Sunday:
			u.Learn(hour(at, 6), limits)
		default:
			u.Learn(hour(at, 60), limits)
		}
	}
	r := &u.Feed("pas").Rhythm
	midnight := time.Date(2026, 5, 5, 0, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		name     string
		from, to time.Time
		holiday  func(time.Time) bool
		want     float64
	}{
		{"a holiday", monday, monday.Add(2 * time.Hour), holiday, 12},
		{"a Monday", monday.AddDate(0, 0, 7), monday.AddDate(0, 0, 7).Add(2 * time.Hour), holiday, 120},
		{"over its end", midnight.Add(-time.Hour), midnight.Add(30 * time.Minute), holiday, 6 + 30},
		{"where there are no holidays", monday, monday.Add(time.Hour), nil, 60},
	} {
		if got, known := r.Expected(tt.from, tt.to, tt.holiday); !known || got != tt.want {
			t.Errorf("%s: got %.1f, known %t, want %.1f", tt.name, got, known, tt.want)
		}
	}
	h := safeguard.Heartbeat{State: safeguard.Working, Started: monday.AddDate(0, 0, -28), Feeds: []safeguard.FeedHealth{{Name: "pas", LastMessage: monday.Add(-time.Hour)}}}
	quiet := func(w safeguard.Warning) bool { return w.Code == safeguard.FeedQuiet }
	if slices.ContainsFunc(h.Check(monday, limits, &u), quiet) {
		t.Error("a feed is quiet on a bank holiday, as it would be on a Sunday")
	}
	limits.Holiday = nil
	if !slices.ContainsFunc(h.Check(monday, limits, &u), quiet) {
		t.Error("a feed is not quiet on a Monday on which 60 messages did not come")
	}
}

func TestShareRising(t *testing.T) {
	var learnt safeguard.Share
	for range 50 {
		learnt.Learn(4, 40) // a tenth
	}
	for _, c := range []struct {
		name        string
		share       safeguard.Share
		part, whole int
		want        bool
	}{
		{"as usual", learnt, 10, 100, false},
		{"a little more", learnt, 15, 100, false},
		{"twice as much, and more than chance", learnt, 25, 100, true},
		{"twice as much, of few", learnt, 4, 20, false},
		{"all of few", learnt, 20, 20, true},
		{"of too few", learnt, 5, 5, false},
		{"nothing learnt, below the floor", safeguard.Share{}, 4, 100, false},
		{"nothing learnt, above the floor", safeguard.Share{}, 6, 100, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.share.Rising(c.part, c.whole, 20, 0.05); got != c.want {
				t.Errorf("got %t of %d of %d, usual %.2f", got, c.part, c.whole, c.share.Mean)
			}
		})
	}
}

func TestWatch(t *testing.T) {
	var w safeguard.Watch
	now := monday
	down := []safeguard.Warning{{Code: safeguard.SinkDown, Part: "epr"}} // a grace of two minutes
	step := func(name string, later time.Duration, found []safeguard.Warning, want int) []safeguard.Warning {
		t.Helper()
		now = now.Add(later)
		open := w.Open(now, found)
		if len(open) != want {
			t.Errorf("%s: got %v, want %d", name, open, want)
		}
		return open
	}
	step("it begins", 0, down, 0)
	step("within its grace", time.Minute, down, 0)
	step("it was well again within its grace", 10*time.Second, nil, 0)
	step("it begins anew", 0, down, 0)
	step("within its grace again", 119*time.Second, down, 0)
	open := step("for longer than its grace", time.Second, down, 1)
	if len(open) == 1 && !open[0].Since.Equal(now.Add(-2*time.Minute)) {
		t.Errorf("got since %v, want when it began", open[0].Since)
	}
	step("it comes and goes", 30*time.Second, nil, 1)
	step("and is the same", 20*time.Second, down, 1)
	step("it is well", 59*time.Second, nil, 1)
	step("for a minute", time.Second, nil, 0)
	step("what began long ago is open at once", 0, []safeguard.Warning{{Code: safeguard.SinkDown, Part: "epr", Since: now.Add(-time.Hour)}}, 1)
}

// Another process goes on with what one has opened.
func TestWatchResumes(t *testing.T) {
	var w safeguard.Watch
	open := []safeguard.Warning{{Code: safeguard.SinkDown, Part: "epr", Since: monday.Add(-time.Minute)}}
	w.Resume(monday, open)
	if got := w.Open(monday, nil); len(got) != 1 || !got[0].Since.Equal(open[0].Since) {
		t.Errorf("got %v, want what was open", got)
	}
	w.Resume(monday.Add(50*time.Second), open)
	if got := w.Open(monday.Add(time.Minute), nil); len(got) != 0 {
		t.Errorf("got %v, want it closed after a minute", got)
	}
}

func TestPeriodsAsOne(t *testing.T) {
	a := safeguard.Period{Start: monday, Length: time.Hour, State: safeguard.Working, Waiting: 3, Delivered: 2, Begun: 5, Feeds: []safeguard.FeedPeriod{{Name: "pas", Messages: 10, Errors: 1}}}
	b := safeguard.Period{Start: monday.Add(5 * time.Minute), State: safeguard.Failing, Severity: safeguard.Critical, Waiting: 9, Delivered: 1, Begun: 1, Feeds: []safeguard.FeedPeriod{{Name: "adt", Messages: 7}, {Name: "pas", Messages: 1, Errors: 1}}}
	got := a.With(b)
	want := safeguard.Period{Start: monday, Length: time.Hour, State: safeguard.Failing, Severity: safeguard.Critical, Waiting: 9, Delivered: 3, Begun: 6, Feeds: []safeguard.FeedPeriod{{Name: "adt", Messages: 7}, {Name: "pas", Messages: 11, Errors: 2}}}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if a.Feeds[0].Messages != 10 {
		t.Error("the first was changed")
	}
}
