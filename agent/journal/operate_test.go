package journal_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	sqlite3 "modernc.org/sqlite/lib"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/agent/journal"
)

// answer is what an operator gets.
type answer struct {
	rows    []journal.Row
	audits  []journal.Audit
	stats   *journal.Report
	summary journal.Summary
	text    string // all of it, as it is sent
}

func (a answer) ids() string {
	var ids []string
	for _, r := range a.rows {
		ids = append(ids, r.ID)
	}
	return strings.Join(ids, " ")
}

func operate(t *testing.T, j *journal.Journal, r journal.Request) answer {
	t.Helper()
	a, err := asked(t, j, r)
	if err != nil {
		t.Fatalf("%s: %v", r.Do, err)
	}
	return a
}

func asked(t *testing.T, j *journal.Journal, r journal.Request) (a answer, err error) {
	args, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	err = j.Operate(t.Context(), "jo (uid 1001)", args, func(v any) error {
		sent, err := json.Marshal(v)
		if err != nil {
			return err
		}
		a.text += string(sent) + "\n"
		var r journal.Result
		if err := json.Unmarshal(sent, &r); err != nil {
			return err
		}
		switch {
		case r.Row != nil:
			a.rows = append(a.rows, *r.Row)
		case r.Audit != nil:
			a.audits = append(a.audits, *r.Audit)
		case r.Stats != nil:
			a.stats = r.Stats
		case r.Summary != nil:
			a.summary = *r.Summary
		}
		return nil
	})
	return a, err
}

