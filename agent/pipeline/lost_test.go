package pipeline_test

import (
	"context"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard"
)

// A centre that was restored is told again what it was told since: the same lookups
// and corrections, of ended attendances too, and nobody's alert changes by it.
func TestWhatARestoredCentreHasLostIsToldAgain(t *testing.T) {
	story(t, func(w *ward) {
		w.answer(toby, held(safeguard.FromCentre))
		w.answer(maya, noneHeld())
		w.adt("A04", maya, "BEFORE")
		w.adt("A03", maya, "BEFORE")
		w.settle()
		time.Sleep(time.Hour)
		since := time.Now()
		w.adt("A04", toby, "ENDED")
		w.adt("A03", toby, "ENDED")
		w.adt("A04", maya, "CANCELLED")
		w.adt("A11", maya, "CANCELLED")
		w.want("raise 1 flags held")
		w.lookups(3)
		if len(w.taken) != 1 {
			t.Fatalf("%d corrections, want 1", len(w.taken))
		}
		made, taken := w.asked[1], w.taken[0]

		w.answer(toby, noneHeld())
		if err := w.pipeline.Lost(context.Background(), since); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		w.want("raise 1 flags held")
		w.lookups(4)
		if again := w.asked[3]; !same(again, made) || again.Purpose != safeguard.Unscheduled {
			t.Errorf("told again %+v, want %+v", again, made)
		}
		if len(w.taken) != 2 || w.taken[1].Number != taken.Number || w.taken[1].Attendance != taken.Attendance || w.taken[1].Reason != taken.Reason {
			t.Errorf("taken back %+v, want the same once more", w.taken)
		}

		// While the centre is away it stays owed.
		w.silence(toby)
		if err := w.pipeline.Lost(context.Background(), since); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		w.answer(toby, noneHeld())
		time.Sleep(time.Minute)
		if last := w.asked[len(w.asked)-1]; !same(last, made) {
			t.Errorf("last asked %+v, want %+v", last, made)
		}
		if owed, err := w.journal.Stats(context.Background()); err != nil || len(owed.Outboxes) != 0 {
			t.Errorf("still owed: %v %v", owed.Outboxes, err)
		}
		w.want("raise 1 flags held")
	})
}

func same(a, b safeguard.Query) bool {
	equal := a.Born.Reveal() == b.Born.Reveal() && a.At.Equal(b.At)
	a.Born, b.Born, a.At, b.At = safeguard.Private[safeguard.Date]{}, safeguard.Private[safeguard.Date]{}, time.Time{}, time.Time{}
	return equal && a == b
}
