package e2e

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard/test/hospital"
)

// TestAlertFollowsItsReason: a flag that is uploaded while the child is in the
// department raises an alert, one that is withdrawn takes it back, also when the
// agent or the centre was not there when it happened.
func TestAlertFollowsItsReason(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	child := hospital.NoFlag
	start := time.Now().AddDate(0, -1, 0).Format(time.DateOnly)
	upload := func(withdraw string) {
		t.Helper()
		rows := fmt.Sprintf("nhs_number,date_of_birth,plan,start,end,delete\n%s,%s,CPP,%s,,%s\n", child.Number, child.Born.Format(time.DateOnly), start, withdraw)
		if err := os.WriteFile(w.Path("change.csv"), []byte(rows), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := w.AsAuthority(ctx, "upload", w.Path("change.csv"), "--json"); err != nil || !strings.Contains(out, "CPF02") {
			t.Fatalf("upload: %v %s", err, out)
		}
	}
	from, seen := 0, map[string]bool{}
	next := func(what string) (r hospital.Received) {
		t.Helper()
		var err error
		if r, from, err = w.EPR.Wait(ctx, from, func(r hospital.Received) bool { return visitOf(r) == "FOLLOWED" && !seen[r.ControlID] }); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		seen[r.ControlID] = true // it may come again after a restart
		return r
	}
	send := func(who hospital.Person, visit string) {
		t.Helper()
		if _, err := w.PAS.Send(ctx, w.PAS.Message("A04", who, visit, time.Now())); err != nil {
			t.Fatal(err)
		}
	}
	send(child, "FOLLOWED")
	send(hospital.Plan, "BEHIND") // its alert shows that the one before was decided
	settled(ctx, t, w, []string{"BEHIND"})
	if list, _ := readLedger(t, w.EPR.Ledger()); list["FOLLOWED"] != nil {
		t.Fatalf("an alert without a flag: %s", list["FOLLOWED"].last)
	}

	today := time.Now().Format(time.DateOnly)
	upload("")
	raised := next("uploaded while the child is here")
	if !strings.Contains(raised.Body, heldByCentre) {
		t.Errorf("told %q", hospital.Texts([]byte(raised.Body)))
	}
	upload(today)
	withdrawn := next("withdrawn while the child is here")
	if hospital.Field([]byte(withdrawn.Body), "OBR", 3) != hospital.Field([]byte(raised.Body), "OBR", 3) || withdrawn.ControlID == raised.ControlID {
		t.Error("want a further version of the same alert")
	}

	if err := w.StopAgent(); err != nil {
		t.Fatal(err)
	}
	upload("")
	if err := w.StartAgent(ctx); err != nil {
		t.Fatal(err)
	}
	if again := next("uploaded while the agent was stopped"); !strings.Contains(again.Body, heldByCentre) {
		t.Errorf("told %q", hospital.Texts([]byte(again.Body)))
	}
	if err := w.StopCentral(); err != nil {
		t.Fatal(err)
	}
	if err := w.StartCentral(ctx); err != nil {
		t.Fatal(err)
	}
	upload(today)
	next("withdrawn after the centre was away")
}
