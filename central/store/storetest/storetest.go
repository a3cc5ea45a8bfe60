// Package storetest is the conformance suite of store.Store. Every store of the
// flag service passes it.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/audit"
	"github.com/safeguard-edge/safeguard/central/store"
)

// Run tests the store that open opens. Called again within one test, open opens
// the same store again, which nobody else has open then; each test begins with
// an empty one.
func Run(t *testing.T, open func(t *testing.T) func() store.Store) {
	for _, tt := range slices.Concat([]test{
		{"nothing held", nothingHeld},
		{"flags of several authorities", severalAuthorities},
		{"an upload's effects", effects},
		{"a withdrawn flag is gone and stays so", withdrawn},
		{"an upload is applied whole or not at all", wholeUpload},
		{"an access is one however often it is settled", settleAgain},
		{"a repeat owes an authority that came later", settleMore},
		{"an access without notifications", silentAccess},
		{"a correction is owed once to each who was notified", corrected},
		{"a corrected access owes nobody any more", correctedOwesNoMore},
		{"latest accesses first", latestFirst},
		{"last uploads", lastUploads},
		{"acknowledged once", acknowledge},
		{"an authority sees and takes only its own", ownOnly},
		{"a notification names the upload that its flag is from", origins},
		{"what an authority was notified of", notified},
		{"a lease is one holder's", leases},
		{"positions go on from where a page ends", pages},
		{"flags of a moment that is past", past},
		{"retention removes what is older, and no more", retention},
		{"changes reach who asked", changes},
		{"changes come in order", changesInOrder},
		{"changes that come with the day", turns},
		{"who takes part", directory},
		{"what a configuration lists", imported},
		{"everything survives closing", survives},
		{"concurrent callers", concurrent},
		{"a caller that has gone", gone},
		{"callers that go at any moment", goneAnywhere},
		{"after closing", afterClosing},
	}, uploadTests, fleetTests, lookTests, certificateTests, operatorTests, staffTests) {
		t.Run(tt.name, func(t *testing.T) { tt.test(t, open(t)) })
	}
}

type test struct {
	name string
	test func(t *testing.T, open func() store.Store)
}

var (
	alice = number("9990000107")
	bob   = number("9990000115")

	islington = code("206")
	sheffield = code("373")
	trust     = code("RX1")

	morning = time.Date(2026, 3, 1, 9, 30, 15, 123_000_000, time.UTC)
)

func number(s string) safeguard.NHSNumber {
	n, err := safeguard.ParseNHSNumber(s)
	if err != nil {
		panic(err)
	}
	return n
}

func code(s string) safeguard.ODSCode {
	c, err := safeguard.ParseODSCode(s)
	if err != nil {
		panic(err)
	}
	return c
}

func date(s string) safeguard.Date {
	d, err := safeguard.ParseDate(s)
	if err != nil {
		panic(err)
	}
	return d
}

func flag(plan safeguard.Plan, start, end string) store.Flag {
	f := store.Flag{Plan: plan, Start: date(start), Born: safeguard.Hide(date("2015-06-07"))}
	if end != "" {
		f.End = date(end)
	}
	return f
}

func by(f store.Flag, authority safeguard.ODSCode) store.Flag {
	f.Authority = authority
	return f
}

var uploads int

func apply(t *testing.T, s store.Store, authority safeguard.ODSCode, changes ...store.Change) []store.Effect {
	t.Helper()
	uploads++
	kept, err := s.Apply(t.Context(), store.Upload{
		ID:        fmt.Sprintf("upload %d", uploads),
		Authority: authority,
		By:        "spiffe://safeguard/authority/" + authority.String() + "/test",
		Received:  morning,
		Rows:      len(changes),
		Changes:   slices.Values(changes),
	})
	if err != nil {
		t.Fatal(err)
	}
	return kept.Effects
}