// ward is a journal with something of everything: entry 1 settled with an alert
// delivered, 2 settled with one owed, 3 set aside, 4 ignored, 5 waiting.
func ward(t *testing.T) (*journal.Journal, *hands) {
	h := &hands{time.Now()}
	j := newBench(t).open(t, h.option())
	for n, feed := range []string{"pas", "pas", "maternity", "pas", "maternity"} {
		m := big(n)
		m.Feed = feed
		m.Received = h.at
		append1(t, j, m)
		h.at = h.at.Add(time.Minute)
	}
	for _, o := range []journal.Outcome{
		outcome(1, attendance(t, "V1")),
		outcome(2, attendance(t, "V2")),
		{Entry: 3, State: journal.SetAside, Note: "not readable"},
		{Entry: 4, State: journal.Ignored, Note: "of no concern"},
	} {
		if len(o.Steps) > 0 {
			o.Steps[0].Alerts[0].Alert.ID = safeguard.AlertID(fmt.Sprint("alert-", o.Entry))
		}
		if err := j.Settle(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	item, _, err := j.Next(t.Context(), "epr", h.at)
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Done(t.Context(), item.ID, safeguardDelivered); err != nil {
		t.Fatal(err)
	}
	return j, h
}

func TestOperatorsFindByEverything(t *testing.T) {
	j, h := ward(t)
	began := h.at.Add(-5 * time.Minute)
	sent := outcome(1, attendance(t, "V1")).Steps[0].Alerts[0].Alert
	sent.ID = "alert-1"
	for _, c := range []struct {
		name   string
		filter journal.Filter
		want   string
	}{
		{"all, the newest first", journal.Filter{}, "5 4 3 2 1"},
		{"id", journal.Filter{IDs: []string{"2", "4"}}, "4 2"},
		{"since", journal.Filter{Since: began.Add(150 * time.Second)}, "5 4"},
		{"until", journal.Filter{Until: began.Add(90 * time.Second)}, "2 1"},
		{"state", journal.Filter{State: "set-aside"}, "3"},
		{"waiting", journal.Filter{State: "waiting"}, "5"},
		{"feed", journal.Filter{Feed: "maternity"}, "5 3"},
		{"control id", journal.Filter{ControlID: "B3"}, "4"},
		{"attendance", journal.Filter{Attendance: attendance(t, "V2").ID.String()}, "2"},
		{"several", journal.Filter{Feed: "pas", State: "settled", Until: began.Add(30 * time.Second)}, "1"},
		{"nothing", journal.Filter{ControlID: "B99"}, ""},
		{"limit", journal.Filter{Limit: 2}, "5 4"},
		{"sink", journal.Filter{Sink: "epr", State: "waiting"}, "i3"},
		{"sink and attendance", journal.Filter{Sink: "epr", Attendance: attendance(t, "V1").ID.String()}, "i1"},
		{"sink and control id", journal.Filter{Sink: "epr", ControlID: sent.ControlID("epr")}, "i1"},
		{"sink and entry", journal.Filter{Sink: "epr", IDs: []string{"2"}}, "i3"},
		{"item", journal.Filter{IDs: []string{"i1"}}, "i1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := operate(t, j, journal.Request{Do: journal.List, Filter: c.filter})
			if a.ids() != c.want || a.summary.Matched != len(a.rows) || a.summary.More != (c.filter.Limit > 0) {
				t.Errorf("got %q, want %q; %+v", a.ids(), c.want, a.summary)
			}
			tellsNobody(t, a)
		})
	}
}

// tellsNobody checks that an answer is masked.
func tellsNobody(t *testing.T, a answer) {
	t.Helper()
	for _, secret := range secrets {
		if strings.Contains(a.text, secret) {
			t.Errorf("the answer tells %s: %s", secret, a.text)
		}
	}
}

func TestOperatorsAreRefusedWhatTheyCanNotMean(t *testing.T) {
	j, _ := ward(t)
	for _, c := range []struct {
		request journal.Request
		want    string
	}{
		{journal.Request{Do: "delete"}, "want one of list"},
		{journal.Request{Do: journal.Replay}, "not everything at once"},
		{journal.Request{Do: journal.Show}, "want an id"},
		{journal.Request{Do: journal.List, Filter: journal.Filter{State: "lost"}}, "want one of waiting"},
		{journal.Request{Do: journal.List, Filter: journal.Filter{IDs: []string{"x7"}}}, "want a number such as 17"},
		{journal.Request{Do: journal.List, Filter: journal.Filter{IDs: []string{"7", "i7"}}}, "one kind at a time"},
		{journal.Request{Do: journal.List, Filter: journal.Filter{Sink: "epr", Feed: "pas"}}, "have none"},
		{journal.Request{Do: journal.List, Filter: journal.Filter{Attendance: "7"}}, "attendance"},
	} {
		if _, err := asked(t, j, c.request); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: got %v, want one with %q", c.request, err, c.want)
		}
	}
}

func TestShowIsMaskedUntilItIsRevealed(t *testing.T) {
	j, _ := ward(t)
	masked := operate(t, j, journal.Request{Do: journal.Show, Filter: journal.Filter{IDs: []string{"1"}}})
	tellsNobody(t, masked)
	if r := masked.rows[0]; len(r.Message) != 7 || !strings.HasPrefix(r.Message[0], "MSH|^~\\&|PAS|") || !strings.HasPrefix(r.Message[2], "PID|*") || r.Raw != nil {
		t.Errorf("masked message: %q", r.Message)
	}
	open := operate(t, j, journal.Request{Do: journal.Show, Reveal: true, Filter: journal.Filter{IDs: []string{"1"}}})
	if r := open.rows[0]; string(r.Raw) != string(registration(0)) || r.Patient == nil || !strings.Contains(r.Patient.Name, "FERNSBY") {
		t.Error("the revealed message is not the one that came")
	}
	item := operate(t, j, journal.Request{Do: journal.Show, Reveal: true, Filter: journal.Filter{IDs: []string{"i3"}}}).rows[0]
	if item.Patient == nil || item.Patient.Number != "9990000344" || item.Patient.Name != "FERNSBY TOBIAS" {
		t.Errorf("revealed item: %+v", item.Patient)
	}
	tellsNobody(t, operate(t, j, journal.Request{Do: journal.Show, Filter: journal.Filter{IDs: []string{"i3"}}}))
}

