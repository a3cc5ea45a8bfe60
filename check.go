package safeguard

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Limits are from where on something is wrong with an agent.
type Limits struct {
	QuietFloor    time.Duration // a feed is never quiet before
	QuietUnlearnt time.Duration // a feed is quiet after, where it is not known what is usual
	QuietExpected float64       // messages that usually come in the time, for a feed to be quiet
	ErrorShare    float64       // of a feed's messages of the last hour; at least
	Depth         int           // messages that wait
	Age           time.Duration // of the oldest of them
	Undelivered   time.Duration // since when the oldest alert waits for a sink
	Owed          time.Duration // since when the oldest lookup is owed
	NotCompleted  float64       // share of the attendances of the last hours; at least
	NoNumber      float64       // the same
	Least         int           // attendances, or messages, of which a share says anything
	CacheAge      time.Duration // of the newest answer kept
	Certificate   time.Duration // that is left of it
	Clock         time.Duration // either way
	DiskTimes     float64       // free, against what stops intake
	Sync          time.Duration // of one small write
	Corrected     bool          // the report's times are by the centre's clock already

	// Holiday tells of the days on which as little comes as on a Sunday, in the
	// hospital's time zone; nil for none.
	Holiday func(time.Time) bool
}

// DefaultLimits are those of a hospital with an emergency department.
func DefaultLimits() Limits {
	return Limits{
		QuietFloor: 15 * time.Minute, QuietUnlearnt: 12 * time.Hour, QuietExpected: 12,
		ErrorShare: 0.02,
		Depth:      500, Age: 2 * time.Minute,
		Undelivered:  2 * time.Minute,
		Owed:         30 * time.Minute,
		NotCompleted: 0.1, NoNumber: 0.15, Least: 20,
		CacheAge:    12 * time.Hour,
		Certificate: 14 * 24 * time.Hour,
		Clock:       30 * time.Second,
		DiskTimes:   2,
		Sync:        500 * time.Millisecond,
	}
}

// Usual is what has been learnt of one agent.
type Usual struct {
	Feeds        map[string]*FeedUsual `json:"feeds,omitempty"`
	NotCompleted Share                 `json:"not_completed"`
	NoNumber     Share                 `json:"no_number"`
}

// FeedUsual is what has been learnt of one feed.
type FeedUsual struct {
	Rhythm Rhythm    `json:"rhythm"`
	Errors Share     `json:"errors"`
	Last   time.Time `json:"last,omitzero"` // message, that is known of; outlives a restart of the agent
}

// Feed is what is known of the named feed; it is there from then on.
func (u *Usual) Feed(name string) *FeedUsual {
	if u.Feeds == nil {
		u.Feeds = map[string]*FeedUsual{}
	}
	f := u.Feeds[name]
	if f == nil {
		f = &FeedUsual{}
		u.Feeds[name] = f
	}
	return f
}

// Learn takes up an hour that is over. Its start should be in the hospital's
// time zone.
func (u *Usual) Learn(hour Period, l Limits) {
	if l.Holiday != nil && l.Holiday(hour.Start) {
		return // it is not what is usual on this day of the week
	}
	for _, f := range hour.Feeds {
		known := u.Feed(f.Name)
		if hour.Start.Before(known.Rhythm.Until) {
			continue
		}
		known.Rhythm.Learn(hour.Start, f.Messages)
		known.Errors.Learn(f.Errors, max(f.Messages, f.Errors))
	}
	u.NotCompleted.Learn(hour.NotCompleted, hour.Begun)
	u.NoNumber.Learn(hour.NoNumber, hour.Begun)
}

