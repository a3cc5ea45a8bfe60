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
	Row      int64     // numbers it among others
	Changed  time.Time // when anything last did
	Waiting  int       // alerts on their way to a sink
	SetAside int       // alerts that a person has to look at
	Late     int       // alerts that came too late
	Broken   bool      // it does not open: the disk changed it
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
		err := j.each(ctx, `SELECT state, COUNT(*) FROM outbox WHERE attendance = ? AND alert IS NOT NULL GROUP BY state`, []any{w.key}, func(r *sql.Rows) error {
			var state State
			var n int
			err := r.Scan(&state, &n)
			switch state {
			case Waiting:
				w.Waiting = n
			case SetAside:
				w.SetAside = n
			case Late:
				w.Late = n
			}
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("count alerts: %w", err)
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
