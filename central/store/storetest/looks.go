package storetest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/audit"
	"github.com/safeguard-edge/safeguard/central/store"
)

var lookTests = []test{
	{"a look is decided from the flags, and recorded", looked},
	{"looks at the same time", lookedTogether},
	{"a decision that panics is its caller's alone", panics},
	{"an erased person", erased},
	{"the audit is exported and verifies", exported},
}

// entriesOf gives the audit's entries of an act.
func entriesOf(t *testing.T, s store.Store, act audit.Act) []audit.Entry {
	t.Helper()
	var out bytes.Buffer
	n, err := s.ExportAudit(t.Context(), &out, audit.Who{Caller: "operator"})
	if err != nil || n != strings.Count(out.String(), "\n") {
		t.Fatalf("%d entries exported, %v, and %d lines", n, err, strings.Count(out.String(), "\n"))
	}
	var entries []audit.Entry
	for line := range strings.Lines(out.String()) {
		var e struct{ Entry audit.Entry }
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		if e.Entry.Act == act {
			entries = append(entries, e.Entry)
		}
	}
	return entries
}

func wantVerified(t *testing.T, s store.Store) audit.Report {
	t.Helper()
	report, err := s.VerifyAudit(t.Context(), nil)
	if err != nil || len(report.Problems) != 0 {
		t.Errorf("audit %+v, %v, want no problem", report, err)
	}
	return report
}

