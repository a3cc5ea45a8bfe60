package safeguard_test

import (
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard"
)

var (
	now     = time.Date(2026, 3, 14, 15, 9, 26, 0, time.UTC)
	council = safeguard.Authority{Name: "Ashmere Council", EmergencyDutyPhone: "01632 960001"}
	plan    = safeguard.Flag{Plan: safeguard.ChildProtection, Start: date("2026-01-05"), Authority: council}
	care    = safeguard.Flag{Plan: safeguard.LookedAfter, Start: date("2025-06-01"), Authority: council}
	alice   = mustNumber("9990000344")
	bob     = mustNumber("9990000352")
)

func date(s string) safeguard.Date {
	d, err := safeguard.ParseDate(s)
	if err != nil {
		panic(err)
	}
	return d
}

func mustNumber(s string) safeguard.NHSNumber {
	n, err := safeguard.ParseNHSNumber(s)
	if err != nil {
		panic(err)
	}
	return n
}

// child is an open emergency attendance of a seven-year-old.
func child() safeguard.Attendance {
	return safeguard.Attendance{
		ID: safeguard.AttendanceID{1}, State: safeguard.Open, Purpose: safeguard.Unscheduled, Begun: now.Add(-time.Minute),
		Patient: safeguard.Patient{Number: alice, NumberStatus: safeguard.Verified, Born: safeguard.Hide(date("2018-11-02"))},
	}
}

func with(change func(*safeguard.Attendance)) safeguard.Attendance {
	a := child()
	change(&a)
	return a
}

func held(source safeguard.Source, flags ...safeguard.Flag) safeguard.Answer {
	return safeguard.Answer{Status: safeguard.Held, Flags: flags, AsOf: now, Source: source}
}

