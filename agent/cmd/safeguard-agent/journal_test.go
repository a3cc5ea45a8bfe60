package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard/agent/journal"
)

// at is when everything in these tests happened.
var at = time.Date(2026, 3, 14, 9, 30, 0, 0, time.Local)

func TestJournalIsPrinted(t *testing.T) {
	entry := journal.Row{ID: "17", State: "set-aside", At: at, Feed: "pas", Event: "A04", ControlID: "C17", Reason: "no PV1"}
	item := journal.Row{ID: "i9", State: "waiting", At: at, Sink: "epr", Entry: 17, Action: "raise", Version: 2, ControlID: "SG9", Tries: 3, Code: "AE",
		Attendance: "1b4e28ba-2fa1-81d2-883f-0016d3cca427", Outcome: "skipped: it waits already",
		Patient: &journal.Patient{Number: "9990000344", Identifier: "H1", Name: "FERNSBY TOBIAS", Born: "2019-02-03"}}
	shown := entry
	shown.Peer, shown.Bytes, shown.Raw = "127.0.0.1:4711", 12, []byte("MSH|^~\\&\r")
	shown.Message = []string{"MSH|^~\\&|PAS", "PID|1||\x1b[2J"}
	stats := journal.Report{Intake: journal.IntakeOpen, Began: at, Waiting: 2, OldestAge: "5s", SetAside: 1, Messages: 40, Delivered: 7, SizeMB: 3, FreeMB: 900,
		Outboxes: []journal.OutboxReport{{Name: "epr", Waiting: 1, OldestAge: "9s"}}}
	audit := journal.Audit{ID: 4, At: at, Who: "jo (uid 1001)", What: "list", Rows: "17", Whole: true}
	for name, c := range map[string]struct {
		printer printer
		result  journal.Result
		want    string
	}{
		"entry": {result: journal.Result{Row: &entry}, want: "" +
			"ID  STATE      RECEIVED             FEED  EVENT  CONTROL-ID  ATTENDANCE  NOTE    PATIENT\n" +
			"17  set-aside  2026-03-14 09:30:00  pas   A04    C17         -           no PV1  -\n"},
		"item, revealed": {result: journal.Result{Row: &item}, want: "" +
			"ID  STATE    QUEUED               SINK  ENTRY  ALERT    CONTROL-ID  TRIES  CODE  ATTENDANCE                            NOTE                       PATIENT\n" +
			"i9  waiting  2026-03-14 09:30:00  epr   17     raise 2  SG9         3      AE    1b4e28ba-2fa1-81d2-883f-0016d3cca427  skipped: it waits already  9990000344 H1 FERNSBY TOBIAS 2019-02-03\n"},
		"shown whole, without what commands a terminal": {printer: printer{whole: true}, result: journal.Result{Row: &shown}, want: "" +
			"id           17\nstate        set-aside\nat           2026-03-14 09:30:00\nfeed         pas\npeer         127.0.0.1:4711\nevent        A04\n" +
			"control id   C17\nreason       no PV1\nbytes        12\n  MSH|^~\\&|PAS\n  PID|1||·[2J\n\n"},
		"raw, to the byte": {printer: printer{raw: true, whole: true}, result: journal.Result{Row: &shown}, want: "MSH|^~\\&\r"},
		"stats": {result: journal.Result{Stats: &stats}, want: "" +
			"intake               open\nwaiting              2\noldest waiting       5s\nset aside            1\nentries              40\nrepeats answered     0\n" +
			"control ids reused   0\ndelivered            7\nowed to epr          1, oldest 9s\nsize                 3 MB, 900 MB free on the disk\njournal began        2026-03-14 09:30:00\n"},
		"audit": {result: journal.Result{Audit: &audit}, want: "" +
			"ID  AT                   WHO            WHAT  ON  CHECK\n" +
			"4   2026-03-14 09:30:00  jo (uid 1001)  list  17  -\n"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, asJSON := range []bool{false, true} {
				var out bytes.Buffer
				p := c.printer
				p.out, p.json = &out, asJSON
				raw, err := json.Marshal(c.result)
				if err != nil {
					t.Fatal(err)
				}
				if err := p.take(raw); err != nil {
					t.Fatal(err)
				}
				p.flush()
				want := c.want
				if asJSON {
					want = string(raw) + "\n"
				}
				if out.String() != want {
					t.Errorf("json %v: got\n%swant\n%s", asJSON, out.String(), want)
				}
			}
		})
	}
}

