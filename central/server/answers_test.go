package server_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/client"
	"github.com/safeguard-edge/safeguard/central/identity"
	"github.com/safeguard-edge/safeguard/central/server"
	"github.com/safeguard-edge/safeguard/central/store"
)

func correction(q safeguard.Query, reason safeguard.CorrectionReason) safeguard.Correction {
	return safeguard.Correction{Number: q.Number, Author: q.Author, Attendance: q.Attendance, Reason: reason, At: time.Now().Truncate(time.Millisecond)}
}

// A patient registered under another's number: the authority of the wrong person
// is told once that it was an error, the right person's is notified, also where it
// is the same, and nothing that is sent names both.
func TestNumberWasAnothers(t *testing.T) {
	c := start(t)
	c.upload(middlesbrough, row(alice, safeguard.ChildProtection, ago(0, 3, 0), safeguard.Date{}), row(bob, safeguard.LookedAfter, ago(0, 3, 0), safeguard.Date{}))
	wrong, right := query(alice, "visit 1"), query(bob, "visit 1")
	c.lookup(wrong)
	first := c.waiting(middlesbrough)[0]
	correct := correction(wrong, safeguard.OtherPerson)
	for _, want := range []safeguard.Corrected{safeguard.CorrectedNow, safeguard.CorrectedAlready} {
		if got, err := c.agent().Correct(t.Context(), correct); err != nil || got != want {
			t.Errorf("correct: %v, %v, want %v", got, err, want)
		}
	}
	c.lookup(right)
	c.lookup(wrong) // a repeat that was late

	list := c.waiting(middlesbrough)
	if len(list) != 3 {
		t.Fatalf("%d notifications, want the first, its correction and the right one's", len(list))
	}
	taken, other := list[1], list[2]
	if taken.Corrects != first.ID || taken.ID == first.ID || taken.Number != alice || taken.Reason != safeguard.OtherPerson ||
		!taken.CorrectedAt.Equal(correct.At) || taken.Attendance != wrong.Attendance || !taken.At.Equal(wrong.At) {
		t.Errorf("correction %+v of %+v", taken, first)
	}
	if other.Number != bob || other.Corrects != "" || other.ID == first.ID || other.ID == taken.ID {
		t.Errorf("the right person's: %+v", other)
	}
	for n, want := range map[safeguard.NHSNumber]int{alice: 0, bob: 1} {
		if accesses, err := c.store.Accesses(t.Context(), n, 25); err != nil || len(accesses) != want {
			t.Errorf("%d accesses shown, %v, want %d", len(accesses), err, want)
		}
	}
	if got := c.server.Counts(); got.Corrected != 1 || got.CorrectedAlready != 1 {
		t.Errorf("counts %+v", got)
	}
}

func TestNothingToCorrect(t *testing.T) {
	c := start(t)
	c.upload(middlesbrough, row(alice, safeguard.ChildProtection, ago(0, 3, 0), safeguard.Date{}))
	silent := query(alice, "visit 1")
	silent.Purpose = safeguard.Scheduled
	c.lookup(silent)
	for _, q := range []safeguard.Query{silent, query(alice, "visit 2"), query(bob, "visit 1"), query(safeguard.TestPatient, "visit 1")} {
		if got, err := c.agent().Correct(t.Context(), correction(q, safeguard.AttendanceCancelled)); err != nil || got != safeguard.NeverRecorded {
			t.Errorf("correct: %v, %v, want that it was never recorded", got, err)
		}
	}
	if got := c.waiting(middlesbrough); len(got) != 0 {
		t.Errorf("notifications %v, want none", got)
	}
	if got := c.server.Counts().NeverRecorded; got != 4 {
		t.Errorf("%d counted as never recorded, want 4", got)
	}
}

