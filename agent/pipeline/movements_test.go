package pipeline_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/agent/journal"
	"github.com/safeguard-edge/safeguard/hl7adapter/adt"
	"github.com/safeguard-edge/safeguard/hl7adapter/feed"
)

// send appends a message of the segments, to which the header is added, and lets
// everything follow.
func (w *ward) send(trigger string, segments ...string) {
	w.t.Helper()
	w.control++
	text := fmt.Sprintf("MSH|^~\\&|PAS|RX1|||20000101||ADT^%s|C%d|P|2.4\rEVN|%s|20000101\r%s\r", trigger, w.control, trigger, strings.Join(segments, "\r"))
	if _, err := w.journal.Append(context.Background(), feed.Message{Feed: "pas", Received: time.Now(), Body: []byte(text)}); err != nil {
		w.t.Fatal(err)
	}
	if !w.hurry {
		w.settle()
	}
}

// pid is a boy born in 1995 under the hospital's number and the NHS number.
func pid(mrn, number string) string {
	return fmt.Sprintf("PID|1||%s^^^RX1^MR~%s^^^NHS^NH||FERNSBY^TOBIAS||19950102|1||||||||||||||||||||||||NSTS01", mrn, number)
}

func mrg(mrn, number string) string { return fmt.Sprintf("MRG|%s^^^RX1^MR~%s^^^NHS^NH", mrn, number) }

func pv1(visit string) string { return "PV1|1|E|ED||||||||||||||||" + visit }

// attendance is the id of a visit's own attendance.
func (w *ward) attendance(visit string) safeguard.AttendanceID {
	w.t.Helper()
	rx1, err := safeguard.ParseODSCode("RX1")
	if err != nil {
		w.t.Fatal(err)
	}
	return safeguard.NewAttendanceID(rx1, "visit", "", visit)
}

// record reads what is kept of a visit's attendance.
func (w *ward) record(visit string) journal.Record {
	w.t.Helper()
	w.settle()
	r, known, err := w.journal.Record(context.Background(), w.attendance(visit))
	if err != nil || !known {
		w.t.Fatalf("no attendance of visit %s: %v", visit, err)
	}
	return r
}

func (w *ward) stage(visit string, want safeguard.Stage) {
	w.t.Helper()
	if got := w.record(visit).Stage; got != want {
		w.t.Errorf("visit %s is %s, want %s", visit, got, want)
	}
}

// corrected compares what the centre was told to take back.
func (w *ward) corrected(want ...string) {
	w.t.Helper()
	w.settle()
	w.mu.Lock()
	defer w.mu.Unlock()
	var got []string
	for _, c := range w.taken {
		got = append(got, c.Number.Reveal()+" "+c.Reason.String())
	}
	if strings.Join(got, ", ") != strings.Join(want, ", ") {
		w.t.Fatalf("corrected %q, want %q", got, want)
	}
}

func (w *ward) setAside(want int) {
	w.t.Helper()
	w.settle()
	if stats, err := w.journal.Stats(context.Background()); err != nil || stats.SetAside != want || stats.Waiting != 0 {
		w.t.Errorf("%d set aside, %d waiting; want %d and 0: %v", stats.SetAside, stats.Waiting, want, err)
	}
}

func TestMergeWithdrawsAndDecidesTheSurvivorFromItsOwnLookup(t *testing.T) {
	story(t, func(w *ward) {
		w.answer(maya, held(safeguard.FromCentre))
		w.answer(toby, noneHeld())
		w.send("A04", pid("H2", maya), pv1("V1"))
		w.want("raise 1 flags held")
		w.send("A40", pid("H1", toby), mrg("H2", maya))
		w.want("raise 1 flags held", "withdraw 2 flags held")
		w.lookups(2)
		w.corrected(maya + " other-person")
		withdrawn := w.shown[1].Attendance
		if p := withdrawn.Patient; p.Number.Reveal() != maya || p.MRN.Reveal().Value != "H2" || !withdrawn.Visit.IsZero() || !p.Family.IsZero() {
			t.Error("the withdrawal must name whom it was about, and nothing of the survivor: no visit, no new number, no name")
		}
		if q := w.asked[1]; q.Number.Reveal() != toby || q.Purpose != safeguard.Unscheduled || q.Attendance != w.asked[0].Attendance || !q.At.Equal(w.asked[0].At) {
			t.Error("the survivor is asked about on its own, for the attendance at its true time")
		}
		w.answer(toby, held(safeguard.FromCentre))
		w.changed(toby)
		w.want("raise 1 flags held", "withdraw 2 flags held", "raise 1 flags held")
		if w.shown[2].ID == w.shown[1].ID {
			t.Error("the new alert shares its id with the withdrawal")
		}
		r := w.record("V1")
		if p := r.Attendance.Patient; p.MRN.Reveal().Value != "H1" || p.Number.Reveal() != toby {
			t.Error("the visit is not under the survivor's numbers")
		}
	})
}

