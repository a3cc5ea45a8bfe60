package store

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/safeguard-edge/safeguard"
)

// ErrGap says that the log of changes does not go on from a point: it does not
// reach back so far, or is another log.
var ErrGap = errors.New("the changes do not go on from there")

// ChangePoint is a place in the log of changes. The zero value is its beginning.
type ChangePoint struct {
	Position int64
	At       time.Time // to the millisecond; tells a log from one that was restored
}

// Changed says that what is held for a person became something else.
type Changed struct {
	ChangePoint
	Number safeguard.NHSNumber // where someone is to be told
	Asked  []Asker             // who asked about the person
}

// Asker is a site that asked about a person, and when it did so last.
type Asker struct {
	Organisation safeguard.ODSCode
	Site         safeguard.ODSCode
	At           time.Time
}

// asking is the note that a site asked about a person.
type asking struct {
	person             []byte
	organisation, site string
	at                 int64

	attendedAt *int64 // when the person attended there; nil where that was not said
	attendedAs []byte // and by which number and date of birth
}

// oncePer gives the notes by person, organisation and site, in that order, of
// several the latest, with the latest attendance.
func oncePer(notes []asking) []asking {
	slices.SortFunc(notes, func(a, b asking) int {
		return cmp.Or(bytes.Compare(a.person, b.person), strings.Compare(a.organisation, b.organisation), strings.Compare(a.site, b.site), cmp.Compare(b.at, a.at))
	})
	once := notes[:0]
	for _, n := range notes {
		last := len(once) - 1
		if last < 0 || !bytes.Equal(once[last].person, n.person) || once[last].organisation != n.organisation || once[last].site != n.site {
			once = append(once, n)
		} else if o := &once[last]; n.attendedAt != nil && (o.attendedAt == nil || *o.attendedAt < *n.attendedAt) {
			o.attendedAt, o.attendedAs = n.attendedAt, n.attendedAs
		}
	}
	return once
}

// keepAsked is what becomes of a note beside the one that is there: the latest
// time that the site asked, and the latest attendance.
const keepAsked = ` ON CONFLICT (person, organisation, site) DO UPDATE SET at = CASE WHEN asked.at < excluded.at THEN excluded.at ELSE asked.at END,
	attended_as = CASE WHEN excluded.attended_at >= COALESCE(asked.attended_at, excluded.attended_at) THEN excluded.attended_as ELSE asked.attended_as END,
	attended_at = CASE WHEN excluded.attended_at >= COALESCE(asked.attended_at, excluded.attended_at) THEN excluded.attended_at ELSE asked.attended_at END
	WHERE asked.at < excluded.at OR excluded.attended_at >= COALESCE(asked.attended_at, excluded.attended_at)`

// logChanges is the last that a transaction does. The log is locked until it has
// ended, so that positions become visible in their order, and whoever has read up
// to one has missed none before it.
func (s *DB) logChanges(ctx context.Context, tx transaction, persons map[string]bool) error {
	if len(persons) == 0 {
		return nil
	}
	if err := s.engine.lock(ctx, tx, "changes"); err != nil {
		return err
	}
	now := millis(time.Now())
	for some := range slices.Chunk(slices.Sorted(maps.Keys(persons)), together) {
		_, err := tx.exec(ctx, inserts(`INSERT INTO changes (person, at) VALUES `, "", some,
			func(args []any, person string) []any { return append(args, []byte(person), now) })...)
		if err != nil {
			return fmt.Errorf("log changes: %w", err)
		}
	}
	if _, err := tx.exec(ctx, s.engine.announce()...); err != nil {
		return fmt.Errorf("log changes: %w", err)
	}
	return nil
}

// Wake implements Store.
func (s *DB) Wake(ctx context.Context, woken func()) { s.engine.listen(ctx, woken) }

// LastChange implements Store.
func (s *DB) LastChange(ctx context.Context, by time.Time) (ChangePoint, error) {
	var last ChangePoint
	err := s.engine.query(ctx, func(row scanner) (err error) {
		last, err = scanPoint(row)
		return err
	}, stmt(`SELECT position, at FROM changes WHERE at <= ? ORDER BY position DESC LIMIT 1`, millis(by)))
	if err != nil {
		return ChangePoint{}, fmt.Errorf("read changes: %w", err)
	}
	return last, nil
}