func TestCorrectionRefusals(t *testing.T) {
	c := start(t)
	c.upload(middlesbrough, row(alice, safeguard.ChildProtection, ago(0, 3, 0), safeguard.Date{}))
	c.lookup(query(alice, "visit 1"))
	agent := c.agent()
	for _, tt := range []struct {
		name   string
		caller *client.Client
		change func(*safeguard.Correction)
		reason string
	}{
		{"other organisation's certificate", c.dial(c.tls("agent-RX2", identity.Agent)), func(*safeguard.Correction) {}, "for organisation RX2, and the correction is for RX1"},
		{"local authority's certificate", c.authority(middlesbrough), func(*safeguard.Correction) {}, "kind agent"},
		{"no reason", agent, func(c *safeguard.Correction) { c.Reason = 0 }, "reason"},
		{"no time", agent, func(c *safeguard.Correction) { c.At = time.Time{} }, "corrected_at"},
		{"no device", agent, func(c *safeguard.Correction) { c.Author.Device = "" }, "author.device"},
		{"no attendance", agent, func(c *safeguard.Correction) { c.Attendance = safeguard.AttendanceID{} }, "attendance_id"},
		{"no number", agent, func(c *safeguard.Correction) { c.Number = safeguard.NHSNumber{} }, "nhs_number"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			correct := correction(query(alice, "visit 1"), safeguard.AttendanceCancelled)
			tt.change(&correct)
			_, err := tt.caller.Correct(t.Context(), correct)
			var refused *client.Refused
			if !errors.As(err, &refused) || !strings.Contains(refused.Reason, tt.reason) || strings.Contains(err.Error(), alice.Reveal()[4:]) {
				t.Errorf("error %v, want a refusal that says %q and no number", err, tt.reason)
			}
		})
	}
	if got := c.waiting(middlesbrough); len(got) != 1 {
		t.Errorf("%d notifications, want the one that was", len(got))
	}
}

// site changes the infirmary for the lookups that follow.
func (c *centre) site(change func(*store.Site)) {
	sites := c.sites()
	change(&sites[0])
	c.directory.Set(sites, []server.Authority{{Authority: middlesbrough, Stage: store.Live}, {Authority: sheffield, Stage: store.Live}})
}

func TestStages(t *testing.T) {
	for _, tt := range []struct {
		name     string
		stage    store.Stage
		declared bool
		refused  string
		notified int
	}{
		{"invited", store.Invited, false, "invited to take part", 0},
		{"testing", store.Testing, false, "", 0},
		{"observe", store.Observing, false, "", 0},
		{"observe, nobody else notifies", store.Observing, true, "", 1},
		{"live", store.Live, false, "", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := start(t)
			c.upload(middlesbrough, row(alice, safeguard.ChildProtection, ago(0, 3, 0), safeguard.Date{}))
			c.site(func(s *store.Site) { s.Stage, s.Policy.Declared = tt.stage, tt.declared })
			answer, err := c.agent().Lookup(t.Context(), query(alice, "visit 1"))
			if tt.refused != "" {
				if !errors.Is(err, safeguard.ErrRefused) || !strings.Contains(err.Error(), tt.refused) {
					t.Errorf("error %v, want a refusal that says %q", err, tt.refused)
				}
			} else if err != nil || answer.Status != safeguard.Held {
				t.Errorf("answer %v, %v, want held", answer.Status, err)
			}
			accesses, err := c.store.Accesses(t.Context(), alice, 25)
			if got := c.waiting(middlesbrough); err != nil || len(got) != tt.notified || len(accesses) != tt.notified {
				t.Errorf("%d notifications, %d accesses, want %d", len(got), len(accesses), tt.notified)
			}
		})
	}
	// On a live centre a site and an authority that test can try the whole way.
	t.Run("testing, on a live centre", func(t *testing.T) {
		c := start(t, production)
		sites := c.sites()
		sites[0].Stage = store.Testing
		c.directory.Set(sites, []server.Authority{{Authority: middlesbrough, Stage: store.Testing}, {Authority: sheffield, Stage: store.Live}})
		test, real := row(alice, safeguard.ChildProtection, ago(0, 3, 0), safeguard.Date{}), row(number("9434765919"), safeguard.ChildProtection, ago(0, 3, 0), safeguard.Date{})
		if report := c.upload(middlesbrough, test, real); report.Verdict != "CPF03" || report.Loaded != 1 || !strings.Contains(report.Verdicts[1].Sentence, "stage testing") {
			t.Errorf("report %+v, want the test number loaded only", report)
		}
		if report := c.upload(sheffield, test); report.Loaded != 0 {
			t.Errorf("a live authority's test number was loaded: %+v", report)
		}
		if got := c.lookup(query(alice, "visit 1")); got.Status != safeguard.Held {
			t.Errorf("answer %v, want held", got.Status)
		}
		if got := c.waiting(middlesbrough); len(got) != 0 {
			t.Errorf("%d notifications, want none", len(got))
		}
	})
	t.Run("testing, about a patient", func(t *testing.T) {
		c := start(t)
		c.site(func(s *store.Site) { s.Stage = store.Testing })
		_, err := c.agent().Lookup(t.Context(), query(number("9434765919"), "visit 1"))
		if !errors.Is(err, safeguard.ErrRefused) || !strings.Contains(err.Error(), "test numbers (999) only") {
			t.Errorf("error %v, want a refusal", err)
		}
	})
}

