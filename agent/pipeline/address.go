package pipeline

import (
	"slices"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/agent/journal"
)

// taker is a sink that is not for every attendance.
type taker interface {
	Takes(a safeguard.Attendance) bool
}

// address says which sinks are told. A sink that was told of an alert is told of
// all that follows, wherever the patient is by then; one that was not is not told
// that it is withdrawn.
func (p *Pipeline) address(r *journal.Record, alerts []safeguard.Alert) (out []journal.Addressed) {
	for _, alert := range alerts {
		if alert.Version == 1 {
			r.Sinks = nil
		}
		for _, sink := range p.Sinks {
			told := slices.Contains(r.Sinks, sink.Name())
			if !told && (alert.Action == safeguard.Withdraw || !takes(sink, alert.Attendance)) {
				continue
			}
			if !told {
				r.Sinks = append(slices.Clip(r.Sinks), sink.Name())
			}
			out = append(out, journal.Addressed{Sink: sink.Name(), Alert: alert})
		}
		if alert.Action == safeguard.Withdraw {
			r.Sinks = nil // what may be raised again is for whom it is for then
		}
	}
	return out
}

func takes(s Sink, a safeguard.Attendance) bool {
	t, some := s.(taker)
	return !some || t.Takes(a)
}
