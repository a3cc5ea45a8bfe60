package e2e

import (
	"bytes"
	"context"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard/test/hospital"
	"github.com/safeguard-edge/safeguard/test/world"
)

// TestHostileEPR has an EPR that half of the time does what none should: answers
// byte by byte, for a message that it was never sent, when the next message comes,
// that it is busy, twice, never, or closes after it has read; and for one visit says
// for as long as it likes that it is busy. The agent is killed meanwhile. Each visit
// has one alert in the end, all that came again is the same to the byte, and each
// last version was accepted under its own id: no other answer was taken for it.
func TestHostileEPR(t *testing.T) {
	const kills, senders = 6, 3
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	w := newWorldWith(t, func(w *world.World) string {
		text, err := os.ReadFile(w.Path("agent.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		text = bytes.Replace(text, []byte("address: "+w.EPR.Addr()), []byte("{address: \""+w.EPR.Addr()+"\", ack_timeout: 400ms}"), 1)
		text = bytes.Replace(text, []byte("mllp:\n      {"), []byte("mllp: {"), 1)
		text = bytes.Replace(text, []byte("rate: 0\n    message:"), []byte("rate: 0\n      rest: 200ms\n    message:"), 1)
		if err := os.WriteFile(w.Path("agent.yaml"), text, 0o600); err != nil {
			t.Fatal(err)
		}
		return ""
	})
	children := patients(t, w, senders+1)

	var mu sync.Mutex // guards the fields below
	did := map[hospital.Behaviour]int{}
	hostile, stuck := true, true
	w.EPR.Behave(func(body []byte) hospital.Behaviour {
		mu.Lock()
		defer mu.Unlock()
		does := hospital.Obeys
		switch {
		case stuck && visitOf(hospital.Received{Body: string(body)}) == "STUCK":
			return hospital.Busy
		case hostile && rand.IntN(2) == 0:
			does = hospital.Behaviour(1 + rand.IntN(int(hospital.Silent)))
		}
		did[does]++
		return does
	})
	ledger, stopSending := register(ctx, t, w, children[:senders], 100*time.Millisecond)
	for kill := range kills {
		if err := ledger.wait(ctx, 3+rand.IntN(6)); err != nil {
			t.Fatal(err)
		}
		if kill == kills-1 { // late, so that the pauses between its tries are still short in the end
			if _, err := w.PAS.Send(ctx, w.PAS.Message("A04", children[senders], "STUCK", time.Now())); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.KillAgent(); err != nil {
			t.Fatal(err)
		}
		if err := w.StartAgent(ctx); err != nil {
			t.Fatal(err)
		}
	}
	stopSending()
	visits := ledger.visits()
	mu.Lock()
	seen := len(did)
	mu.Unlock()
	await(ctx, t, "the EPR has done each thing", func() bool {
		mu.Lock()
		defer mu.Unlock()
		if seen = len(did); seen > int(hospital.Silent) {
			hostile = false
		}
		return !hostile || accepted(w, visits)
	})
	mu.Lock()
	hostile = false
	mu.Unlock()
	await(ctx, t, "each visit's alert is accepted under its own id", func() bool { return accepted(w, visits) })
	if accepted(w, []string{"STUCK"}) {
		t.Error("an alert was accepted that the EPR was too busy for")
	}
	if out, err := w.Run(ctx, "safeguard-agent", "journal", "list", "--config", w.Path("agent.yaml"), "--sink", "epr", "--state", "waiting"); err != nil || !strings.Contains(out, "AE") {
		t.Errorf("the alert that the EPR is too busy for does not wait, with its code: %v\n%s", err, out)
	}
	mu.Lock()
	stuck = false
	t.Logf("%d visits, the EPR did %v", len(visits), did)
	mu.Unlock()
	visits = append(visits, "STUCK")
	await(ctx, t, "the last one is accepted", func() bool { return accepted(w, visits) })

	list, repeats := readLedger(t, w.EPR.Ledger())
	if len(list) != len(visits) {
		t.Errorf("%d visits have alerts, want %d", len(list), len(visits))
	}
	t.Logf("%d repeats, all recognisable", repeats)
	notifiedOnce(ctx, t, w, len(visits))
	filedOnce(ctx, t, w.Path("alerts"), visits)
}

// accepted tells whether of each visit the centre's own answer was accepted, under
// the id of the message that gives it.
func accepted(w *world.World, visits []string) bool {
	missing := set(visits)
	for _, r := range w.EPR.Ledger() {
		if r.Answered && strings.Contains(strings.Join(hospital.Texts([]byte(r.Body)), " "), heldByCentre) {
			delete(missing, visitOf(r))
		}
	}
	return len(missing) == 0
}
