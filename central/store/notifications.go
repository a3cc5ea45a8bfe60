package store

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/audit"
)

// Waiting implements Store.
func (s *DB) Waiting(ctx context.Context, authority safeguard.ODSCode, after int64, limit int) ([]Waiting, error) {
	var waiting []Waiting
	err := s.engine.query(ctx, func(row scanner) error {
		w, _, err := s.scanWaiting(row)
		waiting = append(waiting, w)
		return err
	}, stmt(waitingColumns+` WHERE n.authority = ? AND n.acknowledged_at IS NULL AND n.position > ? ORDER BY n.position LIMIT ?`,
		authority.String(), after, int64(limit)))
	if err != nil {
		return nil, fmt.Errorf("read notifications: %w", err)
	}
	return waiting, nil
}

// waitingColumns selects what scanWaiting reads.
const waitingColumns = `SELECT n.position, n.id, n.authority, n.organisation, n.attendance, n.content, n.recorded_at, n.person, p.key
	FROM notifications n JOIN persons p ON p.token = n.person`

func (s *DB) scanWaiting(row scanner) (Waiting, dataKey, error) {
	var w Waiting
	var authority, organisation string
	var attendance, content, person, wrapped []byte
	var recorded int64
	n := &w.Notification
	if err := row.Scan(&w.Position, &n.ID, &authority, &organisation, &attendance, &content, &recorded, &person, &wrapped); err != nil {
		return Waiting{}, dataKey{}, err
	}
	n.Recorded = fromMillis(recorded)
	copy(n.Attendance[:], attendance)
	var err error
	if n.Authority, err = safeguard.ParseODSCode(authority); err != nil {
		return Waiting{}, dataKey{}, fmt.Errorf("%s: %w", n.ID, err)
	}
	if n.Organisation, err = safeguard.ParseODSCode(organisation); err != nil {
		return Waiting{}, dataKey{}, fmt.Errorf("%s: %w", n.ID, err)
	}
	k, err := s.unwrap(person, wrapped)
	if err != nil {
		return Waiting{}, dataKey{}, fmt.Errorf("%s: %w", n.ID, err)
	}
	opened, err := k.openNotification(*n, content)
	if err != nil {
		return Waiting{}, dataKey{}, fmt.Errorf("%s: %w", n.ID, err)
	}
	return Waiting{w.Position, opened}, k, nil
}

// Acknowledge implements Store.
func (s *DB) Acknowledge(ctx context.Context, authority safeguard.ODSCode, ids []string, by string, at time.Time) (int, error) {
	found, err := s.acknowledge(ctx, "notifications", authority, ids, by, at)
	if err != nil {
		return 0, fmt.Errorf("acknowledge notifications: %w", err)
	}
	return found, nil
}

func (s *DB) acknowledge(ctx context.Context, table string, authority safeguard.ODSCode, ids []string, by string, at time.Time) (found int, err error) {
	ids = slices.Sorted(slices.Values(ids)) // in one order, so that two callers do not wait for each other
	statements := make([]statement, len(ids))
	for i, id := range ids {
		statements[i] = stmt(`UPDATE `+table+` SET
			acknowledged_at = coalesce(acknowledged_at, ?), acknowledged_by = coalesce(acknowledged_by, ?)
			WHERE id = ? AND authority = ?`, millis(at), by, id, authority.String())
	}
	err = s.alone(ctx, func(ctx context.Context, tx transaction) ([]audit.Entry, error) {
		touched, err := tx.exec(ctx, statements...)
		for _, n := range touched {
			found += int(n)
		}
		return nil, err
	})
	return found, err
}
