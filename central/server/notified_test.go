package server_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/client"
	"github.com/safeguard-edge/safeguard/central/identity"
)

// followed gives what a.Follow yields, one after the other.
func (c *centre) followed(a safeguard.Authority) (next func() safeguard.Notification, stop func()) {
	ctx, cancel := context.WithCancel(c.Context())
	came, ended := make(chan safeguard.Notification), make(chan error, 1)
	conn := c.authority(a)
	go func() {
		defer close(ended)
		for n, err := range conn.Follow(ctx) {
			if err != nil {
				ended <- err
				return
			}
			came <- n
		}
	}()
	return func() safeguard.Notification {
			c.Helper()
			select {
			case n := <-came:
				return n
			case err := <-ended:
				c.Fatalf("follow ended: %v", err)
			case <-time.After(30 * time.Second):
				c.Fatal("nothing came")
			}
			return safeguard.Notification{}
		}, func() {
			c.Helper()
			cancel()
			if err := <-ended; !errors.Is(err, context.Canceled) {
				c.Errorf("follow ended: %v, want its context's error", err)
			}
		}
}

// Following gives each notification once, in order, acknowledged or not, also over
// a restart of the centre.
func TestFollow(t *testing.T) {
	c := start(t)
	c.upload(middlesbrough, row(alice, safeguard.ChildProtection, ago(0, 3, 0), safeguard.Date{}))
	c.lookup(query(alice, "visit 0"))
	next, stop := c.followed(middlesbrough)
	want := func(visit string) safeguard.Notification {
		t.Helper()
		n := next()
		if n.Attendance != query(alice, visit).Attendance {
			t.Fatalf("notification of another attendance than %s: %+v", visit, n)
		}
		return n
	}
	first := want("visit 0")
	c.lookup(query(alice, "visit 1"))
	want("visit 1")
	if _, err := c.authority(middlesbrough).Acknowledge(t.Context(), first.ID); err != nil {
		t.Fatal(err)
	}
	address := c.server.Addr().String()
	begun := time.Now()
	c.halt()
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("a stream that is kept open kept the centre from stopping for %v", took)
	}
	c.listen(address)
	c.lookup(query(alice, "visit 2"))
	want("visit 2")
	if _, err := c.agent().Correct(t.Context(), correction(query(alice, "visit 1"), safeguard.AttendanceCancelled)); err != nil {
		t.Fatal(err)
	}
	if n := next(); n.Corrects == "" {
		t.Errorf("notification %+v, want a correction", n)
	}
	stop()
}

func TestFollowRefused(t *testing.T) {
	c := start(t)
	n := 0
	for _, err := range c.dial(c.tls("authority-999", identity.Authority)).Follow(t.Context()) {
		n++
		var refused *client.Refused
		if !errors.As(err, &refused) {
			t.Errorf("error %v, want a refusal", err)
		}
	}
	if n != 1 {
		t.Errorf("%d yielded, want one error", n)
	}
}

func TestAccessesOfAnAuthority(t *testing.T) {
	c := start(t)
	c.upload(middlesbrough, row(alice, safeguard.ChildProtection, ago(0, 3, 0), safeguard.Date{}), row(bob, safeguard.LookedAfter, ago(0, 3, 0), safeguard.Date{}))
	c.upload(sheffield, row(alice, safeguard.ChildProtection, ago(0, 3, 0), safeguard.Date{}))
	for i := range 3 {
		c.lookup(query(alice, fmt.Sprint("visit ", i)))
	}
	c.lookup(query(bob, "visit 0"))
	waiting := c.waiting(middlesbrough)
	conn := c.authority(middlesbrough)
	if _, err := conn.Acknowledge(t.Context(), waiting[0].ID); err != nil {
		t.Fatal(err)
	}
	if _, err := c.agent().Correct(t.Context(), correction(query(alice, "visit 1"), safeguard.AttendanceCancelled)); err != nil {
		t.Fatal(err)
	}
	read := func(a safeguard.Authority, which client.Which) []client.Notified {
		t.Helper()
		var list []client.Notified
		for n, err := range c.authority(a).Accesses(t.Context(), which) {
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, n)
		}
		return list
	}
	all := read(middlesbrough, client.Which{})
	if len(all) != 5 || all[0].Acknowledged.IsZero() || all[0].AcknowledgedBy != "spiffe://safeguard/authority/806/dev" || !all[1].Acknowledged.IsZero() ||
		all[1].CorrectedBy != all[4].ID || all[4].Corrects != all[1].ID || all[2].CorrectedBy != "" {
		t.Errorf("accesses %+v", all)
	}
	if got := read(middlesbrough, client.Which{Number: bob}); len(got) != 1 || got[0].Number != bob {
		t.Errorf("of one person: %+v", got)
	}
	if got := read(sheffield, client.Which{Number: bob}); len(got) != 0 {
		t.Errorf("of a person for whom the authority holds no flag: %+v", got)
	}
	if got := read(middlesbrough, client.Which{From: all[4].Recorded}); len(got) != 1 || got[0].ID != all[4].ID {
		t.Errorf("from the last on: %+v", got)
	}
	if got := read(middlesbrough, client.Which{Until: all[0].Recorded}); len(got) != 0 {
		t.Errorf("before the first: %+v", got)
	}
	withdrawn := row(bob, safeguard.LookedAfter, ago(0, 3, 0), safeguard.Date{})
	withdrawn.Delete = ago(0, 0, 0).String()
	c.upload(middlesbrough, withdrawn)
	if got := read(middlesbrough, client.Which{Number: bob}); len(got) != 0 {
		t.Errorf("of a person whose flag was withdrawn: %+v", got)
	}
	for _, err := range c.agent().Accesses(t.Context(), client.Which{}) {
		if !errors.Is(err, safeguard.ErrRefused) {
			t.Errorf("an agent: %v, want a refusal", err)
		}
	}
}
