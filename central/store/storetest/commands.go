package storetest

import (
	"errors"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/audit"
	"github.com/safeguard-edge/safeguard/central/store"
)

func commands(t *testing.T, open func() store.Store) {
	s := open()
	by := audit.Who{Caller: "operator"}
	order := func(id string, agent store.AgentKey, ordered, expires time.Time) error {
		return s.Order(t.Context(), safeguard.RemoteCommand{ID: id, Agent: agent.String(), Do: safeguard.SendBundle, By: "operator", Ordered: ordered, Expires: expires}, by)
	}
	if err := order("c0", first, morning, morning.Add(time.Hour)); !errors.Is(err, store.ErrUnknown) {
		t.Errorf("got %v for an agent that was never heard from", err)
	}
	take(t, s, beat(first, "x", 1, morning))
	take(t, s, beat(second, "y", 1, morning))
	for _, c := range []struct {
		id    string
		agent store.AgentKey
		from  time.Time
	}{{"c1", first, morning}, {"c2", second, morning.Add(time.Minute)}, {"c3", first, morning.Add(-2 * time.Hour)}} {
		if err := order(c.id, c.agent, c.from, c.from.Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	wantAudited(t, s, audit.CommandOrdered, 3)
	list, err := s.OpenCommands(t.Context(), morning.Add(2*time.Minute))
	if err != nil || len(list) != 2 || list[0].ID != "c1" || list[1].ID != "c2" || list[0].Agent != first.String() || list[0].Do != safeguard.SendBundle || !list[0].Expires.Equal(morning.Add(time.Hour)) {
		t.Fatalf("open: got %+v, %v, want the two that have not expired", list, err)
	}
	answer := safeguard.RemoteAnswer{Outcome: safeguard.CommandDone, Text: "it is here", Bundle: []byte("PK archive")}
	later := morning.Add(3 * time.Minute)
	for name, try := range map[string]struct {
		agent store.AgentKey
		id    string
	}{"another agent's": {second, "c1"}, "one that is not there": {first, "c9"}} {
		if err := s.AnswerCommand(t.Context(), try.agent, try.id, answer, later); !errors.Is(err, store.ErrUnknown) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if err := s.AnswerCommand(t.Context(), first, "c1", answer, later); err != nil {
		t.Fatal(err)
	}
	if err := s.AnswerCommand(t.Context(), first, "c1", safeguard.RemoteAnswer{Outcome: safeguard.CommandFailed}, later); !errors.Is(err, safeguard.ErrAnswered) {
		t.Errorf("a second answer: got %v", err)
	}
	wantAudited(t, s, audit.CommandAnswered, 1)
	if list, err = s.OpenCommands(t.Context(), later); err != nil || len(list) != 1 || list[0].ID != "c2" {
		t.Errorf("open after the answer: %+v, %v", list, err)
	}
	all, err := s.OrderedCommands(t.Context(), store.CommandFilter{Since: morning})
	if err != nil || len(all) != 2 || all[0].ID != "c2" || all[1].Outcome != safeguard.CommandDone || all[1].Text != "it is here" || !all[1].Bundle || !all[1].Answered.Equal(later) || all[0].Bundle || !all[0].Answered.IsZero() {
		t.Errorf("ordered: %+v, %v", all, err)
	}
	if bundle, err := s.CommandBundle(t.Context(), "c1", by); err != nil || string(bundle) != "PK archive" {
		t.Errorf("bundle %q, %v", bundle, err)
	}
	if _, err := s.CommandBundle(t.Context(), "c2", by); !errors.Is(err, store.ErrUnknown) {
		t.Errorf("a bundle that was not sent: %v", err)
	}
	wantAudited(t, s, audit.BundleTaken, 1)
	if err := s.RetainFleet(t.Context(), morning, morning.Add(time.Hour), morning.Add(30*time.Second)); err != nil {
		t.Fatal(err)
	}
	if all, err = s.OrderedCommands(t.Context(), store.CommandFilter{}); err != nil || len(all) != 1 || all[0].ID != "c2" {
		t.Errorf("what is old has not gone: %+v, %v", all, err)
	}
}
