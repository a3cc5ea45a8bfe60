package fleet_test

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/cache/keys"
	"github.com/safeguard-edge/safeguard/central/audit"
	"github.com/safeguard-edge/safeguard/central/fleet"
	"github.com/safeguard-edge/safeguard/central/store"
)

var (
	ashmere = store.AgentKey{Organisation: code("RX1"), ID: "a1"}
	noon    = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC) // a Monday
)

func code(s string) safeguard.ODSCode {
	c, err := safeguard.ParseODSCode(s)
	if err != nil {
		panic(err)
	}
	return c
}

// centre is a store with a site and a local authority, and who watches it.
type centre struct {
	*testing.T
	store    *store.DB
	watcher  *fleet.Watcher
	now      time.Time
	sequence uint64
	report   safeguard.Heartbeat // that the agent sends
	mute     bool                // it does not
}

func newCentre(t *testing.T) *centre {
	t.Helper()
	dir := t.TempDir()
	ring, err := keys.Open(filepath.Join(dir, "keys"), keys.FileMaster(filepath.Join(dir, "master")))
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.OpenSQLite(t.Context(), filepath.Join(dir, "central.db"), ring)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	who := audit.Who{Caller: "operator"}
	if err := s.PutSite(t.Context(), store.Site{Organisation: code("RX1"), Code: code("RX101"), Name: "Ashmere General", Settings: []safeguard.CareSetting{safeguard.EmergencyDepartment}, Stage: store.Live}, who); err != nil {
		t.Fatal(err)
	}
	c := &centre{T: t, store: s, now: noon, report: safeguard.Heartbeat{
		Boot: "one", State: safeguard.Working, Started: noon.Add(-time.Hour), Version: "1.0", Config: "aa",
		Feeds: []safeguard.FeedHealth{{Name: "pas"}}, Sinks: []safeguard.SinkHealth{{Name: "epr", Live: true}},
		Disk: safeguard.DiskHealth{Free: 9 << 30, Floor: 1 << 30}, Cache: safeguard.CacheHealth{State: safeguard.CacheReady},
		Attendances: safeguard.AttendanceHealth{Window: 4 * time.Hour, Begun: 100},
	}}
	c.watcher = c.another("first")
	return c
}

func (c *centre) another(holder string) *fleet.Watcher {
	p := fleet.DefaultPolicy()
	return &fleet.Watcher{Store: c.store, Holder: holder, Policy: p, Log: slog.New(slog.DiscardHandler)}
}

// pass lets time go by: a heartbeat every half minute, a look every ten seconds, or
// when it is long every half minute.
func (c *centre) pass(d time.Duration) {
	c.Helper()
	step := 10 * time.Second
	if d > 5*time.Minute {
		step = 30 * time.Second
	}
	for end := c.now.Add(d); c.now.Before(end); c.now = c.now.Add(step) {
		if !c.mute && c.now.Unix()%30 == 0 {
			c.beat()
		}
		if err := c.watcher.Pass(c.Context(), c.now); err != nil {
			c.Fatal(err)
		}
	}
}

func (c *centre) beat(periods ...safeguard.Period) {
	c.Helper()
	c.sequence++
	h := c.report
	h.Sequence, h.At = c.sequence, c.now
	h.Feeds = slices.Clone(h.Feeds)
	for i := range h.Feeds {
		if h.Feeds[i].LastMessage.IsZero() {
			h.Feeds[i].LastMessage = c.now.Add(-time.Second)
		}
	}
	taken, err := c.store.Beat(c.Context(), []store.Beat{{Agent: ashmere, Received: c.now, Report: h, Periods: periods}})
	if err != nil || taken[0].Err != nil {
		c.Fatal(err, taken)
	}
}