func TestMergesThatRepeatReverseAndCircleAreSafe(t *testing.T) {
	const noor = "9990000360"
	for name, c := range map[string]struct {
		merges [][2][2]string // survivor, discarded
		end    string
	}{
		"repeated": {[][2][2]string{{{"H1", toby}, {"H2", maya}}, {{"H1", toby}, {"H2", maya}}}, toby},
		"reversed": {[][2][2]string{{{"H1", toby}, {"H2", maya}}, {{"H2", maya}, {"H1", toby}}}, maya},
		"circular": {[][2][2]string{{{"H1", toby}, {"H2", maya}}, {{"H3", noor}, {"H1", toby}}, {{"H2", maya}, {"H3", noor}}}, maya},
	} {
		t.Run(name, func(t *testing.T) {
			story(t, func(w *ward) {
				for _, n := range []string{toby, maya, noor} {
					w.answer(n, held(safeguard.FromCentre))
				}
				w.send("A04", pid("H2", maya), pv1("V1"))
				for _, m := range c.merges {
					w.send("A40", pid(m[0][0], m[0][1]), mrg(m[1][0], m[1][1]))
				}
				w.settle()
				if p := w.record("V1").Attendance.Patient; p.Number.Reveal() != c.end {
					t.Errorf("ended as %s, want %s", p.Number, c.end[6:])
				}
				w.oneAlertFor(c.end)
				for _, q := range w.asked[1:] {
					if q.Number.Reveal() == maya && q.Attendance == w.asked[0].Attendance {
						t.Error("what was taken back is asked again under the same id: the centre would owe nothing")
					}
				}
			})
		})
	}
}

// oneAlertFor folds what the EPR was told, and wants one alert that stands.
func (w *ward) oneAlertFor(number string) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	stand := map[safeguard.AlertID]string{}
	for _, a := range w.shown {
		if stand[a.ID] = a.Attendance.Patient.Number.Reveal(); a.Action == safeguard.Withdraw {
			delete(stand, a.ID)
		}
	}
	if len(stand) != 1 {
		w.t.Fatalf("%d alerts stand, want one", len(stand))
	}
	for _, n := range stand {
		if n != number {
			w.t.Error("the alert that stands is about another number")
		}
	}
}

func TestMergeOfTwoHospitalNumbersOfOnePerson(t *testing.T) {
	story(t, func(w *ward) {
		w.answer(toby, held(safeguard.FromCentre))
		w.send("A04", pid("H2", toby), pv1("V1"))
		w.send("A40", pid("H1", toby), "MRG|H2^^^RX1^MR")
		w.want("raise 1 flags held", "withdraw 2 flags held", "raise 1 flags held")
		if w.shown[1].Attendance.Patient.MRN.Reveal().Value != "H2" || w.shown[2].Attendance.Patient.MRN.Reveal().Value != "H1" {
			t.Error("the alert must move from the one hospital number to the other")
		}
		w.corrected()
		w.lookups(1) // the number is the same, and so is its answer
	})
}

func TestMergeThatNamesNoNHSNumberTakesTheSurvivorsOwn(t *testing.T) {
	story(t, func(w *ward) {
		w.answer(maya, held(safeguard.FromCentre))
		w.answer(toby, noneHeld())
		w.send("A04", pid("H1", toby), pv1("V1"))
		w.send("A04", pid("H2", maya), pv1("V2"))
		w.send("A40", "PID|1||H1^^^RX1^MR||FERNSBY^TOBIAS", "MRG|H2^^^RX1^MR")
		if p := w.record("V2").Attendance.Patient; p.Number.Reveal() != toby {
			t.Errorf("got %s, want the number that the survivor's other attendance has", p.Number)
		}
		w.want("raise 1 flags held", "withdraw 2 flags held")
		w.corrected(maya + " other-person")
	})
}

