package e2e

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard/agent"
	"github.com/safeguard-edge/safeguard/agent/support"
	"github.com/safeguard-edge/safeguard/test/hospital"
	"github.com/safeguard-edge/safeguard/test/world"
)

// canary is what no bundle may have, in any writing.
const canary = "ZEBRAFINCH"

// marked is a registration that has the canary in every field that may be about a
// patient, each time another one.
func marked(w *world.World, who hospital.Person, visit string) []byte {
	who.Family, who.Given = canary+"FAMILY", canary+"GIVEN"
	segments := strings.Split(string(w.PAS.Message("A04", who, visit, time.Now())), "\r")
	for i, s := range segments {
		fields := strings.Split(s, "|")
		if fields[0] != "PID" {
			continue
		}
		for len(fields) < 31 {
			fields = append(fields, "")
		}
		for n := 9; n < 31; n++ {
			if fields[n] == "" && n != 30 && n != 21 {
				fields[n] = fmt.Sprintf("%sPID%d", canary, n)
			}
		}
		segments[i] = strings.Join(fields, "|")
	}
	more := []string{"NK1|1|" + canary + "KIN^A|MTH|1 " + canary + " ROAD", "OBX|1|TX|note||" + canary + "NOTE", "ZZZ|" + canary + "OWN"}
	return []byte(strings.TrimRight(strings.Join(segments, "\r"), "\r") + "\r" + strings.Join(more, "\r") + "\r")
}

// bundle makes one with the program, and gives its files.
func bundle(t *testing.T, w *world.World, name string) map[string]string {
	t.Helper()
	if _, err := w.Run(t.Context(), "safeguard-agent", "support", "bundle", "--config", w.Path("agent.yaml"), "--output", w.Path(name)); err != nil {
		t.Fatal(err)
	}
	return unpacked(t, w.Path(name))
}

// unpacked gives the files of a bundle.
func unpacked(t *testing.T, path string) map[string]string {
	t.Helper()
	archive, err := zip.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	files := map[string]string{}
	for _, f := range archive.File {
		in, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		files[f.Name] = string(text)
	}
	return files
}

// wantClean wants nothing of patients and nothing secret in the files, and the
// files to be there and not empty.
func wantClean(t *testing.T, w *world.World, files map[string]string, want ...string) {
	t.Helper()
	key, err := os.ReadFile(w.Path("agent", "central-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	never := []string{canary, "PRIVATE KEY", strings.Split(string(key), "\n")[1]}
	for _, p := range hospital.People {
		for _, s := range []string{p.Number, p.MRN, p.Family, p.Born.Format("20060102"), p.Born.Format(time.DateOnly)} {
			if s != "" {
				never = append(never, s)
			}
		}
	}
	for name, text := range files {
		for _, s := range never {
			if at := strings.Index(strings.ToUpper(text), strings.ToUpper(s)); at >= 0 {
				t.Errorf("%s has %q: %.200s", name, s, text[max(0, at-80):])
			}
		}
	}
	for _, name := range want {
		if len(files[name]) < 3 {
			t.Errorf("%s is not in it, or empty: %s", name, files["README.txt"])
		}
	}
}

// A site sends the bundle to others, so that nothing about a patient may be in it,
// whatever has gone wrong before.
func TestASupportBundleHasNothingAboutAPatient(t *testing.T) {
	w := newWorld(t)
	config, err := os.ReadFile(w.Path("agent.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	config = bytes.Replace(config, []byte("sinks:\n  - name: epr\n"), []byte("sinks:\n  - name: epr\n    test_patient: {nhs_number: \"9990000344\", hospital_number: "+canary+"1, hospital_number_authority: RX1, hospital_number_type: MR, family: "+canary+", given: TEST, born: \"2015-01-01\"}\n"), 1)
	config = append(config, []byte("# "+canary+" was admitted with 9990000344\n")...)
	if err := os.WriteFile(w.Path("agent.yaml"), config, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := w.StopAgent(); err != nil {
		t.Fatal(err)
	}
	if err := w.StartAgent(t.Context()); err != nil {
		t.Fatal(err)
	}
	send := func(message []byte) {
		t.Helper()
		if _, err := w.PAS.Send(t.Context(), message); err != nil {
			t.Fatal(err)
		}
	}
	send(marked(w, hospital.Plan, "V1"))
	if _, _, err := w.EPR.Wait(t.Context(), 0, func(hospital.Received) bool { return true }); err != nil {
		t.Fatal(err)
	}
	// What can go wrong: a message that can not be read, an EPR that refuses with
	// words, one that is mute, a centre that is away.
	send([]byte("MSH|^~\\&|PAS|RX1|S|RX1|" + canary + "TIME||ADT^A04|" + canary + "ID|P|2.4\rPID|1||" + canary + "^^^NHS||" + canary + "\r"))
	w.EPR.Answer("AE")
	send(marked(w, hospital.LookedAfter, "V2"))
	if err := w.StopCentral(); err != nil {
		t.Fatal(err)
	}
	send(marked(w, hospital.NoFlag, "V3"))
	send(marked(w, hospital.NoNumber, "V4"))

	ran := bundle(t, w, "running.zip")
	wantClean(t, w, ran, "README.txt", "manifest.json", "versions.json", "configuration.yaml", "certificates.json", "check.json", "data.json", "status.json", "feeds.json", "journal.json", "keys.json", "metrics.txt", "log.jsonl")
	var m support.Manifest
	if err := json.Unmarshal([]byte(ran["manifest.json"]), &m); err != nil || !m.Running {
		t.Errorf("manifest: running %v, %v", m.Running, err)
	}
	var found []agent.Finding
	if err := json.Unmarshal([]byte(ran["check.json"]), &found); err != nil || len(found) < 5 {
		t.Errorf("check: %d findings, %v", len(found), err)
	}
	if err := w.StopAgent(); err != nil {
		t.Fatal(err)
	}
	stopped := bundle(t, w, "stopped.zip")
	wantClean(t, w, stopped, "README.txt", "manifest.json", "versions.json", "configuration.yaml", "certificates.json", "check.json", "data.json", "day.json")
	if !strings.Contains(stopped["README.txt"], "did not run") {
		t.Errorf("readme: %s", stopped["README.txt"])
	}
	if err := os.WriteFile(w.Path("agent.yaml"), append(config, []byte("secret: hunter2\n")...), 0o600); err != nil {
		t.Fatal(err)
	}
	broken := bundle(t, w, "broken.zip")
	wantClean(t, w, broken, "README.txt", "manifest.json", "versions.json", "data.json", "day.json")
	if strings.Contains(strings.Join([]string{broken["README.txt"], broken["manifest.json"], broken["check.json"]}, ""), "hunter2") {
		t.Error("a secret that should not be in the configuration is in the bundle")
	}
}
