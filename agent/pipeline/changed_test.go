package pipeline_test

import (
	"context"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard"
)

func (w *ward) changed(number string) {
	w.t.Helper()
	n, err := safeguard.ParseNHSNumber(number)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.pipeline.Changed(context.Background(), n); err != nil {
		w.t.Fatal(err)
	}
}

func TestChangedFlagsOfAnOpenAttendanceAreAskedForSilentlyAndDecidedAfresh(t *testing.T) {
	story(t, func(w *ward) {
		w.answer(toby, noneHeld())
		w.adt("A04", toby, "V1")
		w.want()
		w.answer(toby, held(safeguard.FromCentre))
		w.changed(toby)
		w.want("raise 1 flags held")
		w.lookups(2)
		if q := w.asked[1]; q.Purpose != safeguard.Refresh || q.Attendance != w.asked[0].Attendance {
			t.Errorf("asked with purpose %s, want a silent refresh for the attendance", q.Purpose)
		}
		w.answer(toby, noneHeld())
		w.changed(toby)
		w.want("raise 1 flags held", "withdraw 2 flags held")
	})
}

func TestChangedFlagsOfNobodyHereAskNothing(t *testing.T) {
	story(t, func(w *ward) {
		w.answer(toby, held(safeguard.FromCentre))
		w.adt("A04", toby, "V1")
		w.adt("A03", toby, "V1")
		w.settle()
		w.changed(toby)
		w.changed(maya)
		w.settle()
		w.lookups(1)
	})
}

func TestChangedWhileTheCentreIsAwayIsAskedWhenItIsBack(t *testing.T) {
	story(t, func(w *ward) {
		w.answer(toby, held(safeguard.FromCentre))
		w.adt("A04", toby, "V1")
		w.want("raise 1 flags held")
		w.silence(toby)
		w.changed(toby)
		time.Sleep(time.Minute)
		w.want("raise 1 flags held") // what was answered stays
		w.answer(toby, noneHeld())
		time.Sleep(6 * time.Second)
		w.want("raise 1 flags held", "withdraw 2 flags held")
		if owed, err := w.journal.Stats(context.Background()); err != nil || len(owed.Outboxes) != 0 {
			t.Errorf("still owed: %v %v", owed.Outboxes, err)
		}
	})
}

func TestChangeDuringTheLookupIsNotMissed(t *testing.T) {
	story(t, func(w *ward) {
		w.answer(toby, noneHeld())
		w.during = func() { // the flag comes between the answer and its settlement
			w.during = nil
			w.answers[toby] = held(safeguard.FromCentre)
			w.mu.Unlock()
			w.changed(toby)
			w.mu.Lock()
		}
		w.adt("A04", toby, "V1")
		w.want("raise 1 flags held")
	})
}

func TestRepeatedChangesAreAskedOnceMore(t *testing.T) {
	story(t, func(w *ward) {
		w.answer(toby, held(safeguard.FromCentre))
		w.adt("A04", toby, "V1")
		w.want("raise 1 flags held")
		w.silence(toby)
		for range 50 {
			w.changed(toby)
		}
		if owed, err := w.journal.Stats(context.Background()); err != nil || owed.Outboxes["changes"] > 2 {
			t.Errorf("%d owed, want one under way and one behind it: %v", owed.Outboxes["changes"], err)
		}
	})
}
