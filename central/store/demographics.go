package store

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/audit"
)

// Standing is what a demographic service says of an NHS number. The zero value
// is that it says nothing.
type Standing uint8

// The standings.
const (
	InUse      Standing = iota // as far as is known
	NotFound                   // the service has no such number
	Inactive                   // not in use any more
	Superseded                 // not in use any more: the person has another
	Sensitive                  // the service gives nobody's record for it
)

var standings = []string{"in-use", "not-found", "inactive", "superseded", "sensitive"}

func (s Standing) String() string {
	if int(s) >= len(standings) {
		return standings[0]
	}
	return standings[s]
}

// MarshalText writes in-use, not-found, inactive, superseded or sensitive.
func (s Standing) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads not-found, inactive, superseded or sensitive.
func (s *Standing) UnmarshalText(text []byte) error {
	i := slices.Index(standings, string(text))
	if i <= 0 {
		return fmt.Errorf("want one of %v", standings[1:])
	}
	*s = Standing(i)
	return nil
}

// Listed is one number of a list. There is no place for the number that has
// taken another's: after an adoption the two must not be linked anywhere.
type Listed struct {
	Number   safeguard.NHSNumber
	Standing Standing
}

// DemographicList is a list that was imported.
type DemographicList struct {
	Imported time.Time
	Numbers  int
}

// InactiveNumber is a number that is not in use any more, under which an
// authority holds a flag, or held one when that became known.
type InactiveNumber struct {
	Position int64
	ID       string
	Number   safeguard.NHSNumber
	Standing Standing // Inactive or Superseded
	Upload   string   // sequence number of the upload that the flag is from, or else its id
	Recorded time.Time
}

// demographicsMeta is the list as meta has it.
type demographicsMeta struct {
	Imported time.Time `json:"imported"`
	Numbers  int       `json:"numbers"`
}

// ImportDemographics implements Store.
func (s *DB) ImportDemographics(ctx context.Context, list iter.Seq2[Listed, error], by audit.Who) (owed int, err error) {
	err = s.alone(ctx, func(ctx context.Context, tx transaction) ([]audit.Entry, error) {
		if err := s.engine.lock(ctx, tx, "demographics"); err != nil {
			return nil, err
		}
		if _, err := tx.exec(ctx, stmt(`DELETE FROM demographics`)); err != nil {
			return nil, err
		}
		meta := demographicsMeta{Imported: time.Now().UTC().Truncate(time.Millisecond)}
		if err := s.list(ctx, tx, list, &meta); err != nil {
			return nil, err
		}
		text, err := json.Marshal(meta)
		if err != nil {
			return nil, err
		}
		if _, err := tx.exec(ctx, stmt(`INSERT INTO meta (name, value) VALUES ('demographics', ?)
			ON CONFLICT (name) DO UPDATE SET value = excluded.value`, string(text))); err != nil {
			return nil, err
		}
		owed, err = s.oweInactive(ctx, tx, meta.Imported)
		return []audit.Entry{{At: time.Now(), Act: audit.DemographicsImported, Who: by,
			Details: map[string]string{"numbers": strconv.Itoa(meta.Numbers), "notices": strconv.Itoa(owed)}}}, err
	})
	if err != nil {
		return 0, fmt.Errorf("import demographics: %w", err)
	}
	return owed, nil
}

func (s *DB) list(ctx context.Context, tx transaction, list iter.Seq2[Listed, error], meta *demographicsMeta) error {
	var some []statement
	for l, err := range list {
		if err != nil {
			return err
		}
		person, err := s.person(l.Number)
		if err != nil {
			return err
		}
		meta.Numbers++
		if some = append(some, stmt(`INSERT INTO demographics (token, standing) VALUES (?, ?)
			ON CONFLICT (token) DO UPDATE SET standing = excluded.standing`, person, l.Standing.String())); len(some) == together {
			if _, err := tx.exec(ctx, some...); err != nil {
				return err
			}
			some = some[:0]
		}
	}
	_, err := tx.exec(ctx, some...)
	return err
}

