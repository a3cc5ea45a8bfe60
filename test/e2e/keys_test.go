package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard/test/hospital"
)

// keysStatus is what keys status --json shows.
type keysStatus struct {
	Ring     string `json:"ring"`
	DataKeys int    `json:"data_keys"`
	Master   string `json:"master"`
	MasterID string `json:"master_id"`
	Running  bool   `json:"running"`
}

// TestKeys rotates and rewraps the keys of a running agent, reads what older keys
// sealed, and shows that a copy of its data is of no use without the master key.
func TestKeys(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	keys := func(args ...string) keysStatus {
		t.Helper()
		out, err := w.Run(ctx, "safeguard-agent", append(append([]string{"keys"}, args...), "--config", w.Path("agent.yaml"), "--json")...)
		if err != nil {
			t.Fatal(err)
		}
		var s keysStatus
		if err := json.Unmarshal([]byte(out), &s); err != nil {
			t.Fatal(err)
		}
		return s
	}
	visit := 0
	register := func() {
		t.Helper()
		visit++
		name := fmt.Sprint("K", visit)
		if _, err := w.PAS.Send(ctx, w.PAS.Message("A04", hospital.Plan, name, time.Now())); err != nil {
			t.Fatal(err)
		}
		settled(ctx, t, w, []string{name})
	}
	register()
	first := keys("status")
	if !first.Running || first.DataKeys != 1 || first.Ring == "" || first.Master != w.Path("keys", "agent.key") {
		t.Errorf("at first %+v", first)
	}
	rotated := keys("rotate")
	if rotated.DataKeys != 2 || rotated.Ring != first.Ring {
		t.Errorf("rotated %+v, want a second data key", rotated)
	}
	register()
	if rewrapped := keys("rewrap"); rewrapped.MasterID == first.MasterID || rewrapped.DataKeys != 2 {
		t.Errorf("rewrapped %+v, want another master key than %s", rewrapped, first.MasterID)
	}
	register()
	if out, err := w.Run(ctx, "safeguard-agent", "keys", "destroy", "--config", w.Path("agent.yaml"), "--confirm", first.Ring); err == nil {
		t.Errorf("destroyed the keys of a running agent: %s", out)
	}
	if err := w.StopAgent(); err != nil {
		t.Fatal(err)
	}
	if s := keys("rotate"); s.Running || s.DataKeys != 3 {
		t.Errorf("rotated while stopped %+v", s)
	}

	// A backup of the data folder, on another machine: without the master key, and
	// with one that another agent made.
	stolen := t.TempDir()
	if err := os.CopyFS(filepath.Join(stolen, "agent"), os.DirFS(w.Path("agent"))); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(stolen, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := os.ReadFile(path)
		for _, secret := range []string{hospital.Plan.Number, hospital.Plan.Family, hospital.Plan.MRN} {
			if strings.Contains(string(body), secret) {
				t.Errorf("%s holds %q", path, secret)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	config, err := os.ReadFile(w.Path("agent.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer("data: agent\n", "data: "+filepath.Join(stolen, "agent")+"\n",
		"master_key: keys/agent.key", "master_key: "+filepath.Join(stolen, "etc", "master.key")).Replace(string(config))
	if err := os.WriteFile(w.Path("stolen.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	refused := func(how, want string) {
		t.Helper()
		for _, command := range [][]string{{"run"}, {"keys", "status"}} {
			out, err := w.Run(ctx, "safeguard-agent", append(command, "--config", w.Path("stolen.yaml"))...)
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v with %s: %v %s, want a refusal that says %q", command, how, err, out, want)
			}
		}
	}
	refused("no master key", "master key missing")
	if err := os.MkdirAll(filepath.Join(stolen, "etc"), 0o700); err != nil {
		t.Fatal(err)
	}
	other, err := os.ReadFile(w.Path("keys", "central.key"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(stolen, "etc", "master.key"), other, 0o600); err != nil {
		t.Fatal(err)
	}
	refused("another master key", "wrong master key")

	if err := w.StartAgent(ctx); err != nil {
		t.Fatal(err)
	}
	register()
	if err := w.StopAgent(); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Run(ctx, "safeguard-agent", "keys", "destroy", "--config", w.Path("agent.yaml"), "--confirm", "0000"); err == nil {
		t.Error("destroyed keys that were not named")
	}
	if _, err := w.Run(ctx, "safeguard-agent", "keys", "destroy", "--config", w.Path("agent.yaml"), "--confirm", first.Ring); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(w.Path("keys", "agent.key")); !os.IsNotExist(err) {
		t.Errorf("the master key is still there: %v", err)
	}
	if out, err := w.Run(ctx, "safeguard-agent", "run", "--config", w.Path("agent.yaml")); err == nil || !strings.Contains(err.Error(), "sealed by other keys") {
		t.Errorf("after the keys were destroyed: %v %s, want what is there refused", err, out)
	}
}
