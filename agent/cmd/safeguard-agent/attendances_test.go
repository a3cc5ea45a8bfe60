package main

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard/agent/pipeline"
)

func TestAttendancesArePrintedAsATable(t *testing.T) {
	begun := time.Date(2026, 3, 14, 9, 30, 0, 0, time.Local)
	results := []pipeline.Result{
		{Row: &pipeline.Row{ID: "1b4e28ba-2fa1-81d2-883f-0016d3cca427", Needs: "alert", Begun: begun, State: "open", Stage: "notified", Site: "RX101", Location: "ED",
			Shown: "flags held", Waiting: 1, Patient: &pipeline.Patient{Number: "9990000344", MRN: "H1", Born: "2019-02-03"}, Plans: []string{"Looked after child, Ashmere Council"}}},
		{Row: &pipeline.Row{ID: "2b4e28ba-2fa1-81d2-883f-0016d3cca427", Needs: "unknown", Begun: begun, State: "ended", Stage: "set aside", Location: "ED\x1b[2J",
			Reason: "no-nhs-number", Closed: "lead", Why: "seen to"}},
		{Row: &pipeline.Row{ID: "3b4e28ba-2fa1-81d2-883f-0016d3cca427", Begun: begun, State: "open", Stage: "registered", NotAsked: "adult"}},
		{Summary: &pipeline.Summary{Listed: 2, Alerts: 1, Unknown: 1}},
	}
	for name, c := range map[string]struct {
		json     bool
		out, err string
	}{
		"table": {false, "" +
			"NEEDS    BEGUN                SITE   WHERE   STATE  STAGE       SHOWN       WHY UNKNOWN    NOTE                                                      ATTENDANCE                            PATIENT\n" +
			"alert    2026-03-14 09:30:00  RX101  ED      open   notified    flags held  -              1 not delivered yet; Looked after child, Ashmere Council  1b4e28ba-2fa1-81d2-883f-0016d3cca427  9990000344 H1 2019-02-03\n" +
			"unknown  2026-03-14 09:30:00  -      ED·[2J  ended  set aside   -           no-nhs-number  closed by lead; seen to                                   2b4e28ba-2fa1-81d2-883f-0016d3cca427  -\n" +
			"-        2026-03-14 09:30:00  -      -       open   registered  -           -              not asked: adult                                          3b4e28ba-2fa1-81d2-883f-0016d3cca427  -\n",
			"2 listed: 1 with an alert, 1 unknown, 0 too late\n"},
		"json": {true, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			var out, errs, lines bytes.Buffer
			w := &ward{out: &out, err: &errs, json: c.json}
			for _, r := range results {
				raw, err := json.Marshal(r)
				if err != nil {
					t.Fatal(err)
				}
				lines.Write(append(raw, '\n'))
				if err := w.take(raw); err != nil {
					t.Fatal(err)
				}
			}
			w.flush()
			if c.json {
				c.out = lines.String()
			}
			if out.String() != c.out || errs.String() != c.err || w.listed != 2 {
				t.Errorf("got\n%s%s%d listed, want\n%s%s", out.String(), errs.String(), w.listed, c.out, c.err)
			}
		})
	}
}
