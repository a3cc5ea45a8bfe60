package store

import (
	"context"
	"fmt"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/audit"
)

// Flags implements Store.
func (s *DB) Flags(ctx context.Context, number safeguard.NHSNumber) ([]Flag, error) {
	person, err := s.person(number)
	if err != nil {
		return nil, fmt.Errorf("read flags: %w", err)
	}
	rows, err := s.engine.held(ctx, person)
	if err != nil {
		return nil, fmt.Errorf("read flags: %w", err)
	}
	if len(rows) == 0 {
		return nil, nil
	}
	k, err := s.unwrap(person, rows[0].key)
	if err != nil {
		return nil, fmt.Errorf("read flags: %w", err)
	}
	flags := make([]Flag, len(rows))
	for i, r := range rows {
		// One that can not be opened is an error: leaving it out would turn held
		// into none.
		if flags[i], err = k.readFlag(person, r.authority, r.content); err != nil {
			return nil, fmt.Errorf("read flags: %w", err)
		}
		flags[i].Row = r.id
	}
	return flags, nil
}

func (k dataKey) readFlag(person []byte, code string, content []byte) (Flag, error) {
	authority, err := safeguard.ParseODSCode(code)
	if err != nil {
		return Flag{}, err
	}
	return k.openFlag(person, authority, content)
}

// together is how many changes of an upload go to the database at a time.
const together = 500