// Check gives what is wrong with an agent by its own report, whether or not its
// grace is over. Since is when that began, where the report tells; else zero. now
// is by the clock of the report, in the hospital's time zone. A warning that
// follows from another is left out.
func (h Heartbeat) Check(now time.Time, l Limits, u *Usual) []Warning {
	c := checking{now: now}
	intake := h.Journal.Stopped == ""
	c.when(!h.Centre.Since.IsZero(), CentreAway, "", h.Centre.Since, "")
	c.when(!intake, IntakeStopped, "", h.Journal.Since, "%s", h.Journal.Stopped)
	for _, f := range h.Feeds {
		c.when(f.Fault != "", FeedDown, f.Name, time.Time{}, "%s", f.Fault)
		if intake && f.Fault == "" { // else what does not come is held back, or follows from that
			c.quiet(h, f, l, u)
		}
		c.when(u.Feed(f.Name).Errors.Rising(f.HourErrors, max(f.LastHour, f.HourErrors), l.Least, l.ErrorShare),
			FeedErrors, f.Name, time.Time{}, "%d of %d in the last hour", f.HourErrors, max(f.LastHour, f.HourErrors))
	}
	waiting := h.Journal.Waiting
	old := waiting.Age(now) > l.Age
	c.when(old, JournalOld, "", waiting.Oldest.Add(l.Age), "%d waiting, the oldest for %s", waiting.Length, InWords(waiting.Age(now)))
	c.when(!old && waiting.Length > l.Depth, JournalDeep, "", time.Time{}, "%d waiting", waiting.Length)
	c.when(h.Journal.SetAside > 0, SetAsideWaiting, "", time.Time{}, "%d", h.Journal.SetAside)
	for _, s := range h.Sinks {
		down := !s.DownSince.IsZero()
		c.when(down, SinkDown, s.Name, s.DownSince, "%s, %d waiting", cmp.Or(s.Error, "no answer"), s.Waiting.Length)
		c.when(!down && s.Live && s.Waiting.Age(now) > l.Undelivered, AlertsUndelivered, s.Name, s.Waiting.Oldest.Add(l.Undelivered),
			"%d waiting, the oldest for %s", s.Waiting.Length, InWords(s.Waiting.Age(now)))
		c.when(!s.Live, SinkObserving, s.Name, time.Time{}, "")
	}
	if h.Centre.Since.IsZero() { // else they are owed because of that
		c.when(h.Lookups.Age(now) > l.Owed, LookupsOwed, "", h.Lookups.Oldest.Add(l.Owed), "%d owed, the oldest for %s", h.Lookups.Length, InWords(h.Lookups.Age(now)))
		c.when(h.Corrections.Age(now) > l.Owed, LookupsOwed, "corrections", h.Corrections.Oldest.Add(l.Owed), "%d corrections owed, the oldest for %s", h.Corrections.Length, InWords(h.Corrections.Age(now)))
		a := h.Attendances
		c.when(u.NotCompleted.Rising(a.NotCompleted, a.Begun, l.Least, l.NotCompleted), ChecksNotCompleted, "", time.Time{}, "%d of %d in %s", a.NotCompleted, a.Begun, InWords(a.Window))
	}
	a := h.Attendances
	c.when(u.NoNumber.Rising(a.NoNumber, a.Begun, l.Least, l.NoNumber), NumbersMissing, "", time.Time{}, "%d of %d in %s", a.NoNumber, a.Begun, InWords(a.Window))
	unavailable := h.Cache.State == CacheAway || h.Cache.State == CacheReadOnly
	c.when(unavailable, CacheUnavailable, "", time.Time{}, "%s", h.Cache.State)
	c.when(!unavailable && h.Cache.Entries > 0 && age(now, h.Cache.Newest) > l.CacheAge, CacheAgeing, "", h.Cache.Newest.Add(l.CacheAge), "the newest is %s old", InWords(age(now, h.Cache.Newest)))
	c.certificate(h, l)
	off := max(h.Clock.Offset, -h.Clock.Offset) - h.Clock.Within
	c.when(!h.Clock.Measured.IsZero() && off > l.Clock, ClockOff, "", time.Time{}, "%s %s", InWords(h.Clock.Offset.Abs()), behind(h.Clock.Offset))
	c.when(h.Disk.Floor > 0 && float64(h.Disk.Free) < l.DiskTimes*float64(h.Disk.Floor), DiskLow, "", time.Time{}, "%d MB free, intake stops below %d MB", h.Disk.Free>>20, h.Disk.Floor>>20)
	failing := h.failing()
	c.when(len(failing) > 0, CheckFails, "", time.Time{}, "%s", strings.Join(failing, ", "))
	c.when(h.Disk.Sync > l.Sync, DiskSlow, "", time.Time{}, "a small write takes %s", InWords(h.Disk.Sync))
	return c.found
}

// failing are the checks that fail, but for those of what has a warning of its own.
func (h Heartbeat) failing() []string {
	told := map[string]bool{"disk space": true, "disk sync": true, "clock": true, "certificate": true}
	for _, f := range h.Feeds {
		told["feed "+f.Name] = f.Fault != "" || !f.HeldSince.IsZero()
	}
	for _, s := range h.Sinks {
		told["sink "+s.Name] = !s.DownSince.IsZero()
	}
	away := !h.Centre.Since.IsZero()
	return slices.DeleteFunc(slices.Clone(h.Failing), func(check string) bool {
		return told[check] || away && (strings.HasPrefix(check, "central ") || strings.HasPrefix(check, "round trip"))
	})
}