func TestDecide(t *testing.T) {
	noneHeld := safeguard.Answer{Status: safeguard.NoneHeld, AsOf: now, Source: safeguard.FromCentre}
	unreachable := safeguard.UnknownBecause(safeguard.CentreUnreachable)
	accepted := func(ago time.Duration) safeguard.Shown {
		return safeguard.Shown{About: child().Patient, Accepted: now.Add(-ago)}
	}
	shown := func(version int, c safeguard.Content) safeguard.Shown {
		s := accepted(time.Hour)
		s.Version, s.Content = version, c
		return s
	}
	flagsFrom := func(source safeguard.Source, flags ...safeguard.Flag) safeguard.Content {
		return safeguard.Content{Kind: safeguard.FlagsHeld, Flags: flags, AsOf: now.Add(-time.Hour), Source: source}
	}
	notCompleted := safeguard.Content{Kind: safeguard.CheckNotCompleted, Reason: safeguard.CentreUnreachable}

	type alert struct {
		action     safeguard.Action
		version    int
		generation int
		kind       safeguard.Kind
	}
	for _, c := range []struct {
		name       string
		attendance safeguard.Attendance
		answer     safeguard.Answer
		before     safeguard.Shown
		want       []alert
		again      time.Duration // after now; 0 for never
	}{
		{"flag held", child(), held(safeguard.FromCentre, plan), accepted(0),
			[]alert{{safeguard.Raise, 1, 0, safeguard.FlagsHeld}}, 0},
		{"the zero answer is not none held", child(), safeguard.Answer{}, accepted(time.Minute),
			[]alert{{safeguard.Raise, 1, 0, safeguard.CheckNotCompleted}}, 0},
		{"none held is silent", child(), noneHeld, accepted(0), nil, 0},
		{"held, but nothing visible", child(), held(safeguard.FromCentre, safeguard.Flag{Plan: safeguard.ChildProtection, Start: date("2020-01-01"), End: date("2024-01-01")}), accepted(0), nil, 0},
		{"unreachable within grace", child(), unreachable, accepted(5 * time.Second), nil, 10 * time.Second},
		{"unreachable at the end of grace", child(), unreachable, accepted(15 * time.Second),
			[]alert{{safeguard.Raise, 1, 0, safeguard.CheckNotCompleted}}, 0},
		{"no NHS number within its longer grace", with(func(a *safeguard.Attendance) { a.Patient.Number = safeguard.NHSNumber{} }),
			safeguard.UnknownBecause(safeguard.NoNHSNumber), safeguard.Shown{Accepted: now.Add(-time.Minute)}, nil, 4 * time.Minute},
		{"no NHS number after it", with(func(a *safeguard.Attendance) { a.Patient.Number = safeguard.NHSNumber{} }),
			safeguard.UnknownBecause(safeguard.NoNHSNumber), safeguard.Shown{Accepted: now.Add(-5 * time.Minute)},
			[]alert{{safeguard.Raise, 1, 0, safeguard.CheckNotCompleted}}, 0},
		{"the same again says nothing", child(), held(safeguard.FromCentre, plan), shown(1, flagsFrom(safeguard.FromCentre, plan)), nil, 0},
		{"another flag changes it", child(), held(safeguard.FromCentre, plan, care), shown(1, flagsFrom(safeguard.FromCentre, plan)),
			[]alert{{safeguard.Update, 2, 0, safeguard.FlagsHeld}}, 0},
		{"the centre confirms the cache", child(), held(safeguard.FromCentre, plan), shown(1, flagsFrom(safeguard.FromCache, plan)),
			[]alert{{safeguard.Update, 2, 0, safeguard.FlagsHeld}}, 0},
		{"the answer replaces the check not completed", child(), held(safeguard.FromCentre, plan), shown(1, notCompleted),
			[]alert{{safeguard.Update, 2, 0, safeguard.FlagsHeld}}, 0},
		{"none held withdraws the check not completed", child(), noneHeld, shown(1, notCompleted),
			[]alert{{safeguard.Withdraw, 2, 0, safeguard.CheckNotCompleted}}, 0},
		{"a removed flag withdraws", child(), noneHeld, shown(3, flagsFrom(safeguard.FromCentre, plan)),
			[]alert{{safeguard.Withdraw, 4, 0, safeguard.FlagsHeld}}, 0},
		{"an unreachable centre withdraws nothing", child(), unreachable, shown(1, flagsFrom(safeguard.FromCentre, plan)), nil, 0},
		{"an identity no longer confirmed does", child(), safeguard.UnknownBecause(safeguard.IdentityNotConfirmed), shown(1, flagsFrom(safeguard.FromCentre, plan)),
			[]alert{{safeguard.Update, 2, 0, safeguard.CheckNotCompleted}}, 0},
		{"cancelled", with(func(a *safeguard.Attendance) { a.State = safeguard.Cancelled }), held(safeguard.FromCentre, plan), shown(1, flagsFrom(safeguard.FromCentre, plan)),
			[]alert{{safeguard.Withdraw, 2, 0, safeguard.FlagsHeld}}, 0},
		{"raised again after a withdrawal", child(), held(safeguard.FromCentre, plan), shown(2, safeguard.Content{}),
			[]alert{{safeguard.Raise, 3, 0, safeguard.FlagsHeld}}, 0},
		{"a number for one who had none changes the same alert", child(), held(safeguard.FromCentre, plan),
			safeguard.Shown{Version: 1, Content: safeguard.Content{Kind: safeguard.CheckNotCompleted, Reason: safeguard.NoNHSNumber}},
			[]alert{{safeguard.Update, 2, 0, safeguard.FlagsHeld}}, 0},
		{"another number withdraws and begins anew", with(func(a *safeguard.Attendance) { a.Patient.Number = bob }), held(safeguard.FromCentre, care), shown(2, flagsFrom(safeguard.FromCentre, plan)),
			[]alert{{safeguard.Withdraw, 3, 0, safeguard.FlagsHeld}, {safeguard.Raise, 1, 1, safeguard.FlagsHeld}}, 0},
		{"adult man", with(func(a *safeguard.Attendance) {
			a.Patient.Sex, a.Patient.Born = safeguard.Male, safeguard.Hide(date("1980-01-01"))
		}), safeguard.Answer{}, accepted(time.Hour), nil, 0},
		{"test traffic", with(func(a *safeguard.Attendance) { a.Test = true }), held(safeguard.FromCentre, plan), accepted(0), nil, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := safeguard.DefaultRules().Decide(now, c.attendance, c.answer, c.before)
			if len(d.Alerts) != len(c.want) {
				t.Fatalf("%d alerts, want %d; rule %q", len(d.Alerts), len(c.want), d.Rule)
			}
			ids := map[safeguard.AlertID]bool{}
			for i, w := range c.want {
				a := d.Alerts[i]
				if got := (alert{a.Action, a.Version, w.generation, a.Content.Kind}); got != w {
					t.Errorf("alert %d: got %v, want %v", i, got, w)
				}
				ids[a.ID] = true
			}
			if len(ids) != len(c.want) {
				t.Error("alerts about two people share an id")
			}
			if len(c.want) == 2 && d.Alerts[0].Attendance.Patient != c.before.About {
				t.Error("the withdrawal must be about whom the alert was about")
			}
			var again time.Duration
			if !d.Again.IsZero() {
				again = d.Again.Sub(now)
			}
			if again != c.again {
				t.Errorf("again after %v, want %v", again, c.again)
			}
			if d.Rule == "" {
				t.Error("no rule is named")
			}
			// Deciding again on what is shown then must change nothing.
			if d2 := safeguard.DefaultRules().Decide(now, c.attendance, c.answer, d.After); len(d2.Alerts) != 0 {
				t.Errorf("deciding again makes %d alerts more", len(d2.Alerts))
			}
		})
	}
}