func TestJournalColumnsAreNamedAgainAfterAHundredLines(t *testing.T) {
	var out bytes.Buffer
	p := printer{out: &out}
	for range tableRows + 1 {
		if err := p.line(journal.Row{ID: "17"}); err != nil {
			t.Fatal(err)
		}
	}
	p.flush()
	if n := strings.Count(out.String(), "CONTROL-ID"); n != 2 {
		t.Errorf("named %d times in %d lines, want twice", n, tableRows+1)
	}
}

func TestJournalExitCodes(t *testing.T) {
	for name, c := range map[string]struct {
		results []journal.Result
		err     error
		want    int
	}{
		"done":                    {[]journal.Result{{Row: &journal.Row{ID: "17"}}, {Summary: &journal.Summary{Matched: 1, Changed: 1}}}, nil, 0},
		"nothing matched":         {[]journal.Result{{Summary: &journal.Summary{}}}, nil, exitNothing},
		"some skipped":            {[]journal.Result{{Summary: &journal.Summary{Matched: 2, Changed: 1, Skipped: 1}}}, nil, exitSkipped},
		"no agent runs":           {nil, errors.New("not running"), exitNotRunning},
		"intake open":             {[]journal.Result{{Stats: &journal.Report{Intake: journal.IntakeOpen}}}, nil, 0},
		"intake stopped":          {[]journal.Result{{Stats: &journal.Report{Intake: "stopped: the disk is full"}}}, nil, 1},
		"audit whole":             {[]journal.Result{{Audit: &journal.Audit{ID: 1, Whole: true}}, {Summary: &journal.Summary{Matched: 1}}}, nil, 0},
		"audit changed by a hand": {[]journal.Result{{Audit: &journal.Audit{ID: 1}}, {Audit: &journal.Audit{ID: 2, Whole: true}}, {Summary: &journal.Summary{Matched: 2}}}, nil, 1},
	} {
		t.Run(name, func(t *testing.T) {
			p := printer{out: new(bytes.Buffer)}
			for _, r := range c.results {
				raw, err := json.Marshal(r)
				if err != nil {
					t.Fatal(err)
				}
				if err := p.take(raw); err != nil {
					t.Fatal(err)
				}
			}
			if got := p.exit(c.err); got != c.want {
				t.Errorf("exit code %d, want %d", got, c.want)
			}
		})
	}
}

func TestMomentsOfOperators(t *testing.T) {
	for text, want := range map[string]time.Time{
		"2026-03-14":                  at.Add(-9*time.Hour - 30*time.Minute),
		"2026-03-14T09:30":            at,
		"2026-03-14 09:30":            at,
		"2026-03-14T09:30:00":         at,
		at.UTC().Format(time.RFC3339): at,
	} {
		var m moment
		if err := m.UnmarshalText([]byte(text)); err != nil || !m.Equal(want) {
			t.Errorf("%s is %s, want %s: %v", text, m, want, err)
		}
	}
	var m moment
	if err := m.UnmarshalText([]byte("2h")); err != nil || time.Since(m.Time) < 2*time.Hour || time.Since(m.Time) > 3*time.Hour {
		t.Errorf("2h is %s: %v", m, err)
	}
	for _, text := range []string{"", "yesterday", "-2h", "14/03/2026"} {
		if err := m.UnmarshalText([]byte(text)); err == nil || !strings.Contains(err.Error(), "such as 2h") {
			t.Errorf("%q: got %v, want an error that says what would be right", text, err)
		}
	}
}
