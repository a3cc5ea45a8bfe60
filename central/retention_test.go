package central

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard/central/audit"
	"github.com/safeguard-edge/safeguard/central/store"
)

func TestRetentionIsChecked(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(r *Retention)
		want   string
	}{
		"defaults":                     {func(*Retention) {}, ""},
		"kept for ever":                {func(r *Retention) { *r = Retention{} }, ""},
		"an hour, meant as a year":     {func(r *Retention) { r.Accesses = time.Hour }, "retention.accesses: 1h0m0s, want 720h0m0s or more"},
		"less than nothing":            {func(r *Retention) { r.Reports = -year }, "retention.reports: "},
		"flags that are gone too soon": {func(r *Retention) { r.ClosedFlags = 24 * time.Hour }, "retention.closed_flags: "},
	} {
		t.Run(name, func(t *testing.T) {
			r := defaultRetention()
			tt.change(&r)
			err := r.validate()
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}

// keeping is a store that says what retention does with it.
type keeping struct {
	store.Store
	runs   []store.RetentionRun
	holder string
	fail   error
}

func (k *keeping) Lease(_ context.Context, _, holder string, d time.Duration) (bool, error) {
	if k.holder != "" && k.holder != holder {
		return false, nil
	}
	if k.holder = holder; d == 0 {
		k.holder = ""
	}
	return true, nil
}

func (k *keeping) RetentionRuns(context.Context, int) (last []store.RetentionRun, _ error) {
	if n := len(k.runs); n > 0 {
		last = k.runs[n-1:]
	}
	return last, nil
}

func (k *keeping) Retain(context.Context, store.Retention, audit.Who) (store.Removed, error) {
	return store.Removed{Flags: 3}, k.fail
}

func (k *keeping) NoteRetention(_ context.Context, run store.RetentionRun) error {
	k.runs = append(k.runs, run)
	return nil
}

// Once a day it is done, by one process, and again soon when it failed.
func TestRetentionIsAppliedOnceADay(t *testing.T) {
	k := &keeping{}
	one := retaining{k, defaultRetention(), "one", slog.New(slog.DiscardHandler)}
	other := one
	other.holder = "other"
	now := time.Now()
	look := func(r retaining, at time.Time, runs int) {
		t.Helper()
		if err := r.look(t.Context(), at); err != nil && k.fail == nil {
			t.Error(err)
		}
		if len(k.runs) != runs {
			t.Errorf("%d runs, want %d", len(k.runs), runs)
		}
	}
	look(one, now, 1)
	if run := k.runs[0]; run.Removed.Flags != 3 || run.Rule.Accesses.After(now.Add(-8*year).Add(time.Minute)) || run.Failed != "" {
		t.Errorf("run %+v", run)
	}
	look(other, now.Add(time.Hour), 1)
	k.fail = errors.New("connection reset")
	look(one, now.Add(25*time.Hour), 2)
	look(other, now.Add(25*time.Hour), 3)
	k.fail = nil
	k.holder = "a third, which is at it"
	look(one, now.Add(25*time.Hour), 3)
	k.holder = ""
	look(one, now.Add(25*time.Hour), 4)
	look(one, now.Add(23*time.Hour), 4)
}
