package alarm

import (
	"context"
	"encoding/json"
	"time"

	"github.com/safeguard-edge/safeguard/central/store"
	"github.com/safeguard-edge/safeguard/central/webhook"
)

// Hook carries messages as signed requests (Standard Webhooks, as those for local
// authorities are).
type Hook struct{ Target webhook.Target }

// event is the body of a request.
type event struct {
	Type      string    `json:"type"` // fleet.warnings
	Timestamp time.Time `json:"timestamp"`
	Data      struct {
		Warnings []told `json:"warnings"`
	} `json:"data"`
}

type told struct {
	store.FleetWarning
	State    string `json:"state"` // opened or closed
	Severity string `json:"severity"`
	Sentence string `json:"sentence"`
	Remedy   string `json:"remedy"`
	Runbook  string `json:"runbook"`
}

// Carry implements Carrier.
func (h Hook) Carry(ctx context.Context, m Message) error {
	e := event{Type: "fleet.warnings", Timestamp: m.At.UTC()}
	for _, w := range m.Warnings {
		d := w.Code.Declared()
		t := told{FleetWarning: w, State: "opened", Severity: d.Severity.String(), Sentence: w.Sentence(), Remedy: w.Remedy(), Runbook: d.Runbook()}
		if !w.Closed.IsZero() {
			t.State = "closed"
		}
		e.Data.Warnings = append(e.Data.Warnings, t)
	}
	body, err := json.Marshal(e)
	if err != nil {
		return err
	}
	return h.Target.Send(ctx, m.ID, body)
}