func scanPoint(row scanner) (ChangePoint, error) {
	var p ChangePoint
	var at int64
	err := row.Scan(&p.Position, &at)
	p.At = fromMillis(at)
	return p, err
}

// Changed implements Store.
func (s *DB) Changed(ctx context.Context, after ChangePoint, limit int, since time.Time) ([]Changed, error) {
	if err := s.sameKeys(); err != nil {
		return nil, fmt.Errorf("read changes: %w", err)
	}
	var changed []Changed
	err := s.engine.snapshot(ctx, func(tx transaction) error {
		changed = nil
		if err := goesOn(ctx, tx, after); err != nil {
			return err
		}
		return tx.query(ctx, func(row scanner) error { return s.scanChanged(row, &changed) },
			stmt(`SELECT c.position, c.at, c.person, p.key, p.number, a.organisation, a.site, a.at
				FROM (SELECT position, at, person FROM changes WHERE position > ? ORDER BY position LIMIT ?) c
				LEFT JOIN asked a ON a.person = c.person AND a.at >= ?
				LEFT JOIN persons p ON p.token = a.person
				ORDER BY c.position, a.organisation, a.site`, after.Position, int64(limit), millis(since)))
	})
	if err != nil {
		return nil, fmt.Errorf("read changes: %w", err)
	}
	return changed, nil
}

// goesOn tells by ErrGap when the point is none of this log, or is gone.
func goesOn(ctx context.Context, tx transaction, p ChangePoint) error {
	if p == (ChangePoint{}) {
		first := int64(1)
		err := tx.query(ctx, func(row scanner) error { return row.Scan(&first) }, stmt(`SELECT position FROM changes ORDER BY position LIMIT 1`))
		if err == nil && first > 1 {
			err = ErrGap
		}
		return err
	}
	known := false
	err := tx.query(ctx, func(row scanner) error {
		have, err := scanPoint(row)
		known = have.At.Equal(p.At)
		return err
	}, stmt(`SELECT position, at FROM changes WHERE position = ?`, p.Position))
	if err == nil && !known {
		err = ErrGap
	}
	return err
}

// scanChanged takes up one change and one site that asked, or a change that
// nobody asked about.
func (s *DB) scanChanged(row scanner, changed *[]Changed) error {
	var c Changed
	var at int64
	var person, wrapped, sealed []byte
	var organisation, site *string
	var asked *int64
	if err := row.Scan(&c.Position, &at, &person, &wrapped, &sealed, &organisation, &site, &asked); err != nil {
		return err
	}
	c.At = fromMillis(at)
	if n := len(*changed); n == 0 || (*changed)[n-1].Position != c.Position {
		if wrapped != nil {
			var err error
			if c.Number, err = s.numberOf(person, wrapped, sealed); err != nil {
				return fmt.Errorf("change %d: %w", c.Position, err)
			}
		}
		*changed = append(*changed, c)
	}
	if wrapped == nil {
		return nil // nobody asked, or the person is erased
	}
	a := Asker{At: fromMillis(*asked)}
	var err error
	if a.Organisation, err = safeguard.ParseODSCode(*organisation); err != nil {
		return fmt.Errorf("change %d: %w", c.Position, err)
	}
	if a.Site, err = safeguard.ParseODSCode(*site); err != nil {
		return fmt.Errorf("change %d: %w", c.Position, err)
	}
	last := &(*changed)[len(*changed)-1]
	last.Asked = append(last.Asked, a)
	return nil
}

// numberOf opens a person's NHS number.
func (v vault) numberOf(person, wrapped, sealed []byte) (safeguard.NHSNumber, error) {
	k, err := v.unwrap(person, wrapped)
	if err != nil {
		return safeguard.NHSNumber{}, err
	}
	var number string
	if err := k.openJSON(sealed, personAD(person), &number); err != nil {
		return safeguard.NHSNumber{}, err
	}
	return safeguard.ParseNHSNumber(number)
}
