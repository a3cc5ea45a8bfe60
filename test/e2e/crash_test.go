package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard/test/hospital"
)

// TestKilledAgentLosesNothingAndRepeatsNothing kills the agent twenty times while
// a hospital registers patients, half of them after the EPR took an alert and
// before it answered. Every acknowledged registration must end in one alert in
// the EPR, by distinct control id, and in one notification; whatever came again
// must be the same to the byte.
func TestKilledAgentLosesNothingAndRepeatsNothing(t *testing.T) {
	const kills, senders = 20, 4
	w := newWorld(t)
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()

	ledger := newLedger()
	sending, stopSending := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for n := range senders {
		wg.Go(func() {
			pas := hospital.NewPAS(w.Feed, w.PAS.Facility)
			defer pas.Close()
			for i := 0; sending.Err() == nil; i++ {
				visit := fmt.Sprintf("S%dV%d", n, i)
				// The message goes out whole even when no more are to follow: what
				// the agent acknowledges must be in the ledger.
				if _, err := pas.Send(ctx, pas.Message("A04", hospital.Plan, visit, time.Now())); err != nil {
					t.Errorf("register: %v", err)
					return
				}
				ledger.acknowledged(visit)
			}
		})
	}
	for kill := range kills {
		if kill%2 == 1 {
			// The EPR takes the next alert, and the agent dies without its answer.
			from := len(w.EPR.Ledger())
			w.EPR.Mute(1)
			if _, _, err := w.EPR.Wait(ctx, from, func(r hospital.Received) bool { return !r.Answered }); err != nil {
				t.Fatal(err)
			}
		} else if err := ledger.wait(ctx, 1+rand.IntN(20)); err != nil {
			t.Fatal(err)
		}
		if err := w.KillAgent(); err != nil {
			t.Fatal(err)
		}
		if err := w.StartAgent(ctx); err != nil {
			t.Fatal(err)
		}
	}
	stopSending()
	wg.Wait()
	visits := ledger.visits()
	t.Logf("%d registrations acknowledged over %d kills", len(visits), kills)

	// Wait until each is in the EPR, then let a restarted agent show that it owes
	// nothing more: the last registration's alert comes behind all others.
	from := 0
	for missing := set(visits); len(missing) > 0; {
		got, next, err := w.EPR.Wait(ctx, from, func(hospital.Received) bool { return true })
		if err != nil {
			t.Fatalf("%d acknowledged registrations have no alert: %v", len(missing), err)
		}
		from = next
		delete(missing, visitOf(got))
	}
	if err := w.StopAgent(); err != nil {
		t.Fatal(err)
	}
	if err := w.StartAgent(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := w.PAS.Send(ctx, w.PAS.Message("A04", hospital.LookedAfter, "LAST", time.Now())); err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.EPR.Wait(ctx, 0, func(r hospital.Received) bool { return visitOf(r) == "LAST" }); err != nil {
		t.Fatal(err)
	}

	bodies, controls, repeats := map[string]string{}, map[string]string{}, 0
	for _, r := range w.EPR.Ledger() {
		if body, came := bodies[r.ControlID]; came {
			repeats++
			if body != r.Body {
				t.Errorf("control id %s came again with another content", r.ControlID)
			}
			continue
		}
		bodies[r.ControlID] = r.Body
		if other, shown := controls[visitOf(r)]; shown {
			t.Errorf("visit %s has a second alert: %s after %s", visitOf(r), r.ControlID, other)
		}
		controls[visitOf(r)] = r.ControlID
	}
	for _, visit := range visits {
		if controls[visit] == "" {
			t.Errorf("visit %s was acknowledged and has no alert", visit)
		}
	}
	if repeats < kills/2 {
		t.Errorf("%d repeats, want at least the %d that were forced", repeats, kills/2)
	}
	t.Logf("%d alerts, %d repeats, all recognisable", len(bodies), repeats)
	if _, err := w.Notifications(ctx, len(controls)); err != nil {
		t.Error(err)
	}
}

// visitOf is the visit number in an alert.
func visitOf(r hospital.Received) string {
	visit, _, _ := strings.Cut(hospital.Field([]byte(r.Body), "PV1", 19), "^")
	return visit
}

func set(list []string) map[string]bool {
	s := map[string]bool{}
	for _, v := range list {
		s[v] = true
	}
	return s
}

// ledger is what the hospital knows to be acknowledged.
type ledger struct {
	mu   sync.Mutex
	list []string
	news chan struct{} // one for each, as far as there is room
}

func newLedger() *ledger { return &ledger{news: make(chan struct{}, 1<<16)} }

func (l *ledger) acknowledged(visit string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, visit)
	l.news <- struct{}{}
}

func (l *ledger) visits() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.list
}

// wait waits for n more acknowledgements.
func (l *ledger) wait(ctx context.Context, n int) error {
	for {
		select {
		case <-l.news: // those of before do not count
			continue
		default:
		}
		break
	}
	for range n {
		select {
		case <-l.news:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
