package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/cache/keys"
	"github.com/safeguard-edge/safeguard/cache/sealed"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(memoryHome); dir != "" {
		os.Exit(measureMemory(dir))
	}
	goleak.VerifyTestMain(m)
}

// home is the folder of a cache and those of its keys.
type home struct{ root string }

func newHome(t testing.TB) home { return home{t.TempDir()} }

func (h home) dir() string { return filepath.Join(h.root, "data", "cache") }

func (h home) ring() (*keys.Ring, error) {
	return keys.Open(filepath.Join(h.root, "data", "keys"), keys.FileMaster(filepath.Join(h.root, "etc", "master.key")))
}

func (h home) open(t testing.TB, options ...Option) *Cache {
	t.Helper()
	ring, err := h.ring()
	must(t, err)
	c, err := Open(h.dir(), ring, agreed(), append([]Option{WithLog(slog.New(slog.DiscardHandler))}, options...)...)
	must(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func agreed() Policy {
	p := DefaultPolicy()
	p.Agreement = "data sharing agreement 7"
	return p
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func number(t testing.TB, s string) safeguard.NHSNumber {
	t.Helper()
	n, err := safeguard.ParseNHSNumber(s)
	must(t, err)
	return n
}

var (
	then = time.Date(2026, 11, 22, 10, 0, 0, 123, time.UTC)
	plan = safeguard.Flag{
		Plan:  safeguard.ChildProtection,
		Start: safeguard.Date{Year: 2026, Month: 3, Day: 4},
		Authority: safeguard.Authority{
			Name: "Canaryshire Council", EmergencyDutyPhone: "0191 498 0001", OfficeHoursPhone: "0191 498 0002",
		},
	}
)

const (
	someone = "943 476 5919"
	another = "999 000 0026"
)

func held(asOf time.Time) safeguard.Answer {
	return safeguard.Answer{Status: safeguard.Held, Flags: []safeguard.Flag{plan}, AsOf: asOf, Source: safeguard.FromCentre}
}

func none(asOf time.Time) safeguard.Answer {
	return safeguard.Answer{Status: safeguard.NoneHeld, AsOf: asOf, Source: safeguard.FromCentre}
}

func put(t testing.TB, c *Cache, n safeguard.NHSNumber, a safeguard.Answer) {
	t.Helper()
	must(t, c.Put(t.Context(), n, a))
}

func wantGiven(t testing.TB, c *Cache, n safeguard.NHSNumber, now time.Time, want safeguard.Answer) {
	t.Helper()
	got, ok := c.Get(n, now)
	want.Source = safeguard.FromCache
	if !ok || got.Status != want.Status || got.Source != want.Source || !got.AsOf.Equal(want.AsOf) ||
		len(got.Flags) != len(want.Flags) || len(want.Flags) > 0 && got.Flags[0] != want.Flags[0] {
		t.Errorf("Get at %v = %+v, %v, want %+v", now, got, ok, want)
	}
}

func wantUnknown(t testing.TB, c *Cache, n safeguard.NHSNumber, now time.Time) {
	t.Helper()
	if got, ok := c.Get(n, now); ok || got.Status != safeguard.Unknown || len(got.Flags) > 0 {
		t.Errorf("Get at %v = %+v, %v, want unknown", now, got, ok)
	}
}

func TestKeptAnswerIsGivenWithItsTime(t *testing.T) {
	h := newHome(t)
	c := h.open(t)
	put(t, c, number(t, someone), held(then))
	put(t, c, number(t, another), none(then))
	for range 2 {
		wantGiven(t, c, number(t, someone), then.Add(time.Hour), held(then))
		wantGiven(t, c, number(t, another), then.Add(time.Hour), none(then))
		wantUnknown(t, c, number(t, "999 000 0034"), then)
		wantUnknown(t, c, safeguard.NHSNumber{}, then)
		must(t, c.Close())
		wantUnknown(t, c, number(t, someone), then.Add(time.Hour))
		c = h.open(t)
	}
}

func TestAges(t *testing.T) {
	for name, c := range map[string]struct {
		answer        safeguard.Answer
		age           time.Duration
		usable, fresh bool
	}{
		"held, new":                  {held(then), 0, true, true},
		"held, a day less a second":  {held(then), day - time.Second, true, true},
		"held, a day":                {held(then), day, true, false},
		"held, two weeks less a bit": {held(then), 14*day - time.Second, true, false},
		"held, two weeks":            {held(then), 14 * day, false, false},
		"none, an hour":              {none(then), time.Hour, true, true},
		"none, six hours":            {none(then), 6 * time.Hour, true, false},
		"none, a day less a second":  {none(then), day - time.Second, true, false},
		"none, a day":                {none(then), day, false, false},
		"clock a little behind":      {none(then), -time.Minute, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			cache := newHome(t).open(t)
			n, now := number(t, someone), then.Add(c.age)
			put(t, cache, n, c.answer)
			if c.usable {
				wantGiven(t, cache, n, now, c.answer)
			} else {
				wantUnknown(t, cache, n, now)
			}
			if got := cache.Fresh(n, now); got != c.fresh {
				t.Errorf("Fresh = %v, want %v", got, c.fresh)
			}
			cache.tend(t.Context(), now, true)
			want := 0
			if c.usable {
				want = 1
			}
			if got := cache.Stats().Entries; got != want {
				t.Errorf("%d answers kept after tending, want %d", got, want)
			}
		})
	}
}

func TestWhatIsNotKept(t *testing.T) {
	fromCache, noTime, noFlags, withFlags, because := held(then), held(time.Time{}), held(then), none(then), none(then)
	fromCache.Source = safeguard.FromCache
	noFlags.Flags = nil
	withFlags.Flags = []safeguard.Flag{plan}
	because.Reason = safeguard.CentreRefused
	strange := held(then)
	strange.Flags = []safeguard.Flag{{Authority: plan.Authority}}
	c := newHome(t).open(t)
	for name, a := range map[string]safeguard.Answer{
		"unknown": safeguard.UnknownBecause(safeguard.CentreUnreachable), "zero": {}, "from the cache": fromCache,
		"of no time": noTime, "held without flags": noFlags, "none held with flags": withFlags, "with a reason": because,
		"flag without a plan": strange,
	} {
		if err := c.Put(t.Context(), number(t, someone), a); err == nil {
			t.Errorf("%s: kept", name)
		}
	}
	if err := c.Put(t.Context(), safeguard.NHSNumber{}, held(then)); err == nil {
		t.Error("kept without a number")
	}
	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Put(stopped, number(t, someone), held(then)); !errors.Is(err, context.Canceled) {
		t.Errorf("Put = %v, want %v", err, context.Canceled)
	}
	put(t, c, safeguard.TestPatient, held(then))
	if n := c.Stats().Entries; n != 0 {
		t.Errorf("%d answers kept, want none", n)
	}
}

func TestNewerAnswerWins(t *testing.T) {
	c := newHome(t).open(t)
	n := number(t, someone)
	put(t, c, n, held(then))
	put(t, c, n, none(then.Add(-time.Minute))) // overtaken
	wantGiven(t, c, n, then, held(then))
	put(t, c, n, none(then.Add(time.Minute)))
	wantGiven(t, c, n, then.Add(time.Minute), none(then.Add(time.Minute)))
	if got := c.Stats().Entries; got != 1 {
		t.Errorf("%d answers kept, want 1", got)
	}
}

func TestWhatAnotherProgramStoredIsUnknownAndGivesWay(t *testing.T) {
	c := newHome(t).open(t)
	n := number(t, someone)
	for _, body := range []string{"", "{}", `{"v":2,"s":"none"}`, `{"v":1,"s":"none","f":[{}]}`, `{"v":1,"s":"held"}`, `{"v":1,"s":"held","f":[{"p":"XXX"}]}`} {
		must(t, c.store.Put(c.key(n), []byte(body), then, then.Add(day)))
		wantUnknown(t, c, n, then)
		put(t, c, n, held(then))
		wantGiven(t, c, n, then, held(then))
	}
}

func TestRefreshIsNoAttendance(t *testing.T) {
	c := newHome(t).open(t)
	n := number(t, someone)
	refresh := func(a safeguard.Answer) {
		t.Helper()
		must(t, c.PutFor(t.Context(), safeguard.Query{Number: n, Purpose: safeguard.Refresh, At: a.AsOf}, a))
	}
	refresh(held(then))
	if got := c.Stats().Entries; got != 0 {
		t.Fatal("a refresh began an entry")
	}
	put(t, c, n, held(then))
	refresh(held(then.Add(13 * day)))
	wantGiven(t, c, n, then.Add(14*day-time.Second), held(then.Add(13*day)))
	wantUnknown(t, c, n, then.Add(14*day))
	refresh(held(then.Add(14 * day))) // too late: not attended for the retention period
	wantUnknown(t, c, n, then.Add(14*day))

	late := safeguard.Query{Number: n, Purpose: safeguard.Unscheduled, At: then.Add(10 * day)}
	must(t, c.PutFor(t.Context(), late, held(then.Add(20*day))))
	wantGiven(t, c, n, then.Add(24*day-time.Second), held(then.Add(20*day)))
	wantUnknown(t, c, n, then.Add(24*day)) // counts from the attendance, not from its late lookup
}

func TestIdentityIsChecked(t *testing.T) {
	born := func(day int) safeguard.Private[safeguard.Date] {
		return safeguard.Hide(safeguard.Date{Year: 2019, Month: 4, Day: day})
	}
	query := func(n string, b safeguard.Private[safeguard.Date]) safeguard.Query {
		return safeguard.Query{Number: number(t, n), Born: b, Purpose: safeguard.Unscheduled, At: then}
	}
	unborn := safeguard.Private[safeguard.Date]{}
	c := newHome(t).open(t)
	must(t, c.PutFor(t.Context(), query(someone, born(2)), held(then)))
	must(t, c.PutFor(t.Context(), query(another, born(2)), none(then)))
	put(t, c, number(t, "999 000 0034"), held(then))

	for name, q := range map[string]struct {
		query  safeguard.Query
		status safeguard.Status
		reason safeguard.Reason
	}{
		"same date of birth":        {query(someone, born(2)), safeguard.Held, safeguard.NoReason},
		"another date of birth":     {query(someone, born(3)), safeguard.Unknown, safeguard.IdentityNotConfirmed},
		"asked without":             {query(someone, unborn), safeguard.Held, safeguard.NoReason},
		"none held knows no birth":  {query(another, born(3)), safeguard.NoneHeld, safeguard.NoReason},
		"flag never confirmed":      {query("999 000 0034", born(2)), safeguard.Unknown, safeguard.IdentityNotConfirmed},
		"never confirmed nor asked": {query("999 000 0034", unborn), safeguard.Held, safeguard.NoReason},
		"nothing kept":              {query("999 000 0042", born(2)), safeguard.Unknown, safeguard.CentreUnreachable},
	} {
		got, ok := c.GetFor(q.query, then)
		if got.Status != q.status || got.Reason != q.reason || ok != (q.status != safeguard.Unknown) {
			t.Errorf("%s: GetFor = %v %q, %v, want %v %q", name, got.Status, got.Reason, ok, q.status, q.reason)
		}
	}

	put(t, c, number(t, someone), held(then.Add(time.Minute))) // asked without: what was confirmed stays
	if got, ok := c.GetFor(query(someone, born(2)), then.Add(time.Minute)); !ok {
		t.Errorf("GetFor = %+v, %v, want held", got, ok)
	}
}

func TestDrop(t *testing.T) {
	h := newHome(t)
	c := h.open(t)
	put(t, c, number(t, someone), held(then))
	put(t, c, number(t, another), held(then))
	must(t, c.Drop(number(t, someone)))
	must(t, c.Drop(number(t, "999 000 0034")))
	must(t, c.Close())
	c = h.open(t)
	wantUnknown(t, c, number(t, someone), then)
	wantGiven(t, c, number(t, another), then, held(then))
}

func TestOff(t *testing.T) {
	h := newHome(t)
	c := h.open(t)
	n := number(t, someone)
	put(t, c, n, held(then))
	must(t, c.SetPolicy(Policy{}))
	for name, c := range map[string]*Cache{"turned off": c, "nil": nil} {
		put(t, c, n, held(then))
		wantUnknown(t, c, n, then)
		if c.Fresh(n, then) || c.Stats().State != Off || c.Drop(n) != nil {
			t.Errorf("%s: Stats = %+v", name, c.Stats())
		}
	}
	for _, path := range files(t, h.dir()) {
		if filepath.Base(path) != "lock" {
			t.Errorf("%s is left of a cache that is off", path)
		}
	}
	must(t, c.SetPolicy(agreed()))
	wantUnknown(t, c, n, then)
	put(t, c, n, held(then))
	wantGiven(t, c, n, then, held(then))
	must(t, c.Close())

	ring, err := h.ring()
	must(t, err)
	c, err = Open(h.dir(), ring, DefaultPolicy())
	must(t, err)
	wantUnknown(t, c, n, then)
	must(t, c.Close())
	must(t, (*Cache)(nil).Close())
	wantUnknown(t, h.open(t), n, then) // destroyed when it was off
}

func TestShorterPolicyHoldsAtOnce(t *testing.T) {
	c := newHome(t).open(t)
	n := number(t, someone)
	put(t, c, n, held(then))
	p := agreed()
	p.Held = Ages{Fresh: time.Hour, Usable: 2 * time.Hour}
	p.None = p.Held
	must(t, c.SetPolicy(p))
	wantGiven(t, c, n, then.Add(time.Hour), held(then))
	wantUnknown(t, c, n, then.Add(2*time.Hour))
}

func TestPolicyValidate(t *testing.T) {
	for name, c := range map[string]struct {
		change func(p *Policy)
		want   string // in the error; empty where it is valid
	}{
		"default":             {func(*Policy) {}, ""},
		"off":                 {func(p *Policy) { *p = Policy{} }, ""},
		"never usable":        {func(p *Policy) { p.Held.Usable = 0 }, "held usable"},
		"usable for ever":     {func(p *Policy) { p.Held.Usable = 1000 * day }, "held usable"},
		"fresh beyond usable": {func(p *Policy) { p.None.Fresh = 2 * day }, "none fresh"},
		"never fresh":         {func(p *Policy) { p.Held.Fresh = -1 }, "held fresh"},
		"none beyond held":    {func(p *Policy) { p.None.Usable = 20 * day }, "none usable"},
		"never retained":      {func(p *Policy) { p.Retention = 0 }, "retention"},
	} {
		p := agreed()
		c.change(&p)
		err := p.Validate()
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: Validate = %v, want %q", name, err, c.want)
		}
	}
	ring, err := newHome(t).ring()
	must(t, err)
	if _, err := Open(t.TempDir(), ring, Policy{Agreement: "x"}); err == nil {
		t.Error("Open took a policy that can not work")
	}
}

func TestNothingAboutAPersonOnDiskOrInLogs(t *testing.T) {
	h := newHome(t)
	var logged bytes.Buffer
	c := h.open(t, WithLog(slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))))
	born := safeguard.Hide(safeguard.Date{Year: 2019, Month: 4, Day: 2})
	for range 50 {
		must(t, c.PutFor(t.Context(), safeguard.Query{Number: number(t, someone), Born: born, At: then}, held(then)))
	}
	canaries := []string{"9434765919", "943 476 5919", "5919", "Canaryshire", "0191 498", "2019-04-02", "2026-03-04", string(c.born(born))}
	look := func() {
		t.Helper()
		for _, path := range files(t, h.root) {
			body, err := os.ReadFile(path)
			must(t, err)
			for _, canary := range canaries {
				if bytes.Contains(body, []byte(canary)) || strings.Contains(path, canary) {
					t.Errorf("%s tells %q", path, canary)
				}
			}
		}
	}
	look()
	must(t, c.Close())
	look()

	must(t, os.Remove(filepath.Join(h.dir(), "badger", "MANIFEST")))
	damaged := h.open(t, WithLog(c.options.Log))
	err := damaged.Put(t.Context(), number(t, someone), safeguard.Answer{Status: safeguard.Held, AsOf: then})
	if err == nil {
		t.Error("kept an answer of no source")
	} else {
		logged.WriteString(err.Error())
	}
	for _, canary := range canaries {
		if strings.Contains(logged.String(), canary) {
			t.Errorf("logs tell %q", canary)
		}
	}
	if !strings.Contains(logged.String(), "cache begun anew") {
		t.Errorf("no warning of the loss in the log: %s", &logged)
	}
}

