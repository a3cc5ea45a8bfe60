package journal_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard/agent/journal"
	"github.com/safeguard-edge/safeguard/hl7adapter/feed"
)

// TestFilesTellNothingAboutAPerson searches every file through the whole life of
// messages, attendances and alerts, for what was written: as it is, and in the
// encodings that a careless column or temporary file would use.
func TestFilesTellNothingAboutAPerson(t *testing.T) {
	b := newBench(t)
	temporary := filepath.Join(b.dir, "temporary")
	if err := os.Mkdir(temporary, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"TMPDIR", "SQLITE_TMPDIR", "TMP", "TEMP"} {
		t.Setenv(name, temporary)
	}
	j := b.open(t)
	for i := range 40 {
		append1(t, j, big(i))
	}
	append1(t, j, message("CONTROL77", "FERNSBY"))
	tellNothing(t, b, "appended")

	a := attendance(t, "VISIT4711")
	for i := range 41 {
		o := outcome(journal.Seq(i+1), attendance(t, fmt.Sprint("VISIT", i)))
		if i == 40 {
			o = outcome(41, a)
		}
		o.Keep = i%2 == 0
		if err := j.Settle(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	tellNothing(t, b, "settled, and owed to the EPR")
	for range 10 {
		item, _, err := j.Next(t.Context(), "epr", time.Now())
		if err != nil || item.ID == 0 {
			t.Fatal(item.ID, err)
		}
		if err := j.Postpone(t.Context(), item.ID, "AE", time.Now(), true); err != nil {
			t.Fatal(err)
		}
		if err := j.Done(t.Context(), item.ID, safeguardDelivered); err != nil {
			t.Fatal(err)
		}
	}
	tellNothing(t, b, "delivered")
	operate(t, j, journal.Request{Do: journal.List, Reveal: true, Filter: journal.Filter{ControlID: "CONTROL77"}})
	operate(t, j, journal.Request{Do: journal.Replay, Filter: journal.Filter{IDs: []string{"41"}}})
	operate(t, j, journal.Request{Do: journal.PutOff, Filter: journal.Filter{IDs: []string{"41"}}})
	tellNothing(t, b, "looked at and replayed by an operator")

	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(b.dir, "journal", "journal.db")
	if err := overwrite(file, leaf(t, file)*4096, bytes.Repeat([]byte{0xa5}, 512)); err != nil {
		t.Fatal(err)
	}
	j = b.open(t)
	_, _ = j.Unsettled(t.Context(), 0, 100)
	journal.CheckAll(t.Context(), j)
	eventually(t, "the journal is mended", func() bool {
		s, err := j.Stats(t.Context())
		return err == nil && s.Fault == nil && s.Lost > 0
	})
	tellNothing(t, b, "mended")

	later := time.Now().Add(200 * 24 * time.Hour)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	j = b.open(t, journal.WithNow(func() time.Time { return later }))
	if err := journal.NewTender(j).Tend(t.Context()); err != nil {
		t.Fatal(err)
	}
	tellNothing(t, b, "pruned")
}

// tellNothing searches every file of the journal, and what may be in between.
func tellNothing(t *testing.T, b bench, when string) {
	t.Helper()
	files := 0
	err := filepath.Walk(b.dir, func(path string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		files++
		for _, secret := range secrets {
			for form, shape := range shapes(secret) {
				if bytes.Contains(raw, []byte(shape)) {
					t.Errorf("%s: %s holds %s (%s)", when, filepath.Base(path), secret, form)
				}
			}
		}
		return err
	})
	if err != nil || files < 4 {
		t.Fatalf("%d files: %v", files, err)
	}
}

// shapes are what a text looks like as it is and encoded, base64 wherever it begins.
func shapes(text string) map[string]string {
	all := map[string]string{"plain": text, "hex": hex.EncodeToString([]byte(text)), "HEX": strings.ToUpper(hex.EncodeToString([]byte(text)))}
	if len(text) < 6 {
		return all // what is left of so little in base64 is anywhere by chance
	}
	for before := range 3 {
		encoded := base64.RawStdEncoding.EncodeToString([]byte(strings.Repeat("\x00", before) + text))
		from, to := (before*8+5)/6, (before+len(text))*8/6
		all[fmt.Sprint("base64 from ", before)] = encoded[from:to]
	}
	return all
}

func TestShapesAreFound(t *testing.T) {
	for _, around := range []string{"", "a", "ab", "abc"} {
		encoded := base64.StdEncoding.EncodeToString([]byte(around + "FERNSBY" + around))
		found := false
		for _, shape := range shapes("FERNSBY") {
			found = found || strings.Contains(encoded, shape)
		}
		if !found {
			t.Errorf("FERNSBY within %q is not found in %s", around, encoded)
		}
	}
}

// hands is a clock that a test sets.
type hands struct{ at time.Time }

func (h *hands) option() journal.Option { return journal.WithNow(func() time.Time { return h.at }) }

func TestMessagesAreDestroyedAndPrunedInTimeAndWhatIsOwedStays(t *testing.T) {
	h := &hands{time.Now()}
	b := newBench(t)
	j := b.open(t, h.option())
	const kept, notEligible, aside, waits, owed = 1, 2, 3, 4, 5
	for i := range 5 {
		append1(t, j, message(fmt.Sprint("C", i), "FERNSBY"))
	}
	for _, o := range []journal.Outcome{
		{Entry: kept, State: journal.Settled, Keep: true},
		{Entry: notEligible, State: journal.Settled},
		{Entry: aside, State: journal.SetAside},
		outcome(owed, attendance(t, "V1")),
	} {
		if err := j.Settle(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	item, _, err := j.Next(t.Context(), "epr", h.at)
	if err != nil {
		t.Fatal(err)
	}
	state := func() string {
		s, err := journal.Value[string](t.Context(), j, `SELECT group_concat(seq || CASE WHEN body IS NULL THEN '-' ELSE '+' END, ' ') FROM (SELECT * FROM entries ORDER BY seq)`)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	for _, c := range []struct {
		after time.Duration
		what  string
		want  string // + with its message, - without
	}{
		{0, "at settling", "1+ 2- 3+ 4+ 5+"},
		{71 * time.Hour, "before 72 h", "1+ 2- 3+ 4+ 5+"},
		{2 * time.Hour, "after 72 h", "1- 2- 3+ 4+ 5-"},
		{26 * 24 * time.Hour, "before 30 days", "1- 2- 3+ 4+ 5-"},
		{2 * 24 * time.Hour, "after 30 days", "4+"},
		{300 * 24 * time.Hour, "after a year", "4+"},
	} {
		h.at = h.at.Add(c.after)
		if err := journal.NewTender(j).Tend(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := state(); got != c.want {
			t.Errorf("%s: %s, want %s", c.what, got, c.want)
		}
	}
	if still, _, err := j.Next(t.Context(), "epr", h.at); err != nil || still.ID != item.ID || still.Broken != nil {
		t.Errorf("an alert that is owed must stay: %v %v", err, still.Broken)
	}
	if _, known, err := j.Record(t.Context(), attendance(t, "V1").ID); err != nil || !known {
		t.Errorf("an attendance that owes something must stay: %v", err)
	}
	if err := j.Done(t.Context(), item.ID, safeguardDelivered); err != nil {
		t.Fatal(err)
	}
	h.at = h.at.Add(73 * time.Hour)
	if err := journal.NewTender(j).Tend(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n, err := journal.Value[int](t.Context(), j, `SELECT COUNT(*) FROM outbox WHERE body IS NOT NULL AND outbox = 'epr'`); err != nil || n != 0 {
		t.Errorf("%d delivered alerts kept after 72 h, want 0: %v", n, err)
	}
}

func TestSizePrunesSettledEntriesFirstAndNeverWhatWaits(t *testing.T) {
	b, log := newBench(t), &operatorsLog{}
	p := journal.DefaultPolicy()
	p.MaxSizeMB = 16
	j := b.open(t, log.option(), journal.WithPolicy(p))
	const each = 120 // of 100 KB
	for n := range 2 * each {
		append1(t, j, large(n))
		if n < each {
			if err := j.Settle(t.Context(), journal.Outcome{Entry: journal.Seq(n + 1), State: journal.Settled, Keep: true}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := journal.NewTender(j).Tend(t.Context()); err != nil {
		t.Fatal(err)
	}
	s, err := j.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s.Waiting != each || s.Messages >= 2*each-40 || s.Messages == each && s.Size < 12<<20 {
		t.Errorf("%d wait of %d, want %d and the oldest settled ones gone", s.Waiting, s.Messages, each)
	}
	first, err := journal.Value[int](t.Context(), j, `SELECT COALESCE(MIN(seq), 0) FROM entries WHERE state = 1`)
	if settled := s.Messages - s.Waiting; err != nil || settled > 0 && first != each-settled+1 {
		t.Errorf("of %d settled ones the first is %d, want the newest kept: %v", settled, first, err)
	}
	log.says(t, "settled entries pruned before their time", "raise journal.max_size_mb")
	for n := range 60 {
		append1(t, j, large(2*each+n))
	}
	if err := journal.NewTender(j).Tend(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s, err = j.Stats(t.Context()); err != nil || s.Waiting != each+60 {
		t.Errorf("%d wait, want %d: what is owed is never pruned: %v", s.Waiting, each+60, err)
	}
	log.says(t, "journal is larger than it should be", "see why it is not settled")
}

func TestRepeatIsKnownForAsLongAsTheWindow(t *testing.T) {
	h := &hands{time.Now()}
	b := newBench(t)
	p := journal.DefaultPolicy()
	p.Duplicates = time.Hour
	j := b.open(t, h.option(), journal.WithPolicy(p))
	first := append1(t, j, message("C1", "FERNSBY"))
	h.at = h.at.Add(59 * time.Minute)
	if again := append1(t, j, message("C1", "FERNSBY")); !bytes.Equal(again, first) {
		t.Error("a repeat within the window was taken for new")
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	j = b.open(t, h.option(), journal.WithPolicy(p))
	if again := append1(t, j, message("C1", "FERNSBY")); !bytes.Equal(again, first) {
		t.Error("a repeat within the window was taken for new after a restart")
	}
	h.at = h.at.Add(2 * time.Minute)
	m := message("C1", "FERNSBY")
	m.Received = h.at
	if again := append1(t, j, m); bytes.Equal(again, first) {
		t.Error("the window has no end")
	}
	s, err := j.Stats(t.Context())
	if err != nil || s.Waiting != 2 || s.Repeats != 1 || s.Reused != 0 {
		t.Errorf("%d waiting, %d repeats, %d reused; want 2, 1, 0: %v", s.Waiting, s.Repeats, s.Reused, err)
	}
}

// The index of origins is filled behind the entries: a repeat must be known
// wherever its entry is on that way, and after a restart.
func TestRepeatIsKnownAmongManyThousands(t *testing.T) {
	b := newBench(t)
	j := b.open(t)
	const many = 3*4096 + 100
	acks := make([]feed.Ack, many)
	each(t, many, func(n int) error {
		ack, err := j.Append(t.Context(), message(fmt.Sprint("C", n), "FERNSBY"))
		acks[n] = ack
		return err
	})
	repeats := func(when string) {
		t.Helper()
		for n := 0; n < many; n += 97 {
			if again := append1(t, j, message(fmt.Sprint("C", n), "FERNSBY")); !bytes.Equal(again, acks[n]) {
				t.Errorf("%s: repeat of message %d was taken for new", when, n)
			}
		}
	}
	refilled := func(want bool) {
		t.Helper()
		if whole, err := journal.Filtered(t.Context(), j); err != nil || whole != want {
			t.Fatalf("filter is whole: %v, want %v: %v", whole, want, err)
		}
	}
	repeats("while running")
	refilled(true)
	repeats("refilled")
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	j = b.open(t)
	repeats("opened again")
	refilled(false)
	repeats("opened again and filled")
	each(t, 4096+1000, func(n int) error { // moves what has been in memory
		_, err := j.Append(t.Context(), message(fmt.Sprint("D", n), "FERNSBY"))
		return err
	})
	refilled(true)
	repeats("after many more")
}

// While the filter is filled, more is moved into the table: whatever the order, no
// repeat may be missed.
func TestRepeatIsKnownWhileTheFilterIsFilled(t *testing.T) {
	b := newBench(t)
	j := b.open(t)
	const many = 4096 + 1000
	acks := make([]feed.Ack, 2*many)
	send := func(from int) error {
		ack, err := j.Append(t.Context(), message(fmt.Sprint("C", from), "FERNSBY"))
		acks[from] = ack
		return err
	}
	each(t, many, send)
	filling, filled := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			select {
			case <-filling:
				filled <- nil
				return
			default:
			}
			if _, err := journal.Filtered(t.Context(), j); err != nil {
				filled <- err
				return
			}
		}
	}()
	each(t, many, func(n int) error { return send(many + n) })
	close(filling)
	if err := <-filled; err != nil {
		t.Fatal(err)
	}
	for n := 0; n < 2*many; n += 61 {
		if again := append1(t, j, message(fmt.Sprint("C", n), "FERNSBY")); !bytes.Equal(again, acks[n]) {
			t.Errorf("repeat of message %d was taken for new", n)
		}
	}
}

func TestNoNumberIsUsedTwice(t *testing.T) {
	h := &hands{time.Now()}
	b := newBench(t)
	j := b.open(t, h.option())
	for n := range 250 {
		append1(t, j, message(fmt.Sprint("C", n), "FERNSBY"))
	}
	for seq := journal.Seq(1); seq <= 250; seq++ {
		if err := j.Settle(t.Context(), journal.Outcome{Entry: seq, State: journal.Ignored}); err != nil {
			t.Fatal(err)
		}
	}
	h.at = h.at.Add(10 * 365 * 24 * time.Hour)
	if err := journal.NewTender(j).Tend(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n, err := journal.Value[int](t.Context(), j, `SELECT COUNT(*) FROM entries`); err != nil || n != 0 {
		t.Fatalf("%d entries left, want none: %v", n, err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	j = b.open(t, h.option())
	append1(t, j, message("D", "FERNSBY"))
	if seq, err := journal.Value[journal.Seq](t.Context(), j, `SELECT MAX(seq) FROM entries`); err != nil || seq != 251 {
		t.Errorf("after a clean stop it is number %d, want 251: %v", seq, err)
	}
	if err := journal.Abandon(j); err != nil {
		t.Fatal(err)
	}
	j = b.open(t, h.option())
	append1(t, j, message("E", "FERNSBY"))
	if seq, err := journal.Value[journal.Seq](t.Context(), j, `SELECT MAX(seq) FROM entries`); err != nil || seq <= 251 || seq > 400 {
		t.Errorf("after a kill it is number %d, want a higher one than 251 and a hundred more at most: %v", seq, err)
	}
}

// What panics while it writes leaves nothing behind that the next would stumble on.
func TestStepThatPanicsIsUndone(t *testing.T) {
	j := newBench(t).open(t)
	append1(t, j, message("C1", "FERNSBY"))
	func() {
		defer func() {
			if recover() == nil {
				t.Error("it did not panic")
			}
		}()
		_ = journal.Panic(t.Context(), j)
	}()
	append1(t, j, message("C2", "FERNSBY"))
	if seqs, err := journal.Value[string](t.Context(), j, `SELECT group_concat(seq || ' ' || state) FROM entries`); err != nil || seqs != "1 0,2 0" {
		t.Errorf("entries are %q, want the two, both waiting: %v", seqs, err)
	}
}

func TestClockThatWentBackIsFollowedAtARestart(t *testing.T) {
	h := &hands{time.Now().Add(3 * time.Hour)}
	b, log := newBench(t), &operatorsLog{}
	j := b.open(t, h.option())
	m := message("C1", "FERNSBY")
	m.Received = h.at
	append1(t, j, m)
	if err := j.Settle(t.Context(), outcome(1, attendance(t, "V1"))); err != nil {
		t.Fatal(err)
	}
	item, _, _ := j.Next(t.Context(), "epr", h.at)
	if err := j.Postpone(t.Context(), item.ID, "AE", h.at.Add(time.Minute), true); err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	h.at = h.at.Add(-3 * time.Hour)
	j = b.open(t, h.option(), log.option())
	log.says(t, "clock went back", "see that the time service runs")
	inOrder(t, j, h.at)
	if again, _, err := j.Next(t.Context(), "epr", h.at.Add(2*time.Minute)); err != nil || again.ID != item.ID {
		t.Errorf("what was due in a minute must be due in a minute, not in three hours: %v", err)
	}
}

func TestClockThatGoesBackWhileRunningIsFollowed(t *testing.T) {
	h := &hands{time.Now()}
	b, log := newBench(t), &operatorsLog{}
	j := b.open(t, h.option(), log.option())
	append1(t, j, message("C1", "FERNSBY"))
	tender := journal.NewTender(j)
	h.at = h.at.Add(-3 * time.Hour)
	m := message("C2", "FERNSBY")
	m.Received = h.at
	append1(t, j, m)
	if err := tender.Tend(t.Context()); err != nil {
		t.Fatal(err)
	}
	log.says(t, "clock went back", "see that the time service runs")
	m = message("C3", "FERNSBY")
	m.Received = h.at
	append1(t, j, m)
	inOrder(t, j, h.at)
	first := append1(t, j, message("C1", "FERNSBY"))
	if string(first) != string(append1(t, j, message("C1", "FERNSBY"))) || len(unsettled(t, j)) != 3 {
		t.Error("a repeat is not known any more")
	}
}

// inOrder checks that no time is in the future, and that times follow numbers.
func inOrder(t *testing.T, j *journal.Journal, now time.Time) {
	t.Helper()
	n, err := journal.Value[int](t.Context(), j, `SELECT COUNT(*) FROM entries a WHERE received > ?1
		OR EXISTS (SELECT 1 FROM entries b WHERE b.seq < a.seq AND b.received > a.received)`, now.UnixMilli())
	if err != nil || n != 0 {
		t.Errorf("%d entries are from the future or out of order: %v", n, err)
	}
}

func TestClockThatLeaptAheadPrunesNothing(t *testing.T) {
	h := &hands{time.Now()}
	b, log := newBench(t), &operatorsLog{}
	j := b.open(t, h.option(), log.option())
	append1(t, j, message("C1", "FERNSBY"))
	if err := j.Settle(t.Context(), journal.Outcome{Entry: 1, State: journal.Settled, Keep: true}); err != nil {
		t.Fatal(err)
	}
	tender := journal.NewTender(j)
	h.at = h.at.Add(400 * 24 * time.Hour)
	for range 2 {
		if err := tender.Tend(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	log.says(t, "clock leapt ahead", "see that the time service runs")
	if n, err := journal.Value[int](t.Context(), j, `SELECT COUNT(*) FROM entries WHERE body IS NOT NULL`); err != nil || n != 1 {
		t.Errorf("%d messages kept, want 1: %v", n, err)
	}
}

// Opening reads about as much with many waiting as with few.
func TestOpeningReadsNoEntries(t *testing.T) {
	b := newBench(t)
	reads := func() int {
		n := 0
		ended := failing(t, func(o operation) int32 {
			if o.kind == "read" {
				n++
			}
			return 0
		})
		defer ended()
		if err := b.open(t).Close(); err != nil {
			t.Fatal(err)
		}
		return n
	}
	j := b.open(t)
	append1(t, j, message("C1", "FERNSBY"))
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	few := reads()
	j = b.open(t)
	for _, change := range []string{
		`INSERT INTO entries (seq, turn, state, received, feed, site, peer, charset, process, reused, digest, ack, body)
			WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
			SELECT i, i, 0, received, feed, site, peer, charset, process, reused, digest, ack, zeroblob(700) FROM n, (SELECT * FROM entries WHERE seq = 1)`,
		`UPDATE about SET indexed = 20000`,
	} {
		if err := journal.Change(t.Context(), j, change); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if many := reads(); many > few+20 {
		t.Errorf("opening reads %d times with 20,000 waiting, and %d times with one", many, few)
	}
}

// large is a message that fills a small disk soon.
func large(n int) feed.Message {
	m := big(n)
	m.Body = append(m.Body, make([]byte, 100<<10)...)
	return m
}
