package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/agent/journal"
	"github.com/safeguard-edge/safeguard/agent/pipeline"
	"github.com/safeguard-edge/safeguard/cache/keys"
	"github.com/safeguard-edge/safeguard/hl7adapter/adt"
	"github.com/safeguard-edge/safeguard/hl7adapter/feed"
)

// ward is a pipeline over a real journal, with a centre and an EPR that do what
// the test says. Time is that of the synctest bubble.
type ward struct {
	t        *testing.T
	journal  *journal.Journal
	parser   adt.Parser
	pipeline *pipeline.Pipeline

	mu      sync.Mutex // guards the fields below
	answers map[string]safeguard.Answer
	asked   []safeguard.Query
	taken   []safeguard.Correction
	dark    bool // the centre answers no lookup
	away    bool // the centre answers no correction
	shown   []safeguard.Alert
	during  func() // called with mu held while a lookup is under way
	refuse  func(safeguard.Alert) (safeguard.Receipt, error)
	control int
	hurry   bool          // messages come while those before are under way
	slow    time.Duration // how long a lookup takes
	stop    func()        // the pipeline, and wait for it
	start   func()
}

const (
	toby  = "9990000344"
	maya  = "9990000352"
	grace = 15 * time.Second
)

var council = safeguard.Authority{Name: "Ashmere Council", EmergencyDutyPhone: "01632 960001"}

// story runs tell with a pipeline that is running.
func story(t *testing.T, tell func(w *ward)) {
	t.Helper()
	setting(t, func(*ward) {}, tell)
}

// setting is a story for which something is set up before the pipeline runs.
func setting(t *testing.T, set, tell func(w *ward)) {
	t.Helper()
	dir := t.TempDir()
	ring, err := keys.Open(filepath.Join(dir, "keys"), keys.FileMaster(filepath.Join(dir, "master")))
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		policy := journal.DefaultPolicy()
		policy.MinFreeMB = 0 // memory's
		j, err := journal.Open(filepath.Join(dir, "journal"), ring, journal.WithLog(slog.New(slog.DiscardHandler)), journal.WithPolicy(policy))
		if err != nil {
			t.Fatal(err)
		}
		rx1, err := safeguard.ParseODSCode("RX1")
		if err != nil {
			t.Fatal(err)
		}
		w := &ward{t: t, journal: j, answers: map[string]safeguard.Answer{}}
		w.parser = adt.Parser{Site: adt.Site{Organisation: rx1, Default: rx1, Sites: []safeguard.ODSCode{rx1}, Setting: safeguard.EmergencyDepartment}}
		p := &pipeline.Pipeline{
			Journal: j, ADT: w, Flags: w, Centre: w, Sinks: []pipeline.Sink{w}, Rules: safeguard.DefaultRules(),
			Device: "test", Log: slog.New(w),
		}
		w.pipeline = p
		set(w)
		w.start = func() {
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- p.Run(ctx) }()
			w.stop = func() {
				cancel()
				if err := <-ended; err != nil {
					t.Error(err)
				}
			}
		}
		w.start()
		defer func() {
			w.stop()
			if err := j.Close(); err != nil {
				t.Error(err)
			}
		}()
		tell(w)
	})
}

// Enabled, Handle, WithAttrs and WithGroup make the ward the pipeline's log, which
// tells each change of stage.
func (w *ward) Enabled(context.Context, slog.Level) bool { return true }

func (w *ward) Handle(_ context.Context, r slog.Record) error {
	var from, to safeguard.Stage
	r.Attrs(func(a slog.Attr) bool {
		switch stage, ok := a.Value.Any().(safeguard.Stage); {
		case ok && a.Key == "from":
			from = stage
		case ok && a.Key == "to":
			to = stage
		}
		return true
	})
	if from != to {
		seen.Store([2]safeguard.Stage{from, to}, true)
	}
	if !from.MayBecome(to) {
		w.t.Errorf("an attendance that was %s became %s, which the diagram does not know", from, to)
	}
	return nil
}

// seen are the changes of stage that any test saw.
var seen sync.Map

func (w *ward) WithAttrs([]slog.Attr) slog.Handler { return w }

func (w *ward) WithGroup(string) slog.Handler { return w }

func (w *ward) Parse(e journal.Entry) (adt.Movement, error) {
	return w.parser.Parse(adt.Message{Body: e.Body, Received: e.Received})
}

func (w *ward) Lookup(_ context.Context, q safeguard.Query) safeguard.Answer {
	time.Sleep(w.slow)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked = append(w.asked, q)
	answer, ok := w.answers[q.Number.Reveal()]
	if w.during != nil {
		w.during()
	}
	if !ok || w.dark {
		return safeguard.UnknownBecause(safeguard.CentreUnreachable)
	}
	return answer
}

