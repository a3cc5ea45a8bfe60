package agent

import (
	"context"
	"fmt"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/agent/journal"
	"github.com/safeguard-edge/safeguard/hl7adapter/epr/cdshooks"
)

// CDSHooks is the service that an EPR asks when a record is opened.
type CDSHooks struct{ cdshooks.Config }

// UnmarshalYAML reads it over its defaults.
func (h *CDSHooks) UnmarshalYAML(unmarshal func(any) error) error {
	h.Config = cdshooks.DefaultConfig()
	return unmarshal(&h.Config)
}

func (h *CDSHooks) beside(file string) {
	if h == nil {
		return
	}
	if h.TLS != nil {
		beside(file, &h.TLS.Cert, &h.TLS.Key, &h.TLS.CA)
	}
	for i := range h.Clients {
		beside(file, &h.Clients[i].KeysFile)
	}
}

// inForce is what the journal knows to be in force.
type inForce struct{ journal *journal.Journal }

// InForce reads the alerts about the person's open attendances. Each keeps its id
// while it says the same.
func (f inForce) InForce(ctx context.Context, number safeguard.NHSNumber) ([]safeguard.Alert, error) {
	records, err := f.journal.Named(ctx, nil, []safeguard.NHSNumber{number})
	if err != nil {
		return nil, err
	}
	var out []safeguard.Alert
	for _, r := range records {
		a := r.Attendance
		if a.State != safeguard.Open || a.Patient.Number != number || r.Shown.Content.Kind == safeguard.Nothing {
			continue
		}
		id := safeguard.NewAttendanceID(safeguard.ODSCode{}, "card", a.ID.String(), fmt.Sprint(r.Shown.Generation), fmt.Sprint(r.Shown.Version))
		out = append(out, safeguard.Alert{ID: safeguard.AlertID(id.String()), Version: r.Shown.Version, Action: safeguard.Raise,
			Attendance: a, Content: r.Shown.Content, Decided: time.Now()})
	}
	return out, nil
}
