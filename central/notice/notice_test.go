package notice_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/notice"
)

var update = flag.Bool("update", false, "write the golden files anew")

// What systems of local authorities read stays as it is, but for what is added.
func TestNotificationsAreWrittenAsBefore(t *testing.T) {
	code := func(s string) safeguard.ODSCode {
		c, err := safeguard.ParseODSCode(s)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	number, err := safeguard.ParseNHSNumber("9990000107")
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 3, 1, 9, 30, 15, 0, time.UTC)
	access := safeguard.Notification{
		ID: "0b8f2a56-0f0e-8c7d-9a3e-2f5b1c4d6e70", Authority: code("806"), Number: number,
		Born: safeguard.Hide(safeguard.Date{Year: 2018, Month: time.May, Day: 4}), Plans: []safeguard.Plan{safeguard.ChildProtection, safeguard.LookedAfter},
		Organisation: code("RX1"), Site: code("RX1RA"), SiteName: "=Example Infirmary", Setting: safeguard.EmergencyDepartment,
		Accountable: safeguard.Accountable{Name: "Dr A Example", Role: "Named doctor"}, Attendance: safeguard.NewAttendanceID(code("RX1"), "visit 1"),
		At: at, Recorded: at.Add(2 * time.Hour), Late: true, Upload: "1042",
	}
	correction := access
	correction.ID, correction.Corrects = "1c9f2a56-0f0e-8c7d-9a3e-2f5b1c4d6e71", access.ID
	correction.Reason, correction.CorrectedAt = safeguard.AttendanceCancelled, at.Add(3*time.Hour)
	earlier := access
	earlier.Upload = "" // from before it was kept
	list := []notice.Notification{notice.Of(access), notice.Of(correction), notice.Masked(earlier)}

	var asCSV bytes.Buffer
	w := notice.NewCSV(&asCSV, "acknowledged_by")
	for _, n := range list {
		if err := w.Write(n, "me"); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	asJSON, err := json.MarshalIndent(list, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	for path, got := range map[string][]byte{"testdata/notifications.csv": asCSV.Bytes(), "testdata/notifications.json": append(asJSON, '\n')} {
		if *update {
			if err := os.WriteFile(path, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s: wrote\n%s\nwant\n%s", path, got, want)
		}
	}
}
