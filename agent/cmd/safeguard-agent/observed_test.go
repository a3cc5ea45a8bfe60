package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/agent/pipeline"
)

func TestListOfThePresentProcessIsRead(t *testing.T) {
	london, err := time.LoadLocation("Europe/London")
	if err != nil {
		t.Fatal(err)
	}
	list := "\ufeffTime,Ward,NHS_Number,visit\n2026-07-02T14:30,ED,,V1\n02/07/2026 14:31,ED,999 000 0344,\n\n2026-07-02T14:32:05Z,ED,9990000352,V3\n"
	got, err := readTheirs(strings.NewReader(list), london)
	if err != nil || len(got) != 3 {
		t.Fatalf("got %+v, %v", got, err)
	}
	for i, want := range []pipeline.Theirs{
		{Line: 2, Visit: "V1", At: time.Date(2026, 7, 2, 13, 30, 0, 0, time.UTC)},
		{Line: 3, Number: "9990000344", At: time.Date(2026, 7, 2, 13, 31, 0, 0, time.UTC)},
		{Line: 5, Number: "9990000352", Visit: "V3", At: time.Date(2026, 7, 2, 14, 32, 5, 0, time.UTC)},
	} {
		if !got[i].At.Equal(want.At) {
			t.Errorf("line %d: %v, want %v", want.Line, got[i].At, want.At)
		}
		if got[i].At = want.At; got[i] != want {
			t.Errorf("got %+v, want %+v", got[i], want)
		}
	}
	for text, part := range map[string]string{
		"":                                "first line",
		"a,b\n":                           "want the names of the columns",
		"visit\nV1\n":                     "want the names of the columns",
		"visit,time\nV1\n":                "line 2: wrong number of fields",
		"visit,time\nV1,SECRET\n":         "line 2: time: want one such as",
		"visit,time\n,2026-07-02T14:30\n": "line 2: want a visit or an NHS number",
		"nhs_number,time\nS3CR3T,2026-07-02T14:3": "line 2: nhs_number",
		"visit,time\n\"SECRET,2026":               "line 2",
	} {
		if _, err := readTheirs(strings.NewReader(text), london); err == nil || !strings.Contains(err.Error(), part) || strings.Contains(err.Error(), "SECRET") || strings.Contains(err.Error(), "S3CR3T") {
			t.Errorf("%q: got %v, want %q and nothing of the list", text, err, part)
		}
	}
}

// FuzzReadTheirs wants that what is read names somebody and a time, and that no
// error repeats a field.
func FuzzReadTheirs(f *testing.F) {
	f.Add("time,visit,nhs_number\n2026-07-02T14:30,V1,9990000344\n")
	f.Add("visit,time\n\"V\n1\",02/07/2026 14:31\n")
	f.Fuzz(func(t *testing.T, text string) {
		all, err := readTheirs(strings.NewReader(text), time.UTC)
		if err != nil && strings.Contains(err.Error(), "9990000344") {
			t.Errorf("the error repeats a number: %v", err)
		}
		last := 1
		for _, r := range all {
			if r.Line <= last || r.Visit == "" && r.Number == "" {
				t.Errorf("read %+v after line %d", r, last)
			}
			if _, err := safeguard.ParseNHSNumber(r.Number); r.Number != "" && err != nil {
				t.Errorf("read a number that is none, in line %d", r.Line)
			}
			last = r.Line
		}
	})
}

func TestObservedAsATable(t *testing.T) {
	at := time.Date(2026, 7, 2, 13, 30, 0, 0, time.UTC)
	var out, errs bytes.Buffer
	p := &observedPrinter{out: &out, err: &errs, compare: true}
	for _, r := range []pipeline.ObservedResult{
		{Row: &pipeline.ObservedRow{Shown: pipeline.Both, Kind: "flags held", Ours: at, Took: 1.2, Theirs: at.Add(time.Hour), Lead: 3600, Line: 7, ID: "id", Location: "ED\x1b[2J"}},
		{Row: &pipeline.ObservedRow{Shown: pipeline.OnlyTheirs, Theirs: at, Line: 8, Why: "the centre holds no flag"}},
		{Summary: &pipeline.ObservedSummary{Attendances: 9, Held: 1, Both: 1, Theirs: 1, Lead: -90}},
	} {
		raw, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.take(raw); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"1h0m0s earlier", "line 7", "the centre holds no flag; line 8", "ED·[2J"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, out.String())
		}
	}
	for _, want := range []string{"9 attendances: 1 would", "1 shown by both, 0 only by us, 1 only by the present process", "1m30s later"} {
		if !strings.Contains(errs.String(), want) {
			t.Errorf("the end lacks %q: %s", want, errs.String())
		}
	}
}

func TestReconciliationAsATable(t *testing.T) {
	var out, errs bytes.Buffer
	p := &eprPrinter{out: &out, err: &errs}
	for _, r := range []pipeline.EPRResult{
		{Row: &pipeline.EPRRow{Sink: "epr", Shows: "shown", Version: 2, Needs: "set aside: AR", Done: "would be sent again", Open: true, Attendance: "id"}},
		{Summary: &pipeline.EPRSummary{Listed: 1, Shown: 1, Needs: 1}},
	} {
		raw, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.take(raw); err != nil {
			t.Fatal(err)
		}
	}
	if p.wrong != 1 || !strings.Contains(out.String(), "set aside: AR") || !strings.Contains(errs.String(), "--apply repairs") {
		t.Errorf("wrong %d\n%s%s", p.wrong, out.String(), errs.String())
	}
}
