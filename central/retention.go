package central

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"text/tabwriter"
	"time"

	"github.com/safeguard-edge/safeguard/central/audit"
	"github.com/safeguard-edge/safeguard/central/store"
)

// Retention is how long is kept what nobody works with any more. 0 keeps a kind for
// ever.
type Retention struct {
	Daily         bool          `yaml:"daily"`         // the centre removes by itself what is older, once a day; else only 'retention run' does
	ClosedFlags   time.Duration `yaml:"closed_flags"`  // after a flag was superseded or withdrawn
	Accesses      time.Duration `yaml:"accesses"`      // after an unscheduled access was recorded
	Notifications time.Duration `yaml:"notifications"` // after a notification or notice was taken over by the local authority
	Reports       time.Duration `yaml:"reports"`       // after an upload was received: the verdicts on its rows
}

const year = 365 * 24 * time.Hour

// defaultRetention is long, since what is removed is gone.
func defaultRetention() Retention {
	return Retention{Daily: true, ClosedFlags: 8 * year, Accesses: 8 * year, Notifications: year, Reports: year}
}

// shortestKept is for mistakes such as an hour meant as a year.
const shortestKept = 30 * 24 * time.Hour

func (r Retention) validate() error {
	for _, age := range []struct {
		key string
		time.Duration
	}{{"closed_flags", r.ClosedFlags}, {"accesses", r.Accesses}, {"notifications", r.Notifications}, {"reports", r.Reports}} {
		if age.Duration != 0 && age.Duration < shortestKept {
			return fmt.Errorf("retention.%s: %v, want %v or more, such as 8760h for a year, or 0 to keep all", age.key, age.Duration, shortestKept)
		}
	}
	return nil
}

// rule is the retention as of now.
func (r Retention) rule(now time.Time) store.Retention {
	ago := func(age time.Duration) time.Time {
		if age <= 0 {
			return time.Time{}
		}
		return now.Add(-age)
	}
	return store.Retention{ClosedFlags: ago(r.ClosedFlags), Accesses: ago(r.Accesses), Notifications: ago(r.Notifications), Reports: ago(r.Reports)}
}

// retain removes what is older, and keeps what came of it.
func (r Retention) retain(ctx context.Context, s store.Store, by audit.Who) (store.RetentionRun, error) {
	run := store.RetentionRun{Began: time.Now(), Who: by.Caller, Rule: r.rule(time.Now())}
	var err error
	run.Removed, err = s.Retain(ctx, run.Rule, by)
	if run.Ended = time.Now(); err != nil {
		run.Failed = err.Error()
	}
	noting, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	return run, errors.Join(err, s.NoteRetention(noting, run))
}

// retaining removes once a day what is older than it is to be kept. Of several
// processes one does.
type retaining struct {
	store  store.Store
	rule   Retention
	holder string
	log    *slog.Logger
}

const (
	retainDaily = 24 * time.Hour
	retainLook  = 10 * time.Minute // how soon it is done once it is due
	retainTime  = time.Hour        // at most; what is left goes the next day
)

// Run looks until ctx ends whether it is time.
func (r retaining) Run(ctx context.Context) error {
	if !r.rule.Daily {
		return nil
	}
	tick := time.NewTicker(retainLook)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := r.look(ctx, time.Now()); err != nil && ctx.Err() == nil {
				r.log.Error("what is older than it is to be kept was not removed, trying again", "err", err)
			}
		}
	}
}

func (r retaining) look(ctx context.Context, now time.Time) error {
	const lease = "retention"
	mine, err := r.store.Lease(ctx, lease, r.holder, retainTime+retainLook)
	if err != nil || !mine {
		return err
	}
	defer func() {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		_, _ = r.store.Lease(last, lease, r.holder, 0) // else it runs out by itself
	}()
	last, err := r.store.RetentionRuns(ctx, 1)
	if err != nil || len(last) > 0 && last[0].Failed == "" && now.Sub(last[0].Began) < retainDaily {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, retainTime)
	defer cancel()
	run, err := r.rule.retain(ctx, r.store, audit.Who{Caller: "retention"})
	if err == nil {
		r.log.Info("what is older than it is to be kept was removed", "took", run.Ended.Sub(run.Began), "persons", run.Removed.Persons, "flags", run.Removed.Flags,
			"accesses", run.Removed.Accesses, "notifications", run.Removed.Notifications, "reports", run.Removed.Reports)
	}
	return err
}

