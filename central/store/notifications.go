package store

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/audit"
)

// lockNotifications comes before the first that a transaction owes, and before it
// touches a lookup. Until it has ended no other owes any, so that positions become
// visible in their order, and whoever has read up to one has missed none before it.
func (s *DB) lockNotifications(ctx context.Context, tx transaction) error {
	return s.engine.lock(ctx, tx, "notifications")
}

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

const (
	// waitingColumns selects what scanWaiting reads.
	waitingColumns  = `SELECT ` + waitingFields + waitingTables
	notifiedColumns = `SELECT n.acknowledged_at, n.acknowledged_by, c.id, ` + waitingFields + waitingTables +
		` LEFT JOIN notifications c ON c.corrects = n.id`

	waitingFields = `n.position, n.id, n.authority, n.organisation, n.attendance, n.content, n.recorded_at, n.upload, n.person, p.key`
	waitingTables = ` FROM notifications n JOIN persons p ON p.token = n.person`
)

// scanWaiting reads a row, of which more may stand before its columns.
func (s *DB) scanWaiting(row scanner, before ...any) (Waiting, dataKey, error) {
	var w Waiting
	var authority, organisation string
	var attendance, content, person, wrapped []byte
	var recorded int64
	var upload *string
	n := &w.Notification
	if err := row.Scan(append(before, &w.Position, &n.ID, &authority, &organisation, &attendance, &content, &recorded, &upload, &person, &wrapped)...); err != nil {
		return Waiting{}, dataKey{}, err
	}
	n.Recorded, n.Upload = fromMillis(recorded), textOf(upload)
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

// notifiedTogether is how many rows Notified reads at a time.
const notifiedTogether = 200

// Notified implements Store.
func (s *DB) Notified(ctx context.Context, which Which, by string, each func(Notified) error) error {
	entry := audit.Entry{
		At: time.Now(), Act: audit.Looked, Who: audit.Who{Caller: by}, Purpose: "own access history",
		Where: &audit.Where{Organisation: which.Authority.String()},
	}
	where, args := ` WHERE n.authority = ? AND EXISTS (SELECT 1 FROM flags f WHERE f.person = n.person AND f.authority = n.authority AND f.closed_at IS NULL)`,
		[]any{which.Authority.String()}
	if !which.Number.IsZero() {
		person, err := s.person(which.Number)
		if err != nil {
			return fmt.Errorf("read access history: %w", err)
		}
		entry.Token = s.subject(which.Number.Reveal())
		where, args = where+` AND n.person = ?`, append(args, person)
	}
	if !which.From.IsZero() {
		where, args = where+` AND n.recorded_at >= ?`, append(args, millis(which.From))
	}
	if !which.Until.IsZero() {
		where, args = where+` AND n.recorded_at < ?`, append(args, millis(which.Until))
	}
	if err := s.audited(ctx, entry); err != nil {
		return fmt.Errorf("read access history: %w", err)
	}
	query := notifiedColumns + where + ` AND n.position > ? ORDER BY n.position LIMIT ?`
	for after := int64(0); ; {
		var page []Notified
		err := s.engine.query(ctx, func(row scanner) error {
			var n Notified
			var acknowledged *int64
			var acknowledgedBy, correctedBy *string
			w, _, err := s.scanWaiting(row, &acknowledged, &acknowledgedBy, &correctedBy)
			if err != nil {
				return err
			}
			after, n.Notification = w.Position, w.Notification
			if acknowledged != nil {
				n.Acknowledged = fromMillis(*acknowledged)
			}
			n.AcknowledgedBy, n.CorrectedBy = textOf(acknowledgedBy), textOf(correctedBy)
			page = append(page, n)
			return nil
		}, stmt(query, append(slices.Clone(args), after, int64(notifiedTogether))...))
		if err != nil {
			return fmt.Errorf("read access history: %w", err)
		}
		for _, n := range page {
			if err := each(n); err != nil {
				return err
			}
		}
		if len(page) < notifiedTogether {
			return nil
		}
	}
}

func textOf(s *string) string {
	if s == nil {
		return ""
	}
	return *s
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

// Owing implements Store.
func (s *DB) Owing(ctx context.Context) (map[safeguard.ODSCode]safeguard.Queue, error) {
	owing := map[safeguard.ODSCode]safeguard.Queue{}
	err := s.engine.query(ctx, func(row scanner) error {
		var authority string
		var n, oldest int64
		if err := row.Scan(&authority, &n, &oldest); err != nil {
			return err
		}
		code, err := safeguard.ParseODSCode(authority)
		owing[code] = safeguard.Queue{Length: int(n), Oldest: fromMillis(oldest)}
		return err
	}, stmt(`SELECT authority, COUNT(*), MIN(recorded_at) FROM notifications WHERE acknowledged_at IS NULL GROUP BY authority`))
	if err != nil {
		return nil, fmt.Errorf("count waiting notifications: %w", err)
	}
	return owing, nil
}
