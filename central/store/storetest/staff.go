package storetest

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/audit"
	"github.com/safeguard-edge/safeguard/central/store"
)

var staffTests = []test{
	{"who attended where, by number and date of birth", attended},
	{"a corrected lookup says of nobody that they attended", correctedAttendance},
	{"who looks by hand follows nobody", viewFollowsNobody},
	{"a view is told from an arrival", viewedAccess},
	{"sessions of staff", staffSessions},
	{"a view by break-glass is listed once, and reviewed once", brokenGlass},
	{"a view by break-glass goes with the person", brokenGlassErased},
	{"retention keeps what is not reviewed", brokenGlassRetained},
}

var member = audit.Who{Caller: "staff 1 by https://id.example", Device: "192.0.2.7", Name: "Sister A Example", Role: "Nurse"}

// born is what an agent looked with, by default.
var born = date("2015-06-07")

func lookedFor(t *testing.T, s store.Store, a store.Access, purpose safeguard.Purpose, born safeguard.Date) {
	t.Helper()
	l := look(a)
	l.Purpose, l.Born = purpose, safeguard.Hide(born)
	if err := s.Record(t.Context(), l); err != nil {
		t.Fatal(err)
	}
}

func wantAttended(t *testing.T, s store.Store, organisation safeguard.ODSCode, n safeguard.NHSNumber, born safeguard.Date, want time.Time) {
	t.Helper()
	got, err := s.Attended(t.Context(), organisation, n, born, morning.Add(-72*time.Hour), morning.Add(time.Hour))
	if err != nil || !got.Equal(want) {
		t.Errorf("attended %v, %v, want %v", got, err, want)
	}
}

func attended(t *testing.T, open func() store.Store) {
	s := open()
	never := time.Time{}
	wantAttended(t, s, trust, alice, born, never)
	a := access(alice, "visit 1")
	lookedFor(t, s, a, safeguard.Scheduled, born)
	wantAttended(t, s, trust, alice, born, a.At)
	wantAttended(t, s, trust, alice, date("2015-06-08"), never)
	wantAttended(t, s, trust, bob, born, never)
	wantAttended(t, s, code("RX2"), alice, born, never)

	refreshed := a
	refreshed.At, refreshed.Recorded = morning, morning.Add(time.Minute)
	lookedFor(t, s, refreshed, safeguard.Refresh, born)
	wantAttended(t, s, trust, alice, born, a.At)

	earlier := a
	earlier.At, earlier.Recorded = a.At.Add(-time.Hour), morning.Add(2*time.Minute) // paid late
	lookedFor(t, s, earlier, safeguard.Unscheduled, born)
	wantAttended(t, s, trust, alice, born, a.At)

	appointment := a
	appointment.At = morning.Add(24 * time.Hour)
	lookedFor(t, s, appointment, safeguard.Scheduled, born)
	wantAttended(t, s, trust, alice, born, a.At)

	elsewhere := a
	elsewhere.Site, elsewhere.At = code("RX1RB"), a.At.Add(time.Minute)
	lookedFor(t, s, elsewhere, safeguard.Unscheduled, born)
	wantAttended(t, s, trust, alice, born, elsewhere.At)

	old := access(bob, "visit 2")
	old.At = morning.Add(-73 * time.Hour)
	lookedFor(t, s, old, safeguard.Unscheduled, born)
	wantAttended(t, s, trust, bob, born, never)

	unsaid := access(bob, "visit 3")
	lookedFor(t, s, unsaid, safeguard.Unscheduled, safeguard.Date{})
	wantAttended(t, s, trust, bob, safeguard.Date{}, never)

	// Who is said to be another is no more who they were said to be.
	changed := a
	changed.At, changed.Site = elsewhere.At.Add(time.Minute), elsewhere.Site
	lookedFor(t, s, changed, safeguard.Unscheduled, date("2014-06-07"))
	wantAttended(t, s, trust, alice, born, a.At)
	wantAttended(t, s, trust, alice, date("2014-06-07"), changed.At)
}

func correctedAttendance(t *testing.T, open func() store.Store) {
	s := open()
	a := access(alice, "visit 1")
	l := look(a)
	l.Born = safeguard.Hide(born)
	if err := s.Settle(t.Context(), l, nil); err != nil {
		t.Fatal(err)
	}
	wantAttended(t, s, trust, alice, born, a.At)
	wantCorrected(t, s, correction(a), safeguard.CorrectedNow)
	wantAttended(t, s, trust, alice, born, time.Time{})
	silent := access(bob, "visit 1")
	lookedFor(t, s, silent, safeguard.Scheduled, born)
	wantCorrected(t, s, correction(silent), safeguard.NeverRecorded)
	wantAttended(t, s, trust, bob, born, time.Time{})
}

func viewFollowsNobody(t *testing.T, open func() store.Store) {
	s := open()
	a := access(alice, "view 1")
	a.Viewed = true
	lookedFor(t, s, a, safeguard.Unscheduled, born)
	wantAttended(t, s, trust, alice, born, time.Time{})
	apply(t, s, islington, store.Change{Number: alice, Flag: flag(safeguard.ChildProtection, "2025-02-03", "")})
	list, err := s.Changed(t.Context(), store.ChangePoint{}, 10, time.Time{})
	if err != nil || len(list) != 1 || len(list[0].Asked) != 0 {
		t.Errorf("changes %+v, %v, want one that nobody is told of", list, err)
	}
}