// Apply implements Store.
func (s *DB) Apply(ctx context.Context, u Upload) ([]Effect, error) {
	a := applying{DB: s, upload: u, tokens: make([][]byte, len(u.Changes)), changed: map[string]bool{}}
	if err := a.persons(ctx); err != nil {
		return nil, fmt.Errorf("apply upload: %w", err)
	}
	var effects []Effect
	err := s.beside(ctx, func(ctx context.Context, tx transaction) error {
		if err := s.engine.lock(ctx, tx, "flags of "+u.Authority.String()); err != nil {
			return err
		}
		var err error
		effects, err = a.all(ctx, tx)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("apply upload: %w", err)
	}
	return effects, nil
}

// applying is one upload on its way into the tables.
type applying struct {
	*DB
	upload  Upload
	tokens  [][]byte        // of the changes' persons
	changed map[string]bool // persons whose flags are others now
}

// persons makes the rows of the persons that flags are added for, ahead of the
// upload and some at a time: while it lasts, lookups of the same persons must not
// wait for it. A row without a flag says nothing.
func (a *applying) persons(ctx context.Context) error {
	var candidates []candidate
	flush := func() error {
		if len(candidates) == 0 {
			return nil
		}
		err := a.alone(ctx, func(ctx context.Context, tx transaction) ([]audit.Entry, error) {
			_, err := a.ensure(ctx, tx, candidates)
			return nil, err
		})
		candidates = nil
		return err
	}
	for i, c := range a.upload.Changes {
		var err error
		if a.tokens[i], err = a.person(c.Number); err != nil {
			return err
		}
		if c.Withdraw {
			continue
		}
		new, err := a.candidateOf(a.tokens[i], c.Number)
		if err != nil {
			return err
		}
		if candidates = append(candidates, new); len(candidates) == together {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}

func (a *applying) all(ctx context.Context, tx transaction) ([]Effect, error) {
	u := a.upload
	_, err := tx.exec(ctx, stmt(`INSERT INTO uploads (id, authority, sent_by, received_at, row_count, loaded) VALUES (?, ?, ?, ?, ?, 0)`,
		u.ID, u.Authority.String(), u.By, millis(u.Received), int64(u.Rows)))
	if err != nil {
		return nil, err
	}
	effects := make([]Effect, 0, len(u.Changes))
	for len(effects) < len(u.Changes) {
		some, err := a.some(ctx, tx, len(effects))
		if err != nil {
			return nil, err
		}
		effects = append(effects, some...)
	}
	loaded := 0
	for _, e := range effects {
		if e != NotHeld {
			loaded++
		}
	}
	if _, err = tx.exec(ctx, stmt(`UPDATE uploads SET loaded = ? WHERE id = ?`, int64(loaded), u.ID)); err != nil {
		return nil, err
	}
	// Last, for the log of changes is locked until the commit.
	return effects, a.logChanges(ctx, tx, a.changed)
}

// one names a flag among those of an authority.
type one struct {
	person string
	plan   safeguard.Plan
	start  safeguard.Date
}

func (a *applying) name(i int) one {
	f := a.upload.Changes[i].Flag
	return one{string(a.tokens[i]), f.Plan, f.Start}
}

// some applies changes from the one at first on: a bounded number, and each flag
// once, so that none of them depends on another.
func (a *applying) some(ctx context.Context, tx transaction, first int) ([]Effect, error) {
	names := map[one]bool{}
	var persons [][]byte
	asked := map[string]bool{}
	end := first
	for ; end < len(a.upload.Changes) && end-first < together && !names[a.name(end)]; end++ {
		names[a.name(end)] = true
		if t := a.tokens[end]; !asked[string(t)] {
			asked[string(t)], persons = true, append(persons, t)
		}
	}
	known, err := a.keysOf(ctx, tx, persons)
	if err != nil {
		return nil, err
	}
	before, err := a.find(ctx, tx, persons, known)
	if err != nil {
		return nil, err
	}
	effects := make([]Effect, 0, end-first)
	var statements []statement
	now := millis(time.Now())
	for i := first; i < end; i++ {
		c := a.upload.Changes[i]
		c.Flag.Authority, c.Flag.Row = a.upload.Authority, 0
		effect, own, err := a.change(c, a.tokens[i], known, before[a.name(i)], now)
		if err != nil {
			return nil, err
		}
		if len(own) > 0 {
			a.changed[string(a.tokens[i])] = true
		}
		effects, statements = append(effects, effect), append(statements, own...)
	}
	_, err = tx.exec(ctx, statements...)
	return effects, err
}

// found is what the tables have of a flag.
type found struct {
	id        int64
	flag      Flag
	held      bool
	withdrawn bool // not held now, but was withdrawn
}

// find looks for the flags of the persons that the authority holds, or held.
func (a *applying) find(ctx context.Context, tx transaction, persons [][]byte, known map[string]dataKey) (map[one]found, error) {
	selects := make([]statement, len(persons))
	for i, p := range persons {
		selects[i] = stmt(`SELECT person, id, content, closed_as FROM flags WHERE person = ? AND authority = ? ORDER BY id`, p, a.upload.Authority.String())
	}
	out := map[one]found{}
	err := tx.query(ctx, func(row scanner) error {
		var person, content []byte
		var id int64
		var closed *string
		if err := row.Scan(&person, &id, &content, &closed); err != nil {
			return err
		}
		f, err := known[string(person)].openFlag(person, a.upload.Authority, content)
		if err != nil {
			return fmt.Errorf("read flag: %w", err)
		}
		name := one{string(person), f.Plan, f.Start}
		was := out[name]
		if closed == nil {
			was.id, was.flag, was.held = id, f, true
		}
		was.withdrawn = closed != nil && *closed == "withdrawn"
		out[name] = was
		return nil
	}, selects...)
	return out, err
}

// change decides what one change does, and gives how.
func (a *applying) change(c Change, person []byte, known map[string]dataKey, before found, now int64) (Effect, []statement, error) {
	k, there := known[string(person)]
	switch {
	case c.Withdraw && before.held:
		return Withdrawn, []statement{a.close(before.id, "withdrawn", now)}, nil
	case c.Withdraw && before.withdrawn:
		return Unchanged, nil, nil
	case c.Withdraw:
		return NotHeld, nil, nil
	case before.held && before.flag == c.Flag:
		return Unchanged, nil, nil
	case !there:
		return NoEffect, nil, fmt.Errorf("person's key: it was erased during the upload")
	}
	content, err := k.sealFlag(person, c.Flag)
	if err != nil {
		return NoEffect, nil, err
	}
	insert := stmt(`INSERT INTO flags (person, authority, content, recorded_at, recorded_by) VALUES (?, ?, ?, ?, ?)`,
		person, c.Flag.Authority.String(), content, now, a.upload.ID)
	if before.held {
		return Replaced, []statement{a.close(before.id, "superseded", now), insert}, nil
	}
	return Added, []statement{insert}, nil
}

func (a *applying) close(id int64, as string, now int64) statement {
	return stmt(`UPDATE flags SET closed_at = ?, closed_by = ?, closed_as = ? WHERE id = ?`, now, a.upload.ID, as, id)
}