// shownRemoved is what was, or would be, removed, as JSON shows it.
type shownRemoved struct {
	Persons       int `json:"persons"`
	Flags         int `json:"flags"`
	Accesses      int `json:"accesses"`
	Notifications int `json:"notifications"`
	Reports       int `json:"reports"`
}

func removedOf(r store.Removed) shownRemoved {
	return shownRemoved{r.Persons, r.Flags, r.Accesses, r.Notifications, r.Reports}
}

// shownRule is before when what goes; without a moment, a kind is kept.
type shownRule struct {
	ClosedFlags   time.Time `json:"closed_flags,omitzero"`
	Accesses      time.Time `json:"accesses,omitzero"`
	Notifications time.Time `json:"notifications,omitzero"`
	Reports       time.Time `json:"reports,omitzero"`
}

type shownRun struct {
	Began   time.Time    `json:"began"`
	Ended   time.Time    `json:"ended"`
	Who     string       `json:"who"`
	Before  shownRule    `json:"before"`
	Removed shownRemoved `json:"removed"`
	Failed  string       `json:"failed,omitempty"`
	DryRun  bool         `json:"dry_run,omitempty"` // nothing was removed
}

func shownRunOf(r store.RetentionRun) shownRun {
	return shownRun{Began: r.Began, Ended: r.Ended, Who: r.Who, Removed: removedOf(r.Removed), Failed: r.Failed,
		Before: shownRule{r.Rule.ClosedFlags, r.Rule.Accesses, r.Rule.Notifications, r.Rule.Reports}}
}

// Retaining says how what is older is removed.
type Retaining struct {
	DryRun bool // only tell what would be
	JSON   bool
}

// Retain removes what is older than the configuration says, and writes how much.
func (o Operator) Retain(ctx context.Context, how Retaining, out io.Writer) error {
	return o.with(ctx, func(s store.Store, by audit.Who) error {
		var run store.RetentionRun
		var err error
		if how.DryRun {
			run = store.RetentionRun{Began: time.Now(), Who: by.Caller, Rule: o.Config.Retention.rule(time.Now())}
			run.Removed, err = s.WouldRetain(ctx, run.Rule)
			run.Ended = time.Now()
		} else {
			run, err = o.Config.Retention.retain(ctx, s, by)
		}
		if err != nil {
			return err
		}
		shown := shownRunOf(run)
		shown.DryRun = how.DryRun
		if how.JSON {
			return writeJSON(out, shown)
		}
		did := "removed"
		if how.DryRun {
			did = "would be removed"
		}
		_, err = fmt.Fprintf(out, "%s: %d persons, %d flags, %d accesses, %d notifications, %d reports on uploads\n", did,
			shown.Removed.Persons, shown.Removed.Flags, shown.Removed.Accesses, shown.Removed.Notifications, shown.Removed.Reports)
		return err
	})
}

// ReportRetention writes what was removed when, the latest first.
func (o Operator) ReportRetention(ctx context.Context, limit int, asJSON bool, out io.Writer) error {
	return o.with(ctx, func(s store.Store, _ audit.Who) error {
		runs, err := s.RetentionRuns(ctx, limit)
		if err != nil {
			return err
		}
		list := []shownRun{}
		for _, r := range runs {
			list = append(list, shownRunOf(r))
		}
		if asJSON {
			return writeJSON(out, list)
		}
		if len(list) == 0 {
			_, err := fmt.Fprintln(out, "nothing was removed yet")
			return err
		}
		w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "BEGAN\tTOOK\tPERSONS\tFLAGS\tACCESSES\tNOTIFICATIONS\tREPORTS\tBY\tFAILED")
		for _, r := range list {
			fmt.Fprintf(w, "%s\t%v\t%d\t%d\t%d\t%d\t%d\t%s\t%s\n", r.Began.Local().Format("2006-01-02 15:04"), r.Ended.Sub(r.Began).Round(time.Millisecond),
				r.Removed.Persons, r.Removed.Flags, r.Removed.Accesses, r.Removed.Notifications, r.Removed.Reports, r.Who, r.Failed)
		}
		return w.Flush()
	})
}
