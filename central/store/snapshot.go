package store

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"time"

	"github.com/safeguard-edge/safeguard"
)

// spared is who is not to be taken for missing from a snapshot, as it is kept
// while that waits.
type spared struct {
	Day      safeguard.Date      `json:"day"`
	Tokens   map[string]struct{} `json:"tokens,omitempty"` // of persons
	Born     []safeguard.Date    `json:"born,omitempty"`
	Everyone bool                `json:"everyone,omitempty"`
}

func (a *applying) spare(s *Snapshot) error {
	a.spared = spared{Day: s.Day, Tokens: map[string]struct{}{}, Born: s.Born, Everyone: s.Everyone}
	for _, number := range s.Numbers {
		person, err := a.person(number)
		if err != nil {
			return err
		}
		a.spared.Tokens[fmt.Sprintf("%x", person)] = struct{}{}
	}
	return nil
}

// has tells whether whoever it is may be meant by a row that could not be read.
func (s spared) has(person []byte, born safeguard.Date) bool {
	if s.Everyone {
		return true
	}
	if _, ok := s.Tokens[fmt.Sprintf("%x", person)]; ok {
		return true
	}
	for _, b := range s.Born {
		if b == born {
			return true
		}
	}
	return false
}

// current tells whether a flag is in force after the day of the snapshot.
func (a *applying) current(f Flag) bool { return f.End.IsZero() || a.day.Before(f.End) }

// heldFlag is one that the authority holds.
type heldFlag struct {
	id     int64
	person []byte
	key    dataKey
	flag   Flag
	later  bool // than the upload that was released
}

// closeMissing ends the current flags that the snapshot does not name. It goes
// through all that the authority holds, some at a time.
func (a *applying) closeMissing(ctx context.Context, tx transaction) error {
	a.listed = map[one]struct{}{}
	for i, err := range a.items(ctx) {
		if err != nil {
			return err
		}
		if i.person != nil {
			a.listed[nameOf(i.person, i.Flag)] = struct{}{}
		}
	}
	var last int64 // those that come to be held meanwhile are not gone through
	err := tx.query(ctx, func(row scanner) error { return row.Scan(&last) }, stmt(`SELECT coalesce(max(id), 0) FROM flags`))
	if err != nil {
		return err
	}
	for after := int64(0); ; {
		some, err := a.holding(ctx, tx, after, last)
		if err != nil || len(some) == 0 {
			return err
		}
		after = some[len(some)-1].id
		var writes writing
		for _, h := range some {
			if err := a.closeOne(h, &writes); err != nil {
				return err
			}
		}
		if err := a.writeAll(ctx, tx, writes, millis(time.Now())); err != nil {
			return err
		}
	}
}

func (a *applying) holding(ctx context.Context, tx transaction, after, last int64) ([]heldFlag, error) {
	var some []heldFlag
	err := tx.query(ctx, func(row scanner) error {
		var h heldFlag
		var wrapped, content []byte
		var recorded int64
		if err := row.Scan(&h.id, &h.person, &content, &recorded, &wrapped); err != nil {
			return err
		}
		var err error
		if h.key, err = a.unwrap(h.person, wrapped); err != nil {
			return err
		}
		h.later = a.released && recorded > millis(a.upload.Received)
		h.flag, err = h.key.openFlag(h.person, a.upload.Authority, content)
		some = append(some, h)
		return err
	}, stmt(`SELECT f.id, f.person, f.content, f.recorded_at, p.key FROM flags f JOIN persons p ON p.token = f.person
		WHERE f.authority = ? AND f.closed_at IS NULL AND f.id > ? AND f.id <= ? ORDER BY f.id LIMIT ?`,
		a.upload.Authority.String(), after, last, int64(together)))
	return some, err
}

func (a *applying) closeOne(h heldFlag, w *writing) error {
	if !a.current(h.flag) {
		return nil
	}
	k := &a.kept
	k.Current++
	if _, listed := a.listed[nameOf(h.person, h.flag)]; listed || h.later || a.spared.has(h.person, h.flag.Born.Reveal()) {
		return nil
	}
	k.Closing++
	a.changed[string(h.person)] = true
	if a.day.Before(h.flag.Start) {
		k.Withdrawn++
		w.withdrawn = append(w.withdrawn, h.id)
		return nil
	}
	k.Ended++
	ended := h.flag
	ended.End = a.day
	w.superseded = append(w.superseded, h.id)
	return a.add(w, h.person, h.key, ended)
}

