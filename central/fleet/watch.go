package fleet

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/store"
	"github.com/safeguard-edge/safeguard/holidays"
)

// Store is what a watcher works on.
type Store interface {
	Source
	store.Fleet
	Uploads(ctx context.Context, which store.UploadFilter) ([]store.Kept, error)
	Lease(ctx context.Context, name, holder string, d time.Duration) (bool, error)
	BreakGlassWaiting(ctx context.Context) ([]store.WaitingView, error)
}

// Policy is what central operations decide.
type Policy struct {
	Limits      safeguard.Limits
	Version     string         // that agents are to have, where nothing else is decided; empty for any
	Zone        *time.Location // of the hospitals' weeks
	DataOverdue time.Duration  // after a local authority's last upload, where its rhythm is not known
}

// DefaultPolicy is that of a live centre, in UTC.
func DefaultPolicy() Policy {
	limits := safeguard.DefaultLimits()
	limits.Corrected, limits.Holiday = true, holidays.England
	return Policy{Limits: limits, Zone: time.UTC, DataOverdue: 7 * 24 * time.Hour}
}

const (
	passEvery   = 10 * time.Second
	leaseTime   = 45 * time.Second
	silence     = 75 * time.Second // two heartbeats and a half: then an agent is silent, and its grace goes on
	slack       = 5 * time.Second  // between the clocks of two processes
	uploadsEach = 5 * time.Minute
	wholeEach   = 5 * time.Minute  // how soon an agent is gone that was forgotten
	learnAfter  = 10 * time.Minute // the end of an hour; until then its last periods come
	sharedFor   = 10 * time.Minute
	detailEach  = 5 * time.Minute // how often what is open has its figures brought up to date

	keepPeriods  = 49 * time.Hour
	keepHours    = 63 * 24 * time.Hour
	keepWarnings = 400 * 24 * time.Hour
)

// Watcher finds what is missing, and opens and closes warnings. Of several that
// work on one store one does so at a time. All fields are needed.
type Watcher struct {
	Store  Store
	Holder string // names this process among those that share the store
	Policy Policy
	Log    *slog.Logger

	began       time.Time // when this one began to watch; zero while another does
	read, whole time.Time // that all agents, and those heard from since, were read
	directory   store.Directory
	agents      map[store.AgentKey]*watched
	subjects    map[store.Subject]*subject
	authorities map[safeguard.ODSCode][]store.Kept // uploads, the latest first
	uploadsRead time.Time
	views       []store.WaitingView // by break-glass, not reviewed
	learnt      time.Time           // hour
}

// watched is an agent as it was last read.
type watched struct {
	store.FleetAgent
	usual  safeguard.Usual
	learnt time.Time
}

// subject is one that may have warnings.
type subject struct {
	watch safeguard.Watch
	open  []store.FleetWarning // as kept
}

// Run watches until ctx ends. While the store does not answer, nothing opens and
// nothing closes.
func (w *Watcher) Run(ctx context.Context) error {
	tick := time.NewTicker(passEvery)
	defer tick.Stop()
	failing := false
	for {
		err := w.Pass(ctx, time.Now())
		if err != nil && !failing && ctx.Err() == nil {
			w.Log.Error("fleet not watched, trying again", "err", err)
		}
		failing = err != nil
		select {
		case <-tick.C:
		case <-ctx.Done():
			if !w.began.IsZero() {
				last, cancel := context.WithTimeout(context.WithoutCancel(ctx), passEvery)
				_, _ = w.Store.Lease(last, lease, w.Holder, 0) // else it runs out by itself
				cancel()
			}
			return nil
		}
	}
}

const lease = "fleet"

// Pass looks once, if this is the process that does.
func (w *Watcher) Pass(ctx context.Context, now time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, leaseTime/2)
	defer cancel()
	mine, err := w.Store.Lease(ctx, lease, w.Holder, leaseTime)
	if err != nil || !mine {
		w.began = time.Time{}
		return err
	}
	if w.began.IsZero() {
		w.begin(now)
	}
	if err := w.readAll(ctx, now); err != nil {
		return err
	}
	w.learn(ctx, now)
	return w.judge(ctx, now)
}

// begin forgets what is another's to know by now.
func (w *Watcher) begin(now time.Time) {
	w.began, w.read, w.whole, w.uploadsRead, w.learnt = now, time.Time{}, time.Time{}, time.Time{}, time.Time{}
	w.directory, w.agents, w.subjects = store.Directory{}, map[store.AgentKey]*watched{}, map[store.Subject]*subject{}
	w.Log.Info("watching the fleet")
}

