package pipeline_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/agent/pipeline"
	"github.com/safeguard-edge/safeguard/hl7adapter/epr"
)

// desk is an EPR behind a real guard, which may observe.
type desk struct {
	*ward
	name string

	mu      sync.Mutex // guards the fields below
	came    []safeguard.Alert
	refuses bool
	differs string // from what it should show
	shows   []safeguard.AlertID
	unread  error
}

func (d *desk) Name() string                            { return d.name }
func (d *desk) Close() error                            { return nil }
func (d *desk) Carrier() string                         { return "desk" }
func (d *desk) Preview(safeguard.Alert) (string, error) { return "", nil }

func (d *desk) Deliver(_ context.Context, a safeguard.Alert) (safeguard.Receipt, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.refuses {
		return safeguard.Receipt{Outcome: safeguard.Refused, Code: "AR", At: time.Now()}, nil
	}
	d.came = append(d.came, a)
	d.differs = ""
	return safeguard.Receipt{Outcome: safeguard.Delivered, Code: "AA", At: time.Now()}, nil
}

func (d *desk) Compare(context.Context, safeguard.Alert) (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.differs, nil
}

func (d *desk) Alerts(context.Context) ([]safeguard.AlertID, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.shows, d.unread
}

// told is what came, such as "raise 1".
func (d *desk) told() string {
	d.settle()
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []string
	for _, a := range d.came {
		all = append(all, a.Action.String())
	}
	return strings.Join(all, " ")
}

// sits puts the desk's EPR behind the pipeline.
func (w *ward) sits(d *desk, change func(*epr.GuardConfig)) {
	w.pipeline.Sinks = []pipeline.Sink{w.guard(d, change)}
}

func (w *ward) guard(d *desk, change func(*epr.GuardConfig)) *epr.Guard {
	d.ward = w
	c := epr.DefaultGuardConfig()
	c.ReleaseConfirmedBy, c.Rate = "Dr Imogen Hale, 2 Nov 2026", 0
	change(&c)
	g, err := epr.NewGuard(d, c, slog.New(slog.DiscardHandler))
	if err != nil {
		w.t.Fatal(err)
	}
	return g
}

// restarted changes something while the pipeline does not run.
func (w *ward) restarted(change func()) {
	w.settle()
	w.stop()
	change()
	w.start()
	w.settle()
}

// passes lets time go by in which the journal is looked after.
func (w *ward) passes(d time.Duration) {
	ctx, cancel := context.WithTimeout(w.t.Context(), d)
	defer cancel()
	if err := w.journal.Run(ctx); err != nil {
		w.t.Error(err)
	}
}

func observes(c *epr.GuardConfig) { c.SiteObserves = true }

func TestSiteThatObservesDeliversNothingAndOwesNothing(t *testing.T) {
	d := &desk{name: "epr"}
	setting(t, func(w *ward) {
		w.sits(d, observes)
		w.pipeline.Silent = true
	}, func(w *ward) {
		w.answer(toby, held(safeguard.FromCentre))
		w.adt("A04", toby, "V1")
		w.adt("A04", maya, "V2", "H1^", "H2^") // the centre does not answer
		w.adt("A11", toby, "V1")               // nothing was recorded that could be taken back
		time.Sleep(time.Hour)
		w.settle()
		if got := d.told(); got != "" {
			t.Errorf("the EPR was told %q", got)
		}
		for _, q := range w.asked {
			if q.Purpose != safeguard.Scheduled {
				t.Errorf("asked as %s, which the centre records", q.Purpose)
			}
		}
		if w.lookups(2); len(w.taken) > 0 {
			t.Error("a lookup that nobody recorded was taken back")
		}
		stats, err := w.journal.Stats(context.Background())
		if err != nil || len(stats.Outboxes) > 0 {
			t.Errorf("still owed: %v %v", stats.Outboxes, err)
		}
		if stage := w.record("V2").Stage; stage != safeguard.Alerted {
			t.Errorf("the attendance that could not be checked is %s", stage)
		}
	})
}

func TestSiteThatObservesNotifiesWhereNobodyElseDoes(t *testing.T) {
	setting(t, func(w *ward) { w.sits(&desk{name: "epr"}, observes) }, func(w *ward) {
		w.adt("A04", toby, "V1")
		w.answer(toby, held(safeguard.FromCentre))
		time.Sleep(time.Minute)
		w.settle()
		last := w.asked[len(w.asked)-1]
		if last.Purpose != safeguard.Unscheduled || w.record("V1").Stage != safeguard.Notified {
			t.Errorf("asked as %s, and the attendance is %s", last.Purpose, w.record("V1").Stage)
		}
	})
}