func (w *ward) Correct(_ context.Context, c safeguard.Correction) (safeguard.Corrected, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.away {
		return 0, errors.New("no connection")
	}
	w.taken = append(w.taken, c)
	return safeguard.CorrectedNow, nil
}

func (w *ward) Name() string { return "epr" }

func (w *ward) Deliver(_ context.Context, a safeguard.Alert) (safeguard.Receipt, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.refuse != nil {
		if r, err := w.refuse(a); err != nil || r.Outcome != safeguard.Delivered {
			return r, err
		}
	}
	w.shown = append(w.shown, a)
	return safeguard.Receipt{Outcome: safeguard.Delivered, Code: "AA", At: time.Now()}, nil
}

func (w *ward) answer(number string, a safeguard.Answer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	a.AsOf = time.Now()
	w.answers[number] = a
}

// silence makes the centre unreachable for the number.
func (w *ward) silence(number string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.answers, number)
}

func held(source safeguard.Source) safeguard.Answer {
	return safeguard.Answer{Status: safeguard.Held, Source: source, Flags: []safeguard.Flag{
		{Plan: safeguard.ChildProtection, Start: safeguard.Date{Year: 1999, Month: 6, Day: 1}, Authority: council}}}
}

func noneHeld() safeguard.Answer {
	return safeguard.Answer{Status: safeguard.NoneHeld, Source: safeguard.FromCentre}
}

// adt sends a message, and lets everything follow, of a boy born in 1995; synctest's time begins in 2000.
func (w *ward) adt(trigger, number, visit string, change ...string) {
	w.t.Helper()
	w.control++
	text := strings.NewReplacer(change...).Replace(fmt.Sprintf("MSH|^~\\&|PAS|RX1|||20000101||ADT^%s|C%d|P|2.4\rEVN|%s|20000101\r"+
		"PID|1||H1^^^RX1^MR~%s^^^NHS^NH||FERNSBY^TOBIAS||19950102|1||||||||||||||||||||||||NSTS01\rPV1|1|E|ED||||||||||||||||%s\r",
		trigger, w.control, trigger, number, visit))
	m := feed.Message{Feed: "pas", Received: time.Now(), Body: []byte(text), Ack: feed.Ack("ACK")}
	if _, err := w.journal.Append(context.Background(), m); err != nil {
		w.t.Fatal(err)
	}
	if !w.hurry {
		w.settle()
	}
}

// want waits until nothing moves any more at this time, and compares what the EPR
// was told with the words, such as "raise 1 flags held".
func (w *ward) want(want ...string) {
	w.t.Helper()
	w.settle()
	w.mu.Lock()
	defer w.mu.Unlock()
	var got []string
	for _, a := range w.shown {
		got = append(got, fmt.Sprintf("%s %d %s", a.Action, a.Version, a.Content.Kind))
	}
	if strings.Join(got, ", ") != strings.Join(want, ", ") {
		w.t.Fatalf("the EPR was told %q, want %q", got, want)
	}
}

// settle lets everything happen that does not wait for time to pass.
func (w *ward) settle() {
	for range 20 {
		time.Sleep(time.Millisecond)
		synctest.Wait()
	}
}

func (w *ward) lookups(want int) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.asked) != want {
		w.t.Errorf("%d lookups, want %d", len(w.asked), want)
	}
}

func TestFlagHeldRaisesOneAlert(t *testing.T) {
	story(t, func(w *ward) {
		w.answer(toby, held(safeguard.FromCentre))
		w.adt("A04", toby, "V1")
		w.want("raise 1 flags held")
		a := w.shown[0]
		if a.Attendance.Patient.Family.Reveal() != "FERNSBY" || a.Attendance.Purpose != safeguard.Unscheduled {
			t.Error("the alert lacks the name that the EPR's message needs, or the purpose")
		}
	})
}

func TestUpdatesOfTheSameAttendanceAskAndSayNothing(t *testing.T) {
	story(t, func(w *ward) {
		w.answer(toby, held(safeguard.FromCentre))
		w.adt("A04", toby, "V1")
		for range 20 {
			w.adt("A08", toby, "V1")
		}
		w.want("raise 1 flags held")
		w.lookups(1)
	})
}

