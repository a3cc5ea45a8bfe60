package store

import (
	"context"
	"fmt"

	"github.com/safeguard-edge/safeguard"
)

// Flags implements Store.
func (s *DB) Flags(ctx context.Context, number safeguard.NHSNumber) ([]Flag, error) {
	person, err := s.person(number)
	if err != nil {
		return nil, fmt.Errorf("read flags: %w", err)
	}
	rows, err := s.engine.held(ctx, [][]byte{person})
	if err != nil {
		return nil, fmt.Errorf("read flags: %w", err)
	}
	flags, err := s.flagsOf(person, rows)
	if err != nil {
		return nil, fmt.Errorf("read flags: %w", err)
	}
	return flags, nil
}

// flagsOf opens the rows of one person.
func (s *DB) flagsOf(person []byte, rows []heldRow) ([]Flag, error) {
	if len(rows) == 0 {
		return nil, nil
	}
	k, err := s.unwrap(person, rows[0].key)
	if err != nil {
		return nil, err
	}
	flags := make([]Flag, len(rows))
	for i, r := range rows {
		// One that can not be opened is an error: leaving it out would turn held
		// into none.
		if flags[i], err = k.readFlag(person, r.authority, r.content); err != nil {
			return nil, err
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