func TestOperatorsChangeWhatTheyName(t *testing.T) {
	for _, c := range []struct {
		name    string
		do      journal.Verb
		ids     string
		outcome string
		state   string // afterwards
	}{
		{"replay a settled entry", journal.Replay, "1", "replayed", "waiting"},
		{"replay an ignored one, whose message is destroyed", journal.Replay, "4", "skipped: its message has had its time and is destroyed", "ignored"},
		{"replay what waits", journal.Replay, "5", "skipped: it waits already", "waiting"},
		{"set aside what waits", journal.PutOff, "5", "set aside", "set-aside"},
		{"set aside what does not", journal.PutOff, "1", "skipped: it does not wait", "settled"},
		{"release what is set aside", journal.Release, "3", "released", "waiting"},
		{"release what is not", journal.Release, "1", "skipped: it is not set aside", "settled"},
		{"send a delivered alert again", journal.Replay, "i1", "replayed", "waiting"},
		{"set an owed alert aside", journal.PutOff, "i3", "set aside", "set-aside"},
		{"ask a lookup again", journal.Replay, "i2", "skipped: it waits already", "waiting"},
	} {
		t.Run(c.name, func(t *testing.T) {
			j, _ := ward(t)
			filter := journal.Filter{IDs: []string{c.ids}}
			before := operate(t, j, journal.Request{Do: journal.List, Filter: filter}).rows[0].State
			dry := operate(t, j, journal.Request{Do: c.do, DryRun: true, Filter: filter})
			if want := strings.NewReplacer("replayed", "would be replayed", "released", "would be released").Replace(c.outcome); c.outcome != "set aside" && dry.rows[0].Outcome != want {
				t.Errorf("dry run: %q, want %q", dry.rows[0].Outcome, want)
			}
			if now := operate(t, j, journal.Request{Do: journal.List, Filter: filter}).rows[0].State; now != before {
				t.Errorf("a dry run made %s of %s", now, before)
			}
			a := operate(t, j, journal.Request{Do: c.do, Filter: filter})
			if a.rows[0].Outcome != c.outcome || a.summary.Changed+a.summary.Skipped != 1 || (a.summary.Skipped == 1) != strings.HasPrefix(c.outcome, "skipped") {
				t.Errorf("got %q and %+v, want %q", a.rows[0].Outcome, a.summary, c.outcome)
			}
			tellsNobody(t, a)
			if now := operate(t, j, journal.Request{Do: journal.List, Filter: filter}).rows[0].State; now != c.state {
				t.Errorf("it is %s, want %s", now, c.state)
			}
		})
	}
}

func TestReplayedEntryComesLastAndTheSameAlertAgain(t *testing.T) {
	j, h := ward(t)
	operate(t, j, journal.Request{Do: journal.Replay, Filter: journal.Filter{IDs: []string{"1"}}})
	operate(t, j, journal.Request{Do: journal.Replay, Filter: journal.Filter{IDs: []string{"i1"}}})
	entries := unsettled(t, j)
	if len(entries) != 2 || entries[0].Seq != 5 || entries[1].Seq != 1 || string(entries[1].Body) != string(registration(0)) {
		t.Errorf("%d entries wait, want 5 and then 1 as it came", len(entries))
	}
	again, _, err := j.Next(t.Context(), "epr", h.at)
	if err != nil || again.Alert.ID != "alert-1" || again.Alert.Version != 1 {
		t.Errorf("got alert %s %d, want the same as before: %v", again.Alert.ID, again.Alert.Version, err)
	}
}