func TestLinkNeverMerges(t *testing.T) {
	story(t, func(w *ward) {
		w.answer(maya, held(safeguard.FromCentre))
		w.answer(toby, noneHeld())
		w.send("A04", pid("H1", toby), pv1("V1"))
		w.send("A04", pid("H2", maya), pv1("V2"))
		w.want("raise 1 flags held")
		w.send("A24", pid("H1", toby), pid("H2", maya))
		w.send("A37", pid("H1", toby), pid("H2", maya))
		w.want("raise 1 flags held")
		w.lookups(2)
		w.setAside(0)
		if w.record("V1").Attendance.Patient.Number.Reveal() != toby {
			t.Error("a link changed who the patient is")
		}
	})
}

func TestTestTrafficMergesNobody(t *testing.T) {
	story(t, func(w *ward) {
		w.answer(maya, held(safeguard.FromCentre))
		w.send("A04", pid("H2", maya), pv1("V1"))
		text := "MSH|^~\\&|PAS|RX1|||20000101||ADT^A40|T1|T|2.4\rEVN|A40|20000101\r" + pid("H1", toby) + "\r" + mrg("H2", maya) + "\r"
		if _, err := w.journal.Append(context.Background(), feed.Message{Feed: "pas", Received: time.Now(), Body: []byte(text)}); err != nil {
			t.Fatal(err)
		}
		w.want("raise 1 flags held")
	})
}

func TestPersonUpdateDecidesAfresh(t *testing.T) {
	for _, trigger := range []string{"A31", "A28"} {
		story(t, func(w *ward) {
			w.answer(toby, held(safeguard.FromCentre))
			w.answer(maya, noneHeld())
			w.send("A04", pid("H1", maya), pv1("V1"))
			w.send(trigger, pid("H1", toby))
			w.want("raise 1 flags held")
			w.corrected(maya + " other-person")
			w.send(trigger, pid("H9", maya)) // somebody else
			w.want("raise 1 flags held")
		})
	}
}

