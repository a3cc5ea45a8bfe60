package store

import (
	"context"
	"fmt"
	"strconv"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/audit"
)

// Record implements Store.
func (s *DB) Record(ctx context.Context, look Look) error {
	if err := s.record(ctx, Decision{Look: look}); err != nil {
		return fmt.Errorf("record look: %w", err)
	}
	return nil
}

// Settle implements Store.
func (s *DB) Settle(ctx context.Context, look Look, owed []safeguard.Notification) error {
	if err := s.record(ctx, Decision{Look: look, Access: true, Owed: owed}); err != nil {
		return fmt.Errorf("settle lookup: %w", err)
	}
	return nil
}

func (s *DB) record(ctx context.Context, d Decision) error {
	w := newWork(ctx)
	var err error
	if w.person, err = s.person(d.Look.Number); err != nil {
		return err
	}
	if err := s.fill(w, d); err != nil {
		return err
	}
	return s.commit(ctx, w)
}

// fill says what is to be written of a look.
func (s *DB) fill(w *work, d Decision) error {
	entry := s.entryOf(d.Look)
	w.entry = &entry
	if d.BreakGlass != nil {
		entry.Details = with(entry.Details, "break_glass", "true")
	}
	if !d.Look.Viewed { // who looked by hand follows nobody
		w.asked = &asking{person: w.person, organisation: d.Look.Organisation.String(), site: d.Look.Site.String(), at: millis(d.Look.Recorded)}
		w.asked.attendedAt, w.asked.attendedAs = s.attendance(d.Look)
	}
	if !d.Access && d.BreakGlass == nil {
		return nil
	}
	c, err := s.candidate(w.person, d.Look.Number)
	if err != nil {
		return err
	}
	w.candidate, w.owes = &c, len(d.Owed) > 0
	w.write = func(k dataKey) ([]statement, error) { return s.decision(k, w.person, d) }
	return nil
}

// with is the details and one more.
func with(details map[string]string, name, value string) map[string]string {
	if details == nil {
		details = map[string]string{}
	}
	details[name] = value
	return details
}

// decision is what is written of one, sealed by the person's key.
func (s *DB) decision(k dataKey, person []byte, d Decision) (statements []statement, err error) {
	if d.Access {
		if statements, err = s.access(k, person, d.Look, d.Owed); err != nil {
			return nil, err
		}
	}
	if d.BreakGlass != nil {
		insert, err := k.breakGlass(person, *d.BreakGlass)
		if err != nil {
			return nil, err
		}
		statements = append(statements, insert)
	}
	return statements, nil
}

// entryOf is a look as the audit has it.
func (s *DB) entryOf(look Look) audit.Entry {
	shown := make([]int64, len(look.Shown))
	for i, f := range look.Shown {
		shown[i] = f.Row
	}
	var details map[string]string
	if look.History > 0 {
		details = with(details, "accesses_shown", strconv.Itoa(look.History))
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
		Details:    details,
		Token:      s.subject(look.Number.Reveal()),
	}
}

// access is what an access writes.
func (s *DB) access(k dataKey, person []byte, look Look, owed []safeguard.Notification) ([]statement, error) {
	a := look.Access
	content, err := k.sealAccess(person, a)
	if err != nil {
		return nil, err
	}
	organisation := a.Organisation.String()
	// A repeat waits for a correction that is on its way.
	statements := []statement{stmt(`INSERT INTO lookups (organisation, attendance, person, content, recorded_at)
		VALUES (?, ?, ?, ?, ?) ON CONFLICT (organisation, attendance, person) DO UPDATE SET recorded_at = lookups.recorded_at`,
		organisation, a.Attendance[:], person, content, millis(a.Recorded))}
	for _, n := range owed {
		n.Organisation, n.Attendance, n.Number, n.Recorded = a.Organisation, a.Attendance, a.Number, a.Recorded
		n.ID = s.notificationID(n)
		insert, err := s.notify(k, person, n, originOf(latestShown(look, n.Authority)))
		if err != nil {
			return nil, err
		}
		statements = append(statements, insert)
	}
	return statements, nil
}

// latestShown is the row of the flag of the authority's that came last, among those
// that were shown.
func latestShown(look Look, authority safeguard.ODSCode) (row int64) {
	for _, f := range look.Shown {
		if f.Authority == authority {
			row = max(row, f.Row)
		}
	}
	return row
}

// origin is SQL for the upload that a notification names.
type origin = statement

func originOf(flag int64) origin {
	return stmt(`(SELECT CASE WHEN u.sequence > 0 THEN CAST(u.sequence AS TEXT) ELSE u.id END
		FROM flags f JOIN uploads u ON u.id = f.recorded_by WHERE f.id = ?)`, flag)
}

// notify owes a notification, which is there once however often it is owed. An
// access that was corrected owes no more.
func (s *DB) notify(k dataKey, person []byte, n safeguard.Notification, from origin) (statement, error) {
	content, err := k.sealNotification(n)
	if err != nil {
		return statement{}, err
	}
	values := []any{n.ID, n.Organisation.String(), n.Attendance[:], person, n.Authority.String(), content, millis(n.Recorded)}
	of := values[1:4]
	values = append(values, from.args...)
	if n.Corrects != "" {
		return stmt(`INSERT INTO notifications (id, organisation, attendance, person, authority, content, recorded_at, upload, corrects)
			VALUES (?, ?, ?, ?, ?, ?, ?, `+from.text+`, ?) ON CONFLICT DO NOTHING`, append(values, n.Corrects)...), nil
	}
	return stmt(`INSERT INTO notifications (id, organisation, attendance, person, authority, content, recorded_at, upload)
		SELECT ?, ?, ?, ?, ?, ?, ?, `+from.text+`
		WHERE NOT EXISTS (SELECT 1 FROM lookups WHERE organisation = ? AND attendance = ? AND person = ? AND corrected_at IS NOT NULL)
		ON CONFLICT DO NOTHING`, append(values, of...)...), nil
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
		WHERE l.person = ? AND l.corrected_at IS NULL ORDER BY l.recorded_at DESC, l.id DESC LIMIT ?`, person, int64(limit)))
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
