package upload

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/cpisxml"
	"github.com/safeguard-edge/safeguard/central/store"
)

func mustNumber(t testing.TB, s string) safeguard.NHSNumber {
	t.Helper()
	n, err := safeguard.ParseNHSNumber(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// lists is a demographic service with the standings given.
type lists struct {
	source string
	err    error
	of     map[string]store.Standing
}

func (l lists) Source(context.Context) (string, error) { return l.source, l.err }

func (l lists) Standings(_ context.Context, numbers []safeguard.NHSNumber) (out []store.Standing, err error) {
	for _, n := range numbers {
		out = append(out, l.of[n.Reveal()])
	}
	return out, nil
}

func TestDemographics(t *testing.T) {
	rows := []Row{goodRow(2, alice), goodRow(3, bob)}
	withdraw := goodRow(4, alice)
	withdraw.Delete = "2026-02-01"
	for name, tt := range map[string]struct {
		service Demographics
		want    string // codes, and what the notices say
		notice  string
	}{
		"none":                {nil, "CPR06 CPR06 CPR06", "not checked against a demographic service"},
		"nothing imported":    {lists{}, "CPR06 CPR06 CPR06", "not checked against a demographic service"},
		"nothing known":       {lists{source: "the list"}, "CPR06 CPR06 CPR06", "checked against the list"},
		"not found":           {lists{source: "the list", of: map[string]store.Standing{alice: store.NotFound}}, "CPR01 CPR06 CPR06", "checked against the list"},
		"sensitive":           {lists{source: "the list", of: map[string]store.Standing{alice: store.Sensitive}}, "CPR02 CPR06 CPR06", "checked against the list"},
		"superseded":          {lists{source: "the list", of: map[string]store.Standing{bob: store.Superseded}}, "CPR06 CPR05 CPR06", "checked against the list"},
		"not in use any more": {lists{source: "the list", of: map[string]store.Standing{alice: store.Inactive}}, "CPR07 CPR06 CPR06", "checked against the list"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &applies{}
			b := begin(t, s, tt.service, Sending{Snapshot: true})
			add(t, b, append(slices.Clone(rows), withdraw)...)
			r, err := b.Apply(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			var codes []string
			for _, v := range each(t, r) {
				codes = append(codes, v.Code)
				if v.Code != Loaded && v.Column != columnNumber {
					t.Errorf("verdict %+v, want the column of the number", v)
				}
			}
			if got := strings.Join(codes, " "); got != tt.want {
				t.Errorf("codes %s, want %s", got, tt.want)
			}
			if got := strings.Join(r.Notices, "\n"); !strings.Contains(got, tt.notice) {
				t.Errorf("notices %s, want %s", got, tt.notice)
			}
			if spared := len(s.got.Snapshot.Numbers); spared != r.Rejected {
				t.Errorf("%d numbers spared, want those of the %d rejected rows", spared, r.Rejected)
			}
		})
	}
	t.Run("away", func(t *testing.T) {
		s := &applies{}
		away := errors.New("connection refused")
		b := begin(t, s, lists{err: away}, Sending{})
		add(t, b, rows...)
		_, err := b.Apply(t.Context(), nil)
		if unavailable := new(UnavailableError); !errors.As(err, &unavailable) || !errors.Is(err, away) || s.got.ID != "" {
			t.Errorf("%v, applied %+v, want that the service can not be asked, and nothing applied", err, s.got)
		}
	})
}

// applies is a store in which every change adds a flag.
type applies struct{ got store.Upload }

func (s *applies) Apply(_ context.Context, u store.Upload) (store.Kept, error) {
	s.got = u
	k := store.Kept{ID: u.ID, Authority: u.Authority, Received: u.Received, Snapshot: u.Snapshot != nil, Sequence: u.Sequence, State: store.Applied, Rows: u.Rows, Verdicts: u.Verdicts}
	for range u.Changes {
		k.Effects = append(k.Effects, store.Added)
		k.Loaded++
	}
	return k, nil
}

// Whoever may be meant by a row that is rejected is not missing.
func TestSnapshotSparesWhoMayBeMeant(t *testing.T) {
	for name, tt := range map[string]struct {
		row      Row
		numbers  int
		born     int
		everyone bool
	}{
		"good":                {goodRow(2, alice), 0, 0, false},
		"bad plan":            {Row{NHSNumber: alice, DateOfBirth: "2015-06-07", Plan: "X", Start: "2025-01-02"}, 1, 0, false},
		"bad number":          {Row{NHSNumber: "9990000108", DateOfBirth: "2015-06-07", Plan: "CPP", Start: "2025-01-02"}, 0, 1, false},
		"bad number and date": {Row{NHSNumber: "9990000108", DateOfBirth: "x", Plan: "CPP", Start: "2025-01-02"}, 0, 0, true},
		"not a row":           {Row{Unreadable: "3 fields"}, 0, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := &applies{}
			b := begin(t, s, nil, Sending{Snapshot: true})
			add(t, b, tt.row)
			if _, err := b.Apply(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
			got := s.got.Snapshot
			if len(got.Numbers) != tt.numbers || len(got.Born) != tt.born || got.Everyone != tt.everyone || got.Share != DefaultShare || got.Day != rules.Today {
				t.Errorf("snapshot %+v, want %+v", got, tt)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	i := &Intake{Store: &applies{}, Admit: func(safeguard.ODSCode) error { return nil }}
	other, err := safeguard.ParseODSCode("906")
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		sending Sending
		why     Why
		want    string
	}{
		"another's file":  {Sending{Sender: other}, NotAsked, "from 906, and the sender is 806"},
		"negative number": {Sending{Sequence: -1}, Wrong, "sequence number -1, want 1 or more"},
		"half a digest":   {Sending{File: []byte("abc")}, Wrong, "3 bytes, want 32"},
	} {
		_, _, err := i.Begin(middlesbrough, tt.sending)
		var refused *Refused
		if !errors.As(err, &refused) || refused.Why != tt.why || !strings.Contains(refused.Reason, tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
	b, done, err := i.Begin(middlesbrough, Sending{})
	if err != nil {
		t.Fatal(err)
	}
	var refused *Refused
	if _, _, err := i.Begin(middlesbrough, Sending{}); !errors.As(err, &refused) || refused.Why != Busy {
		t.Errorf("a second at the same time: %v, want busy", err)
	}
	if _, free, err := i.Begin(other, Sending{}); err != nil {
		t.Errorf("another authority's at the same time: %v", err)
	} else {
		free()
	}
	done()
	if _, done, err := i.Begin(middlesbrough, Sending{}); err != nil {
		t.Errorf("the next: %v", err)
	} else {
		done()
	}
	for b.Len() < MaxRows {
		b.verdicts.add(Verdict{Code: Loaded})
	}
	if err := b.Add(goodRow(1, alice)); !errors.As(err, &refused) || !strings.Contains(refused.Reason, "more than 300000 rows") {
		t.Errorf("one row too many: %v", err)
	}
}

// The digest tells content from content, and not how it was cut into messages.
func TestDigest(t *testing.T) {
	digest := func(rows ...Row) string {
		s := &applies{}
		b := begin(t, s, nil, Sending{})
		add(t, b, rows...)
		if _, err := b.Apply(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		return string(s.got.Digest)
	}
	moved := goodRow(2, alice)
	moved.Plan, moved.DateOfBirth = moved.DateOfBirth+moved.Plan, ""
	all := []string{digest(), digest(goodRow(2, alice)), digest(goodRow(3, alice)), digest(goodRow(2, bob)), digest(moved), digest(goodRow(2, alice), goodRow(3, bob))}
	for i, a := range all {
		if slices.Contains(all[i+1:], a) {
			t.Errorf("content %d has the digest of another", i)
		}
	}
	if digest(goodRow(2, alice)) != all[1] {
		t.Error("the same content has another digest")
	}
}

// What is packed comes out again.
func TestPacked(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	day := func() safeguard.Date {
		return safeguard.Date{Year: 1900, Month: 1, Day: 1}.Add(0, 0, random.IntN(80_000))
	}
	for n := range 2000 {
		number, err := safeguard.ParseNHSNumber(fmt.Sprintf("%09d%d", random.IntN(1_000_000_000), random.IntN(10)))
		if err != nil {
			continue
		}
		c := store.Change{Number: number, Withdraw: n%2 == 0, Flag: store.Flag{Plan: safeguard.Plan(1 + n%3), Start: day(), Born: safeguard.Hide(day())}}
		if n%5 > 0 {
			c.Flag.End = day()
		}
		p := pack(c, n, columns[n%len(columns)])
		if got := p.change(); got.Number != c.Number || got.Withdraw != c.Withdraw || got.Flag.Plan != c.Flag.Plan || got.Flag.Start != c.Flag.Start ||
			got.Flag.End != c.Flag.End || got.Flag.Born.Reveal() != c.Flag.Born.Reveal() || int(p.row) != n || columns[p.ambiguous-1] != columns[n%len(columns)] {
			t.Fatalf("change %d is another after packing", n)
		}
	}
	if p := pack(store.Change{}, 0, ""); p.ambiguous != 0 || p.end != 0 {
		t.Errorf("%+v, want nothing", p)
	}
}

// What an upload keeps in memory is some tens of bytes for each row.
func TestBatchIsSmall(t *testing.T) {
	const rows, most = 100_000, 80
	s := &applies{}
	b := begin(t, s, nil, Sending{Snapshot: true})
	before := heap()
	for i := range rows {
		add(t, b, Row{Line: i + 2, NHSNumber: alice, DateOfBirth: "07/06/2015", Plan: "CPP", Start: "2025-01-02"})
	}
	if each := (int64(heap()) - int64(before)) / rows; each > most {
		t.Errorf("%d bytes for each row, want at most %d", each, most)
	}
	if b.Len() != rows {
		t.Errorf("%d rows", b.Len())
	}
}

func TestReportOf(t *testing.T) {
	verdicts := verdicts{index: map[Verdict]uint32{}}
	for _, v := range []Verdict{{2, Loaded, "", ""}, {3, Rejected, "plan", "want CPP, LAC or UCPP"}, {4, Loaded, "", "plan read as CPP"}, {5, Loaded, "", ""}} {
		verdicts.add(v)
	}
	packed, err := verdicts.pack([]string{"a notice"})
	if err != nil {
		t.Fatal(err)
	}
	base := store.Kept{ID: "X", Rows: 4, Verdicts: packed, Snapshot: true, Current: 10, Closing: 9}
	for name, tt := range map[string]struct {
		change func(k *store.Kept)
		want   []string // verdict, sentences, codes
	}{
		"applied": {func(k *store.Kept) {
			k.State, k.Loaded, k.Effects, k.Ended, k.GapFrom, k.GapTo = store.Applied, 3, []store.Effect{store.Added, store.Replaced, store.Unchanged}, 9, 4, 4
		}, []string{"CPF03", "3 of 4 rows loaded, 1 rejected", "a notice", "sequence number 4 never came", "9 flags that are not in the snapshot are ended",
			"2 CPR06 loaded|3 CPR07 want CPP, LAC or UCPP|4 CPR06 loaded, in the place of what was held; plan read as CPP|5 CPR06 loaded, nothing was to be changed"}},
		"waiting": {func(k *store.Kept) { k.State = store.Waits }, []string{"CPF04", "9 of the 10 flags that are current",
			"2 CPR07 good, but not loaded: the snapshot waits for a person at the centre|3 CPR07 want CPP"}},
		"rejected":  {func(k *store.Kept) { k.State, k.Reason = store.Rejected, "of another authority" }, []string{"CPF04", "has rejected the snapshot: of another authority"}},
		"overtaken": {func(k *store.Kept) { k.State = store.Overtaken }, []string{"CPF04", "a later snapshot has come"}},
		"released": {func(k *store.Kept) {
			k.State, k.Loaded, k.Effects = store.Applied, 1, []store.Effect{store.Later, store.NoEffect, store.NotHeld}
		}, []string{"2 CPR06 read, and left as a later upload has it|3", "|4 CPR07 not loaded: while the snapshot waited, what is kept of the person was erased|5 CPR07 no flag"}},
		"its verdicts removed": {func(k *store.Kept) { k.State, k.Loaded, k.Verdicts = store.Applied, 4, nil }, []string{"CPF02", "not kept any more"}},
	} {
		t.Run(name, func(t *testing.T) {
			k := base
			tt.change(&k)
			r, err := ReportOf(k)
			if err != nil {
				t.Fatal(err)
			}
			for range 2 { // they can be gone through again
				var rows []string
				for _, v := range each(t, r) {
					rows = append(rows, fmt.Sprintf("%d %s %s", v.Line, v.Code, v.Sentence))
				}
				all := strings.Join([]string{r.Verdict, r.Sentence, strings.Join(r.Notices, "\n"), strings.Join(rows, "|")}, "\n")
				for _, want := range tt.want {
					if !strings.Contains(all, want) {
						t.Errorf("report\n%s\ndoes not say %q", all, want)
					}
				}
			}
			full, err := r.Full()
			if err != nil || full.Kind != "snapshot" || full.Rows != 4 || full.Verdict != r.Verdict || string(full.State) != string(k.State) {
				t.Errorf("in full: %+v, %v", full, err)
			}
		})
	}
	base.Verdicts = packed[:len(packed)/2]
	if _, err := ReportOf(base); err == nil {
		r, _ := ReportOf(base)
		for _, err := range r.Each {
			if err != nil {
				return
			}
		}
		t.Error("half of what was kept is a report")
	}
}

func TestAcknowledgement(t *testing.T) {
	born := func(plan safeguard.Plan) cpisxml.Plan { return cpisxml.Plan{Plan: plan, Start: "202501020000"} }
	file := nationalFile(t, "41",
		cpisxml.Record{Plans: []cpisxml.Plan{born(safeguard.ChildProtection), born(safeguard.LookedAfter)}, Subjects: []cpisxml.Subject{person(alice, "20150607", false)}},
		cpisxml.Record{Plans: []cpisxml.Plan{born(safeguard.ChildProtection), born(safeguard.LookedAfter)}, Subjects: []cpisxml.Subject{person(bob, "20150607", false)}},
	)
	answered := func(verdicts ...Verdict) (cpisxml.Acknowledgement, []cpisxml.Answer, error) {
		var out bytes.Buffer
		err := WriteAcknowledgement(&out, Answered{
			At: time.Now(), Verdict: SomeLoaded,
			File: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(file)), nil },
			Each: func() iter.Seq2[Verdict, error] {
				return func(yield func(Verdict, error) bool) {
					for _, v := range verdicts {
						if !yield(v, nil) {
							return
						}
					}
				}
			},
		})
		if err != nil {
			return cpisxml.Acknowledgement{}, nil, err
		}
		return cpisxml.ReadAcknowledgement(&out)
	}
	good := Verdict{Code: Loaded, Sentence: "loaded"}
	a, answers, err := answered(good, good, good, Verdict{Code: Superseded, Column: columnNumber, Sentence: "the number is superseded"})
	if err != nil || a.Sequence != "41" || a.File != cpisxml.FilePartial || a.Quantity != 2 || len(answers) != 2 {
		t.Fatalf("acknowledgement %+v, %+v, %v", a, answers, err)
	}
	if answers[0].Code != cpisxml.RecordLoaded || answers[1].Code != cpisxml.RecordSuperseded || answers[1].Text != "the number is superseded" || answers[1].Record.Subjects[0].NHSNumber.Reveal() != bob {
		t.Errorf("answers %+v", answers)
	}
	if _, _, err := answered(good, good, good); err == nil || !strings.Contains(err.Error(), "ends before record 2") {
		t.Errorf("a report that is too short: %v", err)
	}
	var out bytes.Buffer
	to := cpisxml.Organisation{Code: middlesbrough, Name: "Example Council", EmergencyDuty: "01632 960001"}
	if err := WriteUnreadable(&out, to, time.Now()); err != nil {
		t.Fatal(err)
	}
	if a, answers, err := cpisxml.ReadAcknowledgement(&out); err != nil || a.File != cpisxml.FileError || a.Sequence != "-1" || a.Quantity != -1 || len(answers) != 0 {
		t.Errorf("of what is no upload: %+v, %+v, %v", a, answers, err)
	}
}

func readListedAll(text string) (list []store.Listed, err error) {
	for l, err := range ReadDemographics(strings.NewReader(text)) {
		if err != nil {
			return list, err
		}
		list = append(list, l)
	}
	return list, nil
}

func TestReadDemographics(t *testing.T) {
	list, err := readListedAll("Standing,NHS number\r\ninactive,999 000 0107\r\n\r\nSuperseded,9990000115\r\n")
	want := []store.Listed{{Number: mustNumber(t, alice), Standing: store.Inactive}, {Number: mustNumber(t, bob), Standing: store.Superseded}}
	if err != nil || !slices.Equal(list, want) {
		t.Errorf("%v, %v, want %v", list, err, want)
	}
	for name, tt := range map[string]struct{ text, want string }{
		"empty":                    {"", "line 1: want the columns nhs_number,standing"},
		"the number that replaces": {"nhs_number,standing,replaced_by\n", "has no place here"},
		"bad number":               {"nhs_number,standing\n9990000107,inactive\n9990000108,inactive\n", "line 3: nhs_number: wrong check digit"},
		"unknown":                  {"nhs_number,standing\n9990000107,adopted\n", "line 2: standing: want one of [not-found inactive superseded sensitive]"},
		"not told":                 {"nhs_number,standing\n9990000107,in-use\n", "line 2: standing"},
		"a field too many":         {"nhs_number,standing\n9990000107,inactive,9990000115\n", "line 2: 3 fields, want 2"},
	} {
		_, err := readListedAll(tt.text)
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "999000") {
			t.Errorf("%s: %v, want %q, and no number", name, err, tt.want)
		}
	}
}

// FuzzDemographics: whatever the file, reading does not panic, no error repeats a
// number of it, and what is read is a number with a standing.
func FuzzDemographics(f *testing.F) {
	f.Add("nhs_number,standing\n9990000107,inactive\n")
	f.Add("standing,nhs_number\nsensitive,\"999 000 0115\"\n")
	f.Fuzz(func(t *testing.T, text string) {
		list, err := readListedAll(text)
		if err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("error of several lines: %q", err)
		}
		for _, l := range list {
			if l.Number.IsZero() || l.Standing == store.InUse {
				t.Errorf("%+v", l)
			}
			if err != nil && strings.Contains(err.Error(), l.Number.Reveal()) {
				t.Error("the error repeats a number")
			}
		}
	})
}
