package pipeline

import (
	"context"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/agent/journal"
)

// Deliver hands one alert to its sink, and settles it by the receipt. A sink that
// can not be reached, or does not answer, is tried again with the same message.
func (p *Pipeline) Deliver(ctx context.Context, sink Sink, item journal.Item) error {
	if item.Broken != nil {
		p.Log.Error("alert set aside", "sink", sink.Name(), "item", item.ID, "err", item.Broken)
		return p.Journal.Done(ctx, item.ID, safeguard.Receipt{Outcome: safeguard.Refused, Code: "unreadable", At: time.Now()})
	}
	alert := item.Alert
	log := p.Log.With("sink", sink.Name(), "attendance", alert.Attendance.ID, "version", alert.Version, "action", alert.Action)
	receipt, err := sink.Deliver(ctx, alert)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		log.Warn("alert not delivered, trying again", "tries", item.Tries+1, "err", err)
		return p.Journal.Postpone(ctx, item.ID, "", time.Now().Add(backoff(item.Tries)))
	}
	switch receipt.Outcome {
	case safeguard.Delivered:
		log.Info("alert delivered", "code", receipt.Code)
	case safeguard.Refused:
		log.Error("alert refused by the EPR, set aside", "code", receipt.Code)
	default:
		log.Warn("alert not taken by the EPR, trying again", "code", receipt.Code, "tries", item.Tries+1)
		return p.Journal.Postpone(ctx, item.ID, receipt.Code, time.Now().Add(backoff(item.Tries)))
	}
	return p.Journal.Done(ctx, item.ID, receipt)
}
