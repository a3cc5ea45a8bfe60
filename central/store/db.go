package store

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"

	"github.com/safeguard-edge/safeguard/cache/keys"
)

// DB is a store in a database of either kind.
type DB struct {
	vault
	engine engine
	trail  trail // the writer's alone

	looks   chan *work   // that are to be read and decided
	work    chan []*work // that is to be written
	closing chan struct{}
	closed  chan struct{}
	lookers sync.WaitGroup
	once    sync.Once
	err     error // of closing; the writer's first
}

var _ Store = (*DB)(nil)

// start makes a store of an engine whose tables are up to date.
func start(ctx context.Context, e engine, v vault) (*DB, error) {
	s := &DB{vault: v, engine: e, looks: make(chan *work), work: make(chan []*work), closing: make(chan struct{}), closed: make(chan struct{})}
	if err := s.checkRing(ctx); err != nil {
		return nil, err
	}
	go s.writer()
	for range lookers {
		s.lookers.Go(s.looker)
	}
	return s, nil
}

// checkRing writes down which keys the store belongs to, or compares. Under
// other keys every person would seem to have no flag.
func (s *DB) checkRing(ctx context.Context) error {
	own := map[string]string{"key_ring": s.ring.ID(), "key_mark": hex.EncodeToString(s.mark)}
	err := s.engine.atomically(ctx, stmt(`INSERT INTO meta (name, value) VALUES ('key_mark', ?), ('key_ring', ?) ON CONFLICT DO NOTHING`,
		own["key_mark"], own["key_ring"]))
	if err != nil {
		return err
	}
	return s.engine.query(ctx, func(row scanner) error {
		var name, have string
		if err := row.Scan(&name, &have); err != nil {
			return err
		}
		if have != own[name] {
			return errOtherKeys(s.ring)
		}
		return nil
	}, stmt(`SELECT name, value FROM meta WHERE name IN ('key_mark', 'key_ring')`))
}

func errOtherKeys(have *keys.Ring) error {
	return fmt.Errorf("it was written under other keys (key ring %s here); want the keys from the same time as the backup, or later", have.ID())
}

// Ready gives an error that anybody may read unless the database answers, its tables
// are what this program needs, and the keys are those that it was opened with.
func (s *DB) Ready(ctx context.Context) error {
	if err := s.sameKeys(); err != nil {
		return err
	}
	want, err := latestMigration()
	if err != nil {
		return err
	}
	have := int64(0)
	err = s.engine.query(ctx, func(row scanner) error { return row.Scan(&have) }, stmt(`SELECT COALESCE(MAX(version_id), 0) FROM goose_db_version WHERE is_applied`))
	switch {
	case err != nil:
		return errors.New("the store does not answer")
	case have < want:
		return fmt.Errorf("the store's tables are of version %d, want %d", have, want)
	}
	return nil
}

// Close waits for what is being written, ends the audit chain, and closes the
// database.
func (s *DB) Close() error {
	s.once.Do(func() {
		close(s.closing)
		<-s.closed
		s.lookers.Wait()
		s.err = errors.Join(s.err, s.engine.close())
	})
	return s.err
}
