package store

import (
	"context"
	"fmt"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/audit"
)

// Record implements Store.
func (s *DB) Record(ctx context.Context, look Look) error {
	entry, err := s.entryOf(look)
	if err != nil {
		return fmt.Errorf("record look: %w", err)
	}
	if err := s.commit(ctx, &work{entry: &entry}); err != nil {
		return fmt.Errorf("record look: %w", err)
	}
	return nil
}

// entryOf is a look as the audit has it.
func (s *DB) entryOf(look Look) (audit.Entry, error) {
	if err := s.sameKeys(); err != nil {
		return audit.Entry{}, err
	}
	shown := make([]int64, len(look.Shown))
	for i, f := range look.Shown {
		shown[i] = f.Row
	}
	return audit.Entry{
		At:         look.Recorded,
		Act:        audit.Looked,
		Who:        audit.Who{Caller: look.Caller, Device: look.Device, Name: look.Accountable.Name, Role: look.Accountable.Role},
		Where:      &audit.Where{Organisation: look.Organisation.String(), Site: look.Site.String(), Setting: look.Setting.String()},
		Purpose:    look.Purpose.String(),
		Reason:     look.Reason,
		Attendance: look.Attendance.String(),
		AttendedAt: look.At.UTC(),
		Answer:     look.Answer,
		Flags:      shown,
		Token:      s.subject(look.Number.Reveal()),
	}, nil
}

// Settle implements Store.
func (s *DB) Settle(ctx context.Context, look Look, owed []safeguard.Notification) error {
	entry, err := s.entryOf(look)
	if err != nil {
		return fmt.Errorf("settle lookup: %w", err)
	}
	c, err := s.candidate(look.Number)
	if err != nil {
		return fmt.Errorf("settle lookup: %w", err)
	}
	write := func(k dataKey) ([]statement, error) { return s.access(k, c.person, look.Access, owed) }
	if err := s.commit(ctx, &work{person: &c, write: write, entry: &entry}); err != nil {
		return fmt.Errorf("settle lookup: %w", err)
	}
	return nil
}

// access is what an access writes, sealed by the person's key.
func (s *DB) access(k dataKey, person []byte, a Access, owed []safeguard.Notification) ([]statement, error) {
	content, err := k.sealAccess(person, a)
	if err != nil {
		return nil, err
	}
	organisation := a.Organisation.String()
	statements := []statement{stmt(`INSERT INTO lookups (organisation, attendance, person, content, recorded_at)
		VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`, organisation, a.Attendance[:], person, content, millis(a.Recorded))}
	for _, n := range owed {
		n.Organisation, n.Attendance, n.Number = a.Organisation, a.Attendance, a.Number
		n.ID = s.notificationID(n)
		if content, err = k.sealNotification(n); err != nil {
			return nil, err
		}
		statements = append(statements, stmt(`INSERT INTO notifications (id, organisation, attendance, person, authority, content, recorded_at)
			VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
			n.ID, organisation, a.Attendance[:], person, n.Authority.String(), content, millis(a.Recorded)))
	}
	return statements, nil
}

// Accesses implements Store.
func (s *DB) Accesses(ctx context.Context, number safeguard.NHSNumber, limit int) ([]Access, error) {
	person, err := s.person(number)
	if err != nil {
		return nil, fmt.Errorf("read accesses: %w", err)
	}
	var accesses []Access
	err = s.engine.query(ctx, func(row scanner) error {
		a, err := s.scanAccess(row, person)
		accesses = append(accesses, a)
		return err
	}, stmt(`SELECT p.key, l.organisation, l.attendance, l.content, l.recorded_at FROM lookups l JOIN persons p ON p.token = l.person
		WHERE l.person = ? ORDER BY l.recorded_at DESC, l.id DESC LIMIT ?`, person, int64(limit)))
	if err != nil {
		return nil, fmt.Errorf("read accesses: %w", err)
	}
	return accesses, nil
}

func (s *DB) scanAccess(row scanner, person []byte) (Access, error) {
	var code string
	var wrapped, attendance, content []byte
	var recorded int64
	if err := row.Scan(&wrapped, &code, &attendance, &content, &recorded); err != nil {
		return Access{}, err
	}
	a := Access{Recorded: fromMillis(recorded)}
	copy(a.Attendance[:], attendance)
	var err error
	if a.Organisation, err = safeguard.ParseODSCode(code); err != nil {
		return Access{}, err
	}
	k, err := s.unwrap(person, wrapped)
	if err != nil {
		return Access{}, err
	}
	return k.openAccess(person, a, content)
}
