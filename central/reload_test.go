package central

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/safeguard-edge/safeguard/configs"
	"github.com/safeguard-edge/safeguard/logging"
)

// TestReloadTakesParticipants: a site and an authority that were added to the file
// take part without a restart; the rest is said by name; a bad file changes nothing.
func TestReloadTakesParticipants(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "central.yaml")
	i := Initial{Data: filepath.Join(dir, "data"), MasterKey: filepath.Join(dir, "keys", "master.key"), TestNumbers: true}
	if err := i.Write(file); err != nil {
		t.Fatal(err)
	}
	c, err := Load(file)
	if err != nil {
		t.Fatal(err)
	}
	if c.ProductionChecks {
		t.Error("a new file for test numbers refuses them")
	}
	if c.TLS.ClientsCA != "" {
		t.Errorf("a new file trusts %s, want none but the centre's own authority", c.TLS.ClientsCA)
	}
	if len(c.Sites)+len(c.Authorities) > 0 || c.Uploads.Folder != filepath.Join(dir, "data", "uploads") {
		t.Errorf("a new file has %d sites, %d authorities, uploads in %s", len(c.Sites), len(c.Authorities), c.Uploads.Folder)
	}
	if err := os.MkdirAll(filepath.Dir(c.MasterKey), 0o700); err != nil {
		t.Fatal(err)
	}
	held, err := c.openStore(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	put := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r := &reloader{in: c, store: held, log: slog.New(slog.DiscardHandler)}
	put(strings.Replace(string(text), "tail_months: 12", "tail_months: 6", 1) +
		"sites: [{organisation: RX9, site: RX901, name: A, care_settings: [maternity]}]\nauthorities: [{code: \"906\", name: B, emergency_duty_phone: 01632 960001}]\n")
	done, err := r.reload(t.Context(), "test")
	if err != nil || !slices.Equal(done.Applied, []string{"sites", "authorities"}) || !slices.Equal(done.Restart, []string{"policy.tail_months"}) {
		t.Fatalf("got %+v, %v", done, err)
	}
	d, err := held.Directory(t.Context(), 0)
	if err != nil || len(d.Sites) != 1 || len(d.Authorities) != 1 {
		t.Errorf("%d sites, %d authorities (%v), want one of each", len(d.Sites), len(d.Authorities), err)
	}
	before := r.in
	put(string(text) + "sites: [{organisation: RX9, site: RX902, name: A, care_settings: [casualty]}]\n")
	if _, err := r.reload(t.Context(), "test"); err == nil || !strings.Contains(err.Error(), "casualty") {
		t.Errorf("got %v, want one that names the word", err)
	}
	if diff := configs.Diff(before, r.in); len(diff) > 0 {
		t.Errorf("changed all the same: %v", diff)
	}
}

// TestReloadTakesTheLog: how the centre logs changes while it runs, and a log that
// can not be opened leaves it as it was.
func TestReloadTakesTheLog(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "central.yaml")
	i := Initial{Data: filepath.Join(dir, "data"), MasterKey: filepath.Join(dir, "keys", "master.key")}
	if err := i.Write(file); err != nil {
		t.Fatal(err)
	}
	c, err := Load(file)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := os.Create(filepath.Join(dir, "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	logs := logging.Start(logging.System{Stderr: stream})
	r := &reloader{in: c, log: logs.Logger()}
	for _, step := range []struct {
		old, new string
		applied  []string
		wrong    string
	}{
		{"level: info", "level: debug", []string{"log"}, ""},
		{"to: auto", "to: file\n  file: {path: /dev/null/central.log}", nil, "log.to"},
		{"level: info", "level: loud", nil, "level"},
	} {
		if !strings.Contains(string(text), step.old) {
			t.Fatalf("the sample has no %q", step.old)
		}
		if err := os.WriteFile(file, []byte(strings.Replace(string(text), step.old, step.new, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		done, err := r.reload(t.Context(), "test")
		if !slices.Equal(done.Applied, step.applied) || (err != nil) != (step.wrong != "") || err != nil && !strings.Contains(err.Error(), step.wrong) {
			t.Errorf("%s: applied %v, %v", step.new, done.Applied, err)
		}
		if now, _, _ := logs.Levels(); now != logging.Debug {
			t.Errorf("%s: logs at %v", step.new, now)
		}
	}
}
