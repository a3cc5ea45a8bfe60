package journal

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// Kept is an attendance as it is kept, with what became of its alerts.
type Kept struct {
	Record
	Row     int64     // numbers it among others
	Changed time.Time // when anything last did
	Sent    []Sent    // its alerts, in the order in which they were decided
	Broken  bool      // it does not open: the disk changed it
}

// In is how many of its alerts are in the state.
func (k Kept) In(s State) (n int) {
	for _, sent := range k.Sent {
		if sent.State == s {
			n++
		}
	}
	return n
}

// Attendances reads those that begun or changed in the time, after the row, in
// order of their rows and at most limit.
func (j *Journal) Attendances(ctx context.Context, since, until time.Time, after int64, limit int) ([]Kept, error) {
	type row struct {
		Kept
		key, sealed []byte
		rev         int64
	}
	var rows []row
	err := j.each(ctx, `SELECT id, key, rev, changed, body FROM attendances WHERE id > ?1
		AND (begun >= ?2 AND begun < ?3 OR changed >= ?2 AND changed < ?3) ORDER BY id LIMIT ?4`,
		[]any{after, since.UnixMilli(), until.UnixMilli(), limit}, func(r *sql.Rows) error {
			var w row
			var changed int64
			err := r.Scan(&w.Row, &w.key, &w.rev, &changed, &w.sealed)
			w.Changed = time.UnixMilli(changed)
			rows = append(rows, w)
			return err
		})
	if err != nil {
		return nil, fmt.Errorf("read attendances: %w", err)
	}
	var all []Kept
	for _, w := range rows {
		if w.Sent, err = j.sent(ctx, w.key); err != nil {
			return nil, err
		}
		switch w.Record, err = j.openRecord(w.key, w.rev, w.sealed); {
		case errors.Is(err, ErrBroken):
			w.Broken = true
		case err != nil:
			return nil, err
		}
		all = append(all, w.Kept)
	}
	return all, nil
}

// Audited writes into the audit that an operator used a command, on which rows.
// Neither what nor rows may hold patient data.
func (j *Journal) Audited(ctx context.Context, who, what, rows string) error {
	err := j.writer.write(ctx, func(t *tx) error { return j.audited(t, who, what, rows) })
	if err != nil {
		return fmt.Errorf("write audit: %w", err)
	}
	return nil
}
