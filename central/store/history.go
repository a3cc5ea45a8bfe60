package store

import (
	"context"
	"fmt"
	"time"

	"github.com/safeguard-edge/safeguard"
)

// Holding is a flag as it was held, from when and until when.
type Holding struct {
	Flag
	Recorded time.Time
	By       Origin
	Closed   time.Time // zero while it is held
	ClosedAs string    // superseded or withdrawn
	ClosedBy Origin
}

// Origin is the upload that said something.
type Origin struct {
	Upload   string
	Sender   string // the identity that sent it
	Received time.Time
}

// FlagsAt implements Store. Moments are the centre's, to the millisecond: what
// was recorded in the same one counts as there.
func (s *DB) FlagsAt(ctx context.Context, number safeguard.NHSNumber, at time.Time) ([]Holding, error) {
	person, err := s.person(number)
	if err != nil {
		return nil, fmt.Errorf("read past flags: %w", err)
	}
	var holdings []Holding
	err = s.engine.query(ctx, func(row scanner) error {
		h, err := s.scanHolding(row, person)
		holdings = append(holdings, h)
		return err
	}, stmt(`SELECT p.key, f.id, f.authority, f.content, f.recorded_at, f.recorded_by, r.sent_by, r.received_at,
			f.closed_at, f.closed_as, f.closed_by, c.sent_by, c.received_at
		FROM flags f JOIN persons p ON p.token = f.person JOIN uploads r ON r.id = f.recorded_by LEFT JOIN uploads c ON c.id = f.closed_by
		WHERE f.person = ? AND f.recorded_at <= ? AND (f.closed_at IS NULL OR f.closed_at > ?) ORDER BY f.id`, person, millis(at), millis(at)))
	if err != nil {
		return nil, fmt.Errorf("read past flags: %w", err)
	}
	return holdings, nil
}

func (s *DB) scanHolding(row scanner, person []byte) (Holding, error) {
	var h Holding
	var wrapped, content []byte
	var id, recorded, received int64
	var code string
	var closed, closedReceived *int64
	var closedAs, closedBy, closedSender *string
	if err := row.Scan(&wrapped, &id, &code, &content, &recorded, &h.By.Upload, &h.By.Sender, &received,
		&closed, &closedAs, &closedBy, &closedSender, &closedReceived); err != nil {
		return Holding{}, err
	}
	k, err := s.unwrap(person, wrapped)
	if err != nil {
		return Holding{}, err
	}
	if h.Flag, err = k.readFlag(person, code, content); err != nil {
		return Holding{}, err
	}
	h.Row, h.Recorded, h.By.Received = id, fromMillis(recorded), fromMillis(received)
	if closed != nil {
		h.Closed, h.ClosedAs = fromMillis(*closed), *closedAs
		h.ClosedBy = Origin{*closedBy, *closedSender, fromMillis(*closedReceived)}
	}
	return h, nil
}

// Uploaded implements Store.
func (s *DB) Uploaded(ctx context.Context) (map[safeguard.ODSCode]time.Time, error) {
	at := map[safeguard.ODSCode]time.Time{}
	err := s.engine.query(ctx, func(row scanner) error {
		var code string
		var received *int64
		if err := row.Scan(&code, &received); err != nil || received == nil {
			return err
		}
		authority, err := safeguard.ParseODSCode(code)
		at[authority] = fromMillis(*received)
		return err
	}, stmt(`SELECT a.code, (SELECT u.received_at FROM uploads u WHERE u.authority = a.code AND u.state = 'applied' AND (u.loaded > 0 OR u.row_count = 0)
		ORDER BY u.received_at DESC LIMIT 1) FROM authorities a`))
	if err != nil {
		return nil, fmt.Errorf("read uploads: %w", err)
	}
	return at, nil
}
