package pipeline_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/agent/pipeline"
)

// roles are patients by what the centre knows of them.
var roles = map[string]struct{ number, born, status string }{
	"held":     {toby, "19950102", "01"},
	"none":     {maya, "19950102", "01"},
	"cached":   {"9990000360", "19950102", "01"},
	"dark":     {"9990000379", "19950102", "01"},
	"nobody":   {"", "19950102", "08"},
	"adult":    {"", "19500102", "08"},
	"conflict": {"", "19950102", "05"},
}

// does runs one step, such as "A08 none", for the visit V1.
func (w *ward) does(step string) {
	w.t.Helper()
	what, role, _ := strings.Cut(step, " ")
	r := roles[role]
	switch what {
	case "wait":
		d, err := time.ParseDuration(role)
		if err != nil {
			w.t.Fatal(err)
		}
		time.Sleep(d)
	case "close":
		if _, _, _, err := w.operate(pipeline.Request{Do: pipeline.Close, ID: w.attendance("V1").String(), Reason: "seen to"}); err != nil {
			w.t.Fatal(err)
		}
	case "old": // registered six weeks ago, as a queue tells it that was found again
		w.send("A04\rEVN|A04|19991115||||19991115090000", fmt.Sprintf("PID|1||H1^^^RX1^MR||FERNSBY^TOBIAS||%s|1", r.born), pv1("V1"))
	case "A42":
		w.send("A42", "PID|1||H1^^^RX1^MR", "MRG|H1^^^RX1^MR||||V1", pv1("V9"))
	default:
		if what == "A08" && r.number == "" && role != "nobody" { // the number stays
			r.number = w.record("V1").Attendance.Patient.Number.Reveal()
		}
		w.send(what, fmt.Sprintf("PID|1||H1^^^RX1^MR~%s^^^NHS^NH||FERNSBY^TOBIAS||%s|1||||||||||||||||||||||||NSTS%s", r.number, r.born, r.status), pv1("V1"))
	}
}

// stageOf is that of the attendance itself, also where its visit goes on as
// another's.
func (w *ward) stageOf(id safeguard.AttendanceID) safeguard.Stage {
	w.t.Helper()
	kept, err := w.journal.Attendances(context.Background(), time.Unix(0, 0), time.Now().Add(time.Hour), 0, 100)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, k := range kept {
		if k.Attendance.ID == id {
			return k.Stage
		}
	}
	w.t.Fatal("the attendance is not kept")
	return 0
}

