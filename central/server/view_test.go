package server_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/audit"
	"github.com/safeguard-edge/safeguard/central/server"
	"github.com/safeguard-edge/safeguard/central/store"
)

func view(n safeguard.NHSNumber, notify bool) server.View {
	return server.View{
		Number: n, Born: born.Reveal(), Organisation: trust, Site: infirmary, Setting: safeguard.EmergencyDepartment, Notify: notify,
		By:     audit.Who{Caller: "staff 1 by https://id.example", Device: "192.0.2.7", Name: "Sister A Example", Role: "Nurse"},
		Reason: "I am assessing or treating this person",
	}
}

var glass = &server.BrokenGlass{By: store.StaffMember{Subject: "1", Name: "Sister A Example"}, Words: safeguard.Hide("The sister told me of bruises.")}

func (c *centre) view(v server.View) server.Viewed {
	c.Helper()
	out, err := c.server.View(c.Context(), v, time.Now())
	if err != nil {
		c.Fatal(err)
	}
	return out
}

func (c *centre) accesses(n safeguard.NHSNumber) []store.Access {
	c.Helper()
	list, err := c.store.Accesses(c.Context(), n, 25)
	if err != nil {
		c.Fatal(err)
	}
	return list
}

func TestViewShowsWhatTheAlertShows(t *testing.T) {
	c := start(t)
	c.upload(middlesbrough, row(alice, safeguard.ChildProtection, ago(0, 3, 0), safeguard.Date{}))
	c.upload(sheffield, row(alice, safeguard.LookedAfter, ago(2, 0, 0), ago(0, 2, 0)))
	answer := c.lookup(query(alice, "visit 1"))
	got := c.view(view(alice, true))
	if got.Answer.Status != safeguard.Held || len(got.Answer.Flags) != 2 || got.Answer.Flags[0] != answer.Flags[0] || got.Answer.Flags[1] != answer.Flags[1] {
		t.Errorf("shown %+v, want what the lookup was answered: %+v", got.Answer.Flags, answer.Flags)
	}
	if !got.Notified || got.BreakGlass || got.Attended.IsZero() || len(got.Answer.Data) != 2 {
		t.Errorf("got %+v, want it notified, by right of the attendance, with the age of both authorities' data", got)
	}
	if h := got.Answer.History; len(h) != 1 || h[0].Accountable.Name != "Dr A Example" || h[0].Viewed || h[0].SiteName != "Example Infirmary" {
		t.Errorf("history %+v, want the lookup, and not the view itself", h)
	}
}

// One attendance is one notification; a look by hand is one more, told from it, and
// it stays one however often the same person looks.
func TestViewNotifiesOncePerViewerAndAttendance(t *testing.T) {
	c := start(t)
	c.upload(middlesbrough, row(alice, safeguard.ChildProtection, ago(0, 3, 0), safeguard.Date{}))
	c.lookup(query(alice, "visit 1"))
	c.view(view(alice, true))
	again := c.view(view(alice, true))
	if !again.Notified || len(again.Answer.History) != 1 {
		t.Errorf("looked again: %+v, want it notified, and in the history but once", again)
	}
	list := c.waiting(middlesbrough)
	if len(list) != 2 || list[0].Viewed || !list[1].Viewed || list[1].Accountable.Name != "Sister A Example" || list[1].Accountable.Role != "Nurse" || list[1].Late {
		t.Fatalf("notifications %+v, want the attendance's and the view's", list)
	}
	other := view(alice, true)
	other.By.Caller, other.By.Name = "staff 2 by https://id.example", "Dr B Example"
	if got := c.view(other); len(got.Answer.History) != 2 || !got.Answer.History[0].Viewed {
		t.Errorf("history %+v, want the view of the first with the attendance", got.Answer.History)
	}
	if list := c.waiting(middlesbrough); len(list) != 3 {
		t.Errorf("%d notifications, want one more for another viewer", len(list))
	}
}

