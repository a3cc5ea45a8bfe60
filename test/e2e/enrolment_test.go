package e2e

import (
	"context"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard/test/hospital"
	"github.com/safeguard-edge/safeguard/test/world"
)

// certificate is one as certificate list --json shows it.
type certificate struct {
	Serial   string    `json:"serial"`
	Identity string    `json:"identity"`
	State    string    `json:"state"`
	How      string    `json:"how"`
	Until    time.Time `json:"until"`
}

const agentIdentity = "spiffe://safeguard/agent/RX1/RX101"

// life is of a world whose certificates live for seconds.
type life struct {
	*testing.T
	*world.World
}

func (l life) central(args ...string) string {
	l.Helper()
	out, err := l.World.Run(l.Context(), "safeguard-central", append(args, "--config", l.Path("central.yaml"))...)
	if err != nil {
		l.Fatal(err)
	}
	return out
}

// config changes a configuration before its program starts.
func (l life) config(file, old, new string) {
	l.Helper()
	text, err := os.ReadFile(l.Path(file))
	if err != nil || !strings.Contains(string(text), old) {
		l.Fatalf("%s has no %q, %v", file, old, err)
	}
	if err := os.WriteFile(l.Path(file), []byte(strings.ReplaceAll(string(text), old, new)), 0o600); err != nil {
		l.Fatal(err)
	}
}

// uploads has the local authority enrol, and send its flags.
func (l life) uploads() {
	l.Helper()
	l.central("enrol", "token", "--authority", "906", "--address", l.Central, "--output", l.Path("token-906"))
	files := []string{"--cert", l.Path("906.pem"), "--key", l.Path("906-key.pem"), "--ca", l.Path("906-ca.pem")}
	for _, command := range [][]string{
		{"enrol", "certificate", "--token-file", l.Path("token-906")},
		{"upload", l.Path("flags.csv"), "--server", l.Central},
		{"certificate", "renew", "--server", l.Central},
		{"certificate", "renew", "--server", l.Central, "--if-due"},
	} {
		if out, err := l.World.Run(l.Context(), "safeguard-central", append(command, files...)...); err != nil {
			l.Fatalf("%v: %v: %s", command, err, out)
		}
	}
}

// authority is one as ca show --json shows it.
type authority struct {
	ID    string `json:"id"`
	State string `json:"state"`
}

func (l life) authorities() []authority {
	l.Helper()
	var shown struct{ Issuers []authority }
	if err := json.Unmarshal([]byte(l.central("ca", "show", "--json")), &shown); err != nil {
		l.Fatal(err)
	}
	return shown.Issuers
}

func (l life) certificates() []certificate {
	l.Helper()
	var all []certificate
	if err := json.Unmarshal([]byte(l.central("certificate", "list", "--all", "--json", "--identity", agentIdentity)), &all); err != nil {
		l.Fatal(err)
	}
	return all
}

// until waits for something to be so.
func (l life) until(what string, so func() bool) {
	l.Helper()
	for deadline := time.Now().Add(90 * time.Second); !so(); time.Sleep(200 * time.Millisecond) {
		if time.Now().After(deadline) {
			l.Fatalf("not within 90 s: %s; the certificates are %+v", what, l.certificates())
		}
	}
}

func (l life) has(state, how string) func() bool {
	return func() bool {
		return slices.ContainsFunc(l.certificates(), func(c certificate) bool { return c.State == state && (how == "" || c.How == how) })
	}
}

// works registers a patient, for whom the centre must be asked by whatever
// certificate the agent has now.
func (l life) works(visit string) {
	l.Helper()
	if _, err := l.PAS.Send(l.Context(), l.PAS.Message("A04", hospital.Plan, visit, time.Now())); err != nil {
		l.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(l.Context(), 90*time.Second)
	defer cancel()
	settled(ctx, l.T, l.World, []string{visit})
}

// TestLifeOfACertificate enrols an agent, lets it work, renew, expire, renew after
// that, be revoked, and enrol again, and rotates the centre's authority under it.
func TestLifeOfACertificate(t *testing.T) {
	w, err := world.New(t.Context(), t.TempDir(), programs)
	t.Cleanup(func() { finish(t, w) })
	if err != nil {
		t.Fatal(err)
	}
	l := life{t, w}
	l.config("central.yaml", "production_checks:", "certificates: {life: 15s, renew_lapsed: 10m}\nweb: {listen: 127.0.0.1:0}\nproduction_checks:")
	// Of the centre's own authority, so that rotating that is seen through. Its pages
	// are served by the same, whose key is sealed.
	l.config("central.yaml", "certificates/centre", "centre/centre")
	l.central("ca", "centre", "--host", "127.0.0.1")
	if err := w.StartCentral(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.uploads()

	// Enrolled, it works, and renews while it does.
	if err := w.StartAgent(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(w.Path("agent", "enrolment.token")); !os.IsNotExist(err) {
		t.Errorf("the token that the agent enrolled with is still there: %v", err)
	}
	if key, err := os.ReadFile(w.Path("agent", "central-key.pem")); err != nil || !strings.Contains(string(key), "SEALED") {
		t.Errorf("the agent's key is not sealed: %v", err)
	}
	l.works("L1")
	l.until("renewed in time, and the old one let go", func() bool { return l.has("valid", "renewed")() && l.has("replaced", "enrolled")() })
	l.works("L2")

	// Expired while it was off, it renews as soon as it is back, and takes patients
	// on from the first moment.
	if err := w.StopAgent(); err != nil {
		t.Fatal(err)
	}
	last := l.certificates()
	time.Sleep(time.Until(last[len(last)-1].Until.Add(time.Second))) // the one thing that only time brings about
	if err := w.StartAgent(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.until("renewed after its end", func() bool {
		return slices.ContainsFunc(l.certificates(), func(c certificate) bool { return c.How == "renewed after it had expired" })
	})
	l.works("L3")

	// The next authority is known to the agent before it issues, and the agent goes
	// over to it by itself.
	first := l.authorities()
	l.central("ca", "rotate")
	if out, err := w.Run(t.Context(), "safeguard-central", "ca", "switch", "--config", w.Path("central.yaml")); err == nil {
		t.Errorf("switched before anybody could know: %s", out)
	}
	l.until("the agent knows the next authority", func() bool {
		_, err := w.Run(t.Context(), "safeguard-central", "ca", "switch", "--config", w.Path("central.yaml"))
		return err == nil
	})
	l.until("nobody needs the old authority", func() bool {
		_, err := w.Run(t.Context(), "safeguard-central", "ca", "end", first[0].ID, "--config", w.Path("central.yaml"))
		return err == nil
	})
	l.works("L4")
	if now := l.authorities(); len(now) != 2 || now[0].State != "ended" || now[1].State != "issuing" {
		t.Errorf("authorities %+v", now)
	}

	// Revoked, it asks the centre no more; enrolled again while it runs, it does.
	l.central("certificate", "revoke", "--identity", agentIdentity, "--reason", "stolen")
	l.until("the agent is told", func() bool {
		text, err := os.ReadFile(w.Path("safeguard-agent.log"))
		return err == nil && strings.Contains(string(text), "stolen; enrol again")
	})
	if err := w.Enrol(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.works("L5")
	if out := l.central("audit", "verify"); !strings.Contains(out, "verified") {
		t.Errorf("audit: %s", out)
	}
}
