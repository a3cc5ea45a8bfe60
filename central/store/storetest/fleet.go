package storetest

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/audit"
	"github.com/safeguard-edge/safeguard/central/store"
)

var fleetTests = []test{
	{"a heartbeat is taken once, and in order", beats},
	{"what an agent saw is kept by the hour", hours},
	{"what an agent is to have, and what is usual for it", intended},
	{"an agent that is no more", forgotten},
	{"a warning is opened once, and closed", warnings},
	{"what a person says of a warning", noted},
	{"a route is told of an opening and a closing once each", toldRoutes},
	{"a command is answered once, by the agent that it is for", commands},
	{"what is old of the fleet goes", retainFleet},
}

var (
	first  = store.AgentKey{Organisation: code("RX1"), ID: "a1"}
	second = store.AgentKey{Organisation: code("RX2"), ID: "a1"}
)

func beat(agent store.AgentKey, boot string, sequence uint64, at time.Time, periods ...safeguard.Period) store.Beat {
	return store.Beat{Agent: agent, Received: at, Periods: periods, Report: safeguard.Heartbeat{
		Boot: boot, Sequence: sequence, At: at, State: safeguard.Working, Version: "1.2",
		Feeds: []safeguard.FeedHealth{{Name: "pas", Messages: 7, LastMessage: at.Add(-time.Second)}},
	}}
}

// take has heartbeats taken, and gives the verdicts in a word each.
func take(t *testing.T, s store.Store, beats ...store.Beat) string {
	t.Helper()
	verdicts, err := s.Beat(t.Context(), beats)
	if err != nil {
		t.Fatal(err)
	}
	var words []string
	for _, taken := range verdicts {
		switch v := taken.Err; {
		case v == nil:
			words = append(words, "taken")
		case errors.Is(v, store.ErrReplayed):
			words = append(words, "replayed")
		case errors.Is(v, store.ErrSuperseded):
			words = append(words, "superseded")
		default:
			t.Errorf("got verdict %v", v)
		}
	}
	return strings.Join(words, " ")
}

