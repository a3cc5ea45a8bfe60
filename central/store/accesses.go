package store

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/safeguard-edge/safeguard"
)

// Settle implements Store.
func (s *SQLite) Settle(ctx context.Context, access Access, owed []safeguard.Notification) error {
	// Sealed before the writer's turn, which is everyone's.
	person, err := s.person(access.Number)
	if err != nil {
		return fmt.Errorf("settle lookup: %w", err)
	}
	content, err := s.sealAccess(person, access)
	if err != nil {
		return fmt.Errorf("settle lookup: %w", err)
	}
	sealed := make([][]byte, len(owed))
	ids := make([]string, len(owed))
	for i, n := range owed {
		n.Organisation, n.Attendance, n.Number = access.Organisation, access.Attendance, access.Number
		n.ID = s.notificationID(n)
		ids[i] = n.ID
		if sealed[i], err = s.sealNotification(n); err != nil {
			return fmt.Errorf("settle lookup: %w", err)
		}
	}
	err = s.commit(ctx, func(tx *sql.Tx) error {
		_, err := tx.StmtContext(ctx, s.stmt.lookup).ExecContext(ctx,
			access.Organisation.String(), access.Attendance[:], person, content, millis(access.Recorded))
		if err != nil {
			return err
		}
		for i, n := range owed {
			_, err := tx.StmtContext(ctx, s.stmt.notification).ExecContext(ctx,
				ids[i], access.Organisation.String(), access.Attendance[:], person, n.Authority.String(), sealed[i], millis(access.Recorded))
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("settle lookup: %w", err)
	}
	return nil
}

// Accesses implements Store.
func (s *SQLite) Accesses(ctx context.Context, number safeguard.NHSNumber, limit int) ([]Access, error) {
	person, err := s.person(number)
	if err != nil {
		return nil, err
	}
	rows, err := s.read.QueryContext(ctx, `SELECT organisation, attendance, content, recorded_at FROM lookups
		WHERE person = ? ORDER BY recorded_at DESC, id DESC LIMIT ?`, person, limit)
	if err != nil {
		return nil, fmt.Errorf("read accesses: %w", err)
	}
	defer rows.Close()
	var accesses []Access
	for rows.Next() {
		var code string
		var attendance, content []byte
		var recorded int64
		if err := rows.Scan(&code, &attendance, &content, &recorded); err != nil {
			return nil, fmt.Errorf("read accesses: %w", err)
		}
		a := Access{Recorded: fromMillis(recorded)}
		copy(a.Attendance[:], attendance)
		if a.Organisation, err = safeguard.ParseODSCode(code); err != nil {
			return nil, fmt.Errorf("read accesses: %w", err)
		}
		if a, err = s.openAccess(person, a, content); err != nil {
			return nil, fmt.Errorf("read accesses: %w", err)
		}
		accesses = append(accesses, a)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read accesses: %w", err)
	}
	return accesses, nil
}
