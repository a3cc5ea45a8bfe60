package server_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/audit"
	"github.com/safeguard-edge/safeguard/central/client"
	"github.com/safeguard-edge/safeguard/central/fleet"
	"github.com/safeguard-edge/safeguard/central/identity"
	"github.com/safeguard-edge/safeguard/central/store"
)

// operator is somebody with an operator's certificate, who has enrolled as the
// token says.
func (c *centre) operator() *client.Client {
	c.Helper()
	smith := identity.Identity{Kind: identity.Operator, Code: code("X26"), ID: "j.smith"}
	p := c.place()
	token := c.token(func(t *identity.Token) { t.Identity, t.Site = smith, safeguard.ODSCode{} })
	if _, err := client.Enrol(c.Context(), token, p, safeguard.ODSCode{}, nil); err != nil {
		c.Fatal(err)
	}
	own, err := identity.OpenOwn(p, identity.Operator)
	if err != nil {
		c.Fatal(err)
	}
	conn, err := client.Dial(c.server.Addr().String(), nil, client.Renewed(own.Config))
	if err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() { _ = conn.Close() })
	return conn
}

func TestAnOperatorLooksAndIsAudited(t *testing.T) {
	c := start(t).issues()
	if _, err := c.agent().Heartbeat(t.Context(), full(time.Now()), nil); err != nil {
		t.Fatal(err)
	}
	about := store.Subject{Kind: store.AboutAgent, Name: "RX1/dev"}
	down := store.FleetWarning{Subject: about, Warning: safeguard.Warning{Code: safeguard.SinkDown, Part: "epr", Since: time.Now()}}
	other := store.FleetWarning{Subject: store.Subject{Kind: store.AboutAuthority, Name: "806"}, Warning: safeguard.Warning{Code: safeguard.UploadLate, Since: time.Now()}}
	if err := c.store.ChangeWarnings(t.Context(), time.Now(), []store.FleetWarning{down, other}, nil); err != nil {
		t.Fatal(err)
	}
	smith := c.operator()
	for range 3 {
		kinds := map[string]int{}
		var agent fleet.Agent
		err := smith.Overview(t.Context(), func(kind string, text []byte) error {
			if kinds[kind]++; kind == "agent" {
				return json.Unmarshal(text, &agent)
			}
			return nil
		})
		if err != nil || kinds["overview"] != 1 || kinds["agent"] != 1 {
			t.Fatalf("shown %v, %v", kinds, err)
		}
		if agent.Key.String() != "RX1/dev" || agent.Report.Device != "rx1-ed-1" || len(agent.Warnings) != 1 || agent.Severity != safeguard.SinkDown.Declared().Severity {
			t.Errorf("agent %+v", agent)
		}
	}
	for name, want := range map[string]int{"": 2, "RX1/dev": 1, "RX2/dev": 0} {
		got := 0
		if err := smith.Warnings(t.Context(), time.Now().Add(-time.Hour), name, 0, func(string, []byte) error { got++; return nil }); err != nil || got != want {
			t.Errorf("%d warnings about %q, %v, want %d", got, name, err, want)
		}
	}
	stopped := errors.New("enough")
	if err := smith.Warnings(t.Context(), time.Now(), "", 0, func(string, []byte) error { return stopped }); !errors.Is(err, stopped) {
		t.Errorf("got %v", err)
	}
	var out strings.Builder
	if _, err := c.store.ExportAudit(t.Context(), &out, audit.Who{Caller: "test"}); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out.String(), `"act":"signed in","who":{"caller":"spiffe://safeguard/operator/X26/j.smith","device":"127.0.0.1","role":"viewer"}`); n != 1 {
		t.Errorf("%d entries that the operator looks, want 1 within an hour:\n%s", n, &out)
	}

	// It is for operators alone, and they may do nothing else.
	wantRefusal := func(err error, reason string) {
		t.Helper()
		var refused *client.Refused
		if !errors.As(err, &refused) || !strings.Contains(refused.Reason, reason) {
			t.Errorf("got %v, want a refusal that says %q", err, reason)
		}
	}
	nothing := func(string, []byte) error { return nil }
	wantRefusal(c.agent().Overview(t.Context(), nothing), "for certificates of kind operator")
	wantRefusal(c.agent().Warnings(t.Context(), time.Now(), "", 0, nothing), "for certificates of kind operator")
	_, err := smith.Lookup(t.Context(), query(alice, "visit 1"))
	wantRefusal(err, "for certificates of kind agent")
	_, err = smith.Heartbeat(t.Context(), full(time.Now()), nil)
	wantRefusal(err, "for certificates of kind agent")
	wantRefusal(smith.Warnings(t.Context(), time.Now().AddDate(-1, 0, 0), "", 0, nothing), "at most 31 days")
	wantRefusal(smith.Warnings(t.Context(), time.Now(), "RX1", 0, nothing), "agent: ")
}