func TestUnreachableCentreBecomesVisibleAndIsAskedUntilItAnswers(t *testing.T) {
	story(t, func(w *ward) {
		w.adt("A04", toby, "V1")
		w.want()
		time.Sleep(grace)
		w.want("raise 1 check not completed")
		time.Sleep(10 * time.Minute)
		w.want("raise 1 check not completed")
		w.answer(toby, held(safeguard.FromCentre))
		time.Sleep(6 * time.Second)
		w.want("raise 1 check not completed", "update 2 flags held")
		asked := len(w.asked)
		time.Sleep(time.Hour)
		w.settle()
		w.lookups(asked) // what is answered is not asked again
	})
}

func TestCachedAnswerStillOwesItsLookup(t *testing.T) {
	story(t, func(w *ward) {
		w.answer(toby, held(safeguard.FromCache))
		w.adt("A04", toby, "V1")
		w.want("raise 1 flags held")
		w.answer(toby, held(safeguard.FromCentre))
		time.Sleep(6 * time.Second)
		w.want("raise 1 flags held", "update 2 flags held")
		if w.shown[1].Content.Source != safeguard.FromCentre {
			t.Error("the update is not the centre's answer")
		}
	})
}

func TestOwedLookupSaysWhenThePatientCame(t *testing.T) {
	story(t, func(w *ward) {
		begun := time.Now()
		w.adt("A04", toby, "V1", "|ED|||", "|ED|||") // without an admit time: when it was received counts
		time.Sleep(10 * time.Minute)
		w.answer(toby, noneHeld())
		time.Sleep(6 * time.Second)
		w.settle()
		last := w.asked[len(w.asked)-1]
		if d := last.At.Sub(begun); d < 0 || d > time.Second {
			t.Errorf("the lookup paid later is for an attendance %v after the true time", d)
		}
		if last.Purpose != safeguard.Unscheduled || last.Attendance != w.asked[0].Attendance {
			t.Error("the paid lookup is not the owed one")
		}
	})
}

func TestCancelledAttendanceWithdraws(t *testing.T) {
	story(t, func(w *ward) {
		w.answer(toby, held(safeguard.FromCentre))
		w.adt("A04", toby, "V1")
		w.adt("A11", toby, "V1")
		w.want("raise 1 flags held", "withdraw 2 flags held")
		w.adt("A08", toby, "V1") // does not undo it
		w.want("raise 1 flags held", "withdraw 2 flags held")
	})
}

func TestCancelledAttendanceOwesNothingMore(t *testing.T) {
	story(t, func(w *ward) {
		w.adt("A04", toby, "V1")
		w.adt("A11", toby, "V1")
		asked := len(w.asked)
		time.Sleep(10 * time.Minute)
		w.want()
		w.lookups(asked)
	})
}

func TestNumberThatComesLaterIsAskedAbout(t *testing.T) {
	story(t, func(w *ward) {
		w.answer(toby, held(safeguard.FromCentre))
		w.adt("A04", "", "V1")
		time.Sleep(5 * time.Minute)
		w.want("raise 1 check not completed")
		w.adt("A08", toby, "V1")
		w.want("raise 1 check not completed", "update 2 flags held")
	})
}

func TestChangedNumberWithdrawsAndAsksAfresh(t *testing.T) {
	story(t, func(w *ward) {
		w.answer(toby, held(safeguard.FromCentre))
		w.answer(maya, held(safeguard.FromCentre))
		w.adt("A04", toby, "V1")
		w.adt("A08", maya, "V1")
		w.want("raise 1 flags held", "withdraw 2 flags held", "raise 1 flags held")
		if w.shown[1].Attendance.Patient.Number.Reveal() != toby || w.shown[2].Attendance.Patient.Number.Reveal() != maya {
			t.Error("each alert must name the person it is about")
		}
		if w.shown[0].ID != w.shown[1].ID || w.shown[1].ID == w.shown[2].ID {
			t.Error("the withdrawal shares its id with the alert it withdraws, and with no other")
		}
	})
}

func TestAnswerToAWrongNumberIsNotKeptForTheRightOne(t *testing.T) {
	story(t, func(w *ward) {
		w.answer(toby, held(safeguard.FromCentre))
		w.adt("A04", toby, "V1")
		w.want("raise 1 flags held")
		w.adt("A08", maya, "V1") // about whom the centre can not be asked
		w.want("raise 1 flags held", "withdraw 2 flags held")
		time.Sleep(grace)
		w.want("raise 1 flags held", "withdraw 2 flags held", "raise 1 check not completed")
	})
}

func TestAbsentNumberOfAnUpdateDeletesNothing(t *testing.T) {
	story(t, func(w *ward) {
		w.answer(toby, held(safeguard.FromCentre))
		w.adt("A04", toby, "V1")
		w.adt("A08", "", "V1")
		w.want("raise 1 flags held")
		w.lookups(1)
	})
}

