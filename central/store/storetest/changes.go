package storetest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/store"
)

// changed reads the log of changes from a point on, as "who: sites" in words, and
// gives where it ended.
func changed(t *testing.T, s store.Store, after store.ChangePoint, since time.Time) ([]string, store.ChangePoint) {
	t.Helper()
	names := map[safeguard.NHSNumber]string{alice: "alice", bob: "bob", {}: "nobody to tell"}
	list, err := s.Changed(t.Context(), after, 1000, since)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range list {
		line := names[c.Number]
		for _, a := range c.Asked {
			line += fmt.Sprintf(" %s/%s", a.Organisation, a.Site)
		}
		if c.Position <= after.Position || c.At.Before(after.At) {
			t.Errorf("change at %v after %v: want positions and times in their order", c.ChangePoint, after)
		}
		got, after = append(got, line), c.ChangePoint
	}
	return got, after
}

func changes(t *testing.T, open func() store.Store) {
	s := open()
	if last, err := s.LastChange(t.Context(), time.Now()); err != nil || last != (store.ChangePoint{}) {
		t.Fatalf("before any: %v, %v", last, err)
	}
	asks := func(n safeguard.NHSNumber, site string, at time.Time, purpose safeguard.Purpose) {
		t.Helper()
		a := access(n, "visit")
		a.Site, a.Recorded = code(site), at
		l := look(a)
		l.Purpose = purpose
		var err error
		if purpose == safeguard.Unscheduled {
			err = s.Settle(t.Context(), l, nil)
		} else {
			err = s.Record(t.Context(), l)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	want := func(step string, got []string, want ...string) {
		t.Helper()
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", step, got, want)
		}
	}
	recent := morning.Add(-time.Hour)
	asks(alice, "RX1RA", morning, safeguard.Unscheduled)
	asks(alice, "RX1RB", morning, safeguard.Refresh)
	asks(alice, "RX1RC", morning.Add(-2*time.Hour), safeguard.Scheduled)
	active, ended := flag(safeguard.ChildProtection, "2025-01-02", ""), flag(safeguard.ChildProtection, "2025-01-02", "2025-12-01")

	apply(t, s, islington, store.Change{Number: alice, Flag: active}, store.Change{Number: bob, Flag: active})
	got, first := changed(t, s, store.ChangePoint{}, recent)
	slices.Sort(got)
	want("two persons, one of whom was asked about", got, "alice RX1/RX1RA RX1/RX1RB", "nobody to tell")
	if last, err := s.LastChange(t.Context(), time.Now()); err != nil || last != first {
		t.Errorf("the last is %v, %v, want %v", last, err, first)
	}

	if last, err := s.LastChange(t.Context(), first.At.Add(-time.Millisecond)); err != nil || last != (store.ChangePoint{}) {
		t.Errorf("before the first: %v, %v", last, err)
	}

	apply(t, s, islington, store.Change{Number: alice, Flag: active}, store.Change{Number: bob, Flag: ended, Withdraw: true})
	apply(t, s, islington, store.Change{Number: bob, Flag: active, Withdraw: true})
	asks(bob, "RX1RA", morning, safeguard.Refresh)
	got, second := changed(t, s, first, recent)
	want("unchanged, withdrawn, and asked about only since", got, "bob RX1/RX1RA")

	asks(alice, "RX1RC", morning, safeguard.Scheduled)                     // renews
	asks(alice, "RX1RA", morning.Add(-2*time.Hour), safeguard.Unscheduled) // an older one does not take back
	apply(t, s, islington, store.Change{Number: alice, Flag: ended})
	apply(t, s, sheffield, store.Change{Number: alice, Flag: active}, store.Change{Number: alice, Flag: ended})
	got, third := changed(t, s, second, recent)
	want("ended, and of another authority", got, "alice RX1/RX1RA RX1/RX1RB RX1/RX1RC", "alice RX1/RX1RA RX1/RX1RB RX1/RX1RC")

	if page, err := s.Changed(t.Context(), first, 1, recent); err != nil || len(page) != 1 || page[0].ChangePoint != second {
		t.Errorf("a page of one: %v, %v, want the one at %v", page, err, second)
	}
	elsewhere := second
	elsewhere.At = elsewhere.At.Add(time.Millisecond)
	if _, err := s.Changed(t.Context(), elsewhere, 1, recent); !errors.Is(err, store.ErrGap) {
		t.Errorf("from a point of another log: %v, want %v", err, store.ErrGap)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open()
	got, _ = changed(t, s, second, recent)
	want("after a restart", got, "alice RX1/RX1RA RX1/RX1RB RX1/RX1RC", "alice RX1/RX1RA RX1/RX1RB RX1/RX1RC")

	removed, err := s.Erase(t.Context(), alice, "adoption", operator)
	if err != nil || removed.Asked != 3 || removed.Changes != 3 {
		t.Errorf("erased %+v, %v, want 3 notes of who asked and 3 changes", removed, err)
	}
	apply(t, s, islington, store.Change{Number: alice, Flag: active})
	got, fourth := changed(t, s, third, recent)
	want("someone who was erased, from where the erased stood", got, "nobody to tell")

	removed, err = s.Retain(t.Context(), store.Retention{Asked: morning.Add(time.Second), Changes: time.Now().Add(time.Hour)}, operator)
	if err != nil || removed.Asked != 1 || removed.Changes == 0 {
		t.Errorf("aged out %+v, %v, want the note about bob, and changes", removed, err)
	}
	if _, err := s.Changed(t.Context(), second, 1, recent); !errors.Is(err, store.ErrGap) {
		t.Errorf("from what was aged out: %v, want %v", err, store.ErrGap)
	}
	got, _ = changed(t, s, fourth, recent)
	want("from the last, which stays", got)
	apply(t, s, sheffield, store.Change{Number: bob, Flag: active})
	got, _ = changed(t, s, fourth, recent)
	want("by someone who is not noted any more", got, "nobody to tell")
}

// changesInOrder: whoever has read up to a point has missed nothing before it,
// however many uploads end at the same time.
func changesInOrder(t *testing.T, open func() store.Store) {
	s := open()
	const authorities, each = 6, 15
	ended := make(chan struct{})
	var wait sync.WaitGroup
	for i := range authorities {
		wait.Go(func() {
			for n := range each {
				_, err := s.Apply(t.Context(), store.Upload{
					ID: fmt.Sprintf("order %d %d", i, n), Authority: code(fmt.Sprintf("80%d", i)), Received: morning, Rows: 1,
					Changes: slices.Values([]store.Change{{Number: alice, Flag: flag(safeguard.ChildProtection, fmt.Sprintf("2025-01-%02d", n+1), "")}}),
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	go func() { wait.Wait(); close(ended) }()
	var point store.ChangePoint
	seen := 0
	for last := false; ; {
		list, err := s.Changed(t.Context(), point, 3, morning)
		if err != nil {
			t.Fatal(err)
		}
		seen += len(list)
		if len(list) > 0 {
			point = list[len(list)-1].ChangePoint
			continue
		}
		if last {
			break
		}
		select {
		case <-ended:
			last = true
		default:
		}
	}
	if seen != authorities*each {
		t.Errorf("%d changes read while they were written, want %d", seen, authorities*each)
	}
}

// turns: nobody uploads anything when a plan begins, or is visible no more.
func turns(t *testing.T, open func() store.Store) {
	s := open()
	asks := func(n safeguard.NHSNumber) {
		t.Helper()
		l := look(access(n, "visit"))
		l.Purpose = safeguard.Refresh
		if err := s.Record(t.Context(), l); err != nil {
			t.Fatal(err)
		}
	}
	shown := func(f store.Flag, on safeguard.Date) bool {
		return safeguard.Flag{Plan: f.Plan, Start: f.Start, End: f.End}.Visible(on, f.Born.Reveal(), safeguard.DefaultTails)
	}
	asks(alice)
	coming, past := flag(safeguard.ChildProtection, "2026-03-10", "2026-03-20"), flag(safeguard.LookedAfter, "2024-01-02", "2025-03-15")
	apply(t, s, islington, store.Change{Number: alice, Flag: coming}, store.Change{Number: bob, Flag: coming})
	apply(t, s, sheffield, store.Change{Number: alice, Flag: past})
	point, err := s.LastChange(t.Context(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	turn := func(day string, want ...string) {
		t.Helper()
		if n, err := s.Turn(t.Context(), date(day), shown); err != nil || n != len(want) {
			t.Errorf("turned to %s: %d, %v, want %d", day, n, err, len(want))
		}
		var got []string
		got, point = changed(t, s, point, morning.Add(-time.Hour))
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("turned to %s: %q, want %q", day, got, want)
		}
	}
	turn("2026-03-09")
	asks(bob) // and is told from then on
	turn("2026-03-10", "alice RX1/RX1RA", "bob RX1/RX1RA")
	turn("2026-03-10")
	turn("2026-03-08") // a clock that was put back
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open()
	turn("2026-03-10")
	turn("2026-03-16", "alice RX1/RX1RA") // nobody turned on the day itself
	if _, err := s.Erase(t.Context(), alice, "adoption", operator); err != nil {
		t.Fatal(err)
	}
	turn("2027-03-21", "bob RX1/RX1RA")
}
