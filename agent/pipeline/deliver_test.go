package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard"
)

// delivered is a receipt of an EPR that took the alert.
var delivered = safeguard.Receipt{Outcome: safeguard.Delivered, Code: "AA"}

func TestPoisonedAlertIsSetAsideAndBlocksNobody(t *testing.T) {
	for name, fail := range map[string]func() (safeguard.Receipt, error){
		"answered with an error":   func() (safeguard.Receipt, error) { return safeguard.Receipt{Code: "AE"}, nil },
		"the connection is broken": func() (safeguard.Receipt, error) { return safeguard.Receipt{}, errors.New("connection reset") },
		"the sink itself fails":    func() (safeguard.Receipt, error) { panic("nil map") },
	} {
		t.Run(name, func(t *testing.T) {
			story(t, func(w *ward) {
				w.answer(toby, held(safeguard.FromCentre))
				w.answer(maya, held(safeguard.FromCentre))
				tries := 0
				w.refuse = func(a safeguard.Alert) (safeguard.Receipt, error) {
					if a.Attendance.Patient.Number.Reveal() == toby {
						tries++
						return fail()
					}
					return delivered, nil
				}
				w.adt("A04", toby, "V1")
				for n := range 30 { // others come all the while
					time.Sleep(time.Minute)
					w.adt("A04", maya, fmt.Sprint("W", n), "H1^", "H2^")
					w.settle()
				}
				w.mu.Lock()
				if len(w.shown) != 30 {
					t.Errorf("%d others got through, want 30", len(w.shown))
				}
				if tries < 20 || tries > 400 {
					t.Errorf("tried %d times", tries)
				}
				w.mu.Unlock()
				w.setAside(1)
			})
		})
	}
}

func TestAlertsForAnEPRThatTakesNothingAreKept(t *testing.T) {
	story(t, func(w *ward) {
		w.answer(toby, held(safeguard.FromCentre))
		w.answer(maya, held(safeguard.FromCentre))
		w.refuse = func(safeguard.Alert) (safeguard.Receipt, error) { return safeguard.Receipt{Code: "AE"}, nil }
		w.adt("A04", toby, "V1")
		w.adt("A04", maya, "V2", "H1^", "H2^")
		time.Sleep(time.Hour)
		w.setAside(0)
		w.mu.Lock()
		w.refuse = nil
		w.mu.Unlock()
		time.Sleep(time.Minute)
		w.want("raise 1 flags held", "raise 1 flags held")
	})
}

// TestBacklogDrainsInOrder is an EPR that was away while alerts changed.
func TestBacklogDrainsInOrderWithoutWhatIsSuperseded(t *testing.T) {
	story(t, func(w *ward) {
		w.refuse = func(safeguard.Alert) (safeguard.Receipt, error) {
			return safeguard.Receipt{}, errors.New("connection refused")
		}
		w.answer(toby, held(safeguard.FromCache))
		w.answer(maya, held(safeguard.FromCentre))
		w.adt("A04", toby, "V1")
		w.adt("A04", maya, "V2", "H1^", "H2^")
		w.adt("A03", maya, "V2", "H1^", "H2^")
		w.settle()
		w.answer(toby, held(safeguard.FromCentre))
		time.Sleep(10 * time.Minute)
		w.want()
		w.mu.Lock()
		w.refuse = nil
		w.mu.Unlock()
		time.Sleep(6 * time.Second)
		w.want("update 2 flags held") // maya has left: hers is late
		stats, err := w.journal.Stats(context.Background())
		if err != nil || stats.Late != 1 || stats.SetAside != 0 || len(stats.Outboxes) != 0 {
			t.Errorf("late %d, set aside %d, owed %v: %v", stats.Late, stats.SetAside, stats.Outboxes, err)
		}
	})
}

func TestWithdrawalDoesNotWaitForTheAlertThatTheEPRDidNotTake(t *testing.T) {
	story(t, func(w *ward) {
		w.answer(toby, held(safeguard.FromCentre))
		w.refuse = func(a safeguard.Alert) (safeguard.Receipt, error) {
			if a.Action == safeguard.Raise {
				return safeguard.Receipt{Code: "AE"}, nil
			}
			return delivered, nil
		}
		w.adt("A04", toby, "V1")
		time.Sleep(10 * time.Minute) // by now it is tried once a minute
		w.adt("A11", toby, "V1")
		w.want("withdraw 2 flags held")
	})
}

// slow is an EPR that takes so many alerts at a time, each for a second.
type slow struct {
	*ward
	limit int

	mu     sync.Mutex
	now    map[safeguard.AttendanceID]int
	most   int
	twice  bool
	served int
}

func (s *slow) Parallel() int { return s.limit }