func TestUpdateFirstSeenWithinADayBeginsAnAttendance(t *testing.T) {
	story(t, func(w *ward) {
		w.answer(toby, held(safeguard.FromCentre))
		w.adt("A08", toby, "V1")
		w.want("raise 1 flags held")
	})
}

func TestUpdateOfALongGoneVisitDoesNot(t *testing.T) {
	story(t, func(w *ward) {
		w.answer(toby, held(safeguard.FromCentre))
		w.adt("A08", toby, "V1|||||||||||||||||||||||||199912010830")
		w.want()
		w.lookups(0)
	})
}

func TestAdmissionContinuesTheEmergencyAttendance(t *testing.T) {
	story(t, func(w *ward) {
		w.answer(toby, held(safeguard.FromCentre))
		w.adt("A04", toby, "V1")
		time.Sleep(3 * time.Hour)
		w.adt("A01", toby, "V2", "PV1|1|E|ED|", "PV1|1|I|WARD7|21")
		w.adt("A08", toby, "V2", "PV1|1|E|ED|", "PV1|1|I|WARD7|21")
		w.want("raise 1 flags held")
		w.lookups(1)
		w.adt("A04", toby, "V3") // another arrival is another attendance
		w.want("raise 1 flags held", "raise 1 flags held")
		w.lookups(2)
	})
}

func TestSlowAnswerAboutOnePatientHoldsUpNoOther(t *testing.T) {
	setting(t, func(w *ward) { w.slow, w.hurry = 10*time.Second, true }, func(w *ward) {
		w.answer(toby, held(safeguard.FromCentre))
		w.answer(maya, held(safeguard.FromCentre))
		w.adt("A04", toby, "V1")
		w.adt("A04", maya, "V2", "H1^", "H2^")
		time.Sleep(11 * time.Second)
		w.want("raise 1 flags held", "raise 1 flags held")
	})
}

func TestUnreadableMessageIsSetAsideAndTheNextIsProcessed(t *testing.T) {
	story(t, func(w *ward) {
		w.answer(toby, held(safeguard.FromCentre))
		for _, body := range []string{"not HL7", "MSH|^~\\&|PAS|RX1|||20000101||ADT^A04|C|P|2.4\r", "MSH|^~\\&|PAS|RX1|||20000101||ADT^A40|C|P|2.4\rPID|1||H1\r"} {
			if _, err := w.journal.Append(context.Background(), feed.Message{Feed: "pas", Received: time.Now(), Body: []byte(body)}); err != nil {
				t.Fatal(err)
			}
		}
		w.adt("A04", toby, "V1")
		w.want("raise 1 flags held")
		stats, err := w.journal.Stats(context.Background())
		if err != nil || stats.SetAside != 3 || stats.Waiting != 0 {
			t.Errorf("%d set aside, %d waiting, want 3 and 0: %v", stats.SetAside, stats.Waiting, err)
		}
	})
}

func TestSinkThatIsAwayGetsTheLatestVersionLater(t *testing.T) {
	story(t, func(w *ward) {
		away := true
		w.refuse = func(safeguard.Alert) (safeguard.Receipt, error) {
			if away {
				return safeguard.Receipt{}, errors.New("dial epr: connection refused")
			}
			return safeguard.Receipt{Outcome: safeguard.Delivered}, nil
		}
		w.answer(toby, held(safeguard.FromCentre))
		w.adt("A04", toby, "V1")
		w.adt("A11", toby, "V1")
		time.Sleep(10 * time.Minute)
		w.want()
		w.mu.Lock()
		away = false
		w.mu.Unlock()
		time.Sleep(6 * time.Second)
		w.want("withdraw 2 flags held") // which has taken the place of the one before
	})
}

func TestRefusedAlertIsSetAsideAndDoesNotBlock(t *testing.T) {
	story(t, func(w *ward) {
		w.answer(toby, held(safeguard.FromCentre))
		w.answer(maya, held(safeguard.FromCentre))
		w.refuse = func(a safeguard.Alert) (safeguard.Receipt, error) {
			if a.Attendance.Patient.Number.Reveal() == toby {
				return safeguard.Receipt{Outcome: safeguard.Refused, Code: "AR", At: time.Now()}, nil
			}
			return safeguard.Receipt{Outcome: safeguard.Delivered}, nil
		}
		w.adt("A04", toby, "V1")
		w.adt("A04", maya, "V2", "H1^", "H2^")
		w.want("raise 1 flags held")
		stats, err := w.journal.Stats(context.Background())
		if err != nil || stats.SetAside != 1 {
			t.Errorf("%d set aside, want the refused alert: %v", stats.SetAside, err)
		}
	})
}
