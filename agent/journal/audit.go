package journal

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"time"
)

// Audit is one use of a command.
type Audit struct {
	ID    int64     `json:"id"`
	At    time.Time `json:"at"`
	Who   string    `json:"who"`
	What  string    `json:"what"`
	Rows  string    `json:"rows"`
	Whole bool      `json:"whole"` // it is what was written, and none before it is missing
}

// Audit writes into the audit what somebody has the agent do besides the journal's
// own commands: who, what, and what came of it.
func (j *Journal) Audit(ctx context.Context, who, what, rows string) error {
	if err := j.writer.write(ctx, func(t *tx) error { return j.audited(t, who, what, rows) }); err != nil {
		return fmt.Errorf("write audit: %w", err)
	}
	return nil
}

// audited appends to the audit. Each row carries a keyed hash over itself and the
// one before, so that a row that was changed or taken away shows.
func (j *Journal) audited(t *tx, who, what, rows string) error {
	var before []byte
	if _, err := t.get(`SELECT chain FROM audit ORDER BY id DESC LIMIT 1`, nil, &before); err != nil {
		return err
	}
	at := t.stamp(j.now())
	_, err := t.exec(`INSERT INTO audit (at, who, what, rows, chain) VALUES (?, ?, ?, ?, ?)`, at, who, what, rows, j.link(before, at, who, what, rows))
	return err
}

func (j *Journal) link(before []byte, at int64, who, what, rows string) []byte {
	return j.key("audit", fmt.Appendf(nil, "%x %d %q %q %q", before, at, who, what, rows))
}

// audits sends who used which command, the oldest first. To read the audit is in
// it too.
func (o *operation) audits(ctx context.Context) error {
	if err := o.writer.write(ctx, func(t *tx) error { return o.audited(t, o.who, o.what(), "none") }); err != nil {
		return fmt.Errorf("write audit: %w", err)
	}
	var before []byte
	for last := int64(0); ; {
		var rows []Audit
		err := o.each(ctx, `SELECT id, at, who, what, rows, chain FROM audit WHERE id > ? ORDER BY id LIMIT ?`, []any{last, page}, func(r *sql.Rows) error {
			var a Audit
			var at int64
			var chain []byte
			err := r.Scan(&a.ID, &at, &a.Who, &a.What, &a.Rows, &chain)
			a.At = time.UnixMilli(at)
			a.Whole = a.ID == last+1 && bytes.Equal(chain, o.link(before, at, a.Who, a.What, a.Rows))
			before, last = bytes.Clone(chain), a.ID
			rows = append(rows, a)
			return err
		})
		if err != nil {
			return fmt.Errorf("read audit: %w", err)
		}
		for _, a := range rows {
			if !within(a.At, o.Filter) {
				continue
			}
			o.summary.Matched++
			if err := o.send(Result{Audit: &a}); err != nil {
				return err
			}
		}
		if len(rows) < page {
			return o.send(Result{Summary: &o.summary})
		}
	}
}

func within(at time.Time, f Filter) bool {
	return (f.Since.IsZero() || !at.Before(f.Since)) && (f.Until.IsZero() || at.Before(f.Until))
}