func (w *Watcher) readAll(ctx context.Context, now time.Time) error {
	whole := now.Sub(w.whole) >= wholeEach
	since := w.read.Add(-slack)
	if whole {
		since = time.Time{}
	}
	agents, err := w.Store.FleetAgents(ctx, since)
	if err != nil {
		return err
	}
	if whole {
		w.whole = now
		there := map[store.AgentKey]bool{}
		for _, a := range agents {
			there[a.Key] = true
		}
		maps.DeleteFunc(w.agents, func(k store.AgentKey, _ *watched) bool { return !there[k] })
	}
	for _, a := range agents {
		known := w.agents[a.Key]
		if known == nil {
			known = &watched{}
			if known.usual, known.learnt, err = w.Store.FleetUsual(ctx, a.Key); err != nil {
				return err
			}
			w.agents[a.Key] = known
		}
		known.FleetAgent = a
		for _, f := range a.Report.Feeds {
			if u := known.usual.Feed(f.Name); f.LastMessage.After(u.Last) {
				u.Last = f.LastMessage
			}
		}
	}
	d, err := w.Store.Directory(ctx, w.directory.Version)
	if err != nil {
		return err
	}
	if d.Version != w.directory.Version {
		w.directory = d
	}
	if now.Sub(w.uploadsRead) >= uploadsEach {
		if w.authorities, err = w.uploads(ctx, now); err != nil {
			return err
		}
		w.uploadsRead = now
	}
	if w.views, err = w.Store.BreakGlassWaiting(ctx); err != nil {
		return err
	}
	open, err := w.Store.FleetWarnings(ctx, store.WarningFilter{Open: true})
	if err != nil {
		return err
	}
	for _, s := range w.subjects {
		s.open = nil
	}
	for _, o := range open {
		s := w.subject(o.Subject)
		s.open = append(s.open, o)
	}
	for _, s := range w.subjects {
		s.watch.Resume(now, plain(s.open))
	}
	w.read = now
	return nil
}

func (w *Watcher) subject(name store.Subject) *subject {
	s := w.subjects[name]
	if s == nil {
		s = &subject{}
		w.subjects[name] = s
	}
	return s
}

func plain(list []store.FleetWarning) []safeguard.Warning {
	out := make([]safeguard.Warning, len(list))
	for i, w := range list {
		out[i] = w.Warning
	}
	return out
}

// judge finds what is wrong with each subject, and changes what is open.
func (w *Watcher) judge(ctx context.Context, now time.Time) error {
	found := map[store.Subject][]safeguard.Warning{}
	for name := range w.subjects {
		found[name] = nil // so that what is open of one that has gone closes
	}
	organisations := map[safeguard.ODSCode]bool{}
	for key, a := range w.agents {
		organisations[key.Organisation] = true
		found[aboutAgent(key)] = w.wrongWith(a, now)
	}
	for _, s := range w.directory.Sites {
		found[aboutSite(s)] = append(unattended(s, organisations[s.Organisation]), w.unreviewed(s)...)
	}
	for _, a := range w.directory.Authorities {
		found[aboutAuthority(a.Code)] = w.late(a, now)
	}
	var open []store.FleetWarning
	var closed []int64
	for name, wrong := range found {
		s := w.subject(name)
		own, gone := s.follow(name, now, wrong)
		open, closed = append(open, own...), append(closed, gone...)
	}
	for _, o := range open {
		if o.ID == 0 {
			w.Log.Warn("warning opened", "about", o.Subject, "code", o.Code, "part", o.Part, "warning", o.Sentence())
		}
	}
	for _, id := range closed {
		w.Log.Info("warning closed", "id", id)
	}
	return w.Store.ChangeWarnings(ctx, now, open, closed)
}

// follow says what is to be opened, or to have other figures, and what is to be
// closed.
func (s *subject) follow(name store.Subject, now time.Time, wrong []safeguard.Warning) (open []store.FleetWarning, closed []int64) {
	have := s.watch.Open(now, wrong)
	for _, h := range have {
		i := slices.IndexFunc(s.open, func(o store.FleetWarning) bool { return o.Code == h.Code && o.Part == h.Part })
		switch {
		case i < 0:
			open = append(open, store.FleetWarning{Subject: name, Warning: h})
		case s.open[i].Detail != h.Detail && now.Truncate(detailEach).Equal(now.Truncate(passEvery)):
			o := s.open[i]
			o.Detail = h.Detail
			open = append(open, o)
		}
	}
	for _, o := range s.open {
		if !slices.ContainsFunc(have, func(h safeguard.Warning) bool { return o.Code == h.Code && o.Part == h.Part }) {
			closed = append(closed, o.ID)
		}
	}
	return open, closed
}