func TestEligible(t *testing.T) {
	born := func(s string) func(*safeguard.Attendance) {
		return func(a *safeguard.Attendance) { a.Patient.Born = safeguard.Hide(date(s)) }
	}
	for _, c := range []struct {
		name   string
		change func(*safeguard.Attendance)
		want   bool
	}{
		{"seven years old", func(*safeguard.Attendance) {}, true},
		{"a day before the 18th birthday", func(a *safeguard.Attendance) { born("2008-03-15")(a); a.Patient.Sex = safeguard.Male }, true},
		{"the 18th birthday, male", func(a *safeguard.Attendance) { born("2008-03-14")(a); a.Patient.Sex = safeguard.Male }, false},
		{"date of birth unknown", func(a *safeguard.Attendance) { a.Patient.Born = safeguard.Private[safeguard.Date]{} }, true},
		{"born after the attendance", born("2027-01-01"), true},
		{"woman of 30, unscheduled", func(a *safeguard.Attendance) { born("1996-01-01")(a); a.Patient.Sex = safeguard.Female }, true},
		{"sex unknown, 30, unscheduled", born("1996-01-01"), true},
		{"woman of 30, scheduled", func(a *safeguard.Attendance) {
			born("1996-01-01")(a)
			a.Patient.Sex, a.Purpose = safeguard.Female, safeguard.Scheduled
		}, false},
		{"woman of 30, scheduled, maternity", func(a *safeguard.Attendance) {
			born("1996-01-01")(a)
			a.Patient.Sex, a.Purpose, a.Maternity = safeguard.Female, safeguard.Scheduled, true
		}, true},
		{"woman of 56", func(a *safeguard.Attendance) { born("1970-01-01")(a); a.Patient.Sex = safeguard.Female }, false},
		{"man of 30 in a maternity bed", func(a *safeguard.Attendance) {
			born("1996-01-01")(a)
			a.Patient.Sex, a.Maternity = safeguard.Male, true
		}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got, rule := safeguard.DefaultRules().Eligible(with(c.change)); got != c.want {
				t.Errorf("eligible %v by %q, want %v", got, rule, c.want)
			}
		})
	}
}

