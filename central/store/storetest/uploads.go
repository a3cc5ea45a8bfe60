package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/audit"
	"github.com/safeguard-edge/safeguard/central/store"
)

var uploadTests = []test{
	{"a repeated upload is the first one", repeatedUpload},
	{"sequence numbers", sequenceNumbers},
	{"a snapshot ends what it does not name", snapshotEnds},
	{"whoever may be meant by a bad row is not missing", snapshotSpares},
	{"a snapshot that ends too much waits and is released", released},
	{"a snapshot that waits is rejected", rejected},
	{"a later snapshot overtakes one that waits", overtaken},
	{"a later upload is not undone by a release", releasedLate},
	{"a person erased while a snapshot waits", erasedWaiting},
	{"uploads are listed", listedUploads},
	{"reports go with time", retainedReports},
	{"a demographic list", demographics},
}

// day is that of the snapshots.
var day = date("2026-03-01")

func snapshot(u *store.Upload) *store.Upload {
	u.Snapshot = &store.Snapshot{Day: day, Share: 0.2}
	return u
}

func upload(authority safeguard.ODSCode, sequence int64, changes ...store.Change) *store.Upload {
	uploads++
	return &store.Upload{
		ID:        fmt.Sprintf("upload %d", uploads),
		Authority: authority,
		By:        "spiffe://safeguard/authority/" + authority.String() + "/test",
		Received:  time.Now(),
		Sequence:  sequence,
		Digest:    fmt.Append(nil, len(changes), sequence),
		Rows:      len(changes),
		Changes:   slices.Values(changes),
		Verdicts:  []byte("verdicts"),
	}
}