func files(t testing.TB, dir string) (paths []string) {
	t.Helper()
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			paths = append(paths, path)
		}
		return err
	}))
	return paths
}

func TestDamagedCacheIsUnknownAndBeginsAnew(t *testing.T) {
	h := newHome(t)
	c := h.open(t)
	n := number(t, someone)
	put(t, c, n, none(then))
	must(t, c.Close())
	must(t, os.Remove(filepath.Join(h.dir(), "badger", "MANIFEST")))

	c = h.open(t)
	wantUnknown(t, c, n, then)
	if st := c.Stats(); st.State != Ready || st.Anew.Why == "" || st.Anew.At.IsZero() {
		t.Errorf("Stats = %+v, want begun anew, and why", st)
	}
	put(t, c, n, held(then))
	wantGiven(t, c, n, then, held(then))
}

// Damage that comes while the cache runs: unknown at once, and begun anew by Run.
// There is more kept than Badger holds in memory, where damage does not show.
func TestLostCacheIsUnknownAndBeginsAnewByItself(t *testing.T) {
	h := newHome(t)
	c := h.open(t)
	large := held(then)
	large.Flags[0].Authority.Name = strings.Repeat("Canaryshire ", 5000)
	var numbers []safeguard.NHSNumber
	for i := 0; len(numbers) < 300; i++ {
		if n, err := safeguard.ParseNHSNumber(fmt.Sprintf("999%07d", i)); err == nil && n != safeguard.TestPatient {
			numbers = append(numbers, n)
			put(t, c, n, large)
		}
	}
	must(t, c.Close())
	c = h.open(t)
	tables, err := filepath.Glob(filepath.Join(h.dir(), "badger", "*.sst"))
	must(t, err)
	for _, path := range tables {
		table, err := os.OpenFile(path, os.O_RDWR, 0)
		must(t, err)
		info, err := table.Stat()
		must(t, err)
		_, err = table.WriteAt([]byte("damage"), info.Size()/2) // within a value, as they are long
		must(t, errors.Join(err, table.Close()))
	}

	n := numbers[0]
	for _, n = range numbers {
		if _, ok := c.Get(n, then); !ok {
			break
		}
	}
	wantUnknown(t, c, n, then)
	wantUnknown(t, c, numbers[0], then)
	if st := c.Stats(); st.State != Unavailable || st.Why == "" {
		t.Errorf("Stats = %+v, want unavailable, and why", st)
	}
	if err := c.Put(t.Context(), n, held(then)); !errors.Is(err, sealed.ErrLost) {
		t.Errorf("Put = %v, want %v", err, sealed.ErrLost)
	}
	select {
	case <-c.wake:
	default:
		t.Error("Run was not asked to look")
	}
	c.tend(t.Context(), then, false)
	if st := c.Stats(); st.State != Ready || st.Anew.Why == "" {
		t.Errorf("Stats = %+v, want begun anew", st)
	}
	put(t, c, n, held(then))
	wantGiven(t, c, n, then, held(then))
}

