package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/safeguard-edge/safeguard"
)

// Waiting implements Store.
func (s *SQLite) Waiting(ctx context.Context, authority safeguard.ODSCode, after int64, limit int) ([]Waiting, error) {
	rows, err := s.read.QueryContext(ctx, `SELECT position, id, organisation, attendance, content, recorded_at FROM notifications
		WHERE authority = ? AND acknowledged_at IS NULL AND position > ? ORDER BY position LIMIT ?`, authority.String(), after, limit)
	if err != nil {
		return nil, fmt.Errorf("read notifications: %w", err)
	}
	defer rows.Close()
	var waiting []Waiting
	for rows.Next() {
		var w Waiting
		var code string
		var attendance, content []byte
		var recorded int64
		n := &w.Notification
		if err := rows.Scan(&w.Position, &n.ID, &code, &attendance, &content, &recorded); err != nil {
			return nil, fmt.Errorf("read notifications: %w", err)
		}
		n.Authority, n.Recorded = authority, fromMillis(recorded)
		copy(n.Attendance[:], attendance)
		if n.Organisation, err = safeguard.ParseODSCode(code); err != nil {
			return nil, fmt.Errorf("read notification %s: %w", n.ID, err)
		}
		if w.Notification, err = s.openNotification(*n, content); err != nil {
			return nil, fmt.Errorf("read notification %s: %w", n.ID, err)
		}
		waiting = append(waiting, w)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read notifications: %w", err)
	}
	return waiting, nil
}

// Acknowledge implements Store.
func (s *SQLite) Acknowledge(ctx context.Context, authority safeguard.ODSCode, ids []string, by string, at time.Time) (int, error) {
	var found int64
	err := s.commit(ctx, func(tx *sql.Tx) error {
		found = 0
		for _, id := range ids {
			result, err := tx.ExecContext(ctx, `UPDATE notifications SET
				acknowledged_at = coalesce(acknowledged_at, ?), acknowledged_by = coalesce(acknowledged_by, ?)
				WHERE id = ? AND authority = ?`, millis(at), by, id, authority.String())
			if err != nil {
				return err
			}
			n, err := result.RowsAffected()
			if err != nil {
				return err
			}
			found += n
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("acknowledge notifications: %w", err)
	}
	return int(found), nil
}
