package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard/central/store/storetest"
	"github.com/safeguard-edge/safeguard/test/hospital"
	"github.com/safeguard-edge/safeguard/test/world"
)

// TestRestoredCentreAndAgentAgree puts the centre back to a backup, twice, and the
// second time to one of the restored store. The agent, which nobody touches, tells it
// again what it has lost: every attendance is notified, under the id that the local
// authority may have taken over already. An alert whose flag is lost is withdrawn, and
// changes reach the EPR as before.
func TestRestoredCentreAndAgentAgree(t *testing.T) {
	t.Run("embedded", func(t *testing.T) {
		w := newWorld(t)
		restoredAndAgree(t, w, func(ctx context.Context, backup string) {
			if err := w.StopCentral(); err != nil {
				t.Fatal(err)
			}
			if out, err := w.Run(ctx, "safeguard-central", "restore", "--config", w.Path("central.yaml"), "--input", backup); err == nil {
				t.Errorf("restored over a store that is there: %s", out)
			}
			for _, end := range []string{"", "-wal", "-shm"} {
				_ = os.Remove(w.Path("central", "central.db"+end))
			}
			restore(ctx, t, w, backup)
			if err := w.StartCentral(ctx); err != nil {
				t.Fatal(err)
			}
		})
	})
	t.Run("PostgreSQL, two processes", func(t *testing.T) {
		db := startPostgres(t, func() (*storetest.Postgres, error) { return storetest.StartPostgres(false) })
		dsn, err := db.Empty(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		w := sharedWorld(t, dsn, "")
		begin(t.Context(), t, w)
		restoredAndAgree(t, w, func(ctx context.Context, backup string) {
			for _, stop := range []func() error{w.StopCentral, w.StopSecond} {
				if err := stop(); err != nil {
					t.Fatal(err)
				}
			}
			dsn, err := db.Empty(ctx)
			if err == nil {
				err = os.WriteFile(w.Path("postgres.dsn"), []byte(dsn), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			restore(ctx, t, w, backup)
			for _, start := range []func(context.Context) error{w.StartCentral, w.StartSecond} {
				if err := start(ctx); err != nil {
					t.Fatal(err)
				}
			}
		})
	})
}

func restore(ctx context.Context, t *testing.T, w *world.World, backup string) {
	t.Helper()
	out, err := w.Run(ctx, "safeguard-central", "restore", "--config", w.Path("central.yaml"), "--input", backup)
	if err != nil || !strings.Contains(out, "The store is as it was on") {
		t.Fatalf("restore: %v: %s", err, out)
	}
}

func restoredAndAgree(t *testing.T, w *world.World, putBack func(ctx context.Context, backup string)) {
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	children := patients(t, w, 2)
	attend := func(visits ...string) {
		t.Helper()
		for i, visit := range visits {
			if _, err := w.PAS.Send(ctx, w.PAS.Message("A04", children[i%len(children)], visit, time.Now())); err != nil {
				t.Fatal(err)
			}
		}
		settled(ctx, t, w, visits)
	}
	child := newTurning(ctx, t, w)
	var visits []string
	taken := map[string]string{} // attendance by id, of all that the authority has taken over
	for round := range 2 {
		kept := []string{fmt.Sprint("KEPT1", round), fmt.Sprint("KEPT2", round)}
		lost := []string{fmt.Sprint("LOST1", round), fmt.Sprint("LOST2", round)}
		attend(kept...)
		backup := w.Path(fmt.Sprint("backup", round))
		if out, err := w.Run(ctx, "safeguard-central", "backup", "--config", w.Path("central.yaml"), "--output", backup); err != nil {
			t.Fatalf("backup: %v: %s", err, out)
		}
		attend(lost...)
		visits = append(append(visits, kept...), lost...)
		child.turn(ctx, w.Central)
		waited := waiting(ctx, t, w)
		if _, err := w.AsAuthority(ctx, "notifications", "ack", "--all"); err != nil {
			t.Fatal(err)
		}
		maps.Copy(taken, waited)

		putBack(ctx, backup)
		child.told(ctx) // its flag is lost
		child.held = false
		for again := map[string]string{}; !maps.Equal(again, waited); {
			if again = waiting(ctx, t, w); ctx.Err() != nil {
				t.Fatalf("restored %d times: %d notifications wait, want the %d that waited before", round+1, len(again), len(waited))
			}
			for id, attendance := range again {
				if taken[id] != attendance {
					t.Fatalf("attendance %s is notified under another id", attendance)
				}
			}
		}
		if _, err := w.AsAuthority(ctx, "notifications", "ack", "--all"); err != nil {
			t.Fatal(err)
		}
		child.turn(ctx, w.Central)
		child.turn(ctx, w.Central)
	}
	list, _ := readLedger(t, onlyOther(w.EPR.Ledger(), turningVisit))
	for _, visit := range visits {
		if v := list[visit]; v == nil || v.final < 0 {
			t.Errorf("visit %s has no alert with the centre's answer", visit)
		}
	}
	if n := len(slices.Compact(slices.Sorted(maps.Values(taken)))); n != len(visits)+1 { // and the one beside
		t.Errorf("%d attendances were notified, want %d", n, len(visits)+1)
	}
	verified(ctx, t, w, "")
}

// waiting are the notifications that wait for the local authority, but for those
// about the child whose flag comes and goes: attendances by id.
func waiting(ctx context.Context, t *testing.T, w *world.World) map[string]string {
	t.Helper()
	out, err := w.AsAuthority(ctx, "notifications", "list", "--json", "--reveal")
	if err != nil {
		t.Fatal(err)
	}
	var list []world.Notification
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		t.Fatal(err)
	}
	ids := map[string]string{}
	for _, n := range list {
		if strings.ReplaceAll(n.NHSNumber, " ", "") != hospital.NoFlag.Number {
			ids[n.ID] = n.Attendance
		}
	}
	return ids
}
