package store

import (
	"context"
	"fmt"

	"github.com/safeguard-edge/safeguard"
)

// Turn implements Store. The days of a flag are sealed, so that those to be told
// of are found by reading what is held for whomever somebody asked about, some at a
// time beside everything else.
func (s *DB) Turn(ctx context.Context, day safeguard.Date, shown func(f Flag, on safeguard.Date) bool) (int, error) {
	logged, err := s.turned(ctx, day, shown)
	if err != nil {
		return 0, fmt.Errorf("log what comes with the day: %w", err)
	}
	return logged, nil
}

func (s *DB) turned(ctx context.Context, day safeguard.Date, shown func(f Flag, on safeguard.Date) bool) (int, error) {
	before, err := lastTurn(ctx, s.engine, day)
	if err != nil || !before.Before(day) {
		return 0, err
	}
	persons := map[string]bool{}
	for after, more := int64(0), true; more; {
		rows := 0
		err := s.engine.query(ctx, func(row scanner) error {
			h, err := scanHeld(row)
			if err != nil {
				return err
			}
			rows, after = rows+1, h.id
			flags, err := s.flagsOf(h.person, []heldRow{h})
			if err == nil && shown(flags[0], before) != shown(flags[0], day) {
				persons[string(h.person)] = true
			}
			return err
		}, stmt(`SELECT f.person, f.id, p.key, f.authority, f.content FROM flags f JOIN persons p ON p.token = f.person
			WHERE f.closed_at IS NULL AND f.id > ? AND EXISTS (SELECT 1 FROM asked a WHERE a.person = f.person) ORDER BY f.id LIMIT ?`,
			after, int64(together)))
		if err != nil {
			return 0, err
		}
		more = rows == together
	}
	logged := 0
	err = s.beside(ctx, func(ctx context.Context, tx transaction) error {
		if err := s.engine.lock(ctx, tx, "turn"); err != nil {
			return err
		}
		// Another process may have been first.
		now, err := lastTurn(ctx, tx, day)
		if err != nil || now != before {
			return err
		}
		if _, err := tx.exec(ctx, stmt(`INSERT INTO meta (name, value) VALUES ('turned', ?)
			ON CONFLICT (name) DO UPDATE SET value = excluded.value`, day.String())); err != nil {
			return err
		}
		logged = len(persons)
		return s.logChanges(ctx, tx, persons)
	})
	if err != nil { // the writer may still be at it, where nobody waits any more
		return 0, err
	}
	return logged, nil
}

// lastTurn is the day of the last Turn; in a store that knows of none, the one
// before day.
func lastTurn(ctx context.Context, tx transaction, day safeguard.Date) (safeguard.Date, error) {
	last := day.Add(0, 0, -1)
	err := tx.query(ctx, func(row scanner) error {
		var text string
		err := row.Scan(&text)
		if err == nil {
			last, err = safeguard.ParseDate(text)
		}
		return err
	}, stmt(`SELECT value FROM meta WHERE name = 'turned'`))
	return last, err
}
