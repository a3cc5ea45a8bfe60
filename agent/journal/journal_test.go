package journal_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/agent/journal"
	"github.com/safeguard-edge/safeguard/cache/keys"
	"github.com/safeguard-edge/safeguard/hl7adapter/feed"
)

type bench struct {
	dir  string
	ring *keys.Ring
}

func newBench(t testing.TB) bench {
	dir := t.TempDir()
	ring, err := keys.Open(filepath.Join(dir, "keys"), keys.FileMaster(filepath.Join(dir, "master")))
	if err != nil {
		t.Fatal(err)
	}
	return bench{dir, ring}
}

var quiet = journal.WithLog(slog.New(slog.DiscardHandler))

func (b bench) open(t testing.TB, options ...journal.Option) *journal.Journal {
	t.Helper()
	j, err := journal.Open(filepath.Join(b.dir, "journal"), b.ring, append([]journal.Option{quiet}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return j
}

func message(control, family string) feed.Message {
	body := fmt.Sprintf("MSH|^~\\&|PAS|RX1|SAFEGUARD||20260314||ADT^A04|%s|P|2.4\rPID|1||9990000344^^^NHS||%s^TOBIAS\r", control, family)
	return feed.Message{Feed: "pas", Received: time.Now(), Body: []byte(body), Ack: feed.Ack("ACK " + control + time.Now().String())}
}

func append1(t testing.TB, j *journal.Journal, m feed.Message) feed.Ack {
	t.Helper()
	ack, err := j.Append(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	return ack
}

func unsettled(t testing.TB, j *journal.Journal) []journal.Entry {
	t.Helper()
	entries, err := j.Unsettled(t.Context(), 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

func TestAppendedEntriesAreThereAfterReopening(t *testing.T) {
	b := newBench(t)
	j := b.open(t)
	for i := range 5 {
		append1(t, j, message(fmt.Sprint("C", i), "FERNSBY"))
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	entries := unsettled(t, b.open(t))
	if len(entries) != 5 {
		t.Fatalf("%d entries, want 5", len(entries))
	}
	for i, e := range entries {
		if want := message(fmt.Sprint("C", i), "FERNSBY").Body; !bytes.Equal(e.Body, want) {
			t.Errorf("entry %d is not the message that was appended", e.Seq)
		}
	}
}

func TestDuplicateReplaysTheFirstAcknowledgement(t *testing.T) {
	j := newBench(t).open(t)
	first := append1(t, j, message("C1", "FERNSBY"))
	again := append1(t, j, message("C1", "FERNSBY"))
	if !bytes.Equal(first, again) {
		t.Errorf("second acknowledgement differs: %q, want %q", again, first)
	}
	if n := len(unsettled(t, j)); n != 1 {
		t.Errorf("%d entries, want 1", n)
	}
	if other := append1(t, j, message("C1", "OKONJO")); bytes.Equal(other, first) {
		t.Error("another body under the same control id is no duplicate")
	}
	stats, err := j.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if stats.Reused != 1 || stats.Waiting != 2 {
		t.Errorf("%d reused, %d waiting; want 1, 2", stats.Reused, stats.Waiting)
	}
}

func TestManyAppendAtOnce(t *testing.T) {
	j := newBench(t).open(t)
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			for k := range 20 {
				m := message(fmt.Sprint("C", i, "-", k), "FERNSBY")
				if ack, err := j.Append(context.Background(), m); err != nil || !bytes.Equal(ack, m.Ack) {
					t.Errorf("append: %v", err)
				}
			}
		})
	}
	wg.Wait()
	entries := unsettled(t, j)
	if len(entries) != 640 {
		t.Fatalf("%d entries, want 640", len(entries))
	}
	for i, e := range entries {
		if e.Seq != journal.Seq(i+1) {
			t.Fatalf("entry %d has number %d", i+1, e.Seq)
		}
	}
}

func rx1(t testing.TB) safeguard.ODSCode {
	c, err := safeguard.ParseODSCode("RX1")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// attendance of a made-up child.
func attendance(t testing.TB, visit string) safeguard.Attendance {
	number, err := safeguard.ParseNHSNumber("9990000344")
	if err != nil {
		t.Fatal(err)
	}
	return safeguard.Attendance{
		ID: safeguard.NewAttendanceID(rx1(t), "visit", "", visit), Organisation: rx1(t), Site: rx1(t),
		Setting: safeguard.EmergencyDepartment, Purpose: safeguard.Unscheduled, State: safeguard.Open,
		Begun: time.Now().Add(-time.Minute).Truncate(time.Millisecond), Class: "E", Location: "ED", Rule: "class E",
		Visit: safeguard.Hide(safeguard.Identifier{Value: visit}),
		Patient: safeguard.Patient{
			Number: number, NumberStatus: safeguard.Verified, Sex: safeguard.Female,
			Born:   safeguard.Hide(safeguard.Date{Year: 2019, Month: 2, Day: 3}),
			MRN:    safeguard.Hide(safeguard.Identifier{Value: "H100001", Authority: "RX1", Type: "MR"}),
			Family: safeguard.Hide("FERNSBY"), Given: safeguard.Hide("TOBIAS"),
		},
	}
}

// outcome settles the entry with a record, one alert for a sink, and a lookup owed.
func outcome(seq journal.Seq, a safeguard.Attendance) journal.Outcome {
	flag := safeguard.Flag{Plan: safeguard.ChildProtection, Start: safeguard.Date{Year: 2026, Month: 1, Day: 5},
		Authority: safeguard.Authority{Code: a.Organisation, Name: "Ashmere Council", EmergencyDutyPhone: "01632 960001"}}
	content := safeguard.Content{Kind: safeguard.FlagsHeld, Flags: []safeguard.Flag{flag}, AsOf: time.Now().Round(0), Source: safeguard.FromCentre}
	return journal.Outcome{
		Entry: seq, State: journal.Settled, Note: "flags held", Keep: true,
		Steps: []journal.Step{{
			Record: &journal.Record{
				Attendance: a, Accepted: a.Begun,
				Own: journal.Lookup{
					Answer: safeguard.Answer{Status: safeguard.Held, Flags: content.Flags, AsOf: content.AsOf, Source: safeguard.FromCentre},
					Asked:  journal.Asked{Number: a.Patient.Number, Born: a.Patient.Born, Purpose: a.Purpose},
				},
				Shown: safeguard.Shown{Version: 1, Content: content, About: a.Patient.Unnamed(), Accepted: a.Begun},
			},
			Alerts: []journal.Addressed{{Sink: "epr", Alert: safeguard.Alert{ID: "alert-1", Version: 1, Action: safeguard.Raise, Attendance: a, Content: content, Decided: content.AsOf, Rule: "flags held"}}},
			Ask:    time.Now().Add(-time.Second), Named: a,
		}},
	}
}

func TestSettleWritesEverythingThatFollows(t *testing.T) {
	b := newBench(t)
	j := b.open(t)
	append1(t, j, message("C1", "FERNSBY"))
	a := attendance(t, "V1")
	o := outcome(1, a)
	if err := j.Settle(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	j = b.open(t)
	if n := len(unsettled(t, j)); n != 0 {
		t.Errorf("%d entries unsettled, want 0", n)
	}
	record, known, err := j.Record(t.Context(), a.ID)
	if err != nil || !known {
		t.Fatalf("record: %v %v", known, err)
	}
	want := a
	want.Patient.Family, want.Patient.Given = safeguard.Private[string]{}, safeguard.Private[string]{}
	if got := record.Attendance; !got.Begun.Equal(want.Begun) || got.Patient != want.Patient || got.Visit != want.Visit || got.Setting != want.Setting || got.State != want.State {
		t.Errorf("attendance is %+v, want %+v without a name", got, want)
	}
	if record.Shown.Version != 1 || record.Own.Asked.Number != a.Patient.Number || record.Own.Answer.Status != safeguard.Held {
		t.Errorf("record lost what was shown, asked or answered: %+v", record)
	}
	item, _, err := j.Next(t.Context(), "epr", time.Now())
	if err != nil || item.Broken != nil {
		t.Fatal(err, item.Broken)
	}
	if item.Alert.ControlID("epr") != o.Steps[0].Alerts[0].Alert.ControlID("epr") || item.Alert.Attendance.Patient != a.Patient {
		t.Error("the alert is not what was queued")
	}
	visit, _, err := j.Next(t.Context(), journal.Lookups, time.Now())
	if err != nil || visit.Broken != nil || visit.Attendance != a.ID || visit.Named.Patient != a.Patient {
		t.Errorf("owed lookup: %v %v", err, visit.Broken)
	}
	if err := j.Done(t.Context(), item.ID, safeguard.Receipt{Outcome: safeguard.Delivered, Code: "AA", At: time.Now()}); err != nil {
		t.Fatal(err)
	}
	if item, _, err := j.Next(t.Context(), "epr", time.Now()); err != nil || item.ID != 0 {
		t.Errorf("a delivered alert is there again: %v", err)
	}
}

func TestSettleRefusesWhatWasDecidedOnAnOldRecord(t *testing.T) {
	j := newBench(t).open(t)
	append1(t, j, message("C1", "FERNSBY"))
	append1(t, j, message("C2", "FERNSBY"))
	a := attendance(t, "V1")
	if err := j.Settle(t.Context(), outcome(1, a)); err != nil {
		t.Fatal(err)
	}
	if err := j.Settle(t.Context(), outcome(2, a)); !errors.Is(err, journal.ErrConflict) {
		t.Fatalf("got %v, want a conflict", err)
	}
	if n := len(unsettled(t, j)); n != 1 {
		t.Errorf("a refused outcome settled its entry")
	}
	record, _, err := j.Record(t.Context(), a.ID)
	if err != nil {
		t.Fatal(err)
	}
	o := outcome(2, a)
	o.Steps[0].Record = &record
	if err := j.Settle(t.Context(), o); err != nil {
		t.Errorf("decided on the record of now: %v", err)
	}
}

// alertFor settles an alert about a visit of the patient with that hospital number.
func alertFor(t *testing.T, j *journal.Journal, visit, mrn string, version int) {
	t.Helper()
	a := attendance(t, visit)
	a.Patient.MRN = safeguard.Hide(safeguard.Identifier{Value: mrn, Authority: "RX1", Type: "MR"})
	o := outcome(0, a)
	s := &o.Steps[0]
	if record, known, err := j.Record(t.Context(), a.ID); err != nil {
		t.Fatal(err)
	} else if known {
		s.Record = &record
	}
	s.Ask = time.Time{}
	s.Alerts[0].Alert.Version = version
	s.Alerts[0].Alert.ID = safeguard.AlertID(visit)
	if err := j.Settle(t.Context(), o); err != nil {
		t.Fatal(err)
	}
}

// nextIs wants that the first due item is that version of the visit's alert, or
// none where the visit is empty.
func nextIs(t *testing.T, j *journal.Journal, now time.Time, visit string, version int) journal.Item {
	t.Helper()
	item, _, err := j.Next(t.Context(), "epr", now)
	if err != nil || string(item.Alert.ID) != visit || item.Alert.Version != version {
		t.Fatalf("next is version %d for %q, want %d for %q: %v", item.Alert.Version, item.Alert.ID, version, visit, err)
	}
	return item
}

func TestOutboxKeepsTheOrderOfAPatient(t *testing.T) {
	j := newBench(t).open(t)
	now := time.Now()
	done := func(i journal.Item) {
		t.Helper()
		if err := j.Done(t.Context(), i.ID, safeguard.Receipt{Outcome: safeguard.Delivered, At: now}); err != nil {
			t.Fatal(err)
		}
	}
	alertFor(t, j, "V1", "H1", 1)
	alertFor(t, j, "V1", "H1", 2) // of the same attendance
	alertFor(t, j, "V2", "H1", 1) // of another attendance of the same patient
	alertFor(t, j, "V3", "H3", 1)
	first := nextIs(t, j, now, "V1", 1)
	done(first)
	first = nextIs(t, j, now, "V1", 2)
	if err := j.Postpone(t.Context(), first.ID, "AE", now.Add(time.Minute), true); err != nil {
		t.Fatal(err)
	}
	done(nextIs(t, j, now, "V3", 1)) // another patient's does not wait
	nextIs(t, j, now, "", 0)
	if _, due, err := j.Next(t.Context(), "epr", now); err != nil || due.Sub(now) < 59*time.Second {
		t.Errorf("want nothing before a minute has gone: due in %v, %v", due.Sub(now), err)
	}
	again := nextIs(t, j, now.Add(time.Minute), "V1", 2)
	if again.ID != first.ID || again.Tries != 1 {
		t.Errorf("the postponed one must come first, with one try: %d %d", again.ID, again.Tries)
	}
	done(again)
	done(nextIs(t, j, now, "V2", 1))
	nextIs(t, j, now, "", 0)
}

// While an alert is tried, a newer version comes; when the try has failed, the
// newer must not wait for the pause that the older was given.
func TestNewerVersionDoesNotWaitForTheOldersPause(t *testing.T) {
	j := newBench(t).open(t)
	now := time.Now()
	alertFor(t, j, "V1", "H1", 1)
	tried := nextIs(t, j, now, "V1", 1)
	alertFor(t, j, "V1", "H1", 2)
	if err := j.Postpone(t.Context(), tried.ID, "AE", now.Add(time.Minute), true); err != nil {
		t.Fatal(err)
	}
	if old := nextIs(t, j, now, "V1", 1); !old.Superseded {
		t.Error("the older is not known to be superseded")
	} else if err := j.End(t.Context(), old.ID, journal.Ignored, "superseded"); err != nil {
		t.Fatal(err)
	}
	nextIs(t, j, now, "V1", 2)
}

// An operator's replay puts an alert back to where it was in its patient's order,
// and a merge of two numbers' alerts waits for both.
func TestReplayedAlertGoesBeforeThePatientsLater(t *testing.T) {
	j := newBench(t).open(t)
	now := time.Now()
	alertFor(t, j, "V1", "H1", 1)
	first := nextIs(t, j, now, "V1", 1)
	if err := j.Done(t.Context(), first.ID, safeguard.Receipt{Outcome: safeguard.Refused, Code: "AR", At: now}); err != nil {
		t.Fatal(err)
	}
	alertFor(t, j, "V2", "H1", 1)
	alertFor(t, j, "V3", "H3", 1)
	alertFor(t, j, "V3", "H1", 2) // the patient of V3 turns out to be that of V2
	nextIs(t, j, now, "V2", 1)
	operate(t, j, journal.Request{Do: journal.Release, Filter: journal.Filter{IDs: []string{fmt.Sprint("i", first.ID)}}})
	for _, want := range []struct {
		visit   string
		version int
	}{{"V1", 1}, {"V2", 1}, {"V3", 1}, {"V3", 2}} {
		item := nextIs(t, j, now, want.visit, want.version)
		if err := j.Done(t.Context(), item.ID, safeguard.Receipt{Outcome: safeguard.Delivered, At: now}); err != nil {
			t.Fatal(err)
		}
	}
}

// What an EPR says about a refusal is for a person to read, and may be about the
// patient: it is sealed, shown only when revealed, and gone when the item waits
// again and is settled.
func TestWhatARefusalSaysIsKeptSealed(t *testing.T) {
	b := newBench(t)
	j := b.open(t)
	const said = "no bed for FERNSBY"
	alertFor(t, j, "V1", "H1", 1)
	first := nextIs(t, j, time.Now(), "V1", 1)
	if err := j.Done(t.Context(), first.ID, safeguard.Receipt{Outcome: safeguard.Refused, Code: "AR", Text: said + strings.Repeat("x", 1<<20), At: time.Now()}); err != nil {
		t.Fatal(err)
	}
	list := journal.Request{Do: journal.List, Filter: journal.Filter{Sink: "epr"}}
	if a := operate(t, j, list); len(a.rows) != 1 || a.rows[0].Code != "AR" || strings.Contains(a.text, said) {
		t.Errorf("without reveal: %s", a.text)
	}
	list.Reveal = true
	if a := operate(t, j, list); !strings.HasPrefix(a.rows[0].Text, said) || len(a.rows[0].Text) > 8<<10 {
		t.Errorf("got %.100q (%d bytes), want the beginning of what was said", a.rows[0].Text, len(a.rows[0].Text))
	}
	if sealed, err := journal.Value[[]byte](t.Context(), j, `SELECT text FROM outbox WHERE id = ?`, first.ID); err != nil || len(sealed) == 0 || bytes.Contains(sealed, []byte("FERNSBY")) {
		t.Errorf("kept as %.60q: %v", sealed, err)
	}
	operate(t, j, journal.Request{Do: journal.Release, Filter: journal.Filter{IDs: []string{fmt.Sprint("i", first.ID)}}})
	if err := j.Done(t.Context(), nextIs(t, j, time.Now(), "V1", 1).ID, safeguard.Receipt{Outcome: safeguard.Delivered, Code: "AA", At: time.Now()}); err != nil {
		t.Fatal(err)
	}
	if a := operate(t, j, list); a.rows[0].Text != "" || a.rows[0].Code != "AA" {
		t.Errorf("after it was taken: %s", a.text)
	}
}

func TestOtherKeysDoNotOpenTheJournal(t *testing.T) {
	b := newBench(t)
	j := b.open(t)
	append1(t, j, message("C1", "FERNSBY"))
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	other := newBench(t)
	_, err := journal.Open(filepath.Join(b.dir, "journal"), other.ring)
	if !errors.Is(err, journal.ErrOtherKeys) || !strings.Contains(err.Error(), b.ring.ID()) || !strings.Contains(err.Error(), "bring back the key folder") {
		t.Errorf("got %v, want one that names the ring and the remedy", err)
	}
	if n := len(unsettled(t, b.open(t))); n != 1 {
		t.Errorf("%d entries by the right keys, want 1", n)
	}
}

func TestNewerSchemaIsRefused(t *testing.T) {
	b := newBench(t)
	j := b.open(t)
	if err := journal.SetSchema(j, 99); err != nil {
		t.Fatal(err)
	}
	_ = j.Close()
	_, err := journal.Open(filepath.Join(b.dir, "journal"), b.ring)
	if err == nil || !strings.Contains(err.Error(), "schema 99") {
		t.Errorf("got %v, want one that names schema 99", err)
	}
}

// safeguardDelivered is the receipt of an alert that the EPR took.
var safeguardDelivered = safeguard.Receipt{Outcome: safeguard.Delivered, Code: "AA", At: time.Now()}

// secrets are what the made-up patients of these tests could be known by.
var secrets = []string{"9990000344", "FERNSBY", "OKONJO", "TOBIAS", "MARA", "H100001", "VISIT4711", "2019-02-03", "20190203", "MADE UP STREET", "EX1 2AB",
	"01632 960000", "Ashmere", "CPP", "01632 960001", "CONTROL77", "FELL FROM A SWING"}

func waitingEntries(t *testing.T, j *journal.Journal) (all []journal.Entry) {
	for after := journal.Seq(0); ; {
		page, err := j.Unsettled(t.Context(), after, 500)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			return all
		}
		all, after = append(all, page...), page[len(page)-1].Turn
	}
}

func controlOf(body []byte) string { return strings.Split(string(body), "|")[9] }

// each runs do for every number below n, from many goroutines.
func each(t *testing.T, n int, do func(n int) error) {
	t.Helper()
	var wg sync.WaitGroup
	next := make(chan int)
	for range 64 {
		wg.Go(func() {
			for i := range next {
				if err := do(i); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
}