func wantFlags(t *testing.T, s store.Store, n safeguard.NHSNumber, want ...store.Flag) {
	t.Helper()
	got, err := s.Flags(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	rows := map[int64]bool{}
	for i := range got {
		rows[got[i].Row] = true
		got[i].Row = 0
	}
	if !slices.Equal(got, want) || len(rows) != len(want) || rows[0] {
		t.Errorf("flags %v in rows %v, want %v", got, rows, want)
	}
}

func access(n safeguard.NHSNumber, visit string) store.Access {
	return store.Access{
		Number:       n,
		Organisation: trust,
		Attendance:   safeguard.NewAttendanceID(trust, visit),
		Site:         code("RX1RA"),
		Setting:      safeguard.EmergencyDepartment,
		Device:       "agent one",
		Accountable:  safeguard.Accountable{Name: "Dr A Example", Role: "Named doctor"},
		At:           morning.Add(-time.Hour),
		Recorded:     morning,
		Sensitive:    true,
	}
}

func look(a store.Access) store.Look {
	return store.Look{Access: a, Caller: "spiffe://safeguard/agent/RX1/test", Purpose: safeguard.Unscheduled, Answer: "none held"}
}

func notification(a store.Access, authority safeguard.ODSCode) safeguard.Notification {
	return safeguard.Notification{
		Authority:    authority,
		Number:       a.Number,
		Born:         safeguard.Hide(date("2015-06-07")),
		Plans:        []safeguard.Plan{safeguard.ChildProtection, safeguard.LookedAfter},
		Organisation: a.Organisation,
		Site:         a.Site,
		SiteName:     "Example Infirmary",
		Setting:      a.Setting,
		Accountable:  a.Accountable,
		Attendance:   a.Attendance,
		At:           a.At,
		Recorded:     a.Recorded,
		Sensitive:    a.Sensitive,
		Late:         true,
		Viewed:       a.Viewed,
	}
}

func correction(a store.Access) store.Correction {
	return store.Correction{
		Correction: safeguard.Correction{
			Number:     a.Number,
			Author:     safeguard.Author{Device: "agent one", Organisation: a.Organisation, Site: a.Site},
			Attendance: a.Attendance,
			Reason:     safeguard.AttendanceCancelled,
			At:         morning.Add(time.Hour),
		},
		Caller:   "spiffe://safeguard/agent/RX1/test",
		Recorded: morning.Add(2 * time.Hour),
	}
}

func wantCorrected(t *testing.T, s store.Store, c store.Correction, want safeguard.Corrected) {
	t.Helper()
	if got, err := s.Correct(t.Context(), c); err != nil || got != want {
		t.Errorf("correction: %v, %v, want %v", got, err, want)
	}
}

func corrected(t *testing.T, open func() store.Store) {
	s := open()
	a, other, later := access(alice, "visit 1"), access(bob, "visit 1"), access(alice, "visit 2")
	settle(t, s, a, islington, sheffield)
	settle(t, s, other, islington)
	settle(t, s, later, islington)
	first := waiting(t, s, islington)
	if _, err := s.Acknowledge(t.Context(), islington, []string{first[0].ID}, "me", morning); err != nil {
		t.Fatal(err)
	}
	wantCorrected(t, s, correction(access(alice, "visit 3")), safeguard.NeverRecorded)
	elsewhere := correction(a)
	elsewhere.Author.Organisation = code("RX2")
	wantCorrected(t, s, elsewhere, safeguard.NeverRecorded)
	wantCorrected(t, s, correction(a), safeguard.CorrectedNow)
	again := correction(a)
	again.Reason, again.Recorded = safeguard.OtherPerson, morning.Add(3*time.Hour)
	wantCorrected(t, s, again, safeguard.CorrectedAlready)

	got := waiting(t, s, islington)
	if len(got) != 3 || !same(got[0], first[1]) || !same(got[1], first[2]) {
		t.Fatalf("waiting %+v, want the two that were, and a correction", got)
	}
	want := first[0]
	want.ID, want.Corrects = got[2].ID, first[0].ID
	want.Reason, want.CorrectedAt, want.Recorded = safeguard.AttendanceCancelled, morning.Add(time.Hour), morning.Add(2*time.Hour)
	if !same(got[2], want) || got[2].ID == first[0].ID || got[2].ID == "" {
		t.Errorf("correction %+v, want %+v", got[2], want)
	}
	theirs := waiting(t, s, sheffield)
	if len(theirs) != 2 || theirs[1].Corrects != theirs[0].ID || theirs[1].ID == got[2].ID {
		t.Errorf("another authority that was notified: %+v, want both", theirs)
	}
	accesses, err := s.Accesses(t.Context(), alice, 25)
	if err != nil || len(accesses) != 1 || accesses[0] != later {
		t.Errorf("accesses %+v, %v, want the one that was not corrected", accesses, err)
	}
	if report, err := s.VerifyAudit(t.Context(), nil); err != nil || len(report.Problems) != 0 {
		t.Errorf("audit %+v, %v", report, err)
	}
}

func correctedOwesNoMore(t *testing.T, open func() store.Store) {
	s := open()
	a := access(alice, "visit 1")
	settle(t, s, a, islington)
	wantCorrected(t, s, correction(a), safeguard.CorrectedNow)
	settle(t, s, a, islington, sheffield)
	if got := waiting(t, s, islington); len(got) != 2 || got[1].Corrects != got[0].ID {
		t.Errorf("after a repeat: %+v, want the two that were", got)
	}
	if got := waiting(t, s, sheffield); len(got) != 0 {
		t.Errorf("after a repeat: an authority is told of it that was not before: %+v", got)
	}
	if removed, err := s.Erase(t.Context(), alice, "test", operator); err != nil || removed.Notifications != 2 || removed.Accesses != 1 {
		t.Errorf("erased %+v, %v", removed, err)
	}
	wantCorrected(t, s, correction(a), safeguard.NeverRecorded)
}

func lastUploads(t *testing.T, open func() store.Store) {
	s := open()
	for _, a := range []store.Authority{authority(islington, "Islington"), authority(sheffield, "Sheffield")} {
		if err := s.PutAuthority(t.Context(), a, operator); err != nil {
			t.Fatal(err)
		}
	}
	f := flag(safeguard.ChildProtection, "2025-01-02", "")
	upload := func(id string, at time.Time, rows int, changes ...store.Change) {
		t.Helper()
		u := store.Upload{ID: id, Authority: islington, By: "me", Received: at, Rows: rows, Changes: slices.Values(changes)}
		if _, err := s.Apply(t.Context(), u); err != nil {
			t.Fatal(err)
		}
	}
	want := func(at time.Time) {
		t.Helper()
		got, err := s.Uploaded(t.Context())
		_, ever := got[sheffield]
		if err != nil || !got[islington].Equal(at) || ever {
			t.Errorf("last uploads %v, %v, want one at %v", got, err, at)
		}
	}
	upload("one", morning, 1, store.Change{Number: alice, Flag: f})
	want(morning)
	upload("all bad", morning.Add(time.Hour), 3)
	want(morning)
	upload("nothing to say", morning.Add(2*time.Hour), 0)
	want(morning.Add(2 * time.Hour))
}

func settle(t *testing.T, s store.Store, a store.Access, authorities ...safeguard.ODSCode) {
	t.Helper()
	var owed []safeguard.Notification
	for _, authority := range authorities {
		owed = append(owed, notification(a, authority))
	}
	if err := s.Settle(t.Context(), look(a), owed); err != nil {
		t.Fatal(err)
	}
}

func waiting(t *testing.T, s store.Store, authority safeguard.ODSCode) []safeguard.Notification {
	t.Helper()
	list, err := s.Waiting(t.Context(), authority, 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	var out []safeguard.Notification
	for _, w := range list {
		out = append(out, w.Notification)
	}
	return out
}

func same(a, b safeguard.Notification) bool {
	return a.ID == b.ID && a.Authority == b.Authority && a.Number == b.Number && a.Born == b.Born &&
		slices.Equal(a.Plans, b.Plans) && a.Organisation == b.Organisation && a.Site == b.Site && a.SiteName == b.SiteName &&
		a.Setting == b.Setting && a.Accountable == b.Accountable && a.Attendance == b.Attendance &&
		a.At.Equal(b.At) && a.Recorded.Equal(b.Recorded) && a.Sensitive == b.Sensitive && a.Late == b.Late && a.Viewed == b.Viewed &&
		a.Corrects == b.Corrects && a.Reason == b.Reason && a.CorrectedAt.Equal(b.CorrectedAt)
}

func nothingHeld(t *testing.T, open func() store.Store) {
	s := open()
	wantFlags(t, s, alice)
	accesses, err := s.Accesses(t.Context(), alice, 25)
	if err != nil || len(accesses) != 0 {
		t.Errorf("accesses %v, %v, want none", accesses, err)
	}
	if got := waiting(t, s, islington); len(got) != 0 {
		t.Errorf("%d notifications, want none", len(got))
	}
}

func severalAuthorities(t *testing.T, open func() store.Store) {
	s := open()
	one, two := flag(safeguard.ChildProtection, "2025-01-02", ""), flag(safeguard.LookedAfter, "2024-03-04", "2025-09-01")
	apply(t, s, islington, store.Change{Number: alice, Flag: one}, store.Change{Number: alice, Flag: two})
	apply(t, s, sheffield, store.Change{Number: alice, Flag: one})
	wantFlags(t, s, alice, by(one, islington), by(two, islington), by(one, sheffield))
	wantFlags(t, s, bob)
}

func effects(t *testing.T, open func() store.Store) {
	s := open()
	active, ended := flag(safeguard.ChildProtection, "2025-01-02", ""), flag(safeguard.ChildProtection, "2025-01-02", "2025-12-01")
	other := flag(safeguard.ChildProtection, "2026-01-02", "")
	for _, step := range []struct {
		name   string
		change store.Change
		want   store.Effect
		held   []store.Flag
	}{
		{"new", store.Change{Number: alice, Flag: active}, store.Added, []store.Flag{active}},
		{"the same again", store.Change{Number: alice, Flag: active}, store.Unchanged, []store.Flag{active}},
		{"ended", store.Change{Number: alice, Flag: ended}, store.Replaced, []store.Flag{ended}},
		{"active after all", store.Change{Number: alice, Flag: active}, store.Replaced, []store.Flag{active}},
		{"another start", store.Change{Number: alice, Flag: other}, store.Added, []store.Flag{active, other}},
		{"withdraw what is not held", store.Change{Number: bob, Flag: active, Withdraw: true}, store.NotHeld, []store.Flag{active, other}},
	} {
		if got := apply(t, s, islington, step.change); !slices.Equal(got, []store.Effect{step.want}) {
			t.Errorf("%s: effect %v, want %v", step.name, got, step.want)
		}
		var want []store.Flag
		for _, f := range step.held {
			want = append(want, by(f, islington))
		}
		wantFlags(t, s, alice, want...)
	}
}

func withdrawn(t *testing.T, open func() store.Store) {
	s := open()
	f := flag(safeguard.UnbornChild, "2026-01-02", "")
	apply(t, s, islington, store.Change{Number: alice, Flag: f})
	apply(t, s, sheffield, store.Change{Number: alice, Flag: f})
	for _, want := range []store.Effect{store.Withdrawn, store.Unchanged} {
		if got := apply(t, s, islington, store.Change{Number: alice, Flag: f, Withdraw: true}); got[0] != want {
			t.Errorf("effect %v, want %v", got[0], want)
		}
	}
	wantFlags(t, s, alice, by(f, sheffield))
	if got := apply(t, s, islington, store.Change{Number: alice, Flag: f}); got[0] != store.Added {
		t.Errorf("uploaded anew: effect %v, want added", got[0])
	}
	wantFlags(t, s, alice, by(f, sheffield), by(f, islington))
}

func wholeUpload(t *testing.T, open func() store.Store) {
	s := open()
	f := flag(safeguard.ChildProtection, "2025-01-02", "")
	upload := store.Upload{ID: "twice", Authority: islington, Received: morning, Rows: 1, Changes: slices.Values([]store.Change{{Number: alice, Flag: f}})}
	if _, err := s.Apply(t.Context(), upload); err != nil {
		t.Fatal(err)
	}
	upload.Changes = slices.Values([]store.Change{{Number: bob, Flag: f}})
	if _, err := s.Apply(t.Context(), upload); err == nil {
		t.Error("an upload's id was taken twice")
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	upload.ID = "cancelled"
	if _, err := s.Apply(ended, upload); err == nil {
		t.Error("an upload that nobody waits for was applied")
	}
	wantFlags(t, s, bob)
}

func settleAgain(t *testing.T, open func() store.Store) {
	s := open()
	a := access(alice, "visit 1")
	settle(t, s, a, islington, sheffield)
	first := waiting(t, s, islington)
	want := notification(a, islington)
	if len(first) != 1 || first[0].ID == "" {
		t.Fatalf("notifications %v, want one with an id", first)
	}
	want.ID = first[0].ID
	if !same(first[0], want) {
		t.Errorf("notification %+v, want %+v", first[0], want)
	}

	again := a
	again.Recorded, again.Device = morning.Add(time.Minute), "agent two"
	settle(t, s, again, islington, sheffield)
	for _, authority := range []safeguard.ODSCode{islington, sheffield} {
		if got := waiting(t, s, authority); len(got) != 1 || authority == islington && !same(got[0], first[0]) {
			t.Errorf("after a repeat: %v, want the same one", got)
		}
	}
	accesses, err := s.Accesses(t.Context(), alice, 25)
	if err != nil || len(accesses) != 1 || accesses[0] != a {
		t.Errorf("accesses %+v, %v, want %+v", accesses, err, a)
	}

	settle(t, s, access(alice, "visit 2"), islington)
	settle(t, s, access(bob, "visit 1"), islington)
	got := waiting(t, s, islington)
	if len(got) != 3 || got[1].ID == got[0].ID || got[2].ID == got[0].ID {
		t.Errorf("another visit and another person: %v, want three ids", got)
	}
}

func settleMore(t *testing.T, open func() store.Store) {
	s := open()
	a := access(alice, "visit 1")
	settle(t, s, a, islington)
	settle(t, s, a, islington, sheffield)
	if got := waiting(t, s, sheffield); len(got) != 1 {
		t.Errorf("%d notifications, want one", len(got))
	}
	if got := waiting(t, s, islington); len(got) != 1 {
		t.Errorf("%d notifications, want one", len(got))
	}
}

func silentAccess(t *testing.T, open func() store.Store) {
	s := open()
	a := access(alice, "visit 1")
	settle(t, s, a)
	accesses, err := s.Accesses(t.Context(), alice, 25)
	if err != nil || len(accesses) != 1 || accesses[0] != a {
		t.Errorf("accesses %+v, %v, want %+v", accesses, err, a)
	}
	wantFlags(t, s, alice)
}

func latestFirst(t *testing.T, open func() store.Store) {
	s := open()
	for i := range 5 {
		a := access(alice, fmt.Sprint("visit ", i))
		a.Recorded = morning.Add(time.Duration(i) * time.Minute)
		settle(t, s, a)
	}
	accesses, err := s.Accesses(t.Context(), alice, 3)
	if err != nil || len(accesses) != 3 {
		t.Fatalf("%d accesses, %v, want 3", len(accesses), err)
	}
	for i, a := range accesses {
		if want := morning.Add(time.Duration(4-i) * time.Minute); !a.Recorded.Equal(want) {
			t.Errorf("access %d recorded %v, want %v", i, a.Recorded, want)
		}
	}
}

func acknowledge(t *testing.T, open func() store.Store) {
	s := open()
	settle(t, s, access(alice, "visit 1"), islington)
	settle(t, s, access(alice, "visit 2"), islington)
	list := waiting(t, s, islington)
	for range 2 {
		found, err := s.Acknowledge(t.Context(), islington, []string{list[0].ID, "no such id"}, "me", morning)
		if err != nil || found != 1 {
			t.Errorf("found %d, %v, want 1", found, err)
		}
	}
	if got := waiting(t, s, islington); len(got) != 1 || !same(got[0], list[1]) {
		t.Errorf("waiting %v, want the second only", got)
	}
	settle(t, s, access(alice, "visit 1"), islington)
	if got := waiting(t, s, islington); len(got) != 1 {
		t.Errorf("after a repeat of an acknowledged lookup: %d waiting, want 1", len(got))
	}
}

// origins: the upload is that of the flag that was shown, whatever came since.
func origins(t *testing.T, open func() store.Store) {
	s := open()
	first, later := flag(safeguard.ChildProtection, "2025-01-02", ""), flag(safeguard.LookedAfter, "2025-03-04", "")
	send(t, s, upload(islington, 41, store.Change{Number: alice, Flag: first}))
	send(t, s, upload(islington, 42, store.Change{Number: alice, Flag: later}))
	unnumbered := send(t, s, upload(sheffield, 0, store.Change{Number: alice, Flag: first}))
	a := access(alice, "visit")
	look := look(a)
	var err error
	if look.Shown, err = s.Flags(t.Context(), alice); err != nil {
		t.Fatal(err)
	}
	owed := []safeguard.Notification{notification(a, islington), notification(a, sheffield)}
	if err := s.Settle(t.Context(), look, owed); err != nil {
		t.Fatal(err)
	}
	send(t, s, upload(islington, 43, store.Change{Number: alice, Flag: later, Withdraw: true}, store.Change{Number: alice, Flag: flag(safeguard.ChildProtection, "2025-01-02", "2026-01-01")}))
	wantCorrected(t, s, correction(a), safeguard.CorrectedNow)
	for authority, want := range map[safeguard.ODSCode]string{islington: "42", sheffield: unnumbered.ID} {
		list := waiting(t, s, authority)
		if len(list) != 2 || list[0].Upload != want || list[1].Upload != want || list[1].Corrects != list[0].ID {
			t.Errorf("notifications to %s: %+v, want two, of the upload %s", authority, list, want)
		}
	}
	settle(t, s, access(bob, "visit"), islington) // of which nothing was shown
	if list := waiting(t, s, islington); list[len(list)-1].Upload != "" {
		t.Errorf("nothing was shown, and the upload is %q", list[len(list)-1].Upload)
	}
}

func ownOnly(t *testing.T, open func() store.Store) {
	s := open()
	settle(t, s, access(alice, "visit 1"), islington)
	id := waiting(t, s, islington)[0].ID
	if got := waiting(t, s, sheffield); len(got) != 0 {
		t.Errorf("another authority sees %v", got)
	}
	found, err := s.Acknowledge(t.Context(), sheffield, []string{id}, "them", morning)
	if err != nil || found != 0 {
		t.Errorf("another authority's acknowledgement: found %d, %v, want 0", found, err)
	}
	if got := waiting(t, s, islington); len(got) != 1 {
		t.Errorf("%d waiting, want 1", len(got))
	}
}

func leases(t *testing.T, open func() store.Store) {
	s := open()
	want := func(name, holder string, d time.Duration, want bool) {
		t.Helper()
		if got, err := s.Lease(t.Context(), name, holder, d); err != nil || got != want {
			t.Errorf("lease of %s by %s: %v, %v, want %v", name, holder, got, err, want)
		}
	}
	want("one", "a", time.Hour, true)
	want("one", "b", time.Hour, false)
	want("one", "a", time.Hour, true)
	want("two", "b", time.Hour, true)
	want("one", "a", 0, true) // given up
	want("one", "b", time.Millisecond, true)
	for deadline := time.Now().Add(30 * time.Second); ; {
		got, err := s.Lease(t.Context(), "one", "a", time.Hour)
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("a lease that ran out: %v, %v", got, err)
		}
		if got {
			break
		}
	}
	want("one", "b", time.Hour, false)
}

func notified(t *testing.T, open func() store.Store) {
	s := open()
	f := flag(safeguard.ChildProtection, "2025-01-02", "")
	apply(t, s, islington, store.Change{Number: alice, Flag: f})
	const all = 250 // more than are read together
	for i := range all {
		a := access(alice, fmt.Sprint("visit ", i))
		a.Recorded = morning.Add(time.Duration(i) * time.Second)
		settle(t, s, a, islington)
	}
	settle(t, s, access(bob, "visit 1"), islington) // for whom nothing is held any more
	first := waiting(t, s, islington)[0]
	if _, err := s.Acknowledge(t.Context(), islington, []string{first.ID}, "me", morning); err != nil {
		t.Fatal(err)
	}
	wantCorrected(t, s, correction(access(alice, "visit 1")), safeguard.CorrectedNow)
	read := func(which store.Which) (list []store.Notified) {
		t.Helper()
		which.Authority = islington
		err := s.Notified(t.Context(), which, "me", func(n store.Notified) error {
			list = append(list, n)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	got := read(store.Which{Number: alice})
	if len(got) != all+1 || !same(got[0].Notification, first) || !got[0].Acknowledged.Equal(morning) || got[0].AcknowledgedBy != "me" ||
		!got[1].Acknowledged.IsZero() || got[1].CorrectedBy != got[all].ID {
		t.Errorf("%d notified, want %d: %+v", len(got), all+1, got[:2])
	}
	for _, tt := range []struct {
		name  string
		which store.Which
		want  int
	}{
		{"all persons", store.Which{}, all + 1},
		{"a person for whom nothing is held", store.Which{Number: bob}, 0},
		{"some minutes", store.Which{From: morning.Add(time.Minute), Until: morning.Add(2 * time.Minute)}, 60},
	} {
		if got := read(tt.which); len(got) != tt.want {
			t.Errorf("%s: %d notified, want %d", tt.name, len(got), tt.want)
		}
	}
	enough := errors.New("enough")
	if err := s.Notified(t.Context(), store.Which{Authority: islington}, "me", func(store.Notified) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("ended by the reader: %v", err)
	}
}

func pages(t *testing.T, open func() store.Store) {
	s := open()
	const all = 7
	for i := range all {
		settle(t, s, access(alice, fmt.Sprint("visit ", i)), islington, sheffield)
	}
	seen := map[string]bool{}
	var after int64
	for page := 0; ; page++ {
		list, err := s.Waiting(t.Context(), islington, after, 3)
		if err != nil {
			t.Fatal(err)
		}
		if len(list) == 0 {
			break
		}
		for _, w := range list {
			if w.Position <= after {
				t.Errorf("position %d after %d", w.Position, after)
			}
			after, seen[w.Notification.ID] = w.Position, true
		}
	}
	if len(seen) != all {
		t.Errorf("%d notifications, want %d", len(seen), all)
	}
}

func survives(t *testing.T, open func() store.Store) {
	s := open()
	f := flag(safeguard.ChildProtection, "2025-01-02", "")
	apply(t, s, islington, store.Change{Number: alice, Flag: f})
	settle(t, s, access(alice, "visit 1"), islington)
	before := waiting(t, s, islington)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open()
	wantFlags(t, s, alice, by(f, islington))
	settle(t, s, access(alice, "visit 1"), islington)
	if after := waiting(t, s, islington); len(after) != 1 || !same(after[0], before[0]) {
		t.Errorf("notifications %v, want %v", after, before)
	}
}

func concurrent(t *testing.T, open func() store.Store) {
	s := open()
	const callers, visits = 16, 8
	var wait sync.WaitGroup
	for range callers {
		wait.Go(func() {
			for i := range visits {
				a := access(alice, fmt.Sprint("visit ", i))
				if err := s.Settle(t.Context(), look(a), []safeguard.Notification{notification(a, islington)}); err != nil {
					t.Error(err)
				}
				if _, err := s.Flags(t.Context(), alice); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
	if got := waiting(t, s, islington); len(got) != visits {
		t.Errorf("%d notifications, want %d", len(got), visits)
	}
}

// gone: one caller that gives up must not undo or stop another's work.
func gone(t *testing.T, open func() store.Store) {
	s := open()
	var wait sync.WaitGroup
	for i := range 64 {
		wait.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if i%2 == 0 {
				go cancel()
			}
			a := access(alice, fmt.Sprint("visit ", i))
			err := s.Settle(ctx, look(a), []safeguard.Notification{notification(a, islington)})
			if i%2 == 1 && err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	if got := waiting(t, s, islington); len(got) < 32 {
		t.Errorf("%d notifications, want at least 32", len(got))
	}
}

// goneAnywhere: wherever in its call a caller gives up, nothing of it is left that
// stops who writes next, or shows who reads next what was.
func goneAnywhere(t *testing.T, open func() store.Store) {
	s := open()
	for i := range 1000 {
		ctx, cancel := context.WithCancel(t.Context())
		after := time.AfterFunc(time.Duration(i%200)*time.Microsecond, cancel)
		_, _ = s.Lease(ctx, "work", "gone", time.Minute)
		_, _ = s.Directory(ctx, -1)
		after.Stop()
		cancel()
	}
	if mine, err := s.Lease(t.Context(), "other work", "me", time.Minute); err != nil || !mine {
		t.Fatalf("lease taken %v, %v, want it taken", mine, err)
	}
	if err := s.PutSite(t.Context(), site("RX1RA"), operator); err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	for range 64 {
		wait.Go(func() {
			if d, err := s.Directory(t.Context(), -1); err != nil || len(d.Sites) != 1 {
				t.Errorf("%d sites, %v, want the one that was put", len(d.Sites), err)
			}
		})
	}
	wait.Wait()
}

func afterClosing(t *testing.T, open func() store.Store) {
	s := open()
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Settle(t.Context(), look(access(alice, "visit 1")), nil); err == nil {
		t.Error("a closed store settled a lookup")
	}
	if _, err := s.Flags(t.Context(), alice); err == nil {
		t.Error("a closed store answered")
	}
}

// tick returns when the clock shows another millisecond than at its call, and
// gives the one before.
func tick() time.Time {
	was := time.Now()
	for time.Now().UnixMilli() == was.UnixMilli() {
		runtime.Gosched()
	}
	return was
}

func past(t *testing.T, open func() store.Store) {
	s := open()
	active, ended := flag(safeguard.ChildProtection, "2025-01-02", ""), flag(safeguard.ChildProtection, "2025-01-02", "2025-12-01")
	var moments []time.Time
	step := func(change store.Change) {
		moments = append(moments, tick())
		apply(t, s, islington, change)
	}
	step(store.Change{Number: alice, Flag: active})
	step(store.Change{Number: alice, Flag: ended})
	step(store.Change{Number: alice, Flag: ended, Withdraw: true})
	moments = append(moments, tick())
	for i, want := range [][]store.Flag{nil, {by(active, islington)}, {by(ended, islington)}, nil} {
		list, err := s.FlagsAt(t.Context(), alice, moments[i])
		if err != nil {
			t.Fatal(err)
		}
		var got []store.Flag
		for _, h := range list {
			if h.Recorded.After(moments[i]) || !h.Closed.After(moments[i]) || !strings.HasPrefix(h.By.Upload, "upload ") ||
				!strings.Contains(h.By.Sender, "authority/206") || !h.By.Received.Equal(morning) || h.ClosedBy.Upload == h.By.Upload {
				t.Errorf("moment %d: holding %+v", i, h)
			}
			if want := []string{"superseded", "withdrawn"}[i-1]; h.ClosedAs != want {
				t.Errorf("moment %d: closed as %q, want %q", i, h.ClosedAs, want)
			}
			h.Row = 0
			got = append(got, h.Flag)
		}
		if !slices.Equal(got, want) {
			t.Errorf("moment %d: flags %v, want %v", i, got, want)
		}
	}
}

func retention(t *testing.T, open func() store.Store) {
	s := open()
	f := flag(safeguard.ChildProtection, "2025-01-02", "")
	apply(t, s, islington, store.Change{Number: alice, Flag: f})
	apply(t, s, islington, store.Change{Number: alice, Flag: f, Withdraw: true})
	apply(t, s, islington, store.Change{Number: bob, Flag: f})
	early, late := access(alice, "visit 1"), access(bob, "visit 2")
	late.Recorded = morning.Add(time.Hour)
	settle(t, s, early, islington)
	settle(t, s, late, islington)
	if _, err := s.Acknowledge(t.Context(), islington, []string{waiting(t, s, islington)[0].ID}, "me", morning); err != nil {
		t.Fatal(err)
	}
	before := tick()
	for range 2 {
		if removed, err := s.Retain(t.Context(), store.Retention{}, operator); err != nil || removed != (store.Removed{}) {
			t.Errorf("without a rule: %+v, %v", removed, err)
		}
	}
	rule := store.Retention{ClosedFlags: before.Add(time.Second), Accesses: morning.Add(time.Minute), Notifications: before, Changes: before.Add(time.Second)}
	want := store.Removed{Persons: 1, Flags: 1, Accesses: 1, Notifications: 1, Changes: 2}
	if would, err := s.WouldRetain(t.Context(), rule); err != nil || would != want {
		t.Errorf("would remove %+v, %v, want %+v", would, err, want)
	}
	removed, err := s.Retain(t.Context(), rule, operator)
	if err != nil || removed != want {
		t.Errorf("removed %+v, %v, want %+v", removed, err, want)
	}
	if would, err := s.WouldRetain(t.Context(), rule); err != nil || would != (store.Removed{}) {
		t.Errorf("would remove %+v more, %v, want nothing", would, err)
	}
	runs := []store.RetentionRun{{Began: morning, Ended: morning.Add(time.Second), Who: "retention", Rule: rule, Removed: removed}, {Began: before, Ended: before, Who: "me", Failed: "store is closed"}}
	for _, run := range runs {
		if err := s.NoteRetention(t.Context(), run); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := s.RetentionRuns(t.Context(), 10); err != nil || len(got) != 2 || got[0].Failed != runs[1].Failed || got[1].Removed != removed || !got[1].Rule.Accesses.Equal(rule.Accesses) || !got[1].Began.Equal(morning) {
		t.Errorf("runs %+v, %v, want %+v, the latest first", got, err, runs)
	}
	wantFlags(t, s, bob, by(f, islington))
	if accesses, err := s.Accesses(t.Context(), bob, 25); err != nil || len(accesses) != 1 {
		t.Errorf("accesses %v, %v, want the later one", accesses, err)
	}
	if got := waiting(t, s, islington); len(got) != 1 {
		t.Errorf("%d notifications, want the one that waits", len(got))
	}
	if report, err := s.VerifyAudit(t.Context(), nil); err != nil || len(report.Problems) != 0 {
		t.Errorf("audit %+v, %v", report, err)
	}
}

var operator = audit.Who{Caller: "operator somebody@host"}

func site(c string) store.Site {
	return store.Site{
		Organisation: trust,
		Code:         code(c),
		Name:         "Example Infirmary",
		Settings:     []safeguard.CareSetting{safeguard.EmergencyDepartment, safeguard.Maternity},
		Accountable:  safeguard.Accountable{Name: "Dr A Example", Role: "Named doctor"},
		Policy: store.SitePolicy{
			Held:    safeguard.Ages{Fresh: time.Hour, Usable: 14 * 24 * time.Hour},
			None:    safeguard.Ages{Fresh: time.Minute, Usable: 2 * time.Hour},
			History: true, NoCache: true, Declared: true,
		},
	}
}

func authority(c safeguard.ODSCode, name string) store.Authority {
	return store.Authority{
		Authority: safeguard.Authority{Code: c, Name: name, EmergencyDutyPhone: "01632 960001"},
		GSS:       "E06000002",
		Opened:    date("1996-04-01"),
	}
}

func read(t *testing.T, s store.Store, known int64) store.Directory {
	t.Helper()
	d, err := s.Directory(t.Context(), known)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func directory(t *testing.T, open func() store.Store) {
	s := open()
	if d := read(t, s, 0); d.Version != 0 || len(d.Sites)+len(d.Authorities) != 0 {
		t.Errorf("an empty store's directory: %+v", d)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(s.PutSite(t.Context(), site("RX1RA"), operator))
	old := authority(islington, "Old Shire")
	old.Closed, old.Successors = date("2023-04-01"), []safeguard.ODSCode{sheffield}
	must(s.PutAuthority(t.Context(), old, operator))
	must(s.PutAuthority(t.Context(), authority(sheffield, "New Shire"), operator))
	must(s.StageSite(t.Context(), trust, code("RX1RA"), store.Live, operator))
	must(s.StageAuthority(t.Context(), sheffield, store.Observing, operator))
	renamed := site("RX1RA")
	renamed.Name, renamed.OrganisationName = "New Infirmary", "Example Trust"
	must(s.PutSite(t.Context(), renamed, operator))

	d := read(t, s, 0)
	if len(d.Sites) != 1 || len(d.Authorities) != 2 {
		t.Fatalf("directory %+v, want one site and two authorities", d)
	}
	got := d.Sites[0]
	if got.Name != "New Infirmary" || got.OrganisationName != "Example Trust" || got.Stage != store.Live || got.Policy != renamed.Policy ||
		!slices.Equal(got.Settings, renamed.Settings) || got.Accountable != renamed.Accountable || got.Configured || got.Changed.IsZero() {
		t.Errorf("site %+v", got)
	}
	if a := d.Authorities[0]; a.Authority != old.Authority || a.GSS != old.GSS || a.Opened != old.Opened || a.Closed != old.Closed ||
		!slices.Equal(a.Successors, old.Successors) || a.Stage != store.Invited || d.Authorities[1].Stage != store.Observing {
		t.Errorf("authorities %+v", d.Authorities)
	}
	for _, tt := range []struct{ day, want string }{{"2023-03-31", "Old Shire"}, {"2023-04-01", "Old Shire, now New Shire"}} {
		if c, ok := d.Contact(islington, date(tt.day)); !ok || c.Name != tt.want || c.Code != islington {
			t.Errorf("on %s: call %+v, want %s", tt.day, c, tt.want)
		}
	}
	if again := read(t, s, d.Version); again.Version != d.Version || again.Sites != nil {
		t.Errorf("unchanged: %+v, want the version only", again)
	}
	for _, err := range []error{s.StageSite(t.Context(), trust, code("RX9"), store.Live, operator), s.StageAuthority(t.Context(), code("999"), store.Live, operator)} {
		if !errors.Is(err, store.ErrUnknown) {
			t.Errorf("stage of what is not there: %v, want %v", err, store.ErrUnknown)
		}
	}
}

func imported(t *testing.T, open func() store.Store) {
	s := open()
	first, second := site("RX1RA"), site("RX1RB")
	first.Stage, second.Stage = store.Live, store.Live
	local := authority(sheffield, "Sheffield")
	put := func() int64 {
		t.Helper()
		if err := s.Import(t.Context(), []store.Site{first, second}, []store.Authority{local}, operator); err != nil {
			t.Fatal(err)
		}
		return read(t, s, 0).Version
	}
	version := put()
	if again := put(); again != version {
		t.Errorf("imported again: version %d, want %d still", again, version)
	}
	if err := s.StageSite(t.Context(), trust, first.Code, store.Invited, operator); err != nil {
		t.Fatal(err)
	}
	changed := second
	changed.Name = "As the operator says"
	if err := s.PutSite(t.Context(), changed, operator); err != nil {
		t.Fatal(err)
	}
	first.Name = "As the configuration says"
	put()
	d := read(t, s, 0)
	if d.Sites[0].Name != "As the configuration says" || d.Sites[0].Stage != store.Invited || !d.Sites[0].Configured {
		t.Errorf("site %+v, want the new name, and the stage that it was moved to", d.Sites[0])
	}
	if d.Sites[1].Name != "As the operator says" || d.Sites[1].Configured || d.Sites[1].Stage != store.Live {
		t.Errorf("site %+v, want what the operator says", d.Sites[1])
	}
}