func TestLateMessagesDoNotUndoNewerState(t *testing.T) {
	at := func(clock string) [2]string {
		return [2]string{"|20000101\rPID", "|20000101||||20000101" + clock + "\rPID"}
	}
	for name, c := range map[string]struct {
		first, late func(w *ward)
		number      string
		state       safeguard.State
	}{
		"a late update of the identity": {
			func(w *ward) { w.adt("A08", toby, "V1", at("101500")[0], at("101500")[1]) },
			func(w *ward) { w.adt("A08", maya, "V1", at("101000")[0], at("101000")[1]) }, toby, safeguard.Open},
		"a late registration after the discharge": {
			func(w *ward) { w.adt("A03", toby, "V1", at("120000")[0], at("120000")[1]) },
			func(w *ward) { w.adt("A04", toby, "V1", at("100000")[0], at("100000")[1]) }, toby, safeguard.Ended},
		"a late cancellation after it was registered again": {
			func(w *ward) {
				w.adt("A11", toby, "V1", at("101000")[0], at("101000")[1])
				w.adt("A04", toby, "V1", at("102000")[0], at("102000")[1])
			},
			func(w *ward) { w.adt("A11", toby, "V1", at("101500")[0], at("101500")[1]) }, toby, safeguard.Open},
		"a discharge that is entered late is followed": {
			func(w *ward) { w.adt("A08", toby, "V1", at("120000")[0], at("120000")[1]) },
			func(w *ward) { w.adt("A03", toby, "V1", at("110000")[0], at("110000")[1]) }, toby, safeguard.Ended},
		"the same minute is not earlier": {
			func(w *ward) { w.adt("A08", toby, "V1", at("101530")[0], at("101530")[1]) },
			func(w *ward) { w.adt("A08", maya, "V1", at("1015")[0], at("1015")[1]) }, maya, safeguard.Open},
		"an earlier sequence number, where times do not tell": {
			func(w *ward) { w.adt("A08", toby, "V1", "|P|2.4\r", "|P|2.4|8\r") },
			func(w *ward) { w.adt("A08", maya, "V1", "|P|2.4\r", "|P|2.4|7\r") }, toby, safeguard.Open},
		"a sequence that began anew": {
			func(w *ward) { w.adt("A08", toby, "V1", "|P|2.4\r", "|P|2.4|90000\r") },
			func(w *ward) { w.adt("A08", maya, "V1", "|P|2.4\r", "|P|2.4|1\r") }, maya, safeguard.Open},
		"a time of the future makes nothing late": {
			func(w *ward) { w.adt("A08", toby, "V1", "|20000101\rPID", "|20000101||||20620101101500\rPID") },
			func(w *ward) { w.adt("A08", maya, "V1", at("130000")[0], at("130000")[1]) }, maya, safeguard.Open},
		"a late merge after it was reversed": {
			func(w *ward) {
				w.send("A40\rEVN|A40|20000101||||20000101120000", pid("H1", toby), mrg("H2", maya))
			},
			func(w *ward) {
				w.send("A40\rEVN|A40|20000101||||20000101110000", pid("H2", maya), mrg("H1", toby))
			}, toby, safeguard.Open},
	} {
		t.Run(name, func(t *testing.T) {
			story(t, func(w *ward) {
				time.Sleep(13 * time.Hour)
				w.answer(toby, noneHeld())
				w.answer(maya, noneHeld())
				w.adt("A04", toby, "V1", at("095000")[0], at("095000")[1])
				w.settle()
				c.first(w)
				w.settle()
				c.late(w)
				a := w.record("V1").Attendance
				if a.Patient.Number.Reveal() != c.number || a.State != c.state {
					t.Errorf("patient %s, %s; want the one that ends in %s, %s", a.Patient.Number, a.State, c.number[6:], c.state)
				}
			})
		})
	}
}

func TestLateMessageFillsWhatIsNotKnown(t *testing.T) {
	story(t, func(w *ward) {
		time.Sleep(11 * time.Hour)
		w.answer(toby, held(safeguard.FromCentre))
		w.adt("A08", "", "V1", "|20000101\rPID", "|20000101||||20000101101500\rPID")
		w.want()
		w.adt("A04", toby, "V1", "|20000101\rPID", "|20000101||||20000101100000\rPID")
		w.want("raise 1 flags held")
	})
}

func TestCancelledAttendanceOwesTheCentreACorrectionUntilItIsAcknowledged(t *testing.T) {
	story(t, func(w *ward) {
		w.answer(toby, held(safeguard.FromCentre))
		w.adt("A04", toby, "V1")
		w.settle()
		w.away = true
		w.adt("A11", toby, "V1")
		time.Sleep(10 * time.Minute)
		w.corrected()
		w.mu.Lock()
		w.away = false
		w.mu.Unlock()
		time.Sleep(6 * time.Second)
		w.corrected(toby + " attendance-cancelled")
		c := w.taken[0]
		if c.Attendance != w.asked[0].Attendance || c.Author.Organisation != w.asked[0].Author.Organisation || c.At.IsZero() {
			t.Error("the correction does not name the lookup")
		}
		w.adt("A11", toby, "V1")
		time.Sleep(time.Minute)
		w.corrected(toby + " attendance-cancelled") // once
		w.stage("V1", safeguard.CancelledStage)
		w.adt("A13", toby, "V1")
		w.want("raise 1 flags held", "withdraw 2 flags held", "raise 3 flags held")
		if again := w.asked[len(w.asked)-1]; again.Attendance == w.asked[0].Attendance || again.Purpose != safeguard.Unscheduled {
			t.Error("what happened after all must be told the centre as another attendance than the one it took back")
		}
	})
}

func TestScheduledOrUnaskedAttendanceOwesNoCorrection(t *testing.T) {
	story(t, func(w *ward) {
		w.answer(toby, noneHeld())
		w.adt("A04", toby, "V1", "PV1|1|E|ED|", "PV1|1|O|CLINIC|")
		w.adt("A11", toby, "V1", "PV1|1|E|ED|", "PV1|1|O|CLINIC|")
		w.adt("A04", "", "V2")
		w.adt("A11", "", "V2")
		w.corrected()
	})
}

