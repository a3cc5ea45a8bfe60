package pipeline_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/agent/journal"
	"github.com/safeguard-edge/safeguard/agent/pipeline"
)

// operate asks as the safeguarding lead does, and returns the rows and the text
// that went over the channel.
func (w *ward) operate(r pipeline.Request) (rows []pipeline.Row, sum pipeline.Summary, text string, err error) {
	w.t.Helper()
	w.settle()
	args, err := json.Marshal(r)
	if err != nil {
		w.t.Fatal(err)
	}
	err = w.pipeline.Operate(context.Background(), "lead", args, func(v any) error {
		raw, err := json.Marshal(v)
		text += string(raw) + "\n"
		if result := v.(pipeline.Result); result.Row != nil {
			rows = append(rows, *result.Row)
		} else {
			sum = *result.Summary
		}
		return err
	})
	return rows, sum, text, err
}

func TestSafeguardingLeadSeesAlertsUnknownsAndLateOnes(t *testing.T) {
	story(t, func(w *ward) {
		w.answer(toby, held(safeguard.FromCentre))
		w.answer("9990000360", noneHeld())
		since := time.Now()
		w.adt("A04", toby, "V1")
		w.adt("A04", "", "V2", "H1^", "H2^")
		w.adt("A04", "9990000360", "V3", "H1^", "H3^") // answered: needs nobody
		w.adt("A04", maya, "V4", "H1^", "H4^")
		w.adt("A03", maya, "V4", "H1^", "H4^")
		w.settle()
		w.answer(maya, held(safeguard.FromCentre))
		time.Sleep(10 * time.Second)

		rows, sum, text, err := w.operate(pipeline.Request{Do: pipeline.List, Since: since})
		if err != nil || sum != (pipeline.Summary{Listed: 3, Alerts: 1, Unknown: 1, Late: 1}) {
			t.Fatalf("got %+v, %v", sum, err)
		}
		for i, want := range []string{"alert", "unknown", "late"} {
			if rows[i].Needs != want {
				t.Errorf("row %d needs %q, want %q", i+1, rows[i].Needs, want)
			}
		}
		for _, secret := range []string{toby, maya, "H1", "H4", "1995", "protection", "Ashmere"} {
			if strings.Contains(text, secret) {
				t.Errorf("without reveal it says %q", secret)
			}
		}
		rows, sum, _, err = w.operate(pipeline.Request{Do: pipeline.List, Since: since, All: true, Reveal: true})
		if err != nil || sum.Listed != 4 || rows[0].Patient.Number != toby || len(rows[0].Plans) != 1 {
			t.Errorf("revealed: %+v %v", sum, err)
		}
		if _, sum, _, err := w.operate(pipeline.Request{Do: pipeline.List, Since: time.Now()}); err != nil || sum.Listed != 0 {
			t.Errorf("%d listed of what is to come: %v", sum.Listed, err)
		}
		w.audited("attendances --since", "attendances --all --reveal --since")
	})
}

// audited wants that the audit has the commands.
func (w *ward) audited(want ...string) {
	w.t.Helper()
	var all strings.Builder
	err := w.journal.Operate(context.Background(), "auditor", json.RawMessage(`{"do":"audit","filter":{}}`), func(v any) error {
		if a := v.(journal.Result).Audit; a != nil {
			all.WriteString(a.Who + " " + a.What + " " + a.Rows + "\n")
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, s := range want {
		if !strings.Contains(all.String(), "lead "+s) {
			w.t.Errorf("the audit lacks %q:\n%s", s, all.String())
		}
	}
	for _, secret := range []string{"seen by", toby, "FERNSBY"} {
		if strings.Contains(all.String(), secret) {
			w.t.Errorf("the audit says %q", secret)
		}
	}
}

// Why nobody is asked about an attendance is told, so that who tries the agent with
// a test number does not wait for an alert.
func TestWhyAnAttendanceIsNotAskedAbout(t *testing.T) {
	story(t, func(w *ward) {
		w.adt("A04", "9990000360", "V1", "19950102", "19500102")
		w.adt("A04", toby, "V2", "|P|2.4", "|T|2.4", "H1^", "H2^")
		w.answer(maya, noneHeld())
		w.adt("A04", maya, "V3", "H1^", "H3^")
		rows, _, _, err := w.operate(pipeline.Request{Do: pipeline.List, All: true})
		if err != nil || len(rows) != 3 {
			t.Fatalf("%d rows, %v", len(rows), err)
		}
		for i, want := range []string{"adult", safeguard.TestNumber, ""} {
			if rows[i].NotAsked != want {
				t.Errorf("row %d: not asked because of %q, want %q", i+1, rows[i].NotAsked, want)
			}
		}
		found := map[string]string{} // by attendance
		err = w.journal.Operate(context.Background(), "lead", json.RawMessage(`{"do":"list","filter":{}}`), func(v any) error {
			if r := v.(journal.Result).Row; r != nil && r.Sink == "" {
				found[r.Attendance] = r.Reason
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range []string{"", "not eligible: " + safeguard.TestNumber, ""} {
			if found[rows[i].ID] != want {
				t.Errorf("the journal says of entry %d without reveal %q, want %q", i+1, found[rows[i].ID], want)
			}
		}
	})
}

func TestPersonClosesWhatCouldNotBeChecked(t *testing.T) {
	story(t, func(w *ward) {
		w.adt("A04", toby, "V1")
		w.answer(maya, held(safeguard.FromCentre))
		w.adt("A04", maya, "V2", "H1^", "H2^")
		time.Sleep(time.Minute)
		w.want("raise 1 flags held", "raise 1 check not completed")
		id := w.record("V1").Attendance.ID.String()
		for reason, r := range map[string]pipeline.Request{
			"reason: want":             {Do: pipeline.Close, ID: id},
			"only one that is unknown": {Do: pipeline.Close, ID: w.record("V2").Attendance.ID.String(), Reason: "by mistake"},
			"no attendance has this":   {Do: pipeline.Close, ID: safeguard.AttendanceID{1}.String(), Reason: "by mistake"},
			"attendance id":            {Do: pipeline.Close, ID: "V1", Reason: "by mistake"},
			"want list or close":       {Do: "open"},
		} {
			if _, _, _, err := w.operate(r); err == nil || !strings.Contains(err.Error(), reason) {
				t.Errorf("got %v, want one that says %q", err, reason)
			}
		}
		if _, _, _, err := w.operate(pipeline.Request{Do: pipeline.Close, ID: id, Reason: "seen by the ward, FERNSBY"}); err != nil {
			t.Fatal(err)
		}
		w.want("raise 1 flags held", "raise 1 check not completed", "withdraw 2 check not completed")
		w.stage("V1", safeguard.SetAsideStage)
		if c := w.record("V1").Closed; c.Who != "lead" || c.Reason == "" || c.At.IsZero() {
			t.Error("who closed it, when and why is not kept")
		}
		w.audited("attendance close " + id)
		asked := len(w.asked)
		w.adt("A08", toby, "V1")
		time.Sleep(time.Hour)
		w.lookups(asked) // asking has ended
		if _, _, _, err := w.operate(pipeline.Request{Do: pipeline.Close, ID: id, Reason: "again"}); err == nil || !strings.Contains(err.Error(), "closed already, by lead") {
			t.Errorf("closed twice: %v", err)
		}
		w.answer("9990000360", held(safeguard.FromCentre))
		w.adt("A08", "9990000360", "V1") // another person is asked about all the same
		w.want("raise 1 flags held", "raise 1 check not completed", "withdraw 2 check not completed", "raise 1 flags held")
	})
}
