package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/client"
	"github.com/safeguard-edge/safeguard/central/cpisxml"
)

// flagsOf is a file with so many people's plans.
func flagsOf(n int) string {
	var b strings.Builder
	b.WriteString("nhs_number,date_of_birth,plan,start\n")
	for i := 0; n > 0; i++ {
		for check := range 10 {
			if number, err := safeguard.ParseNHSNumber(fmt.Sprintf("999%06d%d", 300_000+i, check)); err == nil {
				fmt.Fprintf(&b, "%s,2019-06-07,CPP,2025-01-02\n", number.Reveal())
				n--
				break
			}
		}
	}
	return b.String()
}

func report(t *testing.T, out string) (r client.Report) {
	t.Helper()
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return r
}

// What a local authority and central operations do about a snapshot that would
// end too much.
func TestSnapshotIsReleased(t *testing.T) {
	c := newPlace(t).start()
	c.write("all.csv", flagsOf(10))
	c.write("few.csv", flagsOf(6))
	if out, code := c.authority("upload", "all.csv", "--sequence", "1"); code != 0 {
		t.Fatalf("upload: %d: %s", code, out)
	}
	out, code := c.authority("upload", "few.csv", "--snapshot", "--sequence", "2")
	if code != 5 || !strings.Contains(out, "4 of the 10 flags") || !strings.Contains(out, "few.csv:2: good, but not loaded") {
		t.Errorf("snapshot: %d: %s", code, out)
	}
	out, code = c.run("uploads", "list", "--config", "central.yaml", "--waiting", "--json")
	var list []struct {
		ID, Authority, State, Kind string
		Sequence, Closing, Current int
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil || code != 0 || len(list) != 1 || list[0].Authority != "806" || list[0].Closing != 4 || list[0].Current != 10 {
		t.Fatalf("uploads list: %d, %v: %s", code, err, out)
	}
	id := list[0].ID
	if out, code := c.run("uploads", "list", "--config", "central.yaml"); code != 0 || strings.Count(out, "\n") != 3 || !strings.Contains(out, "4 of 10") {
		t.Errorf("uploads list: %d: %s", code, out)
	}
	if out, code := c.run("uploads", "show", id, "--config", "central.yaml"); code != 0 || !strings.Contains(out, "waiting") || strings.Contains(out, "999") {
		t.Errorf("uploads show: %d: %s", code, out)
	}
	if out, code := c.run("uploads", "release", id, "--config", "central.yaml"); code != 1 || !strings.Contains(out, "--reason") {
		t.Errorf("release without a reason: %d: %s", code, out)
	}
	if out, code := c.run("uploads", "release", id, "--reason", "four have left", "--config", "central.yaml"); code != 0 || !strings.Contains(out, "applied, all 6 rows loaded") {
		t.Errorf("release: %d: %s", code, out)
	}
	if out, code := c.run("uploads", "reject", id, "--reason", "no", "--config", "central.yaml"); code != 1 || !strings.Contains(out, "does not wait: it is applied") {
		t.Errorf("reject what was released: %d: %s", code, out)
	}
	out, code = c.authority("report", "--sequence", "2", "--json")
	if r := report(t, out); code != 0 || r.ID != id || r.Ended != 4 || r.Loaded != 6 || r.State != client.Applied {
		t.Errorf("report: %d: %s", code, out)
	}
	if out, code := c.authority("upload", "few.csv", "--snapshot", "--sequence", "2"); code != 0 || !strings.Contains(out, "this upload came before") {
		t.Errorf("a repeat: %d: %s", code, out)
	}
	if out, code := c.authority("upload", "all.csv", "--sequence", "2"); code != 1 || !strings.Contains(out, "the next is 3") {
		t.Errorf("a number used twice: %d: %s", code, out)
	}
	if out, code := c.run("audit", "export", "--config", "central.yaml"); code != 0 || strings.Count(out, `"upload released"`) != 1 || !strings.Contains(out, "four have left") {
		t.Errorf("audit: %d", code)
	}
}

func TestNumbersOutOfUse(t *testing.T) {
	c := newPlace(t).start()
	c.write("flags.csv", flagsFile)
	if out, code := c.authority("upload", "flags.csv", "--sequence", "41"); code != 0 {
		t.Fatalf("upload: %d: %s", code, out)
	}
	c.write("list.csv", "nhs_number,standing\n9990000107,superseded\n9990000115,sensitive\n")
	if out, code := c.run("demographics", "import", "list.csv", "--config", "central.yaml"); code != 0 || !strings.Contains(out, "2 numbers imported; local authorities are owed 1 new notices") {
		t.Errorf("import: %d: %s", code, out)
	}
	out, code := c.authority("upload", "flags.csv", "--sequence", "42", "--json")
	if r := report(t, out); code != 3 || r.Verdicts[0].Code != "CPR05" || strings.Contains(out, "not checked") {
		t.Errorf("upload after it: %d: %s", code, out)
	}
	if out, code := c.authority("inactive-numbers", "export"); code != 0 || !strings.Contains(out, ",9990000107,superseded,41,") || strings.Count(out, "\n") != 2 {
		t.Errorf("export as CSV: %d: %s", code, out)
	}
	if out, code := c.authority("inactive-numbers", "export", "--format", "cpis-xml"); code != 1 || !strings.Contains(out, "--authority") {
		t.Errorf("export without a recipient: %d: %s", code, out)
	}
	out, code = c.authority("inactive-numbers", "export", "--format", "cpis-xml", "--authority", "806", "--name", "Middlesbrough", "--output", "inactive.xml", "--acknowledge")
	if code != 0 || !strings.Contains(out, "1 acknowledged") {
		t.Errorf("export as XML: %d: %s", code, out)
	}
	in, err := os.Open(c.path("inactive.xml"))
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	n, err := cpisxml.ReadInactive(in)
	if err != nil || len(n.Numbers) != 1 || n.Numbers[0].Number.Reveal() != "9990000107" || n.Numbers[0].Upload != "41" || !n.Numbers[0].Replacement.IsZero() {
		t.Errorf("notification %+v, %v", n, err)
	}
	if out, code := c.authority("inactive-numbers", "export"); code != 0 || strings.Count(out, "\n") != 1 {
		t.Errorf("after the acknowledgement: %d: %s", code, out)
	}

	erase := c.command("erase", "--reason", "asked for", "--config", "central.yaml")
	erase.Stdin = strings.NewReader("999 000 0107\n")
	if out, err := erase.CombinedOutput(); err != nil || !strings.Contains(string(out), "removed: 1 persons, 1 flags") {
		t.Errorf("erase: %v: %s", err, out)
	}
	if out, code := c.run("retention", "report", "--config", "central.yaml"); code != 0 || !strings.Contains(out, "nothing was removed yet") {
		t.Errorf("retention report: %d: %s", code, out)
	}
	if out, code := c.run("retention", "run", "--dry-run", "--config", "central.yaml"); code != 0 || !strings.Contains(out, "would be removed: 0 persons") {
		t.Errorf("retention run --dry-run: %d: %s", code, out)
	}
	if out, code := c.run("retention", "run", "--config", "central.yaml"); code != 0 || !strings.Contains(out, "removed: 0 persons") {
		t.Errorf("retention run: %d: %s", code, out)
	}
	if out, code := c.run("retention", "report", "--json", "--config", "central.yaml"); code != 0 || strings.Count(out, `"began"`) != 1 || !strings.Contains(out, `"who": "operator `) {
		t.Errorf("retention report: %d: %s", code, out)
	}
}

func TestNationalUpload(t *testing.T) {
	c := newPlace(t).start()
	number, err := safeguard.ParseNHSNumber("9990000107")
	if err != nil {
		t.Fatal(err)
	}
	code806, err := safeguard.ParseODSCode("806")
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	err = cpisxml.WriteUpload(&b, cpisxml.Header{Created: time.Now(), Sequence: "1042", Quantity: 1,
		Sender: cpisxml.Organisation{Code: code806, Name: "Middlesbrough", EmergencyDuty: "01632960806"}},
		func(yield func(cpisxml.Record, error) bool) {
			yield(cpisxml.Record{
				Plans:    []cpisxml.Plan{{Plan: safeguard.ChildProtection, Start: "202501020000"}},
				Subjects: []cpisxml.Subject{{NHSNumber: safeguard.Hide(number.Reveal()), Born: safeguard.Hide("20190607"), Given: safeguard.Hide("Testy"), Family: safeguard.Hide("Mctestface")}},
			}, nil)
		})
	if err != nil {
		t.Fatal(err)
	}
	c.write("up.xml", b.String())
	if out, code := c.authority("upload", "up.xml", "--sequence", "7"); code != 1 || !strings.Contains(out, "its own sequence number is 1042") {
		t.Errorf("another number: %d: %s", code, out)
	}
	out, code := c.authority("upload", "up.xml", "--acknowledgement", "ack.xml", "--json")
	if r := report(t, out); code != 0 || r.Sequence != 1042 || r.File == "" {
		t.Errorf("upload: %d: %s", code, out)
	}
	in, err := os.Open(c.path("ack.xml"))
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if a, answers, err := cpisxml.ReadAcknowledgement(in); err != nil || a.File != cpisxml.FileLoaded || a.Sequence != "1042" || len(answers) != 1 || answers[0].Code != cpisxml.RecordLoaded {
		t.Errorf("acknowledgement %+v, %+v, %v", a, answers, err)
	}
	if out, code := c.authority("upload", "up.xml", "--acknowledgement", "ack.xml"); code != 1 || !strings.Contains(out, "ack.xml") {
		t.Errorf("an acknowledgement that is there: %d: %s", code, out)
	}
	c.write("flags.csv", flagsFile)
	if out, code := c.authority("upload", "flags.csv", "--acknowledgement", "csv.xml"); code != 1 || !strings.Contains(out, "no national XML") {
		t.Errorf("an acknowledgement of CSV: %d: %s", code, out)
	}
	c.write("cut.xml", b.String()[:b.Len()-10])
	out, code = c.authority("upload", "cut.xml", "--json")
	if code != 1 || !strings.Contains(out, `"verdict": "CPF01"`) || !strings.Contains(out, `"state": "refused"`) {
		t.Errorf("broken off: %d: %s", code, out)
	}
}

// A centre that is killed again and again takes each file of its folder once.
func TestFolderThroughKills(t *testing.T) {
	p := newPlace(t)
	p.write("central.yaml", config+"uploads: {folder: uploads, poll: 5ms, settle: 10ms}\n")
	folder := p.path("uploads/806")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	const files = 6
	for n := 1; n <= files; n++ {
		p.write(fmt.Sprintf("uploads/806/flags%d.csv", n), flagsOf(200+n))
	}
	taken := func() int {
		found, err := filepath.Glob(filepath.Join(folder, "taken", "*.csv"))
		if err != nil {
			t.Fatal(err)
		}
		return len(found)
	}
	var c *centre
	for before := -1; taken() < files; {
		c = p.start()
		// Killed whenever one more is taken: somewhere in the next.
		for end := time.Now().Add(60 * time.Second); taken() <= before; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%d of %d files are taken", taken(), files)
			}
		}
		before = taken()
		c.kill()
	}
	out, code := p.run("uploads", "list", "--config", "central.yaml", "--json")
	var list []struct{ Loaded, Rows int }
	if err := json.Unmarshal([]byte(out), &list); err != nil || code != 0 || len(list) != files {
		t.Fatalf("uploads: %d, %v: %d of %d", code, err, len(list), files)
	}
	for _, u := range list {
		if u.Loaded != u.Rows {
			t.Errorf("%d of %d rows loaded", u.Loaded, u.Rows)
		}
	}
	reports, err := filepath.Glob(filepath.Join(folder, "taken", "*.report.json"))
	if err != nil || len(reports) != files {
		t.Errorf("%d reports, %v, want %d", len(reports), err, files)
	}
	if left, err := filepath.Glob(filepath.Join(folder, "*.csv")); err != nil || len(left) != 0 {
		t.Errorf("%v left, %v", left, err)
	}
}