func TestPreAdmissionAsksSilentlyAndSaysNothingBeforeTheArrival(t *testing.T) {
	story(t, func(w *ward) {
		w.answer(toby, held(safeguard.FromCentre))
		w.adt("A05", toby, "V1", "V1\r", "V1|||||||||||||||||||||||||200001020900\r")
		w.want()
		w.lookups(1)
		if w.asked[0].Purpose != safeguard.Scheduled {
			t.Errorf("asked %s, want scheduled: nobody is told", w.asked[0].Purpose)
		}
		w.adt("A08", toby, "V1")
		w.want()
		time.Sleep(5 * time.Hour)
		w.adt("A04", toby, "V1")
		w.want("raise 1 flags held")
		if q := w.asked[len(w.asked)-1]; q.Purpose != safeguard.Unscheduled || time.Since(q.At) > time.Minute {
			t.Errorf("asked %s for %v, want unscheduled and when the patient came", q.Purpose, q.At)
		}
		w.adt("A38", toby, "V1") // takes back the A05, not what began
		w.want("raise 1 flags held")
		w.adt("A05", maya, "V2", "H1^", "H2^")
		w.adt("A38", maya, "V2", "H1^", "H2^")
		w.stage("V2", safeguard.CancelledStage)
		w.corrected()
	})
}

func TestReopenedAttendanceShowsWhatCameTooLate(t *testing.T) {
	story(t, func(w *ward) {
		w.adt("A04", toby, "V1")
		w.settle()
		w.adt("A03", toby, "V1")
		w.settle()
		w.answer(toby, held(safeguard.FromCentre))
		time.Sleep(20 * time.Second)
		w.want()
		w.lookups(len(w.asked))
		if stats, err := w.journal.Stats(context.Background()); err != nil || stats.Late != 1 {
			t.Errorf("%d late, want 1: %v", stats.Late, err)
		}
		if last := w.asked[len(w.asked)-1]; last.Purpose != safeguard.Unscheduled {
			t.Error("the owed lookup must be paid all the same")
		}
		w.adt("A13", toby, "V1")
		w.want("update 2 flags held")
	})
}

func TestAttendanceEndsByItself(t *testing.T) {
	for name, c := range map[string]struct {
		visit string
		after time.Duration
	}{
		"emergency": {"PV1|1|E|ED|", 24 * time.Hour},
		"inpatient": {"PV1|1|I|WARD7|21", 30 * 24 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			story(t, func(w *ward) {
				w.answer(toby, noneHeld())
				w.adt("A01", toby, "V1", "PV1|1|E|ED|", c.visit)
				time.Sleep(c.after - time.Minute)
				if s := w.record("V1").Attendance.State; s != safeguard.Open {
					t.Fatalf("%s a minute before", s)
				}
				time.Sleep(2 * time.Minute)
				if s := w.record("V1").Attendance.State; s != safeguard.Ended {
					t.Errorf("%s a minute after, want ended", s)
				}
			})
		})
	}
}

func TestAskingEndsAWeekAfterTheAttendance(t *testing.T) {
	story(t, func(w *ward) {
		w.adt("A04", "", "V1")
		time.Sleep(time.Hour)
		w.adt("A03", "", "V1")
		w.stage("V1", safeguard.Alerted)
		time.Sleep(7*24*time.Hour - time.Hour)
		w.stage("V1", safeguard.Alerted)
		time.Sleep(2 * time.Hour)
		w.stage("V1", safeguard.SetAsideStage)
		if n := w.stats().Since.Unanswered; n != 1 {
			t.Errorf("%d unanswered ends counted, want 1", n)
		}
	})
}