func TestSilentViewNotifiesNobody(t *testing.T) {
	c := start(t)
	c.upload(middlesbrough, row(alice, safeguard.ChildProtection, ago(0, 3, 0), safeguard.Date{}))
	q := query(alice, "clinic 1")
	q.Purpose = safeguard.Scheduled
	c.lookup(q)
	if got := c.view(view(alice, false)); got.Answer.Status != safeguard.Held || got.Notified || got.BreakGlass {
		t.Errorf("got %+v, want it held, by right of the appointment, with nobody notified", got)
	}
	if len(c.waiting(middlesbrough)) != 0 || len(c.accesses(alice)) != 0 {
		t.Error("somebody was notified, or the history has it")
	}
}

// Whatever is wrong or missing is answered alike, and nothing but the audit has it.
func TestNothingFoundIsOneAnswer(t *testing.T) {
	wrongBorn := func(v *server.View) { v.Born = ago(9, 0, 1) }
	for _, tt := range []struct {
		name   string
		attend bool
		change func(*server.View)
	}{
		{"nobody of that number", false, func(v *server.View) { v.Number = bob }},
		{"another date of birth", true, wrongBorn},
		{"another date of birth, of one who is not there", false, wrongBorn},
		{"a number without a plan, of one who is there", true, func(v *server.View) { v.Number = bob }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := start(t)
			c.upload(middlesbrough, row(alice, safeguard.ChildProtection, ago(0, 3, 0), safeguard.Date{}))
			if tt.attend {
				c.lookup(query(alice, "visit 1"))
				if tt.name == "a number without a plan, of one who is there" {
					c.lookup(query(bob, "visit 2"))
				}
			}
			before, notified := len(c.accesses(alice))+len(c.accesses(bob)), len(c.waiting(middlesbrough))
			v := view(alice, true)
			tt.change(&v)
			v.Glass, v.Once = glass, "one"
			got := c.view(v)
			if got.Answer.Status != safeguard.Unknown || len(got.Answer.Flags)+len(got.Answer.History)+len(got.Answer.Data) != 0 || got.Notified {
				t.Errorf("got %+v, want nothing", got)
			}
			if len(c.accesses(alice))+len(c.accesses(bob)) != before || len(c.waiting(middlesbrough)) != notified {
				t.Error("it was recorded as an access, or notified")
			}
		})
	}
}

