package pipeline

import (
	"context"
	"slices"
	"testing"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/agent/journal"
)

// only is a sink for one location; for all where it is empty.
type only struct{ name, location string }

func (o only) Name() string { return o.name }

func (only) Deliver(context.Context, safeguard.Alert) (safeguard.Receipt, error) {
	return safeguard.Receipt{}, nil
}

func (o only) Takes(a safeguard.Attendance) bool { return o.location == "" || a.Location == o.location }

func TestAlertsGoToTheSinksThatTheyAreFor(t *testing.T) {
	p := &Pipeline{Sinks: []Sink{only{"all", ""}, only{"ed", "ED"}, only{"ward", "W1"}}}
	record := &journal.Record{}
	alert := func(version int, action safeguard.Action, location string) safeguard.Alert {
		return safeguard.Alert{Version: version, Action: action, Attendance: safeguard.Attendance{Location: location}}
	}
	for _, step := range []struct {
		name   string
		alerts []safeguard.Alert
		want   []string
	}{
		{"raised in the emergency department", []safeguard.Alert{alert(1, safeguard.Raise, "ED")}, []string{"all", "ed"}},
		{"updated on the ward: who was told is told on", []safeguard.Alert{alert(2, safeguard.Update, "W1")}, []string{"all", "ed", "ward"}},
		{"withdrawn elsewhere: of all who were told", []safeguard.Alert{alert(3, safeguard.Withdraw, "X")}, []string{"all", "ed", "ward"}},
		{"raised again on the ward", []safeguard.Alert{alert(4, safeguard.Raise, "W1")}, []string{"all", "ward"}},
		{"another patient: withdrawn where it was told, raised where it belongs",
			[]safeguard.Alert{alert(5, safeguard.Withdraw, "ED"), alert(1, safeguard.Raise, "ED")}, []string{"all", "ward", "all", "ed"}},
	} {
		var got []string
		for _, a := range p.address(record, step.alerts) {
			got = append(got, a.Sink)
		}
		if !slices.Equal(got, step.want) {
			t.Errorf("%s: told %v, want %v", step.name, got, step.want)
		}
	}
}
