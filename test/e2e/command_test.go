package e2e

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/store"
	"github.com/safeguard-edge/safeguard/test/world"
)

// ordered has the centre ask the agent, and gives what became of each command.
func ordered(t *testing.T, w *world.World, dos ...safeguard.RemoteDo) (answers []store.OrderedCommand) {
	t.Helper()
	var ids []string
	for _, do := range dos {
		said, err := w.Run(t.Context(), "safeguard-central", "fleet", "command", "RX1/RX101", string(do), "--config", w.Path("central.yaml"))
		id, _, ok := strings.Cut(said, ":")
		if err != nil || !ok {
			t.Fatalf("%s: said %q, %v", do, said, err)
		}
		ids = append(ids, id)
	}
	for end := time.Now().Add(2 * time.Minute); ; <-time.After(time.Second) {
		text, err := w.Run(t.Context(), "safeguard-central", "fleet", "commands", "--json", "--config", w.Path("central.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		var list []store.OrderedCommand
		if err := json.Unmarshal([]byte(text), &list); err != nil {
			t.Fatal(err)
		}
		answers = nil
		for _, id := range ids {
			if i := slices.IndexFunc(list, func(c store.OrderedCommand) bool { return c.ID == id && c.Outcome != "" }); i >= 0 {
				answers = append(answers, list[i])
			}
		}
		if len(answers) == len(ids) {
			return answers
		}
		if time.Now().After(end) {
			t.Fatalf("not answered: %s", text)
		}
	}
}

func TestOperationsAskAnAgentForTheLittleThatItsSiteAllows(t *testing.T) {
	w := newWorld(t)
	for end := time.Now().Add(time.Minute); len(seen(t, w).Agents) == 0; <-time.After(time.Second) {
		if time.Now().After(end) {
			t.Fatal("the agent is not heard from")
		}
	}
	first := ordered(t, w, safeguard.RunCheck, safeguard.SendBundle)
	if c := first[0]; c.Outcome != safeguard.CommandDone || !strings.Contains(c.Text, "pass central TLS") {
		t.Errorf("check: %+v", c)
	}
	if c := first[1]; c.Outcome != safeguard.CommandRefused || c.Bundle || !strings.Contains(c.Text, "remote.allow") {
		t.Errorf("a bundle without the site's consent: %+v", c)
	}
	config, err := os.ReadFile(w.Path("agent.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(w.Path("agent.yaml"), append(config, []byte("remote:\n  allow: [support-bundle, rotate-keys]\n")...), 0o600); err != nil {
		t.Fatal(err)
	}
	// The site's word counts at once.
	if _, err := w.Run(t.Context(), "safeguard-agent", "config", "reload", "--config", w.Path("agent.yaml")); err != nil {
		t.Fatal(err)
	}
	second := ordered(t, w, safeguard.RunCheck, safeguard.RotateKeys, safeguard.SendBundle)
	if c := second[0]; c.Outcome != safeguard.CommandRefused {
		t.Errorf("what the site allows no more: %+v", c)
	}
	if c := second[1]; c.Outcome != safeguard.CommandDone {
		t.Errorf("rotate keys: %+v", c)
	}
	c := second[2]
	if c.Outcome != safeguard.CommandDone || !c.Bundle {
		t.Fatalf("a bundle with the site's consent: %+v", c)
	}
	if _, err := w.Run(t.Context(), "safeguard-central", "fleet", "bundle", c.ID, "--output", w.Path("sent.zip"), "--config", w.Path("central.yaml")); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(w.Path("sent.zip"))
	if err != nil {
		t.Fatal(err)
	}
	if archive, err := zip.NewReader(bytes.NewReader(text), int64(len(text))); err != nil || len(archive.File) < 8 {
		t.Errorf("the bundle of %d bytes can not be read: %v", len(text), err)
	}
	// Both ends know who did what.
	local, err := w.Run(t.Context(), "safeguard-agent", "journal", "audit", "--config", w.Path("agent.yaml"))
	if err != nil || strings.Count(local, "remote support-bundle") != 2 || strings.Count(local, "refused") != 2 || !strings.Contains(local, "remote rotate-keys") {
		t.Errorf("the agent's audit: %v\n%s", err, local)
	}
	central, err := w.Run(t.Context(), "safeguard-central", "audit", "export", "--config", w.Path("central.yaml"))
	if err != nil || strings.Count(central, `"command ordered"`) != 5 || strings.Count(central, `"command answered"`) != 5 || strings.Count(central, `"support bundle taken"`) != 1 {
		t.Errorf("the centre's audit has not five orders, their answers and one look: %v\n%s", err, central)
	}
}