// oweInactive owes what is not owed yet.
func (s *DB) oweInactive(ctx context.Context, tx transaction, at time.Time) (int, error) {
	var owe []statement
	err := tx.query(ctx, func(row scanner) error {
		var person []byte
		var authority, standing string
		if err := row.Scan(&person, &authority, &standing); err != nil {
			return err
		}
		owe = append(owe, stmt(`INSERT INTO inactive_numbers (id, person, authority, standing, recorded_at) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
			s.inactiveID(person, authority, standing), person, authority, standing, millis(at)))
		return nil
	}, stmt(`SELECT DISTINCT f.person, f.authority, d.standing FROM demographics d JOIN flags f ON f.person = d.token
		WHERE f.closed_at IS NULL AND d.standing IN (?, ?) ORDER BY f.person, f.authority`, Inactive.String(), Superseded.String()))
	if err != nil {
		return 0, err
	}
	owed := 0
	for some := range slices.Chunk(owe, together) {
		touched, err := tx.exec(ctx, some...)
		if err != nil {
			return 0, err
		}
		for _, n := range touched {
			owed += int(n)
		}
	}
	return owed, nil
}

// inactiveID follows from what makes a notice one, as notificationID does.
func (v vault) inactiveID(person []byte, authority, standing string) string {
	return v.uuid("central inactive number", key(authority, standing, string(person)))
}

// Demographics implements Store.
func (s *DB) Demographics(ctx context.Context) (DemographicList, error) {
	var meta demographicsMeta
	err := s.engine.query(ctx, func(row scanner) error {
		var text string
		if err := row.Scan(&text); err != nil {
			return err
		}
		return json.Unmarshal([]byte(text), &meta)
	}, stmt(`SELECT value FROM meta WHERE name = 'demographics'`))
	if err != nil {
		return DemographicList{}, fmt.Errorf("read demographics: %w", err)
	}
	return DemographicList(meta), nil
}

// Standings implements Store.
func (s *DB) Standings(ctx context.Context, numbers []safeguard.NHSNumber) ([]Standing, error) {
	found := map[string]Standing{}
	persons := make([][]byte, len(numbers))
	selects := make([]statement, len(numbers))
	for i, n := range numbers {
		var err error
		if persons[i], err = s.person(n); err != nil {
			return nil, fmt.Errorf("read demographics: %w", err)
		}
		selects[i] = stmt(`SELECT token, standing FROM demographics WHERE token = ?`, persons[i])
	}
	err := s.engine.query(ctx, func(row scanner) error {
		var person []byte
		var text string
		if err := row.Scan(&person, &text); err != nil {
			return err
		}
		var standing Standing
		err := standing.UnmarshalText([]byte(text))
		found[string(person)] = standing
		return err
	}, selects...)
	if err != nil {
		return nil, fmt.Errorf("read demographics: %w", err)
	}
	list := make([]Standing, len(numbers))
	for i, p := range persons {
		list[i] = found[string(p)]
	}
	return list, nil
}

// InactiveNumbers implements Store.
func (s *DB) InactiveNumbers(ctx context.Context, authority safeguard.ODSCode, after int64, limit int) ([]InactiveNumber, error) {
	var list []InactiveNumber
	err := s.engine.query(ctx, func(row scanner) error {
		n, err := s.scanInactive(row)
		list = append(list, n)
		return err
	}, stmt(`SELECT i.position, i.id, i.person, i.standing, i.recorded_at, p.key, p.number, u.id, u.sequence
		FROM inactive_numbers i JOIN persons p ON p.token = i.person
		JOIN flags f ON f.id = (SELECT max(g.id) FROM flags g WHERE g.person = i.person AND g.authority = i.authority)
		JOIN uploads u ON u.id = f.recorded_by
		WHERE i.authority = ? AND i.acknowledged_at IS NULL AND i.position > ? ORDER BY i.position LIMIT ?`, authority.String(), after, int64(limit)))
	if err != nil {
		return nil, fmt.Errorf("read inactive numbers: %w", err)
	}
	return list, nil
}

func (s *DB) scanInactive(row scanner) (InactiveNumber, error) {
	var n InactiveNumber
	var person, wrapped, sealed []byte
	var standing string
	var recorded, sequence int64
	if err := row.Scan(&n.Position, &n.ID, &person, &standing, &recorded, &wrapped, &sealed, &n.Upload, &sequence); err != nil {
		return n, err
	}
	n.Recorded = fromMillis(recorded)
	if sequence > 0 {
		n.Upload = strconv.FormatInt(sequence, 10)
	}
	if err := n.Standing.UnmarshalText([]byte(standing)); err != nil {
		return n, err
	}
	k, err := s.unwrap(person, wrapped)
	if err != nil {
		return n, err
	}
	var number string
	if err := k.openJSON(sealed, personAD(person), &number); err != nil {
		return n, err
	}
	n.Number, err = safeguard.ParseNHSNumber(number)
	return n, err
}

// AcknowledgeInactive implements Store.
func (s *DB) AcknowledgeInactive(ctx context.Context, authority safeguard.ODSCode, ids []string, by string, at time.Time) (int, error) {
	found, err := s.acknowledge(ctx, "inactive_numbers", authority, ids, by, at)
	if err != nil {
		return 0, fmt.Errorf("acknowledge inactive numbers: %w", err)
	}
	return found, nil
}
