package store

import (
	"context"
	"fmt"
	"time"

	"github.com/safeguard-edge/safeguard/central/audit"
)

// Lease implements Store.
func (s *DB) Lease(ctx context.Context, name, holder string, d time.Duration) (bool, error) {
	clock, mine := s.engine.clock(), false
	err := s.alone(ctx, func(ctx context.Context, tx transaction) ([]audit.Entry, error) {
		touched, err := tx.exec(ctx, stmt(`INSERT INTO leases (name, holder, until) VALUES (?, ?, `+clock+` + ?)
			ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until
			WHERE leases.holder = excluded.holder OR leases.until <= `+clock, name, holder, d.Milliseconds()))
		mine = err == nil && touched[0] == 1
		return nil, err
	})
	if err != nil {
		return false, fmt.Errorf("take lease: %w", err)
	}
	return mine, nil
}
