package store

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/audit"
)

// Correction says that an access should not have been.
type Correction struct {
	safeguard.Correction
	Caller   string    // the identity that says so
	Recorded time.Time // when the centre learnt of it
}

// Correct implements Store.
func (s *DB) Correct(ctx context.Context, c Correction) (safeguard.Corrected, error) {
	person, err := s.person(c.Number)
	if err != nil {
		return safeguard.NotCorrected, fmt.Errorf("correct lookup: %w", err)
	}
	var done safeguard.Corrected
	err = s.alone(ctx, func(ctx context.Context, tx transaction) (entries []audit.Entry, err error) {
		done, entries, err = s.correct(ctx, tx, person, c)
		return entries, err
	})
	if err != nil {
		return safeguard.NotCorrected, fmt.Errorf("correct lookup: %w", err)
	}
	return done, nil
}

func (s *DB) correct(ctx context.Context, tx transaction, person []byte, c Correction) (safeguard.Corrected, []audit.Entry, error) {
	if err := s.lockNotifications(ctx, tx); err != nil {
		return safeguard.NotCorrected, nil, err
	}
	organisation, attendance := c.Author.Organisation.String(), c.Attendance[:]
	// The marked row keeps a repeat of the lookup waiting, which could owe more
	// meanwhile; after it, it sees the mark.
	//
	// Whether the person ever was there is open again until the next lookup: which
	// attendance was the latest that was said is not known.
	touched, err := tx.exec(ctx, stmt(`UPDATE asked SET attended_at = NULL, attended_as = NULL WHERE person = ? AND organisation = ?`, person, organisation),
		stmt(`UPDATE lookups SET corrected_at = ?, corrected_as = ?
		WHERE organisation = ? AND attendance = ? AND person = ? AND corrected_at IS NULL`,
			millis(c.Recorded), c.Reason.String(), organisation, attendance, person))
	if err != nil {
		return safeguard.NotCorrected, nil, err
	}
	if touched[1] == 0 {
		done := safeguard.NeverRecorded
		err := tx.query(ctx, func(scanner) error {
			done = safeguard.CorrectedAlready
			return nil
		}, stmt(`SELECT 1 FROM lookups WHERE organisation = ? AND attendance = ? AND person = ?`, organisation, attendance, person))
		return done, nil, err
	}
	var corrections []statement
	err = tx.query(ctx, func(row scanner) error {
		w, k, err := s.scanWaiting(row)
		if err != nil {
			return err
		}
		insert, err := s.notify(k, person, s.correctionOf(w.Notification, c),
			origin{`(SELECT upload FROM notifications WHERE position = ?)`, []any{w.Position}})
		corrections = append(corrections, insert)
		return err
	}, stmt(waitingColumns+` WHERE n.organisation = ? AND n.attendance = ? AND n.person = ? AND n.corrects IS NULL ORDER BY n.position`,
		organisation, attendance, person))
	if err != nil {
		return safeguard.NotCorrected, nil, err
	}
	if _, err := tx.exec(ctx, corrections...); err != nil {
		return safeguard.NotCorrected, nil, err
	}
	return safeguard.CorrectedNow, []audit.Entry{s.correctionEntry(c, len(corrections))}, nil
}

// correctionOf is the notification that takes n back.
func (s *DB) correctionOf(n safeguard.Notification, c Correction) safeguard.Notification {
	n.Corrects, n.Reason, n.CorrectedAt = n.ID, c.Reason, c.At
	n.Recorded = c.Recorded
	n.ID = s.notificationID(n)
	return n
}

func (s *DB) correctionEntry(c Correction, owed int) audit.Entry {
	return audit.Entry{
		At:         c.Recorded,
		Act:        audit.Corrected,
		Who:        audit.Who{Caller: c.Caller, Device: c.Author.Device, Name: c.Author.Accountable.Name, Role: c.Author.Accountable.Role},
		Where:      &audit.Where{Organisation: c.Author.Organisation.String(), Site: c.Author.Site.String()},
		Reason:     c.Reason.String(),
		Attendance: c.Attendance.String(),
		Details:    map[string]string{"notifications": strconv.Itoa(owed)},
		Token:      s.subject(c.Number.Reveal()),
	}
}