func agents(t *testing.T, s store.Store, since time.Time) []store.FleetAgent {
	t.Helper()
	list, err := s.FleetAgents(t.Context(), since)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func beats(t *testing.T, open func() store.Store) {
	s := open()
	for _, c := range []struct {
		name  string
		beats []store.Beat
		want  string
	}{
		{"the first of two agents", []store.Beat{beat(second, "x", 1, morning), beat(first, "x", 1, morning)}, "taken taken"},
		{"the same again", []store.Beat{beat(first, "x", 1, morning)}, "replayed"},
		{"one that was lost between", []store.Beat{beat(first, "x", 4, morning.Add(time.Minute))}, "taken"},
		{"an earlier one", []store.Beat{beat(first, "x", 3, morning)}, "replayed"},
		{"two of one agent, in order", []store.Beat{beat(first, "x", 5, morning), beat(first, "x", 6, morning)}, "taken taken"},
		{"two of one agent, one of them twice", []store.Beat{beat(first, "x", 7, morning), beat(first, "x", 7, morning)}, "taken replayed"},
		{"a new run", []store.Beat{beat(first, "y", 1, morning.Add(2*time.Minute))}, "taken"},
		{"the run before, with a number that it never had", []store.Beat{beat(first, "x", 900, morning.Add(3*time.Minute))}, "superseded"},
		{"the new run goes on", []store.Beat{beat(first, "y", 2, morning.Add(4*time.Minute))}, "taken"},
		{"another agent's run of the same name is its own", []store.Beat{beat(second, "y", 1, morning)}, "taken"},
	} {
		if got := take(t, s, c.beats...); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
	list := agents(t, s, time.Time{})
	if len(list) != 2 || list[0].Key != first {
		t.Fatalf("got %+v", list)
	}
	a := list[0]
	if !a.FirstHeard.Equal(morning) || !a.Heard.Equal(morning.Add(4*time.Minute)) || !a.Superseded.Equal(morning.Add(3*time.Minute)) || a.Report.Boot != "y" || a.Report.Feeds[0].Messages != 7 {
		t.Errorf("got %+v", a)
	}
	if !list[1].Superseded.IsZero() {
		t.Errorf("got %+v, want no other run of it", list[1])
	}
	if list := agents(t, s, morning.Add(time.Second)); len(list) != 1 {
		t.Errorf("got %d agents that were heard from since, want 1", len(list))
	}
}

func hours(t *testing.T, open func() store.Store) {
	s := open()
	hour := morning.Truncate(time.Hour)
	period := func(minute, messages int) safeguard.Period {
		return safeguard.Period{Start: hour.Add(time.Duration(minute) * time.Minute), Length: 5 * time.Minute, State: safeguard.Working, Waiting: minute,
			Feeds: []safeguard.FeedPeriod{{Name: "pas", Messages: messages}}}
	}
	take(t, s, beat(first, "x", 1, morning, period(50, 3), period(55, 4), period(60, 5)))
	take(t, s, beat(first, "x", 2, morning, period(55, 4), period(65, 6))) // one of them again
	take(t, s, beat(first, "x", 2, morning, period(70, 100)))              // replayed
	kept, err := s.FleetHours(t.Context(), first, hour)
	if err != nil || len(kept) != 2 {
		t.Fatalf("got %+v, %v", kept, err)
	}
	for i, want := range []struct{ messages, periods, waiting int }{{7, 2, 55}, {11, 2, 65}} {
		h := kept[i]
		if h.Whole.Feed("pas").Messages != want.messages || len(h.Periods) != want.periods || h.Whole.Waiting != want.waiting || !h.Whole.Start.Equal(hour.Add(time.Duration(i)*time.Hour)) {
			t.Errorf("hour %d: got %+v", i, h)
		}
	}
	if a := agents(t, s, time.Time{}); !a[0].Kept.Equal(hour.Add(70 * time.Minute)) {
		t.Errorf("kept up to %v, want the end of the last period", a[0].Kept)
	}
	if later, err := s.FleetHours(t.Context(), first, hour.Add(time.Hour)); err != nil || len(later) != 1 {
		t.Errorf("got %d hours from the second on, %v", len(later), err)
	}
	if others, err := s.FleetHours(t.Context(), second, hour); err != nil || len(others) != 0 {
		t.Errorf("got %d hours of another agent, %v", len(others), err)
	}
}

func intended(t *testing.T, open func() store.Store) {
	s := open()
	who := audit.Who{Caller: "operator"}
	if err := s.Intend(t.Context(), first, "1.3", "abc", who); !errors.Is(err, store.ErrUnknown) {
		t.Errorf("got %v for an agent that was never heard from", err)
	}
	take(t, s, beat(first, "x", 1, morning))
	if err := s.Intend(t.Context(), first, "1.3", "abc", who); err != nil {
		t.Fatal(err)
	}
	wantAudited(t, s, audit.AgentIntended, 1)
	take(t, s, beat(first, "x", 2, morning))
	if taken, err := s.Beat(t.Context(), []store.Beat{beat(first, "x", 3, morning)}); err != nil || taken[0].WantVersion != "1.3" || taken[0].WantConfig != "abc" {
		t.Errorf("got %+v, %v, want to be told what it is to have", taken, err)
	}
	if a := agents(t, s, time.Time{})[0]; a.WantVersion != "1.3" || a.WantConfig != "abc" {
		t.Errorf("got %+v", a)
	}
	u, until, err := s.FleetUsual(t.Context(), first)
	if err != nil || !until.IsZero() || len(u.Feeds) != 0 {
		t.Fatalf("got %+v, %v, %v before anything was learnt", u, until, err)
	}
	u.Learn(safeguard.Period{Start: morning.Truncate(time.Hour), Feeds: []safeguard.FeedPeriod{{Name: "pas", Messages: 60}}}, safeguard.Limits{})
	if err := s.LearnUsual(t.Context(), first, u, morning); err != nil {
		t.Fatal(err)
	}
	take(t, s, beat(first, "x", 4, morning))
	u, until, err = s.FleetUsual(t.Context(), first)
	if expected, known := u.Feed("pas").Rhythm.Expected(morning.Truncate(time.Hour), morning.Truncate(time.Hour).Add(time.Hour), nil); err != nil || !known || expected != 60 || !until.Equal(morning) {
		t.Errorf("got %v expected, until %v, %v", expected, until, err)
	}
}

func forgotten(t *testing.T, open func() store.Store) {
	s := open()
	who := audit.Who{Caller: "operator"}
	take(t, s, beat(first, "x", 1, morning, safeguard.Period{Start: morning.Truncate(time.Hour), Length: 5 * time.Minute}), beat(second, "x", 1, morning))
	if err := s.Forget(t.Context(), first, who); err != nil {
		t.Fatal(err)
	}
	wantAudited(t, s, audit.AgentForgotten, 1)
	if list := agents(t, s, time.Time{}); len(list) != 1 || list[0].Key != second {
		t.Errorf("got %+v, want the other", list)
	}
	if kept, err := s.FleetHours(t.Context(), first, morning.Truncate(time.Hour)); err != nil || len(kept) != 0 {
		t.Errorf("got %+v, %v", kept, err)
	}
	if err := s.Forget(t.Context(), first, who); !errors.Is(err, store.ErrUnknown) {
		t.Errorf("got %v for one that is not there", err)
	}
}

func warning(subject string, c safeguard.WarningCode, part, detail string) store.FleetWarning {
	return store.FleetWarning{Subject: store.Subject{Kind: store.AboutAgent, Name: subject}, Warning: safeguard.Warning{Code: c, Part: part, Since: morning, Detail: detail}}
}

func change(t *testing.T, s store.Store, at time.Time, open []store.FleetWarning, closed ...int64) {
	t.Helper()
	if err := s.ChangeWarnings(t.Context(), at, open, closed); err != nil {
		t.Fatal(err)
	}
}

func found(t *testing.T, s store.Store, which store.WarningFilter) []store.FleetWarning {
	t.Helper()
	list, err := s.FleetWarnings(t.Context(), which)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func warnings(t *testing.T, open func() store.Store) {
	s := open()
	down, quiet := warning("RX1/a1", safeguard.SinkDown, "epr", "2 waiting"), warning("RX1/a1", safeguard.FeedQuiet, "pas", "")
	var several sync.WaitGroup
	for range 4 { // as four processes may
		several.Go(func() {
			if err := s.ChangeWarnings(t.Context(), morning, []store.FleetWarning{down, quiet}, nil); err != nil {
				t.Error(err)
			}
		})
	}
	several.Wait()
	list := found(t, s, store.WarningFilter{Open: true})
	if len(list) != 2 {
		t.Fatalf("got %+v, want each once", list)
	}
	later := down
	later.Detail = "9 waiting"
	change(t, s, morning.Add(time.Hour), []store.FleetWarning{later, warning("RX2/a1", safeguard.SinkDown, "epr", "")})
	var id int64
	for _, w := range found(t, s, store.WarningFilter{Open: true, Subject: down.Subject}) {
		if w.Code == safeguard.SinkDown {
			id = w.ID
			if w.Detail != "9 waiting" || !w.Opened.Equal(morning) || !w.Since.Equal(morning) {
				t.Errorf("got %+v, want the detail of now, opened as it was", w)
			}
		}
	}
	change(t, s, morning.Add(2*time.Hour), nil, id)
	change(t, s, morning.Add(3*time.Hour), nil, id)
	if w := found(t, s, store.WarningFilter{ID: id}); len(w) != 1 || !w[0].Closed.Equal(morning.Add(2*time.Hour)) {
		t.Errorf("got %+v, want it closed once", w)
	}
	if n := len(found(t, s, store.WarningFilter{Open: true})); n != 2 {
		t.Errorf("got %d open, want 2", n)
	}
	change(t, s, morning.Add(4*time.Hour), []store.FleetWarning{down})
	if all := found(t, s, store.WarningFilter{}); len(all) != 4 || all[0].ID == id || !all[0].Closed.IsZero() {
		t.Errorf("got %+v, want one that came again as another, first of all", all)
	}
	if n := len(found(t, s, store.WarningFilter{Since: morning.Add(2*time.Hour + time.Second)})); n != 3 {
		t.Errorf("got %d that were open since, want 3", n)
	}
	if n := len(found(t, s, store.WarningFilter{Limit: 2})); n != 2 {
		t.Errorf("got %d, want 2 at most", n)
	}
}

func noted(t *testing.T, open func() store.Store) {
	s := open()
	who := audit.Who{Caller: "operator ann@ops"}
	change(t, s, morning, []store.FleetWarning{warning("RX1/a1", safeguard.SinkDown, "epr", "")})
	id := found(t, s, store.WarningFilter{})[0].ID
	for _, do := range []func() error{
		func() error { return s.AcknowledgeWarning(t.Context(), id, who) },
		func() error { return s.NoteWarning(t.Context(), id, "called the EPR team", who) },
		func() error { return s.AcknowledgeWarning(t.Context(), id, audit.Who{Caller: "operator bob@ops"}) },
		func() error { return s.NoteWarning(t.Context(), id, "they restart it at noon", who) },
	} {
		if err := do(); err != nil {
			t.Fatal(err)
		}
	}
	w := found(t, s, store.WarningFilter{})[0]
	if w.AcknowledgedBy != who.Caller || w.Acknowledged.IsZero() || len(w.Notes) != 2 || w.Notes[1].Text != "they restart it at noon" || w.Notes[0].By != who.Caller {
		t.Errorf("got %+v, want who was first, and both notes", w)
	}
	wantAudited(t, s, audit.WarningAcknowledged, 2)
	wantAudited(t, s, audit.WarningNoted, 2)
	if err := s.AcknowledgeWarning(t.Context(), id+1, who); !errors.Is(err, store.ErrUnknown) {
		t.Errorf("got %v for one that is not there", err)
	}
	if err := s.NoteWarning(t.Context(), id+1, "x", who); !errors.Is(err, store.ErrUnknown) {
		t.Errorf("got %v for one that is not there", err)
	}
}

func toldRoutes(t *testing.T, open func() store.Store) {
	s := open()
	untold := func(route string) []store.FleetWarning {
		t.Helper()
		list, err := s.Untold(t.Context(), route, morning)
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	tell := func(route string, list []store.FleetWarning) {
		t.Helper()
		if err := s.Told(t.Context(), route, list, morning.Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	change(t, s, morning.Add(-time.Minute), []store.FleetWarning{warning("RX0/a1", safeguard.SinkDown, "epr", "")}) // before
	change(t, s, morning, []store.FleetWarning{warning("RX1/a1", safeguard.SinkDown, "epr", "")})
	list := untold("mail")
	if len(list) != 1 || len(untold("hook")) != 1 {
		t.Fatalf("got %+v, want the one that opened since", list)
	}
	tell("mail", list)
	tell("mail", list)
	if len(untold("mail")) != 0 || len(untold("hook")) != 1 {
		t.Error("want it told to the one and not to the other")
	}
	change(t, s, morning.Add(time.Minute), nil, list[0].ID)
	list = untold("mail")
	if len(list) != 1 || list[0].Closed.IsZero() {
		t.Errorf("got %+v, want the closing", list)
	}
	if n := len(untold("hook")); n != 0 {
		t.Errorf("got %d for a route that was not told of the opening", n)
	}
	tell("mail", list)
	if len(untold("mail")) != 0 {
		t.Error("the closing was told already")
	}
}

func retainFleet(t *testing.T, open func() store.Store) {
	s := open()
	hour := morning.Truncate(time.Hour)
	for i := range 3 {
		take(t, s, beat(first, "x", uint64(i+1), morning, safeguard.Period{Start: hour.Add(time.Duration(i) * time.Hour), Length: 5 * time.Minute}))
	}
	change(t, s, morning, []store.FleetWarning{warning("RX1/a1", safeguard.SinkDown, "epr", ""), warning("RX1/a1", safeguard.DiskLow, "", "")})
	list := found(t, s, store.WarningFilter{})
	if err := s.NoteWarning(t.Context(), list[0].ID, "x", audit.Who{Caller: "operator"}); err != nil {
		t.Fatal(err)
	}
	if err := s.Told(t.Context(), "mail", list, morning); err != nil {
		t.Fatal(err)
	}
	change(t, s, morning.Add(time.Minute), nil, list[0].ID)
	if err := s.RetainFleet(t.Context(), hour.Add(2*time.Hour), hour.Add(time.Hour), morning.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	kept, err := s.FleetHours(t.Context(), first, hour)
	if err != nil || len(kept) != 2 || len(kept[0].Periods) != 0 || len(kept[1].Periods) != 1 {
		t.Errorf("got %+v, %v, want two hours, one with its periods", kept, err)
	}
	if left := found(t, s, store.WarningFilter{}); len(left) != 1 || left[0].ID != list[1].ID {
		t.Errorf("got %+v, want the one that is open", left)
	}
}
