package store

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/audit"
)

// together is how many changes of an upload go to the database at a time.
const together = 500

// errWaits ends the transaction of a snapshot that does too much.
var errWaits = errors.New("it ends or withdraws more than it may")

// Apply implements Store. Its memory is some 25 bytes for each change, and twice
// that for a snapshot's.
func (s *DB) Apply(ctx context.Context, u Upload) (Kept, error) {
	a := &applying{DB: s, upload: u}
	k, err := a.apply(ctx)
	if err != nil {
		return Kept{}, fmt.Errorf("apply upload: %w", err)
	}
	return k, nil
}

// applying is one upload on its way into the tables.
type applying struct {
	*DB
	upload   Upload
	released bool // it waited: its changes are in the tables
	kept     Kept // what is to be said of it

	effects []byte          // packed
	changed map[string]bool // persons whose flags are others now
	listed  map[one]struct{}
	spared  spared
	day     safeguard.Date // of a snapshot
}

// reset begins anew, in a transaction of which nothing else is left.
func (a *applying) reset() {
	a.effects, a.listed, a.changed = nil, nil, map[string]bool{}
	k := &a.kept
	k.Loaded, k.Current, k.Closing, k.Ended, k.Withdrawn, k.Effects = 0, 0, 0, 0, 0, nil
}

func (a *applying) apply(ctx context.Context) (Kept, error) {
	u := a.upload
	a.kept = Kept{
		ID: u.ID, Authority: u.Authority, By: u.By, Received: fromMillis(millis(u.Received)), Snapshot: u.Snapshot != nil,
		Sequence: u.Sequence, Digest: u.Digest, File: u.File, State: Applied, Rows: u.Rows, Verdicts: u.Verdicts,
	}
	// Before any person is written down for an upload that is refused.
	var repeated bool
	err := a.engine.snapshot(ctx, func(tx transaction) (err error) {
		repeated, err = a.admit(ctx, tx)
		return err
	})
	if err != nil || repeated {
		return a.kept, err
	}
	if u.Snapshot != nil {
		a.day = u.Snapshot.Day
		if err := a.spare(u.Snapshot); err != nil {
			return Kept{}, err
		}
	}
	if err := a.persons(ctx); err != nil {
		return Kept{}, err
	}
	err = a.locked(ctx, a.whole)
	if errors.Is(err, errWaits) {
		err = a.locked(ctx, a.stage)
	}
	return a.kept, err
}

// locked has do done when no other upload of the authority is, and its number is
// still good.
func (a *applying) locked(ctx context.Context, do func(ctx context.Context, tx transaction) error) error {
	return a.beside(ctx, func(ctx context.Context, tx transaction) error {
		if err := a.engine.lock(ctx, tx, "flags of "+a.upload.Authority.String()); err != nil {
			return err
		}
		repeated, err := a.admit(ctx, tx)
		if err != nil || repeated {
			return err
		}
		return do(ctx, tx)
	})
}

// whole applies the upload, unless it is to wait.
func (a *applying) whole(ctx context.Context, tx transaction) error {
	a.reset()
	if err := a.insert(ctx, tx); err != nil {
		return err
	}
	if err := a.all(ctx, tx); err != nil {
		return err
	}
	k := a.kept
	if snapshot := a.upload.Snapshot; snapshot != nil {
		if float64(k.Closing) > snapshot.Share*float64(k.Current) {
			return errWaits
		}
		if err := a.overtake(ctx, tx); err != nil {
			return err
		}
	}
	return a.finish(ctx, tx)
}

func (a *applying) insert(ctx context.Context, tx transaction) error {
	k := a.kept
	_, err := tx.exec(ctx, stmt(`INSERT INTO uploads (id, authority, sent_by, received_at, kind, sequence, digest, file_digest, state, row_count, loaded,
			current_flags, closing, ended, withdrawn, gap_from, gap_to, verdicts)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?, ?, 0, 0, ?, ?, ?)`,
		k.ID, k.Authority.String(), k.By, millis(k.Received), kindOf(k.Snapshot), k.Sequence, k.Digest, k.File, string(k.State), int64(k.Rows),
		int64(k.Current), int64(k.Closing), k.GapFrom, k.GapTo, k.Verdicts))
	return err
}

// finish writes what the upload did.
func (a *applying) finish(ctx context.Context, tx transaction, last ...statement) error {
	k := &a.kept
	k.Effects = make([]Effect, len(a.effects))
	for i, e := range a.effects {
		k.Effects[i] = Effect(e)
		if k.Effects[i] != NotHeld && k.Effects[i] != NoEffect {
			k.Loaded++
		}
	}
	effects, err := packEffects(a.effects)
	if err != nil {
		return err
	}
	_, err = tx.exec(ctx, append([]statement{stmt(`UPDATE uploads SET loaded = ?, effects = ?, current_flags = ?, closing = ?, ended = ?, withdrawn = ? WHERE id = ?`,
		int64(k.Loaded), effects, int64(k.Current), int64(k.Closing), int64(k.Ended), int64(k.Withdrawn), k.ID)}, last...)...)
	if err != nil {
		return err
	}
	// Last, for the log of changes is locked until the commit.
	return a.logChanges(ctx, tx, a.changed)
}

