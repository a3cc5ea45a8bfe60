package main

import (
	"encoding/csv"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/cpisxml"
)

// What a local authority does with its notifications, and how it looks back.
func TestTakingNotificationsOver(t *testing.T) {
	c := newPlace(t).start()
	c.write("flags.csv", flagsFile)
	if out, code := c.authority("upload", "--sequence", "41", "flags.csv"); code != 0 {
		t.Fatalf("upload: %d: %s", code, out)
	}
	agent := c.agent()
	for _, visit := range []string{"visit 1", "visit 2"} {
		if _, err := agent.Lookup(t.Context(), query(t, visit)); err != nil {
			t.Fatal(err)
		}
	}
	q := query(t, "visit 1")
	correction := safeguard.Correction{Number: q.Number, Author: q.Author, Attendance: q.Attendance, Reason: safeguard.AttendanceCancelled, At: time.Now()}
	if done, err := agent.Correct(t.Context(), correction); err != nil || done != safeguard.CorrectedNow {
		t.Fatalf("correct: %v, %v", done, err)
	}

	out, code := c.authority("notifications", "list")
	if code != 0 || !strings.Contains(out, "TAKES BACK ") || !strings.Contains(out, "attendance-cancelled") {
		t.Errorf("list: %d: %s", code, out)
	}
	out, code = c.authority("notifications", "export", "--format", "cpis-xml", "--authority", "806", "--name", "Middlesbrough", "--asid", "000000000001", "--output", "access.xml")
	if code != 0 || !strings.Contains(out, "1 corrections are left out") {
		t.Errorf("export as XML: %d: %s", code, out)
	}
	f, err := os.Open(c.path("access.xml"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if n, err := cpisxml.ReadAccess(f); err != nil || len(n.Accesses) != 2 || n.Accesses[0].Upload != "41" || n.Accesses[1].Upload != "41" {
		t.Errorf("the XML: %+v, %v, want two accesses, of the upload 41", n, err)
	}
	if out, code := c.authority("notifications", "export", "--format", "cpis-xml"); code != 1 || !strings.Contains(out, "--asid") {
		t.Errorf("export as XML of nobody: %d: %s", code, out)
	}
	if got := len(c.notifications()); got != 3 {
		t.Errorf("%d wait after exports, want 3", got)
	}

	if out, code := c.authority("notifications", "pull", "--into", "nowhere"); code != 1 || !strings.Contains(out, "nowhere") {
		t.Errorf("pull into a folder that is not there: %d: %s", code, out)
	}
	if err := os.Mkdir(c.path("in"), 0o700); err != nil {
		t.Fatal(err)
	}
	out, code = c.authority("notifications", "pull", "--into", "in")
	path := strings.TrimSpace(out)
	if code != 0 || filepath.Dir(path) != c.path("in") {
		t.Fatalf("pull: %d: %s", code, out)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(strings.NewReader(string(text))).ReadAll()
	if err != nil || len(rows) != 4 || rows[1][1] != "9990000107" || rows[3][15] != rows[1][0] || rows[3][16] != "attendance-cancelled" {
		t.Errorf("the file: %v: %q", err, rows)
	}
	if out, code := c.authority("notifications", "pull", "--into", "in"); code != 0 || out != "" || len(c.notifications()) != 0 {
		t.Errorf("pull again: %d: %s, want nothing", code, out)
	}

	out, code = c.authority("accesses", "--format", "json")
	var first struct {
		ID             string `json:"id"`
		AcknowledgedAt string `json:"acknowledged_at"`
		CorrectedBy    string `json:"corrected_by"`
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if err := json.Unmarshal([]byte(lines[0]), &first); err != nil || code != 0 || len(lines) != 3 || first.ID != rows[1][0] || first.CorrectedBy != rows[3][0] || first.AcknowledgedAt == "" {
		t.Errorf("accesses: %d, %v: %s", code, err, out)
	}
	if out, code := c.authority("accesses", "--until", "2026-01-01"); code != 0 || strings.Count(out, "\n") != 1 {
		t.Errorf("accesses before: %d: %s, want the header only", code, out)
	}
	for number, want := range map[string]int{"999 000 0107": 4, "9990000115": 1} {
		command := c.command(c.asAuthority("accesses", "--person")...)
		command.Stdin = strings.NewReader(number + "\n")
		out, err := command.Output()
		if err != nil || strings.Count(string(out), "\n") != want {
			t.Errorf("accesses of one person: %v: %s, want %d lines", err, out, want)
		}
	}
}

func TestWebhookFromTheConfiguration(t *testing.T) {
	came := make(chan string, 10)
	receiver := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var e struct {
			Type string `json:"type"`
		}
		_ = json.NewDecoder(r.Body).Decode(&e)
		came <- e.Type
	}))
	defer receiver.Close()
	want := func(kind string) {
		t.Helper()
		select {
		case got := <-came:
			if got != kind {
				t.Errorf("came %s, want %s", got, kind)
			}
		case <-time.After(60 * time.Second):
			t.Errorf("nothing came, want %s", kind)
		}
	}
	p := newPlace(t)
	p.write("receiver.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: receiver.Certificate().Raw})))
	p.write("central.yaml", config+"webhooks:\n  - {authority: 806, url: "+receiver.URL+"/in, secret_file: secret/806.txt, ca: receiver.pem}\n")
	if out, code := p.run("webhook", "test", "806", "--config", "central.yaml"); code != 1 || !strings.Contains(out, "webhooks[0].secret_file") {
		t.Errorf("without a secret: %d: %s", code, out)
	}
	if out, code := p.run("webhook", "secret", "secret/806.txt"); code != 0 || out != "" {
		t.Errorf("secret: %d: %s", code, out)
	}
	if out, code := p.run("webhook", "secret", "secret/806.txt"); code != 1 {
		t.Errorf("a secret that is there was written over: %d: %s", code, out)
	}
	if out, code := p.run("webhook", "test", "806", "--config", "central.yaml"); code != 0 || out != "806: the receiver has taken it\n" {
		t.Errorf("test: %d: %s", code, out)
	}
	want("test")
	c := p.start()
	c.write("flags.csv", flagsFile)
	if out, code := c.authority("upload", "flags.csv"); code != 0 {
		t.Fatalf("upload: %d: %s", code, out)
	}
	if _, err := c.agent().Lookup(t.Context(), query(t, "visit 1")); err != nil {
		t.Fatal(err)
	}
	want("attendance.notified")
	for deadline := time.Now().Add(30 * time.Second); len(c.notifications()) > 0; {
		if time.Now().After(deadline) {
			t.Fatal("it was sent, and waits still")
		}
	}
}