func TestCachePolicy(t *testing.T) {
	hours := func(fresh, usable time.Duration) safeguard.Ages {
		return safeguard.Ages{Fresh: fresh * time.Hour, Usable: usable * time.Hour}
	}
	for name, tt := range map[string]struct {
		site store.SitePolicy
		want safeguard.CachePolicy
	}{
		"the centre's default":      {store.SitePolicy{}, safeguard.DefaultCachePolicy},
		"off":                       {store.SitePolicy{NoCache: true, Held: hours(1, 2)}, safeguard.CachePolicy{Off: true}},
		"the site's":                {store.SitePolicy{Held: hours(1, 48), None: hours(2, 3)}, safeguard.CachePolicy{Held: hours(1, 48), None: hours(2, 3)}},
		"usable shorter than fresh": {store.SitePolicy{Held: hours(0, 10)}, safeguard.CachePolicy{Held: hours(10, 10), None: hours(6, 24)}},
	} {
		t.Run(name, func(t *testing.T) {
			c := start(t)
			c.site(func(s *store.Site) { s.Policy = tt.site })
			for _, n := range []safeguard.NHSNumber{alice, safeguard.TestPatient} {
				if answer := c.lookup(query(n, "visit 1")); answer.Policy == nil || *answer.Policy != tt.want {
					t.Errorf("policy %+v, want %+v", answer.Policy, tt.want)
				}
			}
		})
	}
}

func TestAgeOfData(t *testing.T) {
	c := start(t)
	now := time.Now().Truncate(time.Second)
	c.upload(middlesbrough, row(alice, safeguard.ChildProtection, ago(0, 3, 0), safeguard.Date{}))
	fresh, old := now.Add(-24*time.Hour), now.Add(-8*24*time.Hour)
	for name, tt := range map[string]struct {
		number   safeguard.NHSNumber
		uploaded map[safeguard.ODSCode]time.Time
		want     []string
	}{
		"held, all in time":   {alice, map[safeguard.ODSCode]time.Time{middlesbrough.Code: fresh, sheffield.Code: fresh}, []string{"806 24h0m0s false"}},
		"held, both overdue":  {alice, map[safeguard.ODSCode]time.Time{middlesbrough.Code: old, sheffield.Code: old}, []string{"806 192h0m0s true", "373 192h0m0s true"}},
		"none, all in time":   {bob, map[safeguard.ODSCode]time.Time{middlesbrough.Code: fresh, sheffield.Code: fresh}, nil},
		"none, one never did": {bob, map[safeguard.ODSCode]time.Time{middlesbrough.Code: fresh}, []string{"373 never true"}},
	} {
		t.Run(name, func(t *testing.T) {
			c.directory.SetUploaded(tt.uploaded)
			var got []string
			for _, d := range c.lookup(query(tt.number, name)).Data {
				age := "never"
				if !d.Uploaded.IsZero() {
					age = now.Sub(d.Uploaded).String()
				}
				got = append(got, fmt.Sprint(d.Authority, " ", age, " ", d.Overdue))
			}
			if fmt.Sprint(got) != fmt.Sprint(tt.want) {
				t.Errorf("data ages %q, want %q", got, tt.want)
			}
		})
	}
}

