package store

import (
	"bytes"
	"context"
	"fmt"
	"slices"
)

// write makes the rows of the candidates' persons that are missing, and gives all
// of their tokens. It goes in one order, so that two at a time do not wait for
// each other.
func (s *DB) write(ctx context.Context, tx transaction, candidates []candidate) (tokens [][]byte, err error) {
	candidates = slices.Clone(candidates)
	slices.SortFunc(candidates, func(a, b candidate) int { return bytes.Compare(a.person, b.person) })
	candidates = slices.CompactFunc(candidates, func(a, b candidate) bool { return bytes.Equal(a.person, b.person) })
	tokens = make([][]byte, len(candidates))
	for i, c := range candidates {
		tokens[i] = c.person
	}
	_, err = tx.exec(ctx, inserts(`INSERT INTO persons (token, key, number) VALUES `, ` ON CONFLICT DO NOTHING`, candidates,
		func(args []any, c candidate) []any { return append(args, c.person, c.key, c.number) })...)
	return tokens, err
}

// ensure gives the keys of the candidates' persons, by token, after making the
// rows that are missing.
func (s *DB) ensure(ctx context.Context, tx transaction, candidates []candidate) (map[string]dataKey, error) {
	tokens, err := s.write(ctx, tx, candidates)
	if err != nil {
		return nil, err
	}
	found, err := s.keysOf(ctx, tx, tokens)
	if err != nil {
		return nil, err
	}
	for _, token := range tokens {
		if _, ok := found[string(token)]; !ok {
			return nil, fmt.Errorf("person's key: none after it was made")
		}
	}
	return found, nil
}

// keysOf gives the keys of the persons that have one.
func (s *DB) keysOf(ctx context.Context, tx transaction, persons [][]byte) (map[string]dataKey, error) {
	found := make(map[string]dataKey, len(persons))
	err := tx.query(ctx, func(row scanner) error {
		var person, wrapped []byte
		if err := row.Scan(&person, &wrapped); err != nil {
			return err
		}
		k, err := s.unwrap(person, wrapped)
		found[string(person)] = k
		return err
	}, among(`SELECT token, key FROM persons WHERE token IN`, "", persons)...)
	return found, err
}