func (s *slow) Deliver(_ context.Context, a safeguard.Alert) (safeguard.Receipt, error) {
	s.mu.Lock()
	s.now[a.Attendance.ID]++
	s.twice = s.twice || s.now[a.Attendance.ID] > 1
	s.most = max(s.most, len(s.now))
	s.mu.Unlock()
	time.Sleep(time.Second)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.now, a.Attendance.ID)
	s.served++
	return delivered, nil
}

func TestSinkIsGivenAsManyAtOnceAsItTakes(t *testing.T) {
	var s *slow
	setting(t, func(w *ward) {
		s = &slow{ward: w, limit: 4, now: map[safeguard.AttendanceID]int{}}
		w.pipeline.Sinks[0] = s
	}, func(w *ward) {
		w.answer(toby, held(safeguard.FromCentre))
		start := time.Now()
		for n := range 12 {
			w.adt("A04", toby, fmt.Sprint("V", n), "H1^", fmt.Sprintf("H%d^", n+1))
		}
		for {
			time.Sleep(100 * time.Millisecond)
			s.mu.Lock()
			done := s.served == 12
			s.mu.Unlock()
			if done {
				break
			}
		}
		if d := time.Since(start); s.most != 4 || s.twice || d > 4*time.Second {
			t.Errorf("%d at once, one attendance twice: %v, in %v; want 4, each once, 3 s", s.most, s.twice, d)
		}
	})
}

func TestOwedLookupsDrainAtTheCentresPace(t *testing.T) {
	story(t, func(w *ward) {
		w.mu.Lock()
		w.dark = true
		w.mu.Unlock()
		w.answer(toby, noneHeld())
		for n := range 30 {
			w.adt("A04", toby, fmt.Sprint("V", n))
		}
		time.Sleep(5 * time.Minute)
		w.mu.Lock()
		quiet := len(w.asked)
		w.mu.Unlock()
		time.Sleep(5 * time.Minute)
		w.mu.Lock()
		if n := len(w.asked) - quiet; n > 200 {
			t.Errorf("%d lookups in five minutes of a dead centre, want one try in a few seconds", n)
		}
		w.dark = false
		a := w.answers[toby]
		a.OwedPause = 2 * time.Second
		w.answers[toby] = a
		before := len(w.asked)
		w.mu.Unlock()
		time.Sleep(20 * time.Second)
		w.mu.Lock()
		if n := len(w.asked) - before; n < 5 || n > 12 {
			t.Errorf("%d lookups in 20 s at one in 2 s", n)
		}
		w.mu.Unlock()
		time.Sleep(time.Minute)
		if stats, err := w.journal.Stats(context.Background()); err != nil || len(stats.Outboxes) != 0 {
			t.Errorf("still owed: %v %v", stats.Outboxes, err)
		}
	})
}

func TestMessageThatMakesTheProgramFailIsSetAside(t *testing.T) {
	story(t, func(w *ward) {
		w.answer(toby, held(safeguard.FromCentre))
		w.during = func() {
			if len(w.asked) < 12 {
				w.mu.Unlock()
				defer w.mu.Lock()
				panic("index out of range")
			}
		}
		w.adt("A04", toby, "V1")
		time.Sleep(time.Minute)
		w.setAside(1)
	})
}

// Two attendances of one patient: what is about the first is said first, also where
// the EPR does not take it at once.
func TestAlertsOfOnePatientStayInOrderAfterAFailedTry(t *testing.T) {
	for name, fail := range map[string]func() (safeguard.Receipt, error){
		"answered with an error":   func() (safeguard.Receipt, error) { return safeguard.Receipt{Code: "AE"}, nil },
		"the connection is broken": func() (safeguard.Receipt, error) { return safeguard.Receipt{}, errors.New("connection reset") },
	} {
		t.Run(name, func(t *testing.T) {
			story(t, func(w *ward) {
				w.answer(toby, held(safeguard.FromCentre))
				w.mu.Lock()
				fails := 3
				w.refuse = func(a safeguard.Alert) (safeguard.Receipt, error) {
					if a.Attendance.Visit.Reveal().Value == "V1" && fails > 0 {
						fails--
						return fail()
					}
					return delivered, nil
				}
				w.mu.Unlock()
				w.adt("A04", toby, "V1")
				w.adt("A04", toby, "V2")
				w.adt("A04", maya, "V3", "H1^", "H3^")
				time.Sleep(10 * time.Second)
				w.want("raise 1 flags held", "raise 1 flags held")
				for i, visit := range []string{"V1", "V2"} {
					if got := w.shown[i].Attendance.Visit.Reveal().Value; got != visit {
						t.Errorf("alert %d is about %s, want %s", i+1, got, visit)
					}
				}
			})
		})
	}
}