func TestHistory(t *testing.T) {
	c := start(t)
	c.upload(middlesbrough, row(alice, safeguard.ChildProtection, ago(0, 3, 0), safeguard.Date{}))
	elsewhere := query(alice, "elsewhere")
	elsewhere.Author.Site, elsewhere.Author.Setting, elsewhere.Sensitive = code("RX1RB"), safeguard.WalkInCentre, true
	elsewhere.Author.Accountable = safeguard.Accountable{Name: "Sister B Example", Role: "Nurse in charge"}
	own := query(alice, "own")
	own.Sensitive = true
	cancelled := query(alice, "cancelled")
	for _, q := range []safeguard.Query{elsewhere, own, cancelled} {
		if got := c.lookup(q); len(got.History) != 0 {
			t.Errorf("a site that may not see the history got %+v", got.History)
		}
	}
	if _, err := c.agent().Correct(t.Context(), correction(cancelled, safeguard.AttendanceCancelled)); err != nil {
		t.Fatal(err)
	}
	c.site(func(s *store.Site) { s.Policy.History, s.OrganisationName = true, "Example Trust" })
	now := query(alice, "now")
	c.lookup(now)
	got := c.lookup(now).History
	want := []safeguard.PastAccess{
		{At: own.At, Setting: safeguard.EmergencyDepartment, Organisation: trust, OrganisationName: "Example Trust", Site: infirmary,
			SiteName: "Example Infirmary", Accountable: own.Author.Accountable, Sensitive: true},
		{At: elsewhere.At, Setting: safeguard.WalkInCentre, Sensitive: true},
	}
	if len(got) != len(want) {
		t.Fatalf("history %+v, want %+v", got, want)
	}
	for i := range want {
		if !got[i].At.Equal(want[i].At) {
			t.Errorf("access %d at %v, want %v", i, got[i].At, want[i].At)
		}
		if got[i].At = want[i].At; got[i] != want[i] {
			t.Errorf("access %d: %+v, want %+v", i, got[i], want[i])
		}
	}
	refresh := now
	refresh.Purpose = safeguard.Refresh
	if got := c.lookup(refresh); len(got.History) != 0 {
		t.Errorf("a refresh got %+v", got.History)
	}
	if got := c.lookup(query(bob, "none held")); len(got.History) != 0 {
		t.Errorf("about a person without a flag: %+v", got.History)
	}
	for i := range 27 {
		c.lookup(query(alice, fmt.Sprint("visit ", i)))
	}
	if got := c.lookup(now).History; len(got) != 25 {
		t.Errorf("%d past accesses, want 25", len(got))
	}
}

func TestLateAttendanceKeepsItsTime(t *testing.T) {
	c := start(t)
	c.upload(middlesbrough, row(alice, safeguard.ChildProtection, ago(0, 3, 0), safeguard.Date{}))
	prompt, late := query(alice, "prompt"), query(alice, "late")
	prompt.At, late.At = time.Now().Add(-time.Minute), time.Now().Add(-30*time.Hour).Truncate(time.Millisecond)
	c.lookup(prompt)
	c.lookup(late)
	got := c.waiting(middlesbrough)
	if len(got) != 2 || got[0].Late || !got[1].Late || !got[1].At.Equal(late.At) {
		t.Errorf("notifications %+v, want the second late, with its time", got)
	}
}

func TestOwedLookupsShareTheRate(t *testing.T) {
	c := start(t, func(p *server.Policy, _ *store.Store) { p.OwedRate = 4 })
	owed, other := query(alice, "visit 1"), c.dial(c.tls("agent-RX2", identity.Agent))
	sites := append(c.sites(), store.Site{Stage: store.Live, Organisation: code("RX2"), Code: code("RX2RA"), Name: "Elsewhere", Settings: []safeguard.CareSetting{safeguard.EmergencyDepartment}})
	c.directory.Set(sites, nil)
	if got := c.lookup(owed).OwedPause; got != 250*time.Millisecond {
		t.Errorf("the only one that owes: pause %v, want 250ms", got)
	}
	owed.Author.Organisation, owed.Author.Site = code("RX2"), code("RX2RA")
	answer, err := other.Lookup(t.Context(), owed)
	if err != nil || answer.OwedPause != 500*time.Millisecond {
		t.Errorf("two that owe: pause %v, %v, want 500ms", answer.OwedPause, err)
	}
}