// wrongWith finds what is wrong with an agent. Of one that is not heard from
// nothing else is known: what was open stays, and nothing opens.
func (w *Watcher) wrongWith(a *watched, now time.Time) (wrong []safeguard.Warning) {
	heard := a.Heard
	if w.began.After(heard) {
		heard = w.began // it may have been the centre that was away
	}
	if now.Sub(heard) > silence {
		code := safeguard.AgentSilent
		if a.Report.State == safeguard.Stopping {
			code = safeguard.AgentStopped
		}
		wrong = append(wrong, safeguard.Warning{Code: code, Since: heard, Detail: "last heard from on " + a.Heard.In(w.Policy.Zone).Format("2 Jan 15:04:05")})
		for _, o := range w.subject(aboutAgent(a.Key)).open {
			if o.Code != safeguard.AgentSilent && o.Code != safeguard.AgentStopped {
				wrong = append(wrong, o.Warning)
			}
		}
		return wrong
	}
	wrong = a.Report.Check(a.Report.At.In(w.Policy.Zone), w.Policy.Limits, &a.usual)
	for _, own := range a.Report.Warnings {
		if !known(own.Code) { // by a newer program
			wrong = append(wrong, own)
		}
	}
	if !a.Superseded.IsZero() && now.Sub(a.Superseded) < sharedFor {
		wrong = append(wrong, safeguard.Warning{Code: safeguard.AgentShared, Since: a.Superseded, Detail: "the other was heard on " + a.Superseded.In(w.Policy.Zone).Format("2 Jan 15:04:05")})
	}
	want := a.WantVersion
	if want == "" {
		want = w.Policy.Version
	}
	if want != "" && a.Report.Version != want {
		wrong = append(wrong, safeguard.Warning{Code: safeguard.VersionBehind, Detail: fmt.Sprintf("it has %s, want %s", a.Report.Version, want)})
	}
	if a.WantConfig != "" && a.Report.Config != a.WantConfig {
		wrong = append(wrong, safeguard.Warning{Code: safeguard.ConfigDiffers, Detail: fmt.Sprintf("it has %.12s, want %.12s", a.Report.Config, a.WantConfig)})
	}
	return wrong
}

func known(code safeguard.WarningCode) bool {
	return slices.ContainsFunc(safeguard.AllDeclared(), func(d safeguard.Declared) bool { return d.Code == code })
}

func unattended(s store.Site, heard bool) []safeguard.Warning {
	if s.Stage == store.Invited || heard {
		return nil
	}
	return []safeguard.Warning{{Code: safeguard.SiteUnattended, Since: s.Changed, Detail: "stage " + s.Stage.String()}}
}

// unreviewed are the views from the site that its privacy officer has not reviewed:
// each a warning, so that each is told.
func (w *Watcher) unreviewed(s store.Site) (wrong []safeguard.Warning) {
	for _, v := range w.views {
		if v.Organisation == s.Organisation && v.Site == s.Code {
			wrong = append(wrong, safeguard.Warning{Code: safeguard.BreakGlassWaiting, Part: strconv.FormatInt(v.Position, 10), Since: v.At})
		}
	}
	return wrong
}

// learn takes up the hours that are over, once an hour, and lets go what is old.
func (w *Watcher) learn(ctx context.Context, now time.Time) {
	over := now.Add(-learnAfter).Truncate(time.Hour)
	if !over.After(w.learnt) {
		return
	}
	for key, a := range w.agents {
		if err := w.learnAgent(ctx, key, a, over); err != nil {
			w.Log.Warn("what is usual not learnt", "agent", key, "err", err)
			return // again with the next pass
		}
	}
	if err := w.Store.RetainFleet(ctx, now.Add(-keepPeriods), now.Add(-keepHours), now.Add(-keepWarnings)); err != nil {
		w.Log.Warn("what is old of the fleet not removed", "err", err)
		return
	}
	w.learnt = over
}

func (w *Watcher) learnAgent(ctx context.Context, key store.AgentKey, a *watched, over time.Time) error {
	if !over.After(a.learnt) {
		return nil
	}
	from := a.learnt
	if oldest := over.Add(-keepHours); from.Before(oldest) {
		from = oldest
	}
	hours, err := w.Store.FleetHours(ctx, key, from)
	if err != nil {
		return err
	}
	for _, h := range hours {
		if !h.Whole.Start.Before(over) || len(h.Periods) < 11 {
			continue // it was not seen as a whole
		}
		hour := h.Whole
		hour.Start = hour.Start.In(w.Policy.Zone)
		a.usual.Learn(hour, w.Policy.Limits)
	}
	if err := w.Store.LearnUsual(ctx, key, a.usual, over); err != nil {
		return err
	}
	a.learnt = over
	return nil
}
