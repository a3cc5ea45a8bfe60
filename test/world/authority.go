package world

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// Notification is one that waits for the local authority, as the command shows it.
type Notification struct {
	ID         string    `json:"id"`
	NHSNumber  string    `json:"nhs_number"`
	Plans      []string  `json:"plans"`
	SiteName   string    `json:"site_name"`
	Attendance string    `json:"attendance"`
	AttendedAt time.Time `json:"attended_at"`
	RecordedAt time.Time `json:"recorded_at"`
}

// Upload uploads the local authority's flags, and returns the verdict.
func (w *World) Upload(ctx context.Context) (verdict, sentence string, err error) {
	out, err := w.AsAuthority(ctx, "upload", w.Path("flags.csv"), "--json")
	if err != nil {
		return "", "", err
	}
	var report struct{ Verdict, Sentence string }
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		return "", "", fmt.Errorf("read the report of the upload: %w", err)
	}
	return report.Verdict, report.Sentence, nil
}

// Notifications waits until that many wait for the local authority, and fails at
// once when there are more.
func (w *World) Notifications(ctx context.Context, want int) ([]Notification, error) {
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	for {
		out, err := w.AsAuthority(ctx, "notifications", "list", "--json")
		if err != nil {
			return nil, err
		}
		var waiting []Notification
		if err := json.Unmarshal([]byte(out), &waiting); err != nil {
			return nil, fmt.Errorf("read the notifications: %w", err)
		}
		if len(waiting) == want {
			return waiting, nil
		}
		wrong := fmt.Errorf("%d notifications wait for the local authority, want %d", len(waiting), want)
		if len(waiting) > want {
			return nil, wrong
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return nil, wrong
		}
	}
}