// stage keeps a snapshot until a person has decided.
func (a *applying) stage(ctx context.Context, tx transaction) error {
	// What it would do was counted; it does nothing.
	k := &a.kept
	k.State, k.Loaded, k.Ended, k.Withdrawn = Waits, 0, 0, 0
	if err := a.overtake(ctx, tx); err != nil {
		return err
	}
	if err := a.insert(ctx, tx); err != nil {
		return err
	}
	plain, err := json.Marshal(a.spared)
	if err != nil {
		return err
	}
	sealed, err := a.ring.Seal(plain, sparedAD(k.ID))
	if err != nil {
		return err
	}
	statements := []statement{stmt(`UPDATE uploads SET spared = ? WHERE id = ?`, sealed, k.ID)}
	var candidates []candidate
	var some []item
	position := int64(0)
	flush := func() error {
		known, err := a.ensure(ctx, tx, candidates)
		if err != nil {
			return err
		}
		type row struct {
			position        int64
			person, content []byte
		}
		rows := make([]row, len(some))
		for n, i := range some {
			position++
			content, err := known[string(i.person)].sealChange(i, stagedAD(k.ID, position))
			if err != nil {
				return err
			}
			rows[n] = row{position, i.person, content}
		}
		_, err = tx.exec(ctx, append(statements, inserts(`INSERT INTO upload_changes (upload, position, person, content) VALUES `, "", rows,
			func(args []any, r row) []any { return append(args, k.ID, r.position, r.person, r.content) })...)...)
		candidates, some, statements = candidates[:0], some[:0], statements[:0]
		return err
	}
	for i, err := range a.items(ctx) {
		if err != nil {
			return err
		}
		c, err := a.candidate(i.person, i.Number)
		if err != nil {
			return err
		}
		candidates, some = append(candidates, c), append(some, i)
		if len(some) == together {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}

// overtake ends the waiting of earlier snapshots: this one says it all.
func (a *applying) overtake(ctx context.Context, tx transaction) error {
	var ids []string
	err := tx.query(ctx, func(row scanner) error {
		var id string
		err := row.Scan(&id)
		ids = append(ids, id)
		return err
	}, stmt(`SELECT id FROM uploads WHERE authority = ? AND state = ?`, a.upload.Authority.String(), string(Waits)))
	if err != nil {
		return err
	}
	for _, id := range ids {
		if _, err := tx.exec(ctx, stmt(`UPDATE uploads SET state = ?, spared = NULL WHERE id = ?`, string(Overtaken), id)); err != nil {
			return err
		}
		if err := a.dropStaged(ctx, tx, id); err != nil {
			return err
		}
	}
	return nil
}

func sparedAD(upload string) []byte { return key("spared", upload) }

func stagedAD(upload string, position int64) []byte {
	return key("staged", upload, fmt.Sprint(position))
}

func forget(upload string) statement {
	return stmt(`DELETE FROM upload_changes WHERE upload = ?`, upload)
}

// dropStaged removes what was kept of an upload that will not be applied, and
// the persons of whom nothing else is kept.
func (s *DB) dropStaged(ctx context.Context, tx transaction, upload string) error {
	for {
		persons := map[string]bool{}
		err := tx.query(ctx, func(row scanner) error {
			var person []byte
			err := row.Scan(&person)
			persons[string(person)] = true
			return err
		}, stmt(`DELETE FROM upload_changes WHERE upload = ? AND position IN
			(SELECT position FROM upload_changes WHERE upload = ? ORDER BY position LIMIT ?) RETURNING person`, upload, upload, int64(together)))
		if err != nil || len(persons) == 0 {
			return err
		}
		if _, err := tx.exec(ctx, withoutRows(persons)...); err != nil {
			return err
		}
	}
}

// unstage gets ready to apply what waited.
func (a *applying) unstage(ctx context.Context, tx transaction) error {
	var sealed []byte
	err := tx.query(ctx, func(row scanner) error { return row.Scan(&sealed) }, stmt(`SELECT spared FROM uploads WHERE id = ?`, a.kept.ID))
	if err != nil {
		return err
	}
	plain, err := a.ring.Open(sealed, sparedAD(a.kept.ID))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(plain, &a.spared); err != nil {
		return fmt.Errorf("read sealed value: %w", err)
	}
	a.day = a.spared.Day
	return nil
}

// staged gives the changes that waited. In the place of one that was erased
// meanwhile is one of nobody.
func (a *applying) staged(ctx context.Context) iter.Seq2[item, error] {
	return func(yield func(item, error) bool) {
		for after := int64(0); ; {
			var some []item
			rows, before := 0, after
			err := a.engine.query(ctx, func(row scanner) error {
				var person, wrapped, content []byte
				if err := row.Scan(&after, &person, &content, &wrapped); err != nil {
					return err
				}
				for ; before < after-1; before++ {
					some = append(some, item{})
				}
				rows, before = rows+1, after
				k, err := a.unwrap(person, wrapped)
				if err != nil {
					return err
				}
				i, err := k.openChange(person, content, stagedAD(a.kept.ID, after))
				some = append(some, i)
				return err
			}, stmt(`SELECT c.position, c.person, c.content, p.key FROM upload_changes c JOIN persons p ON p.token = c.person
				WHERE c.upload = ? AND c.position > ? ORDER BY c.position LIMIT ?`, a.kept.ID, after, int64(together)))
			if err != nil {
				yield(item{}, err)
				return
			}
			for _, i := range some {
				if !yield(i, nil) {
					return
				}
			}
			if rows < together {
				return
			}
		}
	}
}

// sealedChange is a change that waits. Whose it is, the row says.
type sealedChange struct {
	sealedFlag
	Withdraw bool `json:"withdraw,omitempty"`
}

func (k dataKey) sealChange(i item, ad []byte) ([]byte, error) {
	return k.sealJSON(sealedChange{sealedFlag{i.Flag.Plan, i.Flag.Start, i.Flag.End, i.Flag.Born.Reveal()}, i.Withdraw}, ad)
}

func (k dataKey) openChange(person, sealed, ad []byte) (item, error) {
	var c sealedChange
	if err := k.openJSON(sealed, ad, &c); err != nil {
		return item{}, err
	}
	return item{person, Change{Flag: Flag{Plan: c.Plan, Start: c.Start, End: c.End, Born: safeguard.Hide(c.Born)}, Withdraw: c.Withdraw}}, nil
}