func TestFullDisk(t *testing.T) {
	h := newHome(t)
	c := h.open(t, WithFloor(1<<62))
	n := number(t, someone)
	if err := c.Put(t.Context(), n, held(then)); err == nil {
		t.Error("Put on a full disk succeeded")
	}
	wantUnknown(t, c, n, then)
	if st := c.Stats(); st.State != Unavailable || !strings.Contains(st.Why, sealed.ErrNoSpace.Error()) {
		t.Errorf("Stats = %+v, want unavailable for want of space", st)
	}
	c.tend(t.Context(), then, false)
	if st := c.Stats(); st.State != Unavailable {
		t.Errorf("Stats = %+v, want unavailable still", st)
	}
	c.options.Floor = 1 // space is there again
	c.tend(t.Context(), then, false)
	put(t, c, n, held(then))
	wantGiven(t, c, n, then, held(then))
	if st := c.Stats(); st.State != Ready || st.Entries != 1 || st.Anew.Why != "" {
		t.Errorf("Stats = %+v, want ready", st)
	}
}

func TestSecondCacheInOneFolderIsRefused(t *testing.T) {
	h := newHome(t)
	h.open(t)
	ring, err := h.ring()
	must(t, err)
	for _, p := range []Policy{agreed(), {}} {
		if _, err := Open(h.dir(), ring, p, WithLog(slog.New(slog.DiscardHandler))); !errors.Is(err, sealed.ErrInUse) {
			t.Errorf("Open = %v, want %v", err, sealed.ErrInUse)
		}
	}
}