// told asks a handler of the control channel, has each answer taken, and returns the
// text that went over the channel.
func (w *ward) told(handler func(ctx context.Context, who string, args json.RawMessage, send func(any) error) error, request any, take func(any)) (text string) {
	w.t.Helper()
	w.settle()
	args, err := json.Marshal(request)
	if err != nil {
		w.t.Fatal(err)
	}
	err = handler(context.Background(), "lead", args, func(v any) error {
		raw, err := json.Marshal(v)
		text += string(raw) + "\n"
		take(v)
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return text
}

// observe asks for the report, and returns its rows, and the text that went over
// the channel.
func (w *ward) observe(r pipeline.ObservedRequest) (rows []pipeline.ObservedRow, sum pipeline.ObservedSummary, text string) {
	w.t.Helper()
	text = w.told(w.pipeline.Observed, r, func(v any) {
		if result := v.(pipeline.ObservedResult); result.Row != nil {
			rows = append(rows, *result.Row)
		} else {
			sum = *result.Summary
		}
	})
	return rows, sum, text
}

func TestReportComparesWhatWouldHaveBeenShownWithWhatWas(t *testing.T) {
	const adult, third, fourth = "9990000360", "9990000379", "9990000387"
	setting(t, func(w *ward) {
		w.sits(&desk{name: "epr"}, observes)
		w.pipeline.Silent = true
	}, func(w *ward) {
		since := time.Now()
		w.answer(toby, held(safeguard.FromCentre))
		w.answer(maya, held(safeguard.FromCentre))
		w.answer(third, noneHeld())
		w.adt("A04", toby, "V1")
		w.adt("A04", maya, "V2", "H1^", "H2^")
		w.adt("A04", third, "V3", "H1^", "H3^")
		w.adt("A04", fourth, "V4", "H1^", "H4^") // not answered
		w.adt("A04", adult, "V5", "H1^", "H5^", "19950102", "19500102")
		time.Sleep(20 * time.Minute)
		at := since.Add(10 * time.Minute)
		r := pipeline.ObservedRequest{Since: since, Compare: true, Theirs: []pipeline.Theirs{
			{Line: 2, Visit: "V1", At: at},
			{Line: 3, Number: toby, At: at.Add(time.Minute)}, // the same attendance
			{Line: 4, Number: third, At: at},
			{Line: 5, Visit: "V4", At: at},
			{Line: 6, Visit: "V5", At: at},
			{Line: 7, Visit: "V9", At: at},
			{Line: 8, Number: toby, At: since.Add(-time.Hour)},
		}}
		rows, sum, text := w.observe(r)
		want := pipeline.ObservedSummary{Attendances: 5, Held: 2, Unknown: 1, Both: 1, Ours: 1, Theirs: 4, Repeats: 1, Outside: 1, Lead: sum.Lead}
		if sum != want {
			t.Fatalf("got %+v\nwant %+v\n%s", sum, want, text)
		}
		if sum.Lead < 599 || sum.Lead > 600 {
			t.Errorf("ours was %v s earlier, want 600 less what the lookup took", sum.Lead)
		}
		why := map[int]string{}
		for _, row := range rows {
			why[row.Line] = row.Shown + ": " + row.Why
		}
		for line, part := range map[int]string{2: "both: ", 4: "theirs: the centre holds no flag", 5: "theirs: the check was not completed", 6: "theirs: not asked about: adult", 7: "theirs: no registration"} {
			if !strings.HasPrefix(why[line], part) {
				t.Errorf("line %d: got %q, want %q", line, why[line], part)
			}
		}
		for _, secret := range []string{toby, maya, third, "H1", "H2", "V1", "V9", "1995", "Ashmere"} {
			if strings.Contains(text, secret) {
				t.Errorf("without reveal it says %q", secret)
			}
		}
		r.Reveal = true
		rows, _, _ = w.observe(r)
		if rows[0].Patient == nil || rows[0].Patient.Number != toby || rows[0].Visit != "V1" || len(rows[0].Plans) != 1 {
			t.Errorf("revealed: %+v", rows[0])
		}
		w.audited("epr observed --since 2000-01-01T00:00:00Z --until 2000-01-01T00:21:00Z --compare … (7 lines) --reveal")
	})
}

func TestAlertsOfOpenAttendancesAreSentOnceTheSinkIsLive(t *testing.T) {
	d := &desk{name: "epr"}
	setting(t, func(w *ward) { w.sits(d, observes) }, func(w *ward) {
		w.answer(toby, held(safeguard.FromCentre))
		w.answer(maya, held(safeguard.FromCentre))
		w.adt("A04", toby, "V1")
		w.adt("A04", maya, "V2", "H1^", "H2^")
		w.adt("A03", maya, "V2", "H1^", "H2^") // gone home: nothing to show any more
		if got := d.told(); got != "" {
			t.Fatalf("the EPR was told %q", got)
		}
		w.restarted(func() { w.sits(d, func(*epr.GuardConfig) {}) })
		if got := d.told(); got != "raise" || d.came[0].Attendance.Patient.Number.Reveal() != toby {
			t.Errorf("the EPR was told %q, want the one of the open attendance", got)
		}
		w.restarted(func() { w.sits(d, func(*epr.GuardConfig) {}) })
		if got := d.told(); got != "raise" {
			t.Errorf("after a further start the EPR was told %q", got)
		}
	})
}

func TestSinkThatIsMadeLiveWhileTheAgentRuns(t *testing.T) {
	d := &desk{name: "epr"}
	var released chan struct{}
	setting(t, func(w *ward) {
		released = make(chan struct{}, 1) // within the bubble, else its time stands still
		w.pipeline.Sinks = []pipeline.Sink{&turnable{Guard: w.guard(d, observes)}}
		w.pipeline.Released = released
	}, func(w *ward) {
		w.answer(toby, held(safeguard.FromCentre))
		w.adt("A04", toby, "V1")
		if got := d.told(); got != "" {
			t.Fatalf("the EPR was told %q", got)
		}
		w.pipeline.Sinks[0].(*turnable).turn(w.guard(d, func(*epr.GuardConfig) {}))
		released <- struct{}{}
		if got := d.told(); got != "raise" {
			t.Errorf("the EPR was told %q", got)
		}
	})
}

// turnable is a sink whose guard changes while it is in use.
type turnable struct {
	mu sync.Mutex // guards Guard
	*epr.Guard
}

func (s *turnable) turn(g *epr.Guard) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Guard = g
}

func (s *turnable) now() *epr.Guard {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Guard
}

func (s *turnable) Live() bool { return s.now().Live() }

func (s *turnable) Deliver(ctx context.Context, a safeguard.Alert) (safeguard.Receipt, error) {
	return s.now().Deliver(ctx, a)
}

func TestWithdrawalOfWhatAnObservingSinkHadShown(t *testing.T) {
	d := &desk{name: "epr"}
	setting(t, func(w *ward) { w.sits(d, func(*epr.GuardConfig) {}) }, func(w *ward) {
		w.answer(toby, held(safeguard.FromCentre))
		w.adt("A04", toby, "V1")
		w.restarted(func() { w.sits(d, observes) })
		w.adt("A11", toby, "V1")
		if rows, sum, _ := w.reconcile(pipeline.ReconcileRequest{}); sum.Needs != 1 || rows[0].Shows != "shown" || rows[0].Done != "" {
			t.Errorf("while it observes: %+v %+v", sum, rows)
		}
		w.restarted(func() { w.sits(d, func(*epr.GuardConfig) {}) })
		if got := d.told(); got != "raise withdraw" {
			t.Errorf("the EPR was told %q", got)
		}
	})
}

// reconcile asks what the EPRs show.
func (w *ward) reconcile(r pipeline.ReconcileRequest) (rows []pipeline.EPRRow, sum pipeline.EPRSummary, text string) {
	w.t.Helper()
	text = w.told(w.pipeline.Reconcile, r, func(v any) {
		if result := v.(pipeline.EPRResult); result.Row != nil {
			rows = append(rows, *result.Row)
		} else {
			sum = *result.Summary
		}
	})
	return rows, sum, text
}

func TestReconcileFindsAndRepairs(t *testing.T) {
	d := &desk{name: "epr"}
	setting(t, func(w *ward) { w.sits(d, func(*epr.GuardConfig) {}) }, func(w *ward) {
		w.answer(toby, held(safeguard.FromCentre))
		w.adt("A01", toby, "V1", "|E|", "|I|") // an inpatient, so open for long
		rows, sum, text := w.reconcile(pipeline.ReconcileRequest{})
		if sum != (pipeline.EPRSummary{Listed: 1, Shown: 1}) || rows[0].Shows != "shown" || rows[0].Version != 1 || rows[0].Kind != "flags held" || !rows[0].Read || rows[0].Since.IsZero() {
			t.Fatalf("got %+v %+v", sum, rows)
		}
		for _, secret := range []string{toby, "H1", "V1", "1995", "Ashmere", "FERNSBY"} {
			if strings.Contains(text, secret) {
				t.Errorf("without reveal it says %q", secret)
			}
		}

		d.differs = "a Flag is inactive"
		if rows, sum, _ = w.reconcile(pipeline.ReconcileRequest{}); sum.Needs != 1 || sum.Repaired != 0 || rows[0].Needs != "a Flag is inactive" || d.told() != "raise" {
			t.Errorf("dry: %+v %+v, told %s", sum, rows, d.told())
		}
		if _, sum, _ = w.reconcile(pipeline.ReconcileRequest{Apply: true}); sum.Repaired != 1 || d.told() != "raise raise" || d.came[0].ControlID("epr") != d.came[1].ControlID("epr") {
			t.Errorf("applied: %+v, told %s", sum, d.told())
		}
		if _, sum, _ = w.reconcile(pipeline.ReconcileRequest{}); sum.Needs != 0 {
			t.Errorf("after the repair: %+v", sum)
		}

		// An EPR that was brought back from a backup, where nothing can be read.
		if _, sum, _ = w.reconcile(pipeline.ReconcileRequest{Apply: true, Again: true}); sum.Repaired != 1 || d.told() != "raise raise raise" {
			t.Errorf("again: %+v, told %s", sum, d.told())
		}

		// The message is destroyed: it is made anew, without the name.
		time.Sleep(80 * time.Hour)
		w.passes(5 * time.Minute)
		d.differs = "the EPR has 0 of one Flag"
		rows, sum, _ = w.reconcile(pipeline.ReconcileRequest{Apply: true, Reveal: true})
		if sum.Repaired != 1 || rows[0].Patient.Number != toby || rows[0].Visit != "V1" {
			t.Errorf("anew: %+v %+v", sum, rows)
		}
		if d.told(); len(d.came) != 4 || d.came[3].ControlID("epr") != d.came[0].ControlID("epr") || d.came[3].Content.Kind != safeguard.FlagsHeld || !d.came[3].Attendance.Patient.Family.IsZero() {
			t.Errorf("told %s", d.told())
		}

		// A withdrawal that the EPR refused leaves a stale alert.
		d.refuses = true
		w.adt("A11", toby, "V1")
		if rows, _, _ = w.reconcile(pipeline.ReconcileRequest{}); rows[0].Shows != "shown" || rows[0].Needs != "set aside: AR" || rows[0].Done != "would be sent again" {
			t.Errorf("refused withdrawal: %+v", rows)
		}
		d.mu.Lock()
		d.refuses = false
		d.mu.Unlock()
		if w.reconcile(pipeline.ReconcileRequest{Apply: true}); !strings.HasSuffix(d.told(), "withdraw") {
			t.Errorf("told %s", d.told())
		}
		if rows, sum, _ = w.reconcile(pipeline.ReconcileRequest{All: true}); sum.Needs != 0 || rows[0].Shows != "withdrawn" {
			t.Errorf("in the end: %+v", rows)
		}
		if _, sum, _ = w.reconcile(pipeline.ReconcileRequest{}); sum.Listed != 0 {
			t.Errorf("in the end %d listed", sum.Listed)
		}
		w.audited("epr reconcile a1", "epr reconcile --apply a1", "epr reconcile --apply --again a1", "epr reconcile --apply --reveal a1")
	})
}

func TestAlertOfAnAttendanceThatIsOverIsNotSentAgain(t *testing.T) {
	d := &desk{name: "epr"}
	setting(t, func(w *ward) { w.sits(d, func(*epr.GuardConfig) {}) }, func(w *ward) {
		w.answer(toby, held(safeguard.FromCentre))
		w.adt("A04", toby, "V1")
		w.adt("A03", toby, "V1")
		d.differs = "a Flag is inactive"
		rows, sum, _ := w.reconcile(pipeline.ReconcileRequest{Apply: true})
		if sum.Needs != 1 || sum.Repaired != 0 || rows[0].Open || d.told() != "raise" {
			t.Errorf("%+v %+v, told %s", sum, rows, d.told())
		}
	})
}

// A sink that is new, or whose filter is, hears of what others show already when
// somebody asks for it, and then of all that follows.
func TestReconcileTellsANewSink(t *testing.T) {
	old, later, other := &desk{name: "epr"}, &desk{name: "later"}, &desk{name: "maternity"}
	setting(t, func(w *ward) { w.sits(old, func(*epr.GuardConfig) {}) }, func(w *ward) {
		w.answer(toby, held(safeguard.FromCentre))
		w.adt("A01", toby, "V1", "|E|", "|I|")
		w.restarted(func() {
			w.pipeline.Sinks = append(w.pipeline.Sinks, w.guard(later, func(*epr.GuardConfig) {}),
				w.guard(other, func(c *epr.GuardConfig) { c.CareSettings = []safeguard.CareSetting{safeguard.Maternity} }))
		})
		rows, sum, _ := w.reconcile(pipeline.ReconcileRequest{})
		if sum != (pipeline.EPRSummary{Listed: 2, Shown: 1, Needs: 1}) || rows[1].Sink != "later" || rows[1].Shows != "nothing" || !strings.HasPrefix(rows[1].Needs, "never told") ||
			rows[1].Alert != rows[0].Alert || later.told() != "" {
			t.Fatalf("%+v %+v, told %s", sum, rows, later.told())
		}
		if _, sum, _ = w.reconcile(pipeline.ReconcileRequest{Apply: true}); sum.Repaired != 1 || later.told() != "raise" || other.told() != "" {
			t.Fatalf("%+v, told %q and %q", sum, later.told(), other.told())
		}
		if a := later.came[0]; a.ID != old.came[0].ID || a.Version != 1 || a.Attendance.Patient.Family.IsZero() {
			t.Errorf("told %s version %d, want what the other sink was told, with the name", a.ID, a.Version)
		}
		if rows, sum, _ = w.reconcile(pipeline.ReconcileRequest{Apply: true}); sum.Needs != 0 || sum.Shown != 2 {
			t.Errorf("afterwards %+v %+v", sum, rows)
		}
		w.adt("A11", toby, "V1")
		if later.told() != "raise withdraw" || old.told() != "raise withdraw" || other.told() != "" {
			t.Errorf("told %q, %q and %q, want the withdrawal where it was raised", old.told(), later.told(), other.told())
		}
	})
}

// What an EPR shows that the journal does not know is listed, and taken away only
// where that is asked for.
func TestReconcileFindsWhatTheJournalDoesNotKnow(t *testing.T) {
	d := &desk{name: "epr"}
	setting(t, func(w *ward) { w.sits(d, func(*epr.GuardConfig) {}) }, func(w *ward) {
		w.answer(toby, held(safeguard.FromCentre))
		w.adt("A01", toby, "V1", "|E|", "|I|")
		const stranger = safeguard.AlertID("6f0d4c7e-2b1a-8c3d-9e4f-5a6b7c8d9e0f")
		_ = d.told()
		d.shows = []safeguard.AlertID{d.came[0].ID, stranger}
		for _, r := range []pipeline.ReconcileRequest{{}, {Apply: true}, {Unknown: true}} {
			rows, sum, text := w.reconcile(r)
			if sum.Listed != 2 || sum.Needs != 1 || sum.Repaired != 0 || rows[1].Alert != string(stranger) || rows[1].Needs != "the journal does not know the alert" || d.told() != "raise" {
				t.Errorf("%+v: %s", r, text)
			}
		}
		if _, sum, text := w.reconcile(pipeline.ReconcileRequest{Since: time.Now().Add(-time.Hour)}); sum.Listed != 1 {
			t.Errorf("some attendances only, so nothing is unknown: %s", text)
		}
		if rows, sum, _ := w.reconcile(pipeline.ReconcileRequest{Unknown: true, Apply: true}); sum.Repaired != 1 || rows[1].Done != "withdrawn" || d.told() != "raise withdraw" || d.came[1].ID != stranger {
			t.Errorf("%+v %+v, told %s", sum, rows, d.told())
		}
		w.audited("epr reconcile --unknown --apply --sink epr " + string(stranger))

		// One that the journal knows to be withdrawn, in an EPR that came back from a backup.
		d.shows = nil
		w.adt("A11", toby, "V1")
		d.shows, d.differs = []safeguard.AlertID{d.came[0].ID}, "a Flag is there that should be gone"
		if rows, sum, text := w.reconcile(pipeline.ReconcileRequest{Apply: true}); sum.Listed != 1 || sum.Repaired != 1 || rows[0].Needs != "a Flag is there that should be gone" {
			t.Errorf("withdrawn, and shown again: %s", text)
		}
		if !strings.HasSuffix(d.told(), "withdraw withdraw") {
			t.Errorf("told %s", d.told())
		}
		d.shows, d.unread = nil, errors.New("401")
		if rows, sum, _ := w.reconcile(pipeline.ReconcileRequest{}); sum.Needs != 1 || rows[0].Needs != "the EPR could not be read: 401" {
			t.Errorf("not read: %+v %+v", sum, rows)
		}
	})
}