func TestBreakGlass(t *testing.T) {
	c := start(t)
	c.upload(middlesbrough, row(alice, safeguard.ChildProtection, ago(0, 3, 0), safeguard.Date{}))
	old := query(alice, "visit 1")
	old.At = time.Now().Add(-73 * time.Hour)
	c.lookup(old)
	v := view(alice, true)
	if _, err := c.server.View(t.Context(), v, time.Now()); !errors.Is(err, server.ErrNotAttended) {
		t.Fatalf("the last attendance was 73 hours ago: %v, want that it does not count", err)
	}
	if list := c.waiting(middlesbrough); len(list) != 1 {
		t.Errorf("%d notifications, want none for what was refused", len(list)-1)
	}
	v.Glass, v.Once = glass, "one"
	for range 2 { // sent twice
		if got := c.view(v); !got.BreakGlass || !got.Notified || got.Answer.Status != safeguard.Held {
			t.Errorf("got %+v, want it held, by break-glass, and notified", got)
		}
	}
	if list := c.waiting(middlesbrough); len(list) != 2 || !list[1].Viewed {
		t.Errorf("notifications %+v, want one of the view", list)
	}
	list, err := c.store.BreakGlasses(t.Context(), trust, false, 10)
	if err != nil || len(list) != 1 || list[0].Number != alice || list[0].Words != glass.Words || list[0].Answer != "held" || !list[0].Notified || list[0].Why != v.Reason {
		t.Errorf("the privacy officer's list %+v, %v, want it once, with the reason", list, err)
	}
	// A name that is used again, for somebody else or later, hides no view.
	other := v
	other.Number = bob
	c.view(other)
	if _, err := c.server.View(t.Context(), v, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if list, err := c.store.BreakGlasses(t.Context(), trust, false, 10); err != nil || len(list) != 3 {
		t.Errorf("%d on the list, %v, want each view", len(list), err)
	}
	nobody := view(bob, false)
	nobody.Glass, nobody.Once = glass, "two"
	c.view(nobody)
	if list, err := c.store.BreakGlasses(t.Context(), trust, false, 10); err != nil || len(list) != 4 || list[3].Answer == "held" {
		t.Errorf("list %+v, %v, want also the view that found nothing", list, err)
	}
}

func TestViewRefusals(t *testing.T) {
	c := start(t, production)
	c.site(func(s *store.Site) { s.Stage = store.Testing })
	real := number("9434765919")
	for _, tt := range []struct {
		name   string
		change func(*server.View)
		want   string
	}{
		{"a site of another organisation", func(v *server.View) { v.Site = code("RX2RA") }, "does not take part under organisation RX1"},
		{"a site that is only invited", func(v *server.View) { v.Site = code("RX1RC") }, "does not take part"},
		{"a care setting that the site has not", func(v *server.View) { v.Setting = safeguard.PaediatricWard }, "care setting paediatric-ward"},
		{"a real number at a site that tests", func(v *server.View) { v.Number = real }, "test numbers (999) only"},
		{"a test number as an access at a live centre", func(v *server.View) { v.Site, v.Setting = code("RX1RB"), safeguard.WalkInCentre }, "999 000 0018"},
		{"somebody who has not attended", func(v *server.View) { v.Notify = false }, "no attendance"},
		{"somebody who attended at another organisation", func(v *server.View) {
			v.Number, v.Organisation, v.Site = real, code("RX2"), code("RX2RA")
		}, "no attendance"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := view(alice, true)
			tt.change(&v)
			out, err := c.server.View(t.Context(), v, time.Now())
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), v.Number.Reveal()) || out.Answer.Status != safeguard.Unknown {
				t.Errorf("got %+v, %v, want a refusal that says %q and no number", out, err, tt.want)
			}
		})
	}
}

func TestViewFromASiteThatObserves(t *testing.T) {
	c := start(t)
	c.upload(middlesbrough, row(alice, safeguard.ChildProtection, ago(0, 3, 0), safeguard.Date{}))
	c.site(func(s *store.Site) { s.Stage = store.Observing })
	c.lookup(query(alice, "visit 1"))
	v := view(alice, true)
	if c.server.Notifies(v) {
		t.Error("it is said to notify")
	}
	if got := c.view(v); got.Notified || got.Answer.Status != safeguard.Held || len(c.waiting(middlesbrough)) != 0 {
		t.Errorf("got %+v, want it held, with nobody notified", got)
	}
}

// The test patient can be looked at by everybody, to try the page, and leaves
// nothing behind.
func TestViewOfTheTestPatient(t *testing.T) {
	c := start(t, production)
	v := view(safeguard.TestPatient, true)
	v.Born = ago(30, 0, 0)
	if got := c.view(v); !got.Test || got.Notified || got.BreakGlass || got.Answer.Status != safeguard.Held || c.server.Notifies(v) {
		t.Errorf("got %+v, want a test that says so", got)
	}
	if len(c.accesses(safeguard.TestPatient)) != 0 {
		t.Error("it is in the history")
	}
}

func TestSensitivePlacesStayHiddenInAView(t *testing.T) {
	c := start(t)
	c.upload(middlesbrough, row(alice, safeguard.ChildProtection, ago(0, 3, 0), safeguard.Date{}))
	hidden := query(alice, "visit 1")
	hidden.Sensitive, hidden.Author.Site, hidden.Author.Setting = true, code("RX1RB"), safeguard.WalkInCentre
	c.lookup(hidden)
	if h := c.view(view(alice, false)).Answer.History; len(h) != 1 || h[0].SiteName != "" || !h[0].Site.IsZero() || h[0].Accountable.Name != "" || !h[0].Sensitive {
		t.Errorf("history %+v, want neither place nor name", h)
	}
}