func looked(t *testing.T, open func() store.Store) {
	s := open()
	held := by(flag(safeguard.ChildProtection, "2025-02-03", ""), islington)
	apply(t, s, islington, store.Change{Number: alice, Flag: held})
	for _, tt := range []struct {
		number safeguard.NHSNumber
		access bool
		flags  int
	}{{alice, false, 1}, {alice, true, 1}, {bob, true, 0}, {bob, false, 0}} {
		a := access(tt.number, "visit 1")
		err := s.Look(t.Context(), tt.number, func(flags []store.Flag) store.Decision {
			if len(flags) != tt.flags {
				t.Errorf("decided from %d flags, want %d", len(flags), tt.flags)
			}
			l := look(a)
			l.Shown, l.Number = flags, safeguard.NHSNumber{}
			d := store.Decision{Look: l, Access: tt.access}
			if tt.access && len(flags) > 0 {
				d.Owed = []safeguard.Notification{notification(a, islington)}
			}
			return d
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range []safeguard.NHSNumber{alice, bob} {
		if list, err := s.Accesses(t.Context(), n, 10); err != nil || len(list) != 1 || list[0].Number != n {
			t.Errorf("accesses %v, %v, want one", list, err)
		}
	}
	if got := waiting(t, s, islington); len(got) != 1 || got[0].Number != alice {
		t.Errorf("notifications %v, want one of the person with a flag", got)
	}
	entries := entriesOf(t, s, audit.Looked)
	if len(entries) != 4 || len(entries[0].Flags) != 1 || len(entries[3].Flags) != 0 {
		t.Errorf("audit has looks %+v, want four, of which two showed a flag", entries)
	}
	wantVerified(t, s)
}

// Each of many callers decides from the flags of its own person.
func lookedTogether(t *testing.T, open func() store.Store) {
	s := open()
	persons, wanted := []safeguard.NHSNumber{alice, bob}, []safeguard.Plan{safeguard.ChildProtection, safeguard.LookedAfter}
	for i, n := range persons {
		apply(t, s, islington, store.Change{Number: n, Flag: flag(wanted[i], "2025-02-03", "")})
	}
	const callers, visits = 16, 8
	var wait sync.WaitGroup
	for caller := range callers {
		wait.Go(func() {
			own := caller % len(persons)
			for i := range visits {
				ctx, cancel := context.WithCancel(t.Context())
				gives := caller == 0 // up
				if gives {
					cancel()
				}
				err := s.Look(ctx, persons[own], func(flags []store.Flag) store.Decision {
					if len(flags) != 1 || flags[0].Plan != wanted[own] {
						t.Errorf("decided from %v, want a flag of plan %v", flags, wanted[own])
					}
					return store.Decision{Look: look(access(persons[own], fmt.Sprint("visit ", caller, i))), Access: i%2 == 0}
				})
				cancel()
				if err != nil && !(gives && errors.Is(err, context.Canceled)) {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
	if n := len(entriesOf(t, s, audit.Looked)); n < (callers-1)*visits || n > callers*visits {
		t.Errorf("audit has %d looks, want %d, and no more than %d", n, (callers-1)*visits, callers*visits)
	}
	wantVerified(t, s)
}

func panics(t *testing.T, open func() store.Store) {
	s := open()
	func() {
		defer func() {
			if got := recover(); got != "no decision" {
				t.Errorf("recovered %v, want the decision's own panic", got)
			}
		}()
		_ = s.Look(t.Context(), alice, func([]store.Flag) store.Decision { panic("no decision") })
		t.Error("a look was recorded without a decision")
	}()
	if err := s.Look(t.Context(), bob, func([]store.Flag) store.Decision { return store.Decision{Look: look(access(bob, "visit 1"))} }); err != nil {
		t.Errorf("after it: %v", err)
	}
	if n := len(entriesOf(t, s, audit.Looked)); n != 1 {
		t.Errorf("audit has %d looks, want one", n)
	}
}

func erased(t *testing.T, open func() store.Store) {
	s := open()
	for _, n := range []safeguard.NHSNumber{alice, bob} {
		apply(t, s, islington, store.Change{Number: n, Flag: flag(safeguard.ChildProtection, "2025-02-03", "")})
		settle(t, s, access(n, "visit 1"), islington)
	}
	removed, err := s.Erase(t.Context(), alice, "order of the court", audit.Who{Caller: "operator"})
	if err != nil || removed.Persons != 1 || removed.Flags != 1 || removed.Accesses != 1 || removed.Notifications != 1 || removed.AuditEntries != 1 {
		t.Errorf("removed %+v, %v, want all of one person", removed, err)
	}
	wantFlags(t, s, alice)
	if list, err := s.Accesses(t.Context(), alice, 10); err != nil || len(list) != 0 {
		t.Errorf("accesses %v, %v, want none", list, err)
	}
	wantFlags(t, s, bob, by(flag(safeguard.ChildProtection, "2025-02-03", ""), islington))
	if again, err := s.Erase(t.Context(), alice, "order of the court", audit.Who{Caller: "operator"}); err != nil || again.Persons != 0 {
		t.Errorf("erased again: %+v, %v, want nobody", again, err)
	}
	wantVerified(t, s)
	if entries := entriesOf(t, s, audit.Erased); len(entries) == 0 || entries[0].Reason != "order of the court" || entries[0].Who.Caller != "operator" {
		t.Errorf("audit has erasures %+v, want who and why", entries)
	}
}

func exported(t *testing.T, open func() store.Store) {
	s := open()
	for i := range 3 {
		if err := s.Record(t.Context(), look(access(alice, fmt.Sprint("visit ", i)))); err != nil {
			t.Fatal(err)
		}
	}
	entries := entriesOf(t, s, audit.Looked)
	if len(entries) != 3 {
		t.Fatalf("audit has looks %+v, want three", entries)
	}
	for _, e := range entries {
		if e.Where == nil || e.Where.Organisation != trust.String() || e.Who.Caller == "" || e.Purpose == "" || e.Subject == "" || e.Attendance == "" {
			t.Errorf("entry %+v, want who, where, why, for which attendance", e)
		}
	}
	before := wantVerified(t, s)
	if n := len(entriesOf(t, s, audit.Exported)); n != 2 {
		t.Errorf("audit has %d exports, want both", n)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open()
	if after, err := s.VerifyAudit(t.Context(), before.Heads); err != nil || len(after.Problems) != 0 || after.Entries <= before.Entries {
		t.Errorf("audit from the heads that were noted: %+v, %v", after, err)
	}
}