func viewedAccess(t *testing.T, open func() store.Store) {
	s := open()
	arrival, view := access(alice, "visit 1"), access(alice, "view 1")
	view.Viewed, view.Recorded = true, morning.Add(time.Minute)
	settle(t, s, arrival, islington)
	settle(t, s, view, islington)
	settle(t, s, view, islington)
	list, err := s.Accesses(t.Context(), alice, 10)
	if err != nil || len(list) != 2 || !list[0].Viewed || list[1].Viewed {
		t.Errorf("accesses %+v, %v, want the view and the arrival before it", list, err)
	}
	if got := waiting(t, s, islington); len(got) != 2 || got[0].Viewed || !got[1].Viewed {
		t.Errorf("notifications %+v, want one of each", got)
	}
}

func staffSessions(t *testing.T, open func() store.Store) {
	s := open()
	n := store.StaffSession{
		ID: []byte("a"), Subject: "1", Name: "Sister A Example", Role: "Nurse", Source: "https://id.example", Organisation: trust,
		Rights: store.ViewAndNotify | store.ReviewViews, Opened: morning, Seen: morning,
	}
	other := n
	other.ID, other.Rights, other.Opened = []byte("b"), store.ViewSilently|store.OwnAccesses, morning.Add(time.Minute)
	for _, one := range []store.StaffSession{n, other} {
		if err := s.OpenStaffSession(t.Context(), one, member); err != nil {
			t.Fatal(err)
		}
	}
	same := func(a, b store.StaffSession) bool {
		return string(a.ID) == string(b.ID) && a.Subject == b.Subject && a.Name == b.Name && a.Role == b.Role && a.Source == b.Source &&
			a.Organisation == b.Organisation && a.Rights == b.Rights && a.Opened.Equal(b.Opened) && a.Seen.Equal(b.Seen)
	}
	if got, err := s.StaffSession(t.Context(), n.ID); err != nil || !same(got, n) {
		t.Errorf("got %+v, %v, want %+v", got, err, n)
	}
	if list, err := s.StaffSessions(t.Context()); err != nil || len(list) != 2 || !same(list[0], other) {
		t.Errorf("got %+v, %v, want both, the latest first", list, err)
	}
	// What lets an operator in lets no member of staff in, and the other way round.
	if _, err := s.Session(t.Context(), n.ID); !errors.Is(err, store.ErrNoSession) {
		t.Errorf("as an operator's: %v, want none", err)
	}
	if err := s.SeenStaffSession(t.Context(), n.ID, morning.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := s.RetainStaffSessions(t.Context(), morning.Add(-time.Hour), morning.Add(30*time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.StaffSession(t.Context(), other.ID); !errors.Is(err, store.ErrNoSession) {
		t.Errorf("unused for long: %v, want none", err)
	}
	if err := s.EndStaffSession(t.Context(), n.ID, member); err != nil {
		t.Fatal(err)
	}
	if err := s.EndStaffSession(t.Context(), n.ID, member); !errors.Is(err, store.ErrNoSession) {
		t.Errorf("ended twice: %v, want none", err)
	}
	if list := entriesOf(t, s, audit.SessionEnded); len(list) != 1 || list[0].Details["staff"] != "1" || list[0].Where.Organisation != "RX1" {
		t.Errorf("audit %+v, want whose session ended", list)
	}
}

// broken is a view by break-glass, as it is decided.
func broken(n safeguard.NHSNumber, view string) (store.Look, *store.BreakGlass) {
	a := access(n, view)
	a.Viewed = true
	l := look(a)
	l.Caller, l.Reason = member.Caller, "I am assessing or treating this person"
	return l, &store.BreakGlass{
		Organisation: a.Organisation, Site: a.Site, Look: a.Attendance, Number: n, Born: safeguard.Hide(born),
		By:  store.StaffMember{Subject: "1", Name: member.Name, Role: member.Role, Source: "https://id.example", Address: member.Device},
		Why: l.Reason, Words: safeguard.Hide("Her sister Mary told me of bruises."), Answer: "held", Notified: true, At: morning,
	}
}

func breakGlass(t *testing.T, s store.Store, n safeguard.NHSNumber, view string) {
	t.Helper()
	l, b := broken(n, view)
	if err := s.Look(t.Context(), n, func([]store.Flag) store.Decision { return store.Decision{Look: l, BreakGlass: b} }); err != nil {
		t.Fatal(err)
	}
}

func brokenGlass(t *testing.T, open func() store.Store) {
	s := open()
	breakGlass(t, s, alice, "view 1")
	breakGlass(t, s, alice, "view 1") // sent twice
	breakGlass(t, s, bob, "view 1")   // of another person, by the same name
	list, err := s.BreakGlasses(t.Context(), trust, false, 10)
	if err != nil || len(list) != 2 {
		t.Fatalf("list %+v, %v, want two", list, err)
	}
	if looks := entriesOf(t, s, audit.Looked); len(looks) != 3 || looks[0].Details["break_glass"] != "true" {
		t.Errorf("audit has looks %+v, want each, as by break-glass", looks)
	}
	_, want := broken(alice, "view 1")
	if got := list[0]; got.Number != alice || got.Born != want.Born || got.By != want.By || got.Why != want.Why || got.Words != want.Words || got.Answer != want.Answer ||
		!got.Notified || !got.At.Equal(want.At) || got.Site != want.Site || got.Look != want.Look || !got.Reviewed.IsZero() {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if waiting, err := s.BreakGlassWaiting(t.Context()); err != nil || len(waiting) != 2 || waiting[0].Position != list[0].Position || waiting[0].Organisation != trust || !waiting[0].At.Equal(morning) {
		t.Errorf("waiting %+v, %v, want both", waiting, err)
	}
	first := list[0].Position
	review := store.Review{Finding: store.Justified, Note: safeguard.Hide("Spoke to the sister.")}
	elsewhere := code("RX2")
	if other, err := s.BreakGlasses(t.Context(), elsewhere, false, 10); err != nil || len(other) != 0 {
		t.Errorf("another organisation's list: %+v, %v, want none", other, err)
	}
	if _, err := s.BreakGlass(t.Context(), elsewhere, first, member); !errors.Is(err, store.ErrNoBreakGlass) {
		t.Errorf("another organisation's officer opens it: %v, want none", err)
	}
	if err := s.ReviewBreakGlass(t.Context(), elsewhere, first, review, member); !errors.Is(err, store.ErrNoBreakGlass) {
		t.Errorf("another organisation's officer reviews it: %v, want none", err)
	}
	if got, err := s.BreakGlass(t.Context(), trust, first, member); err != nil || got.Words != want.Words {
		t.Errorf("got %+v, %v, want it whole", got, err)
	}
	if err := s.ReviewBreakGlass(t.Context(), trust, first, review, member); err != nil {
		t.Fatal(err)
	}
	if err := s.ReviewBreakGlass(t.Context(), trust, first, store.Review{Finding: store.Unjustified}, member); !errors.Is(err, store.ErrReviewed) {
		t.Errorf("reviewed twice: %v, want that it was", err)
	}
	done, err := s.BreakGlasses(t.Context(), trust, true, 10)
	if err != nil || len(done) != 1 || done[0].Review != review || done[0].ReviewedBy != member.Name || done[0].Reviewed.IsZero() {
		t.Errorf("reviewed %+v, %v, want what was found first", done, err)
	}
	if left, err := s.BreakGlasses(t.Context(), trust, false, 10); err != nil || len(left) != 1 || left[0].Number != bob {
		t.Errorf("to review: %+v, %v, want the other", left, err)
	}
	seen, reviewed := entriesOf(t, s, audit.BreakGlassSeen), entriesOf(t, s, audit.BreakGlassReviewed)
	if len(seen) != 1 || len(reviewed) != 1 || seen[0].Subject == "" || reviewed[0].Answer != "justified" {
		t.Errorf("audit has %+v and %+v, want one each", seen, reviewed)
	}
	wantVerified(t, s)
	// What was said in words, and may name somebody, is in no entry: those stay.
	for _, e := range slices.Concat(seen, reviewed, entriesOf(t, s, audit.Looked)) {
		if strings.Contains(e.Reason, "Mary") || strings.Contains(e.Reason, "Spoke") {
			t.Errorf("audit has %+v, want no words", e)
		}
	}
}

func brokenGlassErased(t *testing.T, open func() store.Store) {
	s := open()
	breakGlass(t, s, alice, "view 1")
	if removed, err := s.Erase(t.Context(), alice, "asked for", member); err != nil || removed.Persons != 1 || removed.Accesses != 1 {
		t.Errorf("removed %+v, %v, want the view with the person", removed, err)
	}
	if list, err := s.BreakGlasses(t.Context(), trust, false, 10); err != nil || len(list) != 0 {
		t.Errorf("list %+v, %v, want none", list, err)
	}
	wantVerified(t, s)
}

func brokenGlassRetained(t *testing.T, open func() store.Store) {
	s := open()
	breakGlass(t, s, alice, "view 1")
	breakGlass(t, s, bob, "view 2")
	list, err := s.BreakGlasses(t.Context(), trust, false, 10)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.ReviewBreakGlass(t.Context(), trust, list[0].Position, store.Review{Finding: store.Justified}, member); err != nil {
		t.Fatal(err)
	}
	removed, err := s.Retain(t.Context(), store.Retention{Accesses: time.Now().Add(time.Hour)}, member)
	if err != nil || removed.Accesses != 1 || removed.Persons != 1 {
		t.Errorf("removed %+v, %v, want what was reviewed, with the person", removed, err)
	}
	if left, err := s.BreakGlasses(t.Context(), trust, false, 10); err != nil || len(left) != 1 || left[0].Number != bob {
		t.Errorf("left %+v, %v, want what nobody has reviewed", left, err)
	}
}
