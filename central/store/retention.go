package store

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/safeguard-edge/safeguard/central/audit"
)

// RetentionRun is once that Retain was done, and what came of it.
type RetentionRun struct {
	Began, Ended time.Time
	Who          string
	Rule         Retention
	Removed      Removed
	Failed       string // why it ended early; empty where it did not
}

// WouldRetain implements Store.
func (s *DB) WouldRetain(ctx context.Context, rule Retention) (Removed, error) {
	var would Removed
	err := s.engine.snapshot(ctx, func(tx transaction) error {
		would = Removed{}
		before := rule.before()
		count := func(into func(n int), text string, args ...any) error {
			return tx.query(ctx, func(row scanner) error {
				var n int64
				err := row.Scan(&n)
				into(int(n))
				return err
			}, stmt(text, args...))
		}
		// Persons go of whom nothing stays but that somebody asked.
		gone, stays, args := "", "", []any{}
		for _, t := range ofPersons {
			b := before[t.table]
			old := b.column + ` < ?` + t.but
			if !b.at.IsZero() {
				if err := count(func(n int) { would.add(t.table, n) }, `SELECT COUNT(*) FROM `+t.table+` WHERE `+old, millis(b.at)); err != nil {
					return err
				}
			}
			switch {
			case t.table == "asked":
			case b.at.IsZero():
				stays += ` AND NOT EXISTS (SELECT 1 FROM ` + t.table + ` WHERE person = token)`
			default:
				stays += ` AND NOT EXISTS (SELECT 1 FROM ` + t.table + ` WHERE person = token AND NOT COALESCE(` + old + `, FALSE))`
				args = append(args, millis(b.at))
				gone += ` OR EXISTS (SELECT 1 FROM ` + t.table + ` WHERE person = token)`
			}
		}
		if gone != "" {
			if err := count(func(n int) { would.Persons = n }, `SELECT COUNT(*) FROM persons WHERE (`+gone[len(" OR "):]+`)`+stays, args...); err != nil {
				return err
			}
		}
		if rule.Reports.IsZero() {
			return nil
		}
		return count(func(n int) { would.Reports = n }, `SELECT COUNT(*) FROM uploads WHERE `+oldReports, millis(rule.Reports), string(Waits))
	})
	if err != nil {
		return Removed{}, fmt.Errorf("look for what is older than it is to be kept: %w", err)
	}
	return would, nil
}

// NoteRetention implements Store.
func (s *DB) NoteRetention(ctx context.Context, run RetentionRun) error {
	rule, err := json.Marshal(run.Rule)
	if err != nil {
		return err
	}
	removed, err := json.Marshal(run.Removed)
	if err != nil {
		return err
	}
	err = s.alone(ctx, func(ctx context.Context, tx transaction) ([]audit.Entry, error) {
		_, err := tx.exec(ctx, stmt(`INSERT INTO retention_runs (began, ended, who, rule, removed, failed) VALUES (?, ?, ?, ?, ?, ?)`,
			millis(run.Began), millis(run.Ended), run.Who, string(rule), string(removed), run.Failed))
		return nil, err
	})
	if err != nil {
		return fmt.Errorf("note retention: %w", err)
	}
	return nil
}

// RetentionRuns implements Store.
func (s *DB) RetentionRuns(ctx context.Context, limit int) ([]RetentionRun, error) {
	var runs []RetentionRun
	err := s.engine.query(ctx, func(row scanner) error {
		var run RetentionRun
		var began, ended int64
		var rule, removed string
		if err := row.Scan(&began, &ended, &run.Who, &rule, &removed, &run.Failed); err != nil {
			return err
		}
		run.Began, run.Ended = fromMillis(began), fromMillis(ended)
		if err := json.Unmarshal([]byte(rule), &run.Rule); err != nil {
			return err
		}
		err := json.Unmarshal([]byte(removed), &run.Removed)
		runs = append(runs, run)
		return err
	}, stmt(`SELECT began, ended, who, rule, removed, failed FROM retention_runs ORDER BY id DESC LIMIT ?`, int64(limit)))
	if err != nil {
		return nil, fmt.Errorf("read retention: %w", err)
	}
	return slices.Clip(runs), nil
}
