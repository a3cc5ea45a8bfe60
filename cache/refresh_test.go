package cache

import (
	"bytes"
	"os"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard"
)

func asks(t *testing.T, who, visit string) safeguard.Query {
	organisation, err := safeguard.ParseODSCode("RX1")
	must(t, err)
	site, err := safeguard.ParseODSCode("RX101")
	must(t, err)
	return safeguard.Query{
		Number:  number(t, who),
		Born:    safeguard.Hide(safeguard.Date{Year: 2019, Month: 5, Day: 6}),
		Purpose: safeguard.Unscheduled,
		Author: safeguard.Author{Device: "agent one", Organisation: organisation, Site: site, Setting: safeguard.EmergencyDepartment,
			Accountable: safeguard.Accountable{Name: "Dr A Example", Role: "Named doctor"}},
		Attendance: safeguard.NewAttendanceID(organisation, visit),
		At:         then,
		Sensitive:  true,
	}
}

func TestOutdatedAnswer(t *testing.T) {
	h := newHome(t)
	c := h.open(t)
	flagged, clear := asks(t, someone, "visit 1"), asks(t, another, "visit 2")
	must(t, c.PutFor(t.Context(), flagged, held(then)))
	must(t, c.PutFor(t.Context(), clear, none(then)))
	soon := then.Add(time.Minute)

	if q, ok, err := c.Outdate(number(t, another), soon); !ok || err != nil || q.Attendance != clear.Attendance {
		t.Errorf("none held: to be asked again %v, %v", ok, err)
	}
	wantUnknown(t, c, number(t, another), soon)
	must(t, c.PutFor(t.Context(), clear, none(soon)))
	wantGiven(t, c, number(t, another), soon, none(soon))
	q, ok, err := c.Outdate(number(t, someone), soon)
	if !ok || err != nil {
		t.Fatalf("held: to be asked again %v, %v", ok, err)
	}
	wantGiven(t, c, number(t, someone), soon, held(then))
	if c.Fresh(number(t, someone), soon) {
		t.Error("fresh though it is outdated")
	}
	for range 2 {
		due := c.Due(soon, func(safeguard.AttendanceID) bool { return true }, 10)
		if len(due) != 1 || due[0] != q {
			t.Errorf("due %v, want the outdated one", due)
		}
		must(t, c.Close())
		c = h.open(t)
	}
	want := flagged
	want.Purpose = safeguard.Refresh
	if q.Number != want.Number || q.Born != want.Born || q.Purpose != want.Purpose || q.Author != want.Author ||
		q.Attendance != want.Attendance || q.At.Sub(want.At).Abs() > time.Millisecond || q.Sensitive != want.Sensitive {
		t.Errorf("to be asked again as %+v, want as before, for refresh", q)
	}
	must(t, c.PutFor(t.Context(), q, held(soon)))
	if due := c.Due(soon, func(safeguard.AttendanceID) bool { return true }, 10); len(due) != 0 || !c.Fresh(number(t, someone), soon) {
		t.Errorf("due %v after it was refreshed", due)
	}
	if _, ok, err := c.Outdate(number(t, another), soon); !ok || err != nil {
		t.Errorf("none held: %v, %v", ok, err)
	}
	q.Number, q.Attendance = clear.Number, clear.Attendance
	must(t, c.PutFor(t.Context(), q, held(soon.Add(time.Second)))) // a refresh renews what was outdated
	wantGiven(t, c, number(t, another), soon.Add(time.Second), held(soon.Add(time.Second)))
	c.Doubt(soon.Add(time.Minute))
	if due := c.Due(soon.Add(time.Minute), func(safeguard.AttendanceID) bool { return false }, 10); len(due) != 2 {
		t.Errorf("%d due when changes may have been missed, want both", len(due))
	}
	if _, ok, err := c.Outdate(number(t, "999 000 0034"), soon); ok || err != nil {
		t.Errorf("nobody kept: %v, %v", ok, err)
	}
}