func TestInfantIsAskedAboutUnderTheMothersNumberToo(t *testing.T) {
	const mother = "9990000379"
	infant := "PID|1||H1^^^RX1^MR~" + toby + "^^^NHS^NH||FERNSBY^TOBIAS||19991220|1|||||||||||||" + mother + "^^^NHS^NH|||||||||||NSTS01"
	plan := held(safeguard.FromCentre)
	plan.Flags[0].Plan = safeguard.UnbornChild
	story(t, func(w *ward) {
		w.answer(toby, noneHeld())
		w.answer(mother, plan)
		w.send("A04", infant, pv1("V1"))
		w.want("raise 1 flags held")
		w.lookups(2)
		if !w.shown[0].Content.Flags[0].Mothers {
			t.Error("the alert must say that it is the mother's")
		}
		own, hers := w.asked[0], w.asked[1]
		if hers.Number.Reveal() != mother || !hers.Born.IsZero() || hers.Attendance != own.Attendance || hers.Purpose != own.Purpose {
			t.Error("want a lookup of her own for the same attendance, without the infant's date of birth")
		}
		w.changed(mother)
		w.settle()
		w.send("A11", infant, pv1("V1"))
		w.want("raise 1 flags held", "withdraw 2 flags held")
		w.corrected(toby+" attendance-cancelled", mother+" attendance-cancelled")
	})
	story(t, func(w *ward) { // unknown of her is not none of the infant
		w.answer(toby, noneHeld())
		w.send("A04", infant, pv1("V1"))
		time.Sleep(grace)
		w.want("raise 1 check not completed")
		w.answer(mother, noneHeld())
		time.Sleep(6 * time.Second)
		w.want("raise 1 check not completed", "withdraw 2 check not completed")
	})
}

func TestVisitNumbersThatChange(t *testing.T) {
	for name, c := range map[string]struct {
		send   func(w *ward)
		alerts []string
		asked  int
	}{
		"A42 merges into an unknown visit": {func(w *ward) { w.send("A42", pid("H1", toby), "MRG|H1^^^RX1^MR||||V1", pv1("V2")) }, []string{"raise 1 flags held"}, 1},
		"A50 renumbers":                    {func(w *ward) { w.send("A50", pid("H1", toby), "MRG|H1^^^RX1^MR||||V1", pv1("V2")) }, []string{"raise 1 flags held"}, 1},
		"A06 with MRG-5 goes on": {func(w *ward) {
			w.send("A06", pid("H1", toby), "MRG|H1^^^RX1^MR||||V1", "PV1|1|I|WARD7|21|||||||||||||||V2")
		}, []string{"raise 1 flags held"}, 1},
		"A45 moves the visit to another": {func(w *ward) { w.send("A45", pid("H2", maya), "MRG|H1^^^RX1^MR||||V1", pv1("V2")) },
			[]string{"raise 1 flags held", "withdraw 2 flags held", "raise 1 flags held"}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			story(t, func(w *ward) {
				w.answer(toby, held(safeguard.FromCentre))
				w.answer(maya, held(safeguard.FromCentre))
				w.send("A04", pid("H1", toby), pv1("V1"))
				c.send(w)
				w.want(c.alerts...)
				w.lookups(c.asked)
				w.setAside(0)
				if w.record("V1").Attendance.ID != w.record("V2").Attendance.ID {
					t.Error("the two numbers are of two attendances")
				}
				// What follows under the new number is about the same attendance.
				w.send("A11", w.pidOf("V2"), pv1("V2"))
				w.stage("V1", safeguard.CancelledStage)
			})
		})
	}
}

func (w *ward) pidOf(visit string) string {
	p := w.record(visit).Attendance.Patient
	return pid(p.MRN.Reveal().Value, p.Number.Reveal())
}

func TestMergedVisitsAreOneAttendanceFromThenOn(t *testing.T) {
	story(t, func(w *ward) {
		w.answer(toby, held(safeguard.FromCentre))
		w.send("A04", pid("H1", toby), pv1("V1"))
		w.send("A04", pid("H1", toby), pv1("V2"))
		w.want("raise 1 flags held", "raise 1 flags held")
		w.send("A42", pid("H1", toby), "MRG|H1^^^RX1^MR||||V1", pv1("V2"))
		w.want("raise 1 flags held", "raise 1 flags held", "withdraw 2 flags held")
		if w.shown[2].ID != w.shown[0].ID {
			t.Error("the withdrawn alert must be that of the visit that is no more")
		}
		w.corrected(toby + " attendance-cancelled")
		w.send("A42", pid("H1", toby), "MRG|H1^^^RX1^MR||||V1", pv1("V2")) // repeated
		w.send("A42", pid("H1", toby), "MRG|H1^^^RX1^MR||||V2", pv1("V1")) // reversed
		w.oneAlertFor(toby)
	})
}