func TestFlagVisible(t *testing.T) {
	born := date("2010-06-15")
	flag := func(p safeguard.Plan, start, end string) safeguard.Flag {
		f := safeguard.Flag{Plan: p, Start: date(start)}
		if end != "" {
			f.End = date(end)
		}
		return f
	}
	for _, c := range []struct {
		name string
		flag safeguard.Flag
		on   string
		born safeguard.Date
		want bool
	}{
		{"active", flag(safeguard.ChildProtection, "2026-01-01", ""), "2026-03-01", born, true},
		{"not begun", flag(safeguard.ChildProtection, "2026-04-01", ""), "2026-03-01", born, false},
		{"ended three months ago", flag(safeguard.LookedAfter, "2024-01-01", "2025-12-01"), "2026-03-01", born, true},
		{"ended a year ago to the day", flag(safeguard.LookedAfter, "2024-01-01", "2025-03-01"), "2026-03-01", born, true},
		{"ended a year and a day ago", flag(safeguard.LookedAfter, "2024-01-01", "2025-02-28"), "2026-03-01", born, false},
		{"the last day of 17", flag(safeguard.ChildProtection, "2026-01-01", ""), "2028-06-14", born, true},
		{"the 18th birthday", flag(safeguard.ChildProtection, "2026-01-01", ""), "2028-06-15", born, false},
		{"unborn child's, mother of any age", flag(safeguard.UnbornChild, "2026-01-01", ""), "2026-03-01", date("1990-01-01"), true},
		{"unborn child's, ended 28 days ago", flag(safeguard.UnbornChild, "2025-06-01", "2026-02-01"), "2026-03-01", date("1990-01-01"), true},
		{"unborn child's, ended 29 days ago", flag(safeguard.UnbornChild, "2025-06-01", "2026-01-31"), "2026-03-01", date("1990-01-01"), false},
		{"date of birth unknown", flag(safeguard.ChildProtection, "2026-01-01", ""), "2060-01-01", safeguard.Date{}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.flag.Visible(date(c.on), c.born, safeguard.DefaultTails); got != c.want {
				t.Errorf("visible %v, want %v", got, c.want)
			}
		})
	}
}

