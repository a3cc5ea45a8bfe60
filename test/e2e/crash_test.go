package e2e

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard/test/hospital"
)

// TestKilledAgentLosesNothingAndRepeatsNothing kills the agent a hundred times while
// a hospital registers patients: at any moment, after the EPR took an alert and
// before it answered, and as soon as the EPR has answered, before that can be
// written down. Every acknowledged registration must end in one alert, whose last
// version gives the centre's own answer, and in one notification; whatever came
// again must be the same to the byte.
func TestKilledAgentLosesNothingAndRepeatsNothing(t *testing.T) {
	const kills, senders = 100, 4
	w := newWorld(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	children := patients(t, w, senders)

	ledger, stopSending := register(ctx, t, w, children, 0)
	forced := 0
	for kill := range kills {
		killed := make(chan error, 1)
		switch kill % 3 {
		case 0:
			if err := ledger.wait(ctx, 1+rand.IntN(20)); err != nil {
				t.Fatal(err)
			}
			killed <- w.KillAgent()
		case 1:
			// The EPR takes the next alert, and the agent dies without its answer.
			from := len(w.EPR.Ledger())
			w.EPR.Mute(1)
			if _, _, err := w.EPR.Wait(ctx, from, func(r hospital.Received) bool { return !r.Answered }); err != nil {
				t.Fatal(err)
			}
			killed <- w.KillAgent()
			forced++
		case 2:
			// The EPR has answered, and the agent has had no time to write it down.
			w.EPR.AfterAnswer(func() { killed <- w.KillAgent() })
		}
		select {
		case err := <-killed:
			if err != nil {
				t.Fatal(err)
			}
		case <-ctx.Done():
			t.Fatal("the EPR has answered nothing")
		}
		if err := w.StartAgent(ctx); err != nil {
			t.Fatal(err)
		}
	}
	stopSending()
	visits := ledger.visits()
	t.Logf("%d registrations acknowledged over %d kills", len(visits), kills)

	// Wait until each is in the EPR, then let a restarted agent show that it owes
	// nothing more: the last registration's alert comes behind all others.
	settled(ctx, t, w, visits)
	if err := w.StopAgent(); err != nil {
		t.Fatal(err)
	}
	if err := w.StartAgent(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := w.PAS.Send(ctx, w.PAS.Message("A04", hospital.LookedAfter, "LAST", time.Now())); err != nil {
		t.Fatal(err)
	}
	settled(ctx, t, w, []string{"LAST"})

	list, repeats := readLedger(t, w.EPR.Ledger())
	for _, visit := range visits {
		if v := list[visit]; v == nil || v.final < 0 {
			t.Errorf("visit %s was acknowledged and has no alert with the centre's answer", visit)
		}
	}
	if repeats < forced {
		t.Errorf("%d repeats, want at least the %d that were forced", repeats, forced)
	}
	t.Logf("%d alerts, %d repeats, %d of them forced, all recognisable", len(list), repeats, forced)
	notifiedOnce(ctx, t, w, len(list))
	filedOnce(ctx, t, w.Path("alerts"), visits)
}

// filedOnce waits until the folder, the second sink, has an alert of each visit:
// no message may be in it twice, although the agent was killed over it.
func filedOnce(ctx context.Context, t *testing.T, folder string, visits []string) {
	t.Helper()
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	for {
		files := filed(t, folder)
		missing := 0
		for _, visit := range visits {
			if len(files[visit]) == 0 {
				missing++
			}
			if ids := files[visit]; len(set(ids)) != len(ids) {
				t.Errorf("visit %s has a message in the folder twice", visit)
			}
		}
		if missing == 0 || t.Failed() {
			return
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			t.Fatalf("%d of %d acknowledged registrations have no alert in the folder", missing, len(visits))
		}
	}
}

// filed are the control ids of the alerts in a folder, by visit.
func filed(t *testing.T, folder string) map[string][]string {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]string{}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue // one that a kill left half written
		}
		text, err := os.ReadFile(filepath.Join(folder, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		visit := visitOf(hospital.Received{Body: string(text)})
		out[visit] = append(out[visit], hospital.Field(text, "MSH", 10))
	}
	return out
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