// open are the codes and parts of what is open.
func (c *centre) open() string {
	c.Helper()
	list, err := c.store.FleetWarnings(c.Context(), store.WarningFilter{Open: true})
	if err != nil {
		c.Fatal(err)
	}
	var out []string
	for _, w := range list {
		out = append(out, strings.TrimSpace(fmt.Sprint(w.Code, " ", w.Part)))
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

func (c *centre) want(when, want string) {
	c.Helper()
	if got := c.open(); got != want {
		c.Errorf("%s: open are %q, want %q", when, got, want)
	}
}

// Each warning about an agent opens once its cause has lasted for its grace, once,
// and closes by itself when the cause is gone.
// raisedElsewhere are the warnings whose causes other tests make.
var raisedElsewhere = map[safeguard.WarningCode]func(*testing.T){
	safeguard.SinkObserving: TestWarningsThatTakeADay, safeguard.VersionBehind: TestWarningsThatTakeADay, safeguard.SiteUnattended: TestASiteWithoutAnAgent,
	safeguard.UploadLate: TestUploadsOfAnAuthority, safeguard.RowsRejected: TestUploadsOfAnAuthority, safeguard.BreakGlassWaiting: TestViewsByBreakGlass,
}

func TestWarningsOfAnAgent(t *testing.T) {
	type raised struct {
		code  safeguard.WarningCode
		part  string
		cause func(c *centre)
	}
	table := []raised{
		{safeguard.AgentSilent, "", func(c *centre) { c.mute = true }},
		{safeguard.AgentStopped, "", func(c *centre) {
			c.report.State = safeguard.Stopping
			c.beat()
			c.mute = true
		}},
		{safeguard.CentreAway, "", func(c *centre) { c.report.Centre.Since = c.now }},
		{safeguard.IntakeStopped, "", func(c *centre) { c.report.Journal.Stopped, c.report.Journal.Since = "disk full", c.now }},
		{safeguard.FeedDown, "pas", func(c *centre) { c.report.Feeds[0].Fault = "listen tcp :2575: address already in use" }},
		{safeguard.FeedQuiet, "pas", func(c *centre) { c.report.Feeds[0].LastMessage = c.now.Add(-12 * time.Hour) }},
		{safeguard.FeedErrors, "pas", func(c *centre) { c.report.Feeds[0].LastHour, c.report.Feeds[0].HourErrors = 100, 30 }},
		{safeguard.JournalDeep, "", func(c *centre) {
			c.report.Journal.Waiting = safeguard.Queue{Length: 9000, Oldest: c.now.Add(time.Hour)}
		}},
		{safeguard.JournalOld, "", func(c *centre) {
			c.report.Journal.Waiting = safeguard.Queue{Length: 9, Oldest: c.now.Add(-2 * time.Minute)}
		}},
		{safeguard.SetAsideWaiting, "", func(c *centre) { c.report.Journal.SetAside = 1 }},
		{safeguard.AlertsUndelivered, "epr", func(c *centre) {
			c.report.Sinks[0].Waiting = safeguard.Queue{Length: 1, Oldest: c.now.Add(-2 * time.Minute)}
		}},
		{safeguard.SinkDown, "epr", func(c *centre) { c.report.Sinks[0].DownSince = c.now }},
		{safeguard.LookupsOwed, "", func(c *centre) {
			c.report.Lookups = safeguard.Queue{Length: 1, Oldest: c.now.Add(-30 * time.Minute)}
		}},
		{safeguard.ChecksNotCompleted, "", func(c *centre) { c.report.Attendances.NotCompleted = 50 }},
		{safeguard.NumbersMissing, "", func(c *centre) { c.report.Attendances.NoNumber = 50 }},
		{safeguard.CacheUnavailable, "", func(c *centre) { c.report.Cache.State = safeguard.CacheAway }},
		{safeguard.CacheAgeing, "", func(c *centre) { c.report.Cache.Entries, c.report.Cache.Newest = 10, c.now.Add(-12*time.Hour) }},
		{safeguard.CertificateEnding, "", func(c *centre) {
			c.report.Certificate = safeguard.CertificateHealth{From: c.now.AddDate(0, -3, 0), Until: c.now.AddDate(0, 0, 14)}
		}},
		{safeguard.CertificateEnded, "", func(c *centre) {
			c.report.Certificate = safeguard.CertificateHealth{From: c.now.AddDate(0, -3, 0), Until: c.now}
		}},
		{safeguard.ClockOff, "", func(c *centre) {
			c.report.Clock = safeguard.ClockHealth{Offset: time.Minute, Measured: c.now}
		}},
		{safeguard.DiskLow, "", func(c *centre) { c.report.Disk.Free = 1 << 30 }},
		{safeguard.CheckFails, "", func(c *centre) { c.report.Failing = []string{"keys"} }},
		{safeguard.DiskSlow, "", func(c *centre) { c.report.Disk.Sync = time.Second }},
		{safeguard.ConfigDiffers, "", func(c *centre) {
			if err := c.store.Intend(c.Context(), ashmere, "", "bb", audit.Who{}); err != nil {
				c.Fatal(err)
			}
		}},
		{safeguard.AgentShared, "", func(c *centre) {
			if _, err := c.store.Beat(c.Context(), []store.Beat{{Agent: ashmere, Received: c.now, Report: safeguard.Heartbeat{Boot: "two", Sequence: 1}}}); err != nil {
				c.Fatal(err)
			}
			taken, err := c.store.Beat(c.Context(), []store.Beat{{Agent: ashmere, Received: c.now, Report: safeguard.Heartbeat{Boot: "one", Sequence: 99}}})
			if err != nil || taken[0].Err == nil {
				c.Fatal(err, taken)
			}
			c.report.Boot = "three"
		}},
	}
	for _, d := range safeguard.AllDeclared() {
		here := slices.ContainsFunc(table, func(w raised) bool { return w.code == d.Code })
		if here == (raisedElsewhere[d.Code] != nil) {
			t.Errorf("%s: want one test that makes its cause", d.Code)
		}
	}
	for _, w := range table {
		t.Run(string(w.code), func(t *testing.T) {
			c := newCentre(t)
			c.pass(2 * time.Minute)
			c.want("before", "")
			well := c.report
			well.Feeds, well.Sinks = slices.Clone(well.Feeds), slices.Clone(well.Sinks)
			w.cause(c)
			grace := w.code.Declared().Grace
			wanted := strings.TrimSpace(string(w.code) + " " + w.part)
			if grace > 90*time.Second {
				c.pass(grace - 90*time.Second)
				c.want("within its grace", "")
			}
			c.pass(3 * time.Minute)
			c.want("after its grace", wanted)
			c.pass(10 * time.Minute)
			if w.code != safeguard.AgentShared { // which is about a moment
				c.want("as long as it lasts", wanted)
			}
			boot := c.report.Boot
			c.report, c.mute = well, false
			c.report.Boot = boot
			if err := c.store.Intend(t.Context(), ashmere, "", "", audit.Who{}); err != nil {
				t.Fatal(err)
			}
			c.pass(3 * time.Minute)
			c.want("when it is well again", "")
			all, err := c.store.FleetWarnings(t.Context(), store.WarningFilter{})
			if err != nil || len(all) != 1 {
				t.Errorf("got %v, %v, want it opened once", all, err)
			}
		})
	}
}

// What takes a day has its time shortened by how long ago it began.
func TestWarningsThatTakeADay(t *testing.T) {
	c := newCentre(t)
	c.report.Sinks[0].Live = false
	c.watcher.Policy.Version = "1.1"
	c.pass(time.Minute)
	c.want("at first", "")
	c.now = c.now.Add(25 * time.Hour)
	c.beat()
	c.pass(time.Minute)
	c.want("after a day", "sink-observing epr, version-behind")
}

// A dead agent does not also raise its feeds and sinks, and what was open before
// stays so.
func TestASilentAgentIsOneWarning(t *testing.T) {
	c := newCentre(t)
	c.report.Sinks[0].DownSince = c.now
	c.pass(5 * time.Minute)
	c.want("the sink is down", "sink-down epr")
	c.report.Feeds[0].LastMessage = c.now
	c.beat()
	c.mute = true
	c.pass(24 * time.Hour / 48)
	c.want("half an hour later", "agent-silent, sink-down epr")
	c.report.Sinks[0].DownSince, c.report.Feeds[0].LastMessage, c.mute = time.Time{}, time.Time{}, false
	c.pass(3 * time.Minute)
	c.want("it is back", "")
}

// After the centre itself was away, nobody is silent until there was time to be
// heard from.
func TestTheCentreWasAway(t *testing.T) {
	c := newCentre(t)
	c.pass(time.Minute)
	c.now = c.now.Add(time.Hour)
	c.watcher, c.mute = c.another("first"), true
	c.pass(100 * time.Second)
	c.want("at once", "")
	c.mute = false
	c.pass(5 * time.Minute)
	c.want("when it is heard from", "")
	c.mute = true
	c.pass(4 * time.Minute)
	c.want("when it is not", "agent-silent")
}

// A second process goes on with what the first has opened, and opens nothing
// twice.
func TestAnotherProcessGoesOn(t *testing.T) {
	c := newCentre(t)
	c.report.Sinks[0].DownSince = c.now
	c.pass(5 * time.Minute)
	first := c.watcher
	c.watcher = c.another("second")
	c.report.Disk.Free = 1 << 30
	c.pass(5 * time.Minute)
	c.want("while the first has the lease", "sink-down epr")
	if _, err := c.store.Lease(t.Context(), "fleet", first.Holder, 0); err != nil {
		t.Fatal(err)
	}
	c.pass(5 * time.Minute)
	c.want("the second", "disk-low, sink-down epr")
	c.report.Sinks[0].DownSince = time.Time{}
	c.pass(3 * time.Minute)
	c.want("the second closes what the first has opened", "disk-low")
}

// From three weeks of what the agents saw it is known what is usual.
func TestQuietIsLearnt(t *testing.T) {
	c := newCentre(t)
	for hour := noon.AddDate(0, 0, -21); hour.Before(noon); hour = hour.Add(time.Hour) {
		n := 0
		if hour.Hour() >= 8 && hour.Hour() < 20 {
			n = 5
		}
		var periods []safeguard.Period
		for i := range 12 {
			periods = append(periods, safeguard.Period{Start: hour.Add(time.Duration(i) * 5 * time.Minute), Length: 5 * time.Minute, Feeds: []safeguard.FeedPeriod{{Name: "pas", Messages: n}}})
		}
		c.beat(periods...)
	}
	c.now = noon.Add(20 * time.Minute)
	c.pass(time.Minute)
	c.report.Feeds[0].LastMessage = c.now.Add(-14 * time.Minute)
	c.pass(9 * time.Minute)
	c.want("within floor and grace", "")
	c.pass(5 * time.Minute)
	c.want("half an hour of a Monday", "feed-quiet pas")
	usual, until, err := c.store.FleetUsual(t.Context(), ashmere)
	if expected, known := usual.Feed("pas").Rhythm.Expected(noon, noon.Add(time.Hour), nil); err != nil || !known || expected != 60 || !until.Equal(noon) {
		t.Errorf("got %v expected at noon, learnt until %v, %v", expected, until, err)
	}
}

func TestAnAgentThatIsForgotten(t *testing.T) {
	c := newCentre(t)
	c.pass(time.Minute)
	c.mute = true
	c.pass(4 * time.Minute)
	c.want("it is gone", "agent-silent")
	if err := c.store.Forget(t.Context(), ashmere, audit.Who{}); err != nil {
		t.Fatal(err)
	}
	c.pass(8 * time.Minute)
	c.want("it is forgotten", "")
}

func TestASiteWithoutAnAgent(t *testing.T) {
	c := newCentre(t)
	c.mute, c.now = true, time.Now() // the site was added just now
	c.pass(time.Minute)
	c.want("on its first day", "")
	c.now = c.now.Add(25 * time.Hour)
	c.pass(time.Minute)
	c.want("after a day", "site-unattended")
	if err := c.store.StageSite(t.Context(), code("RX1"), code("RX101"), store.Invited, audit.Who{}); err != nil {
		t.Fatal(err)
	}
	c.pass(2 * time.Minute)
	c.want("it is invited only", "")
}

// Each view by break-glass is a warning of its own, so that each is told, until it is
// reviewed.
func TestViewsByBreakGlass(t *testing.T) {
	c := newCentre(t)
	n, err := safeguard.ParseNHSNumber("9990000107")
	if err != nil {
		t.Fatal(err)
	}
	look := func(view string) {
		t.Helper()
		a := store.Access{Number: n, Organisation: code("RX1"), Attendance: safeguard.NewAttendanceID(code("RX1"), view), Site: code("RX101"), At: c.now, Recorded: c.now, Viewed: true}
		b := &store.BreakGlass{Organisation: a.Organisation, Site: a.Site, Look: a.Attendance, Number: n, At: c.now}
		if err := c.store.Look(t.Context(), n, func([]store.Flag) store.Decision { return store.Decision{Look: store.Look{Access: a}, BreakGlass: b} }); err != nil {
			t.Fatal(err)
		}
	}
	c.pass(time.Minute)
	c.want("nobody looked", "")
	look("one")
	c.pass(10 * time.Second)
	c.want("looked at once", "break-glass-waiting 1")
	look("two")
	c.pass(10 * time.Second)
	c.want("looked at twice", "break-glass-waiting 1, break-glass-waiting 2")
	if err := c.store.ReviewBreakGlass(t.Context(), code("RX1"), 1, store.Review{Finding: store.Justified}, audit.Who{Name: "P Example"}); err != nil {
		t.Fatal(err)
	}
	c.pass(2 * time.Minute)
	c.want("one was reviewed", "break-glass-waiting 2")
}

func TestUploadsOfAnAuthority(t *testing.T) {
	c := newCentre(t)
	c.mute = true
	if err := c.store.PutAuthority(t.Context(), store.Authority{Authority: safeguard.Authority{Code: code("906"), Name: "Ashmere Council", EmergencyDutyPhone: "01632 960001"}, Stage: store.Live}, audit.Who{}); err != nil {
		t.Fatal(err)
	}
	c.beat()
	upload := func(at time.Time, rows, rejected int) {
		t.Helper()
		var changes []store.Change
		for i := range rows - rejected {
			n, err := safeguard.ParseNHSNumber(numbers[i])
			if err != nil {
				t.Fatal(err)
			}
			changes = append(changes, store.Change{Number: n, Flag: store.Flag{Authority: code("906"), Plan: safeguard.LookedAfter, Start: safeguard.DateOf(at)}})
		}
		if _, err := c.store.Apply(t.Context(), store.Upload{ID: at.String(), Authority: code("906"), Received: at, Rows: rows, Changes: slices.Values(changes)}); err != nil {
			t.Fatal(err)
		}
	}
	// Each working day at six, for three weeks, until Friday.
	for day := noon.AddDate(0, 0, -21); day.Before(noon); day = day.AddDate(0, 0, 1) {
		if d := day.Weekday(); d != time.Saturday && d != time.Sunday {
			upload(day.Add(6*time.Hour), 4, 0)
		}
	}
	only := func(when, want string) {
		t.Helper()
		c.pass(20 * time.Second)
		got := strings.TrimPrefix(strings.TrimSuffix(strings.ReplaceAll(c.open(), "agent-silent", ""), ", "), ", ")
		if got != want {
			t.Errorf("%s: got %q, want %q", when, got, want)
		}
	}
	c.now = noon.Add(-19 * time.Hour) // Sunday evening
	only("a weekend", "")
	c.now = noon.Add(8 * time.Hour) // Monday evening
	only("a day without", "")
	c.now = noon.Add(36 * time.Hour) // Wednesday, midnight
	limits := &c.watcher.Policy.Limits
	limits.Holiday = func(at time.Time) bool { return at.Format(time.DateOnly) == noon.Format(time.DateOnly) }
	only("two days without, of which one is a holiday", "")
	limits.Holiday = nil
	only("two days without", "upload-late")
	upload(c.now, 40, 20)
	c.now = c.now.Add(10 * time.Minute)
	c.pass(2 * time.Minute)
	only("half of the rows are rejected", "rows-rejected")
	upload(c.now, 30, 0)
	c.now = c.now.Add(10 * time.Minute)
	c.pass(2 * time.Minute)
	only("the next is well", "")
}

// The whole as it runs: from an agent's death to its warning it takes no more than
// the grace and two looks.
func TestFromDeathToWarning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCentre(t)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- c.watcher.Run(ctx) }()
		c.now = time.Now()
		c.beat()
		died := time.Now()
		for c.open() == "" && time.Since(died) < time.Hour {
			time.Sleep(time.Second)
		}
		if took := time.Since(died); took < 2*time.Minute || took > 2*time.Minute+20*time.Second {
			t.Errorf("it took %v", took)
		}
		c.want("then", "agent-silent")
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestTheOverviewBeginsWithWhatNeedsAPerson(t *testing.T) {
	c := newCentre(t)
	for _, s := range []string{"RX102", "RX103"} {
		if err := c.store.PutSite(t.Context(), store.Site{Organisation: code("RX2"), Code: code(s), Name: "Other " + s, Settings: []safeguard.CareSetting{safeguard.Maternity}, Stage: store.Live}, audit.Who{}); err != nil {
			t.Fatal(err)
		}
	}
	c.pass(time.Minute)
	c.mute = true
	c.pass(5 * time.Minute)
	o, err := fleet.Look(t.Context(), c.store, c.now)
	if err != nil {
		t.Fatal(err)
	}
	if len(o.Sites) != 3 || o.Sites[0].Code != code("RX101") || o.Sites[0].State != fleet.Silent || o.Sites[0].Severity != safeguard.Critical || o.Sites[1].State != fleet.Unattended {
		t.Errorf("got %+v", o.Sites)
	}
	if a := o.Agents[0]; a.State != fleet.Silent || !a.Since.Equal(a.Heard) || !a.Unacknowledged() || a.Report.Version != "1.0" {
		t.Errorf("got %+v", a)
	}
	if err := c.store.AcknowledgeWarning(t.Context(), o.Agents[0].Warnings[0].ID, audit.Who{Caller: "ann"}); err != nil {
		t.Fatal(err)
	}
	if o, err = fleet.Look(t.Context(), c.store, c.now); err != nil || o.Agents[0].Unacknowledged() {
		t.Errorf("got %+v, %v, want it taken on", o.Agents, err)
	}
	for words, want := range map[string]int{"ashmere": 1, "rx2": 2, "RX103": 1, "other": 2, "": 3, "none such": 0} {
		if got := len(o.Find(words)); got != want {
			t.Errorf("found %d sites by %q, want %d", got, words, want)
		}
	}
}

// numbers are made up, of the range for tests.
var numbers = func() (all []string) {
	for i := 0; len(all) < 30; i++ {
		digits := fmt.Sprintf("999%06d", i+4000)
		sum := 0
		for j, d := range digits {
			sum += int(d-'0') * (10 - j)
		}
		if check := (11 - sum%11) % 11; check < 10 {
			all = append(all, fmt.Sprintf("%s%d", digits, check))
		}
	}
	return all
}()