func TestStatsSayWhetherIntakeIsOpen(t *testing.T) {
	j, _ := ward(t)
	s := operate(t, j, journal.Request{Do: journal.Counts}).stats
	if s.Intake != journal.IntakeOpen || s.Waiting != 1 || s.SetAside != 1 || s.Messages != 5 || s.Delivered != 1 {
		t.Errorf("got %+v", s)
	}
	if err := j.Settle(t.Context(), journal.Outcome{Entry: 5, State: journal.Settled}); err != nil {
		t.Fatal(err)
	}
	failing(t, func(o operation) int32 {
		if o.kind == "sync" {
			return sqlite3.SQLITE_IOERR_FSYNC
		}
		return 0
	})
	_, err := j.Append(t.Context(), message("C9", "FERNSBY"))
	held(t, err, journal.Failed)
	if s := operate(t, j, journal.Request{Do: journal.Counts}).stats; !strings.Contains(s.Intake, journal.Failed.Remedy()) || s.Since.IsZero() {
		t.Errorf("stopped intake: %+v", s)
	}
}

func TestEachUseIsAudited(t *testing.T) {
	j, _ := ward(t)
	for _, r := range []journal.Request{
		{Do: journal.List, Filter: journal.Filter{State: "settled"}},
		{Do: journal.Show, Reveal: true, Filter: journal.Filter{IDs: []string{"1"}}},
		{Do: journal.List, Filter: journal.Filter{ControlID: "B3"}},
		{Do: journal.Replay, DryRun: true, Filter: journal.Filter{IDs: []string{"1"}}},
		{Do: journal.Replay, Filter: journal.Filter{IDs: []string{"1"}}},
		{Do: journal.List, Filter: journal.Filter{Feed: "none"}},
		{Do: journal.Counts},
	} {
		operate(t, j, r)
	}
	a := operate(t, j, journal.Request{Do: journal.Audits})
	var got []string
	for _, e := range a.audits {
		if !e.Whole || e.Who != "jo (uid 1001)" {
			t.Errorf("row %d: whole %v, by %q", e.ID, e.Whole, e.Who)
		}
		got = append(got, e.What+": "+e.Rows)
	}
	want := []string{
		"list --state settled: 2-1", "show --reveal: 1", "list --control-id …: 4", "replay --dry-run: 1", "replay: 1", "list --feed none: none", "stats: none", "audit: none",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("the audit is\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// The tables refuse to change the audit; who changes the file nevertheless is found out.
func TestChangedAuditIsFoundOut(t *testing.T) {
	for _, c := range []struct{ name, change string }{
		{"changed", `UPDATE audit SET who = 'nobody' WHERE id = 2`},
		{"taken away", `DELETE FROM audit WHERE id = 2`},
	} {
		t.Run(c.name, func(t *testing.T) {
			j, _ := ward(t)
			for range 3 {
				operate(t, j, journal.Request{Do: journal.Counts})
			}
			if err := journal.Change(t.Context(), j, c.change); err == nil || !strings.Contains(err.Error(), "append-only") {
				t.Errorf("got %v, want it refused", err)
			}
			for _, change := range []string{`DROP TRIGGER audit_stays`, `DROP TRIGGER audit_is_not_changed`, c.change} {
				if err := journal.Change(t.Context(), j, change); err != nil {
					t.Fatal(err)
				}
			}
			broken := 0
			for _, a := range operate(t, j, journal.Request{Do: journal.Audits}).audits {
				if !a.Whole {
					broken++
				}
			}
			if broken == 0 {
				t.Error("the change does not show")
			}
		})
	}
}

// What can not be audited is not shown.
func TestNothingIsRevealedThatIsNotAudited(t *testing.T) {
	j, _ := ward(t)
	failing(t, func(o operation) int32 {
		if o.kind == "write" {
			return sqlite3.SQLITE_IOERR_WRITE
		}
		return 0
	})
	a, err := asked(t, j, journal.Request{Do: journal.Show, Reveal: true, Filter: journal.Filter{IDs: []string{"1"}}})
	if err == nil || !strings.Contains(err.Error(), "audit") || len(a.rows) > 0 {
		t.Errorf("got %d rows, %v", len(a.rows), err)
	}
}
