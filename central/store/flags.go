package store

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/safeguard-edge/safeguard"
)

// Flags implements Store.
func (s *SQLite) Flags(ctx context.Context, number safeguard.NHSNumber) ([]Flag, error) {
	person, err := s.person(number)
	if err != nil {
		return nil, err
	}
	rows, err := s.stmt.held.QueryContext(ctx, person)
	if err != nil {
		return nil, fmt.Errorf("read flags: %w", err)
	}
	defer rows.Close()
	var flags []Flag
	for rows.Next() {
		var code string
		var content []byte
		if err := rows.Scan(&code, &content); err != nil {
			return nil, fmt.Errorf("read flags: %w", err)
		}
		f, err := s.readFlag(person, code, content)
		if err != nil {
			return nil, err
		}
		flags = append(flags, f)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read flags: %w", err)
	}
	return flags, nil
}

// readFlag opens one row. One that can not be opened is an error: leaving it
// out would turn held into none.
func (s *SQLite) readFlag(person []byte, code string, content []byte) (Flag, error) {
	authority, err := safeguard.ParseODSCode(code)
	if err != nil {
		return Flag{}, fmt.Errorf("read flag: %w", err)
	}
	f, err := s.openFlag(person, authority, content)
	if err != nil {
		return Flag{}, fmt.Errorf("read flag: %w", err)
	}
	return f, nil
}

// Apply implements Store.
func (s *SQLite) Apply(ctx context.Context, u Upload) ([]Effect, error) {
	var effects []Effect
	err := s.commit(ctx, func(tx *sql.Tx) error {
		a := applying{SQLite: s, ctx: ctx, tx: tx, upload: u}
		var err error
		effects, err = a.all()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("apply upload: %w", err)
	}
	return effects, nil
}

// applying is one upload on its way into the tables.
type applying struct {
	*SQLite
	ctx    context.Context
	tx     *sql.Tx
	upload Upload
}

func (a applying) all() ([]Effect, error) {
	u := a.upload
	_, err := a.tx.ExecContext(a.ctx, `INSERT INTO uploads (id, authority, sent_by, received_at, row_count, loaded) VALUES (?, ?, ?, ?, ?, 0)`,
		u.ID, u.Authority.String(), u.By, millis(u.Received), u.Rows)
	if err != nil {
		return nil, err
	}
	effects := make([]Effect, len(u.Changes))
	loaded := 0
	for i, c := range u.Changes {
		c.Flag.Authority = u.Authority
		if effects[i], err = a.one(c); err != nil {
			return nil, err
		}
		if effects[i] != NotHeld {
			loaded++
		}
	}
	_, err = a.tx.ExecContext(a.ctx, `UPDATE uploads SET loaded = ? WHERE id = ?`, loaded, u.ID)
	return effects, err
}

func (a applying) one(c Change) (Effect, error) {
	person, err := a.person(c.Number)
	if err != nil {
		return NoEffect, err
	}
	before, err := a.find(person, c.Flag)
	if err != nil {
		return NoEffect, err
	}
	switch {
	case c.Withdraw && before.held:
		return Withdrawn, a.close(before.id, "withdrawn")
	case c.Withdraw && before.withdrawn:
		return Unchanged, nil
	case c.Withdraw:
		return NotHeld, nil
	case before.held && before.flag == c.Flag:
		return Unchanged, nil
	case before.held:
		if err := a.close(before.id, "superseded"); err != nil {
			return NoEffect, err
		}
		return Replaced, a.insert(person, c)
	}
	return Added, a.insert(person, c)
}

// found is what the tables have of a flag.
type found struct {
	id        int64
	flag      Flag
	held      bool
	withdrawn bool // not held now, but was withdrawn
}

// find looks for the flag of the same person, authority, plan and start.
func (a applying) find(person []byte, like Flag) (found, error) {
	rows, err := a.tx.StmtContext(a.ctx, a.stmt.find).QueryContext(a.ctx, person, like.Authority.String())
	if err != nil {
		return found{}, err
	}
	defer rows.Close()
	var out found
	for rows.Next() {
		var id int64
		var content []byte
		var closed sql.NullString
		if err := rows.Scan(&id, &content, &closed); err != nil {
			return found{}, err
		}
		f, err := a.openFlag(person, like.Authority, content)
		if err != nil {
			return found{}, fmt.Errorf("read flag: %w", err)
		}
		if f.Plan != like.Plan || f.Start != like.Start {
			continue
		}
		if !closed.Valid {
			out.id, out.flag, out.held = id, f, true
		}
		out.withdrawn = closed.String == "withdrawn"
	}
	return out, rows.Err()
}

func (a applying) close(id int64, as string) error {
	_, err := a.tx.ExecContext(a.ctx, `UPDATE flags SET closed_at = ?, closed_by = ?, closed_as = ? WHERE id = ?`,
		millis(a.upload.Received), a.upload.ID, as, id)
	return err
}

func (a applying) insert(person []byte, c Change) error {
	number, err := a.sealPerson(person, c.Number)
	if err != nil {
		return err
	}
	if _, err := a.tx.StmtContext(a.ctx, a.stmt.person).ExecContext(a.ctx, person, number); err != nil {
		return err
	}
	content, err := a.sealFlag(person, c.Flag)
	if err != nil {
		return err
	}
	_, err = a.tx.StmtContext(a.ctx, a.stmt.flag).ExecContext(a.ctx, person, c.Flag.Authority.String(), content, millis(a.upload.Received), a.upload.ID)
	return err
}