func packEffects(effects []byte) ([]byte, error) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(effects); err != nil {
		return nil, err
	}
	err := z.Close()
	return b.Bytes(), err
}

func unpackEffects(packed []byte) ([]Effect, error) {
	if len(packed) == 0 {
		return nil, nil
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("read effects: %w", err)
	}
	plain, err := io.ReadAll(z)
	if err != nil {
		return nil, fmt.Errorf("read effects: %w", err)
	}
	effects := make([]Effect, len(plain))
	for i, e := range plain {
		effects[i] = Effect(e)
	}
	return effects, nil
}

// item is a change, and whom it is about; nobody, where that was erased.
type item struct {
	person []byte // token
	Change
}

// items gives the changes, in their order, from wherever they are.
func (a *applying) items(ctx context.Context) iter.Seq2[item, error] {
	if a.released {
		return a.staged(ctx)
	}
	return func(yield func(item, error) bool) {
		for c := range a.upload.Changes {
			person, err := a.person(c.Number)
			if !yield(item{person, c}, err) || err != nil {
				return
			}
		}
	}
}

// persons makes the rows of the persons that flags are added for and that have
// none, ahead of the upload and some at a time: while it lasts, lookups of the
// same persons must not wait for it. A row without a flag says nothing.
func (a *applying) persons(ctx context.Context) error {
	var some []item
	flush := func() error {
		missing, err := a.strangers(ctx, some)
		some = some[:0]
		if err != nil || len(missing) == 0 {
			return err
		}
		return a.alone(ctx, func(ctx context.Context, tx transaction) ([]audit.Entry, error) {
			_, err := a.write(ctx, tx, missing)
			return nil, err
		})
	}
	for i, err := range a.items(ctx) {
		if err != nil {
			return err
		}
		if i.Withdraw {
			continue
		}
		if some = append(some, i); len(some) == together {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}

// strangers makes candidates of the persons that have no row.
func (a *applying) strangers(ctx context.Context, some []item) ([]candidate, error) {
	tokens := make([][]byte, len(some))
	for i, s := range some {
		tokens[i] = s.person
	}
	known := map[string]bool{}
	err := a.engine.query(ctx, func(row scanner) error {
		var person []byte
		err := row.Scan(&person)
		known[string(person)] = true
		return err
	}, among(`SELECT token FROM persons WHERE token IN`, "", tokens)...)
	if err != nil {
		return nil, err
	}
	var missing []candidate
	for _, s := range some {
		if known[string(s.person)] {
			continue
		}
		c, err := a.candidate(s.person, s.Number)
		if err != nil {
			return nil, err
		}
		missing = append(missing, c)
	}
	return missing, nil
}

// all closes what a snapshot does not name, and applies the changes.
func (a *applying) all(ctx context.Context, tx transaction) error {
	if a.kept.Snapshot {
		if err := a.closeMissing(ctx, tx); err != nil {
			return err
		}
	}
	// A bounded number at a time, and each flag once, so that none of them depends
	// on another.
	var some []item
	names := map[one]bool{}
	flush := func() error {
		if len(some) == 0 {
			return nil
		}
		err := a.some(ctx, tx, some)
		some = some[:0]
		clear(names)
		if a.upload.Progress != nil {
			a.upload.Progress(len(a.effects))
		}
		return err
	}
	for i, err := range a.items(ctx) {
		if err != nil {
			return err
		}
		if i.person == nil {
			if err := flush(); err != nil {
				return err
			}
			a.effects = append(a.effects, byte(NoEffect))
			continue
		}
		name := nameOf(i.person, i.Flag)
		if len(some) == together || names[name] {
			if err := flush(); err != nil {
				return err
			}
		}
		some, names[name] = append(some, i), true
	}
	return flush()
}

// one names a flag among those of an authority. The token is cut: it is a keyed
// hash, of which these bytes are as good as the whole.
type one struct {
	person [16]byte
	plan   uint8
	day    uint8
	month  uint8
	year   int16
}

func nameOf(person []byte, f Flag) one {
	n := one{plan: uint8(f.Plan), day: uint8(f.Start.Day), month: uint8(f.Start.Month), year: int16(f.Start.Year)}
	copy(n.person[:], person)
	return n
}

func (a *applying) some(ctx context.Context, tx transaction, some []item) error {
	var persons [][]byte
	asked := map[string]bool{}
	for _, i := range some {
		if !asked[string(i.person)] {
			asked[string(i.person)], persons = true, append(persons, i.person)
		}
	}
	known, before, err := a.find(ctx, tx, persons)
	if err != nil {
		return err
	}
	var writes writing
	now := millis(time.Now())
	for _, i := range some {
		i.Flag.Authority, i.Flag.Row = a.upload.Authority, 0
		was := before[nameOf(i.person, i.Flag)]
		effect, err := a.change(i, known, was, &writes)
		if err != nil {
			return err
		}
		switch effect {
		case Added, Replaced, Withdrawn:
			a.changed[string(i.person)] = true
		}
		a.effects = append(a.effects, byte(effect))
		if was.held && a.current(was.flag) && (effect == Withdrawn || effect == Replaced && !a.current(i.Flag)) {
			a.kept.Closing++
		}
	}
	return a.writeAll(ctx, tx, writes, now)
}

// writing is what becomes of some flags.
type writing struct {
	added                 []addedFlag
	superseded, withdrawn []int64 // rows
}

// addedFlag is a row of flags to be.
type addedFlag struct {
	person    []byte
	authority string
	content   []byte
}

// writeAll writes it, what is closed before what is added.
func (a *applying) writeAll(ctx context.Context, tx transaction, w writing, now int64) error {
	closing := func(as string, rows []int64) []statement {
		return among(`UPDATE flags SET closed_at = ?, closed_by = ?, closed_as = ? WHERE id IN`, "", rows, now, a.upload.ID, as)
	}
	statements := append(closing("superseded", w.superseded), closing("withdrawn", w.withdrawn)...)
	statements = append(statements, inserts(`INSERT INTO flags (person, authority, content, recorded_at, recorded_by) VALUES `, "", w.added,
		func(args []any, f addedFlag) []any {
			return append(args, f.person, f.authority, f.content, now, a.upload.ID)
		})...)
	_, err := tx.exec(ctx, statements...)
	return err
}

// found is what the tables have of a flag.
type found struct {
	id        int64
	flag      Flag
	held      bool
	withdrawn bool  // not held now, but was withdrawn
	touched   int64 // when it was last recorded or closed
}

// find gives the keys of the persons that have one, and the flags of theirs that
// the authority holds, or held.
func (a *applying) find(ctx context.Context, tx transaction, persons [][]byte) (map[string]dataKey, map[one]found, error) {
	known, out := make(map[string]dataKey, len(persons)), map[one]found{}
	err := tx.query(ctx, func(row scanner) error {
		var person, wrapped, content []byte
		var id, recorded, closedAt *int64
		var closed *string
		if err := row.Scan(&person, &wrapped, &id, &content, &recorded, &closedAt, &closed); err != nil {
			return err
		}
		k, ok := known[string(person)]
		if !ok {
			var err error
			if k, err = a.unwrap(person, wrapped); err != nil {
				return err
			}
			known[string(person)] = k
		}
		if id == nil {
			return nil
		}
		f, err := k.openFlag(person, a.upload.Authority, content)
		if err != nil {
			return fmt.Errorf("read flag: %w", err)
		}
		name := nameOf(person, f)
		was := out[name]
		was.touched = max(was.touched, *recorded)
		if closed == nil {
			was.id, was.flag, was.held = *id, f, true
		} else {
			was.touched = max(was.touched, *closedAt)
		}
		was.withdrawn = closed != nil && *closed == "withdrawn"
		out[name] = was
		return nil
	}, among(`SELECT p.token, p.key, f.id, f.content, f.recorded_at, f.closed_at, f.closed_as
		FROM persons p LEFT JOIN flags f ON f.person = p.token AND f.authority = ? WHERE p.token IN`, ` ORDER BY f.id`, persons, a.upload.Authority.String())...)
	return known, out, err
}

// change decides what one change does, and puts that among the writes.
func (a *applying) change(i item, known map[string]dataKey, before found, w *writing) (Effect, error) {
	k, there := known[string(i.person)]
	switch {
	case a.released && before.touched > millis(a.upload.Received):
		return Later, nil
	case i.Withdraw && before.held:
		w.withdrawn = append(w.withdrawn, before.id)
		return Withdrawn, nil
	case i.Withdraw && before.withdrawn:
		return Unchanged, nil
	case i.Withdraw:
		return NotHeld, nil
	case before.held && before.flag == i.Flag:
		return Unchanged, nil
	case !there:
		return NoEffect, fmt.Errorf("person's key: it was erased during the upload")
	}
	if err := a.add(w, i.person, k, i.Flag); err != nil {
		return NoEffect, err
	}
	if before.held {
		w.superseded = append(w.superseded, before.id)
		return Replaced, nil
	}
	return Added, nil
}

func (a *applying) add(w *writing, person []byte, k dataKey, f Flag) error {
	content, err := k.sealFlag(person, f)
	w.added = append(w.added, addedFlag{person, f.Authority.String(), content})
	return err
}