func TestBackupWithoutMasterIsUseless(t *testing.T) {
	h := newHome(t)
	c := h.open(t)
	n := number(t, someone)
	put(t, c, n, held(then))
	must(t, c.Close())
	thief := newHome(t)
	must(t, os.CopyFS(filepath.Join(thief.root, "data"), os.DirFS(filepath.Join(h.root, "data"))))
	if _, err := thief.ring(); !errors.Is(err, keys.ErrMasterMissing) {
		t.Errorf("keys open with %v, want %v", err, keys.ErrMasterMissing)
	}
	must(t, os.RemoveAll(filepath.Join(thief.root, "data", "keys")))
	c = thief.open(t)
	wantUnknown(t, c, n, then)
	if st := c.Stats(); st.Entries != 0 || st.Anew.Why == "" {
		t.Errorf("Stats = %+v, want begun anew", st)
	}
}

func TestDataKeysRotateWhileRunning(t *testing.T) {
	h := newHome(t)
	c := h.open(t)
	put(t, c, number(t, someone), held(then))
	must(t, c.ring.Rotate())
	put(t, c, number(t, another), none(then))
	must(t, c.ring.Rewrap())
	must(t, c.Close())
	c = h.open(t)
	wantGiven(t, c, number(t, someone), then, held(then))
	wantGiven(t, c, number(t, another), then, none(then))
}

func TestRunEndsWithItsContext(t *testing.T) {
	for _, c := range []*Cache{nil, newHome(t).open(t)} {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- c.Run(ctx) }()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v", err)
		}
	}
}

func BenchmarkCache(b *testing.B) {
	c := newHome(b).open(b)
	n := number(b, someone)
	put(b, c, n, held(then))
	b.Run("Get", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, ok := c.Get(n, then); !ok {
				b.Fatal("not given")
			}
		}
	})
	b.Run("Put", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			put(b, c, n, held(then))
		}
	})
}