func TestEveryChangeOfStage(t *testing.T) {
	for _, c := range []struct {
		from, to safeguard.Stage
		steps    string
	}{
		{safeguard.NoStage, safeguard.SetAsideStage, "old nobody"},
		{safeguard.Registered, safeguard.AskedAbout, "A04 nobody, A08 dark"},
		{safeguard.Registered, safeguard.Answered, "A04 nobody, A08 none"},
		{safeguard.Registered, safeguard.Alerted, "A04 nobody, A08 cached"},
		{safeguard.Registered, safeguard.Notified, "A04 nobody, A08 held"},
		{safeguard.Registered, safeguard.CancelledStage, "A04 adult, A11 adult"},
		{safeguard.Registered, safeguard.MergedStage, "A04 adult, A42"},
		{safeguard.Registered, safeguard.SetAsideStage, "A04 nobody, close"},
		{safeguard.AskedAbout, safeguard.Registered, "A04 dark, A08 adult"},
		{safeguard.AskedAbout, safeguard.Answered, "A04 dark, A08 none"},
		{safeguard.AskedAbout, safeguard.Alerted, "A04 dark, wait 20s"},
		{safeguard.AskedAbout, safeguard.Notified, "A04 dark, A08 held"},
		{safeguard.AskedAbout, safeguard.CancelledStage, "A04 dark, A11 dark"},
		{safeguard.AskedAbout, safeguard.MergedStage, "A04 dark, A42"},
		{safeguard.AskedAbout, safeguard.SetAsideStage, "A04 dark, close"},
		{safeguard.Answered, safeguard.Registered, "A04 none, A08 adult"},
		{safeguard.Answered, safeguard.AskedAbout, "A04 none, A08 dark"},
		{safeguard.Answered, safeguard.Alerted, "A04 none, A08 cached"},
		{safeguard.Answered, safeguard.Notified, "A04 none, A08 held"},
		{safeguard.Answered, safeguard.CancelledStage, "A04 none, A11 none"},
		{safeguard.Answered, safeguard.MergedStage, "A04 none, A42"},
		{safeguard.Answered, safeguard.SetAsideStage, "A04 none, wait 960h, A08 conflict"},
		{safeguard.Alerted, safeguard.Notified, "A04 cached, A08 held"},
		{safeguard.Alerted, safeguard.WithdrawnAlert, "A04 cached, A08 none"},
		{safeguard.Alerted, safeguard.CancelledStage, "A04 cached, A11 cached"},
		{safeguard.Alerted, safeguard.MergedStage, "A04 cached, A42"},
		{safeguard.Alerted, safeguard.SetAsideStage, "A04 nobody, wait 6m, close"},
		{safeguard.Notified, safeguard.Alerted, "A04 held, A08 cached"},
		{safeguard.Notified, safeguard.WithdrawnAlert, "A04 held, A08 none"},
		{safeguard.Notified, safeguard.CancelledStage, "A04 held, A11 held"},
		{safeguard.Notified, safeguard.MergedStage, "A04 held, A42"},
		{safeguard.Notified, safeguard.SetAsideStage, "A04 held, wait 960h, A08 conflict"},
		{safeguard.WithdrawnAlert, safeguard.Alerted, "A04 held, A08 none, A08 cached"},
		{safeguard.WithdrawnAlert, safeguard.Notified, "A04 held, A08 none, A08 held"},
		{safeguard.WithdrawnAlert, safeguard.CancelledStage, "A04 held, A08 none, A11 none"},
		{safeguard.WithdrawnAlert, safeguard.MergedStage, "A04 held, A08 none, A42"},
		{safeguard.WithdrawnAlert, safeguard.SetAsideStage, "A04 held, A08 dark, close"},
		{safeguard.CancelledStage, safeguard.Registered, "A04 none, A11 none, A04 adult"},
		{safeguard.CancelledStage, safeguard.AskedAbout, "A04 none, A11 none, A04 dark"},
		{safeguard.CancelledStage, safeguard.Answered, "A04 none, A11 none, A04 none"},
		{safeguard.CancelledStage, safeguard.Alerted, "A04 none, A11 none, A04 cached"},
		{safeguard.CancelledStage, safeguard.Notified, "A04 held, A11 held, A04 held"},
		{safeguard.CancelledStage, safeguard.WithdrawnAlert, "A04 held, A11 held, A04 none"},
		{safeguard.CancelledStage, safeguard.MergedStage, "A04 none, A11 none, A42"},
		{safeguard.SetAsideStage, safeguard.Registered, "A04 nobody, close, A08 adult"},
		{safeguard.SetAsideStage, safeguard.AskedAbout, "A04 nobody, close, A08 dark"},
		{safeguard.SetAsideStage, safeguard.Answered, "A04 nobody, close, A08 none"},
		{safeguard.SetAsideStage, safeguard.Alerted, "A04 nobody, close, A08 cached"},
		{safeguard.SetAsideStage, safeguard.Notified, "A04 nobody, close, A08 held"},
		{safeguard.SetAsideStage, safeguard.WithdrawnAlert, "A04 nobody, wait 6m, close, A08 none"},
		{safeguard.SetAsideStage, safeguard.CancelledStage, "A04 nobody, close, A11 nobody"},
		{safeguard.SetAsideStage, safeguard.MergedStage, "A04 nobody, close, A42"},
	} {
		t.Run(c.from.String()+" to "+c.to.String(), func(t *testing.T) {
			story(t, func(w *ward) {
				w.answer(toby, held(safeguard.FromCentre))
				w.answer(maya, noneHeld())
				w.answer("9990000360", held(safeguard.FromCache))
				w.send("A04", "PID|1||H1^^^RX1^MR||FERNSBY^TOBIAS||19500102|1", pv1("V9"))
				steps := strings.Split(c.steps, ", ")
				for _, s := range steps[:len(steps)-1] {
					w.does(s)
				}
				if len(steps) > 1 {
					w.stage("V1", c.from)
				}
				w.does(steps[len(steps)-1])
				id := w.attendance("V1")
				if got := w.stageOf(id); got != c.to {
					t.Errorf("it is %s", got)
				}
			})
		})
	}
}
