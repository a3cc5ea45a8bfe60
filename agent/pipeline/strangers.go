package pipeline

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/agent/journal"
)

// Withdrawn is what came of an alert that was taken away although the journal does
// not know it.
const Withdrawn = "withdrawn"

// strangers are the alerts that EPRs show, by sink, less those that the journal
// knows.
type strangers struct {
	sinks []shownBy
	known map[safeguard.AlertID]bool
}

// shownBy is what one EPR shows.
type shownBy struct {
	sink   Sink
	alerts []safeguard.AlertID
	err    error
}

// shownBySinks reads each EPR that can be read, unless only some attendances are
// asked about.
func (p *Pipeline) shownBySinks(ctx context.Context, r ReconcileRequest) (all strangers) {
	all.known = map[safeguard.AlertID]bool{}
	if r.Attendance != "" || !r.Since.IsZero() {
		return all
	}
	for _, s := range p.Sinks {
		reads, some := s.(Reader)
		if r.Sink != "" && r.Sink != s.Name() || !some || !reads.Reads() || !live(s) {
			continue
		}
		alerts, err := reads.Alerts(ctx)
		all.sinks = append(all.sinks, shownBy{s, alerts, err})
	}
	return all
}

// by tells whether the EPR shows the alert.
func (s strangers) by(sink string, id safeguard.AlertID) bool {
	for _, shown := range s.sinks {
		if shown.sink.Name() == sink {
			return slices.Contains(shown.alerts, id)
		}
	}
	return false
}

func (s *strangers) know(k journal.Kept) {
	if len(s.sinks) == 0 {
		return
	}
	for _, sent := range k.Sent {
		s.known[sent.Alert] = true
	}
	if alert, shown := k.Shown.InForce(k.Attendance, time.Time{}); shown {
		s.known[alert.ID] = true
	}
}

// unknown lists the rest, and has it withdrawn where that is asked for: at once, as
// there is no attendance whose outbox it could wait in.
func (p *Pipeline) unknown(ctx context.Context, who string, r ReconcileRequest, s strangers) (rows []EPRRow, err error) {
	for _, shown := range s.sinks {
		if shown.err != nil {
			rows = append(rows, EPRRow{Sink: shown.sink.Name(), Shows: showsNothing, Needs: "the EPR could not be read: " + shown.err.Error()})
			continue
		}
		for _, id := range shown.alerts {
			if s.known[id] {
				continue
			}
			row := EPRRow{Sink: shown.sink.Name(), Alert: string(id), Shows: showsAlert, Read: true, Needs: "the journal does not know the alert"}
			switch {
			case !r.Unknown:
			case !r.Apply:
				row.Done = "would be withdrawn"
			default:
				if row.Done, err = p.takeAway(ctx, who, shown.sink, id); err != nil {
					return rows, err
				}
			}
			rows = append(rows, row)
		}
	}
	return rows, nil
}

func (p *Pipeline) takeAway(ctx context.Context, who string, s Sink, id safeguard.AlertID) (done string, err error) {
	if err := p.audited(ctx, who, "epr reconcile --unknown --apply --sink "+s.Name(), []string{string(id)}); err != nil {
		return "", err
	}
	receipt, err := s.Deliver(ctx, safeguard.Alert{ID: id, Version: 1, Action: safeguard.Withdraw, Decided: time.Now()})
	switch {
	case ctx.Err() != nil:
		return "", ctx.Err()
	case err != nil:
		return fmt.Sprintf("not withdrawn: %v", err), nil
	case receipt.Outcome != safeguard.Delivered:
		return "not withdrawn: " + receipt.Code, nil
	}
	return Withdrawn, nil
}
