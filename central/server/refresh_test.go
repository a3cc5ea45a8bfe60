package server_test

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/client"
	"github.com/safeguard-edge/safeguard/central/identity"
	"github.com/safeguard-edge/safeguard/central/server"
	"github.com/safeguard-edge/safeguard/central/store"
)

// refreshes are queries of one author about each number.
func refreshes(numbers ...safeguard.NHSNumber) []safeguard.Query {
	list := make([]safeguard.Query, len(numbers))
	for i, n := range numbers {
		list[i] = query(n, "visit "+n.String())
		list[i].Purpose = safeguard.Refresh
	}
	return list
}

func TestRefreshAnswersAsLookupDoes(t *testing.T) {
	overdue := func(p *server.Policy, _ *store.Store) { p.DataAge = time.Nanosecond }
	for name, options := range map[string][]option{"data in time": nil, "data overdue": {overdue}} {
		t.Run(name, func(t *testing.T) {
			c := start(t, options...)
			c.upload(middlesbrough, row(alice, safeguard.ChildProtection, ago(0, 3, 0), safeguard.Date{}))
			c.upload(sheffield, row(alice, safeguard.LookedAfter, ago(0, 4, 0), safeguard.Date{}))
			queries := refreshes(alice, bob, alice, safeguard.TestPatient)
			queries[2].Born = safeguard.Hide(ago(7, 0, 0))
			all, pause, err := c.agent().Refresh(t.Context(), queries)
			if err != nil || len(all) != len(queries) || pause <= 0 {
				t.Fatalf("%d outcomes, to wait %v, %v; want one for each query, and a pause", len(all), pause, err)
			}
			for i, want := range []safeguard.Status{safeguard.Held, safeguard.NoneHeld, safeguard.Unknown, safeguard.Held} {
				alone := c.lookup(queries[i])
				got := all[i].Answer
				if all[i].Err != nil || got.Status != want || got.AsOf.IsZero() {
					t.Errorf("query %d: %v, %v, want %v", i, got.Status, all[i].Err, want)
				}
				got.AsOf, got.OwedPause = alone.AsOf, alone.OwedPause
				if !reflect.DeepEqual(got, alone) {
					t.Errorf("query %d: %+v, and alone %+v", i, got, alone)
				}
			}
			if n := len(c.waiting(middlesbrough)) + len(c.waiting(sheffield)); n != 0 {
				t.Errorf("%d notifications, want none", n)
			}
		})
	}
}

func TestEachRefreshIsInTheAudit(t *testing.T) {
	c := start(t)
	agent := c.agent()
	audited := func() int {
		report, err := c.store.VerifyAudit(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		return report.Entries
	}
	c.lookup(query(bob, "visit 1")) // begins the audit
	before := audited()
	if _, _, err := agent.Refresh(t.Context(), refreshes(alice, bob, alice)); err != nil {
		t.Fatal(err)
	}
	if got := audited() - before; got != 3 {
		t.Errorf("%d entries in the audit, want one for each query", got)
	}
}

func TestOneRefusedRefreshConcernsNoOther(t *testing.T) {
	c := start(t)
	c.upload(middlesbrough, row(alice, safeguard.ChildProtection, ago(0, 3, 0), safeguard.Date{}))
	queries := refreshes(alice, safeguard.NHSNumber{}, bob)
	all, _, err := c.agent().Refresh(t.Context(), queries)
	if err != nil {
		t.Fatal(err)
	}
	var refused *client.Refused
	if !errors.As(all[1].Err, &refused) || refused.Reason == "" {
		t.Errorf("no number: %v, want a refusal with its reason", all[1].Err)
	}
	if all[0].Answer.Status != safeguard.Held || all[2].Answer.Status != safeguard.NoneHeld {
		t.Errorf("the others: %v and %v, want held and none held", all[0].Answer.Status, all[2].Answer.Status)
	}
	if c.server.Counts().Refused != 1 {
		t.Errorf("%d refused, want 1", c.server.Counts().Refused)
	}
}

// brokenFor fails for one person.
type brokenFor struct {
	store.Store
	number safeguard.NHSNumber
	fail   func() error
}

func (b brokenFor) Look(ctx context.Context, number safeguard.NHSNumber, decide func([]store.Flag) store.Decision) error {
	if number == b.number {
		return b.fail()
	}
	return b.Store.Look(ctx, number, decide)
}

func TestOneFailedRefreshConcernsNoOther(t *testing.T) {
	for name, fail := range map[string]func() error{
		"error": func() error { return errors.New("disk I/O error") },
		"panic": func() error { panic("about " + alice.Reveal()) },
	} {
		t.Run(name, func(t *testing.T) {
			c := start(t, func(_ *server.Policy, s *store.Store) { *s = brokenFor{*s, alice, fail} })
			all, _, err := c.agent().Refresh(t.Context(), refreshes(bob, alice))
			if err != nil {
				t.Fatal(err)
			}
			if all[0].Err != nil || all[0].Answer.Status != safeguard.NoneHeld {
				t.Errorf("the other: %v, %v, want none held", all[0].Answer.Status, all[0].Err)
			}
			if !errors.Is(all[1].Err, client.ErrUnreachable) || errors.Is(all[1].Err, safeguard.ErrRefused) {
				t.Errorf("the one: %v, want not answered", all[1].Err)
			}
			if got := c.server.Counts().Failed; got != 1 {
				t.Errorf("%d failed, want 1", got)
			}
		})
	}
}

func TestRefreshRefusedAsAWhole(t *testing.T) {
	c := start(t)
	for name, tt := range map[string]struct {
		caller *client.Client
		change func([]safeguard.Query) []safeguard.Query
		code   string
	}{
		"other organisation's certificate": {c.dial(c.tls("agent-RX2", identity.Agent)), func(q []safeguard.Query) []safeguard.Query { return q }, "PermissionDenied"},
		"local authority's certificate":    {c.authority(middlesbrough), func(q []safeguard.Query) []safeguard.Query { return q }, "PermissionDenied"},
		"no query":                         {c.agent(), func(q []safeguard.Query) []safeguard.Query { return nil }, "InvalidArgument"},
		"no site": {c.agent(), func(q []safeguard.Query) []safeguard.Query {
			q[0].Author.Site = safeguard.ODSCode{}
			return q
		}, "InvalidArgument"},
		"too many": {c.agent(), func(q []safeguard.Query) []safeguard.Query {
			for len(q) <= client.MaxRefresh {
				q = append(q, q[0])
			}
			return q
		}, "InvalidArgument"},
	} {
		_, _, err := tt.caller.Refresh(t.Context(), tt.change(refreshes(alice)))
		var refused *client.Refused
		if !errors.As(err, &refused) || refused.Code != tt.code || refused.Reason == "" {
			t.Errorf("%s: %v, want %s with a reason", name, err, tt.code)
		}
	}
	if _, _, err := c.agent().Refresh(t.Context(), refreshes(slices.Repeat([]safeguard.NHSNumber{bob}, client.MaxRefresh)...)); err != nil {
		t.Errorf("as many as may be: %v", err)
	}
}
