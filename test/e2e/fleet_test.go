package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard/central/fleet"
	"github.com/safeguard-edge/safeguard/test/hospital"
	"github.com/safeguard-edge/safeguard/test/world"
)

// seen is the fleet as the operator's command has it.
func seen(t *testing.T, w *world.World) (o fleet.Overview) {
	t.Helper()
	out, err := w.Run(t.Context(), "safeguard-central", "fleet", "list", "--json", "--config", w.Path("central.yaml"))
	if err == nil {
		err = json.Unmarshal([]byte(out), &o)
	}
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// What an agent is like, operations see within seconds: that it works, that an
// attendance came, that it was stopped.
func TestOperationsSeeTheAgent(t *testing.T) {
	w := newWorld(t)
	until := func(what string, ok func(a fleet.Agent) bool) {
		t.Helper()
		for end := time.Now().Add(90 * time.Second); ; <-time.After(time.Second) {
			o := seen(t, w)
			if len(o.Agents) == 1 && ok(o.Agents[0]) {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("not seen: %s; got %+v", what, o.Agents)
			}
		}
	}
	until("it works", func(a fleet.Agent) bool {
		h := a.Report
		return a.State == "working" && a.Key.String() == "RX1/RX101" && len(h.Feeds) == 1 && len(h.Sinks) > 0 && h.Disk.Free > 0 && len(h.Config) == 64 && !h.Certificate.Until.IsZero()
	})
	if o := seen(t, w); len(o.Sites) != 1 || o.Sites[0].State != "working" || len(o.Authorities) != 1 || o.Authorities[0].Uploaded.IsZero() {
		t.Errorf("got sites %+v, authorities %+v", o.Sites, o.Authorities)
	}
	if _, err := w.PAS.Send(t.Context(), w.PAS.Message("A04", hospital.Plan, "F1", time.Now())); err != nil {
		t.Fatal(err)
	}
	until("a message came", func(a fleet.Agent) bool {
		return a.Report.Feeds[0].Messages == 1 && !a.Report.Feeds[0].LastMessage.IsZero()
	})

	run := func(args ...string) (string, error) {
		return w.Run(t.Context(), "safeguard-central", append(append([]string{"fleet"}, args...), "--config", w.Path("central.yaml"))...)
	}
	if out, err := run("intend", "RX1/RX101", "--configuration", "current"); err != nil || !strings.Contains(out, seen(t, w).Agents[0].Report.Config) {
		t.Errorf("got %q, %v", out, err)
	}
	for _, c := range []struct {
		want string
		args []string
	}{
		{"no agent of that name", []string{"show", "RX9/a1"}},
		{"there is none", []string{"acknowledge", "4711"}},
		{"there is none", []string{"note", "4711", "x"}},
		{"want organisation and id", []string{"intend", "dev"}},
		{"want the 64 digits", []string{"intend", "RX1/RX101", "--configuration", "abc"}},
	} {
		if _, err := run(c.args...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: got %v, want it to say %q", c.args, err, c.want)
		}
	}
	if out, err := run("show", "RX1/RX101"); err != nil || !strings.Contains(out, "feed pas") {
		t.Errorf("got %q, %v", out, err)
	}
	if err := w.StopAgent(); err != nil {
		t.Fatal(err)
	}
	until("it was stopped", func(a fleet.Agent) bool { return a.State == "stopping" })
}

// An operator looks from a computer that has nothing of the centre's but what the
// token brought, which names a centre that is away and its standby; sees what is seen on the centre's machine, and no more once the
// certificate is revoked.
func TestAnOperatorLooksFromAnotherComputer(t *testing.T) {
	w := newWorld(t)
	l := life{t, w}
	l.until("the agent is heard from", func() bool { return len(seen(t, w).Agents) == 1 })
	l.central("enrol", "token", "--operator", "X26", "--id", "j.smith", "--address", "127.0.0.1:1", "--address", w.Central, "--output", w.Path("smith.token"))
	files := []string{"--cert", w.Path("smith", "own.pem"), "--key", w.Path("smith", "key.pem"), "--ca", w.Path("smith", "ca.pem")}
	if out, err := w.Run(t.Context(), "safeguard-central", append([]string{"enrol", "certificate", "--token-file", w.Path("smith.token")}, files...)...); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	from := append([]string{"--server", w.Central}, files...)
	out, err := w.Run(t.Context(), "safeguard-central", append([]string{"fleet", "list", "--json"}, from...)...)
	var there fleet.Overview
	if err == nil {
		err = json.Unmarshal([]byte(out), &there)
	}
	here := seen(t, w)
	if err != nil || len(there.Agents) != 1 || there.Agents[0].Key != here.Agents[0].Key || len(there.Sites) != len(here.Sites) || len(there.Authorities) != len(here.Authorities) {
		t.Errorf("%v: seen from elsewhere %+v\nat the centre %+v", err, there, here)
	}
	if out, err := w.Run(t.Context(), "safeguard-central", append([]string{"fleet", "show", "RX1/RX101"}, from...)...); err != nil || !strings.Contains(out, "feed pas") {
		t.Errorf("%v: %s", err, out)
	}
	if out, err := w.Run(t.Context(), "safeguard-central", append([]string{"fleet", "list"}, w.AuthorityFlags()...)...); err == nil || !strings.Contains(err.Error(), "want one of kind operator") {
		t.Errorf("a local authority's certificate: %v %s", err, out)
	}
	if out, err := w.Run(t.Context(), "safeguard-central", append([]string{"fleet", "list", "--config", w.Path("central.yaml")}, from...)...); err == nil || !strings.Contains(err.Error(), "want --config on the machine of the centre") {
		t.Errorf("both ways at once: %v %s", err, out)
	}

	// Who watches does so for as long as the certificate is good.
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	watch := exec.CommandContext(ctx, filepath.Join(programs, "safeguard-central"), append([]string{"fleet", "watch", "--every", "200ms"}, from...)...)
	var said bytes.Buffer
	watch.Stderr = &said
	if err := watch.Start(); err != nil {
		t.Fatal(err)
	}
	l.central("certificate", "revoke", "--identity", "spiffe://safeguard/operator/X26/j.smith", "--reason", "left us")
	if err := watch.Wait(); err == nil || !strings.Contains(said.String(), "left us") {
		t.Errorf("revoked: %v, said %q", err, &said)
	}
}