func send(t *testing.T, s store.Store, u *store.Upload) store.Kept {
	t.Helper()
	k, err := s.Apply(t.Context(), *u)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// child gives one of many people.
func child(n int) safeguard.NHSNumber {
	for check := range 10 {
		if number, err := safeguard.ParseNHSNumber(fmt.Sprintf("999%06d%d", 100_000+n, check)); err == nil {
			return number
		}
	}
	return child(n + 500_000) // no check digit fits
}

func children(n int, f store.Flag) (changes []store.Change) {
	for i := range n {
		changes = append(changes, store.Change{Number: child(i), Flag: f})
	}
	return changes
}

func repeatedUpload(t *testing.T, open func() store.Store) {
	s := open()
	active := flag(safeguard.ChildProtection, "2025-01-02", "")
	first := send(t, s, upload(islington, 1, store.Change{Number: alice, Flag: active}))
	withdrawn := store.Change{Number: alice, Flag: active, Withdraw: true}
	send(t, s, upload(islington, 2, withdrawn))
	again := send(t, s, upload(islington, 1, store.Change{Number: alice, Flag: active}))
	if !again.Repeated || again.ID != first.ID || again.Loaded != 1 || !slices.Equal(again.Effects, []store.Effect{store.Added}) || string(again.Verdicts) != "verdicts" {
		t.Errorf("repeat %+v, want the first, %+v", again, first)
	}
	wantFlags(t, s, alice)
	if other := send(t, s, upload(sheffield, 1, store.Change{Number: alice, Flag: active})); other.Repeated {
		t.Error("another authority's upload was taken for a repeat")
	}
}

func sequenceNumbers(t *testing.T, open func() store.Store) {
	s := open()
	change := store.Change{Number: alice, Flag: flag(safeguard.ChildProtection, "2025-01-02", "")}
	if k := send(t, s, upload(islington, 7, change)); k.GapFrom != 0 {
		t.Errorf("the first upload has the gap %d to %d, want none: nobody knows where it began", k.GapFrom, k.GapTo)
	}
	if k := send(t, s, upload(islington, 8, change)); k.GapFrom != 0 {
		t.Errorf("gap %d to %d, want none", k.GapFrom, k.GapTo)
	}
	if k := send(t, s, upload(islington, 12, change)); k.GapFrom != 9 || k.GapTo != 11 {
		t.Errorf("gap %d to %d, want 9 to 11", k.GapFrom, k.GapTo)
	}
	send(t, s, upload(islington, 0, change)) // without a number
	for name, tt := range map[string]struct {
		upload *store.Upload
		want   store.SequenceError
	}{
		"used with other content":        {upload(islington, 8, change, change), store.SequenceError{Sequence: 8, Highest: 12, Used: time.Now()}},
		"used, and a snapshot this time": {snapshot(upload(islington, 8, change)), store.SequenceError{Sequence: 8, Highest: 12, Used: time.Now()}},
		"a gap that is filled late":      {upload(islington, 10, change), store.SequenceError{Sequence: 10, Highest: 12}},
	} {
		_, err := s.Apply(t.Context(), *tt.upload)
		var refused *store.SequenceError
		if !errors.As(err, &refused) || refused.Sequence != tt.want.Sequence || refused.Highest != tt.want.Highest || refused.Used.IsZero() != tt.want.Used.IsZero() {
			t.Errorf("%s: %v, want %v", name, err, &tt.want)
		}
		if _, err := s.Upload(t.Context(), islington, tt.upload.ID, 0); !errors.Is(err, store.ErrNoUpload) {
			t.Errorf("%s: kept all the same: %v", name, err)
		}
	}
	if k, err := s.Upload(t.Context(), islington, "", 12); err != nil || k.GapTo != 11 {
		t.Errorf("upload 12: %+v, %v", k, err)
	}
	if _, err := s.Upload(t.Context(), sheffield, "", 12); !errors.Is(err, store.ErrNoUpload) {
		t.Errorf("another authority's: %v, want none", err)
	}
}

func snapshotEnds(t *testing.T, open func() store.Store) {
	s := open()
	active := flag(safeguard.ChildProtection, "2025-01-02", "")
	over := flag(safeguard.LookedAfter, "2024-01-02", "2025-12-01")
	planned := flag(safeguard.UnbornChild, "2026-01-02", "2026-06-01")
	future := flag(safeguard.LookedAfter, "2026-03-09", "")
	changes := children(20, active)
	changes = append(changes, store.Change{Number: alice, Flag: active}, store.Change{Number: alice, Flag: over},
		store.Change{Number: bob, Flag: planned}, store.Change{Number: bob, Flag: future})
	send(t, s, upload(islington, 0, changes...))
	send(t, s, upload(sheffield, 0, store.Change{Number: alice, Flag: active}))

	k := send(t, s, snapshot(upload(islington, 0, changes[:20]...)))
	if k.State != store.Applied || k.Current != 23 || k.Closing != 3 || k.Ended != 2 || k.Withdrawn != 1 || k.Loaded != 20 {
		t.Errorf("snapshot %+v, want 2 ended and 1 withdrawn of 23", k)
	}
	ended, brought := active, planned
	ended.End, brought.End = day, day
	wantFlags(t, s, alice, by(over, islington), by(active, sheffield), by(ended, islington))
	wantFlags(t, s, bob, by(brought, islington))
	wantFlags(t, s, child(3), by(active, islington))
	if again := send(t, s, snapshot(upload(islington, 0, changes[:20]...))); again.Ended != 0 || again.Current != 20 {
		t.Errorf("the same again: %+v, want nothing ended", again)
	}
	past, err := s.FlagsAt(t.Context(), bob, time.Now())
	if err != nil || len(past) != 1 || past[0].By.Upload != k.ID {
		t.Errorf("held now %+v, %v, want what the snapshot has ended", past, err)
	}
}

func snapshotSpares(t *testing.T, open func() store.Store) {
	active := flag(safeguard.ChildProtection, "2025-01-02", "")
	other := active
	other.Born = safeguard.Hide(date("2014-02-03"))
	for name, tt := range map[string]struct {
		spare func(s *store.Snapshot)
		ended int
	}{
		"nobody":            {func(*store.Snapshot) {}, 2},
		"a number":          {func(s *store.Snapshot) { s.Numbers = []safeguard.NHSNumber{alice} }, 1},
		"a day of birth":    {func(s *store.Snapshot) { s.Born = []safeguard.Date{date("2014-02-03")} }, 1},
		"whoever it may be": {func(s *store.Snapshot) { s.Everyone = true }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := open()
			authority := code(fmt.Sprintf("7%02d", len(name)))
			changes := children(20, active)
			send(t, s, upload(authority, 0, append(changes, store.Change{Number: alice, Flag: active}, store.Change{Number: bob, Flag: other})...))
			u := snapshot(upload(authority, 0, changes...))
			tt.spare(u.Snapshot)
			if k := send(t, s, u); k.Ended != tt.ended || k.State != store.Applied {
				t.Errorf("%+v, want %d ended", k, tt.ended)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// waits has a store where a snapshot waits that would end 9 of 10 flags.
func waits(t *testing.T, s store.Store) store.Kept {
	t.Helper()
	active := flag(safeguard.ChildProtection, "2025-01-02", "")
	send(t, s, upload(islington, 1, children(10, active)...))
	moved := active
	moved.End = date("2026-02-01")
	k := send(t, s, snapshot(upload(islington, 2, store.Change{Number: child(0), Flag: active}, store.Change{Number: alice, Flag: active}, store.Change{Number: child(1), Flag: moved})))
	if k.State != store.Waits || k.Current != 10 || k.Closing != 9 || k.Loaded != 0 || k.Ended != 0 || k.Effects != nil {
		t.Fatalf("snapshot %+v, want it to wait, with 9 of 10", k)
	}
	wantFlags(t, s, alice)
	wantFlags(t, s, child(5), by(active, islington))
	return k
}

func released(t *testing.T, open func() store.Store) {
	s := open()
	k := waits(t, s)
	u := snapshot(upload(islington, 2, make([]store.Change, 3)...))
	if again := send(t, s, u); again.ID != k.ID || !again.Repeated || again.State != store.Waits {
		t.Errorf("the same again: %+v, want it to wait still", again)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open()
	done, err := s.Release(t.Context(), k.ID, "it is right", operator)
	if err != nil {
		t.Fatal(err)
	}
	active := flag(safeguard.ChildProtection, "2025-01-02", "")
	ended := active
	ended.End = day
	want := []store.Effect{store.Unchanged, store.Added, store.Replaced}
	if done.State != store.Applied || done.Ended != 8 || done.Closing != 9 || done.Loaded != 3 || done.DecidedBy != operator.Caller || !slices.Equal(done.Effects, want) {
		t.Errorf("released %+v", done)
	}
	wantFlags(t, s, alice, by(active, islington))
	wantFlags(t, s, child(5), by(ended, islington))
	wantFlags(t, s, child(0), by(active, islington))
	kept, err := s.Upload(t.Context(), islington, k.ID, 0)
	if err != nil || kept.State != store.Applied || kept.Reason != "it is right" || !slices.Equal(kept.Effects, want) || kept.Ended != 8 {
		t.Errorf("kept %+v, %v", kept, err)
	}
	var none *store.NotWaiting
	if _, err := s.Release(t.Context(), k.ID, "again", operator); !errors.As(err, &none) || none.State != store.Applied {
		t.Errorf("a second release: %v, want that it does not wait", err)
	}
	if _, err := s.Reject(t.Context(), k.ID, "no", operator); !errors.As(err, &none) {
		t.Errorf("a rejection after it: %v, want that it does not wait", err)
	}
	wantAudited(t, s, audit.UploadReleased, 1)
}

func wantAudited(t *testing.T, s store.Store, act audit.Act, want int) {
	t.Helper()
	var out countActs
	if _, err := s.ExportAudit(t.Context(), &out, operator); err != nil {
		t.Fatal(err)
	}
	if got := out.count(act); got != want {
		t.Errorf("%d entries %q in the audit, want %d", got, act, want)
	}
}

func rejected(t *testing.T, open func() store.Store) {
	s := open()
	k := waits(t, s)
	if _, err := s.Reject(t.Context(), k.ID, "of another authority", operator); err != nil {
		t.Fatal(err)
	}
	kept, err := s.Upload(t.Context(), islington, k.ID, 0)
	if err != nil || kept.State != store.Rejected || kept.Reason != "of another authority" || kept.Decided.IsZero() {
		t.Errorf("kept %+v, %v", kept, err)
	}
	wantFlags(t, s, alice)
	wantFlags(t, s, child(5), by(flag(safeguard.ChildProtection, "2025-01-02", ""), islington))
	wantAudited(t, s, audit.UploadRejected, 1)
	// Of whom nothing but that snapshot spoke, nothing is kept.
	if removed, err := s.Erase(t.Context(), alice, "asked for", operator); err != nil || removed.Persons != 0 {
		t.Errorf("erased %+v, %v, want that there was nothing", removed, err)
	}
	var none *store.NotWaiting
	if _, err := s.Release(t.Context(), k.ID, "after all", operator); !errors.As(err, &none) {
		t.Errorf("a release: %v, want that it does not wait", err)
	}
}

func overtaken(t *testing.T, open func() store.Store) {
	s := open()
	k := waits(t, s)
	active := flag(safeguard.ChildProtection, "2025-01-02", "")
	if later := send(t, s, snapshot(upload(islington, 3, children(10, active)...))); later.State != store.Applied || later.Ended != 0 {
		t.Errorf("later snapshot %+v", later)
	}
	kept, err := s.Upload(t.Context(), islington, k.ID, 0)
	if err != nil || kept.State != store.Overtaken {
		t.Errorf("kept %+v, %v, want overtaken", kept, err)
	}
	if _, err := s.Release(t.Context(), k.ID, "late", operator); err == nil {
		t.Error("what was overtaken was released")
	}
}

func releasedLate(t *testing.T, open func() store.Store) {
	s := open()
	k := waits(t, s)
	active := flag(safeguard.ChildProtection, "2025-01-02", "")
	ended := active
	ended.End = date("2026-02-20")
	fresh := flag(safeguard.LookedAfter, "2026-02-02", "")
	tick() // the later upload is of a later moment
	send(t, s, upload(islington, 3, store.Change{Number: child(0), Flag: ended}, store.Change{Number: bob, Flag: fresh}))
	done, err := s.Release(t.Context(), k.ID, "it is right", operator)
	if err != nil || done.Effects[0] != store.Later {
		t.Fatalf("released %+v, %v, want the first change left as a later upload has it", done, err)
	}
	wantFlags(t, s, child(0), by(ended, islington))
	wantFlags(t, s, bob, by(fresh, islington))
}

func erasedWaiting(t *testing.T, open func() store.Store) {
	s := open()
	k := waits(t, s)
	if _, err := s.Erase(t.Context(), alice, "asked for", operator); err != nil {
		t.Fatal(err)
	}
	done, err := s.Release(t.Context(), k.ID, "it is right", operator)
	want := []store.Effect{store.Unchanged, store.NoEffect, store.Replaced}
	if err != nil || !slices.Equal(done.Effects, want) || done.Loaded != 2 {
		t.Errorf("released %+v, %v, want %v", done, err, want)
	}
	wantFlags(t, s, alice)
}

func listedUploads(t *testing.T, open func() store.Store) {
	s := open()
	k := waits(t, s)
	other := send(t, s, upload(sheffield, 0))
	for name, tt := range map[string]struct {
		which store.UploadFilter
		want  []string
	}{
		"one authority's": {store.UploadFilter{Authority: sheffield}, []string{other.ID}},
		"waiting":         {store.UploadFilter{State: store.Waits}, []string{k.ID}},
		"later ones":      {store.UploadFilter{Since: time.Now().Add(time.Hour)}, nil},
	} {
		list, err := s.Uploads(t.Context(), tt.which)
		var got []string
		for _, k := range list {
			got = append(got, k.ID)
		}
		if err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, %v, want %v", name, got, err, tt.want)
		}
	}
	if list, err := s.Uploads(t.Context(), store.UploadFilter{Limit: 2}); err != nil || len(list) != 2 {
		t.Errorf("two of them: %d, %v", len(list), err)
	}
}

func retainedReports(t *testing.T, open func() store.Store) {
	s := open()
	active := flag(safeguard.ChildProtection, "2025-01-02", "")
	old := send(t, s, upload(islington, 0, store.Change{Number: alice, Flag: active}))
	removed, err := s.Retain(t.Context(), store.Retention{Reports: old.Received.Add(time.Millisecond)}, operator)
	if err != nil || removed != (store.Removed{Reports: 1}) {
		t.Errorf("removed %+v, %v, want one report", removed, err)
	}
	if removed, err := s.Retain(t.Context(), store.Retention{Reports: old.Received.Add(time.Millisecond)}, operator); err != nil || removed != (store.Removed{}) {
		t.Errorf("again: %+v, %v, want nothing", removed, err)
	}
	if k, err := s.Upload(t.Context(), islington, old.ID, 0); err != nil || k.Verdicts != nil || k.Effects != nil || k.Loaded != 1 {
		t.Errorf("kept %+v, %v, want the upload without its verdicts", k, err)
	}
	wantFlags(t, s, alice, by(active, islington))
}

func listed(list ...store.Listed) iter.Seq2[store.Listed, error] {
	return func(yield func(store.Listed, error) bool) {
		for _, l := range list {
			if !yield(l, nil) {
				return
			}
		}
	}
}

func demographics(t *testing.T, open func() store.Store) {
	s := open()
	if d, err := s.Demographics(t.Context()); err != nil || !d.Imported.IsZero() {
		t.Errorf("before: %+v, %v, want none", d, err)
	}
	active := flag(safeguard.ChildProtection, "2025-01-02", "")
	send(t, s, upload(islington, 41, store.Change{Number: alice, Flag: active}, store.Change{Number: bob, Flag: active}))
	last := send(t, s, upload(sheffield, 0, store.Change{Number: alice, Flag: active}))
	owed, err := s.ImportDemographics(t.Context(), listed(
		store.Listed{Number: alice, Standing: store.Inactive},
		store.Listed{Number: bob, Standing: store.Sensitive},
		store.Listed{Number: child(7), Standing: store.Superseded}, // nobody's
	), operator)
	if err != nil || owed != 2 {
		t.Fatalf("%d owed, %v, want 2", owed, err)
	}
	if d, err := s.Demographics(t.Context()); err != nil || d.Numbers != 3 || time.Since(d.Imported) > time.Hour {
		t.Errorf("list %+v, %v", d, err)
	}
	standings, err := s.Standings(t.Context(), []safeguard.NHSNumber{child(7), child(8), bob, alice})
	if want := []store.Standing{store.Superseded, store.InUse, store.Sensitive, store.Inactive}; err != nil || !slices.Equal(standings, want) {
		t.Errorf("standings %v, %v, want %v", standings, err, want)
	}
	for authority, source := range map[safeguard.ODSCode]string{islington: "41", sheffield: last.ID} {
		notices := inactive(t, s, authority)
		if len(notices) != 1 || notices[0].Number != alice || notices[0].Standing != store.Inactive || notices[0].Upload != source || notices[0].ID == "" {
			t.Errorf("notices of %s: %+v, want one of the upload %s", authority, notices, source)
		}
	}
	// Again, and of another kind, which takes the place of the list before.
	if owed, err := s.ImportDemographics(t.Context(), listed(store.Listed{Number: alice, Standing: store.Inactive}), operator); err != nil || owed != 0 {
		t.Errorf("the same again: %d owed, %v, want none", owed, err)
	}
	if standings, err := s.Standings(t.Context(), []safeguard.NHSNumber{bob}); err != nil || standings[0] != store.InUse {
		t.Errorf("not in the new list: %v, %v", standings, err)
	}
	broken := errors.New("line 3: broken")
	bad := func(yield func(store.Listed, error) bool) {
		_ = yield(store.Listed{Number: bob, Standing: store.Inactive}, nil) && yield(store.Listed{}, broken)
	}
	if _, err := s.ImportDemographics(t.Context(), bad, operator); !errors.Is(err, broken) {
		t.Errorf("a list that breaks off: %v", err)
	}
	if standings, err := s.Standings(t.Context(), []safeguard.NHSNumber{alice, bob}); err != nil || standings[0] != store.Inactive || standings[1] != store.InUse {
		t.Errorf("after it: %v, %v, want the list before", standings, err)
	}
	notice := inactive(t, s, islington)[0]
	for range 2 {
		if n, err := s.AcknowledgeInactive(t.Context(), islington, []string{notice.ID, "unknown"}, "me", time.Now()); err != nil || n != 1 {
			t.Errorf("acknowledged %d, %v, want 1", n, err)
		}
	}
	if n, err := s.AcknowledgeInactive(t.Context(), sheffield, []string{notice.ID}, "me", time.Now()); err != nil || n != 0 {
		t.Errorf("another's acknowledged %d, %v, want none", n, err)
	}
	if left := inactive(t, s, islington); len(left) != 0 {
		t.Errorf("after acknowledging: %+v", left)
	}
	if _, err := s.Erase(t.Context(), alice, "asked for", operator); err != nil {
		t.Fatal(err)
	}
	if standings, err := s.Standings(t.Context(), []safeguard.NHSNumber{alice}); err != nil || standings[0] != store.InUse || len(inactive(t, s, sheffield)) != 0 {
		t.Errorf("after erasing: %v, %v", standings, err)
	}
	wantAudited(t, s, audit.DemographicsImported, 2)
}

func inactive(t *testing.T, s store.Store, authority safeguard.ODSCode) []store.InactiveNumber {
	t.Helper()
	list, err := s.InactiveNumbers(context.WithoutCancel(t.Context()), authority, 0, 10)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// countActs counts the acts of an exported audit.
type countActs struct{ bytes.Buffer }

func (c *countActs) count(act audit.Act) (n int) {
	for line := range bytes.Lines(c.Bytes()) {
		if bytes.Contains(line, fmt.Appendf(nil, "%q", act)) {
			n++
		}
	}
	return n
}
