// Package alarm tells those who operate of what is wrong in the fleet: by signed
// webhooks and by mail, each route what is for it. What opens together is told
// together, so that many warnings are not many messages; what is not critical
// waits until the quiet hours are over, and is not told at all where it has closed
// by then. Nothing that is told is about a patient.
package alarm

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/store"
)

// Store is where the warnings are, and what each route was told of.
type Store interface {
	Untold(ctx context.Context, route string, since time.Time) ([]store.FleetWarning, error)
	Told(ctx context.Context, route string, warnings []store.FleetWarning, at time.Time) error
	Directory(ctx context.Context, known int64) (store.Directory, error)
	Lease(ctx context.Context, name, holder string, d time.Duration) (bool, error)
}

// Carrier takes a message to its receiver. An error means that it may not have come.
type Carrier interface {
	Carry(ctx context.Context, m Message) error
}

// Message is what one route is told at one time.
type Message struct {
	ID       string // the same when it is sent again
	At       time.Time
	Warnings []store.FleetWarning // opened or closed, the worst first
}

// Route is who is told, of what, and how.
type Route struct {
	Name     string
	Severity safeguard.Severity // at least
	// Only these warnings; empty for all.
	Warnings []safeguard.WarningCode
	// Only what is about one of these organisations, sites or local authorities;
	// empty for all.
	Codes   []safeguard.ODSCode
	Quiet   Quiet
	Carrier Carrier
}

// Quiet are hours in which only what is critical is told. The zero value is none.
type Quiet struct {
	From, Until time.Duration // since midnight; over midnight where Until is earlier
	Weekends    bool          // all of Saturday and Sunday too
	Zone        *time.Location
}

// At tells whether the moment is in the quiet hours.
func (q Quiet) At(t time.Time) bool {
	if q.Zone != nil {
		t = t.In(q.Zone)
	}
	if day := t.Weekday(); q.Weekends && (day == time.Saturday || day == time.Sunday) {
		return true
	}
	since := time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute
	if q.From <= q.Until {
		return since >= q.From && since < q.Until
	}
	return since >= q.From || since < q.Until
}

const (
	lookEvery = 15 * time.Second
	leaseTime = 2 * time.Minute
	carryTime = 30 * time.Second
	lookBack  = 72 * time.Hour // what opened before is not told by a route that is new
	together  = 100            // warnings in one message
	longPause = 5 * time.Minute
)

// Teller tells the routes. All fields are needed.
type Teller struct {
	Store  Store
	Holder string // names this process among those that share the store
	Routes []Route
	Log    *slog.Logger
}

// Run tells until ctx ends.
func (t *Teller) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, r := range t.Routes {
		g.Go(func() error { return t.follow(ctx, r) })
	}
	return g.Wait()
}

// follow tells one route. What was not taken is tried again, later and later.
func (t *Teller) follow(ctx context.Context, r Route) error {
	defer func() {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), carryTime)
		defer cancel()
		_, _ = t.Store.Lease(last, "alarm "+r.Name, t.Holder, 0) // else it runs out by itself
	}()
	for failures := 0; ; {
		pause := lookEvery
		if err := t.some(ctx, r, time.Now()); err != nil && ctx.Err() == nil {
			if failures++; failures == 1 {
				t.Log.Error("route not told, trying again", "route", r.Name, "err", err)
			}
			pause = min(lookEvery<<min(failures-1, 8), longPause)
		} else if failures > 0 {
			t.Log.Info("route told again", "route", r.Name, "failures", failures)
			failures = 0
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil
		}
	}
}

// some tells what is due, if this is the process that does.
func (t *Teller) some(ctx context.Context, r Route, now time.Time) error {
	mine, err := t.Store.Lease(ctx, "alarm "+r.Name, t.Holder, leaseTime)
	if err != nil || !mine {
		return err
	}
	list, err := t.Store.Untold(ctx, r.Name, now.Add(-lookBack))
	if err != nil || len(list) == 0 {
		return err
	}
	directory, err := t.Store.Directory(ctx, 0)
	if err != nil {
		return err
	}
	quiet := r.Quiet.At(now)
	list = slices.DeleteFunc(list, func(w store.FleetWarning) bool {
		severity := w.Code.Declared().Severity
		return severity < r.Severity || len(r.Warnings) > 0 && !slices.Contains(r.Warnings, w.Code) || quiet && severity < safeguard.Critical || !r.concerns(w.Subject, directory)
	})
	slices.SortStableFunc(list, func(a, b store.FleetWarning) int {
		return int(b.Code.Declared().Severity - a.Code.Declared().Severity)
	})
	for some := range slices.Chunk(list, together) {
		ctx, cancel := context.WithTimeout(ctx, carryTime)
		err := r.Carrier.Carry(ctx, Message{ID: id(r, some), At: now, Warnings: some})
		if err == nil {
			err = t.Store.Told(ctx, r.Name, some, now)
		}
		cancel()
		if err != nil {
			return err
		}
	}
	return nil
}

// concerns tells whether the subject is one of the route's.
func (r Route) concerns(s store.Subject, d store.Directory) bool {
	if len(r.Codes) == 0 {
		return true
	}
	is := func(code safeguard.ODSCode) bool { return slices.Contains(r.Codes, code) }
	switch s.Kind {
	case store.AboutAuthority:
		return slices.ContainsFunc(r.Codes, func(c safeguard.ODSCode) bool { return c.String() == s.Name })
	case store.AboutSite:
		return slices.ContainsFunc(d.Sites, func(site store.Site) bool {
			return site.Organisation.String()+"/"+site.Code.String() == s.Name && (is(site.Code) || is(site.Organisation))
		})
	}
	key, err := store.ParseAgentKey(s.Name)
	return err == nil && (is(key.Organisation) || slices.ContainsFunc(d.Sites, func(site store.Site) bool {
		return site.Organisation == key.Organisation && is(site.Code)
	}))
}

// id is the same for the same.
func id(r Route, list []store.FleetWarning) string {
	last := list[0]
	for _, w := range list {
		if w.ID > last.ID {
			last = w
		}
	}
	state := "opened"
	if !last.Closed.IsZero() {
		state = "closed"
	}
	return fmt.Sprintf("fleet_%s_%d_%s_%d", r.Name, last.ID, state, len(list))
}

// Line says one warning in a line.
func Line(w store.FleetWarning) string {
	if !w.Closed.IsZero() {
		return fmt.Sprintf("closed: %s: %s", w.Subject, w.Sentence())
	}
	return fmt.Sprintf("%s: %s: %s", w.Code.Declared().Severity, w.Subject, w.Sentence())
}