// The states of a cache.
const (
	CacheOff      = "off"
	CacheReady    = "ready"
	CacheReadOnly = "read-only"
	CacheAway     = "unavailable"
)

// checking gathers what is found.
type checking struct {
	now   time.Time
	found []Warning
}

func (c *checking) when(wrong bool, code WarningCode, part string, since time.Time, detail string, values ...any) {
	if wrong {
		c.found = append(c.found, Warning{Code: code, Part: part, Since: since, Detail: fmt.Sprintf(detail, values...)})
	}
}

// quiet is of a feed that has not brought anything for too long.
func (c *checking) quiet(h Heartbeat, f FeedHealth, l Limits, u *Usual) {
	known := u.Feed(f.Name)
	last := f.LastMessage
	if last.IsZero() {
		last = known.Last // before the restart
	}
	if last.IsZero() {
		last = h.Started
	}
	last = last.In(c.now.Location())
	silent := c.now.Sub(last)
	if silent < l.QuietFloor {
		return
	}
	expected, learnt := known.Rhythm.Expected(last, c.now, l.Holiday)
	if learnt {
		c.when(expected >= l.QuietExpected, FeedQuiet, f.Name, time.Time{}, "nothing for %s, in which %.0f messages usually come", InWords(silent), expected)
		return
	}
	c.when(silent >= l.QuietUnlearnt, FeedQuiet, f.Name, time.Time{}, "nothing for %s", InWords(silent))
}

// certificate is of one that has ended or soon does. One of a short life is
// looked at in the last sixth of it.
func (c *checking) certificate(h Heartbeat, l Limits) {
	until := h.Certificate.Until
	if until.IsZero() {
		return
	}
	now := c.now
	if !h.Clock.Measured.IsZero() && !l.Corrected {
		now = now.Add(h.Clock.Offset) // the centre's clock decides
	}
	left, due := until.Sub(now), min(l.Certificate, until.Sub(h.Certificate.From)/6)
	c.when(left <= 0, CertificateEnded, "", until, "%s ago", InWords(max(-left, time.Second)))
	c.when(left > 0 && left < due, CertificateEnding, "", until.Add(-due), "in %s", InWords(left))
}

func behind(offset time.Duration) string {
	if offset > 0 {
		return "behind"
	}
	return "ahead"
}

// Watch lets a warning be open once it has been wrong for its grace, and closed
// once it has not been for a while. It is for one agent, or whatever else has
// warnings.
type Watch struct {
	seen map[watched]*watching
}

type watched struct {
	code WarningCode
	part string
}

type watching struct {
	since, last time.Time
	opened      bool
	warning     Warning
}

// Resume takes up what is open already, as far as the watch does not know of it.
func (w *Watch) Resume(now time.Time, open []Warning) {
	if w.seen == nil {
		w.seen = map[watched]*watching{}
	}
	for _, o := range open {
		key := watched{o.Code, o.Part}
		if w.seen[key] == nil {
			w.seen[key] = &watching{since: o.Since, last: now, opened: true, warning: o}
		}
	}
}

// settles is how long something must have been well for its warning to close, so
// that what comes and goes is one warning.
const settles = time.Minute

// Open takes up what is wrong now, and gives what is open.
func (w *Watch) Open(now time.Time, found []Warning) (open []Warning) {
	if w.seen == nil {
		w.seen = map[watched]*watching{}
	}
	for _, f := range found {
		key := watched{f.Code, f.Part}
		s := w.seen[key]
		if s == nil {
			s = &watching{since: now}
			w.seen[key] = s
		}
		if !f.Since.IsZero() && f.Since.Before(s.since) {
			s.since = f.Since
		}
		s.last, s.warning = now, f
		s.warning.Since = s.since
	}
	for key, s := range w.seen {
		s.opened = s.opened || now.Sub(s.since) >= key.code.Declared().Grace
		switch {
		case now.Sub(s.last) >= settles, s.last != now && !s.opened:
			delete(w.seen, key)
		case s.opened:
			open = append(open, s.warning)
		}
	}
	SortWarnings(open)
	return open
}