func TestMergedVisitOfADischargedPatientWhoIsHereAfterAllShowsWhatCameTooLate(t *testing.T) {
	story(t, func(w *ward) {
		w.adt("A04", toby, "V1")
		w.adt("A03", toby, "V1")
		w.answer(toby, held(safeguard.FromCentre))
		time.Sleep(10 * time.Second)
		w.want() // late
		w.adt("A04", toby, "V2")
		w.want("raise 1 flags held")
		w.send("A42", pid("H1", toby), "MRG|H1^^^RX1^MR||||V2", pv1("V1"))
		w.settle()
		w.oneAlertFor(toby)
		if s := w.record("V1").Attendance.State; s != safeguard.Open {
			t.Errorf("%s, want open", s)
		}
	})
}

func TestMoves(t *testing.T) {
	story(t, func(w *ward) {
		w.answer(toby, held(safeguard.FromCentre))
		w.answer(maya, noneHeld())
		w.send("A04", pid("H1", toby), pv1("V1"))
		w.send("A43", pid("H2", maya), mrg("H1", toby))
		w.want("raise 1 flags held", "withdraw 2 flags held")
		w.corrected(toby + " other-person")
		w.send("A44", pid("H2", maya), "MRG|H1^^^RX1^MR||ACC1")
		w.setAside(1) // which visits the account has is not known
	})
}

func TestSwapChangesTheBeds(t *testing.T) {
	story(t, func(w *ward) {
		w.answer(toby, noneHeld())
		w.answer(maya, noneHeld())
		w.send("A04", pid("H1", toby), pv1("V1"))
		w.send("A04", pid("H2", maya), pv1("V2"))
		w.send("A17", pid("H1", toby), "PV1|1|E|BAY2||||||||||||||||V1", pid("H2", maya), "PV1|1|E|BAY1||||||||||||||||V2")
		if a, b := w.record("V1").Attendance, w.record("V2").Attendance; a.Location != "BAY2" || b.Location != "BAY1" || a.Patient.Number == b.Patient.Number {
			t.Errorf("beds %s and %s, want BAY2 and BAY1, and two patients", a.Location, b.Location)
		}
	})
}

func TestEmergencyDepartmentThatDischargesToAWardDoesNotEndTheAttendance(t *testing.T) {
	inpatient := []string{"PV1|1|E|ED|", "PV1|1|I|WARD7|21"}
	story(t, func(w *ward) {
		w.answer(toby, held(safeguard.FromCentre))
		w.adt("A04", toby, "V1")
		w.adt("A01", toby, "V2", inpatient...)
		w.adt("A03", toby, "V1")
		if s := w.record("V1").Attendance.State; s != safeguard.Open {
			t.Errorf("%s after the department's discharge, want open: the patient is on the ward", s)
		}
		w.adt("A11", toby, "V2", inpatient...) // the admission did not happen; the arrival did
		w.want("raise 1 flags held")
		w.corrected()
		w.adt("A03", toby, "V1")
		if s := w.record("V1").Attendance.State; s != safeguard.Ended {
			t.Errorf("%s, want ended", s)
		}
	})
}

func TestEchoIsCountedAndNotProcessed(t *testing.T) {
	story(t, func(w *ward) {
		for _, body := range []string{
			"MSH|^~\\&|" + adt.Application + "|RX1|||20000101||ORU^R01^ORU_R01|E1|P|2.4\rPID|1||H1\r",
			"MSH|^~\\&|" + adt.Application + "|RX1|||20000101||ADT^A08|E2|P|2.4\r" + pid("H1", toby) + "\r" + pv1("V1") + "\r",
		} {
			if _, err := w.journal.Append(context.Background(), feed.Message{Feed: "pas", Received: time.Now(), Body: []byte(body)}); err != nil {
				t.Fatal(err)
			}
		}
		w.want()
		w.lookups(0)
		w.setAside(0)
		if n := w.stats().Since.Echoes; n != 2 {
			t.Errorf("%d echoes counted, want 2", n)
		}
	})
}