func TestWithMothers(t *testing.T) {
	early, late := now.Add(-time.Hour), now
	unborn := safeguard.Flag{Plan: safeguard.UnbornChild, Start: date("2026-01-05"), Authority: council}
	answer := func(status safeguard.Status, asOf time.Time, source safeguard.Source, flags ...safeguard.Flag) safeguard.Answer {
		return safeguard.Answer{Status: status, AsOf: asOf, Source: source, Flags: flags}
	}
	unknown := safeguard.UnknownBecause(safeguard.CentreUnreachable)
	noNumber := safeguard.UnknownBecause(safeguard.NoNHSNumber)
	none := answer(safeguard.NoneHeld, late, safeguard.FromCentre)
	for _, c := range []struct {
		name        string
		own, hers   safeguard.Answer
		status      safeguard.Status
		reason      safeguard.Reason
		flags, moms int
		source      safeguard.Source
		asOf        time.Time
	}{
		{"neither holds", none, answer(safeguard.NoneHeld, early, safeguard.FromCentre), safeguard.NoneHeld, 0, 0, 0, safeguard.FromCentre, early},
		{"hers from the cache", none, answer(safeguard.NoneHeld, early, safeguard.FromCache), safeguard.NoneHeld, 0, 0, 0, safeguard.FromCache, early},
		{"her unborn child's plan", none, answer(safeguard.Held, late, safeguard.FromCentre, unborn), safeguard.Held, 0, 1, 1, safeguard.FromCentre, late},
		{"her own plan is not the infant's", none, answer(safeguard.Held, late, safeguard.FromCentre, care), safeguard.NoneHeld, 0, 0, 0, safeguard.FromCentre, late},
		{"both", answer(safeguard.Held, late, safeguard.FromCentre, plan), answer(safeguard.Held, early, safeguard.FromCentre, unborn, care), safeguard.Held, 0, 2, 1, safeguard.FromCentre, early},
		{"own held, hers unknown", answer(safeguard.Held, late, safeguard.FromCentre, plan), unknown, safeguard.Held, 0, 1, 0, safeguard.FromCentre, late},
		{"own unknown, hers held", noNumber, answer(safeguard.Held, late, safeguard.FromCentre, unborn), safeguard.Held, 0, 1, 1, safeguard.FromCentre, late},
		{"own unknown, hers none", noNumber, none, safeguard.Unknown, safeguard.NoNHSNumber, 0, 0, safeguard.NoSource, time.Time{}},
		{"own none, hers unknown", none, unknown, safeguard.Unknown, safeguard.CentreUnreachable, 0, 0, safeguard.NoSource, time.Time{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := c.own.WithMothers(c.hers)
			moms := 0
			for _, f := range got.Flags {
				if f.Mothers {
					moms++
				}
			}
			if got.Status != c.status || got.Reason != c.reason || len(got.Flags) != c.flags || moms != c.moms || got.Source != c.source || !got.AsOf.Equal(c.asOf) {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestDateOf29February(t *testing.T) {
	born := date("2008-02-29")
	if got := born.YearsAt(date("2026-02-28")); got != 17 {
		t.Errorf("on 28 February: %d years, want 17", got)
	}
	if got := born.YearsAt(date("2026-03-01")); got != 18 {
		t.Errorf("on 1 March: %d years, want 18", got)
	}
}

func TestControlIDFollowsFromWhatIsSent(t *testing.T) {
	a := safeguard.Alert{ID: "one", Version: 1, Action: safeguard.Raise}
	if id := a.ControlID("epr"); len(id) > 20 || id != a.ControlID("epr") {
		t.Errorf("control id %q: want the same each time, 20 characters at most", id)
	}
	seen := map[string]bool{a.ControlID("epr"): true, a.ControlID("other"): true}
	for _, change := range []func(*safeguard.Alert){
		func(a *safeguard.Alert) { a.ID = "two" },
		func(a *safeguard.Alert) { a.Version = 2 },
		func(a *safeguard.Alert) { a.Action = safeguard.Withdraw },
	} {
		b := a
		change(&b)
		seen[b.ControlID("epr")] = true
	}
	if len(seen) != 5 {
		t.Errorf("%d control ids, want 5", len(seen))
	}
}

func TestAttendanceID(t *testing.T) {
	rx1, _ := safeguard.ParseODSCode("rx1")
	id := safeguard.NewAttendanceID(rx1, "visit", "V", "2141")
	if again, err := safeguard.ParseAttendanceID(id.String()); err != nil || again != id {
		t.Errorf("%s does not read back: %v", id, err)
	}
	if id == safeguard.NewAttendanceID(rx1, "visit", "V2", "141") {
		t.Error("parts must not run into each other")
	}
	if got := id.String()[14]; got != '8' {
		t.Errorf("UUID version %c, want 8", got)
	}
}

func TestNoneHeldIsSilentUnlessTheSiteWantsItSaid(t *testing.T) {
	none := safeguard.Answer{Status: safeguard.NoneHeld, AsOf: now, Source: safeguard.FromCentre}
	before := safeguard.Shown{About: safeguard.Patient{Number: alice}, Accepted: now.Add(-time.Minute)}
	rules := safeguard.DefaultRules()
	if d := rules.Decide(now, child(), none, before); len(d.Alerts) != 0 {
		t.Errorf("by default: %d alerts, want none", len(d.Alerts))
	}
	rules.SayNone = true
	ended := plan
	ended.End = date("2020-01-01")
	for name, answer := range map[string]safeguard.Answer{"none held": none, "none visible": held(safeguard.FromCentre, ended)} {
		d := rules.Decide(now, child(), answer, before)
		if len(d.Alerts) != 1 || d.Alerts[0].Content.Kind != safeguard.NoneFound || !d.Alerts[0].Content.AsOf.Equal(now) {
			t.Fatalf("%s: got %+v, want one alert that says as of when none is held", name, d.Alerts)
		}
		if again := rules.Decide(now, child(), answer, d.After); len(again.Alerts) != 0 {
			t.Errorf("%s: said twice", name)
		}
		flagged := rules.Decide(now, child(), held(safeguard.FromCentre, plan), d.After)
		if len(flagged.Alerts) != 1 || flagged.Alerts[0].Action != safeguard.Update || flagged.Alerts[0].Content.Kind != safeguard.FlagsHeld {
			t.Errorf("%s: a flag uploaded later gives %+v, want an update of the same alert", name, flagged.Alerts)
		}
	}
}

// What the calendar alone changes is looked at again when it does.
func TestCalendarChangesWhatIsVisible(t *testing.T) {
	rules := safeguard.DefaultRules()
	day := func(n int) safeguard.Date { return safeguard.DateOf(now).Add(0, 0, n) }
	flag := func(plan safeguard.Plan, start, end safeguard.Date) safeguard.Flag {
		return safeguard.Flag{Plan: plan, Start: start, End: end}
	}
	for name, tt := range map[string]struct {
		flag   safeguard.Flag
		change func(*safeguard.Attendance)
		want   int // days from now; 0 for never
	}{
		"active":                           {flag: flag(safeguard.ChildProtection, day(-100), safeguard.Date{})},
		"the tail ends in three days":      {flag: flag(safeguard.ChildProtection, day(-900), day(3).Add(0, -12, -1)), want: 3},
		"an unborn child's tail":           {flag: flag(safeguard.UnbornChild, day(-900), day(5-29)), want: 5},
		"begins in two days":               {flag: flag(safeguard.LookedAfter, day(2), safeguard.Date{}), want: 2},
		"of age in four days":              {flag: flag(safeguard.LookedAfter, day(-100), safeguard.Date{}), want: 4, change: func(a *safeguard.Attendance) { a.Patient.Born = safeguard.Hide(day(4).Add(-18, 0, 0)) }},
		"ended":                            {flag: flag(safeguard.LookedAfter, day(2), safeguard.Date{}), change: func(a *safeguard.Attendance) { a.State = safeguard.Ended }},
		"later than an attendance is open": {flag: flag(safeguard.LookedAfter, day(40), safeguard.Date{})},
	} {
		t.Run(name, func(t *testing.T) {
			a := with(func(a *safeguard.Attendance) {
				a.State = safeguard.Open
				if tt.change != nil {
					tt.change(a)
				}
			})
			answer := safeguard.Answer{Status: safeguard.Held, Flags: []safeguard.Flag{tt.flag}, AsOf: now, Source: safeguard.FromCentre}
			d := rules.Decide(now, a, answer, safeguard.Shown{Accepted: now, About: a.Patient})
			want := time.Time{}
			if tt.want > 0 {
				want = time.Date(now.Year(), now.Month(), now.Day()+tt.want, 0, 0, 0, 0, now.Location())
			}
			if !d.Again.Equal(want) {
				t.Errorf("looked at again at %v, want %v", d.Again, want)
			}
			if tt.want == 0 {
				return
			}
			before, after := rules.Decide(want.Add(-time.Second), a, answer, d.After), rules.Decide(want, a, answer, d.After)
			if len(before.Alerts) != 0 || len(after.Alerts) != 1 {
				t.Errorf("%d alerts just before, %d then; want none and one", len(before.Alerts), len(after.Alerts))
			}
		})
	}
}

// TestUpdateSaysWhatIsGone because an EPR that keeps each part for itself would
// show it for ever; also where the version between was never delivered.
func TestUpdateSaysWhatIsGone(t *testing.T) {
	rules := safeguard.DefaultRules()
	shown := safeguard.Shown{About: child().Patient.Unnamed(), Accepted: now.Add(-time.Hour)}
	step := func(answer safeguard.Answer, a safeguard.Attendance) safeguard.Alert {
		t.Helper()
		d := rules.Decide(now, a, answer, shown)
		shown = d.After
		if len(d.Alerts) != 1 {
			t.Fatalf("%d alerts, want one", len(d.Alerts))
		}
		return d.Alerts[0]
	}
	if gone := step(safeguard.UnknownBecause(safeguard.CentreUnreachable), child()).Gone; len(gone.Kinds)+len(gone.Flags) != 0 {
		t.Errorf("raised: %+v gone, want nothing", gone)
	}
	if gone := step(held(safeguard.FromCentre, plan, care), child()).Gone; len(gone.Flags) != 0 || len(gone.Kinds) != 1 || gone.Kinds[0] != safeguard.CheckNotCompleted {
		t.Errorf("answered: %+v gone, want that the check was not completed", gone)
	}
	if gone := step(held(safeguard.FromCentre, plan), child()).Gone; len(gone.Flags) != 1 || gone.Flags[0] != care || len(gone.Kinds) != 1 {
		t.Errorf("one plan less: %+v gone, want it and what was gone before", gone)
	}
	if gone := step(held(safeguard.FromCentre, care), child()).Gone; len(gone.Flags) != 1 || gone.Flags[0] != plan {
		t.Errorf("the other plan: %+v gone, want the first only, as the second is back", gone)
	}
	withdrawn := step(held(safeguard.FromCentre, care), with(func(a *safeguard.Attendance) { a.State = safeguard.Cancelled }))
	if withdrawn.Action != safeguard.Withdraw || len(withdrawn.Gone.Flags) != 1 || withdrawn.Gone.Flags[0] != plan {
		t.Errorf("withdrawn: %+v gone, want all that is not in the withdrawal itself", withdrawn.Gone)
	}
	if gone := step(held(safeguard.FromCentre, care), child()).Gone; len(gone.Kinds)+len(gone.Flags) != 0 {
		t.Errorf("raised again: %+v gone, want nothing", gone)
	}
}

func TestAlertIsWithdrawnAtDischargeWhereTheSiteWantsIt(t *testing.T) {
	ended := with(func(a *safeguard.Attendance) { a.State, a.Finished = safeguard.Ended, now })
	before := safeguard.Shown{About: child().Patient.Unnamed(), Accepted: now.Add(-time.Hour), Version: 1,
		Content: safeguard.Content{Kind: safeguard.FlagsHeld, Flags: []safeguard.Flag{plan}, AsOf: now, Source: safeguard.FromCentre}}
	rules := safeguard.DefaultRules()
	if d := rules.Decide(now, ended, held(safeguard.FromCentre, plan), before); len(d.Alerts) != 0 {
		t.Errorf("by default: %d alerts at discharge, want what is shown to stay", len(d.Alerts))
	}
	rules.WithdrawAtEnd = true
	if d := rules.Decide(now, ended, held(safeguard.FromCentre, plan), before); len(d.Alerts) != 1 || d.Alerts[0].Action != safeguard.Withdraw {
		t.Errorf("got %+v, want it withdrawn", d.Alerts)
	}
	unknown := rules.Decide(now, ended, safeguard.UnknownBecause(safeguard.NoNHSNumber), safeguard.Shown{About: child().Patient.Unnamed(), Accepted: now.Add(-time.Hour)})
	if len(unknown.Alerts) != 1 || unknown.Alerts[0].Content.Kind != safeguard.CheckNotCompleted {
		t.Errorf("got %+v, want what is unknown to be said all the same", unknown.Alerts)
	}
}