func TestDueAreHeldAnswersAndThoseOfOpenAttendances(t *testing.T) {
	c := newHome(t).open(t)
	flagged, open, ended := asks(t, someone, "visit 1"), asks(t, another, "visit 2"), asks(t, "999 000 0034", "visit 3")
	must(t, c.PutFor(t.Context(), open, none(then)))
	must(t, c.PutFor(t.Context(), ended, none(then.Add(time.Second))))
	must(t, c.PutFor(t.Context(), flagged, held(then.Add(2*time.Second))))
	isOpen := func(id safeguard.AttendanceID) bool { return id == open.Attendance }
	for _, tt := range []struct {
		after time.Duration
		limit int
		want  []safeguard.NHSNumber
	}{
		{time.Hour, 10, nil},
		{7 * time.Hour, 10, []safeguard.NHSNumber{open.Number}},
		{23*time.Hour + 30*time.Minute, 10, []safeguard.NHSNumber{open.Number}},
		{25 * time.Hour, 10, []safeguard.NHSNumber{flagged.Number}}, // the other is of no use any more
	} {
		due := c.Due(then.Add(tt.after), isOpen, tt.limit)
		if len(due) != len(tt.want) || len(due) > 0 && due[0].Number != tt.want[0] {
			t.Errorf("after %v: %d due, want %d", tt.after, len(due), len(tt.want))
		}
	}
}

func TestWhatTheCentreLetsASiteKeep(t *testing.T) {
	h := newHome(t)
	c := h.open(t)
	q := asks(t, someone, "visit 1")
	site, other := q.Author.Site, asks(t, someone, "visit 2")
	other.Author.Site = q.Author.Organisation
	hours := func(fresh, usable int) Ages {
		return Ages{Fresh: time.Duration(fresh) * time.Hour, Usable: time.Duration(usable) * time.Hour}
	}
	usable := func(q safeguard.Query, after time.Duration, want bool) {
		t.Helper()
		if _, ok := c.GetFor(q, then.Add(after)); ok != want {
			t.Errorf("after %v usable %v, want %v", after, ok, want)
		}
	}
	must(t, c.PutFor(t.Context(), q, held(then)))
	must(t, c.Adopt(site, safeguard.CachePolicy{Held: hours(1, 48), None: hours(1, 2)}))
	usable(q, 47*time.Hour, true)
	usable(q, 49*time.Hour, false)
	usable(other, 49*time.Hour, true)
	if err := c.Adopt(site, safeguard.CachePolicy{Held: hours(1, 10000), None: hours(1, 2)}); err == nil {
		t.Error("took up an age beyond all bounds")
	}
	usable(q, 49*time.Hour, false)

	must(t, c.Adopt(site, safeguard.CachePolicy{Off: true}))
	must(t, c.Adopt(other.Author.Site, safeguard.DefaultCachePolicy))
	must(t, c.PutFor(t.Context(), other, held(then)))
	usable(q, time.Hour, false)
	usable(other, time.Hour, true)
	must(t, c.Adopt(other.Author.Site, safeguard.CachePolicy{Off: true}))
	usable(other, time.Hour, false)
	if got := c.Stats(); got.State != Off {
		t.Errorf("state %v, want off: no site may keep anything", got.State)
	}
	must(t, c.PutFor(t.Context(), other, held(then)))
	for _, path := range files(t, h.dir()) {
		body, err := os.ReadFile(path)
		must(t, err)
		if len(body) > 0 && !bytes.Contains([]byte(path), []byte("lock")) {
			t.Errorf("%s is left of a cache that is off", path)
		}
	}
	must(t, c.Adopt(site, safeguard.DefaultCachePolicy))
	must(t, c.PutFor(t.Context(), q, held(then)))
	usable(q, time.Hour, true)
}

func TestCentreDoesNotTurnOnWhatTheSiteHasNotAgreedTo(t *testing.T) {
	h := newHome(t)
	ring, err := h.ring()
	must(t, err)
	c, err := Open(h.dir(), ring, DefaultPolicy())
	must(t, err)
	q := asks(t, someone, "visit 1")
	must(t, c.Adopt(q.Author.Site, safeguard.DefaultCachePolicy))
	must(t, c.PutFor(t.Context(), q, held(then)))
	wantUnknown(t, c, q.Number, then)
	if got := c.Stats(); got.State != Off {
		t.Errorf("state %v, want off without an agreement", got.State)
	}
	must(t, c.Close())
}
