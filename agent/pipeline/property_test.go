package pipeline_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/agent/journal"
)

// happening is one thing that the hospital, the centre or the EPR does.
type happening struct {
	What           string
	Person, Other  int // of persons
	Visit, Another int
	Minute         int // EVN-6; 0 for none
	Flagged        bool
}

var (
	events  = []string{"A04", "A04", "A01", "A08", "A08", "A11", "A03", "A13", "A05", "A38", "A31", "A40", "A40", "A42", "A45", "A43", "A24", "A50", "flags", "centre", "epr", "time"}
	persons = [][2]string{{"H1", toby}, {"H2", maya}, {"H3", "9990000360"}}
)

func happenings() *rapid.Generator[[]happening] {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) happening {
		return happening{
			What:   rapid.SampledFrom(events).Draw(t, "what"),
			Person: rapid.IntRange(0, 2).Draw(t, "person"), Other: rapid.IntRange(0, 2).Draw(t, "other"),
			Visit: rapid.IntRange(1, 3).Draw(t, "visit"), Another: rapid.IntRange(1, 3).Draw(t, "another"),
			Minute: rapid.IntRange(0, 30).Draw(t, "minute"), Flagged: rapid.Bool().Draw(t, "flagged"),
		}
	}), 1, 14)
}

func (w *ward) happens(h happening) {
	p, o := persons[h.Person], persons[h.Other]
	visit, another := fmt.Sprint("V", h.Visit), fmt.Sprint("V", h.Another)
	trigger := h.What
	if h.Minute > 0 {
		trigger += fmt.Sprintf("\rEVN|%s|20000101||||200001011%d%02d00", h.What, h.Minute/20, h.Minute)
	}
	switch h.What {
	case "flags":
		w.mu.Lock()
		w.answers[p[1]] = map[bool]safeguard.Answer{true: held(safeguard.FromCentre), false: noneHeld()}[h.Flagged]
		w.mu.Unlock()
		w.changed(p[1])
	case "centre":
		w.mu.Lock()
		w.dark, w.away = h.Flagged, h.Flagged
		w.mu.Unlock()
	case "epr":
		w.mu.Lock()
		w.refuse = func(safeguard.Alert) (safeguard.Receipt, error) {
			if h.Flagged {
				return safeguard.Receipt{}, errors.New("connection refused")
			}
			return safeguard.Receipt{Outcome: safeguard.Delivered}, nil
		}
		w.mu.Unlock()
	case "time":
		time.Sleep(time.Duration(h.Minute) * time.Minute)
	case "A01":
		w.send(trigger, pid(p[0], p[1]), "PV1|1|I|WARD7|21|||||||||||||||"+visit)
	case "A31":
		w.send(trigger, pid(p[0], p[1]))
	case "A40", "A43":
		w.send(trigger, pid(p[0], p[1]), mrg(o[0], o[1]))
	case "A42", "A50":
		w.send(trigger, pid(p[0], p[1]), fmt.Sprintf("MRG|%s^^^RX1^MR||||%s", p[0], another), pv1(visit))
	case "A45":
		w.send(trigger, pid(p[0], p[1]), fmt.Sprintf("MRG|%s^^^RX1^MR||||%s", o[0], another), pv1(visit))
	case "A24":
		w.send(trigger, pid(p[0], p[1]), pid(o[0], o[1]))
	default:
		w.send(trigger, pid(p[0], p[1]), pv1(visit))
	}
}

// wrong tells what the EPR or the centre was told that does not follow from what
// is kept, once everything has come to rest.
func (w *ward) wrong() error {
	kept, err := w.journal.Attendances(context.Background(), time.Unix(0, 0), time.Now().Add(time.Hour), 0, 1000)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	type subject struct {
		attendance safeguard.AttendanceID
		number     safeguard.NHSNumber
	}
	stand := map[safeguard.AlertID]subject{}
	for _, a := range w.shown {
		who := subject{a.Attendance.ID, a.Attendance.Patient.Number}
		if stand[a.ID] = who; a.Action == safeguard.Withdraw {
			delete(stand, a.ID)
			continue
		}
		for id, other := range stand {
			if id != a.ID && other == who {
				return errors.New("two alerts stood for one attendance and number")
			}
		}
	}
	taken := map[journal.Recorded]int{}
	for _, c := range w.taken {
		taken[journal.Recorded{Number: c.Number, Attendance: c.Attendance}]++
	}
	recorded := map[journal.Recorded]bool{}
	for _, k := range kept {
		a := k.Attendance
		goesOn := a.State == safeguard.Open
		over := a.State == safeguard.Cancelled || a.State == safeguard.Merged
		stands := 0
		for _, s := range stand {
			if s.attendance != a.ID {
				continue
			}
			if stands++; over {
				return fmt.Errorf("an alert stands for an attendance that is %s", a.State)
			}
			if s.number != a.Patient.Number {
				return errors.New("an alert stands about another number than the attendance's")
			}
		}
		held := w.answers[a.Patient.Number.Reveal()].Status == safeguard.Held
		if goesOn && stands != map[bool]int{true: 1, false: 0}[held] {
			return fmt.Errorf("%d alerts stand for an open attendance, flags held: %v", stands, held)
		}
		for _, r := range k.Recorded {
			recorded[r] = true
			if over || r.Number != a.Patient.Number {
				return errors.New("a lookup that should not have been is not taken back")
			}
		}
	}
	for _, q := range w.asked {
		made := journal.Recorded{Number: q.Number, Attendance: q.Attendance}
		if want := map[bool]int{true: 1, false: 0}[!recorded[made]]; q.Purpose == safeguard.Unscheduled && taken[made] != want {
			return fmt.Errorf("a lookup was taken back %d times, want %d", taken[made], want)
		}
	}
	return nil
}

func TestWhateverHappensNoAlertStandsThatShouldNot(t *testing.T) {
	if f := flag.Lookup("rapid.checks"); f != nil && f.Value.String() == f.DefValue {
		if err := flag.Set("rapid.checks", "20"); err != nil {
			t.Fatal(err)
		}
	}
	rapid.Check(t, func(rt *rapid.T) {
		all := happenings().Draw(rt, "happenings")
		var wrong error
		story(t, func(w *ward) {
			for _, p := range persons {
				w.answer(p[1], held(safeguard.FromCentre))
			}
			time.Sleep(12 * time.Hour)
			for _, h := range all {
				w.hurry = !h.Flagged
				w.happens(h)
			}
			w.mu.Lock()
			w.dark, w.away, w.refuse = false, false, nil
			w.mu.Unlock()
			time.Sleep(5 * time.Minute)
			w.settle()
			wrong = w.wrong()
		})
		if wrong != nil {
			rt.Fatal(wrong)
		}
	})
}
